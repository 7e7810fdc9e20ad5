"""What a scenario has run, for the report: each command as it can be typed again, and what came of it.

Nothing is kept until `begin` was called, which only conformance/guests/tell.py does.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.accounts import Account, Seen

# Some scenarios run a command a thousand times, or print a megabyte: the beginning and the end are kept.
KEPT_RUNS, KEPT_TEXT, KEPT_COMMAND = 30, 3000, 12000


@dataclass
class Run:
    """A command with its answer; `mode` is empty outside of a jail, `who` is empty for the judge itself."""

    typed: str
    seconds: float
    status: int
    stdout: str
    stderr: str
    who: str = ""
    mode: str = ""
    script: str = ""
    answers: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """How a jail was entered: jai's words but for the jail's name and the command's own words."""

    account: Account
    jai: str
    name: str
    words: tuple[str, ...]
    cwd: str
    env: tuple[tuple[str, str], ...]


@dataclass
class Record:
    """What has been kept since the scenario began."""

    on: bool = False
    runs: list[tuple[Seen, Run]] = field(default_factory=list)
    entry: Entry | None = None  # the first one
    plans: dict[tuple[object, ...], tuple[str, Entry, str]] = field(default_factory=dict)


_record = Record()


def begin() -> None:
    """Forget what the scenario before has run."""
    _record.on, _record.entry = True, None
    _record.runs.clear()


def ran(seen: Seen, seconds: float) -> Seen:
    """Keep a command that has ended."""
    if _record.on:
        _record.runs.append((seen, Run(seen.line, seconds, seen.rc, seen.stdout, seen.stderr)))
    return seen


def note(seen: Seen, **what: object) -> None:
    """Say more about a command: who ran it, how it is typed."""
    for kept, run in reversed(_record.runs):
        if kept is seen:
            vars(run).update(what)
            return


def script(seen: Seen, wrapped: str, plain: str, stdout: str) -> None:
    """Keep a script as it was meant: without what tells whether it came to its end."""
    for kept, run in reversed(_record.runs):
        if kept is seen:
            run.typed = run.typed.replace(shlex.quote(wrapped), shlex.quote(plain))
            run.script, run.stdout = plain, stdout
            return


def tried(seen: Seen, acts: Mapping[str, str], answers: Mapping[str, str]) -> None:
    """Keep what became of each act of a probe."""
    note(seen, answers={name: (act, answers.get(name, "")) for name, act in acts.items()}, stdout="")


def entered(entry: Entry) -> None:
    """Keep how a jail was entered."""
    if _record.on:
        _record.entry = _record.entry or entry


def told() -> list[dict[str, Any]]:
    """All that was run, shortened, as JSON takes it."""
    runs = [run for _, run in _record.runs]
    left = len(runs) - KEPT_RUNS
    if left > 0:
        half = KEPT_RUNS // 2
        runs = [*runs[:half], Run(f"# … {left} more commands …", 0, 0, "", ""), *runs[-half:]]
    return [_shortened(run) for run in runs]


def _shortened(run: Run) -> dict[str, Any]:
    limits = {"typed": KEPT_COMMAND, "script": KEPT_TEXT, "stdout": KEPT_TEXT, "stderr": KEPT_TEXT}
    texts = {name: shortened(getattr(run, name), limit) for name, limit in limits.items()}
    return {name: value for name, value in {**asdict(run), **texts}.items() if value not in ("", {})}


def shortened(text: str, limit: int) -> str:
    """The beginning and the end of a long text."""
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}\n… {len(text) - limit} characters …\n{text[-(limit // 2) :]}"


def plan(scenario: str, *, anew: bool) -> dict[str, str]:
    """The plan of the first jail that was entered, and for which scenario it was printed.

    Printing it is a start of the front end, a second in a slow guest: a scenario that passed shows the plan
    of one before it that entered its jail by the same words.
    """
    entry = _record.entry
    if entry is None:
        return {}
    key = (entry.account.name, entry.words, entry.cwd, entry.env)
    if anew or key not in _record.plans:
        argv = [entry.jai, "-j", entry.name, "--plan", *entry.words]
        _record.on = False
        printed = entry.account.run(argv, cwd=entry.cwd, env=dict(entry.env), timeout=30)
        _record.on = True
        _record.plans[key] = (shortened(printed.stdout + printed.stderr, KEPT_COMMAND), entry, scenario)
    text, whose, where = _record.plans[key]
    return {"plan": text.replace(whose.name, entry.name), "plan_of": where}
