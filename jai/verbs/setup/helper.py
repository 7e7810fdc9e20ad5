"""The privileged helper: a copy of the package's where nobody can change it."""

from __future__ import annotations

import errno
import os
import stat
import struct

import jai
from jai.errors import HostError, RefusedError
from jai.host import HELPER
from jai.verbs.setup.files import digest, drop, drop_file, other_writer, read, replace, ways
from jai.verbs.setup.messages import say, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jai.verbs.setup.book import Book, Undo

# struct vfs_cap_data: revision 2 with the effective bit, then permitted and inheritable, the low half first.
# Source: linux/capability.h.
CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN = 6, 7, 21
CAPABILITY = "security.capability"
CAPABILITIES = struct.pack("<5I", 0x02000001, 1 << CAP_SETGID | 1 << CAP_SETUID | 1 << CAP_SYS_ADMIN, 0, 0, 0)


def helper_of_the_package() -> bytes:
    """Read the helper that came with jai.

    Raises: HostError if it is not there or is no program.
    """
    path = os.path.join(os.path.dirname(os.path.abspath(jai.__file__)), "helper", "jai-idmap")
    content = read(path) or b""
    if os.path.islink(path) or not content.startswith(b"\x7fELF"):
        message = f"the helper is not in this installation of jai: {path}"
        raise HostError(message, hint="install jai again")
    changers = {name for place in ways(path) if (name := other_writer(place))}
    if changers:
        warn(f"the helper is copied from {path}, which {' and '.join(sorted(changers))} can change")
    return content


def make_helper(book: Book, undo: Undo, content: bytes) -> None:
    """Copy the helper to where nobody can change it, and give it its capabilities."""
    old = read(HELPER)
    if old == content and _is_privileged():
        say("already there", HELPER)
        return
    if old is not None and digest(old) not in (*book.helper, digest(content)):
        message = f"{HELPER} is not one that --setup has installed"
        raise RefusedError(message, hint=f"if nobody needs it: sudo rm {HELPER}")
    before = list(book.helper)
    undo.append((HELPER, lambda: _undo_helper(book, before, old)))
    book.helper = sorted({*before, digest(content)})
    book.save()
    _install(content)
    if not _is_privileged():
        message = f"{HELPER} did not get its capabilities"
        raise HostError(message)
    book.helper = [digest(content)]
    book.save()
    say("done", f"{HELPER}, {_privilege()}")


def _install(content: bytes) -> None:
    """Write the helper with its privilege, which comes last: a write or chown takes it away."""

    def finish(fd: int) -> None:
        os.fchown(fd, 0, 0)
        os.fchmod(fd, 0o755)
        try:
            os.setxattr(fd, CAPABILITY, CAPABILITIES)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            os.fchmod(fd, 0o4755)

    replace(HELPER, content, finish)


def _is_privileged() -> bool:
    """Say whether the installed helper belongs to root and has what it needs, no more."""
    found = os.lstat(HELPER)
    if not stat.S_ISREG(found.st_mode) or (found.st_uid, found.st_gid) != (0, 0):
        return False
    wanted = 0o755 if _capabilities() else 0o4755
    return stat.S_IMODE(found.st_mode) == wanted and _capabilities() in (CAPABILITIES, b"")


def _capabilities() -> bytes:
    try:
        return os.getxattr(HELPER, CAPABILITY)
    except OSError:
        return b""


def _privilege() -> str:
    if _capabilities():
        return "with cap_sys_admin, cap_setuid and cap_setgid"
    return "set-uid root, since the file system has no file capabilities"


def remove_helper(book: Book) -> None:
    """Remove the helper that was installed."""
    if book.helper:
        if drop_file(HELPER, book.helper):
            say("removed", HELPER)
        book.helper = []
        book.save()


def _undo_helper(book: Book, before: list[str], old: bytes | None) -> None:
    if old is None:
        drop(HELPER)
    else:
        _install(old)
    book.helper = before
    book.save()
