"""Makes this machine ready for strict mode, once, as root: `sudo jai --setup`; `--setup --remove` undoes it.

Everything that is made is first written down in `setup.json` beside the helper, so that `--remove`, and a
second `--setup` after one that was killed, know what is jai's.  What this call has made is taken back when
a step fails.  Nothing of any user's configuration is read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import hashlib
import json
import os
import pwd
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time
from collections import Counter

import jai
from jai.errors import HostError, JaiError, RefusedError, UsageError, printable
from jai.host import HELPER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import NoReturn

    from jai.argv import Invocation
    from jai.host import Account

    Undo = list[tuple[str, Callable[[], None]]]

USER = "jai"
GECOS = "JAI sandbox untrusted user"
ACCOUNTS = ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow")
NOLOGIN = ("/usr/sbin/nologin", "/sbin/nologin", "/usr/bin/nologin", "/bin/false")

FOLDER = os.path.dirname(HELPER)
BOOK = f"{FOLDER}/setup.json"
LOCK = "/run/jai-setup.lock"
PART = ".jai+"  # behind the name of a file that is being written

PROFILE = "/etc/apparmor.d/jai"
APPARMOR = "/sys/kernel/security/apparmor"
RESTRICTED = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"

# Directories that only root may write to; what else is on PATH is not asked.
TOOLS = "/usr/sbin:/usr/bin:/sbin:/bin"

RANGES = ("/etc/subuid", "/etc/subgid")

# Where a strict uid is looked for.  Below lie the sub-uids of useradd (to 600100000), systemd's containers
# (524288 to 1879048191) and what FreeIPA, SSSD and winbind hand out (to 2000200000); from 2147352576 on
# (0x7FFE0000) systemd's foreign uids, from 2147483647 on what podman recommends for its automatic
# containers; and from 2^31 on devpts and others take a uid for negative.
# Source: systemd's UIDS-GIDS document, login.defs(5), sssd-ldap(5), containers-storage.conf(5).
FIRST_FREE = 2_100_000_000
LAST_FREE = 0x7FFE0000 - 1

REAL_USERS = range(1000, 60000)
SYSTEM_USERS = range(1, 1000)

# What the helper reads and no more (helper/idmap.c).
LARGEST_FILE = 1 << 20
LOWEST_ID = 1000
NO_ID = (1 << 32) - 1
PLAIN = rb"0|[1-9][0-9]{0,9}"
UNFIT = -1

PATIENCE = 15.0  # seconds, as lckpwdf(3)
MOST_LINKS = 40  # as the kernel: path_resolution(7)

# struct vfs_cap_data: revision 2 with the effective bit, then permitted and inheritable, the low half first.
# Source: linux/capability.h.
CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN = 6, 7, 21
CAPABILITY = "security.capability"
CAPABILITIES = struct.pack("<5I", 0x02000001, 1 << CAP_SETGID | 1 << CAP_SETUID | 1 << CAP_SYS_ADMIN, 0, 0, 0)

# What a file keeps when it is replaced, beside owner and mode.
KEPT_ATTRIBUTES = ("security.selinux", "system.posix_acl_access")


def set_up(invocation: Invocation) -> int:
    """Make the machine ready, or as it was before.

    Raises: JaiError, which says what remains if anything does.
    """
    words = invocation.command
    if words not in ((), ("--remove",)):
        message = f"{words[-1]}: --setup takes nothing but --remove"
        raise UsageError(message)
    again = " ".join(("sudo jai --setup", *words))
    if os.geteuid() != 0:
        message = "--setup changes the machine's accounts, and only root may"
        raise RefusedError(message, hint=again)
    os.umask(0o022)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with _only_one():
        book = Book()
        return _remove(book) if words else _make(book)


def give_ids(account: Account) -> None:
    """Make what a strict jail of root's or through sudo cannot do without: the user jai and a strict id.

    Called with root as the saved uid; nothing privileged is installed.  Raises: JaiError.
    """
    if _has_ids(account):
        return
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _give_as_root(account, writing)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if said:
        message, detail, hint = json.loads(said)
        raise HostError(message, detail=detail, hint=hint)


def _has_ids(account: Account) -> bool:
    ranges = [find_ranges(_read(path) or b"") for path in RANGES]
    return _is_account_there() and all(account.uid in found for found in ranges)


def _give_as_root(account: Account, pipe: int) -> NoReturn:
    """Make them in a process that is root again, which tells the user what it makes."""
    try:
        os.dup2(2, 1)
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups([])
        os.umask(0o022)
        with _only_one():
            _make(Book(), only=account)
    except JaiError as error:
        os.write(pipe, json.dumps([error.message, error.detail, error.hint]).encode())
    except BaseException as error:  # noqa: BLE001 - this process ends here
        os.write(pipe, json.dumps(["strict mode can not be prepared", repr(error), ""]).encode())
    os._exit(0)


# --- what was made --------------------------------------------------------------------------------------


class Book:
    """What --setup has made here.

    `folders` in the order they were made; `account` the files that get a line of the user; `lines` the lines
    by file; `ends` the last line of a file that had no newline behind it; `created` the files that
    did not exist; `helper` and `profile` digests of what was written; `launchers` what the profile names.
    """

    def __init__(self) -> None:
        """Read what earlier calls have written down.

        Raises: HostError if that can not be understood.
        """
        self.folders: list[str] = []
        self.account: list[str] = []
        self.lines: dict[str, list[str]] = {}
        self.ends: dict[str, str] = {}
        self.created: list[str] = []
        self.helper: list[str] = []
        self.profile: list[str] = []
        self.launchers: list[str] = []
        text = _read(BOOK)
        try:
            found = json.loads(text) if text is not None else {}
            self.__dict__.update({name: found[name] for name in self.__dict__ if name in found})
        except (ValueError, TypeError):
            message = f"{BOOK} can not be understood"
            hint = "put it back from a backup, or remove it: what --setup has made is then yours to remove"
            raise HostError(message, hint=hint) from None

    def save(self, path: str = BOOK) -> None:
        """Write it down; where nothing was made there is no book."""
        text = (json.dumps(self.__dict__, indent=1, sort_keys=True) + "\n").encode()
        if self.is_empty():
            _drop(path)
        elif text != _read(path):
            # For root only: a line of /etc/shadow may be in it.
            _replace(path, text, lambda fd: os.fchmod(fd, 0o600))

    def is_empty(self) -> bool:
        """Say whether nothing is known to have been made."""
        return not any(self.__dict__.values())

    def forget(self, path: str) -> None:
        """Drop what is known of one file."""
        self.lines.pop(path, None)
        self.ends.pop(path, None)
        self.created = [each for each in self.created if each != path]


# --- making ---------------------------------------------------------------------------------------------


def _make(book: Book, only: Account | None = None) -> int:
    """Make everything, or what one account needs for the helper of the package."""
    source = b"" if only else _helper_of_the_package()
    users = {only.uid: only.name} if only else _users()
    undo: Undo = []
    try:
        with _doing(f"{FOLDER} can not be made"):
            _make_folders(book, undo)
        with _doing(f"the user {USER} can not be made"):
            _make_account(book, undo)
        with _doing("the strict uids can not be given out"):
            _make_ranges(book, undo, users)
        if not only:
            with _doing("the AppArmor profile can not be installed"):
                _make_profile(book, undo)
            with _doing(f"the helper {HELPER} can not be installed"):
                _make_helper(book, undo, source)
    except BaseException as error:  # noqa: BLE001 - it ends with it
        _roll_back(undo, error)
    return 0


def _roll_back(undo: Undo, error: BaseException) -> NoReturn:
    """Take back what this call has made, the last thing first, and end with the error."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    remains: list[str] = []
    for what, back in reversed(undo):
        if remains and what == FOLDER:
            break  # it holds what --remove needs
        try:
            back()
            _say("undone", what)
        except (OSError, JaiError) as failed:
            remains.append(f"{what} ({failed})")
    if isinstance(error, KeyboardInterrupt):
        error = HostError("--setup was interrupted")
    if not remains or not isinstance(error, JaiError):
        raise error
    left = f"what remains: {', '.join(remains)}"
    detail = f"{error.detail}; {left}" if error.detail else left
    raise HostError(error.message, detail=detail, hint="sudo jai --setup --remove") from None


def _make_folders(book: Book, undo: Undo) -> None:
    """Make the folders of the helper; no user may be able to write to any on the way to them."""
    there = list(_ways(FOLDER))
    for path in there:
        _refuse_writable(path)
    if os.statvfs(there[-1]).f_flag & (os.ST_NOSUID | os.ST_NOEXEC):
        message = f"{there[-1]} is mounted nosuid or noexec, so a helper in it would have no effect"
        raise HostError(message, hint=f"remount the file system of {there[-1]} with suid,exec")
    missing = [path for path in _parents(FOLDER) if not os.path.lexists(path)]
    if not missing:
        _say("already there", FOLDER)
        return
    undo.append((FOLDER, lambda: _undo_folders(book, missing)))
    _drop_parts()
    top = missing[0]
    for path in missing:
        place = path.replace(top, top + PART, 1)
        os.mkdir(place, 0o755)
        # A set-gid parent gives its group and bit away.
        os.chown(place, 0, 0)
        os.chmod(place, 0o755)  # noqa: S103 - everybody may start the helper
    book.folders += missing
    # They come to be with the book in them, so it is never unknown whose they are.
    book.save(BOOK.replace(top, top + PART, 1))
    os.rename(top + PART, top)
    _say("done", f"{FOLDER}, which only root can write to")


def _make_account(book: Book, undo: Undo) -> None:
    if _is_account_there():
        _adopt(book)
        _say("already there", f"the system user {USER}")
        return
    if not os.access("/etc", os.W_OK):  # useradd would only say that it can not lock
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/etc")
    before = {path: text for path in ACCOUNTS if (text := _read(path)) is not None}
    undo.append((f"the system user {USER}", lambda: _undo_account(book)))
    book.account = [path for path in before if not _own_lines(before[path])]
    for path, text in before.items():
        book.forget(path)  # an earlier user that somebody has removed since
        _note_end(book, path, text)
    book.save()
    _add_user(has_group="/etc/group" not in book.account)
    _adopt(book)
    if not book.lines.get("/etc/passwd"):
        message = f"the user {USER} is not in /etc/passwd, although it was made"
        raise HostError(message)
    _say("done", f"the system user {USER} ({GECOS})")


def _is_account_there() -> bool:
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
        _run([useradd, "--system", "--no-log-init", *group, *about, USER])
    elif sysusers:
        _run([sysusers, "--inline", f'u {USER} - "{GECOS}" / {shell}'])
    else:
        message = f"neither useradd nor systemd-sysusers is there to make the system user {USER}"
        raise HostError(message, hint="install the package shadow, shadow-utils or passwd")


def _adopt(book: Book) -> None:
    """Write down the lines of the user that were made, by this call or by one that was killed."""
    for path in book.account:
        if path not in book.lines:
            book.lines[path] = [_text(line) for line in _own_lines(_read(path) or b"")]
    book.save()


def _own_lines(text: bytes) -> list[bytes]:
    return [line for line in text.split(b"\n") if line.startswith(USER.encode() + b":")]


def _note_end(book: Book, path: str, text: bytes) -> None:
    """Write down that a file has no newline at its end, before one is put there."""
    if text and not text.endswith(b"\n"):
        book.ends[path] = _text(text.rpartition(b"\n")[2])


# --- the strict uids ------------------------------------------------------------------------------------


def _make_ranges(book: Book, undo: Undo, users: dict[int, str]) -> None:
    """Give each user that lacks it a line `UID:START:1` in both files."""
    with _locked(RANGES):
        texts = {path: _read_ranges(path) for path in RANGES}
        ranges = {path: find_ranges(text or b"") for path, text in texts.items()}
        new = _new_lines(texts, ranges, users)
        wanted = {path: _appended(texts[path] or b"", lines) for path, lines in new.items()}
        for path, text in wanted.items():
            if len(text) > LARGEST_FILE:
                message = f"{path} is larger than the helper reads (1 MiB)"
                raise HostError(message, hint="remove the lines of accounts that are gone")
        if new:
            undo.append(("the strict uids", lambda: _undo_ranges(book, new)))
        for path, lines in new.items():
            if path not in book.lines:
                # Only the first of several calls has found the file as it was.
                _note_end(book, path, texts[path] or b"")
                book.created += [path] if texts[path] is None else []
            book.lines[path] = [line for line in book.lines.get(path, []) if line not in lines] + lines
        book.save()
        for path, text in wanted.items():
            _replace(path, text)
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
            _say("done", f"a strict uid for {name}: {next(iter(lines.values()))} in {' and '.join(lines)}")
        for path, found in ranges.items():
            if found.get(uid) == UNFIT:
                _warn(f"{path}: strict mode can not use the line of {name} ({uid}:…); please mend it")
    ready = sum(all(found.get(uid, UNFIT) != UNFIT for found in ranges.values()) for uid in users)
    if ready:
        _say("already there", f"a strict uid for {ready} {'user' if ready == 1 else 'users'}")
    for path, found in ranges.items():
        for start, count in Counter(found[uid] for uid in users if uid in found).items():
            if count > 1 and start != UNFIT:
                _warn(f"{path}: {count} users share the id {start} and can reach each other's strict jails")


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


def _users() -> dict[int, str]:
    """Give the users that get a strict uid: root, the people in /etc/passwd, and who has called sudo."""
    found = {0: "root"}
    for line in (_read("/etc/passwd") or b"").split(b"\n"):
        fields = line.split(b":")
        if len(fields) > 2 and re.fullmatch(rb"[0-9]{1,10}", fields[2]) and int(fields[2]) in REAL_USERS:  # noqa: PLR2004
            found.setdefault(int(fields[2]), _text(fields[0]))
    caller = os.environ.get("SUDO_USER", "")
    if caller:
        try:
            found.setdefault(pwd.getpwnam(caller).pw_uid, caller)
        except KeyError:
            _warn(f"there is no user {caller} ($SUDO_USER)")
    return dict(sorted(found.items()))


def _free_ids(texts: Iterable[bytes]) -> Iterator[int]:
    """Give the numbers that no range covers and no user or group has, in order."""
    taken = [taken for text in texts for line in text.split(b"\n") if (taken := _taken(line))]
    for path in ("/etc/passwd", "/etc/group"):
        for line in (_read(path) or b"").split(b"\n"):
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
    text = _read(path) or b""
    if not stat.S_ISREG(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022 or b"\0" in text:
        message = f"{path} is not a plain file of root's that nobody else can write to"
        raise HostError(message, hint=f"chown root {path}; chmod go-w {path}; no links, no NUL bytes")
    return text


def _appended(text: bytes, lines: Sequence[str]) -> bytes:
    newline = b"\n" if text and not text.endswith(b"\n") else b""
    return text + newline + "".join(f"{line}\n" for line in lines).encode()


def _without(text: bytes, lines: Iterable[str], end: str | None) -> bytes:
    """Give a file without lines, the last of each; without the last newline if there was none."""
    parts = text.split(b"\n")
    for line in map(_bytes, lines):
        if line in parts:
            del parts[len(parts) - 1 - parts[::-1].index(line)]
    if end is not None and parts[-1:] == [b""] and parts[-2:-1] == [_bytes(end)]:
        parts.pop()
    return b"\n".join(parts)


# --- the helper -----------------------------------------------------------------------------------------


def _helper_of_the_package() -> bytes:
    """Read the helper that came with jai.

    Raises: HostError if it is not there or is no program.
    """
    path = os.path.join(os.path.dirname(os.path.abspath(jai.__file__)), "helper", "jai-idmap")
    content = _read(path) or b""
    if os.path.islink(path) or not content.startswith(b"\x7fELF"):
        message = f"the helper is not in this installation of jai: {path}"
        raise HostError(message, hint="install jai again")
    changers = {name for place in _ways(path) if (name := _other_writer(place))}
    if changers:
        _warn(f"the helper is copied from {path}, which {' and '.join(sorted(changers))} can change")
    return content


def _make_helper(book: Book, undo: Undo, content: bytes) -> None:
    """Copy the helper to where nobody can change it, and give it its capabilities."""
    old = _read(HELPER)
    if old == content and _is_privileged():
        _say("already there", HELPER)
        return
    if old is not None and _digest(old) not in (*book.helper, _digest(content)):
        message = f"{HELPER} is not one that --setup has installed"
        raise RefusedError(message, hint=f"if nobody needs it: sudo rm {HELPER}")
    before = list(book.helper)
    undo.append((HELPER, lambda: _undo_helper(book, before, old)))
    book.helper = sorted({*before, _digest(content)})
    book.save()
    _install(content)
    if not _is_privileged():
        message = f"{HELPER} did not get its capabilities"
        raise HostError(message)
    book.helper = [_digest(content)]
    book.save()
    _say("done", f"{HELPER}, {_privilege()}")


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

    _replace(HELPER, content, finish)


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


# --- AppArmor -------------------------------------------------------------------------------------------


def _make_profile(book: Book, undo: Undo) -> None:
    """Let the helper and the launcher make user namespaces where AppArmor lets nobody without a profile."""
    if not os.path.isdir(APPARMOR) or (_read(RESTRICTED) or b"").strip() != b"1":
        return
    parser = shutil.which("apparmor_parser", path=TOOLS)
    if not parser:
        message = "AppArmor restricts user namespaces, and without apparmor_parser jai gets no exception"
        raise HostError(message, hint="install the package apparmor")
    launcher = _launcher()
    launchers = [path for path in book.launchers if os.path.exists(path) and path != launcher]
    launchers += [launcher] if launcher else []
    content = profile(HELPER, launchers).encode()
    old = _read(PROFILE)
    if old not in (None, content) and _digest(old or b"") not in book.profile:
        _say("left", f"{PROFILE}, which --setup has not made or somebody has changed since")
        return
    if old == content:
        _run([parser, "-r", PROFILE])
        _say("already there", PROFILE)
        return
    before = (list(book.profile), list(book.launchers))
    undo.append((PROFILE, lambda: _undo_profile(book, before, old)))
    book.profile, book.launchers = sorted({*book.profile, _digest(content)}), launchers
    book.save()
    _replace(PROFILE, content)
    _run([parser, "-r", PROFILE])
    book.profile = [_digest(content)]
    book.save()
    allowed = " and ".join([HELPER, *launchers])
    _say("done", f"{PROFILE}, which lets {allowed} make user namespaces")


def profile(helper: str, launchers: Sequence[str]) -> str:
    """Fill the template of the AppArmor profile.

    Raises: RefusedError for a path that would mean something else in it.
    """
    places = {"jai-idmap": helper}
    for number, path in enumerate(launchers, 1):
        places["jai" if number == 1 else f"jai-{number}"] = path
    with open(os.path.join(os.path.dirname(jai.__file__), "data", "apparmor"), encoding="utf-8") as file:
        head, _, body = file.read().partition("\n\n")
    parts = [head + "\n"]
    for name, path in places.items():
        if not re.fullmatch(r"/[\w ./+:~=%-]*", path):
            message = f"{path}: AppArmor would take a character of this path for a pattern"
            raise RefusedError(message, hint="install jai at a path of letters, digits, blanks and ._+-")
        parts.append(body.replace("@NAME@", name).replace("@PATH@", path))
    return "\n".join(parts)


def _launcher() -> str:
    """Give the launcher that this process was started by, "" without one."""
    path = os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), "jai")
    return path if os.path.exists(f"{path}-python") and os.path.exists(path) else ""


# --- removing -------------------------------------------------------------------------------------------


def _remove(book: Book) -> int:
    """Take away what --setup has made and nobody has changed since; each part even if another can not be.

    Raises: HostError that names what remains.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _drop_parts()
    if book.is_empty():
        _say("already gone", "there is nothing that --setup has made")
        return 0
    parts: dict[str, Callable[[Book], None]] = {
        PROFILE: _remove_profile,
        HELPER: _remove_helper,
        "the strict uids": _remove_ranges,
        f"the system user {USER}": _remove_account,
        FOLDER: _remove_folder,
    }
    failed: list[str] = []
    for what, remove in parts.items():
        if what == FOLDER and failed:
            break  # it holds what is needed to try again
        try:
            remove(book)
        except (OSError, JaiError) as error:
            failed.append(f"{what} ({error})")
    if failed:
        message = "not everything could be removed"
        raise HostError(message, detail=f"what remains: {', '.join(failed)}, {FOLDER}")
    return 0


def _remove_profile(book: Book) -> None:
    if book.profile:
        if _drop_file(PROFILE, book.profile, _unload):
            _say("removed", PROFILE)
        book.profile, book.launchers = [], []
        book.save()


def _unload(path: str) -> None:
    parser = shutil.which("apparmor_parser", path=TOOLS)
    if parser and os.path.isdir(APPARMOR):
        # What can not be unloaded is gone after a boot; it only allows.
        with contextlib.suppress(JaiError):
            _run([parser, "-R", path])


def _remove_helper(book: Book) -> None:
    if book.helper:
        if _drop_file(HELPER, book.helper):
            _say("removed", HELPER)
        book.helper = []
        book.save()


def _drop_file(path: str, digests: Sequence[str], before: Callable[[str], None] | None = None) -> bool:
    """Remove a file of ours; say so if it is gone or somebody has changed it."""
    content = _read(path)
    if content is None:
        _say("already gone", path)
    elif _digest(content) not in digests:
        _say("left", f"{path}, which was changed since")
    else:
        if before:
            before(path)
        os.unlink(path)
        return True
    return False


def _remove_ranges(book: Book) -> None:
    """Take the lines out of the files, but for those that are gone."""
    with _locked(RANGES):
        for path in RANGES:
            lines = book.lines.get(path, [])
            gone = _drop_lines(book, path, lines)
            if lines:
                book.forget(path)
                book.save()
                _say("removed", f"{len(lines) - len(gone)} lines of {path}")
            for line in gone:
                _say("left", f"the line {line} of {path}, which was changed or removed since")


def _drop_lines(book: Book, path: str, lines: Sequence[str]) -> list[str]:
    """Take lines out of a file, and the file away if it was made for them; give those that were not there."""
    text = _read(path) or b""
    found = text.split(b"\n")
    present = [line for line in lines if _bytes(line) in found]
    if present:
        rest = _without(text, present, book.ends.get(path))
        if path in book.created and not rest:
            os.unlink(path)
        else:
            _replace(path, rest)
    return [line for line in lines if line not in present]


def _remove_account(book: Book) -> None:
    """Take the user's lines out of all files, or out of none if somebody has changed one."""
    if not book.account:
        return
    _adopt(book)
    what = f"the system user {USER}"
    with _locked(ACCOUNTS):
        there = {path: list(map(_text, _own_lines(_read(path) or b""))) for path in book.account}
        changed = [path for path in there if there[path] and there[path] != book.lines[path]]
        if changed:
            _say("left", f"{what}, whose line in {' and '.join(changed)} was changed since")
        elif not any(there.values()):
            _say("already gone", what)
        else:
            # /etc/passwd last: as long as the user is in it, this can be done again.
            for path in reversed(ACCOUNTS):
                _drop_lines(book, path, there.get(path, []))
            _say("removed", what)
    for path in ACCOUNTS:
        book.forget(path)
    book.account = []
    book.save()


def _remove_folder(book: Book) -> None:
    """Remove what was written down, and the folders that were made unless something else is in them."""
    for path in (BOOK, BOOK + PART, HELPER + PART, PROFILE + PART):
        _drop(path)
    _drop_folders(book.folders)
    if book.folders:
        gone = not os.path.exists(FOLDER)
        _say("removed" if gone else "left", FOLDER if gone else f"{FOLDER}, which is not empty")


def _drop_parts() -> None:
    """Remove the folders of a call that was killed while it made them."""
    for path in _parents(FOLDER):
        shutil.rmtree(path + PART, ignore_errors=True)


def _drop_folders(folders: Sequence[str]) -> None:
    for path in reversed(folders):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return


# --- taking back what this call has made ------------------------------------------------------------------


def _undo_folders(book: Book, folders: Sequence[str]) -> None:
    book.folders = [path for path in book.folders if path not in folders]
    book.save()
    _drop_parts()
    _drop_folders(folders)


def _undo_account(book: Book) -> None:
    _adopt(book)
    with _locked(ACCOUNTS):
        for path in reversed(ACCOUNTS):
            _drop_lines(book, path, book.lines.get(path, []))
            book.forget(path)
    book.account = []
    book.save()


def _undo_ranges(book: Book, new: dict[str, list[str]]) -> None:
    with _locked(RANGES):
        for path, lines in new.items():
            _drop_lines(book, path, lines)
            rest = [line for line in book.lines.get(path, []) if line not in lines]
            if rest:
                book.lines[path] = rest
            elif lines:
                book.forget(path)
    book.save()


def _undo_profile(book: Book, before: tuple[list[str], list[str]], old: bytes | None) -> None:
    if old is None:
        _unload(PROFILE)
        _drop(PROFILE)
    else:
        _replace(PROFILE, old)
    book.profile, book.launchers = before
    book.save()


def _undo_helper(book: Book, before: list[str], old: bytes | None) -> None:
    if old is None:
        _drop(HELPER)
    else:
        _install(old)
    book.helper = before
    book.save()


# --- files ----------------------------------------------------------------------------------------------


def _read(path: str) -> bytes | None:
    """Read a file, None if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _drop(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _replace(path: str, content: bytes, finish: Callable[[int], None] | None = None) -> None:
    """Write a file whole or not at all, with the owner, mode and label of the one that it replaces.

    The caller holds the file's lock, so what a call that was killed has left may be thrown away.
    """
    part = f"{path}{PART}"
    _drop(part)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(fd, left) :]
        (finish or (lambda fd: _resemble(fd, path)))(fd)
        os.fsync(fd)
        os.rename(part, path)
    except BaseException:
        _drop(part)
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


def _parents(path: str) -> list[str]:
    """Give a path and the directories above it, the uppermost first."""
    parts = path.strip("/").split("/")
    return ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]


def _ways(path: str) -> Iterator[str]:
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


def _other_writer(path: str) -> str:
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


def _refuse_writable(path: str) -> None:
    found = os.stat(path)
    if found.st_uid != 0 or found.st_mode & 0o022 or not stat.S_ISDIR(found.st_mode):
        message = f"{path} is not root's alone to write to, so the helper would not be safe in {FOLDER}"
        # In a user namespace without the real root nothing is root's.
        hint = "in a container, set jai up outside of it" if path == "/" else ""
        raise RefusedError(message, hint=hint or f"sudo chown root {path}; sudo chmod go-w {path}")


def _name(lookup: Callable[[int], Sequence[object]], number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return f"uid {number}" if lookup is pwd.getpwuid else str(number)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


def _bytes(line: str) -> bytes:
    return line.encode("utf-8", "surrogateescape")


# --- locks ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """Keep other setups out.  In /run, since a file that everybody may open could be locked by anybody."""
    with _doing("the lock of --setup can not be taken"):
        fd = _lock()
    try:
        yield
    finally:
        os.unlink(LOCK)
        os.close(fd)


def _lock() -> int:
    """Lock the file, which whoever is done removes: a lock on a removed file is none."""
    end = time.monotonic() + 8 * PATIENCE
    while True:
        fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.stat(LOCK)):
                return fd
        os.close(fd)
        _wait(end, "another jai --setup is running")


@contextlib.contextmanager
def _locked(paths: Sequence[str]) -> Iterator[None]:
    """Keep useradd and its like away from account files.

    Source: lckpwdf(3), and lib/commonio.c of shadow: `FILE.lock` is a link to a file that holds a process id.
    """
    end = time.monotonic() + PATIENCE
    held = []
    fd = os.open("/etc/.pwd.lock", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        while True:
            with contextlib.suppress(BlockingIOError, PermissionError):
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            _wait(end, "another program is changing the accounts (/etc/.pwd.lock)")
        for path in paths:
            while not _link_lock(path):
                _wait(end, f"another program is changing {path} ({path}.lock)")
            held.append(f"{path}.lock")
            _drop(path + PART)
        yield
    finally:
        for path in held:
            os.unlink(path)
        os.close(fd)


def _link_lock(path: str) -> bool:
    """Make FILE.lock; one whose process is dead is removed first."""
    own = f"{path}.{os.getpid()}"
    with open(own, "wb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)) as file:
        file.write(b"%d\0" % os.getpid())
    try:
        os.link(own, f"{path}.lock")
    except FileExistsError:
        holder = (_read(f"{path}.lock") or b"").rstrip(b"\0\n")
        if holder.isdigit() and not _is_alive(int(holder)):
            os.unlink(f"{path}.lock")
        return False
    finally:
        os.unlink(own)
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _wait(end: float, why: str) -> None:
    if time.monotonic() > end:
        raise HostError(why, hint="try again when it has ended")
    time.sleep(0.05)


# --- small pieces ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def _doing(what: str) -> Iterator[None]:
    """Turn the kernel's refusals into words."""
    try:
        yield
    except OSError as error:
        hint = {
            errno.EROFS: "the file system is read-only: remount it writable for the time of --setup",
            errno.EBUSY: "something is mounted over the file: in a container, make the change outside of it",
        }
        detail = f"{os.fsdecode(error.filename or '')}: {error.strerror}".removeprefix(": ")
        raise HostError(what, detail=detail, hint=hint.get(error.errno or 0, "")) from None


def _run(command: Sequence[str]) -> None:
    """Run a tool of the system.

    Raises: HostError with the last thing that it said.
    """
    env = {"PATH": TOOLS, "LC_ALL": "C"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=env, cwd="/", check=False
    )
    if done.returncode:
        said = os.fsdecode(done.stderr or done.stdout).strip().splitlines()
        detail = said[-1] if said else f"it ended with {done.returncode}"
        message = f"{os.path.basename(command[0])} failed"
        raise HostError(message, detail=detail)


def _say(word: str, what: str) -> None:
    _write(1, f"{word}: {printable(what)}\n")


def _warn(what: str) -> None:
    _write(2, f"jai: {printable(what)}\n")


def _write(fd: int, line: str) -> None:
    # Who does not listen must not stop it half-way.
    with contextlib.suppress(OSError):
        os.write(fd, line.encode("utf-8", "backslashreplace"))
