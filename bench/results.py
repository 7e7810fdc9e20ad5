"""What was measured: times, ratios with their spread, budgets; and how they are kept as JSON."""

from __future__ import annotations

import json
import random
import statistics
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RESAMPLES = 400

Times = dict[str, list[float]]


def typical(values: Sequence[float]) -> float:
    """Give the lower quartile: what disturbs a process only ever makes it slower."""
    return statistics.quantiles(values, n=4, method="inclusive")[0] if len(values) > 1 else values[0]


@dataclass(frozen=True)
class Ratio:
    """How many times as long the one takes as the other, and where nine of ten repetitions would lie."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], base: Sequence[float]) -> Ratio:
        """Compare two lists of times; the spread comes from drawing both again from themselves."""
        draw = random.Random(1)  # noqa: S311 - the same numbers shall give the same answer
        again = sorted(
            typical(draw.choices(values, k=len(values))) / typical(draw.choices(base, k=len(base)))
            for _ in range(RESAMPLES)
        )
        return cls(typical(values) / typical(base), again[RESAMPLES // 20], again[-RESAMPLES // 20])

    def __str__(self) -> str:
        """Give the ratio as tables show it."""
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"


@dataclass(frozen=True)
class Budget:
    """A row of budgets.toml: what may cost how much, compared with what."""

    what: str
    against: str
    limit: float = 0  # none: the row is only shown
    room: float = 1.6  # the test fails beyond this many times the limit
    unit: str = "x"


def budgets(path: Path) -> dict[str, Budget]:
    """Read the budgets, by name."""
    return {name: Budget(**row) for name, row in tomllib.loads(path.read_text()).items()}


@dataclass(frozen=True)
class Table:
    """Commands that were timed side by side."""

    title: str
    account: str
    base: str
    times: Times


@dataclass(frozen=True)
class Point:
    """What something takes at one size."""

    subject: str
    curve: str
    size: int
    times: list[float]


@dataclass
class Results:
    """Everything that a run has found."""

    machine: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    measured: dict[str, dict[str, Ratio]] = field(default_factory=dict)  # by budget, by account
    profile: dict[str, list[float]] = field(default_factory=dict)
    complete: bool = False

    def save(self, path: Path) -> None:
        """Write it down."""
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what was written down."""
        found: dict[str, Any] = json.loads(path.read_text())
        found["tables"] = [Table(**row) for row in found["tables"]]
        found["points"] = [Point(**row) for row in found["points"]]
        found["measured"] = {
            name: {account: Ratio(**ratio) for account, ratio in rows.items()}
            for name, rows in found["measured"].items()
        }
        return cls(**found)
