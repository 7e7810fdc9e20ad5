"""What a machine may lack, how to find out, and the one way to skip a test for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from testinfra.host import Host

# ability: the shell command that succeeds where it is there
ABILITIES = {
    "setfacl": "command -v setfacl",
    "setfattr": "command -v setfattr",
    "git": "command -v git",
    "gcc": "command -v gcc && command -v make",
    "venv": "/usr/bin/python3 -c 'import venv, ensurepip'",
    "npm": "command -v npm",
    "cargo": "command -v cargo",
    "curl": "command -v curl",
    "ssh": "command -v ssh",
    "pkill": "command -v pkill",
    "bwrap": "command -v bwrap",
    "zsh": "command -v zsh",
    "fish": "command -v fish",
    "root for loop file systems": '[ "$(id -u)" = 0 ] && [ -e /dev/loop-control ] && command -v mkfs.ext4',
    "root": '[ "$(id -u)" = 0 ]',
    "strace": "command -v strace",
    "gdb": "command -v gdb",
    "strict mode": '[ "$(id -u)" = 0 ] && command -v unshare',
    "Landlock scopes": "/usr/bin/python3 -c 'import ctypes, sys;"
    " sys.exit(ctypes.CDLL(None).syscall(444, None, 0, 1) < 6)'",
    "FUSE": '[ "$(id -u)" = 0 ] && [ -c /dev/fuse ] && : <>/dev/fuse',
    "btrfs home": '[ "$(id -u)" = 0 ] && [ "$(stat -f -c %T /home)" = btrfs ] && command -v btrfs',
}

_GUEST = {
    "cargo": "no toolchain in the guest's small system",
    "npm": "no toolchain in the guest's small system",
    "btrfs home": "only in guests with homes on btrfs",
}

# kind of machine (JAI_MACHINE): {ability that is not available there: why}
NOT_AVAILABLE = {
    "": {
        "cargo": "toolchains that lie in a home are hidden by the wall",
        "btrfs home": "only in the round with --home-fs btrfs",
    },
    "ordinary-user": {
        "cargo": "toolchains that lie in a home are hidden by the wall",
        "root for loop file systems": "an ordinary user may not mount them",
        "btrfs home": "an ordinary user may not mount one",
        "Landlock scopes": "/usr/bin/python3 -c 'import ctypes, sys;"
        " sys.exit(ctypes.CDLL(None).syscall(444, None, 0, 1) < 6)'",
        "FUSE": "an ordinary user may not mount one",
        "root": "the controls are root's",
        "strict mode": "its helper is installed by root: jai --setup",
    },
    "btrfs": {"cargo": "toolchains that lie in a home are hidden by the wall"},
    "guest-ext4": _GUEST,
    "guest-xfs": _GUEST,
    "guest-tmpfs": _GUEST,
    "guest-btrfs": {name: why for name, why in _GUEST.items() if name != "btrfs home"},
}


def needs(ability: str) -> pytest.MarkDecorator:
    """Let a test run only where the machine has an ability."""
    if ability not in ABILITIES:
        message = f"{ability} is not in conformance/abilities.py"
        raise ValueError(message)
    return pytest.mark.needs(ability)


def check(host: Host, ability: str) -> None:
    """Skip the running test if the machine lacks an ability, or fail it if it must have it."""
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    if host.run(f"env {path} sh -c %s", ABILITIES[ability]).rc == 0:
        return
    kind = os.environ.get("JAI_MACHINE", "")
    excused = NOT_AVAILABLE.get(kind, {}).get(ability)
    if os.environ.get("JAI_MUST_HAVE") == "all" and excused is None:
        pytest.fail(f"this machine ({kind or 'default'}) must have: {ability}", pytrace=False)
    pytest.skip(f"not available here: {ability}" + (f" ({excused})" if excused else ""))
