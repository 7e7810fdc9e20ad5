"""The benchmarks use the scenarios' accounts and homes, behind the same wall."""

from __future__ import annotations

import os
import platform
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.peers import find_bubblewrap, version
from bench.results import budgets
from bench.workbench import RESULTS, Bench
from conformance.accounts import must, run
from conformance.conftest import *  # noqa: F403 - its fixtures
from conformance.conftest import _behind_the_wall, _needs  # noqa: F401 - and those that all tests use

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.accounts import Account
    from conformance.homes import Home

BUDGETS = Path(__file__).with_name("budgets.toml")
MADE = os.environ.get("JAI_BENCH", "")  # by bench/run.py


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write down what was found, for the report."""
    if MADE:
        RESULTS.complete = not session.config.option.keyword
        RESULTS.save(Path(MADE, "results.json"))


@pytest.fixture(scope="session")
def tools() -> Iterator[str]:
    """What was made for the benchmarks, copied to where every account can execute it."""
    if not MADE:
        pytest.exit("run the benchmarks with: make bench", returncode=4)
    place = f"/var/tmp/bench-{os.getpid()}"
    shutil.copytree(Path(MADE, "tools"), place)
    for path in [Path(place), *Path(place).rglob("*")]:
        mode = path.stat().st_mode
        path.chmod(mode | stat.S_IRGRP | stat.S_IROTH | (mode & stat.S_IXUSR and stat.S_IXGRP | stat.S_IXOTH))
    yield place
    shutil.rmtree(place)


@pytest.fixture
def bench(account: Account, home: Home, jai: str, tools: str) -> Bench:
    """A bench for the account."""
    loader = next(iter(Path(tools, "bubblewrap").glob("ld-linux*")), None)
    place = f"{tools}/bubblewrap"
    newer = [str(loader), "--library-path", place, f"{place}/bwrap"] if loader else []
    found = find_bubblewrap(account, home, newer)
    if not RESULTS.machine:
        processor = run(account.host, "grep -m1 'model name' /proc/cpuinfo | cut -d: -f2")
        RESULTS.machine = {
            "kernel": platform.release(),
            "processor": processor.stdout.strip() or platform.machine(),
            "cores": str(os.cpu_count()),
            "homes on": must(run(account.host, "stat -f -c %T /home")).stdout.strip(),
            "bubblewrap": version(account, found.plain),
            "bubblewrap, overlay": version(account, found.newer),
        }
    if not found.newer:
        RESULTS.absent["bubblewrap, overlay"] = Path(tools, "absent").read_text().strip()
    return Bench(account, home, jai, tools, found, budgets(BUDGETS))
