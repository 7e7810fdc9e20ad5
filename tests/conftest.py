"""What the tests share: where the checkout is, and that it is the built wheel which gets tested."""

from __future__ import annotations

import importlib.util
import platform
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
import testinfra

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Let the tests import `conformance`, but find `jai` where the wheel was installed."""
    # Behind the wall the checkout is read-only, and the machine may be busy.
    hypothesis.settings.register_profile("jai", database=None, deadline=None)
    hypothesis.settings.load_profile("jai")
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    found = importlib.util.find_spec("jai")
    if found is None or not found.origin or ROOT / "jai" in Path(found.origin).resolve().parents:
        message = "the tests need the installed wheel, not the source: start them with `make test`"
        raise pytest.UsageError(message)
    from conformance.abilities import MARK  # noqa: PLC0415 - only now it can be found

    config.addinivalue_line("markers", MARK)


@pytest.fixture(scope="session")
def root() -> Path:
    """Give the top of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def filters(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with `compile-filter` and, as the core includes it, the filter of this machine."""
    place = tmp_path_factory.mktemp("filters")
    tool, source = str(place / "compile-filter"), str(root / "jai/core/filter/compile.c")
    subprocess.run(["gcc", "-D_GNU_SOURCE", source, "-lseccomp", "-o", tool], check=True)
    with open(place / "filter.h", "wb") as header:
        subprocess.run([tool, platform.machine()], check=True, stdout=header)
    return place


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail, tests that need what this machine lacks, before their fixtures are made."""
    from conformance.abilities import check  # noqa: PLC0415 - only now it can be found

    for mark in item.iter_markers("needs"):
        check(testinfra.get_host("local://"), mark.args[0])
