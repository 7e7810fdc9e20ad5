"""What it costs to put jai before a command: ratios to bubblewrap doing the same work, in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.conftest import measure, median
from conformance.accounts import must

if TYPE_CHECKING:
    from conformance.accounts import Account
    from conformance.homes import Home

# The budgets: the first run, where Python decides, and a later one.
FIRST_RUN = 2.5
LATER_RUN = 0.6
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


def test_a_start_is_near_bubblewrap(account: Account, home: Home, jai: str) -> None:
    """`jai true` through Python costs at most 2.5 times bubblewrap on the same job, and then 0.6 times."""
    project = home.project
    python = [str(account.sh(f"sed -n '1s/^#!//p' {jai}-python").stdout.strip()), "-I", "-S", "-c", "pass"]
    commands = {
        "true": ["/bin/true"],
        "bash -c true": ["/bin/bash", "-c", "true"],
        "python -I -S -c pass": python,
        "bubblewrap": bubblewrap(account, home, project),
        "jai casual, first": [jai, "/bin/true"],
        "jai bare, first": [jai, "-m", "bare", "-j", "bench-bare", "/bin/true"],
        "jai casual": [jai, "/bin/true"],
        "jai bare": [jai, "-m", "bare", "-j", "bench-bare", "/bin/true"],
    }
    # Where the folder of the plans is none, nothing is kept: each start is a first one.
    unkept = f"{home.path}/unkept"
    must(account.sh(f"mkdir {unkept} && touch {unkept}/.plans"))
    first = {name: {"JAI_CONFIG_DIR": unkept} for name in commands if name.endswith("first")}
    for words in (commands["jai casual"], commands["jai bare"]):
        must(account.run(words, cwd=project))
    must(account.run(["sleep", "3.5"]))  # a plan is kept when no file has just been changed

    times = measure(account, "start-up: `true` as an ordinary user", commands, cwd=project, env=first)

    for mode in ("jai casual", "jai bare"):
        assert median(times, f"{mode}, first") <= FIRST_RUN * ROOM * median(times, "bubblewrap")
        assert median(times, mode) <= LATER_RUN * ROOM * median(times, "bubblewrap")
