"""At a terminal, in a pipeline and in great numbers a command in a jail is as one without jai."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.abilities import needs
from conformance.accounts import must, run
from conformance.clauses import clause
from conformance.jails import in_each_mode
from conformance.keys import PROMPT

if TYPE_CHECKING:
    from conformance.accounts import Account
    from conformance.conftest import MakeJail, Outside

KEYS = str(Path(__file__).with_name("keys.py"))
CTRL_C, CTRL_Z, CTRL_BACKSLASH, ESCAPE = "\x03", "\x1a", "\x1c", "\x1b"
# Each says when it is there, so that no key comes too early.
PROGRAMS = {
    "wait": "#!/bin/sh\necho up; exec sleep 1000\n",
    "briefly": "#!/bin/sh\necho up; read line; echo got $line\n",
    "sizes": "#!/bin/bash\ntrap 'echo size $(stty size) end' WINCH\necho up $(stty size) end\n"
    "while :; do read -t 1 line; done\n",
}
STATUS = [["type", "echo status $?.\n"], ["see", "\nstatus "], ["see", PROMPT]]
# What is typed, and what is waited for; $J is the word before a command.
DIALOGUES = {
    "ctrl-C": [["type", "$J ./wait\n"], ["see", "\nup"], ["type", CTRL_C], ["see", PROMPT], *STATUS],
    "ctrl-backslash": [
        ["type", "$J ./wait\n"],
        ["see", "\nup"],
        ["type", CTRL_BACKSLASH],
        ["see", PROMPT],
        *STATUS,
    ],
    "ctrl-Z and fg": [
        *(["type", "$J ./briefly\n"], ["see", "\nup"], ["type", CTRL_Z], ["see", "Stopped"], ["see", PROMPT]),
        *(
            ["type", "fg\n"],
            ["see", "./briefly"],
            ["type", "text\n"],
            ["see", "got text"],
            ["see", PROMPT],
            *STATUS,
        ),
    ],
    "a resized window": [
        *(
            ["type", "$J ./sizes\n"],
            ["see", "up 24 80 end"],
            ["size", "30", "100"],
            ["see", "size 30 100 end"],
        ),
        *(["type", CTRL_C], ["see", PROMPT], *STATUS),
    ],
    "a pipeline": [
        ["type", "printf 'b\\na\\n' | $J sort | tr a-z A-Z; echo \"(${PIPESTATUS[*]})\"\n"],
        *(["see", "A\r\nB\r\n(0 0 0)"], ["see", PROMPT]),
    ],
    "statuses": [
        ["type", 'for i in 0 1 63 126 127 200 255; do $J sh -c "exit $i"; echo was $?; done\n'],
        *(["see", "was 255\r\n"], ["see", PROMPT]),
    ],
    "a death by a signal": [["type", "$J sh -c 'kill -SEGV $$'\n"], ["see", PROMPT], *STATUS],
    # Whether the prompt comes before what it says is chance.
    "a background job": [
        *(
            ["type", "$J ./wait & sleep 0\n"],
            ["see", "up\r\n"],
            ["type", "kill %1; wait %1; echo status $?.\n"],
        ),
        *(["see", "\nstatus "], ["see", PROMPT]),
    ],
}
PROGRAMS_OF_THE_TERMINAL = {
    "less": [
        *(
            ["type", "seq 1000 | $J less\n"],
            ["see", "\r\n5\r\n"],
            ["type", "G"],
            ["see", "1000"],
            ["type", "q"],
        ),
        *(["see", PROMPT], *STATUS),
    ],
    "vim": [
        *(["type", "$J vi -u NONE -N text\n"], ["see", '"text"'], ["type", "ihello"], ["see", "hello"]),
        *(["type", f"{ESCAPE}:wq\n"], ["see", PROMPT], *STATUS, ["type", "cat text\n"], ["see", "\nhello"]),
    ],
}


def talk(account: Account, folder: str, jai: str, acts: list[list[str]]) -> list[str]:
    """What a dialogue shows with a word before its commands; an error if something does not appear."""
    # Where a core would be written, bash says so; a jail writes none.
    start = [["type", f"ulimit -c 0; J={shlex.quote(jai)}\n"], ["see", PROMPT]]
    told = json.loads(must(account.script(KEYS, folder, json.dumps([*start, *acts]))).stdout)
    assert told["missing"] == "", told["seen"][-1]
    seen: list[str] = told["seen"]
    return [text.replace(jai, "") if jai else text for text in seen]


def furnish(account: Account, folder: str) -> None:
    """Make the programs."""
    for name, text in PROGRAMS.items():
        must(account.sh(f"printf %s {shlex.quote(text)} > {folder}/{name}; chmod +x {folder}/{name}"))


@clause("W02")
@in_each_mode
@pytest.mark.parametrize("name", DIALOGUES)
def test_a_terminal(jail: MakeJail, outside: Outside, mode: str, name: str) -> None:
    """Keys, jobs, the window, pipelines and statuses: the terminal shows what it shows without jai."""
    account, shut = outside.home.account, jail(mode)
    furnish(account, shut.project)
    before = outside.state()

    seen = talk(account, shut.project, shut.entry(), DIALOGUES[name])

    assert outside.state() == before
    assert settled(seen) == settled(talk(account, shut.project, "", DIALOGUES[name]))  # the control


def settled(seen: list[str]) -> list[str]:
    """What does not differ from one run to the next: not where a line is broken, nor a job's words."""
    return [" ".join(text.split()) for text in seen if "[1]" not in text][1:]


@clause("W02")
@needs("less and vi")
@in_each_mode
@pytest.mark.parametrize("name", PROGRAMS_OF_THE_TERMINAL)
def test_programs_of_the_terminal(jail: MakeJail, outside: Outside, mode: str, name: str) -> None:
    """A pager and an editor that take the whole screen come up, are used, and give it back."""
    account, shut = outside.home.account, jail(mode)
    acts = PROGRAMS_OF_THE_TERMINAL[name]
    before = outside.state()

    talk(account, shut.project, shut.entry(), acts)

    assert outside.state() == before
    must(run(account.host, f"rm -f {shut.project}/text"))
    talk(account, shut.project, "", acts)  # the control


IN_A_ROW, AT_ONCE = 20, 8
# The user, and in strict mode the strict id.
USERS = r"""
users=$(id -u)$(sed -n "s/^$(id -u):\([0-9]*\):.*/,\1/p" /etc/subuid)
"""
# A jail is taken down when its run has left already; until then its lock is held, its keeper is there, and
# who has ended waits for PID 1 outside.
SETTLE = f"""{USERS}
held=$(find ~/.jai -name lock -printf ':%i |')none
while grep -qE "$held" /proc/locks || ps -o comm= -u "$users" | grep -qE '^jai|defunct'; do sleep 0.1; done
"""
# What runs could leave: mounts, files of the storage, processes.
TRACES = rf"""{USERS}
cat /proc/self/mountinfo; find ~/.jai -mindepth 1 ! -path '*/.plans*' | sort
ps -o args= -u "$users" | grep -v 'ps -o\|grep -v\|sh -c\|^sort\|^find' | sort
"""


@clause("W05")
@in_each_mode
def test_nothing_is_left_of_many_runs(jail: MakeJail, outside: Outside, mode: str) -> None:
    """One after the other and all at once: no mount, process, lock or file more than after the first."""
    account, shut = outside.home.account, jail(mode)
    entry, look = shut.entry(), f"{SETTLE} {TRACES}"
    first = must(account.sh(f"{entry} true; {look}", cwd=shut.project)).stdout
    before = outside.state()

    row = account.sh(f"for i in $(seq {IN_A_ROW}); do {entry} true || exit; done; echo all", cwd=shut.project)
    talk_of_each = f"{entry} sh -c 'echo $JAI_MODE; sleep 1'"
    crowd = account.sh(f"for i in $(seq {AT_ONCE}); do {talk_of_each} & done; wait", cwd=shut.project)

    assert (row.stdout, crowd.words) == ("all\n", [mode] * AT_ONCE)
    assert must(account.sh(look, cwd=shut.project)).stdout == first
    assert outside.state() == before
    # The control: while one runs, it is seen.
    one = f"{entry} sh -c 'echo up; exec sleep 1000' >up & until grep -q up up; do sleep 0.1; done"
    live = account.sh(f"{one}\n{TRACES}\nkill $!; wait $!", cwd=shut.project)
    assert "sleep 1000" in live.stdout
