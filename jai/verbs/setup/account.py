"""The system user of strict jails."""

from __future__ import annotations

import errno
import os
import pwd
import shutil

from jai.errors import HostError, RefusedError
from jai.verbs.setup.files import read
from jai.verbs.setup.lines import decode, drop_lines, note_end
from jai.verbs.setup.locks import locked
from jai.verbs.setup.messages import say
from jai.verbs.setup.tools import TOOLS, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jai.verbs.setup.book import Book, Undo

USER = "jai"
GECOS = "JAI sandbox untrusted user"
ACCOUNTS = ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow")
NOLOGIN = ("/usr/sbin/nologin", "/sbin/nologin", "/usr/bin/nologin", "/bin/false")
SYSTEM_USERS = range(1, 1000)


def make_account(book: Book, undo: Undo) -> None:
    """Make the system user, or keep the one that is there."""
    if is_account_there():
        _adopt(book)
        say("already there", f"the system user {USER}")
        return
    if not os.access("/etc", os.W_OK):  # useradd would only say that it can not lock
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/etc")
    before = {path: text for path in ACCOUNTS if (text := read(path)) is not None}
    undo.append((f"the system user {USER}", lambda: _undo_account(book)))
    book.account = [path for path in before if not _own_lines(before[path])]
    for path, text in before.items():
        book.forget(path)  # an earlier user that somebody has removed since
        note_end(book, path, text)
    book.save()
    _add_user(has_group="/etc/group" not in book.account)
    _adopt(book)
    if not book.lines.get("/etc/passwd"):
        message = f"the user {USER} is not in /etc/passwd, although it was made"
        raise HostError(message)
    say("done", f"the system user {USER} ({GECOS})")


def is_account_there() -> bool:
    """Say whether the user is there.

    Raises: RefusedError if it is somebody else of that name.
    """
    try:
        found = pwd.getpwnam(USER)
    except KeyError:
        return False
    if found.pw_uid not in SYSTEM_USERS or found.pw_gecos.partition(",")[0] != GECOS:
        message = f"there is a user {USER} (uid {found.pw_uid}, {found.pw_gecos!r}) that is not jai's"
        raise RefusedError(message, hint=f"rename it, or make it a system user with the comment {GECOS!r}")
    return True


def _add_user(*, has_group: bool) -> None:
    """Make the system user, and its group unless there is one.

    Raises: HostError with the tool's own words.
    """
    shell = next((path for path in NOLOGIN if os.path.exists(path)), NOLOGIN[0])
    useradd = shutil.which("useradd", path=TOOLS)
    sysusers = shutil.which("systemd-sysusers", path=TOOLS)
    if useradd:
        group = ["--gid", USER] if has_group else ["--user-group"]
        about = ["--home-dir", "/", "--no-create-home", "--shell", shell, "--comment", GECOS]
        # --no-log-init: no entry in lastlog that would stay behind.
        run([useradd, "--system", "--no-log-init", *group, *about, USER])
    elif sysusers:
        run([sysusers, "--inline", f'u {USER} - "{GECOS}" / {shell}'])
    else:
        message = f"neither useradd nor systemd-sysusers is there to make the system user {USER}"
        raise HostError(message, hint="install the package shadow, shadow-utils or passwd")


def _adopt(book: Book) -> None:
    """Write down the lines of the user that were made, by this call or by one that was killed."""
    for path in book.account:
        if path not in book.lines:
            book.lines[path] = [decode(line) for line in _own_lines(read(path) or b"")]
    book.save()


def _own_lines(text: bytes) -> list[bytes]:
    return [line for line in text.split(b"\n") if line.startswith(USER.encode() + b":")]


def remove_account(book: Book) -> None:
    """Take the user's lines out of all files, or out of none if somebody has changed one."""
    if not book.account:
        return
    _adopt(book)
    what = f"the system user {USER}"
    with locked(ACCOUNTS):
        there = {path: list(map(decode, _own_lines(read(path) or b""))) for path in book.account}
        changed = [path for path in there if there[path] and there[path] != book.lines[path]]
        if changed:
            say("left", f"{what}, whose line in {' and '.join(changed)} was changed since")
        elif not any(there.values()):
            say("already gone", what)
        else:
            # /etc/passwd last: as long as the user is in it, this can be done again.
            for path in reversed(ACCOUNTS):
                drop_lines(book, path, there.get(path, []))
            say("removed", what)
    for path in ACCOUNTS:
        book.forget(path)
    book.account = []
    book.save()


def _undo_account(book: Book) -> None:
    _adopt(book)
    with locked(ACCOUNTS):
        for path in reversed(ACCOUNTS):
            drop_lines(book, path, book.lines.get(path, []))
            book.forget(path)
    book.account = []
    book.save()
