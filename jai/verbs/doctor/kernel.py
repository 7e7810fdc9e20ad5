"""What the kernel has, and how it is set."""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import termios

from jai._core import lib
from jai.host import read_bytes
from jai.verbs.doctor.records import NO, OPTIONAL, YES, Finding
from jai.verbs.doctor.system_calls import (
    CALLS,
    LANDLOCK_CREATE_RULESET,
    PR_GET_SECCOMP,
    PR_SET_NO_NEW_PRIVS,
    PRIVILEGED_CALLS,
    SECCOMP_MODE_FILTER,
    TIOCSTI,
    errno_of,
    prctl,
    succeed,
    syscall,
    sysctl,
    words_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from jai.verbs.doctor.records import Patient

FLOOR = "5.12"
UNCONFINED = "allow it where the container is started (docker: --security-opt seccomp=unconfined)"
LANDLOCK_SCOPES = 6
OWN_MOUNTS = 60  # a jail makes fewer, besides its two copies of the tree


def kernel(_patient: Patient) -> Iterator[Finding]:
    """Ask for each system call with arguments that are never right: a kernel without it says ENOSYS."""
    release = os.uname().release
    absent = []
    for name, number in {**CALLS, **PRIVILEGED_CALLS}.items():
        code = errno_of(functools.partial(syscall, number, -1, -1, -1, -1, -1))
        if code == errno.ENOSYS or (code == errno.EPERM and name in CALLS):
            absent.append(f"{name} ({errno.errorcode[code]})")
    if not absent:
        yield Finding(YES, f"Linux {release}: has every system call that jai needs ({FLOOR} or newer)")
    elif version_of(release) < version_of(FLOOR):
        yield Finding(
            NO, f"Linux {release} is too old: it lacks {', '.join(absent)}", f"update it to {FLOOR} or newer"
        )
    else:
        words = (
            f"Linux {release} would do, but {', '.join(absent)} is kept from us, as by a container's filter"
        )
        yield Finding(NO, words, UNCONFINED)


def version_of(text: str) -> tuple[int, int]:
    """Give the first two numbers of a kernel's release."""
    first, _, rest = text.partition(".")
    second = "".join(char if char.isdigit() else " " for char in rest).split()
    return int(first), int(second[0]) if second else 0


def mount_limit(_patient: Patient) -> Iterator[Finding]:
    """Say if there is room for a jail's mounts: two copies of what is mounted, and its own."""
    there = read_bytes("/proc/self/mountinfo").count(b"\n")
    limit = sysctl("fs.mount-max")
    if not there or not limit:
        yield Finding(OPTIONAL, "unknown without /proc")
        return
    needed = 2 * there + OWN_MOUNTS
    words = f"{there} mounts here, so a jail needs up to {needed}; the limit is {limit} (fs.mount-max)"
    if needed > int(limit):
        yield Finding(NO, words, f"sudo sysctl fs.mount-max={needed * 10}, or unmount some")
    else:
        yield Finding(YES, words)


def landlock(_patient: Patient) -> Iterator[Finding]:
    """Say which of Landlock's scopes jails can have."""
    try:
        abi = syscall(LANDLOCK_CREATE_RULESET, 0, 0, 1)
    except OSError as error:
        hint = (
            "boot with lsm=landlock,..." if error.errno == errno.EOPNOTSUPP else "Linux 6.12 or newer has it"
        )
        words = (
            "switched off when the kernel was started"
            if error.errno == errno.EOPNOTSUPP
            else "not in this kernel"
        )
        yield Finding(OPTIONAL, f"{words}: jails reach abstract sockets of others ({words_of(error)})", hint)
        return
    if abi < LANDLOCK_SCOPES:
        words = (
            f"ABI {abi}: jails reach abstract sockets of others; from ABI {LANDLOCK_SCOPES} on they do not"
        )
        yield Finding(OPTIONAL, words, "update the kernel to 6.12 or newer")
        return
    yield Finding(YES, f"ABI {abi}: abstract sockets and signals stay inside")


def seccomp(_patient: Patient) -> Iterator[Finding]:
    """Install the filter of jails, in this process that ends with the answer."""
    filtered = prctl(PR_GET_SECCOMP) == SECCOMP_MODE_FILTER
    succeed(prctl(PR_SET_NO_NEW_PRIVS, 1))
    code = lib.jai_filter(0)
    if code:
        words = f"no filter can be installed: {os.strerror(code)} ({errno.errorcode.get(code, code)})"
        yield Finding(NO, words, "use a kernel with CONFIG_SECCOMP_FILTER; in a container allow seccomp")
        return
    words = f"the filter of jails was installed, {lib.jai_filter_rows(0)} rules"
    yield Finding(YES, words + ("; there is one around us already" if filtered else ""))


def tiocsti(_patient: Patient) -> Iterator[Finding]:
    """Type into a terminal made for it, without privileges."""
    setting = sysctl("dev.tty.legacy_tiocsti")
    code = errno_of(_try_tiocsti)
    if code == 0:
        words = "outside any program may type into its terminal, in a jail none may" + (
            " (dev.tty.legacy_tiocsti=1)" if setting == "1" else ""
        )
        yield Finding(YES, words)
    elif code == errno.EIO:
        yield Finding(YES, "no program can type into its terminal (dev.tty.legacy_tiocsti=0)")
    else:
        yield Finding(OPTIONAL, f"unknown: no terminal to try it ({os.strerror(code)})")


def _try_tiocsti() -> None:
    _, slave = os.openpty()  # while the other side is open, nobody hangs up on us
    if os.geteuid() == 0:  # root may always
        errno_of(lambda: os.setresuid(65534, 65534, 65534))
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    fcntl.ioctl(slave, TIOCSTI, b"x")
