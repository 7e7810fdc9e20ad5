"""Measures as an account, in its fresh home, and judges what it finds by the budgets."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.peers import AT_REST, OVERLAY, TRUE, Bubblewrap, Job
from bench.results import Budget, Point, Ratio, Results, Table, Times
from conformance.accounts import must

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conformance.accounts import Account
    from conformance.homes import Home

MEASURE = Path(__file__).with_name("measure.py")
DEADLINE = 60
RESULTS = Results()


@dataclass(frozen=True)
class Bench:
    """What a benchmark works with."""

    account: Account
    home: Home
    jai: str
    tools: str  # the directory of what bench/run.py has made
    bubblewrap: Bubblewrap
    budgets: Mapping[str, Budget]

    @property
    def cwd(self) -> str:
        """The directory that everything is started in, and jails grant."""
        return self.home.project

    def sh(self, script: str, *, timeout: int = 300) -> str:
        """Run a shell script as the account, outside; give what it prints."""
        return must(self.account.sh(script, cwd=self.cwd, timeout=timeout)).stdout

    def peers(self, *command: str) -> dict[str, Job]:
        """Give the jobs of the bubblewraps that are there."""
        found = self.bubblewrap.all([*(command or TRUE)])
        return {name: Job(words, before=AT_REST if name == OVERLAY else "") for name, words in found.items()}

    def time(self, jobs: Mapping[str, Job], *, rounds: int, warm: int = 2) -> Times:
        """Time jobs side by side as the account."""
        asked = {
            "rounds": min(rounds, int(os.environ.get("JAI_BENCH_ROUNDS") or rounds)),
            "warm": warm,
            "cwd": self.cwd,
            "jobs": {name: vars(job) for name, job in jobs.items()},
        }
        path = f"{self.tools}/jobs.json"
        Path(path).write_text(json.dumps(asked))
        Path(path).chmod(0o644)
        words = ["/usr/bin/python3", "-I", "-", path]
        seen = must(self.account.run(words, cwd=self.cwd, source=str(MEASURE), timeout=500))
        times: Times = json.loads(seen.stdout)
        return times

    def measure(
        self, title: str, base: str, jobs: Mapping[str, Job], *, rounds: int = 40, warm: int = 2
    ) -> Times:
        """Time jobs side by side, for a table with ratios to the base."""
        return self.show(title, base, self.time(jobs, rounds=rounds, warm=warm))

    def show(self, title: str, base: str, times: Times) -> Times:
        """Keep times for a table with ratios to the base, or to the first where that is not there."""
        there = base if base in times else next(iter(times))
        RESULTS.tables.append(Table(title, self.account.name, there, times))
        return times

    def judge(self, compared: Mapping[str, tuple[Sequence[float], Sequence[float] | None]]) -> None:
        """Note the ratio of each budget's two lists of times, then fail where one is far beyond its limit.

        Where there is nothing to compare with, nothing is noted, and the report says so.
        """
        far = {}
        for name, (values, base) in compared.items():
            budget = self.budgets[name]
            if not base:
                continue
            ratio = Ratio.of(values, base)
            RESULTS.measured.setdefault(name, {})[self.account.name] = ratio
            if budget.limit and ratio.value > budget.limit * budget.room:
                far[name] = str(ratio)
        if far:
            pytest.fail(f"far beyond the budget: {far}", pytrace=False)

    def point(self, subject: str, curve: str, size: int, times: Sequence[float]) -> None:
        """Note what something takes at one size, for the plot of growth."""
        RESULTS.points.append(Point(subject, curve, size, list(times)))

    def keep_plan(self, words: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start a command until its plan is kept: a file that has just been changed keeps it from that."""
        deadline = time.monotonic() + DEADLINE
        asked = [words[0], "--plan", *words[1:]]
        while True:
            must(self.account.run(words, cwd=self.cwd, env=env))
            said = must(self.account.run(asked, cwd=self.cwd, env=env)).stderr
            if "this plan is kept" in said:
                return
            if time.monotonic() > deadline:
                message = f"the plan of {words} is never kept: {said[-500:]}"
                raise TimeoutError(message)
