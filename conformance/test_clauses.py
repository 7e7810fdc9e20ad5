"""The list of promises and the scenarios belong together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conformance.clauses import CLAUSES, protections

SOURCES = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
USED = set(re.findall(r'^@clause\("(\w+)"\)', SOURCES, flags=re.MULTILINE))
GUARDED = {
    name
    for names in re.findall(r"^@guards\(([^)]*)\)", SOURCES, flags=re.MULTILINE)
    for name in re.findall(r'"([^"]+)"', names)
}


ROFF = (
    (r'^\.\\".*\n', ""),
    (r"^\.(?:[BI]|BR|IR|RB|RI|BI) +(.*)$", r"\1"),
    (r"^\.\S.*\n", ""),
    (r"\\f[BIR]|\\&", ""),
    (r"\\-", "-"),
)


def words_of(document: str) -> str:
    """A document in one line, without what only formats it."""
    text = (Path(__file__).parents[1] / document).read_text()
    for pattern, plain in ROFF if document.endswith(".1") else ():
        text = re.sub(pattern, plain, text, flags=re.MULTILINE)
    return " ".join(text.split())


@pytest.mark.parametrize("name", CLAUSES)
def test_every_promise_is_made_in_a_document(name: str) -> None:
    """What is judged is what users are told: the sentence stands there, to the word."""
    clause = CLAUSES[name]
    assert clause.sentence in words_of(clause.document)


def test_every_scenario_names_a_promise_that_exists() -> None:
    """No scenario stands for a promise that is not in the list."""
    assert sorted(USED - set(CLAUSES)) == []


def test_every_promise_has_a_scenario() -> None:
    """No promise of the list is without a scenario."""
    assert sorted(set(CLAUSES) - USED) == []


def test_every_protection_has_a_scenario_that_claims_to_notice() -> None:
    """What the core can leave out is what scenarios say they guard; whether they do is `make mutants`."""
    assert sorted(GUARDED ^ set(protections())) == []
