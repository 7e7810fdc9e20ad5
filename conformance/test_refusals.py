"""Machines on which jai can not do what it promises: it says so, and starts nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.abilities import needs
from conformance.accounts import must, run
from conformance.clauses import clause
from conformance.jails import FAILED, in_each_mode

if TYPE_CHECKING:
    from conformance.conftest import MakeJail, Outside


@clause("K01")
@needs("a kernel that is too old")
@in_each_mode
def test_a_kernel_before_5_12(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Three lines that name the kernel and the one that is needed; the command is not started."""
    release = must(run(outside.home.account.host, "uname -r")).stdout.strip()
    before = outside.state()

    seen = jail(mode).run(["touch", "started"])

    assert (seen.rc, seen.stdout) == (FAILED, "")
    assert len(seen.stderr.splitlines()) <= 3
    assert f"this kernel ({release}) is too old: jai needs Linux 5.12 or newer" in seen.stderr
    assert must(outside.home.account.sh("ls project")).words == ["README.md", "src"]
    assert outside.state() == before


@clause("K02")
@needs("a home that can not be id-mapped")
def test_strict_mode_on_a_home_that_can_not_be_id_mapped(
    jail: MakeJail, outside: Outside, strict_mode: None
) -> None:
    """The grant is refused with the way out in the message; bare mode goes that way."""
    del strict_mode
    before = outside.state()

    refused, control = jail("strict").run(["touch", "started"]), jail("bare").run(["touch", "bare"])

    assert (refused.rc, refused.stdout) == (FAILED, "")
    assert len(refused.stderr.splitlines()) <= 3
    assert "bare" in refused.stderr
    assert control.rc == 0
    assert must(outside.home.account.sh("ls project")).words == ["README.md", "bare", "src"]
    assert outside.state() == before
