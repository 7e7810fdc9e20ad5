"""The kernel asked directly: the system calls that Python has no name for, their numbers, and sysctl(8)."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

from jai.host import read_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# fmt: off
# System calls and their numbers, which are the same on every architecture.  The second group asks for a
# privilege first, so that EPERM says nothing there.
CALLS = {
    "open_tree": 428, "pidfd_open": 434, "clone3": 435, "close_range": 436, "openat2": 437,
    "pidfd_getfd": 438, "mount_setattr": 442,
}
PRIVILEGED_CALLS = {"move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432}
# fmt: on
LANDLOCK_CREATE_RULESET = 444

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
OPEN_TREE_CLONE = 1
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_IDMAP = 1, 2, 4, 0x100000
FSCONFIG_CMD_CREATE = 6
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_GET_SECCOMP = 1, 4, 21
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 38, 39
SECCOMP_MODE_FILTER = 2
STATX_ATTR_MOUNT_ROOT = 0x2000
TIOCSTI = 0x80087467 if platform.machine().startswith(("mips", "ppc", "sparc", "alpha")) else 0x5412

libc = ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char]) -> int:
    """Make a system call by its number.  Raises: OSError."""
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return succeed(libc.syscall(ctypes.c_long(number), *words))


def prctl(*arguments: int) -> int:
    """Call it with all of its arguments; -1 where it fails."""
    words = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)[:5]]
    return int(libc.prctl(*words))


def set_attributes(tree: int, attributes: int, *, recursive: bool = False, users: int = 0) -> None:
    """Set the attributes of a detached mount.  Source: mount_setattr(2), struct mount_attr."""
    wanted = ctypes.create_string_buffer(struct.pack("QQQQ", attributes, 0, 0, users), 32)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall(CALLS["mount_setattr"], tree, b"", flags, wanted, 32)


def unshare_mounts() -> None:
    """Go into a mount namespace from which nothing comes back."""
    succeed(libc.unshare(CLONE_NEWNS))
    succeed(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))


def succeed(result: int) -> int:
    """Give what a call answered.  Raises: OSError where that is an error."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def errno_of(work: Callable[[], object]) -> int:
    """Give 0, or the errno that some work failed with."""
    try:
        work()
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def words_of(error: OSError) -> str:
    """Give the kernel's answer in words, with its name."""
    return f"{error.strerror} ({errno.errorcode.get(error.errno or 0, error.errno)})"


def write(path: str, text: str, flags: int = os.O_WRONLY | os.O_CREAT | os.O_TRUNC) -> None:
    """Write a file in one piece, as those of /proc want it."""
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def sysctl(name: str) -> str:
    """Give a setting of the kernel, "" where there is none."""
    return os.fsdecode(read_bytes(f"/proc/sys/{name.replace('.', '/')}")).strip()
