"""A plugin of pytest's that tells from inside a guest what goes on: one JSON object a line, on descriptor 3.

It also writes the name of each scenario into the kernel's log, so that whoever reads the console outside
knows what a complaint of the kernel belongs to.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import platform
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from conformance import record
from conformance.guests.table import KEPT

if TYPE_CHECKING:
    from collections.abc import Generator

OUT = 3
# What of the machine a verdict may depend on: the first line of each of these.
VERSIONS = {
    "jai": ("jai", "--version"),
    "bubblewrap": ("bwrap", "--version"),
    "git": ("git", "--version"),
}


def _tell(**what: object) -> None:
    os.write(OUT, json.dumps(what).encode() + b"\n")


def _mark(text: str) -> None:
    # "r+": where there is no such device, none shall be made, which dmesg would take for the log.
    with contextlib.suppress(OSError), open("/dev/kmsg", "r+b", buffering=0) as log:
        log.write(f"<4>jai-scenario: {text}\n".encode())


def pytest_configure() -> None:
    """Keep the descriptor from everything that the scenarios start."""
    os.set_inheritable(OUT, False)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell how many there will be, and on what."""
    _tell(total=len(session.items), versions=_versions())


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name, (command, *words) in VERSIONS.items():
        path = os.environ.get("JAI") if name == "jai" else shutil.which(command)
        if path:
            done = subprocess.run([path, *words], capture_output=True, text=True, check=False)
            found[name] = done.stdout.partition("\n")[0]
    return found


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Tell of a file that can not be read."""
    if report.failed:
        _tell(scenario=report.nodeid, when="collect", outcome="failed", seconds=0, said=report.longreprtext)


def pytest_runtest_logstart(nodeid: str) -> None:
    """Mark the kernel's log."""
    _tell(begins=nodeid)
    _mark(nodeid)


def pytest_runtest_logfinish() -> None:
    """End the mark: what the kernel says from now on belongs to no scenario."""
    _mark("")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """Keep what is run from now on; what has made the home ready is the same each time."""
    record.begin()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Gather what the report shall say of a scenario, while its jails can still be asked for their plans."""
    outcome = yield
    report = outcome.get_result()
    about: dict[str, Any] = {}
    if call.when == "setup":
        about = _promised(item)
    elif call.when == "call":
        about = {"runs": record.told(), **record.plan(item.nodeid, anew=report.failed)}
        about |= dict(item.user_properties)
    if report.failed and call.excinfo:
        about["reason"] = call.excinfo.exconly()
    report.about = about


def _promised(item: pytest.Item) -> dict[str, Any]:
    """What a scenario stands for: its clauses, its sentence, its mode."""
    callspec = getattr(item, "callspec", None)
    return {
        "clauses": sorted({mark.args[0] for mark in item.iter_markers("clause")}),
        "expected": inspect.getdoc(getattr(item, "obj", None)) or "",
        "mode": str(callspec.params.get("mode", "")) if callspec else "",
    }


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell how a part of a scenario ended."""
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    _tell(
        scenario=report.nodeid,
        when=report.when,
        outcome=report.outcome,
        seconds=report.duration,
        said=said,
        about=getattr(report, "about", {}),
    )


def pytest_sessionfinish(exitstatus: int) -> None:
    """Tell that this is all; without this line the guest was lost on the way."""
    _tell(end=int(exitstatus), writing=os.path.exists(KEPT))
