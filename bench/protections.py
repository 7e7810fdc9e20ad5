"""What each protection costs a start: `make costs`.

The build for tests leaves one of them out, side by side with the whole, in many shuffled rounds. It takes
processor time, and of that the lower quartile: others on the machine only ever add to it.
"""

from __future__ import annotations

import json
import shlex
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from rich.table import Table

from conformance.accounts import must

if TYPE_CHECKING:
    from conformance.accounts import Account
    from conformance.homes import Home

ROUNDS = 200
# Milliseconds, that all of it together may cost, and what a machine that others use may add.
BUDGET, ROOM = 0.3, 1.5
WHOLE, ALL = "the whole jail", "all of these together"
# Of what surrounds the process: what the table calls it, and what is left out.
PROTECTIONS = {
    "system call filter": "filter",
    "Landlock scopes": "undumpable-init",
    "limits (processes, core files)": "process-limit,core-limit",
    "own /dev, devpts, /dev/shm": "dev",
    "own /run": "run",
    "private runtime directory": "private-runtime-directory",
    "/dev and /run sealed": "sealed",
    "files that run later: protected": "protected-files,pinned-folders",
    "files that run later: looked at afterwards": "watched-files",
    "masks": "masks",
    "jai's own directory hidden": "hidden-storage",
    "private /tmp and /var/tmp": "private-tmp",
    "inherited descriptors closed": "descriptors",
    "capabilities dropped": "capabilities",
    "control groups closed to nested namespaces": "cgroup-namespaces",
    "IPC namespace": "ipc-namespace",
}
# The tree is the jail itself: what is in question is what was put around the process.
AROUND = (
    *("filter", "undumpable-init", "process-limit", "core-limit", "dev", "run"),
    *("private-runtime-directory", "sealed", "protected-files", "pinned-folders", "watched-files"),
    *("descriptors", "cgroup-namespaces"),
)


@pytest.mark.timeout(1100)
def test_what_protections_cost(
    account: Account, home: Home, jai: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever surrounds the process costs at most 0.3 ms over the jail without it."""
    must(account.sh("git init -q . && git config user.name x", cwd=home.project))
    runtime = "/srv/watched/runtime"
    must(account.sh(f"mkdir -m 700 {runtime}"))
    env = {"XDG_RUNTIME_DIR": runtime}
    without = {name: {"JAI_LEAVE_OUT": names} for name, names in PROTECTIONS.items()}
    left_out = {WHOLE: {}, **without, ALL: {"JAI_LEAVE_OUT": ",".join(AROUND)}}
    words = [jai, "/bin/true"]
    asked = {name: {**env, **of} for name, of in left_out.items()}
    for pause in ("0", "3.5"):  # until both plans are kept: the variable's name counts, not its value
        must(account.run(["sleep", pause]))
        for name in (WHOLE, ALL):
            must(account.run(words, cwd=home.project, env=asked[name]))
    question = {"rounds": ROUNDS, "cwd": home.project, "commands": dict.fromkeys(asked, words), "env": asked}

    script = shlex.quote(str(Path(__file__).with_name("cpu_time.py")))
    python = ["/usr/bin/python3", "-I", "-", json.dumps(question)]
    seen = must(account.run(python, cwd=home.project, source=script, timeout=1000))

    times: dict[str, list[float]] = json.loads(seen.stdout)
    quarter = {name: 1000 * statistics.quantiles(values, n=4)[0] for name, values in times.items()}
    with capsys.disabled():
        print_table(quarter)
    assert quarter[WHOLE] - quarter[ALL] <= BUDGET * ROOM


def print_table(quarter: dict[str, float]) -> None:
    """Print what each costs, and the ratio of the whole to the jail without it."""
    table = Table(title=f"processor time of a start (lower quartile of {ROUNDS}): {quarter[WHOLE]:.2f} ms")
    for heading in ("left out", "costs ms", "whole : without"):
        table.add_column(heading, justify="left" if heading == "left out" else "right")
    for name, milliseconds in quarter.items():
        if name != WHOLE:
            table.add_row(
                name, f"{quarter[WHOLE] - milliseconds:.3f}", f"{quarter[WHOLE] / milliseconds:.2f}"
            )
    print()
    Console(width=100).print(table)
