"""What it costs to put jai before a command: ratios to bubblewrap doing the same work, in one run."""

from __future__ import annotations

import contextlib
import shlex
from typing import TYPE_CHECKING

import pytest

from bench.conftest import measure, median
from conformance.accounts import must, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.accounts import Account
    from conformance.homes import Home

# The budgets, as ratios to bubblewrap on the same job: the first run, where Python decides, and later ones.
FIRST = 2.5
LATER = {"casual": 0.6, "bare": 0.7, "joining": 0.5}
# ... and to itself with 500 mounts less on the host.
MANY_MOUNTS = 1.4
# A shared machine is noisy; the test fails on a real loss, the table shows the rest.
ROOM = 1.6


def bubblewrap(account: Account, home: Home, project: str) -> list[str]:
    """Give the same jail made by bubblewrap, with an overlay home where this version has overlays."""
    work = f"{home.path}/.bench"
    account.sh(f"mkdir -p {work}/upper {work}/work {work}/tmp")
    has_overlay = "--overlay" in account.sh("bwrap --help").stdout
    overlay = ["--overlay-src", home.path, "--overlay", f"{work}/upper", f"{work}/work", home.path]
    plain = ["--bind", home.path, home.path]
    return [
        *("/usr/bin/bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--die-with-parent"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/run"),
        *("--bind", f"{work}/tmp", "/tmp", "--bind", f"{work}/tmp", "/var/tmp"),
        *(overlay if has_overlay else plain),
        *("--bind", project, project, "--chdir", project, "/bin/true"),
    ]


def keep_plans(account: Account, project: str, *commands: list[str]) -> None:
    """Start each command until its plan is kept: that is once no file of it has just been changed."""
    for pause in ("0", "3.5"):
        must(account.run(["sleep", pause]))
        for words in commands:
            must(account.run(words, cwd=project))


def test_a_start_is_near_bubblewrap(account: Account, home: Home, jai: str) -> None:
    """`jai true` through Python costs at most 2.5 times bubblewrap on the same job, and then 0.6 times."""
    project = home.project
    python = must(account.sh(f"sed -n '1s/^#!//p' {jai}-python")).stdout.strip()
    casual, bare = [jai, "/bin/true"], [jai, "-m", "bare", "-j", "bench-bare", "/bin/true"]
    commands = {
        "true": ["/bin/true"],
        "bash -c true": ["/bin/bash", "-c", "true"],
        "python -I -S -c pass": [python, "-I", "-S", "-c", "pass"],
        "bubblewrap": bubblewrap(account, home, project),
        "jai casual, first": casual,
        "jai bare, first": bare,
        "jai casual": casual,
        "jai bare": bare,
    }
    # Where the folder of the plans is none, nothing is kept: each start is a first one.
    unkept = f"{home.path}/unkept"
    must(account.sh(f"mkdir {unkept} && touch {unkept}/.plans"))
    first = {name: {"JAI_CONFIG_DIR": unkept} for name in commands if name.endswith("first")}
    keep_plans(account, project, casual, bare)

    times = measure(account, "start-up: `true` as an ordinary user", commands, cwd=project, env=first)

    for mode in ("casual", "bare"):
        assert median(times, f"jai {mode}, first") <= FIRST * ROOM * median(times, "bubblewrap")
        assert median(times, f"jai {mode}") <= LATER[mode] * ROOM * median(times, "bubblewrap")


def test_joining_is_cheaper(account: Account, home: Home, jai: str) -> None:
    """A jail whose overlay is there already is joined."""
    project, words = home.project, [jai, "/bin/true"]
    commands = {"bubblewrap": bubblewrap(account, home, project), "jai casual, joining": words}
    keep_plans(account, project, words)
    sleeper = shlex.join([jai, "sleep", "60"])
    must(account.sh(f"{sleeper} </dev/null >/dev/null 2>&1 & echo $! > {home.path}/pid", cwd=project))

    times = measure(account, "start-up: joining a live jail", commands, cwd=project)

    must(account.sh(f"kill $(cat {home.path}/pid)"))
    assert median(times, "jai casual, joining") <= LATER["joining"] * ROOM * median(times, "bubblewrap")


@contextlib.contextmanager
def more_mounts(account: Account, count: int) -> Iterator[None]:
    """Mount so many file systems more."""
    made = (
        f"for i in $(seq {count}); do mkdir -p /srv/more/$i && mount -t tmpfs none /srv/more/$i || exit; done"
    )
    must(run(account.host, made))
    try:
        yield
    finally:
        must(run(account.host, f"for i in $(seq {count}); do umount /srv/more/$i; done; rm -r /srv/more"))


def test_mounts_of_the_host(account: Account, home: Home, jai: str) -> None:
    """The whole tree is copied and made read-only by one call each, however many mounts it has."""
    if must(run(account.host, "id -u")).stdout.strip() != "0":
        pytest.skip("only root can mount")
    project, words = home.project, [jai, "/bin/true"]
    commands = {"bubblewrap": bubblewrap(account, home, project), "jai casual": words}
    keep_plans(account, project, words)
    few = measure(account, "start-up: the mounts that are here", commands, cwd=project)
    with more_mounts(account, 500):
        keep_plans(account, project, words)
        many = measure(account, "start-up: 500 mounts more", commands, cwd=project)

    assert median(many, "jai casual") <= MANY_MOUNTS * ROOM * median(few, "jai casual")
