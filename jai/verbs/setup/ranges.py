"""The strict uids: each user's line in /etc/subuid and /etc/subgid."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import stat
from collections import Counter

from jai.errors import HostError
from jai.verbs.setup.files import read, replace
from jai.verbs.setup.lines import appended, decode, drop_lines, note_end
from jai.verbs.setup.locks import locked
from jai.verbs.setup.messages import say, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from jai.verbs.setup.book import Book, Undo

RANGES = ("/etc/subuid", "/etc/subgid")

# Where a strict uid is looked for.  Below lie the sub-uids of useradd (to 600100000), systemd's containers
# (524288 to 1879048191) and what FreeIPA, SSSD and winbind hand out (to 2000200000); from 2147352576 on
# (0x7FFE0000) systemd's foreign uids, from 2147483647 on what podman recommends for its automatic
# containers; and from 2^31 on devpts and others take a uid for negative.
# Source: systemd's UIDS-GIDS document, login.defs(5), sssd-ldap(5), containers-storage.conf(5).
FIRST_FREE = 2_100_000_000
LAST_FREE = 0x7FFE0000 - 1

REAL_USERS = range(1000, 60000)

# What the helper reads and no more (helper/idmap.c).
LARGEST_FILE = 1 << 20
LOWEST_ID = 1000
NO_ID = (1 << 32) - 1
PLAIN = rb"0|[1-9][0-9]{0,9}"
UNFIT = -1


def make_ranges(book: Book, undo: Undo, users: dict[int, str]) -> None:
    """Give each user that lacks it a line `UID:START:1` in both files."""
    with locked(RANGES):
        texts = {path: _read_ranges(path) for path in RANGES}
        ranges = {path: find_ranges(text or b"") for path, text in texts.items()}
        new = _new_lines(texts, ranges, users)
        wanted = {path: appended(texts[path] or b"", lines) for path, lines in new.items()}
        for path, text in wanted.items():
            if len(text) > LARGEST_FILE:
                message = f"{path} is larger than the helper reads (1 MiB)"
                raise HostError(message, hint="remove the lines of accounts that are gone")
        if new:
            undo.append(("the strict uids", lambda: _undo_ranges(book, new)))
        for path, lines in new.items():
            if path not in book.lines:
                # Only the first of several calls has found the file as it was.
                note_end(book, path, texts[path] or b"")
                book.created += [path] if texts[path] is None else []
            book.lines[path] = [line for line in book.lines.get(path, []) if line not in lines] + lines
        book.save()
        for path, text in wanted.items():
            replace(path, text)
    _tell_ranges(ranges, new, users)


def _new_lines(
    texts: dict[str, bytes | None], ranges: dict[str, dict[int, int]], users: dict[int, str]
) -> dict[str, list[str]]:
    """Give the lines that are missing, by file; one user has the same number in both."""
    free = _free_ids([text or b"" for text in texts.values()])
    new: dict[str, list[str]] = {}
    for uid in users:
        lacking = [path for path in texts if uid not in ranges[path]]
        start = next(free, None) if lacking else None
        if lacking and start is None:
            message = f"no id from {FIRST_FREE} to {LAST_FREE} is free in {' and '.join(texts)}"
            raise HostError(message, hint="strict mode needs one such id for each user: make a line smaller")
        for path in lacking:
            new.setdefault(path, []).append(f"{uid}:{start}:1")
    return new


def _tell_ranges(ranges: dict[str, dict[int, int]], new: dict[str, list[str]], users: dict[int, str]) -> None:
    """Say what each user got; warn of lines that were there and are of no use."""
    for uid, name in users.items():
        lines = {path: line for path in new for line in new[path] if line.startswith(f"{uid}:")}
        if lines:
            say("done", f"a strict uid for {name}: {next(iter(lines.values()))} in {' and '.join(lines)}")
        for path, found in ranges.items():
            if found.get(uid) == UNFIT:
                warn(f"{path}: strict mode can not use the line of {name} ({uid}:…); please mend it")
    ready = sum(all(found.get(uid, UNFIT) != UNFIT for found in ranges.values()) for uid in users)
    if ready:
        say("already there", f"a strict uid for {ready} {'user' if ready == 1 else 'users'}")
    for path, found in ranges.items():
        for start, count in Counter(found[uid] for uid in users if uid in found).items():
            if count > 1 and start != UNFIT:
                warn(f"{path}: {count} users share the id {start} and can reach each other's strict jails")


def find_ranges(text: bytes) -> dict[int, int]:
    """Give each user's strict id as the helper finds it, `UNFIT` where it will not have it.

    Only a line that starts with the number counts: a privileged program does not look up names.
    """
    found: dict[int, int] = {}
    for line in text.split(b"\n"):
        owner, *fields = line.split(b":")
        if not re.fullmatch(PLAIN, owner) or int(owner) in found:
            continue
        start, count = UNFIT, 1
        if len(fields) == 2 and all(re.fullmatch(PLAIN, field) for field in fields):  # noqa: PLR2004
            start, count = map(int, fields)
        if count or start > NO_ID:
            fits = LOWEST_ID <= start <= NO_ID - count and start != int(owner)
            found[int(owner)] = start if fits else UNFIT
    return found


def find_users() -> dict[int, str]:
    """Give the users that get a strict uid: root, the people in /etc/passwd, and who has called sudo."""
    found = {0: "root"}
    for line in (read("/etc/passwd") or b"").split(b"\n"):
        fields = line.split(b":")
        if len(fields) > 2 and re.fullmatch(rb"[0-9]{1,10}", fields[2]) and int(fields[2]) in REAL_USERS:  # noqa: PLR2004
            found.setdefault(int(fields[2]), decode(fields[0]))
    caller = os.environ.get("SUDO_USER", "")
    if caller:
        try:
            found.setdefault(pwd.getpwnam(caller).pw_uid, caller)
        except KeyError:
            warn(f"there is no user {caller} ($SUDO_USER)")
    return dict(sorted(found.items()))


def _free_ids(texts: Iterable[bytes]) -> Iterator[int]:
    """Give the numbers that no range covers and no user or group has, in order."""
    taken = [taken for text in texts for line in text.split(b"\n") if (taken := _taken(line))]
    for path in ("/etc/passwd", "/etc/group"):
        for line in (read(path) or b"").split(b"\n"):
            number = _number(line.split(b":")[2:3])
            taken += [] if number is None else [(number, number + 1)]
    at = FIRST_FREE
    for start, end in [*sorted(taken), (LAST_FREE + 1, LAST_FREE + 1)]:
        yield from (number for number in range(at, min(start, LAST_FREE + 1)) if not _is_known(number))
        at = max(at, end)


def _taken(line: bytes) -> tuple[int, int] | None:
    """Give the first number of a line's range and the first behind it; None if it can not be read."""
    fields = line.split(b":")
    start, count = _number(fields[1:2]), _number(fields[2:3])
    return (start, start + count) if start is not None and count else None


def _number(fields: Sequence[bytes]) -> int | None:
    digits = fields[0].strip() if fields else b""
    if not digits.isdigit():
        return None
    # Longer than any uid: as good as endless, and slow to convert.
    return int(digits) if len(digits) <= 18 else 1 << 60  # noqa: PLR2004


def _is_known(number: int) -> bool:
    """Say whether a directory service has a user or group of that number."""
    for lookup in (pwd.getpwuid, grp.getgrgid):
        with contextlib.suppress(KeyError):
            lookup(number)
            return True
    return False


def _read_ranges(path: str) -> bytes | None:
    """Read one of the files, None if there is none.

    Raises: HostError if it is one that the helper will not trust.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    text = read(path) or b""
    if not stat.S_ISREG(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022 or b"\0" in text:
        message = f"{path} is not a plain file of root's that nobody else can write to"
        raise HostError(message, hint=f"chown root {path}; chmod go-w {path}; no links, no NUL bytes")
    return text


def remove_ranges(book: Book) -> None:
    """Take the lines out of the files, but for those that are gone."""
    with locked(RANGES):
        for path in RANGES:
            lines = book.lines.get(path, [])
            gone = drop_lines(book, path, lines)
            if lines:
                book.forget(path)
                book.save()
                say("removed", f"{len(lines) - len(gone)} lines of {path}")
            for line in gone:
                say("left", f"the line {line} of {path}, which was changed or removed since")


def _undo_ranges(book: Book, new: dict[str, list[str]]) -> None:
    with locked(RANGES):
        for path, lines in new.items():
            drop_lines(book, path, lines)
            rest = [line for line in book.lines.get(path, []) if line not in lines]
            if rest:
                book.lines[path] = rest
            elif lines:
                book.forget(path)
    book.save()
