"""This machine, as far as a decision rests on it: the only place where the front end looks at it.

`Host` answers questions; tests answer them from a table instead.
"""

from __future__ import annotations

import errno
import posix

from jai._core import lib
from jai.errors import HostError
from jai.system import dirname, fsdecode, fsencode, join, normpath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# st_mode's file types (inode(7)); the stat module is one import more.
FORMAT = 0o170000
TYPES = {
    0o040000: "directory",
    0o100000: "file",
    0o120000: "link",
    0o140000: "socket",
    0o020000: "device",
    0o060000: "device",
    0o010000: "fifo",
}

HELPER = "/usr/local/libexec/jai/jai-idmap"

MOUNTINFO = "/proc/self/mountinfo"
MOST_LINKS = 40  # as the kernel: path_resolution(7)

# statfs(2) f_type of what can not hold an overlay's upper layer: NFS, FUSE, CIFS, SMB2, 9p, AFS, Ceph,
# overlayfs itself, FAT, exFAT, eCryptfs, ramfs, proc-like.
UNFIT_FOR_UPPER = {
    0x6969: "NFS",
    0x65735546: "FUSE",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB",
    0x01021997: "9p",
    0x5346414F: "AFS",
    0x00C36400: "Ceph",
    0x794C7630: "overlayfs",
    0x4D44: "FAT",
    0x2011BAB0: "exFAT",
    0xF15F: "eCryptfs",
    0x858458F6: "ramfs",
}


class Environment(dict[str, str]):
    """The variables; `used` names those whose values somebody has asked for."""

    def __init__(self, variables: Mapping[str, str], used: set[str] | None = None) -> None:
        """Take the variables; copies share what was used."""
        super().__init__(variables)
        self.used = set() if used is None else used

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        """Give a value, or the default."""
        self.used.add(name)
        return dict.get(self, name, default)

    def __getitem__(self, name: str) -> str:
        """Give a value."""
        self.used.add(name)
        return dict.__getitem__(self, name)

    def __contains__(self, name: object) -> bool:
        """Say whether a variable is set."""
        self.used.add(str(name))
        return dict.__contains__(self, name)

    def copy(self) -> Environment:
        """Give variables that can be changed."""
        return Environment(self, self.used)


class Found:
    """What is at a path: its type, owner, group, mode and identity."""

    __slots__ = ("changed", "device", "group", "inode", "mode", "owner", "type")

    def __init__(  # noqa: PLR0913, PLR0917 - stat(2)
        self,
        type: str,  # noqa: A002
        owner: int,
        mode: int,
        device: int,
        inode: int,
        changed: int = 0,
        group: int = -1,
    ) -> None:
        """Take what stat(2) says; `changed` is the time in ns that nobody can set."""
        self.type = type
        self.owner = owner
        self.mode = mode
        self.device = device
        self.inode = inode
        self.changed = changed
        self.group = group

    @property
    def same(self) -> tuple[int, int]:
        """The identity that a step can insist on."""
        return (self.device, self.inode)


class Account:
    """The user that is jailed."""

    __slots__ = ("entry", "gid", "home", "name", "shell", "uid")

    def __init__(self, name: str, uid: int, gid: int, home: str, shell: str, entry: str = "") -> None:  # noqa: PLR0913, PLR0917 - passwd(5)
        """Take the fields of passwd(5); `entry` is the line to add where /etc/passwd has none."""
        self.name = name
        self.uid = uid
        self.gid = gid
        self.home = home
        self.shell = shell
        self.entry = entry


class Host:
    """Answers questions about the machine; nothing is changed by asking.

    What was asked and found is kept, for who wants to know later whether it is still so (sealed.py): `facts`,
    `real_paths`, when the `newest` file that was read had been changed, or in `uncertain` why it can not be
    known.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        """Look up who is jailed and where we stand."""
        self.facts: dict[str, str] = {}
        self.real_paths: dict[str, str] = {}
        self.newest = 0
        self.uncertain = ""
        self._reads("/etc/passwd")
        self._reads("/etc/group")
        self.env = Environment(env)
        self.account = find_account(self.env)
        if self.account.entry:
            self.uncertain = "the account is not in /etc/passwd"
        self.home = self.env.get("HOME") if self.account.uid == posix.getuid() else ""
        self.home = normpath(self.home or self.account.home or "/")
        self.cwd = current_directory()
        self._mounts: bytes | None = None

    def _note(self, letter: str, path: str, fact: str) -> None:
        """Keep a fact.  A jail may change things while we look: then nobody knows what we decide by."""
        if self.facts.setdefault(letter + path, fact) != fact:
            self.uncertain = f"{path} has changed meanwhile"

    def _reads(self, path: str) -> None:
        """Look at a file before it is read: if it changes then, the fact is old and never holds."""
        fact, changed = look_at_file(path)
        self._note("f", path, fact)
        self.newest = max(self.newest, changed)

    def read_conf(self, path: str) -> bytes | None:
        """Read a configuration file; see `jai.conf.read_file`."""
        from jai.conf import read_file  # noqa: PLC0415 - not needed by most cold commands

        self._reads(path)
        return read_file(path)

    def user(self, name: str) -> Account | None:
        """Look a local user up, None if there is none of this name."""
        fields = _passwd_line(0, name)
        return _account(fields) if fields else None

    def find(self, path: str) -> Found | None:
        """Say what is at a path, links followed; None where there is nothing to be seen."""
        fact, found = look(posix.stat, path)
        self._note("s", path, fact)
        return found

    def find_link(self, path: str) -> Found | None:
        """Say what is at a path, the last link not followed."""
        fact, found = look(posix.lstat, path)
        self._note("l", path, fact)
        return found

    def find_state(self, path: str) -> Found | None:
        """Say what is at a path as `find_link` does; that it has been changed will count."""
        fact, found = look(posix.lstat, path, whole=True)
        self._note("i", path, fact)
        return found

    def real(self, path: str) -> str:
        """Give the path without symbolic links; what does not exist stays as it is."""
        found = self.real_paths.get(path)
        if found is None:
            found = path if lib.jai_is_real(fsencode(path)) else _real(path)
            self.real_paths[path] = found
        return found

    def text(self, path: str) -> str | None:
        """Give the content of a regular file, None if it can not be read."""
        found = self.find(path)
        self._reads(path)
        if found is None or found.type != "file" or not posix.access(path, posix.R_OK):
            return None
        return fsdecode(read_bytes(path))

    def start_of(self, path: str) -> str:
        """Give the first 64 KiB of a regular file that a jail may have made, "" if it can not be read."""
        found = self.find(path)
        self._reads(path)
        if found is None or found.type != "file":
            return ""
        try:
            fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOCTTY)
        except OSError:
            return ""
        try:
            return fsdecode(posix.read(fd, 1 << 16)).partition("\0")[0]
        except OSError:
            return ""
        finally:
            posix.close(fd)

    def names(self, path: str) -> tuple[str, ...]:
        """List what is in a directory, nothing if it can not be listed."""
        self._reads(path)
        try:
            return tuple(sorted(posix.listdir(path)))
        except OSError:
            return ()

    def readonly(self, path: str) -> bool:
        """Say whether the mount that holds the path is read-only."""
        return bool(self._mount_flags(path) & posix.ST_RDONLY)

    def noexec(self, path: str) -> bool:
        """Say whether nothing may be executed on the mount that holds the path."""
        return bool(self._mount_flags(path) & posix.ST_NOEXEC)

    def _mount_flags(self, path: str) -> int:
        flags = posix.statvfs(path).f_flag & (posix.ST_RDONLY | posix.ST_NOEXEC)
        self.facts["o" + path] = str(flags)
        return flags

    def follow(self, path: str) -> tuple[tuple[str, ...], str]:
        """List the symbolic links that are followed on the way to a path, in order, and say where it ends."""
        self.uncertain = f"there is a link on the way to {path}"
        found: list[str] = []
        at, parts = "/", path.split("/")
        while parts and len(found) < MOST_LINKS:
            part = parts.pop(0)
            there = dirname(at) if part == ".." else join(at, part if part != "." else "")
            there = there.rstrip("/") or "/"
            try:
                target = posix.readlink(there)
            except OSError:
                at = there
                continue
            found.append(there)
            at = "/" if target.startswith("/") else at
            parts = [*target.split("/"), *parts]
        return tuple(found), at

    def unfit_for_upper(self, path: str) -> str:
        """Name the file system that holds path if no overlay can keep its changes there, else ""."""
        while self.find(path) is None and path != "/":
            path = dirname(path)
        kind = lib.jai_fstype(fsencode(path))
        self.facts["t" + path] = str(kind)
        if kind not in UNFIT_FOR_UPPER and not keeps_user_xattrs(path):
            return "a file system without user extended attributes"  # tmpfs before Linux 6.6
        return UNFIT_FOR_UPPER.get(kind, "")

    def mounts_below(self, path: str) -> tuple[str, ...]:
        """List the mount points strictly below a directory.  Source: proc(5), mountinfo, field 5."""
        start = b" " + _escaped(path.rstrip("/")) + b"/"
        if start not in self._mountinfo():
            return ()
        points = [line.split(b" ")[4] for line in self._mountinfo().splitlines()]
        return tuple(sorted({_unescaped(point) for point in points if point.startswith(start[1:])}))

    def _mountinfo(self) -> bytes:
        if self._mounts is None:
            self._mounts = read_bytes(MOUNTINFO)
            self.facts["c" + MOUNTINFO] = f"{lib.jai_hash(self._mounts, len(self._mounts)):016x}"
        return self._mounts

    def other_views(self, directory: str) -> tuple[str, ...]:
        """List where else the same directory is seen: its file system is mounted there too.

        Source: proc(5), mountinfo: field 3 is the device, 4 the part of it that is mounted, 5 where.  It
        does not say what a later mount covers: what is another directory, or is not there, is left out.
        """
        text = self._mountinfo()
        place = _escaped(directory)
        own = [b"", b"", b"/", b""]
        # The last of the deepest mounts on the way is the one that is seen.
        for line in text.splitlines():
            _, _, device, root, point, _ = line.split(b" ", 5)
            if _covers(point, place) and len(point) >= len(own[3]):
                own = [line, device, root, point]
        device = b" " + own[1] + b" "
        if text.count(device) < 2:  # noqa: PLR2004 - its own line is one
            return ()
        inner = _joined(own[2], place[len(own[3].rstrip(b"/")) :])
        found = set()
        for line in text.splitlines():
            if device in line and line != own[0]:
                _, _, _, root, point, _ = line.split(b" ", 5)
                if _covers(root, inner):
                    found.add(_unescaped(_joined(point, inner[len(root.rstrip(b"/")) :])))
        home = self.find(directory) if found else None
        return tuple(view for view in sorted(found - {directory}) if self._may_be(view, home))

    def _may_be(self, path: str, thing: Found | None) -> bool:
        """Say whether that thing is at a path, as far as can be seen."""
        found = self.find(path)
        if found is None or thing is None:
            return self.facts["s" + path] != f"-{errno.ENOENT}"
        return found.same == thing.same

    def owns_cgroup(self) -> bool:
        """Say whether the user may write to the cgroup that we are in."""
        owns = lib.jai_owns_cgroup(self.account.uid)
        self.facts["g"] = str(owns)
        return bool(owns)

    def terminal(self) -> str:
        """Give the path of the terminal on the standard descriptors, "" without one."""
        for fd in (0, 1, 2):
            try:
                return posix.ttyname(fd)
            except OSError:
                continue
        return ""

    def controlled(self) -> bool:
        """Say whether the process has a controlling terminal."""
        try:
            posix.close(posix.open("/dev/tty", posix.O_RDONLY | posix.O_NOCTTY))
        except OSError:
            return False
        return True

    def open_directories(self) -> tuple[int, ...]:
        """List which of the standard descriptors are directories."""
        found = []
        for fd in (0, 1, 2):
            try:
                if TYPES.get(posix.fstat(fd).st_mode & FORMAT) == "directory":
                    found.append(fd)
            except OSError:
                continue
        return tuple(found)

    def is_open(self, fd: int) -> bool:
        """Say whether a descriptor is open."""
        try:
            posix.fstat(fd)
        except OSError:
            return False
        return True

    def helper(self) -> str:
        """Give the privileged helper: the installed one, for root else the package's own, "" without one."""
        if self.find(HELPER):
            return HELPER
        own = f"{dirname(__file__)}/helper/jai-idmap"
        helps = lib.jai_may_help()
        self.facts["h"] = str(helps)
        return own if helps and self.find(own) else ""

    def landlock(self) -> int:
        """Give the kernel's Landlock ABI, 0 without Landlock."""
        abi = int(lib.jai_landlock())
        self.facts["a"] = str(abi)
        return abi


def look(
    ask: Callable[[str], posix.stat_result], path: str, *, whole: bool = False
) -> tuple[str, Found | None]:
    """Give what there is at a path as a fact and as a value, None where nothing can be seen."""
    try:
        stat = ask(path)
    except OSError as error:
        return f"-{error.errno}", None
    except ValueError:
        return "-0", None
    kind = TYPES.get(stat.st_mode & FORMAT, "file")
    mode = stat.st_mode & 0o7777
    found = Found(kind, stat.st_uid, mode, stat.st_dev, stat.st_ino, stat.st_ctime_ns, stat.st_gid)
    return _said(stat, whole=whole), found


def look_at_file(path: str) -> tuple[str, int]:
    """Give what a file is now as a fact, and when it was last changed, in nanoseconds.

    It is opened where it may be on NFS, which asks its server then; a file system on a disk has a number of
    its own.  A device is not opened: that can do something.
    """
    try:
        stat = posix.stat(path)
        if not posix.major(stat.st_dev) and TYPES.get(stat.st_mode & FORMAT) in {"file", "directory"}:
            fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOCTTY)
            stat = posix.fstat(fd)
            posix.close(fd)
    except OSError as error:
        return f"-{error.errno}", 0
    return _said(stat, whole=True), max(stat.st_mtime_ns, stat.st_ctime_ns)


def _said(stat: posix.stat_result, *, whole: bool) -> str:
    text = f"{stat.st_dev} {stat.st_ino} {stat.st_mode} {stat.st_uid} {stat.st_gid}"
    if not whole:
        return text
    # A time before 1970 as C has it.
    return f"{text} {stat.st_size} {stat.st_mtime_ns % 2**64} {stat.st_ctime_ns % 2**64}"


def keeps_user_xattrs(path: str) -> bool:
    """Say whether the file system has them, in which an overlay notes what it has replaced."""
    try:
        posix.getxattr(path, "user.overlay.opaque")
    except OSError as error:
        return error.errno != errno.ENOTSUP
    return True


def read_bytes(path: str) -> bytes:
    """Give the content of a small file, empty if it can not be read."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return b""
    try:
        parts = []
        while part := posix.read(fd, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return b""
    finally:
        posix.close(fd)


def find_account(env: Mapping[str, str]) -> Account:
    """Say who is to be jailed: the user; for root whom root acts for (sudo, su).

    Raises: HostError if root acts for somebody who does not exist.
    """
    uid = posix.getuid()
    if uid == 0:
        for name in (env.get("SUDO_USER", ""), env.get("USER", "")):
            if name and name != "root":
                return _account_named(name)
    fields = _passwd_line(2, str(uid))
    if fields:
        return _account(fields)
    import pwd  # noqa: PLC0415 - only for users that come from elsewhere

    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        name = env.get("USER", "") or f"user{uid}"
        home, shell = env.get("HOME", "/"), env.get("SHELL", "/bin/sh")
        user = pwd.struct_passwd((name, "x", uid, posix.getgid(), "", home, shell))
    return _foreign(user)


def _foreign(user: tuple[object, ...]) -> Account:
    """Give the account of a user that /etc/passwd does not have, with the line to add."""
    name, _, uid, gid, gecos, home, shell = (
        str(field).replace(":", "").replace("\n", "") for field in user[:7]
    )
    entry = f"{name}:x:{uid}:{gid}:{gecos}:{home}:{shell}\n"
    return Account(name, int(uid), int(gid), home, shell, entry)


def _account_named(name: str) -> Account:
    fields = _passwd_line(0, name)
    if fields:
        return _account(fields)
    import pwd  # noqa: PLC0415 - only for users that come from elsewhere

    try:
        return _foreign(pwd.getpwnam(name))
    except KeyError:
        message = f"root acts for the user {name!r}, who does not exist"
        raise HostError(message, hint="unset SUDO_USER and USER, or set USER to root") from None


def _passwd_line(column: int, value: str) -> list[str]:
    """Find the fields of one line of /etc/passwd.  The file is read without NSS: it is faster."""
    for line in fsdecode(read_bytes("/etc/passwd")).split("\n"):
        fields = line.split(":")
        if len(fields) == 7 and fields[column] == value:  # noqa: PLR2004 - passwd(5)
            return fields
    return []


def _account(fields: list[str]) -> Account:
    return Account(fields[0], int(fields[2]), int(fields[3]), fields[5], fields[6] or "/bin/sh")


def _real(path: str) -> str:
    import os  # noqa: PLC0415 - only where there is a link on the way

    return os.path.realpath(path)


def current_directory() -> str:
    """Give the true current directory, without symbolic links.

    Raises: HostError if there is none.
    """
    try:
        return posix.getcwd()
    except OSError as error:
        message = "the current directory is gone"
        raise HostError(
            message, detail=f"getcwd: {error.strerror}", hint="cd to a directory that exists"
        ) from None


def _covers(directory: bytes, path: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def _joined(directory: bytes, rest: bytes) -> bytes:
    return (directory.rstrip(b"/") + rest) or b"/"


def _escaped(path: str) -> bytes:
    return (
        fsencode(path)
        .replace(b"\\", b"\\134")
        .replace(b" ", b"\\040")
        .replace(b"\t", b"\\011")
        .replace(b"\n", b"\\012")
    )


def _unescaped(path: bytes) -> str:
    plain = (
        path.replace(b"\\040", b" ")
        .replace(b"\\011", b"\t")
        .replace(b"\\012", b"\n")
        .replace(b"\\134", b"\\")
    )
    return fsdecode(plain)
