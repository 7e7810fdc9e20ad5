"""Draws the two plots of the README: start-up beside others, and how it grows."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.results import typical

if TYPE_CHECKING:
    from pathlib import Path

    from bench.results import Results, Table

# Readable on white and on black.
GREY, OURS, THEIRS = "#808890", "#2f81f7", "#d1803a"
STYLE = {
    "svg.hashsalt": "jai",  # the same numbers give the same file
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.titlecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
}
COLOURS = {"jai": OURS, "jai, joining them": "#7f5af0"}


def draw(results: Results, folder: Path) -> None:
    """Write both plots, as far as what they show was measured."""
    with mpl.rc_context(STYLE):
        for table in results.tables:
            if (table.title, table.account) == ("start-up: true", "ada"):
                _save(start_up(table), folder / "startup.svg")
        if results.points:
            _save(growth(results), folder / "growth.svg")


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})


def start_up(table: Table) -> Any:
    """Draw a bar for each command of the ordinary user's table: the median, with its quartiles."""
    rows = sorted(table.times.items(), key=lambda row: statistics.median(row[1]), reverse=True)
    parts = [[1000 * part for part in statistics.quantiles(times, n=4)] for _, times in rows]
    middles = [part[1] for part in parts]
    errors = [[part[1] - part[0] for part in parts], [part[2] - part[1] for part in parts]]
    figure = Figure(figsize=(7.2, 0.3 * len(rows) + 0.6), layout="constrained")
    axes = figure.subplots()
    colours = [OURS if name.startswith("jai") else GREY for name, _ in rows]
    axes.barh([name for name, _ in rows], middles, color=colours, height=0.62)
    axes.errorbar(middles, range(len(rows)), xerr=errors, fmt="none", ecolor=GREY, elinewidth=1, alpha=0.6)
    for row, (_, middle, high) in enumerate(parts):
        axes.text(high, row, f"  {middle:.1f}", va="center")
    axes.set_xlabel("milliseconds to run `true`: median and quartiles")
    axes.set_xlim(0, max(high for _, _, high in parts) * 1.1)
    return figure


def growth(results: Results) -> Any:
    """Draw a small plot for each thing that there may be more of."""
    subjects = list(dict.fromkeys(point.subject for point in results.points))
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    for axes, subject in zip(figure.subplots(2, 2).flat, subjects):
        points = [point for point in results.points if point.subject == subject]
        for curve in dict.fromkeys(point.curve for point in points):
            line = [(point.size, 1000 * typical(point.times)) for point in points if point.curve == curve]
            axes.plot(*zip(*line), marker="o", markersize=3, label=curve, color=COLOURS.get(curve, THEIRS))
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_title(subject, fontsize=10)
        axes.set_ylabel("ms", rotation=0, ha="right")
    handles = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False)
    return figure
