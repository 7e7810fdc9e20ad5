"""What it costs to put jai before a command: beside others that do the same work, in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.peers import OVERLAY, PLAIN, TRUE, Job, usable
from bench.scenes import bare_calls, core_alone, first_start, more_mounts, running, settled
from bench.workbench import RESULTS
from conformance.abilities import needs
from conformance.accounts import must

if TYPE_CHECKING:
    from bench.workbench import Bench

LIMIT = "the bare system calls, casual"

pytestmark = pytest.mark.also_as_root


def test_a_start(bench: Bench, request: pytest.FixtureRequest) -> None:
    """`jai true` costs no more than its budget, first and later, in each mode."""
    script = must(bench.account.sh(f"sed -n '1s/^#!//p' {bench.jai}-python")).stdout.strip()
    modes: dict[str, list[str]] = {"casual": [], "bare": ["-m", "bare", "-j", "bench-bare"]}
    if bench.account.become:
        request.getfixturevalue("strict_mode")
        modes["strict"] = ["-m", "strict", "-j", "bench-strict"]
    starts = {mode: [bench.jai, *options, *TRUE] for mode, options in modes.items()}
    jobs = {
        "true": Job([*TRUE]),
        "bash -c true": Job(["/bin/bash", "-c", "true"]),
        "python -I -S -c pass": Job([script, "-I", "-S", "-c", "pass"]),
        **bench.peers(),
        **{name: Job(words) for name, words in usable(bench.account, bench.cwd, RESULTS.absent).items()},
        LIMIT: bare_calls(bench),
        "jai's C core alone, casual": core_alone(bench, starts["casual"]),
        **{f"jai {mode}": Job(words, before=settled(bench)) for mode, words in starts.items()},
        **{f"jai {mode}, first": first_start(bench, words) for mode, words in starts.items()},
    }
    for words in starts.values():
        bench.keep_plan(words)

    times = bench.measure("start-up: true", PLAIN, jobs)

    plain, overlay = times[PLAIN], times.get(OVERLAY)
    bench.judge(
        {
            "casual": (times["jai casual"], overlay),
            "casual-plain": (times["jai casual"], plain),
            "core": (times["jai casual"], times["jai's C core alone, casual"]),
            "limit": (times["jai's C core alone, casual"], times[LIMIT]),
            "first": (times["jai casual, first"], overlay),
            "first-bare": (times["jai bare, first"], plain),
            "bare": (times["jai bare"], plain),
            **({"strict": (times["jai strict"], plain)} if "strict" in modes else {}),
        }
    )


def test_joining(bench: Bench) -> None:
    """A jail whose overlay is there already is joined."""
    words = [bench.jai, *TRUE]
    bench.keep_plan(words)
    with running(bench, words[:1]):
        jobs = {"true": Job([*TRUE]), **bench.peers(), "jai casual, joining": Job(words)}
        times = bench.measure("start-up: joining a live jail", PLAIN, jobs)

    joining = times["jai casual, joining"]
    bench.judge({"joining": (joining, times.get(OVERLAY)), "joining-plain": (joining, times[PLAIN])})


@needs("root")
def test_mounts_of_the_host(bench: Bench) -> None:
    """The whole tree is copied and made read-only by one call each, however many mounts it has."""
    words = [bench.jai, *TRUE]
    jobs = {**bench.peers(), "jai": Job(words, before=settled(bench))}
    times: dict[str, list[float]] = {}
    for _ in range(3):  # turns, because a machine's moods change
        for count in (0, 500):
            with more_mounts(bench, count):
                bench.keep_plan(words)
                for name, found in bench.time(jobs, rounds=12).items():
                    times.setdefault(f"{name}, 500 more mounts" if count else name, []).extend(found)
    bench.show("start-up: 500 more mounts on the host", PLAIN, times)

    more = {name: (times[f"{name}, 500 more mounts"], times[name]) for name in ("jai", PLAIN)}
    bench.judge({"mounts": more["jai"], "mounts-bubblewrap": more[PLAIN]})


def test_dirty_data(bench: Bench) -> None:
    """Nobody waits for a disk: what is not yet written in the project is written when jai has left."""
    words = [bench.jai, *TRUE]
    bench.keep_plan(words)
    # A new file: of one that is written anew ext4 starts to write the data as soon as it is closed.
    settle = f"{settled(bench)}; rm -f dirty; sync -f ."
    dirty = f"{settle}; head -c 64M /dev/zero > dirty"
    jobs = {"clean": Job(words, before=settle), "64 MB dirty": Job(words, before=dirty)}

    times = bench.measure("exit with dirty data in the project", "clean", jobs, rounds=10)

    bench.judge({"dirty": (times["64 MB dirty"], times["clean"])})
