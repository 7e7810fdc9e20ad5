"""Files that only root may change: read, replaced whole, removed; and who can change what leads to them."""

from __future__ import annotations

import contextlib
import errno
import grp
import hashlib
import os
import pwd
import stat

from jai.verbs.setup.messages import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PART = ".jai+"  # behind the name of a file that is being written
MOST_LINKS = 40  # as the kernel: path_resolution(7)

# What a file keeps when it is replaced, beside owner and mode.
KEPT_ATTRIBUTES = ("security.selinux", "system.posix_acl_access")


def read(path: str) -> bytes | None:
    """Read a file, None if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def drop(path: str) -> None:
    """Remove a file if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def replace(path: str, content: bytes, finish: Callable[[int], None] | None = None) -> None:
    """Write a file whole or not at all, with the owner, mode and label of the one that it replaces.

    The caller holds the file's lock, so what a call that was killed has left may be thrown away.
    """
    part = f"{path}{PART}"
    drop(part)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(fd, left) :]
        (finish or (lambda fd: _resemble(fd, path)))(fd)
        os.fsync(fd)
        os.rename(part, path)
    except BaseException:
        drop(part)
        raise
    finally:
        os.close(fd)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _resemble(fd: int, path: str) -> None:
    """Give a new file what the old one of that name has; 0644 and root's where there is none."""
    try:
        old = os.stat(path)
    except FileNotFoundError:
        os.fchmod(fd, 0o644)
        return
    os.fchown(fd, old.st_uid, old.st_gid)
    for name in KEPT_ATTRIBUTES:
        with contextlib.suppress(OSError):
            value = os.getxattr(path, name)
            if name not in os.listxattr(fd) or os.getxattr(fd, name) != value:
                os.setxattr(fd, name, value)
    os.fchmod(fd, stat.S_IMODE(old.st_mode))


def drop_file(path: str, digests: Sequence[str], before: Callable[[str], None] | None = None) -> bool:
    """Remove a file of ours; say so if it is gone or somebody has changed it."""
    content = read(path)
    if content is None:
        say("already gone", path)
    elif digest(content) not in digests:
        say("left", f"{path}, which was changed since")
    else:
        if before:
            before(path)
        os.unlink(path)
        return True
    return False


def digest(content: bytes) -> str:
    """Give what a file's content is known by."""
    return hashlib.sha256(content).hexdigest()


def ways(path: str) -> Iterator[str]:
    """Give every directory (and the file) that is passed on the way to a path, as far as they exist."""
    at, todo, links = "/", path.strip("/").split("/"), 0
    yield at
    while todo:
        here = os.path.normpath(os.path.join(at, todo.pop(0)))
        try:
            target = os.readlink(here)
        except FileNotFoundError:
            return
        except OSError:  # EINVAL: it is no link
            yield (at := here)
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        at = "/" if target.startswith("/") else at
        todo[:0] = [part for part in target.split("/") if part]


def other_writer(path: str) -> str:
    """Name who besides root can change a directory or file, "" if nobody can.

    Where there is an access control list the bits of the group are its mask, the most that it gives anybody.
    """
    found = os.lstat(path)
    if found.st_uid != 0:
        return _name(pwd.getpwuid, found.st_uid)
    if found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX:
        return "everybody"
    if found.st_mode & 0o020 and found.st_gid != 0:
        return f"the group {_name(grp.getgrgid, found.st_gid)}"
    return ""


def _name(lookup: Callable[[int], Sequence[object]], number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return f"uid {number}" if lookup is pwd.getpwuid else str(number)
