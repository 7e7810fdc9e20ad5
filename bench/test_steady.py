"""What running inside costs: common work in the granted directory and in the overlay home, beside outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from bench.peers import OVERLAY, Job

if TYPE_CHECKING:
    from bench.workbench import Bench

FILES = """
import os, sys
for folder in range(50):
    os.makedirs(f'tree/{folder}/src')
    for number in range(100):
        with open(f'tree/{folder}/src/{number}.txt', 'w') as file:
            file.write(f'{folder} {number}\\n' * 100)
os.makedirs('code')
for number in range(16):
    with open(f'code/{number}.c', 'w') as file:
        file.write('#include <stdio.h>\\n#include <stdlib.h>\\n#include <string.h>\\n')
        for each in range(60):
            file.write(f'int f{number}_{each}(int n) {{ return printf("%d", n * {each}); }}\\n')
with open('code/Makefile', 'w') as file:
    objects = ' '.join(f'{number}.o' for number in range(16))
    file.write(f'code.a: {objects}\\n\\tar rcs $@ $^\\n%.o: %.c\\n\\t$(CC) -O1 -c -o $@ $<\\n')
"""
COMMIT = """
find tree -type f -exec touch -d '1 hour ago' {} + &&
git init -q tree && cd tree && git config gc.auto 0 && git add . &&
git -c user.name=ada -c user.email=ada@example.org commit -q -m tree
"""


@dataclass(frozen=True)
class Task:
    """Shell text that works in a folder: `$at`; `$here` is a name that no other round has."""

    script: str
    before: str = ":"
    rounds: int = 6


TASKS = {
    "git status": Task("git -C $at/tree status --porcelain", rounds=20),
    "find": Task("find $at/tree -size +1000k", rounds=20),
    "read": Task("find $at/tree -type f -print0 | xargs -0 cat", rounds=12),
    "rm -r": Task("rm -r $at/$here", before="rm -rf $at/gone-*; cp -al $at/tree $at/$here"),
    "untar": Task("mkdir $at/$here; tar -C $at/$here -xf $at/tree.tar", before="rm -rf $at/gone-*"),
    "make -j2": Task("make -s -B -j2 -C $at/code", rounds=4),
    "pip install": Task(
        "$at/venv/bin/pip -q --disable-pip-version-check install --no-index --no-deps"
        " --target $at/$here $at/wheels/*.whl",
        before="rm -rf $at/gone-*",
        rounds=4,
    ),
    "500 x fork and exec": Task("for i in $(seq 500); do /bin/true; done"),
}
BUDGETS = {"git status": "git-status", "find": "find", "make -j2": "make", "pip install": "pip"}
HOME_BUDGETS = {"find": "home-find", "read": "home-read"}


def furnish(bench: Bench, top: str) -> None:
    """Make what the tasks work on in a directory of the account."""
    bench.sh(f"cp -r {bench.tools}/wheels {top} && cd {top} && /usr/bin/python3 -I -c '{quoted(FILES)}'")
    bench.sh(f"cd {top} && {COMMIT}")
    bench.sh(f"cd {top} && tar -cf tree.tar tree/[1-3]* && /usr/bin/python3 -m venv venv")


def quoted(code: str) -> str:
    """Make code fit between single quotes of a shell."""
    return code.replace("'", "'\\''")


def job(task: Task, top: str, label: str, wrap: list[str]) -> Job:
    """Give the job of a task in a directory; its clock runs inside, so that no start is in it."""
    names = f"at={top}; here=gone-{label}-$BENCH_ROUND"
    clocked = f"{names}; a=$EPOCHREALTIME; {{ {task.script}; }} >/dev/null && echo $a $EPOCHREALTIME"
    return Job([*wrap, "/bin/bash", "-c", clocked], before=f"{names}; {task.before}", clock="inside")


def compare(bench: Bench, top: str, where: str, tasks: dict[str, str]) -> None:
    """Time the tasks outside, in bubblewrap with an overlay, and in a casual jail."""
    furnish(bench, top)
    compared = {}
    for name, task in TASKS.items():
        jobs = {"outside": job(task, top, "outside", []), "jai": job(task, top, "jai", [bench.jai])}
        if bench.bubblewrap.newer:
            jobs[OVERLAY] = job(task, top, "bubblewrap", bench.bubblewrap.run([], overlay=True))
        times = bench.measure(f"{name}, {where}", "outside", jobs, rounds=task.rounds, warm=1)
        base = times.get(OVERLAY) if where == "in the overlay home" else times["outside"]
        if name in tasks:
            compared[tasks[name]] = (times["jai"], base)
    bench.judge(compared)


@pytest.mark.parametrize("account", ["ada"], indirect=True)
def test_in_the_granted_directory(bench: Bench) -> None:
    """Where the work is done, jai costs nothing: it is a bind mount."""
    compare(bench, bench.cwd, "in the granted directory", BUDGETS)


@pytest.mark.parametrize("account", ["ada"], indirect=True)
def test_in_the_overlay_home(bench: Bench) -> None:
    """The view of the home costs what an overlay costs anybody."""
    compare(bench, bench.home.path, "in the overlay home", HOME_BUDGETS)
