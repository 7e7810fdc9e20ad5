"""The second half of conformance/test_power_cut.py: what is left when the machine has booted again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conformance.accounts import must, run
from conformance.clauses import clause
from conformance.conftest import WATCHED
from conformance.guests.table import KEPT, TOLD
from conformance.homes import Home
from conformance.jails import Jail, in_each_mode
from conformance.manifest import Manifest
from conformance.test_power_cut import JAIL, UNSYNCED, told

if TYPE_CHECKING:
    from testinfra.host import Host

    from conformance.accounts import Account


@pytest.fixture(scope="module")
def before() -> dict[str, Any]:
    """What the first half has written down."""
    kept: dict[str, Any] = json.loads(Path(KEPT).read_text())
    return kept


@clause("D12")
def test_the_power_was_cut(host: Host, before: dict[str, Any]) -> None:
    """The control: another boot, in which nothing runs, and what nobody had synced is lost."""
    boot = must(run(host, "cat /proc/sys/kernel/random/boot_id")).stdout

    assert boot != before["boot"]
    assert run(host, f"cat {UNSYNCED}").stdout != "lost\n"
    assert run(host, "pgrep -u ada").stdout == ""


@clause("D12")
def test_the_file_system_of_the_home_is_whole(host: Host) -> None:
    """Its own check, after its log was played back, finds nothing."""
    assert run(host, f"cat {TOLD}/check; exit $(cat {TOLD}/status)").rc == 0, (TOLD, "check")


@clause("D12")
def test_no_original_was_lost_with_the_power(account: Account, before: dict[str, Any]) -> None:
    """The home, jai's own configuration and what lies beside are, byte for byte, what they were."""
    home = Home(account, account.home, WATCHED)
    config = {path: entry for path, entry in home.config().items() if not path.startswith(JAIL)}

    assert home.manifest() == Manifest(before["home"])
    assert home.watched() == Manifest(before["watched"])
    assert Manifest(config) == Manifest(before["config"])


@clause("D12")
@in_each_mode
def test_a_jail_starts_again_with_what_it_had_synced(account: Account, jai: str, mode: str) -> None:
    """Its log goes on where it was, its /tmp is empty, and it can be written to."""
    last_words = {words[-1]: words[0] for words in map(str.split, os.environ["JAI_TOLD"].splitlines())}
    synced = int(last_words[mode])
    jail = Jail(account, jai, mode, f"{JAIL}-{mode}", f"{account.home}/project")

    seen = jail.sh("grep -x '[0-9]*' ~/notes.txt; ls -A /tmp >&2; echo more >>~/notes.txt")

    assert synced > 0
    assert (seen.rc, seen.stderr) == (0, "")
    assert told(seen.stdout) >= synced
    assert jail.sh("tail -n 1 ~/notes.txt").stdout == "more\n"
