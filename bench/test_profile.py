"""Where the microseconds of a start from a kept plan go, step by step."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from bench.peers import TRUE
from bench.scenes import core_alone
from bench.workbench import RESULTS

if TYPE_CHECKING:
    from bench.workbench import Bench

STARTS = 100
WHOLE = "all of it"


@pytest.mark.parametrize("account", ["ada"], indirect=True)
def test_where_the_time_goes(bench: Bench) -> None:
    """The steps of a casual start add up to the whole, which is timed apart from them."""
    job = core_alone(bench, [bench.jai, *TRUE], program="clocked")
    said = bench.sh(f"for i in $(seq {STARTS}); do {job.before}; {shlex.join(job.words)} || exit; done")
    runs: list[dict[str, float]] = [{}]
    for line in said.splitlines():
        name, _, nanoseconds = line.rpartition(" ")
        runs[-1][name] = runs[-1].get(name, 0) + int(nanoseconds) / 1000
        if name == WHOLE:
            runs.append({})
    runs.pop()

    assert len(runs) == STARTS
    for run in runs:
        assert sum(run.values()) - run[WHOLE] == pytest.approx(run[WHOLE], abs=1)
    RESULTS.profile = {name: [run[name] for run in runs] for name in runs[0]}
