"""How a start grows with what is there: mounts, files, grants and running jails, ten times more each time."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from bench.peers import OVERLAY, TRUE, Job
from bench.scenes import many_files, more_mounts, running, settled
from conformance.abilities import needs
from conformance.accounts import must

if TYPE_CHECKING:
    from bench.workbench import Bench

pytestmark = pytest.mark.parametrize("account", ["ada"], indirect=True)

SIZES = (10, 100, 1000)
ROUNDS = 6


def take(bench: Bench, subject: str, size: int, jobs: dict[str, Job]) -> None:
    """Time jobs at one size."""
    for curve, times in bench.time(jobs, rounds=ROUNDS).items():
        bench.point(subject, curve, size, times)


def overlay(bench: Bench) -> dict[str, Job]:
    """Give the job of bubblewrap with an overlay, where there is one."""
    return {name: job for name, job in bench.peers().items() if name == OVERLAY}


@needs("root")
def test_mounts(bench: Bench) -> None:
    """More mounts on the host."""
    words = [bench.jai, *TRUE]
    for size in SIZES:
        with more_mounts(bench, size):
            bench.keep_plan(words)
            take(
                bench,
                "mounts on the host",
                size,
                {"jai": Job(words, before=settled(bench)), **overlay(bench)},
            )


def test_files(bench: Bench) -> None:
    """More files in the home."""
    words = [bench.jai, *TRUE]
    for size in (*SIZES, 100_000):
        with many_files(bench, f"{bench.home.path}/many", size):
            bench.keep_plan(words)
            take(
                bench, "files in the home", size, {"jai": Job(words, before=settled(bench)), **overlay(bench)}
            )


def grants(bench: Bench, size: int) -> dict[str, Job]:
    """Give the jobs that grant so many directories, which jai finds in a configuration of their own."""
    place = f"{bench.home.path}/.bench/grants-{size}"
    env = {"JAI_CONFIG_DIR": place}
    bench.sh(f"mkdir -p ~/granted && cd ~/granted && mkdir -p $(seq {size}) && mkdir -m 700 -p {place}")
    must(bench.account.run([bench.jai, "--init"], cwd=bench.cwd, env=env))
    # Without what jai would protect in each: more than 1000 such files are refused.
    lines = "echo protect none; for each in ~/granted/*; do echo dir $each; done"
    bench.sh(f"({lines}) >> {place}/default.conf")
    bench.sh(f"for each in ~/granted/*; do printf '%s\\0' --bind $each $each; done > {place}/binds")
    words = [bench.jai, *TRUE]
    bench.keep_plan(words, env)
    jobs = {"jai": Job(words, env, before=settled(bench))}
    if bench.bubblewrap.newer:
        line = shlex.join(bench.bubblewrap.run(["--args", "3", *TRUE], overlay=True))
        jobs[OVERLAY] = Job(["/bin/sh", "-c", f"exec {line} 3<{place}/binds"])
    return jobs


def test_grants(bench: Bench) -> None:
    """More granted directories."""
    for size in SIZES:
        take(bench, "granted directories", size, grants(bench, size))


def test_jails(bench: Bench) -> None:
    """More runs of another jail, and of the same."""
    words, joining = [bench.jai, *TRUE], [bench.jai, "-m", "casual", "-j", "many"]
    bench.keep_plan([*joining, "sh", "-c", "true"])
    for size in SIZES:
        with running(bench, joining, size):
            bench.keep_plan(words)
            bench.keep_plan([*joining, *TRUE])
            jobs = {"jai": Job(words), "jai, joining them": Job([*joining, *TRUE]), **overlay(bench)}
            take(bench, "running jails", size, jobs)


def test_big_trees(bench: Bench) -> None:
    """No tree is walked: a start takes as long in a home with a million files, and with many changes."""
    words, home = [bench.jai, *TRUE], bench.home.path
    jobs = {**bench.peers(), "jai": Job(words, before=settled(bench))}
    times: dict[str, list[float]] = {}

    def turn(name: str) -> None:
        bench.keep_plan(words)
        for job, found in bench.time(jobs, rounds=10).items():
            times.setdefault(f"{job}, {name}", []).extend(found)

    turn("few files")
    for name, top, count in (
        ("100 000 changes", f"{home}/.jai/default.changes/many", 100_000),
        ("1 000 000 files", f"{home}/many", 1_000_000),
    ):
        with many_files(bench, top, count):
            turn(name)
        turn("few files")
    bench.show("start-up: big trees", "jai, few files", times)

    few = times["jai, few files"]
    bench.judge(
        {"home": (times["jai, 1 000 000 files"], few), "changes": (times["jai, 100 000 changes"], few)}
    )
