"""The list of promises and the scenarios belong together."""

from __future__ import annotations

import re
from pathlib import Path

from conformance.clauses import CLAUSES, protections

SOURCES = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
USED = set(re.findall(r'^@clause\("(\w+)"\)', SOURCES, flags=re.MULTILINE))
GUARDED = {
    name
    for names in re.findall(r"^@guards\(([^)]*)\)", SOURCES, flags=re.MULTILINE)
    for name in re.findall(r'"([^"]+)"', names)
}


def test_every_scenario_names_a_promise_that_exists() -> None:
    """No scenario stands for a promise that is not in the list."""
    assert sorted(USED - set(CLAUSES)) == []


def test_every_promise_has_a_scenario() -> None:
    """No promise of the list is without a scenario."""
    assert sorted(set(CLAUSES) - USED) == []


def test_every_protection_has_a_scenario_that_claims_to_notice() -> None:
    """What the core can leave out is what scenarios say they guard; whether they do is `make mutants`."""
    assert sorted(GUARDED ^ set(protections())) == []
