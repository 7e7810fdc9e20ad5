"""Shows what was measured: tables, the budgets, and the plots of the README."""

from __future__ import annotations

import shutil
import statistics
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Shown

from bench.plots import draw
from bench.results import Ratio, Results, budgets, typical

if TYPE_CHECKING:
    from pathlib import Path

    from bench.results import Budget, Table

CONSOLE = Console(width=max(shutil.get_terminal_size().columns, 120))


def report(path: Path, folder: Path) -> None:
    """Print everything; draw the plots when everything was measured."""
    results = Results.load(path)
    for table in results.tables:
        CONSOLE.print(_times(table))
    CONSOLE.print(_judged(results, budgets(folder / "budgets.toml")))
    if results.profile:
        CONSOLE.print(_profile(results.profile))
    for name, reason in results.absent.items():
        CONSOLE.print(f"left out: {name}: {reason}")
    CONSOLE.print(", ".join(f"{name} {value}" for name, value in results.machine.items()))
    if results.complete:
        draw(results, folder)
    CONSOLE.print(f"everything that was measured is in {path}")


def _times(table: Table) -> Shown:
    """Medians with quartiles, and how the lower quartiles compare."""
    shown = Shown(title=f"{table.title} ({table.account})", title_justify="left")
    for heading in ("", "median ms", "quartiles", f"x {table.base}"):
        shown.add_column(heading, justify="right" if heading else "left")
    for name, values in table.times.items():
        low, middle, high = (1000 * part for part in statistics.quantiles(values, n=4, method="inclusive"))
        ratio = Ratio.of(values, table.times[table.base])
        shown.add_row(name, f"{middle:.2f}", f"{low:.2f}-{high:.2f}", str(ratio))
    return shown


def _judged(results: Results, rows: dict[str, Budget]) -> Shown:
    """Each budget beside what was measured, for each account."""
    accounts = list(dict.fromkeys(name for found in results.measured.values() for name in found))
    shown = Shown(title="budgets", title_justify="left")
    for heading in ("what", "against", "budget", *accounts):
        shown.add_column(heading)
    for name, budget in rows.items():
        found = results.measured.get(name, {})
        cells = [_verdict(budget, found[account]) if account in found else "-" for account in accounts]
        limit = f"<= {budget.limit} {budget.unit}" if budget.limit else ""
        shown.add_row(budget.what, budget.against, limit, *cells)
    return shown


def _verdict(budget: Budget, ratio: Ratio) -> str:
    if not budget.limit:
        return str(ratio)
    return f"[green]{ratio}[/]" if ratio.value <= budget.limit else f"[bold red]{ratio}: over[/]"


def _profile(profile: dict[str, list[float]]) -> Shown:
    """Microseconds of each kind of step."""
    shown = Shown(title="a casual start by the C core alone, microseconds", title_justify="left")
    for heading in ("", "lower quartile", "fastest"):
        shown.add_column(heading, justify="right" if heading else "left")
    for name, values in profile.items():
        shown.add_row(name, f"{typical(values):.0f}", f"{min(values):.0f}")
    return shown
