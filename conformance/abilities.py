"""What a machine may lack, how to find out, and the one way to skip a test for it."""

from __future__ import annotations

import functools
import os
import shlex
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from testinfra.host import Host

# Known of each guest beforehand, and examined by the scenario that needs it.
NO_IDMAP = 'echo "$JAI_MACHINE" | grep -qw no-idmap'

# Only there may a scenario change what is the whole machine's: conformance/guests/inside/furnish. A machine
# that ssh has reached has the mark, too, but nothing shall be left there.
A_GUEST = """[ -e /etc/jai-guest ] && ! { echo "$JAI_MACHINE" | grep -qw reached; }"""


def since(major: int, minor: int) -> str:
    """Give the command that succeeds from that Linux on."""
    return f"uname -r | awk -F'[.]' '{{ exit $1 * 1000 + $2 < {major * 1000 + minor} }}'"


NOT_TOO_OLD = since(5, 12)

# Runs a command with a filter that does nothing but answer ENOSYS to openat2, as jai's and systemd's do.
WITHOUT_OPENAT2 = """
import ctypes, os, struct, sys
rows = [(0x20, 0, 0, 0), (0x15, 0, 1, 437), (0x06, 0, 0, 0x50026), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
program = struct.pack("HxxxxxxP", len(rows), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
    raise OSError(ctypes.get_errno(), "prctl")
os.execvp(sys.argv[1], sys.argv[1:])
"""

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
    "a bubblewrap that can do without openat2": f"/usr/bin/python3 -I -c {shlex.quote(WITHOUT_OPENAT2)}"
    " bwrap --ro-bind / / true",
    "less and vi": "command -v less && command -v vi",
    "zsh": "command -v zsh",
    "fish": "command -v fish",
    "root for loop file systems": '[ "$(id -u)" = 0 ] && [ -e /dev/loop-control ] && command -v mkfs.ext4 &&'
    " [ -w /home ]",  # on NFS root is nobody, and mounts nothing in a home
    "chromium": "command -v chromedriver && { command -v chromium || command -v google-chrome; }",
    "root": '[ "$(id -u)" = 0 ]',
    "a file system that ignores case": f'{NOT_TOO_OLD} && [ "$(id -u)" = 0 ] && [ -e /dev/loop-control ] &&'
    " [ -e /sys/fs/ext4/features/casefold ] && command -v mkfs.ext4 && command -v chattr",
    "vagrant": "command -v vagrant && vagrant plugin list | grep -q vagrant-libvirt",
    "dropbear": "command -v dropbear && command -v dropbearkey",
    "strace": "command -v strace",
    "a browser": "command -v chromium",
    "mandoc": "command -v mandoc",
    "bash-completion": "[ -e /usr/share/bash-completion/bash_completion ]",
    "systemd-sysusers": "command -v systemd-sysusers",
    "mkfs": "command -v mkfs.ext4 && command -v mkfs.btrfs && command -v mkfs.xfs",
    "namespaces": '[ "$(id -u)" = 0 ] || set -- -U --map-current-user; unshare -mpf "$@" true',
    "java": "command -v java",
    "node": "command -v node",
    "gdb": "command -v gdb",
    "Landlock scopes": "/usr/bin/python3 -c 'import ctypes, sys;"
    " sys.exit(ctypes.CDLL(None).syscall(444, None, 0, 1) < 6)'",
    "strict mode": f'[ "$(id -u)" = 0 ] && command -v unshare && ! {NO_IDMAP}',
    "a home that can not be id-mapped": NO_IDMAP,
    "a tmpfs that can be id-mapped": since(6, 3),
    "FUSE": '[ "$(id -u)" = 0 ] && [ -c /dev/fuse ] && : <>/dev/fuse',
    "a kernel that is too old": f"! {{ {NOT_TOO_OLD}; }}",
    "a machine made to be wrecked": f"{A_GUEST} && {NOT_TOO_OLD}",
    "a power that will be cut": 'echo "$JAI_MACHINE" | grep -qw power-cut',
    "systemd": f"{A_GUEST} && [ -d /run/systemd/system ]",
    "AppArmor that can forbid user namespaces": f"{A_GUEST} && mountpoint -q /sys/kernel/security &&"
    " grep -qw userns_create /sys/kernel/security/apparmor/features/namespaces/mask",
    "btrfs home": '[ "$(id -u)" = 0 ] && [ "$(stat -f -c %T /home)" = btrfs ] && command -v btrfs',
}

# kinds of machine (JAI_MACHINE, words): {ability that is not available there: why}
ORDINARY = {
    "a browser": "a download of more than 100 MB: apt-get install chromium",
    "java": "a download of more than 100 MB: apt-get install default-jre-headless",
    "a home that can not be id-mapped": "only in guests with such a file system",
    "a file system that ignores case": "only kernels with CONFIG_UNICODE have one, as the guests' do",
    "a kernel that is too old": "only in a guest that has one",
    "vagrant": "too much to install for one check: apt-get install vagrant vagrant-libvirt",
    "chromium": "a browser is too much to install for one page: apt-get install chromium-driver",
    "a machine made to be wrecked": "settings of the whole machine are changed only in a guest",
    "a power that will be cut": "only in guests with homes on a disk",
    "systemd": "only in a guest that has it as PID 1",
    "AppArmor that can forbid user namespaces": "only in guests, whose profiles are nobody's",
}
REACHED = "said when the machine was asked"
NOT_AVAILABLE = {
    "": ORDINARY
    | {
        "cargo": "toolchains that lie in a home are hidden by the wall",
        "btrfs home": "only in the round with --home-fs btrfs",
    },
    "ordinary-user": ORDINARY
    | {
        "cargo": "toolchains that lie in a home are hidden by the wall",
        "root for loop file systems": "an ordinary user may not mount them",
        "btrfs home": "an ordinary user may not mount one",
        "Landlock scopes": "only from Linux 6.12 on",
        "FUSE": "an ordinary user may not mount one",
        "root": "the controls are root's",
        "strict mode": "its helper is installed by root: jai --setup",
    },
    "btrfs": ORDINARY | {"cargo": "toolchains that lie in a home are hidden by the wall"},
    "reached": dict.fromkeys(set(ABILITIES) - {"root"}, REACHED),
    "guest": {
        "a browser": "too large for the guest's small system",
        "java": "too large for the guest's small system",
        "node": "no toolchain in the guest's small system",
        "cargo": "no toolchain in the guest's small system",
        "npm": "no toolchain in the guest's small system",
        "a power that will be cut": "only in guests with homes on a disk",
        "a bubblewrap that can do without openat2": "Debian 13 has built one that can not",
    },
    "old": dict.fromkeys(
        ("a machine made to be wrecked", "a file system that ignores case"),
        "jai does not start on such a kernel",
    ),
    "not-systemd": {"systemd": ORDINARY["systemd"]},
    "no-apparmor": {"AppArmor that can forbid user namespaces": "only from Linux 6.7 on"},
    "not-btrfs": {"btrfs home": "only in guests with homes on btrfs"},
    "no-idmap": {"strict mode": "the kernel has no id-mapped mounts of the home's file system"},
    "tmpfs-without-idmap": {"a tmpfs that can be id-mapped": "only from Linux 6.3 on"},
    "not-old": {"a kernel that is too old": ORDINARY["a kernel that is too old"]},
    "no-scopes": {"Landlock scopes": "only from Linux 6.12 on"},
    "idmap": {"a home that can not be id-mapped": ORDINARY["a home that can not be id-mapped"]},
    "nfs": {"root for loop file systems": "on NFS root is nobody, and mounts nothing in a home"},
}


MARK = "needs(ability): run only where the machine has the ability"


def needs(ability: str) -> pytest.MarkDecorator:
    """Let a test run only where the machine has an ability."""
    if ability not in ABILITIES:
        message = f"{ability} is not in conformance/abilities.py"
        raise ValueError(message)
    return pytest.mark.needs(ability)


@functools.cache
def has(host: Host, ability: str) -> bool:
    """Say whether the machine has an ability."""
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return bool(host.run(f"env {path} sh -c %s", ABILITIES[ability]).rc == 0)


def check(host: Host, ability: str) -> None:
    """Skip the running test if the machine lacks an ability, or fail it if it must have it."""
    if has(host, ability):
        return
    kinds = os.environ.get("JAI_MACHINE", "").split() or [""]
    excuses = [NOT_AVAILABLE[kind][ability] for kind in kinds if ability in NOT_AVAILABLE.get(kind, {})]
    excused = next(iter(excuses), None)
    if os.environ.get("JAI_MUST_HAVE") == "all" and excused is None:
        pytest.fail(f"this machine ({' '.join(kinds) or 'default'}) must have: {ability}", pytrace=False)
    pytest.skip(f"not available here: {ability}" + (f" ({excused})" if excused else ""))
