"""The page of a report: what report.html shows, computed from the JSON."""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from conformance.clauses import CLAUSES
from conformance.jails import MODES

Scenario = dict[str, Any]
FAMILIES = {
    "D": "destruction",
    "P": "persistence",
    "I": "secrets",
    "E": "escape",
    "K": "refusals",
    "W": "usefulness",
    "": "other",
}
SIGNS = {"passed": "✔", "failed": "✘", "skipped": "○"}
# What would act on a terminal or on the order of letters, were it printed; and halves of characters.
STRANGE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def visible(text: Any) -> Any:
    """The text with a picture or a number for each character that can not be seen."""
    return STRANGE.sub(_picture, text) if type(text) is str else text


def _picture(match: re.Match[str]) -> str:
    number = ord(match[0])
    if number < ord(" "):
        return chr(0x2400 + number)
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else f"\\u{number:04x}"


@dataclass(frozen=True)
class Cell:
    """The scenarios of one guest, mode and family."""

    name: str
    guest: str
    mode: str
    family: str
    scenarios: list[Scenario]

    @property
    def count(self) -> dict[str, int]:
        """How many ended how."""
        outcomes = [scenario["outcome"] for scenario in self.scenarios]
        return {outcome: outcomes.count(outcome) for outcome in ("failed", "passed", "skipped")}

    @property
    def outcome(self) -> str:
        """What counts of them: one that failed before all that passed."""
        return next((outcome for outcome, number in self.count.items() if number), "")

    @property
    def said(self) -> str:
        """The outcomes in words."""
        return ", ".join(f"{number} {outcome}" for outcome, number in self.count.items() if number)


@dataclass(frozen=True)
class Bar:
    """How long one way of starting took, as a ratio to bubblewrap in the same turns."""

    label: str
    ratio: float
    milliseconds: float
    dots: list[float]


def family(scenario: Scenario) -> str:
    """The letter of a scenario's first promise."""
    clauses: list[str] = scenario.get("clauses") or [""]
    return clauses[0][:1]


def short(scenario: Scenario) -> str:
    """The scenario's name without its file, in words, and its parameters."""
    name, _, parameters = str(scenario["id"]).rpartition("::")[2].partition("[")
    words = name.removeprefix("test_").replace("_", " ")
    told = [part for part in parameters.removesuffix("]").split("-") if part not in ("", "local")]
    return words + (f" · {' '.join(told)}" if told else "")


def rows(guest: dict[str, Any]) -> list[list[Cell]]:
    """The matrix of a guest: a row for each mode, a cell for each family."""
    scenarios = guest["scenarios"]
    found = {scenario.get("mode", "") for scenario in scenarios}
    place = re.sub(r"[^\w.-]", "-", guest["name"])
    return [
        [
            Cell(
                f"{place}-{mode or 'any'}-{letter or 'other'}",
                guest["name"],
                mode,
                letter,
                [one for one in scenarios if (one.get("mode", ""), family(one)) == (mode, letter)],
            )
            for letter in FAMILIES
        ]
        for mode in (*MODES, "")
        if mode in found
    ]


def bars(guest: dict[str, Any]) -> list[Bar]:
    """What starts cost in a guest: plain ones, bubblewrap's and those of each mode."""
    found: dict[str, Bar] = {}
    for scenario in guest["scenarios"]:
        times = scenario.get("startup", {})
        for name, values in times.items():
            base, middle = statistics.median(times["bubblewrap"]), statistics.median(values)
            dots = [value / base for value in values]
            found.setdefault(name, Bar(name, middle / base, 1000 * middle, dots))
    return list(found.values())


def reasons(guests: list[dict[str, Any]]) -> dict[str, list[tuple[str, Scenario]]]:
    """Why scenarios were left out, and which."""
    found: dict[str, list[tuple[str, Scenario]]] = {}
    for guest in guests:
        for scenario in guest["scenarios"]:
            if scenario["outcome"] == "skipped":
                why = scenario["said"].removeprefix("Skipped: ")
                found.setdefault(why, []).append((guest["name"], scenario))
    return found


def verdict(guests: list[dict[str, Any]]) -> tuple[str, str]:
    """How it ended, as an outcome and as a sentence."""
    outcomes = [scenario["outcome"] for guest in guests for scenario in guest["scenarios"]]
    failed, ran = outcomes.count("failed"), len(outcomes) - outcomes.count("skipped")
    lost = [guest["name"] for guest in guests if guest["broken"]]
    open_ = [guest["name"] for guest in guests if not guest["ended"] and not guest["broken"]]
    said = f"{failed} of {_many(ran, 'scenario')} failed" if failed else f"{_many(ran, 'scenario')} held"
    said += f" in {_many(len(guests), 'guest')}"
    if lost:
        return "failed", f"{said}, and {_many(len(lost), 'guest')} did not work: {', '.join(lost)}"
    if failed:
        return "failed", said
    if open_:
        return "skipped", f"Not finished: {said}; {', '.join(open_)} did not come to its end"
    left = len(outcomes) - ran
    said += f", {left} left out" if left else ""
    return ("passed", said) if ran else ("skipped", "No scenario was run")


def _many(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def render(report: dict[str, Any]) -> str:
    """The page, complete in one file."""
    here = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        autoescape=True,
        loader=here,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    guests = report["guests"]
    failures = [(guest, one) for guest in guests for one in guest["scenarios"] if one["outcome"] == "failed"]
    matrix = [(guest, rows(guest), bars(guest)) for guest in guests]
    used = [letter for letter in FAMILIES if any(family(s) == letter for g in guests for s in g["scenarios"])]
    outcome, sentence = verdict(guests)
    return environment.get_template("report.html").render(
        report=report,
        outcome=outcome,
        sentence=sentence,
        failures=failures,
        matrix=matrix,
        used=used,
        reasons=reasons(guests),
        families=FAMILIES,
        clauses=CLAUSES,
        signs=SIGNS,
        short=short,
    )
