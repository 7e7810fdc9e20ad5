"""The list of promises and the scenarios belong together."""

from __future__ import annotations

import re
from pathlib import Path

from conformance.clauses import CLAUSES

SOURCES = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
USED = set(re.findall(r'^@clause\("(\w+)"\)', SOURCES, flags=re.MULTILINE))


def test_every_scenario_names_a_promise_that_exists() -> None:
    """No scenario stands for a promise that is not in the list."""
    assert sorted(USED - set(CLAUSES)) == []


def test_every_promise_has_a_scenario() -> None:
    """No promise of the list is without a scenario."""
    assert sorted(set(CLAUSES) - USED) == []
