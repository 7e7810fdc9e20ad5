"""The second wall: where a wrecker runs, nothing real can be written, whatever jai does or fails to do.

`python -m conformance.wall [--home-fs FS] [--scratch DIR] [--keep] [--rw PATH]… [--ro PATH]… -- CMD…` runs
CMD in mount, PID and IPC namespaces of its own, in which every real file system is read-only, the real homes
are hidden, and only a scratch directory (DIR/jai-wall-XXXXXX, removed at the end) can be written. Root stays
root, so that the tests can become the accounts ada and bob. An ordinary user becomes ada, by a user namespace
that maps him to himself.

The first stage makes the scratch directory and starts `unshare`(1). The second, process 1 of the new PID
namespace, builds the wall, proves that it stands, and only then runs CMD. It uses nothing but the standard
library.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import os
import pwd
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

CHECKOUT = Path(__file__).resolve().parents[1]
ACCOUNTS = {"ada": 61001, "bob": 61002}
HOME_FILE_SYSTEMS = ("disk", "ext4", "btrfs", "xfs", "tmpfs")
# Each is replaced by an empty directory of the scratch; the mode is that of the new directory.
HIDDEN = {"/home": 0o755, "/root": 0o700, "/srv": 0o755, "/tmp": 0o1777, "/var/tmp": 0o1777}
# Root gets a private one, empty: `jai --setup` installs its privileged helper there.
LOCAL, LIBEXEC = "/usr/local", "/usr/local/libexec"
PROVEN = ("/", "/usr", "/etc", "/var/lib")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "loop-control", "net/tun", "kvm")
LOOP_MAJOR, LOOP_DEVICES = 7, 32
FAILED = 125

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18
# mount_setattr(2) has this number on every architecture (the unified table since Linux 5.1).
SYS_MOUNT_SETATTR = 442
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOEXEC = 1, 2, 8
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
PR_SET_PDEATHSIG = 1
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Order:
    """What the first stage asks of the second."""

    scratch: str
    home_fs: str
    writable: list[str]
    readable: list[str]
    hidden: list[str]
    command: list[str]
    cwd: str
    uid: int
    gid: int
    status: int

    @property
    def as_root(self) -> bool:
        """Whether CMD runs as the real root, without a user namespace."""
        return self.uid == 0


class WallError(Exception):
    """The wall cannot be built, or does not hold; CMD was not run."""


# --- the first stage: outside -------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command behind the wall and give its exit status; die of the signal that it died of."""
    asked = _parse(arguments)
    scratch = tempfile.mkdtemp(prefix="jai-wall-", dir=asked.scratch)
    Path(scratch).chmod(0o755)
    try:
        status = _start(asked, scratch)
    finally:
        if asked.keep:
            print(f"jai-wall: kept {scratch}", file=sys.stderr)
        else:
            remove(scratch)
    if os.WIFSIGNALED(status):
        _die_of(os.WTERMSIG(status))
    return os.waitstatus_to_exitcode(status)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="conformance.wall", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home-fs", choices=HOME_FILE_SYSTEMS, default="disk", help="what /home lies on")
    parser.add_argument(
        "--scratch", default="/var/tmp", metavar="DIR", help="where the scratch directory is made"
    )
    parser.add_argument("--keep", action="store_true", help="leave the scratch directory there")
    parser.add_argument(
        "--rw", action="append", default=[], metavar="PATH", help="a real path that stays writable"
    )
    parser.add_argument(
        "--ro", action="append", default=[], metavar="PATH", help="a hidden path to show, read-only"
    )
    parser.add_argument("command", nargs="+", metavar="CMD")
    asked = parser.parse_args(arguments)
    if asked.home_fs in ("ext4", "btrfs", "xfs") and os.geteuid() != 0:
        parser.error(f"--home-fs {asked.home_fs} is a loop file system, and only root may mount one")
    return asked


def _start(asked: argparse.Namespace, scratch: str) -> int:
    """Start the second stage, wait for it, and give CMD's wait status."""
    reading, writing = os.pipe()
    order = Order(
        scratch=scratch,
        home_fs=asked.home_fs,
        writable=[os.path.realpath(path) for path in asked.rw],
        readable=_needed(asked.ro),
        hidden=_homes(),
        command=asked.command,
        cwd=os.getcwd(),
        uid=os.geteuid(),
        gid=os.getegid(),
        status=writing,
    )
    user = [] if order.as_root else ["--user", "--map-current-user", "--keep-caps"]
    stage_two = [
        sys.executable,
        "-I",
        "-B",
        str(Path(__file__).resolve()),
        "--inside",
        json.dumps(asdict(order)),
    ]
    unshare = ["unshare", *user, "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--", *stage_two]
    # CMD shares our process group and hears ctrl-C itself; what it makes of it is its own affair.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    child = subprocess.Popen(unshare, pass_fds=[writing], preexec_fn=_die_with_parent)  # noqa: PLW1509
    os.close(writing)
    try:
        with open(reading, "rb") as pipe:
            told = pipe.read()
        child.wait()
    finally:
        child.kill()
        child.wait()
    return struct.unpack("i", told)[0] if told else FAILED << 8


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End on every path through the `finally` clauses."""
    raise SystemExit(128 + number)


def _die_with_parent() -> None:
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _die_of(number: int) -> NoReturn:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(number, signal.SIG_DFL) if number not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(os.getpid(), number)
    raise SystemExit(128 + number)


def _needed(shown: list[str]) -> list[str]:
    """The paths below hidden directories that CMD needs: the checkout, the interpreter, jai."""
    wanted = [str(CHECKOUT), sys.prefix, sys.base_prefix, *shown]
    jai = os.environ.get("JAI") or shutil.which("jai")
    if jai:
        wanted += [str(Path(place).parents[1]) for place in (os.path.abspath(jai), os.path.realpath(jai))]
    wanted = [os.path.realpath(path) for path in wanted]
    return sorted({path for path in wanted if path not in ("/", "/usr") and os.path.exists(path)})


def _homes() -> list[str]:
    """The caller's real home, where it is not below a directory that is hidden anyway."""
    known = [entry.pw_dir for entry in pwd.getpwall() if entry.pw_uid == os.getuid()]
    homes = {os.path.realpath(home) for home in [*known, os.environ.get("HOME", "/")]}
    return [home for home in sorted(homes) if os.path.isdir(home) and not _below(home, ["/", *HIDDEN])]


def _below(path: str, tops: Sequence[str]) -> bool:
    """Whether a path is one of the tops or below one; `/` counts as itself only."""
    return any(path == top or (top != "/" and path.startswith(f"{top}/")) for top in tops)


def remove(scratch: str) -> None:
    """Remove a scratch directory, whatever modes and attributes were left in it."""
    delete = ["rm", "-rf", "--one-file-system", "--", scratch]
    for command in (["chmod", "-R", "u+rwx", "--", scratch], delete):
        subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
    if os.path.exists(scratch):
        subprocess.run(["chattr", "-R", "-ia", "--", scratch], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(delete, check=True)


# --- the second stage: process 1 of the new PID namespace -----------------------------------------------


def inside(order: Order) -> int:
    """Build the wall, prove it, run CMD and report how it ended."""
    os.set_inheritable(order.status, False)
    try:
        _build(order)
        _prove(order)
    except (OSError, WallError, subprocess.CalledProcessError) as error:
        print(f"jai-wall: refused to run the command: {error}", file=sys.stderr)
        return FAILED
    status = _run(order)
    os.write(order.status, struct.pack("i", status))
    return 0


def _build(order: Order) -> None:
    """Make every mount of the wall, from the original tree's open directories."""
    _mount("none", "/", flags=MS_REC | MS_PRIVATE)
    _mount("proc", "/proc", kind="proc", flags=MS_NOSUID | MS_NODEV | MS_NOEXEC)
    places = _furnish(order)
    local = {entry.path: _open(entry.path) for entry in _entries_of(LOCAL)} if LOCAL in places else {}
    fresh = {target: _open(source) for target, source in places.items()}
    kept = {
        path: _open(path)
        for path in _outermost([*order.readable, *order.writable])
        if _is_hidden(path, order)
    }
    writable = {path: _open(path) for path in order.writable}
    devices = {name: _open(f"/dev/{name}") for name in DEVICES if os.path.exists(f"/dev/{name}")}
    _read_only("/", recursive=True)
    _writable("/proc")
    for target, source in fresh.items():
        _bind(source, target)
        if target in HIDDEN:
            _writable(target)
    for target, source in local.items():
        _bind(source, target)
    if order.as_root:
        # Read-only as /etc; whoever sets strict mode up there first makes both writable.
        _set_attributes(LIBEXEC, attr_clr=MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)
    for path in order.hidden:
        _mount("none", path, kind="tmpfs", flags=MS_NOSUID | MS_NODEV)
    for path, source in {**kept, **writable}.items():
        _make_mount_point(path, folder=_is_folder(source))
        _bind(source, path)
    for path in writable:
        _writable(path)
    _make_dev(order, devices)
    opened = (fresh, local, kept, writable, devices)
    for descriptor in (descriptor for part in opened for descriptor in part.values()):
        os.close(descriptor)


def _furnish(order: Order) -> dict[str, str]:
    """Fill the scratch directory: which of its paths shall be seen where."""
    places = {}
    for target, mode in HIDDEN.items():
        if not os.path.isdir(target):
            continue
        place = os.path.join(order.scratch, target.strip("/").replace("/", "-"))
        os.mkdir(place)
        if target == "/home":
            _mount_home(order, place)
        os.chmod(place, mode)
        places[target] = place
    accounts = ACCOUNTS if order.as_root else {"ada": order.uid}
    for name, uid in accounts.items():
        home = os.path.join(places["/home"], name)
        os.mkdir(home, 0o755)
        os.chown(home, uid, uid if order.as_root else order.gid)
    places |= _databases(order, accounts)
    return places | _local_libexec(order) if order.as_root else places


def _local_libexec(order: Order) -> dict[str, str]:
    """An empty /usr/local/libexec in a /usr/local that has a mount point for all else that is there.

    Many machines have no such directory, and in a read-only tree none can be made.
    """
    place = os.path.join(order.scratch, "usr-local")
    inner, libexec = os.path.join(place, "libexec"), os.path.join(order.scratch, "usr-local-libexec")
    for path in (place, inner, libexec):
        os.mkdir(path, 0o755)
    for entry in _entries_of(LOCAL, links=True):
        path = os.path.join(place, entry.name)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), path)
        else:
            _make_mount_point(path, folder=entry.is_dir())
    return {LOCAL: place, LIBEXEC: libexec}


def _entries_of(path: str, *, links: bool = False) -> list[os.DirEntry[str]]:
    """What else than libexec is in a directory."""
    with os.scandir(path) as entries:
        wanted = [entry for entry in entries if links or not entry.is_symlink()]
    return [entry for entry in wanted if entry.name != os.path.basename(LIBEXEC)]


def _mount_home(order: Order, place: str) -> None:
    """Mount the wanted file system where /home will be taken from."""
    if order.home_fs == "disk":
        return
    if order.home_fs == "tmpfs":
        _mount("none", place, kind="tmpfs", options="mode=755,size=1g")
        return
    # A loop device holds its image open for writing, and a mount with such a file cannot become read-only
    # (EBUSY): so the image is opened through a mount of its own, which is then detached and lives on in the
    # loop device.
    door = os.path.join(order.scratch, "door")
    image = os.path.join(door, "home.image")
    os.mkdir(door)
    _mount(order.scratch, door, flags=MS_BIND)
    with open(image, "wb") as file:
        file.truncate(400 << 20)
    _quietly([f"mkfs.{order.home_fs}", "-q", image])
    _quietly(["mount", "-n", "-o", "loop", image, place])
    if order.home_fs == "btrfs":
        # Homes lie on a subvolume, as a distribution's installer would have it.
        _quietly(["btrfs", "subvolume", "create", f"{place}/homes"])
        _quietly(["umount", "-n", place])
        _quietly(["mount", "-n", "-o", "loop,subvol=homes", image, place])
    _quietly(["umount", "-n", "-l", door])


def _databases(order: Order, accounts: dict[str, int]) -> dict[str, str]:
    """A private /etc, in whose account databases the test accounts are.

    It is a copy as a whole: the kernel takes away a mount over /etc/passwd in every namespace as soon as
    someone outside adds a user, since that replaces the file that was mounted over.
    """
    place = os.path.join(order.scratch, "etc")
    # An ordinary user's copy lacks what he may not read, and is his own.
    subprocess.run(["cp", "-a", "/etc", place], check=order.as_root, stderr=subprocess.DEVNULL)
    group = {uid: uid if order.as_root else order.gid for uid in accounts.values()}
    users = [f"{name}:x:{uid}:{group[uid]}:{name}:/home/{name}:/bin/bash" for name, uid in accounts.items()]
    groups = [f"{name}:x:{group[uid]}:" for name, uid in accounts.items()]
    shadow = [f"{name}:*:19000:0:99999:7:::" for name in accounts]
    for name, lines in {"passwd": users, "group": groups, "shadow": shadow}.items():
        if os.access(f"/etc/{name}", os.R_OK):
            _write_database(f"/etc/{name}", f"{place}/{name}", lines)
    return {"/etc": place}


def _write_database(original: str, copy: str, lines: list[str]) -> None:
    """Copy an account database without the entries that have one of the new names or numbers."""
    names = {line.split(":")[0] for line in lines}
    numbers = set() if original.endswith("shadow") else {line.split(":")[2] for line in lines}
    with open(original) as file:
        old = [line.rstrip("\n") for line in file if line.count(":") > 2]
    old = [line for line in old if line.split(":")[0] not in names and line.split(":")[2] not in numbers]
    with open(copy, "w") as file:
        file.write("\n".join([*old, *lines, ""]))


def _make_dev(order: Order, devices: dict[str, int]) -> None:
    """A private /dev: the harmless devices, own terminals, own shared memory, and for root loop devices."""
    _mount("none", "/dev", kind="tmpfs", options="mode=755", flags=MS_NOSUID)
    for folder in ("pts", "shm", "mqueue", "net"):
        os.mkdir(f"/dev/{folder}")
    for name, source in devices.items():
        _make_mount_point(f"/dev/{name}", folder=_is_folder(source))
        _bind(source, f"/dev/{name}")
    terminals = "newinstance,ptmxmode=0666,mode=0620" + (",gid=5" if order.as_root else "")
    _mount("devpts", "/dev/pts", kind="devpts", options=terminals, flags=MS_NOSUID | MS_NOEXEC)
    _mount("none", "/dev/shm", kind="tmpfs", options="mode=1777", flags=MS_NOSUID | MS_NODEV)
    _mount("mqueue", "/dev/mqueue", kind="mqueue", flags=MS_NOSUID | MS_NODEV | MS_NOEXEC)
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    for name, target in links.items():
        os.symlink(target, f"/dev/{name}")
    for number in range(LOOP_DEVICES if order.as_root else 0):
        os.mknod(f"/dev/loop{number}", 0o060600, os.makedev(LOOP_MAJOR, number))


def _prove(order: Order) -> None:
    """Refuse to go on unless making a file fails with EROFS in each place that must not change."""
    places = [*PROVEN, str(CHECKOUT), *order.readable]
    for place in places:
        if _below(place, order.writable) or not os.path.isdir(place):
            continue
        answer = try_to_write(place)
        if answer != "EROFS":
            message = f"the wall does not stand: making a file in {place} gave {answer}, not EROFS"
            raise WallError(message)


def try_to_write(place: str) -> str:
    """The error's name, or "success" if a file could be made (it is removed at once)."""
    probe = os.path.join(place, f".jai-wall-probe-{os.getpid()}-{os.urandom(4).hex()}")
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    os.unlink(probe)
    return "success"


def _run(order: Order) -> int:
    """Run CMD as a child and reap whatever ends, until CMD itself has; its wait status."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    pid = os.fork()
    if pid == 0:
        _become_command(order)
    while True:
        ended, status = os.wait()
        if ended == pid:
            return status


def _become_command(order: Order) -> NoReturn:
    """Execute CMD in this process, with signals and environment as it would have them outside."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    # The user namespace's capabilities came through exec(2) as ambient ones; CMD is an ordinary process.
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    name, home = ("root", "/root") if order.as_root else ("ada", "/home/ada")
    gone = ("SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS", "TMPDIR", "XDG_RUNTIME_DIR", "SUDO_USER", "SUDO_UID")
    environment = {key: value for key, value in os.environ.items() if key not in gone}
    options = f"{environment.get('PYTEST_ADDOPTS', '')} -p no:cacheprovider".strip()
    environment |= {"HOME": home, "USER": name, "LOGNAME": name, "JAI_WALL": "1"}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": options}
    try:
        os.chdir(order.cwd if os.path.isdir(order.cwd) else "/")
        os.execvpe(order.command[0], order.command, environment)
    except OSError as error:
        print(f"jai-wall: {order.command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(127 if error.errno == errno.ENOENT else 126)


# --- small pieces ------------------------------------------------------------------------------------


def _is_hidden(path: str, order: Order) -> bool:
    return _below(path, [*HIDDEN, *order.hidden])


def _outermost(paths: list[str]) -> list[str]:
    """The paths that are not below another of them."""
    return [
        path for path in sorted(set(paths)) if not _below(path, [other for other in paths if other != path])
    ]


def _is_folder(descriptor: int) -> bool:
    return os.path.isdir(f"/proc/self/fd/{descriptor}")


def _make_mount_point(path: str, *, folder: bool) -> None:
    if os.path.lexists(path):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if folder:
        os.mkdir(path)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


def _open(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


def _bind(source: int, target: str) -> None:
    """Bind an open file or directory; an open one is still found when its path has been covered."""
    _mount(f"/proc/self/fd/{source}", target, flags=MS_BIND | MS_REC)


def _mount(source: str, target: str, *, kind: str = "", options: str = "", flags: int = 0) -> None:
    data = options.encode() or None
    if libc.mount(os.fsencode(source), os.fsencode(target), kind.encode() or None, flags, data) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mounting {kind or source}: {os.strerror(number)}", target)


def _read_only(path: str, *, recursive: bool) -> None:
    _set_attributes(path, attr_set=MOUNT_ATTR_RDONLY, flags=AT_RECURSIVE if recursive else 0)


def _writable(path: str) -> None:
    _set_attributes(path, attr_clr=MOUNT_ATTR_RDONLY)


def _set_attributes(path: str, *, attr_set: int = 0, attr_clr: int = 0, flags: int = 0) -> None:
    attributes = ctypes.create_string_buffer(struct.pack("QQQQ", attr_set, attr_clr, 0, 0), 32)
    if libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, os.fsencode(path), flags, attributes, 32) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount_setattr: {os.strerror(number)}", path)


def _quietly(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        message = f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}"
        raise WallError(message)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        sys.exit(inside(Order(**json.loads(sys.argv[2]))))
    sys.exit(main())
