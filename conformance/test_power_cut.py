"""Jails that write until the machine loses its power.

The scenario has two halves. The first, which is here, comes last in a guest and leaves three jails writing.
Then the guest is reset from outside, and `guests/after_the_power_cut.py` looks at it after the boot.
"""

from __future__ import annotations

import json
import shlex
import time
from typing import TYPE_CHECKING

import pytest

from conformance.abilities import needs
from conformance.accounts import must, run
from conformance.clauses import clause
from conformance.guests.table import KEPT, TOLD
from conformance.jails import MODES

if TYPE_CHECKING:
    from testinfra.host import Host

    from conformance.conftest import MakeJail
    from conformance.homes import Home

UNSYNCED = "/var/lib/jai-unsynced"
JAIL = "power"
# Changes files, new ones and the home's own, all the time, and tells of each number that it has synced.
WRITER = """
import itertools, os, sys
home = os.path.expanduser("~")
open("/tmp/left", "w").close()
os.nice(19)  # whoever cuts the power wants to get through
for number in itertools.count(1):
    with open(f"{home}/notes.txt", "a") as log:
        log.write(f"{number}\\n")
        log.flush()
        os.fsync(log.fileno())
    folder = os.open(home, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    print(number, flush=True)
    for name in (".bashrc", ".gitconfig", f"new-{number % 100}", "project/README.md"):
        with open(f"{home}/{name}", "a") as file:
            file.write("x" * 10000)
    if os.path.exists(f"{home}/Documents"):
        os.rename(f"{home}/new-{number % 100}", f"{home}/Documents/moved")
        os.truncate(f"{home}/Documents/moved", number)
    for name in os.listdir(f"{home}/Photos/2019")[:1] if os.path.exists(f"{home}/Photos/2019") else ():
        os.unlink(f"{home}/Photos/2019/{name}")
"""


def told(text: str) -> int:
    """The last number that was told whole."""
    return max((int(line) for line in text.split("\n")[:-1] if line.isdigit()), default=0)


@pytest.mark.comes_last
@clause("D12")
@needs("a power that will be cut")
def test_jails_write_until_the_power_is_cut(
    host: Host, jail: MakeJail, home: Home, strict_mode: None
) -> None:
    """A jail of each mode writes and syncs; what is on the disk beforehand is written down."""
    del strict_mode
    account = home.account
    must(run(host, f"install -d -o {account.name} {TOLD}; sync"))
    before: dict[str, object] = {"boot": must(run(host, "cat /proc/sys/kernel/random/boot_id")).stdout}
    before |= {"home": dict(home.manifest()), "watched": dict(home.watched()), "config": dict(home.config())}
    for mode in MODES:
        entry = jail(mode, name=f"{JAIL}-{mode}").entry("/usr/bin/python3", "-I", "-c", WRITER)
        must(account.sh(f"setsid {entry} </dev/null >{TOLD}/{mode} 2>&1 &", cwd=home.project))
    deadline = time.monotonic() + 60
    looks: list[list[int]] = []
    while len(looks) < 2 or not all(0 < a < b for a, b in zip(looks[0], looks[-1])):
        assert time.monotonic() < deadline, run(host, f"tail {TOLD}/*").stdout
        time.sleep(0.1)
        now = [told(run(host, f"cat {TOLD}/{mode}").stdout) for mode in MODES]
        looks += [now] if all(now) else []

    must(run(host, f"printf %s {shlex.quote(json.dumps(before))} >{KEPT}; sync {KEPT}"))
    must(run(host, f"echo lost >{UNSYNCED}"))
