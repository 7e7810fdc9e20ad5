"""The benchmarks use the scenarios' account and home, behind the same wall, and print a table at the end."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from conformance.accounts import must
from conformance.conftest import *  # noqa: F403 - its fixtures

if TYPE_CHECKING:
    import pytest

    from conformance.accounts import Account

Times = dict[str, list[float]]

TABLES: list[tuple[str, Times]] = []


def measure(  # noqa: PLR0913 - what is timed, where and how often
    account: Account,
    title: str,
    commands: dict[str, list[str]],
    *,
    cwd: str,
    env: dict[str, dict[str, str]] | None = None,
    rounds: int = 50,
) -> Times:
    """Time commands side by side as the account, and keep the times for the table."""
    asked = json.dumps({"rounds": rounds, "cwd": cwd, "commands": commands, "env": env or {}})
    seen = must(account.script(str(Path(__file__).with_name("measure.py")), asked, cwd=cwd))
    times: Times = json.loads(seen.stdout)
    TABLES.append((title, times))
    return times


def median(times: Times, name: str) -> float:
    """Give the median seconds of a command."""
    return statistics.median(times[name])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print each measurement as a table of medians and ratios."""
    console = Console(file=terminalreporter._tw._file)  # noqa: SLF001 - where pytest writes
    for title, times in TABLES:
        base = next((name for name in times if name.startswith("bubblewrap")), next(iter(times)))
        table = Table(title=title)
        for heading in ("command", "median ms", "quartiles ms", f"x {base}"):
            table.add_column(heading, justify="left" if heading == "command" else "right")
        for name, values in times.items():
            low, middle, high = (1000 * part for part in statistics.quantiles(values, n=4))
            table.add_row(
                name, f"{middle:.2f}", f"{low:.2f}-{high:.2f}", f"{middle / 1000 / median(times, base):.2f}"
            )
        console.print(table)
