"""A plugin of pytest's that tells from inside a guest what goes on: one JSON object a line, on descriptor 3.

It also writes the name of each scenario into the kernel's log, so that whoever reads the console outside
knows what a complaint of the kernel belongs to.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

OUT = 3


def _tell(**what: object) -> None:
    os.write(OUT, json.dumps(what).encode() + b"\n")


def _mark(text: str) -> None:
    with contextlib.suppress(OSError), open("/dev/kmsg", "w") as log:
        log.write(f"<4>jai-scenario: {text}\n")


def pytest_configure() -> None:
    """Keep the descriptor from everything that the scenarios start."""
    os.set_inheritable(OUT, False)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell how many there will be."""
    _tell(total=len(session.items))


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


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell how a part of a scenario ended."""
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    _tell(
        scenario=report.nodeid, when=report.when, outcome=report.outcome, seconds=report.duration, said=said
    )


def pytest_sessionfinish(exitstatus: int) -> None:
    """Tell that this is all; without this line the guest was lost on the way."""
    _tell(end=int(exitstatus))
