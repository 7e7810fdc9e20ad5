"""Which scenario notices when a protection is left out: `make mutants`.

A plugin for pytest. Each scenario runs once for each protection that it guards, against a build of jai that
leaves out just that one, and must fail by an assertion. What nothing notices is a gap.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from rich.table import Table

from conformance.clauses import protections

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _pytest.terminal import TerminalReporter

NOTICED, UNNOTICED, BROKEN = "noticed", "not noticed", "could not judge"
# These must pass whatever is left out: a jail that does not work at all proves nothing about a protection.
# In strict mode some of them are what makes it work.
ALWAYS = ("test_standard_input_output_and_status",)

# (scenario, protection): what each of its variants found
found: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)


def _scenario(item: pytest.Item) -> str:
    return item.name.partition("[")[0]


def _parameters(item: pytest.Item) -> dict[str, str]:
    found: dict[str, str] = item.callspec.params  # type: ignore[attr-defined]
    return found


def _guarded(definition: pytest.Item) -> list[str]:
    if _scenario(definition) in ALWAYS:
        return protections()
    return [name for mark in definition.iter_markers("guards") for name in mark.args]


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat each scenario for each protection that it guards."""
    names = _guarded(metafunc.definition)
    if names:
        metafunc.parametrize("without", names, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave only those."""
    strict = {item for item in items if _scenario(item) in ALWAYS and _parameters(item)["mode"] == "strict"}
    dropped = {item for item in items if not _guarded(item)} | strict
    items[:] = [item for item in items if item not in dropped]
    config.hook.pytest_deselected(items=[*dropped])


@pytest.fixture(autouse=True)
def without(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Leave out a protection, unless another variant of the scenario has noticed that already."""
    name: str = request.param
    if NOTICED in found[request.function.__name__, name].values():
        pytest.skip("noticed already")
    monkeypatch.setenv("JAI_LEAVE_OUT", name)
    return name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def] # noqa: ANN201
    """Remember what came of a scenario; here a failure is what is wanted."""
    report = yield
    if report.outcome != "skipped" and (call.when == "call" or call.excinfo):
        name = _parameters(item)["without"]
        scenario, _, variant = item.name.partition("[")
        verdict = UNNOTICED
        if call.excinfo:
            verdict = NOTICED if call.excinfo.errisinstance(AssertionError) else BROKEN
        found[scenario, name][variant.rstrip("]")] = verdict
        if scenario not in ALWAYS and verdict != BROKEN:
            report.outcome = "passed"
    return report


def _lines() -> Iterable[tuple[str, list[str], list[str]]]:
    """Each protection, who notices, and what is wrong with it."""
    for name in protections():
        asked = {scenario: seen for (scenario, of), seen in found.items() if of == name and seen}
        claims = {scenario: seen for scenario, seen in asked.items() if scenario not in ALWAYS}
        noticed = [scenario for scenario, seen in claims.items() if NOTICED in seen.values()]
        wrong = [f"{scenario} does not notice" for scenario in claims if scenario not in noticed]
        upset = [scenario for scenario in ALWAYS if set(asked.get(scenario, {}).values()) != {UNNOTICED}]
        wrong += [f"{scenario} should not mind" for scenario in upset]
        yield name, noticed, wrong if noticed else ["a gap: nothing notices", *wrong]


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print the table of protections and the scenarios that notice when they are left out."""
    table = Table(title="what notices when a protection is left out")
    table.add_column("left out", no_wrap=True)
    table.add_column("noticed by")
    table.add_column("wrong", style="bold red")
    for name, noticed, wrong in _lines():
        table.add_row(name, "\n".join(short(scenario) for scenario in noticed), "\n".join(wrong))
    terminalreporter.ensure_newline()
    width = max(shutil.get_terminal_size().columns, 120)
    Console(file=terminalreporter._tw._file, width=width).print(table)  # noqa: SLF001


def short(scenario: str) -> str:
    """The name of a scenario as a person would say it."""
    return scenario.removeprefix("test_").replace("_", " ")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if there is a gap or a wrong claim."""
    if not session.config.option.keyword and any(wrong for _, _, wrong in _lines()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
