"""The privileged helper gives the caller what is the caller's, and nobody anything else: scenario E16."""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import functools
import itertools
import os
import pickle
import pty
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conformance.abilities import needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HELPER = Path(__file__).resolve().parents[1] / "jai" / "helper"
CORE = HELPER.parent / "core"
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow"]

# Nobody else has these ids, not even other tests: what the attacks below kill can only be our own.
USER, GROUP, OTHER = 61901, 61911, 61902
STRICT, STRICT_GROUP, OVERFLOW, INSIDE = 700000, 800000, 65534, 990
MAGIC, VERSION = 0x4449414A, 1
IDENTITY, MOUNT, CLONE = 1, 2, 3
CAPS = 1 << 21 | 1 << 7 | 1 << 6  # sys_admin, setuid, setgid

SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_MOUNT_SETATTR = 428, 429, 442
SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 434, 438
NEWNS, NEWUSER = 0x20000, 0x10000000
EMPTY_PATH, RECURSIVE, TREE_CLONE = 0x1000, 0x8000, 1
RDONLY, NOSUID, NODEV, IDMAP = 1, 2, 4, 0x100000
MS_BIND, MS_REMOUNT, MS_REC, MS_PRIVATE, MS_SHARED = 1 << 12, 1 << 5, 1 << 14, 1 << 18, 1 << 20
PTRACE_SEIZE = 0x4206

libc = ctypes.CDLL(None, use_errno=True)
pytestmark = [needs("root"), needs("gcc")]


# --- the kernel's calls --------------------------------------------------------------------------------


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _call(number: int, *arguments: int | bytes | None) -> int:
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _check(libc.syscall(ctypes.c_long(number), *words), f"system call {number}")


def unshare(flags: int) -> None:
    """Enter new namespaces."""
    _check(libc.unshare(flags), "unshare")


def mount(source: str, target: Path | str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Add a mount to this mount namespace."""
    strings = [os.fsencode(each) for each in (source, str(target), kind)]
    _check(libc.mount(*strings, ctypes.c_ulong(flags), options.encode() or None), f"mount {target}")


def set_attributes(fd: int, *, add: int = 0, clear: int = 0, userns: int = 0, flags: int = 0) -> None:
    """Change what a mount allows, with mount_setattr(2)."""
    attributes = struct.pack("=QQQQ", add, clear, 0, userns)
    _call(SYS_MOUNT_SETATTR, fd, b"", EMPTY_PATH | flags, attributes, len(attributes))


def clone_tree(fd: int) -> int:
    """Give a detached mount of what a descriptor shows."""
    return _call(SYS_OPEN_TREE, fd, b"", EMPTY_PATH | TREE_CLONE | os.O_CLOEXEC)


def attach(mount_fd: int, target: str) -> None:
    """Attach a detached mount in a namespace of one's own."""
    _call(SYS_MOVE_MOUNT, mount_fd, b"", os.open(target, os.O_PATH), b"", 0x44)


def failure(function: Callable[..., object], *arguments: object, **options: object) -> str:
    """Name the errno of a call, "" if it succeeds."""
    try:
        function(*arguments, **options)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


# --- a world of its own --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def helper() -> Iterator[Path]:
    """Install the helper in a mount namespace with an /etc/subuid of its own: its path."""
    built = Path(sysconfig.get_path("platlib"), "jai/helper/jai-idmap")
    outside = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    unshare(NEWNS)
    try:
        mount("none", "/", flags=MS_REC | MS_PRIVATE)
        mount("none", "/mnt", "tmpfs", options="mode=755")
        for name, first in {"subuid": STRICT, "subgid": STRICT_GROUP}.items():
            path = Path("/mnt", name)
            path.write_text(f"ada:100000:65536\n{USER}:{first}:65536\n{OTHER}:900000:65536\n")
            if not Path("/etc", name).exists():
                Path("/etc", name).touch()
            mount(str(path), f"/etc/{name}", flags=MS_BIND)
        yield install(built, Path("/mnt/jai-idmap-test"))
    finally:
        _check(libc.setns(outside, NEWNS), "setns")
        os.close(outside)


def install(built: Path, path: Path) -> Path:
    """Copy the helper and give it its capabilities as setcap(8) does: VFS_CAP_REVISION_2, effective."""
    shutil.copy(built, path)
    path.chmod(0o755)
    os.setxattr(path, "security.capability", struct.pack("<5I", 0x02000001, CAPS, 0, 0, 0))
    return path


@pytest.fixture
def place(helper: Path) -> Iterator[Path]:
    """Make a directory of the caller's with files of its own and of others, on a shared mount."""
    assert helper.exists()
    path = Path("/mnt/place")
    path.mkdir()
    mount("none", path, "tmpfs", options="mode=755")
    fill(path)
    yield path
    while os.path.ismount(path):
        _check(libc.umount2(os.fsencode(path), 2), "umount")
    path.rmdir()


def fill(path: Path) -> None:
    """Put files of the caller's and of others into a directory of the caller's."""
    (path / "folder").mkdir()
    for name, owner, group in (("file", USER, GROUP), ("other", OTHER, GROUP), ("group", USER, OTHER)):
        (path / name).write_text(f"{name}\n")
        (path / name).chmod(0o666)
        os.chown(path / name, owner, group)
    for each in (path, path / "folder"):
        os.chown(each, USER, GROUP)


def become_user(uid: int = USER, gid: int = GROUP) -> None:
    """Turn this process into an ordinary user's, as after an exec: dumpable."""
    os.seteuid(0)
    os.setgroups([OTHER, 4])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    libc.prctl(4, 1, 0, 0, 0)


def as_user(work: Callable[[], Any], uid: int = USER, gid: int = GROUP) -> Any:
    """Run a function as an ordinary user in a process of its own: what it gives or raises."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            become_user(uid, gid)
            answer: tuple[bool, object] = (True, work())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is for the parent
            answer = (False, error)
        with contextlib.suppress(BaseException), open(writing, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    assert told, "the user's process ended without a word"
    good, value = pickle.loads(told)  # noqa: S301 - it is our own
    if not good:
        raise value
    return value


class Session:
    """A running helper and the caller's end of the pair."""

    def __init__(
        self, path: Path, before: Callable[[], object] | None = None, *, empty: bool = False
    ) -> None:
        """Start the helper; `before` runs in the process that becomes it."""
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(20)
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(theirs.fileno(), 0)
            try:
                if before:
                    before()
                self.become(path, empty=empty)
            finally:
                os._exit(99)
        theirs.close()

    @staticmethod
    def become(path: Path, *, empty: bool) -> None:
        """Execute the helper, with no argument at all if wanted, which Python refuses to."""
        if empty:
            libc.execve(os.fsencode(path), (ctypes.c_char_p * 1)(None), (ctypes.c_char_p * 1)(None))
        os.execv(path, ["jai-idmap"])  # noqa: S606 - it is what is tested

    def send(self, message: bytes, fds: list[int]) -> None:
        """Send a packet with descriptors."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([message], rights)

    def receive(self) -> tuple[str, int, int]:
        """Give the name of the answer's errno ("" for none), the id and the descriptor (-1 for none)."""
        message, rights, _flags, _address = self.socket.recvmsg(64, 64)
        if not message:
            return "END", 0, -1
        number, strict = struct.unpack("=II", message)
        fd = struct.unpack("=i", rights[0][2])[0] if rights else -1
        return errno.errorcode[number] if number else "", strict, fd

    def ask(self, verb: int, inside: int = 0, *fds: int) -> tuple[str, int, int]:
        """Send a request and give its answer."""
        try:
            self.send(struct.pack("=4I", MAGIC, VERSION, verb, inside), list(fds))
            return self.receive()
        except (BrokenPipeError, ConnectionResetError):
            return "END", 0, -1

    def get(self, verb: int, path: Path | str) -> int:
        """Ask for the mount of a path, which must be given."""
        error, _strict, fd = self.ask(verb, 0, os.open(path, os.O_PATH))
        assert (error, fd >= 0) == ("", True)
        return fd

    def end(self) -> int:
        """Close the pair and give the helper's exit status, negative for a signal."""
        self.socket.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def become_strict(session: Session) -> None:
    """Turn the caller into its strict id, in a user and mount namespace of its own."""
    unshare(NEWUSER | NEWNS)
    assert session.ask(IDENTITY, INSIDE)[:2] == ("", STRICT)
    os.setgroups([])
    os.setresgid(INSIDE, INSIDE, INSIDE)
    os.setresuid(INSIDE, INSIDE, INSIDE)


# --- what it gives -------------------------------------------------------------------------------------


def test_identity_is_one_id_of_the_callers_range(helper: Path) -> None:
    """The namespace maps the id inside to the caller's strict id, and the caller's groups can be left."""

    def work() -> tuple[str, str, list[int], list[int]]:
        session = Session(helper)
        unshare(NEWUSER)
        before = os.getgroups()
        assert session.ask(IDENTITY, INSIDE) == ("", STRICT, -1)
        maps = [Path(f"/proc/self/{name}").read_text().split() for name in ("uid_map", "gid_map")]
        assert session.ask(IDENTITY, INSIDE)[0] == "EPERM"
        os.setgroups([])
        assert session.end() == 0
        return " ".join(maps[0]), " ".join(maps[1]), before, os.getgroups()

    uids, gids, before, after = as_user(work)

    assert (uids, gids) == (f"{INSIDE} {STRICT} 1", f"{INSIDE} {STRICT_GROUP} 1")
    assert (len(before), after) == (2, [])


@needs("mkfs")
@pytest.mark.parametrize("kind", ["tmpfs", "ext4", "btrfs", "xfs"])
def test_files_made_in_the_mount_are_the_callers(
    kind: str, place: Path, helper: Path, tmp_path: Path
) -> None:
    """The strict id works as the caller there: on disk all is the caller's, and only that changes."""
    if kind != "tmpfs":
        image = tmp_path / "image"
        with image.open("wb") as file:
            file.truncate(400 << 20)
        subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True)
        subprocess.run(["mount", "-n", "-o", "loop", str(image), str(place)], check=True)
        fill(place)

    def work() -> dict[str, object]:
        session = Session(helper)
        view = session.get(MOUNT, place)
        seen: dict[str, object] = {"before": os.stat("file", dir_fd=view).st_uid}
        become_strict(session)
        attach(view, "/srv")
        os.chdir("/srv")
        seen["owners"] = [
            (os.stat(each).st_uid, os.stat(each).st_gid) for each in (".", "file", "other", "group")
        ]
        Path("new").write_text("")
        Path("folder/sub").mkdir()
        Path("file").chmod(0o600)
        Path("file").rename("folder/renamed")
        os.link("folder/renamed", "linked")
        seen["write"] = [failure(open, each, "w") for each in ("other", "group")]
        seen["chown"] = [failure(os.chown, "new", uid, -1) for uid in (0, OVERFLOW, USER, OTHER)]
        seen["chgrp"] = [failure(os.chown, "new", -1, gid) for gid in (0, OVERFLOW, GROUP, OTHER)]
        seen["device"] = failure(os.mknod, "device", 0o20666, os.makedev(1, 3))
        return seen

    seen = as_user(work)

    assert seen["before"] == STRICT
    assert seen["owners"] == [(INSIDE, INSIDE), (INSIDE, INSIDE), (OVERFLOW, INSIDE), (INSIDE, OVERFLOW)]
    assert seen["write"] == ["EACCES", "EACCES"]
    assert seen["chown"] == seen["chgrp"] == ["EINVAL"] * 4
    assert seen["device"] == "EPERM"
    for made in ("new", "folder/sub", "folder/renamed", "linked"):
        stat = (place / made).stat()
        assert (stat.st_uid, stat.st_gid) == (USER, GROUP), made
    assert [(place / each).read_text() for each in ("other", "group")] == ["other\n", "group\n"]


def test_a_file_can_be_given(place: Path, helper: Path) -> None:
    """A single file is a mount like a directory."""

    def work() -> str:
        session = Session(helper)
        view = session.get(MOUNT, place / "file")
        become_strict(session)
        attach(view, "/dev/null")
        Path("/dev/null").write_text("written\n")
        return f"{os.stat('/dev/null').st_uid}"

    assert as_user(work) == str(INSIDE)
    assert (place / "file").read_text() == "written\n"


def test_a_clone_shows_what_a_mount_hides(place: Path, helper: Path) -> None:
    """The clone has the ids and content of the directory, without what is mounted below."""
    mount("none", place / "folder", "tmpfs")

    def work() -> tuple[int, int, bool]:
        view = Session(helper).get(CLONE, place)
        stats = [os.stat(name, dir_fd=view) for name in ("file", "folder")]
        nosuid_nodev = os.ST_NOSUID | 4
        return stats[0].st_uid, stats[1].st_uid, os.statvfs(view).f_flag & nosuid_nodev == nosuid_nodev

    assert (place / "folder").stat().st_uid == 0
    assert as_user(work) == (USER, USER, True)


@pytest.mark.parametrize("verb", [MOUNT, CLONE])
def test_attributes_can_be_tightened_but_not_loosened(verb: int, place: Path, helper: Path) -> None:
    """What the administrator's mount forbids stays forbidden, attached or not; more can be forbidden."""
    mount(str(place), place, flags=MS_BIND)
    mount("none", place, flags=MS_BIND | MS_REMOUNT | RDONLY | NODEV | NOSUID)

    def work() -> list[str]:
        view = Session(helper).get(verb, place)
        unshare(NEWUSER | NEWNS)
        tried = [failure(set_attributes, view, clear=bit) for bit in (RDONLY, NODEV, NOSUID)]
        set_attributes(view, add=8)
        attach(view, "/srv")
        view = os.open("/srv", os.O_PATH)
        tried += [failure(set_attributes, view, clear=bit) for bit in (RDONLY, NODEV, NOSUID)]
        tried += [failure(mount, "none", "/srv", flags=MS_BIND | MS_REMOUNT)]
        return [*tried, failure(os.mkdir, "/srv/new")]

    assert as_user(work) == [*["EPERM"] * 7, "EROFS"]


@pytest.mark.parametrize("verb", [MOUNT, CLONE])
def test_mounts_on_it_do_not_spread(verb: int, place: Path, helper: Path) -> None:
    """The source is a shared mount, and still nothing that is mounted on the result is seen outside."""
    mount(str(place), place, flags=MS_BIND)
    mount("none", place, flags=MS_SHARED)
    before = Path("/proc/self/mountinfo").read_text()

    def work() -> bool:
        session = Session(helper)
        view = session.get(verb, place)
        unshare(NEWUSER | NEWNS)
        attach(view, "/srv")
        mount("none", "/srv/folder", "tmpfs")
        assert Path("/proc/self/mountinfo").read_text().count("/srv/folder ") == 1
        return os.path.ismount(f"/proc/{os.getppid()}/root{place}/folder")

    assert not as_user(work)
    assert Path("/proc/self/mountinfo").read_text() == before


# --- what it refuses -----------------------------------------------------------------------------------

GOOD = struct.pack("=4I", MAGIC, VERSION, CLONE, 0)
ODD_MESSAGES = {
    "short": (GOOD[:-1], 1),
    "one byte": (b"\0", 1),
    "long": (GOOD + b"\0", 1),
    "very long": (GOOD * 4096, 1),
    "wrong magic": (struct.pack("=4I", MAGIC + 1, VERSION, CLONE, 0), 1),
    "other byte order": (struct.pack(">4I", MAGIC, VERSION, CLONE, 0), 1),
    "wrong version": (struct.pack("=4I", MAGIC, VERSION + 1, CLONE, 0), 1),
    "verb 0": (struct.pack("=4I", MAGIC, VERSION, 0, 0), 1),
    "unknown verb": (struct.pack("=4I", MAGIC, VERSION, 4, 0), 1),
    "inside with clone": (struct.pack("=4I", MAGIC, VERSION, CLONE, 1), 1),
    "no descriptor": (GOOD, 0),
    "two descriptors": (GOOD, 2),
    "three descriptors": (GOOD, 3),
    "253 descriptors": (GOOD, 253),
    "identity with a descriptor": (struct.pack("=4I", MAGIC, VERSION, IDENTITY, INSIDE), 1),
    "identity of 0": (struct.pack("=4I", MAGIC, VERSION, IDENTITY, 0), 0),
    "identity beyond 2^31": (struct.pack("=4I", MAGIC, VERSION, IDENTITY, (1 << 31) + 1), 0),
}


@pytest.mark.parametrize("name", ODD_MESSAGES)
def test_what_is_not_a_request_ends_it(name: str, place: Path, helper: Path) -> None:
    """There is no answer, not even when a good request follows."""
    message, count = ODD_MESSAGES[name]

    def work() -> tuple[str, int]:
        session = Session(helper)
        fd = os.open(place, os.O_PATH)
        assert session.ask(CLONE, 0, fd)[0] == ""
        session.send(message, [fd] * count)
        with contextlib.suppress(BrokenPipeError):
            session.send(GOOD, [fd])
        try:
            answer = session.receive()[0]
        except ConnectionResetError:
            answer = "END"
        return answer, session.end()

    assert as_user(work) == ("END", 0)


def test_credentials_asked_for_by_the_caller_end_it(place: Path, helper: Path) -> None:
    """A socket option set before the start adds what was not expected to each message."""

    def work() -> str:
        session = Session(helper, lambda: socket.socket(fileno=0).setsockopt(socket.SOL_SOCKET, 16, 1))
        return session.ask(CLONE, 0, os.open(place, os.O_PATH))[0]

    assert as_user(work) == "END"


def test_it_serves_a_thousand_requests(place: Path, helper: Path) -> None:
    """Then it ends, and until then it keeps none of the descriptors."""

    def work() -> tuple[set[str], str]:
        session = Session(helper)
        fd = os.open(place / "file", os.O_PATH)
        answers = {session.ask(CLONE, 0, fd)[0] for _ in range(1000)}
        return answers, session.ask(CLONE, 0, fd)[0]

    assert as_user(work) == ({"ENOTDIR"}, "END")


def make(kind: str, place: Path) -> int:
    """Make something that is not the caller's directory, as the caller: a descriptor."""
    path = place / "made"
    if kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "symlink":
        path.symlink_to("folder")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "connected socket":
        return socket.socketpair()[0].detach()
    elif kind == "memfd":
        return os.memfd_create("memory")
    elif "of the caller's" in kind:
        unshare(NEWUSER | NEWNS)
        fd = os.open(place, os.O_PATH)
        return clone_tree(fd) if "detached" in kind else fd
    else:
        path = Path(kind)
    return os.open(path, os.O_PATH | os.O_NOFOLLOW * (kind == "symlink"))


REFUSED = [
    ("/", "EACCES", "EACCES"),
    ("/mnt/others", "EACCES", "EACCES"),
    ("/mnt/place/other", "EACCES", "ENOTDIR"),
    ("/mnt/place/file", "", "ENOTDIR"),
    ("/dev/null", "ENOTDIR", "ENOTDIR"),
    ("/proc", "EACCES", "EACCES"),
    ("/proc/self", "EINVAL", ""),
    ("/proc/self/fdinfo", "EINVAL", ""),
    ("/proc/self/ns/mnt", "EACCES", "ENOTDIR"),
    ("/mnt/ramfs", "EINVAL", ""),
    ("/mnt/overlay", "EINVAL", ""),
    ("/mnt/unbindable", "EINVAL", "EINVAL"),
    ("/mnt/mapped", "EPERM", ""),
    ("socket", "ENOTDIR", "ENOTDIR"),
    ("connected socket", "ENOTDIR", "ENOTDIR"),
    ("symlink", "ENOTDIR", "ENOTDIR"),
    ("pipe", "ENOTDIR", "ENOTDIR"),
    ("memfd", "EINVAL", "ENOTDIR"),
    ("in a namespace of the caller's", "EINVAL", "EINVAL"),
    ("detached mount of the caller's", "EINVAL", "EINVAL"),
]


@pytest.fixture
def mounts(place: Path) -> Iterator[None]:
    """Make the odd mounts that the table names; the caller owns the root directory of each."""
    names = ["others", "ramfs", "overlay", "unbindable", "mapped", "real"]
    for name in names:
        Path("/mnt", name).mkdir()
    os.chown("/mnt/others", OTHER, OTHER)
    mount("none", "/mnt/ramfs", "ramfs")
    mount("none", "/mnt/overlay", "overlay", options=f"lowerdir={place}:/mnt/real")
    mount("none", "/mnt/unbindable", "tmpfs")
    mount("none", "/mnt/unbindable", flags=1 << 17)
    os.chown("/mnt/mapped", 5000, 5000)
    view = clone_tree(os.open("/mnt/mapped", os.O_PATH))
    set_attributes(view, add=IDMAP, userns=user_namespace(f"5000 {USER} 1"))
    attach(view, "/mnt/mapped")
    for name in ("ramfs", "unbindable"):
        os.chown(Path("/mnt", name), USER, GROUP)
    yield
    for name in names:
        libc.umount2(os.fsencode(f"/mnt/{name}"), 2)
        Path("/mnt", name).rmdir()


def user_namespace(line: str) -> int:
    """Give a user namespace with one line of map for both kinds of ids."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        unshare(NEWUSER)
        os.write(writing, b".")
        time.sleep(60)
        os._exit(0)
    os.read(reading, 1)
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{name}").write_text(line)
    fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return fd


@pytest.mark.usefixtures("mounts")
@pytest.mark.parametrize(("kind", "mapped", "cloned"), REFUSED)
def test_other_descriptors_are_refused(
    kind: str, mapped: str, cloned: str, place: Path, helper: Path
) -> None:
    """Each with its errno, after which the helper still serves."""

    def work() -> list[str]:
        session = Session(helper)
        good = os.open(place, os.O_PATH)
        fd = make(kind, place)
        answers = [session.ask(verb, 0, fd) for verb in (MOUNT, CLONE)]
        assert all((error == "") == (view >= 0) for error, _strict, view in answers)
        return [*(answer[0] for answer in answers), session.ask(CLONE, 0, good)[0]]

    assert as_user(work) == [mapped, cloned, ""]


def test_its_own_answers_are_no_way_round(place: Path, helper: Path) -> None:
    """A mount that shows the strict id is not the caller's; a deleted directory gives nothing new."""

    def work() -> list[str]:
        session = Session(helper)
        mapped, plain = session.get(MOUNT, place), session.get(CLONE, place)
        doomed = place / "doomed"
        doomed.mkdir()
        deleted = os.open(doomed, os.O_PATH)
        doomed.rmdir()
        answers = [session.ask(verb, 0, mapped)[0] for verb in (MOUNT, CLONE)]
        for fd in (plain, deleted):
            for verb in (MOUNT, CLONE):
                view = session.ask(verb, 0, fd)[2]
                assert view < 0 or failure(set_attributes, view, clear=NODEV) == "EPERM"
        return answers

    assert as_user(work) == ["EACCES", "EACCES"]


# --- who it believes -----------------------------------------------------------------------------------


def test_a_pair_made_by_another_user_is_refused(helper: Path) -> None:
    """The process and the maker of the pair must be the same user."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def work() -> int:
        pid = os.fork()
        if pid == 0:
            os.dup2(theirs.fileno(), 0)
            Session.become(helper, empty=False)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert as_user(work) == 1
    ours.close()
    theirs.close()


def test_identity_only_for_a_new_namespace_of_the_callers_directly_below(helper: Path) -> None:
    """Not for the helper's own, and not for one below another of the caller's."""

    def own() -> str:
        return Session(helper).ask(IDENTITY, INSIDE)[0]

    def nested() -> str:
        session = Session(helper)
        unshare(NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        for name, number in (("uid_map", USER), ("gid_map", GROUP)):
            Path("/proc/self", name).write_text(f"{STRICT} {number} 1")
        unshare(NEWUSER)
        return session.ask(IDENTITY, INSIDE)[0]

    assert as_user(own) == as_user(nested) == "EPERM"


def test_identity_not_for_a_namespace_of_somebody_else(helper: Path) -> None:
    """The process that made the pair has since become part of a namespace that another user owns."""
    reading, writing = os.pipe()
    asking, asked = os.pipe()
    maker = os.fork()
    if maker == 0:
        os.setresgid(GROUP, GROUP, GROUP)
        os.setresuid(OTHER, OTHER, OTHER)
        libc.prctl(4, 1, 0, 0, 0)
        unshare(NEWUSER)
        os.write(writing, b".")
        os.read(asking, 1)
        os._exit(0)
    os.read(reading, 1)
    foreign = os.open(f"/proc/{maker}/ns/user", os.O_RDONLY)

    def work() -> str:
        session = Session(helper)
        unshare(NEWUSER)
        return session.ask(IDENTITY, INSIDE)[0]

    # A root process with the caller's ids as its own makes the pair, then enters the other's namespace.
    def enters() -> str:
        os.seteuid(USER)
        session = Session(helper, become_user)
        os.seteuid(0)
        _check(libc.setns(foreign, NEWUSER), "setns")
        libc.prctl(4, 1, 0, 0, 0)
        return session.ask(IDENTITY, INSIDE)[0]

    assert as_user(work) == ""
    assert as_user(enters, 0, 0) in {"EPERM", "EACCES"}
    os.write(asked, b".")
    os.waitpid(maker, 0)
    for fd in (reading, writing, asking, asked, foreign):
        os.close(fd)


def test_identity_not_for_a_process_that_is_gone(helper: Path) -> None:
    """The maker of the pair has ended: there is nobody to give an identity."""

    def work() -> str:
        reading, writing = os.pipe()
        if os.fork() == 0:
            session = Session(helper)
            maker = os.getpid()
            if os.fork() == 0:
                while os.getppid() == maker:
                    time.sleep(0.001)
                os.write(writing, session.ask(IDENTITY, INSIDE)[0].encode())
            os._exit(0)
        os.wait()
        return os.read(reading, 64).decode()

    assert as_user(work) in {"ENOENT", "ESRCH"}


LINES = [
    (f"{USER}:{STRICT}:65536\n", ""),
    (f"{USER}:{STRICT}:1", ""),
    (f"ada:1:1\n\n# {USER}\nbad line\n{USER}0:5:5\n0{USER}:5:5\n{USER}:{STRICT}:1\n", ""),
    (f"{USER}:1:0\n{USER}:{STRICT}:1\n{USER}:900:1\n", ""),
    (f"{'x' * 100000}\n{USER}:{STRICT}:1\n", ""),
    (f"{USER}:{STRICT}:{(1 << 32) - 1 - STRICT}\n", ""),
    ("", "ENOENT"),
    ("ada:100000:65536\n", "ENOENT"),
    (f" {USER}:{STRICT}:1\n", "ENOENT"),
    (f"{USER}:{STRICT}:0\n", "ENOENT"),
    (f"{USER}\n{USER}:{STRICT}:1\n", "EBADMSG"),
    (f"{USER}:{STRICT}\n", "EBADMSG"),
    (f"{USER}:{STRICT}:\n", "EBADMSG"),
    (f"{USER}::1\n", "EBADMSG"),
    (f"{USER}:{STRICT}:1:1\n", "EBADMSG"),
    (f"{USER}:{STRICT}:1 \n", "EBADMSG"),
    (f"{USER}:{STRICT}:1\r\n", "EBADMSG"),
    (f"{USER}:0{STRICT}:1\n", "EBADMSG"),
    (f"{USER}:+{STRICT}:1\n", "EBADMSG"),
    (f"{USER}:-1:1\n", "EBADMSG"),
    (f"{USER}:0x10000:1\n", "EBADMSG"),
    (f"{USER}:0:1\n", "EBADMSG"),
    (f"{USER}:999:1\n", "EBADMSG"),
    (f"{USER}:{USER}:1\n", "EBADMSG"),
    (f"{USER}:4294967295:1\n", "EBADMSG"),
    (f"{USER}:4294967296:1\n", "EBADMSG"),
    (f"{USER}:18446744073710251616:1\n", "EBADMSG"),
    (f"{USER}:{STRICT}:4294967295\n", "EBADMSG"),
    (f"{USER}:{STRICT}:1{'0' * 90}\n", "EBADMSG"),
    (f"{USER}:{STRICT}:1\0\n", "EBADMSG"),
    (f"\0\n{USER}:{STRICT}:1\n", "EBADMSG"),
    (f"{USER}:{STRICT}:1\n" + "x\n" * (1 << 20), "EBADMSG"),
]


@contextlib.contextmanager
def instead(name: str, source: str) -> Iterator[None]:
    """Cover a file below /etc for a while."""
    mount(source, f"/etc/{name}", flags=MS_BIND)
    try:
        yield
    finally:
        _check(libc.umount2(os.fsencode(f"/etc/{name}"), 2), "umount")


def identity(helper: Path) -> str:
    """Ask for an identity as the user: the errno's name."""

    def work() -> tuple[str, int]:
        session = Session(helper)
        unshare(NEWUSER)
        return session.ask(IDENTITY, INSIDE)[:2]

    error, strict = as_user(work)
    assert error or strict == STRICT
    return str(error)


@pytest.mark.parametrize(("text", "error"), LINES, ids=[repr(text[:40]) for text, _error in LINES])
def test_the_range_is_read_strictly(text: str, error: str, helper: Path) -> None:
    """A line of the caller's that is not as it must be is refused, not skipped."""
    path = Path("/mnt/lines")
    path.write_text(text)
    path.chmod(0o644)
    with instead("subuid", str(path)):
        assert identity(helper) == error


@pytest.mark.parametrize("name", ["subuid", "subgid"])
@pytest.mark.parametrize(("mode", "owner"), [(0o664, 0), (0o646, 0), (0o644, USER)])
def test_a_file_that_others_can_write_is_refused(name: str, mode: int, owner: int, helper: Path) -> None:
    """Only root decides about ranges."""
    path = Path("/mnt/lines")
    path.write_text(f"{USER}:{STRICT}:1\n")
    path.chmod(mode)
    os.chown(path, owner, 0)
    with instead(name, str(path)):
        error = identity(helper)
    path.unlink()

    assert error == "EBADMSG"


@pytest.mark.parametrize(
    ("kind", "error"), [("missing", "ENOENT"), ("symlink", "EBADMSG"), ("fifo", "EBADMSG")]
)
def test_what_is_no_plain_file_is_refused(kind: str, error: str, helper: Path) -> None:
    """/etc itself is covered, since a mount can not be a symlink; the helper never waits for a writer."""
    folder = Path("/mnt/etc")
    folder.mkdir()
    shutil.copy("/mnt/subuid", folder / "real")
    shutil.copy("/mnt/subgid", folder / "subgid")
    if kind == "symlink":
        (folder / "subuid").symlink_to("/etc/real")
    elif kind == "fifo":
        os.mkfifo(folder / "subuid", 0o644)
    mount(str(folder), "/etc", flags=MS_BIND)
    try:
        assert identity(helper) == error
    finally:
        _check(libc.umount2(b"/etc", 2), "umount")
        shutil.rmtree(folder)


# --- how it is started and ended -----------------------------------------------------------------------


def _pipe() -> int:
    return os.pipe()[0]


def _inet() -> int:
    return socket.socket(socket.AF_INET).detach()


def _pair(kind: socket.SocketKind) -> int:
    return socket.socketpair(socket.AF_UNIX, kind)[0].detach()


def _lonely() -> int:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).detach()


INPUTS: dict[str, Callable[[], int]] = {
    "pipe": _pipe,
    "terminal": lambda: pty.openpty()[1],
    "directory": lambda: os.open("/", os.O_RDONLY),
    "stream": lambda: _pair(socket.SOCK_STREAM),
    "datagram": lambda: _pair(socket.SOCK_DGRAM),
    "inet": _inet,
    "unconnected": _lonely,
    "closed": lambda: -1,
}


@pytest.mark.parametrize("kind", INPUTS)
def test_it_wants_a_pair_of_packet_sockets(kind: str, helper: Path) -> None:
    """Whatever else descriptor 0 is, the helper ends at once with status 1."""

    def before() -> None:
        fd = INPUTS[kind]()
        os.close(0) if fd < 0 else os.dup2(fd, 0)

    assert as_user(lambda: Session(helper, before).end()) == 1


def limits(number: int) -> Callable[[], None]:
    """Set nearly every limit."""

    def before() -> None:
        for name in ("CORE", "FSIZE", "MEMLOCK", "NOFILE", "NPROC", "SIGPENDING", "MSGQUEUE"):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (number, number))

    return before


def odd_signals() -> None:
    """Ignore and block every signal."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def odd_environment() -> None:
    """Tell the C library everything that it could listen to."""
    os.environ |= dict.fromkeys(("LD_PRELOAD", "LD_LIBRARY_PATH", "GCONV_PATH", "LOCPATH"), "/mnt/place")
    os.environ |= {
        "GLIBC_TUNABLES": "glibc.malloc.check=3",
        "MALLOC_TRACE": "/mnt/place/trace",
        "X": "x" * 100000,
    }
    os.environ |= {f"V{number}": "x" * 1000 for number in range(500)}


def gone_directory() -> None:
    """Stand in a directory that has been removed."""
    Path("/mnt/place/gone").mkdir()
    os.chdir("/mnt/place/gone")
    Path("/mnt/place/gone").rmdir()


STARTS: dict[str, Callable[[], object]] = {
    "1 and 2 closed": lambda: os.closerange(1, 3),
    "all else open": lambda: [os.dup(0) for _ in range(200)],
    "odd environment": odd_environment,
    "signals": odd_signals,
    "umask": lambda: os.umask(0o777),
    "no process allowed": lambda: resource.setrlimit(resource.RLIMIT_NPROC, (0, 0)),
    "gone directory": gone_directory,
}


@pytest.mark.parametrize("kind", [*STARTS, "no argument at all"])
def test_it_does_not_care_how_it_is_started(kind: str, place: Path, helper: Path) -> None:
    """Everything that the caller can set is left behind or harmless."""

    def work() -> tuple[str, str, int]:
        session = Session(helper, STARTS.get(kind), empty=kind not in STARTS)
        fd = os.open(place, os.O_PATH)
        return session.ask(MOUNT, 0, fd)[0], session.ask(CLONE, 0, fd)[0], session.end()

    assert as_user(work) == ("", "", 0)


@pytest.mark.parametrize("number", [0, 1, 3, 4, 5, 6, 7, 8])
def test_without_resources_it_fails_cleanly(number: int, place: Path, helper: Path) -> None:
    """With no descriptors or memory to be had there is an error or an end, and never a crash.

    But musl's start ends a privileged program on purpose, by an invalid instruction or address, that may not
    have three descriptors.
    """

    def work() -> tuple[str, int]:
        session = Session(helper, limits(number))
        return session.ask(MOUNT, 0, os.open(place, os.O_PATH))[0], session.end()

    answer, status = as_user(work)

    assert answer in {"END", "EMFILE", "EBADF", "EAGAIN"}
    assert status in {0, 1} or (number < 3 and status == -signal.SIGSEGV)


def test_without_memory_there_is_no_answer(place: Path, helper: Path) -> None:
    """With no data segment at all the C library gives up before main, by a signal."""
    before = functools.partial(resource.setrlimit, resource.RLIMIT_DATA, (0, 0))

    def work() -> tuple[str, bool]:
        session = Session(helper, before)
        return session.ask(CLONE, 0, os.open(place, os.O_PATH))[0], session.end() != 0

    assert as_user(work) == ("END", True)


def test_it_has_three_capabilities_and_no_more(place: Path, helper: Path) -> None:
    """And no other descriptor than its own; nobody but root can look into it; SIGALRM would end it."""
    fds = place / "fds"

    def work() -> dict[str, object]:
        session = Session(helper)
        session.get(MOUNT, place)
        text = Path(f"/proc/{session.pid}/status").read_text()
        status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        shown = ("CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs", "Uid")
        seen: dict[str, object] = {name: status[name] for name in shown}
        seen["look"] = failure(os.listdir, f"/proc/{session.pid}/fd")
        seen["owner"] = os.stat(f"/proc/{session.pid}/maps").st_uid
        seen["trace"] = libc.ptrace(PTRACE_SEIZE, session.pid, None, None)
        fds.write_text(str(session.pid))
        while fds.exists():
            time.sleep(0.01)
        os.kill(session.pid, signal.SIGALRM)
        return {**seen, "end": session.end()}

    watcher = os.fork()
    if watcher == 0:
        while not fds.exists() or not fds.read_text():
            time.sleep(0.01)
        pid = fds.read_text()
        links = sorted(
            f"{fd} {os.readlink(f'/proc/{pid}/fd/{fd}').split(':')[0]}"
            for fd in os.listdir(f"/proc/{pid}/fd")
        )
        Path("/mnt/links").write_text("\n".join(links))
        fds.unlink()
        os._exit(0)
    seen = as_user(work)
    os.waitpid(watcher, 0)

    assert Path("/mnt/links").read_text().split("\n") == [
        "0 socket",
        "1 /dev/null",
        "2 /dev/null",
        "3 user",
        "4 /dev/null",
    ]
    three = f"{CAPS:016x}"
    assert [seen[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [
        "0" * 16,
        three,
        three,
        "0" * 16,
    ]
    assert (seen["NoNewPrivs"], str(seen["Uid"]).split()) == ("1", [str(USER)] * 4)
    assert (seen["look"], seen["owner"], seen["trace"], seen["end"]) == ("EACCES", 0, -1, -signal.SIGALRM)


def test_without_its_capabilities_it_does_nothing(helper: Path, place: Path) -> None:
    """As a plain program, or started with no_new_privs, it ends at once."""

    def work() -> list[int]:
        plain = shutil.copy(helper, place / "plain")
        return [Session(Path(plain)).end(), Session(helper, lambda: libc.prctl(38, 1, 0, 0, 0)).end()]

    assert as_user(work) == [1, 1]


def test_set_uid_root_serves_where_there_are_no_file_capabilities(helper: Path, place: Path) -> None:
    """The same ids, the same three capabilities, the same answers."""
    path = Path("/mnt/set-uid")
    shutil.copyfile(helper, path)
    path.chmod(0o4755)

    def work() -> tuple[list[str], list[str]]:
        session = Session(path)
        answers = [session.ask(verb, 0, os.open(place, os.O_PATH))[0] for verb in (MOUNT, CLONE)]
        status = Path(f"/proc/{session.pid}/status").read_text().split("\n")
        unshare(NEWUSER)
        answers.append(session.ask(IDENTITY, INSIDE)[0])
        return answers, [line for line in status if line.startswith(("Uid", "CapEff"))]

    assert as_user(work) == (["", "", ""], [f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}", f"CapEff:\t{CAPS:016x}"])


def test_root_may_call_with_a_line_of_its_own(helper: Path, place: Path) -> None:
    """Root's strict id comes from the same place as everybody's."""
    os.chown(place, 0, 0)

    def work() -> list[str]:
        session = Session(helper)
        return [session.ask(verb, 0, os.open(place, os.O_PATH))[0] for verb in (MOUNT, CLONE)]

    assert as_user(work, 0, 0) == ["ENOENT", ""]
    path = Path("/mnt/lines")
    path.write_text("0:950000:1\n")
    path.chmod(0o644)
    with instead("subuid", str(path)), instead("subgid", str(path)):
        assert as_user(work, 0, 0) == ["", ""]


# --- many, and at the wrong moment ---------------------------------------------------------------------


def test_a_thousand_callers(helper: Path, place: Path) -> None:
    """Fifty at a time, each is served, and afterwards the mounts are as before."""
    before = Path("/proc/self/mountinfo").read_text()

    def work() -> set[tuple[str, str, int]]:
        seen = set()
        fd = os.open(place, os.O_PATH)
        for _ in range(20):
            sessions = [Session(helper) for _ in range(50)]
            for session in sessions:
                session.send(struct.pack("=4I", MAGIC, VERSION, MOUNT, 0), [fd])
                session.send(GOOD, [fd])
            for session in sessions:
                answers = [session.receive() for _ in range(2)]
                for answer in answers:
                    os.close(answer[2])
                seen.add((answers[0][0], answers[1][0], session.end()))
        return seen

    assert as_user(work) == {("", "", 0)}
    assert Path("/proc/self/mountinfo").read_text() == before


def named(name: str) -> list[int]:
    """Find the processes that run the helper."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if entry.joinpath("comm").read_text() == f"{name}\n":
                found.append(int(entry.name))
    return found


def test_killed_at_any_point_it_leaves_nothing(helper: Path, place: Path) -> None:
    """No process, and no mount, whenever it is killed or its caller goes away."""
    before = Path("/proc/self/mountinfo").read_text()

    def work() -> int:
        fd = os.open(place, os.O_PATH)
        before = len(os.listdir("/proc/self/fd"))
        for number in range(200):
            session = Session(helper)
            for _ in range(4):
                session.send(struct.pack("=4I", MAGIC, VERSION, MOUNT, 0), [fd])
            time.sleep(number * 0.0001)
            os.kill(session.pid, signal.SIGKILL)
            assert session.end() == -signal.SIGKILL
        return len(os.listdir("/proc/self/fd")) - before

    assert as_user(work) <= 1
    deadline = time.monotonic() + 10
    while named(helper.name):
        assert time.monotonic() < deadline, "a process of the helper is still there"
        time.sleep(0.05)
    assert Path("/proc/self/mountinfo").read_text() == before


def steal(pid: int, told: int) -> None:
    """Take descriptors of a process that ends, which the kernel allows, and try to loosen them as mounts."""
    with contextlib.suppress(OSError):
        pidfd = _call(SYS_PIDFD_OPEN, pid, 0)
        for number in range(5, 9):
            fd = _call(SYS_PIDFD_GETFD, pidfd, number, 0)
            os.write(told, b"s")
            if os.fork() == 0:
                unshare(NEWUSER | NEWNS)
                if failure(set_attributes, fd, clear=NODEV) == "":
                    os.write(told, b"L")
                os._exit(0)
            os.wait()
            os.close(fd)
        os.close(pidfd)


def attack(pids: list[int], told: int) -> None:
    """Write the map of root into whatever namespace the helper's children are in, rob them, kill some."""
    libc.prctl(4, 0, 0, 0, 0)  # we are not to find ourselves
    for turn in itertools.count():
        for pid in pids:
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"0 {USER} 1"),
                ("gid_map", f"0 {GROUP} 1"),
            ):
                with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "w") as file:
                    file.write(text)
                    os.write(told, b"o")
            if libc.ptrace(PTRACE_SEIZE, pid, None, None) == 0:
                os.write(told, b"T")
            steal(pid, told)
            if turn % 7 == 6:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)


def test_nobody_else_decides_about_a_mount(helper: Path, place: Path) -> None:
    """Whatever is done to the helper's children, no mount shows root's files as somebody's."""
    (place / "roots").write_text("root's\n")

    def work() -> tuple[set[tuple[int, int]], set[str], str]:
        reading, writing = os.pipe()
        fd = os.open(place, os.O_PATH)
        seen, errors = set(), set()
        for _ in range(300):
            session = Session(helper)
            while Path(f"/proc/{session.pid}/comm").read_text() != f"{helper.name}\n":
                time.sleep(0.0001)
            attacker = os.fork()
            if attacker == 0:
                attack(
                    [pid for pid in range(session.pid + 1, session.pid + 6) if pid != os.getpid()], writing
                )
            error, _strict, view = session.ask(MOUNT, 0, fd)
            errors.add(error)
            if not error:
                seen.add((os.stat("roots", dir_fd=view).st_uid, os.stat("file", dir_fd=view).st_uid))
                os.close(view)
            os.kill(attacker, signal.SIGKILL)
            os.waitpid(attacker, 0)
            session.end()
        os.close(writing)
        return seen, errors, os.read(reading, 65536).decode()

    seen, errors, told = as_user(work)

    assert seen == {(OVERFLOW, STRICT)}
    assert {"", "EINTR"} <= errors <= {"", "EINTR", "EPERM", "EACCES", "ESRCH"}
    assert not {"L", "T"} & set(told)


# --- what it consists of -------------------------------------------------------------------------------

CALLED = """
    __errno_location _exit alarm close dprintf dup3 environ fstat getgid getpid getppid getsockopt getuid
    ioctl kill memchr open openat prctl read recvmsg sendmsg setfsuid setresgid setresuid setrlimit
    signal sigprocmask snprintf stat strchrnul strspn strtoull syscall umask unshare waitpid
"""


def test_it_is_small() -> None:
    """At most 300 lines, each verb says why it is safe, and no other function of the C library is called."""
    text = (HELPER / "idmap.c").read_text()

    assert text.count("\n") <= 300
    assert text.count("Safe because:") == 3
    assert not [
        word
        for word in ("exec", "system(", "getpw", "getenv", "malloc")
        if f"{word}" in text.replace("executes", "")
    ]


def test_it_calls_nothing_else(tmp_path: Path) -> None:
    """The undefined symbols of its object are these; the analyzer of the compiler finds nothing."""
    target = str(tmp_path / "idmap.o")
    done = subprocess.run(
        [
            "gcc",
            *FLAGS,
            "-fanalyzer",
            "-fno-stack-protector",
            "-U_FORTIFY_SOURCE",
            f"-I{CORE}",
            "-c",
            str(HELPER / "idmap.c"),
            "-o",
            target,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")

    symbols = subprocess.run(["nm", "-u", target], capture_output=True, text=True, check=True).stdout

    assert {line.split()[1].partition("@")[0] for line in symbols.splitlines()} <= set(CALLED.split())


def test_its_parsers_stand_a_million_odd_inputs(tmp_path: Path) -> None:
    """The fuzzer's own mutations, under the sanitizers of the compiler."""
    target = tmp_path / "fuzz"
    source = [str(Path(__file__).parent / "fuzz_helper.c"), f"-I{CORE}"]
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run(
        [
            "gcc",
            "-std=gnu11",
            "-D_GNU_SOURCE",
            "-g",
            "-O1",
            "-DSTANDALONE",
            *sanitize,
            *source,
            "-o",
            str(target),
        ],
        check=True,
    )

    done = subprocess.run([str(target), "1000000", "1"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
