"""The report of a run: build/report/report.json for programs, and build/report/index.html for people.

`python -m conformance.guests.report FILE…` makes one page of the JSON of several runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.guests import page
from conformance.guests.machine import QEMU
from conformance.guests.rounds import HERE, Round
from conformance.guests.where import Local

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / "build/report"
# What pytest's -k takes as one word.
WORD = re.compile(r"[\w:+\-.\[\]/]+")
OPERATORS = {"and", "or", "not"}


def selects(scenario: str) -> str:
    """An expression for -k that selects this scenario by its name and, as far as -k can, its parameters."""
    name, _, parameters = scenario.rpartition("::")[2].partition("[")
    words = WORD.findall(parameters.removesuffix("]"))
    return " and ".join([name, *(word for word in dict.fromkeys(words) if word not in OPERATORS)])


def _again(its: Round, scenario: str, mode: str) -> dict[str, str]:
    """What is typed to run this scenario again, and to try it by hand."""
    where = f"KERNEL={its.kernel} HOME_FS={its.home_fs}" + (
        "" if its.init == "busybox" else f" INIT={its.init}"
    )
    by_hand = f"make guest {where}"
    if its.place:
        homes = "" if its.home_fs == HERE or isinstance(its.place, Local) else f" HOME_FS={its.home_fs}"
        where = f"GUEST={its.place.name}{homes}"
        by_hand = its.place.by_hand
    only = [*([f"MODE={mode}"] if mode else []), f"K={shlex.quote(selects(scenario))}"]
    what = f"make mutants LEAVE_OUT={its.without}" if its.without else "make conformance"
    return {"again": " ".join([what, where, *only]), "by_hand": by_hand}


def _guest(its: Round) -> dict[str, Any]:
    """What is known of a guest and of each scenario in it."""
    return {
        "name": its.name,
        "kernel": its.version or its.kernel,
        "only": its.only,
        "versions": its.versions,
        "total": its.total,
        "ended": its.ended,
        "broken": its.broken,
        "running": its.running,
        "scenarios": [
            {"id": name, **seen, **_again(its, name, seen.get("mode", ""))}
            for name, seen in its.found.items()
        ],
    }


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.partition("\n")[0]


def collect(rounds: Sequence[Round], asked: str) -> dict[str, Any]:
    """All that is known after a run, or after a part of it."""
    changed = _first_line("git", "status", "--porcelain", "--untracked-files=no")
    return {
        "made": {
            "date": time.strftime("%Y-%m-%d %H:%M %Z"),
            "commit": _first_line("git", "log", "-1", "--format=%h %s"),
            "changed since": "yes" if changed else "no",
            "QEMU": _first_line(QEMU, "--version"),
            "Python": platform.python_version(),
            "kernel": platform.release(),
        },
        "asked": asked,
        "guests": [_guest(its) for its in rounds],
    }


def write(found: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Write both files, and give the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(found, indent=1))
    place = folder / "index.html"
    place.write_text(page.render(found), encoding="utf-8")
    return place


def tell(rounds: Sequence[Round], folder: Path = FOLDER) -> str:
    """Write both files, and give the line that says so."""
    # What make was asked for, as it hands that over.
    asked = sorted((name[6:], value) for name, value in os.environ.items() if name.startswith("ASKED_"))
    typed = ["make conformance", *(f"{name}={shlex.quote(value)}" for name, value in asked)]
    return f"the report: {os.path.relpath(write(collect(rounds, ' '.join(typed)), folder))}"


def told(folder: Path) -> list[Round]:
    """What was tried on this machine: a file for each file system of the homes, named so, by `tell.py`."""
    rounds = []
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime):
        home_fs = HERE if path.name == "disk" else path.name
        its = Round("", home_fs, place=Local(), version=platform.release())
        for line in path.read_text().splitlines():
            its.hear(json.loads(line))
        rounds.append(its)
    return rounds


def main(arguments: Sequence[str] | None = None) -> int:
    """Make one page of several runs, for example those of a build server's jobs."""
    parser = argparse.ArgumentParser(prog="conformance.guests.report", description=main.__doc__)
    parser.add_argument("json", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--told", type=Path, metavar="FOLDER", help="what scenarios on this machine told")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the page is written")
    asked = parser.parse_args(arguments)
    if asked.told:
        print(tell(told(asked.told), asked.folder))
        return 0
    if not asked.json:
        parser.error("nothing to make a page of")
    runs = [json.loads(path.read_text()) for path in asked.json]
    together = {**runs[0], "guests": [guest for run in runs for guest in run["guests"]]}
    together["asked"] = " ; ".join(dict.fromkeys(run["asked"] for run in runs))
    print(write(together, asked.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
