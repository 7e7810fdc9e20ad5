"""Machines on which jai can not do what it promises: it says so, and starts nothing."""

from __future__ import annotations

import contextlib
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from conformance.abilities import needs
from conformance.accounts import must, run
from conformance.clauses import clause
from conformance.jails import FAILED, in_each_mode, in_the_user_s_own_modes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

    from conformance.accounts import Account, Seen
    from conformance.conftest import MakeJail, Outside
    from conformance.homes import Home


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


@clause("K04")
@needs("a file system that ignores case")
def test_a_home_that_ignores_case(account: Account, jai: str) -> None:
    """The kernel combines no such directories with others; bare mode does not want that."""
    host, image, home = account.host, "/var/tmp/folded.img", "/srv/folded"
    made = f"truncate -s 64M {image} && mkfs.ext4 -q -O casefold -E encoding=utf8 {image} && mkdir {home}"
    must(run(host, f"{made} && mount -o loop {image} {home} && mkdir {home}/ada && chattr +F {home}/ada"))
    must(run(host, f"mkdir {home}/ada/project && chown -R {account.name} {home}/ada"))
    options: dict[str, Any] = {"cwd": f"{home}/ada/project", "env": {"HOME": f"{home}/ada"}}
    try:
        refused = account.run([jai, "-m", "casual", "touch", "started"], **options)
        control = account.run(
            [jai, "-m", "bare", "-j", "folded", "sh", "-c", "touch bare; ls BARE"], **options
        )
        left = must(account.sh("ls", cwd=options["cwd"])).words
    finally:
        must(run(host, f"until umount {home}; do sleep 0.1; done; rm -r {home} {image}"))

    assert (refused.rc, refused.stdout) == (FAILED, "")
    assert len(refused.stderr.splitlines()) <= 3
    assert f"the kernel makes no overlay of {home}/ada" in refused.stderr
    assert "-m bare" in refused.stderr
    assert (control.rc, control.stdout) == (0, "BARE\n"), control.stderr
    assert left == ["bare"]


# --- user namespaces --------------------------------------------------------------------------------------

SWITCHES = ("user.max_user_namespaces", "kernel.unprivileged_userns_clone")


@contextlib.contextmanager
def switched_off(host: Host, setting: str) -> Iterator[None]:
    """Set a setting of the whole machine to 0."""
    was = must(run(host, f"sysctl -n {setting}")).stdout.strip()
    must(run(host, f"sysctl -q {setting}=0"))
    try:
        yield
    finally:
        must(run(host, f"sysctl -q {setting}={was}"))


def is_refused_for(seen: Seen, setting: str) -> bool:
    """Three lines at most, that name the setting and the command that changes it."""
    said = f"user namespaces are switched off here ({setting}" in seen.stderr
    mends = f"hint: sudo sysctl {setting}=" in seen.stderr
    return (seen.rc, seen.stdout) == (FAILED, "") and len(seen.stderr.splitlines()) <= 3 and said and mends


@clause("K03")
@needs("a machine made to be wrecked")
@in_each_mode
@pytest.mark.parametrize("setting", SWITCHES)
def test_user_namespaces_that_are_switched_off(
    jail: MakeJail, jai: str, outside: Outside, mode: str, setting: str
) -> None:
    """The command and its doctor say which setting that is, and nothing is started; afterwards it works."""
    account = outside.home.account
    before = outside.state()

    with switched_off(account.host, setting):
        refused, doctor = jail(mode).run(["touch", "started"]), account.run([jai, "--doctor"])
    control = jail(mode).run(["touch", "control"])

    assert is_refused_for(refused, setting), refused.stderr
    assert doctor.rc != 0
    assert f"switched off: {setting}=0" in doctor.stdout
    assert f"sudo sysctl {setting}=" in doctor.stdout
    assert (control.rc, control.stderr) == (0, "")
    assert must(account.sh("ls project")).words == ["README.md", "control", "src"]
    assert outside.state() == before


@clause("K03")
@needs("a machine made to be wrecked")
@needs("strict mode")
def test_user_namespaces_that_only_root_may_make(jail: MakeJail, account: Account, home: Home) -> None:
    """Debian's setting spares root: its own jail works. What it starts for a user is the user's."""
    setting, host = "kernel.unprivileged_userns_clone", account.host
    strict = jail("strict")
    by_sudo = (
        f"cd {home.project} && SUDO_USER={account.name} {shlex.join([strict.jai, '-m', 'strict', 'id'])}"
    )

    with switched_off(host, setting):
        refused = run(host, by_sudo)
        root_s_own = run(host, f"cd /srv && {strict.jai} -D -m bare id -u")
    control = run(host, by_sudo)

    assert is_refused_for(refused, setting), refused.stderr
    assert (root_s_own.rc, root_s_own.stdout) == (0, "0\n"), root_s_own.stderr
    assert "(jai)" in control.stdout


# --- AppArmor ---------------------------------------------------------------------------------------------

# A profile that allows everything but user namespaces; what has a profile of its own gets that. Ubuntu's
# kernels restrict everybody so by themselves, Debian's do not.
RESTRICTING = """abi <abi/4.0>,
profile jai-scenario flags=(attach_disconnected) {
  capability, network, unix, mount, remount, umount, pivot_root, signal, ptrace, dbus, mqueue, change_profile,
  /{,**} rwlkm,
  /** pix,
}
"""
RESTRICTED = "echo exec jai-scenario >/proc/self/attr/apparmor/exec;"
# `--setup` asks for the setting of those kernels, and nobody can add it: this process sees one.
SET_UP = """
mount -t tmpfs none /proc/sys/kernel
echo 1 >/proc/sys/kernel/apparmor_restrict_unprivileged_userns
"""


@clause("K03")
@needs("AppArmor that can forbid user namespaces")
@in_the_user_s_own_modes
def test_user_namespaces_that_apparmor_forbids(jail: MakeJail, jai: str, outside: Outside, mode: str) -> None:
    """Said in three lines; with the profile that --setup makes and loads into the kernel, jai works."""
    account, before, host = outside.home.account, outside.state(), outside.home.account.host
    profile = shlex.quote(RESTRICTING)
    must(run(host, f"echo {profile} | apparmor_parser -r --skip-cache"))

    refused = jail(mode).run(["touch", "started"], prefix=RESTRICTED)
    set_up = run(host, f"unshare --mount sh -ec {shlex.quote(SET_UP + f'exec {jai} --setup')}")
    control = jail(mode).run(["cat", "/proc/self/attr/apparmor/current"], prefix=RESTRICTED)
    removed = run(host, f"{jai} --setup --remove")
    again = jail(mode).run(["touch", "started"], prefix=RESTRICTED)
    run(host, f"echo {profile} | apparmor_parser -R")

    assert "/etc/apparmor.d/jai, which lets" in set_up.stdout, set_up.stderr
    assert (control.rc, control.stderr) == (0, "")
    assert control.stdout.split()[0].startswith("jai")
    assert removed.rc == 0
    for seen in (refused, again):
        assert (seen.rc, seen.stdout) == (FAILED, "")
        assert len(seen.stderr.splitlines()) <= 3
        assert "the AppArmor profile jai-scenario forbids user namespaces" in seen.stderr
    assert must(account.sh("ls project")).words == ["README.md", "src"]
    assert outside.state() == before
