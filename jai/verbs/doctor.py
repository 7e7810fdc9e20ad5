"""What of this machine jai can use: `jai --doctor`, a line for each thing, with what mends it.

Nothing is concluded from a version where it can be tried.  Each probe is tried in a process of its own
that has a time limit, and answers with findings; what it makes lies in one directory that goes again.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import json
import os
import platform
import pwd
import select
import signal
import stat
import statistics
import struct
import subprocess
import sys
import termios
import time

from jai._core import lib
from jai.argv import parse_argv
from jai.cli import become
from jai.conf import read_file
from jai.errors import HostError, JaiError, printable
from jai.host import HELPER, UNFIT_FOR_UPPER, Host, read_bytes
from jai.options import BY_NAME, Assignment
from jai.record import Record
from jai.settings import configuration_directory, read_settings
from jai.store import layout, local_state, private_directory
from jai.verbs.help import VERSION
from jai.verbs.setup.ranges import UNFIT, find_ranges
from jai.verbs.unmount import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, NoReturn

    from jai.argv import Invocation
    from jai.settings import Settings

YES, NO, OPTIONAL = "✓", "✗", "–"  # noqa: RUF001 - what is printed
CASUAL = "casual mode"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
COLUMN = 18

# Seconds.  A jail may have to wait for a disk; the rest only asks the kernel.
JAIL_LIMIT, LIMIT = 30, 10
SETTLE_LIMIT, KILL_LIMIT = 5, 2

FLOOR = "5.12"
HELPER_CAPABILITIES = 1 << 21 | 1 << 7 | 1 << 6  # CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID
SUDO_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
UNCONFINED = "allow it where the container is started (docker: --security-opt seccomp=unconfined)"
LANDLOCK_SCOPES = 6
OWN_MOUNTS = 60  # a jail makes fewer, besides its two copies of the tree
LEAST_ROOM = 1 << 20
ALL_IDS = "0 0 4294967295"

# What keeps users from user namespaces: the setting, the value that does, what mends it, if root minds it.
SWITCHES = (
    ("user.max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=15000", True),
    ("kernel.unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1", False),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "", False),  # the hint depends on where jai is
)

# fmt: off
# System calls and their numbers, which are the same on every architecture.  The second group asks for a
# privilege first, so that EPERM says nothing there.
CALLS = {
    "open_tree": 428, "pidfd_open": 434, "clone3": 435, "close_range": 436, "openat2": 437,
    "pidfd_getfd": 438, "mount_setattr": 442,
}
PRIVILEGED_CALLS = {"move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432}
LANDLOCK_CREATE_RULESET = 444

# statfs(2) f_type: the name, and the Linux that brought id-mapped mounts ("" never, "?" it depends).
# Source: mount_setattr(2).
FILE_SYSTEMS = {
    **{magic: (name, "") for magic, name in UNFIT_FOR_UPPER.items()},
    0xEF53: ("ext4", "5.12"), 0x58465342: ("xfs", "5.12"), 0x4D44: ("FAT", "5.12"),
    0x9123683E: ("btrfs", "5.15"), 0x7366746E: ("ntfs3", "5.15"), 0xF2F52010: ("f2fs", "5.18"),
    0xE0F5E1E2: ("erofs", "5.19"), 0x73717368: ("squashfs", "6.2"), 0x01021994: ("tmpfs", "6.3"),
    0x00C36400: ("Ceph", "6.7"), 0x65735546: ("FUSE", "?"), 0x2FC12FC1: ("zfs", "?"),
    0xCA451A4E: ("bcachefs", "?"), 0x9FA0: ("proc", ""), 0x62656572: ("sysfs", ""),
}
# fmt: on

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


class Finding(Record):
    """What was found: the state, the words, what mends it."""

    state: str
    text: str
    hint: str = ""


class Patient(Record):
    """Whom and what is examined.

    `setup` is the command that sets strict mode up; `cwd` is empty if it is gone; `options` were typed
    after --doctor; `makes` are directories that the configuration would make; `idmaps` is the errno of an
    id-mapped mount by path, where root could try.  `scratch` holds what the probes make, and `jail` is the
    start of the name of what lies elsewhere; `before` is how the place of the scratch looked.
    """

    host: Host
    jai: tuple[str, ...]
    setup: str
    cwd: str
    config_dir: str
    storage: str
    options: tuple[Assignment, ...]
    makes: tuple[str, ...]
    account: tuple[Finding, ...]
    configuration: tuple[Finding, ...]
    idmaps: dict[str, int]
    scratch: str
    jail: str
    before: list[object] | None
    local_is_ours: bool

    @property
    def uid(self) -> int:
        """The user that is to be jailed."""
        return self.host.account.uid

    @property
    def home(self) -> str:
        """That user's home."""
        return self.host.home


class Probe(Record):
    """One question: what it is about, who asks it, how many seconds it may take."""

    topic: str
    ask: Callable[[Patient], Iterable[Finding]]
    limit: float = LIMIT


class NoAnswerError(Exception):
    """The process that was to find out has failed; in its words."""


def diagnose(invocation: Invocation) -> int:
    """Print the findings; 0 if the default mode works, else 1."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _leave)
    patient = _admit(invocation)
    try:
        try:
            return _examine(patient)
        finally:
            _ignore_signals()
    finally:
        if not _quietly(lambda: _clean(patient)):
            _print("left behind", [Finding(NO, f"{patient.scratch} can not be removed", "remove it")])


def _examine(patient: Patient) -> int:
    works = False
    _quietly(lambda: _make_scratch(patient))
    for probe in PROBES:
        found = _ask(probe, patient)
        _print(probe.topic, found)
        if probe.topic == CASUAL:
            works = all(each.state == YES for each in found)
    return 0 if works else 1


def _leave(number: int, _frame: object) -> NoReturn:
    """End through the `finally` that cleans up."""
    _ignore_signals()
    raise SystemExit(128 + number)


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _ask(probe: Probe, patient: Patient) -> list[Finding]:
    def answer() -> list[tuple[str, str, str]]:
        return [(each.state, each.text, each.hint) for each in probe.ask(patient)]

    try:
        return [Finding(*each) for each in within(probe.limit, answer)]
    except TimeoutError:
        return [Finding(NO, f"no answer within {probe.limit:g} s")]
    except (NoAnswerError, OSError) as error:
        return [Finding(OPTIONAL, f"could not be tried: {error}")]


def _print(topic: str, found: Iterable[Finding]) -> None:
    lines = (
        f"{each.state} {topic:<{COLUMN}} {each.text}{' → ' * bool(each.hint)}{each.hint}" for each in found
    )
    text = "".join(f"{printable(line)}\n" for line in lines).encode("utf-8", "backslashreplace")
    while text:
        text = text[os.write(1, text) :]


# --- processes of their own -----------------------------------------------------------------------------


def within(seconds: float, work: Callable[[], object]) -> Any:
    """Do some work in a process of its own and give its result, as JSON can carry it.

    Raises: TimeoutError when the time is over, NoAnswerError if the work failed, OSError without a process.
    """
    reading, writing = os.pipe()
    try:
        pid = os.fork()
        if pid == 0:
            _work(work, writing)
        try:
            os.close(writing)
            writing = -1
            text = _read_line(reading, time.monotonic() + seconds)
        finally:
            _kill(pid)
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    answer = json.loads(text or b'{"failed": "its process was killed"}')
    if "failed" in answer:
        raise NoAnswerError(answer["failed"])
    return answer["result"]


def _work(work: Callable[[], object], pipe: int) -> NoReturn:
    """Work in the child, and leave whatever happens."""
    try:
        # A session: whatever is started here is killed with it.
        os.setsid()
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        answer = {"result": work()}
    except OSError as error:
        answer = {"failed": f"{error.filename or ''}: {_answer(error)}".removeprefix(": ")}
    except BaseException as error:  # noqa: BLE001 - this process prints nothing, it reports
        answer = {"failed": repr(error)}
    try:
        text = json.dumps(answer).encode() + b"\n"
        while text:
            text = text[os.write(pipe, text) :]
    finally:
        os._exit(0)


def _read_line(fd: int, deadline: float) -> bytes:
    found = b""
    while not found.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            raise TimeoutError
        piece = os.read(fd, 1 << 16)
        if not piece:
            break
        found += piece
    return found


def _kill(pid: int) -> None:
    """End a child and all that it started; one that the kernel does not let go is left to it."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except OSError:
            continue
    deadline = time.monotonic() + KILL_LIMIT
    while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.001)


def _quietly(work: Callable[[], object]) -> Any:
    """Give the result of some work, None where it fails: a probe will say what that means."""
    try:
        return within(LIMIT, work)
    except (NoAnswerError, OSError):
        return None


# --- who, where, and what was asked for -----------------------------------------------------------------


def _admit(invocation: Invocation) -> Patient:
    """Say whom and what is examined, as the user that is to be jailed."""
    try:
        cwd = os.getcwd()
    except OSError:
        cwd = ""
        os.chdir("/")
    host, account = _find_host()
    idmaps = _quietly(lambda: {path: _try_idmap(path) for path in {host.home, cwd} - {""}})
    if host.account.uid != os.getuid():
        try:
            become(host)
            # A process that has changed its user may not write its own maps.
            _prctl(PR_SET_DUMPABLE, 1)
        except JaiError as error:
            account = (Finding(NO, error.message, error.hint),)
    read = _quietly(lambda: _read_configuration(invocation, host)) or {}
    config_dir = read.get("config_dir") or f"{host.home}/.jai"
    storage = read.get("storage") or config_dir
    said = read.get("findings") or [(NO, f"{config_dir} can not be read within {LIMIT} s", "")]
    jail = f"doctor-{os.urandom(8).hex()}"
    place = _quietly(lambda: _existing(storage)) or storage
    command = _command()
    return Patient(
        host=host,
        jai=command,
        setup=_setup_command(command),
        cwd=cwd,
        config_dir=config_dir,
        storage=storage,
        options=invocation.assignments,
        makes=tuple(read.get("makes", ())),
        account=account,
        configuration=tuple(Finding(*each) for each in said),
        idmaps=idmaps or {},
        scratch=f"{place.rstrip('/')}/.{jail}",
        jail=jail,
        before=_quietly(lambda: _look(place)),
        local_is_ours=not os.path.lexists(local_state(host.account.uid)),
    )


def _find_host() -> tuple[Host, tuple[Finding, ...]]:
    """Give the machine and what is to be said about the account."""
    try:
        host = Host(dict(os.environ))
    except HostError as error:
        wrong = (Finding(NO, error.message, error.hint),)
        return Host(
            {name: value for name, value in os.environ.items() if name not in ("SUDO_USER", "USER")}
        ), wrong
    acts = f", for whom root acts (uid {os.getuid()})" if host.account.uid != os.getuid() else ""
    who = f"{host.account.name} (uid {host.account.uid}{acts}), home {host.home}"
    if not os.environ.get("HOME"):
        return host, (Finding(YES, f"{who} (HOME is not set)"),)
    return host, (Finding(YES, who),)


def _command() -> tuple[str, ...]:
    """Give the words that start this same jai: the launcher beside us, else the module."""
    launcher = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "jai")
    if os.path.exists(f"{launcher}-python"):
        return (launcher,)
    return (sys.executable, "-I", "-m", "jai")


def _setup_command(command: tuple[str, ...]) -> str:
    """Give what sets strict mode up; sudo looks in its own PATH only."""
    typed = "jai" if os.path.dirname(command[0]) in SUDO_PATH else " ".join(command)
    return f"sudo {typed} --setup"


def _read_configuration(invocation: Invocation, host: Host) -> dict[str, object]:
    """Read what was asked for, then every other file there is; say which line is wrong."""
    found: dict[str, Finding] = {}
    answer: dict[str, object] = {}
    try:
        config = configuration_directory(host.env, host.home)
        settings = _settings(invocation, host)
    except JaiError as error:
        found[error.message] = Finding(NO, error.message, error.hint)
        config = f"{host.home}/.jai" if host.env.get("JAI_CONFIG_DIR", "/")[:1] != "/" else config
        answer |= {"config_dir": config}
    else:
        makes = [
            grant.path for grant in settings.grants if grant.suffix == "!" and not os.path.exists(grant.path)
        ]
        answer |= {"config_dir": settings.config_dir, "storage": settings.storage, "makes": makes}
    storage = str(answer.get("storage") or config)
    others = [*_named(config, ".conf", "-C"), *_named(storage, ".jail", "-j")]
    for words in others:
        try:
            _settings(parse_argv(words), host)
        except JaiError as error:
            found.setdefault(error.message, Finding(NO, error.message, error.hint))
    if not found and os.path.isdir(config):
        found[""] = Finding(YES, f"{config}: no mistake in {len(others)} files, nor in what they include")
    elif not found:
        found[""] = Finding(OPTIONAL, f"{config} does not exist: the built-in one holds until the first run")
    return {**answer, "findings": [(each.state, each.text, each.hint) for each in found.values()]}


def _settings(invocation: Invocation, host: Host) -> Settings:
    return read_settings(invocation, env=host.env, cwd=host.cwd, home=host.home, reader=read_file)


def _named(directory: str, ending: str, option: str) -> list[list[str]]:
    """Give the words that make jai read each file of a directory with this ending."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    stems = [name if option == "-C" else name[: -len(ending)] for name in names if name.endswith(ending)]
    return [[option, stem] for stem in stems if not stem.startswith(".")]


def _existing(path: str) -> str:
    """Give the path or its deepest parent that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "/"
    return path


def _make_scratch(patient: Patient) -> None:
    os.mkdir(patient.scratch, 0o700)
    os.mkdir(f"{patient.scratch}/config", 0o700)


def _look(place: str) -> list[object]:
    """Give the times and the names of a directory."""
    found = os.stat(place)
    return [found.st_atime_ns, found.st_mtime_ns, sorted(os.listdir(place))]


def _clean(patient: Patient) -> bool:
    """Remove what the probes made, once no jail of theirs is on its way out."""
    _settle(patient)
    place, local = os.path.dirname(patient.scratch), local_state(patient.uid)
    for directory in (place, local):
        names = os.listdir(directory) if os.path.isdir(directory) else []
        for name in names:
            if name.lstrip(".").startswith(patient.jail):
                remove_tree(f"{directory}/{name}")
    if patient.local_is_ours and os.path.isdir(local) and not os.listdir(local):
        os.rmdir(local)
    if patient.before and _look(place)[2] == patient.before[2]:
        times = patient.before[:2]
        _errno_of(lambda: os.utime(place, ns=(times[0], times[1])))  # type: ignore[arg-type]
    return True


def _settle(patient: Patient) -> None:
    """Wait until the jails of the probes have been taken down: until nobody locks any byte."""
    deadline = time.monotonic() + SETTLE_LIMIT
    for state in (patient.scratch, local_state(patient.uid)):
        for mode in MODES:
            path = layout(patient.scratch, state, f"{patient.jail}-{mode}").lock
            while os.path.exists(path) and time.monotonic() < deadline and _is_locked(path):
                time.sleep(0.01)


def _is_locked(path: str) -> bool:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


# --- jails ----------------------------------------------------------------------------------------------

MODES = ("casual", "bare", "strict")


def _jail(patient: Patient, mode: str) -> Iterator[Finding]:
    """Run `true` in a jail: as it is configured here as far as the plan goes, then really, in the scratch."""
    jail = [] if mode == "casual" else ["-j", patient.jail]
    refused = _run_jai(patient, [*_words(patient), *jail, "-m", mode, "-D", "--plan", _true()])
    own = f"{patient.scratch}/config"
    config = patient.config_dir if os.path.exists(f"{patient.config_dir}/.defaults") else own
    failed, taken = _try_jail(patient, mode, own if refused else config)
    if refused:
        alone = "" if failed else " (with a configuration and storage of its own it works)"
        yield Finding(NO, refused.text + alone, refused.hint)
    elif failed:
        yield failed
    else:
        yield Finding(YES, f"`true` ran in a jail, from start to end in {taken * 1000:.0f} ms")


def _try_jail(patient: Patient, mode: str, config: str) -> tuple[Finding | None, float]:
    """Run a jail that lies in the scratch; what went wrong, None if nothing did, and the seconds."""
    name = f"{patient.jail}-{mode}"
    if os.path.isdir(patient.scratch):
        with open(f"{patient.scratch}/{name}.jail", "w", encoding="ascii") as file:
            file.write(f"mode {mode}\n")
    ours = config == patient.config_dir
    undone = [word for path in patient.makes if ours for word in ("-x", path)]
    words = [
        *_words(patient, but=("storage", "initjail") if ours else ("storage", "initjail", "conf")),
        *undone,
    ]
    # What is run for new jails may do anything, so it is not run for this one.
    chosen = ["-m", mode, "-j", name, "--storage", patient.scratch, "-D", "--initjail", _true()]
    start = time.monotonic()
    failed = _run_jai(patient, [*words, *chosen, _true()], config)
    taken = time.monotonic() - start
    _settle(patient)
    return failed, taken


def _words(patient: Patient, but: tuple[str, ...] = ()) -> list[str]:
    """Give the options that were typed, as words again."""
    words = []
    for each in patient.options:
        if each.option not in ("mode", "jail", "nocwd", "verbose", *but):
            words += [f"--{each.option}{each.suffix}", *([each.value] if BY_NAME[each.option].value else [])]
    return words


def _true() -> str:
    """Give a program that does nothing; a path, so that no configuration is meant for it."""
    places = ("/bin", "/usr/bin", *os.environ.get("PATH", "").split(os.pathsep))
    found = (f"{place}/true" for place in places if place.startswith("/"))
    return next((path for path in found if os.access(path, os.X_OK)), "/bin/true")


def _run_jai(patient: Patient, words: list[str], config: str = "") -> Finding | None:
    """Run jai itself and give what it complains about, None if it is content."""
    env = {name: value for name, value in os.environ.items() if name not in ("JAI_DEBUG", "JAI_KEEP_FDS")}
    if config:
        env["JAI_CONFIG_DIR"] = config
    done = subprocess.run([*patient.jai, *words], env=env, input=b"", capture_output=True, check=False)
    if done.returncode == 0:
        return None
    lines = os.fsdecode(done.stderr).replace(patient.scratch, patient.storage).splitlines()
    starts = [at for at, line in enumerate(lines) if line.startswith("jai: ")]
    if not starts:
        last = f": {lines[-1]}" if lines else ""
        return Finding(NO, f"the jail ended with status {done.returncode}{last}")
    message, *rest = lines[starts[-1] :]
    hints = [line.removeprefix("  hint: ") for line in rest if line.startswith("  hint: ")]
    return Finding(NO, message.removeprefix("jai: "), hints[0] if hints else "")


def _casual(patient: Patient) -> Iterator[Finding]:
    return _jail(patient, "casual")


def _bare(patient: Patient) -> Iterator[Finding]:
    return _jail(patient, "bare")


def _strict(patient: Patient) -> Iterator[Finding]:
    """Try a strict jail where it could work: as root, or with everything that set-up brings."""
    needed = {"the helper": _helper, "a sub-uid": _sub_uid, "a sub-gid": _sub_gid, "the user jai": _jai_user}
    lacks = [name for name, ask in needed.items() if any(each.state != YES for each in ask(patient))]
    tried = [] if lacks and os.geteuid() != 0 else list(_jail(patient, "strict"))
    if lacks and any(each.state != YES for each in tried or [Finding(NO, "not tried")]):
        yield Finding(OPTIONAL, f"not set up: {', '.join(lacks)}", patient.setup)
    else:
        yield from tried


# --- jai itself -----------------------------------------------------------------------------------------


def _version(patient: Patient) -> Iterator[Finding]:
    yield Finding(YES, f"jai {VERSION}, {' '.join(patient.jai)}")


def _account(patient: Patient) -> Iterator[Finding]:
    yield from patient.account


def _current(patient: Patient) -> Iterator[Finding]:
    if patient.cwd:
        yield Finding(YES, patient.cwd)
    else:
        yield Finding(NO, "it is gone", "cd to a directory that exists")


def _configuration(patient: Patient) -> Iterator[Finding]:
    yield from patient.configuration


def _storage(patient: Patient) -> Iterator[Finding]:
    """Say what holds the jails' state: its file system, owner and mode, and what room there is."""
    choose = "choose a directory of your own: storage DIR in default.conf, or --storage DIR"
    place = _existing(patient.storage)
    found, room = os.stat(place), os.statvfs(place)
    free = f"{_amount(room.f_bavail * room.f_frsize)} free" if room.f_blocks else "as much as there is memory"
    words = (
        f"{patient.storage}: "
        if place == patient.storage
        else f"{patient.storage} is not there yet; {place}: "
    )
    owner = "yours" if found.st_uid == patient.uid else f"of uid {found.st_uid}"
    words += f"{_file_system(place)}, {owner}, mode {stat.S_IMODE(found.st_mode):04o}, {free}"
    if os.path.lexists(patient.storage) and place != patient.storage:
        yield Finding(NO, f"{patient.storage} is not a directory", choose)
    elif place == patient.storage and found.st_uid != patient.uid:
        yield Finding(NO, words, choose)
    elif room.f_flag & os.ST_RDONLY:
        yield Finding(NO, f"{words}; read-only", choose)
    elif not os.access(place, os.W_OK | os.X_OK):
        yield Finding(NO, f"{words}; you can not write there", choose)
    elif room.f_blocks and room.f_bavail * room.f_frsize < LEAST_ROOM:
        yield Finding(NO, f"{words}: full", "make room, or choose another --storage DIR")
    elif room.f_files and not room.f_favail:
        yield Finding(NO, f"{words}: no inode is left", "remove files, or choose another --storage DIR")
    elif place == patient.storage and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield Finding(NO, f"{words}: others may write there", f"chmod go-w {place}")
    else:
        yield Finding(YES, words)


def _python(_patient: Patient) -> Iterator[Finding]:
    """Say what the interpreter costs at each start, next to the smallest program there is."""
    own = _milliseconds([sys.executable, "-I", "-S", "-c", "pass"])
    least = _milliseconds([_true()])
    words = (
        f"{platform.python_version()}, {sys.executable}: {own:.1f} ms to start and end, `true` {least:.1f} ms"
    )
    yield Finding(YES, f"{words} (median of 5)")


def _milliseconds(words: list[str]) -> float:
    taken = []
    for _ in range(5):
        start = time.monotonic()
        pid = os.posix_spawn(words[0], words, os.environ)
        os.waitpid(pid, 0)
        taken.append((time.monotonic() - start) * 1000)
    return statistics.median(taken)


# --- the kernel -----------------------------------------------------------------------------------------


def _kernel(_patient: Patient) -> Iterator[Finding]:
    """Ask for each system call with arguments that are never right: a kernel without it says ENOSYS."""
    release = os.uname().release
    absent = []
    for name, number in {**CALLS, **PRIVILEGED_CALLS}.items():
        code = _errno_of(functools.partial(_syscall, number, -1, -1, -1, -1, -1))
        if code == errno.ENOSYS or (code == errno.EPERM and name in CALLS):
            absent.append(f"{name} ({errno.errorcode[code]})")
    if not absent:
        yield Finding(YES, f"Linux {release}: has every system call that jai needs ({FLOOR} or newer)")
    elif _version_of(release) < _version_of(FLOOR):
        yield Finding(
            NO, f"Linux {release} is too old: it lacks {', '.join(absent)}", f"update it to {FLOOR} or newer"
        )
    else:
        words = (
            f"Linux {release} would do, but {', '.join(absent)} is kept from us, as by a container's filter"
        )
        yield Finding(NO, words, UNCONFINED)


def _user_namespaces(patient: Patient) -> Iterator[Finding]:
    refused = _enter_user_namespace(patient)
    yield refused or Finding(YES, "made one, and mapped the user in it")


def _mount_namespace(patient: Patient) -> Iterator[Finding]:
    """Clone the whole tree read-only, as a jail does."""
    if refused := _enter_user_namespace(patient):
        yield _without_namespaces(refused)
        return
    try:
        _unshare_mounts()
        tree = _syscall(CALLS["open_tree"], AT_FDCWD, b"/", OPEN_TREE_CLONE | AT_RECURSIVE)
        _set_attributes(tree, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, recursive=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            yield Finding(NO, "there are too many mounts", "sudo sysctl fs.mount-max=200000, or unmount some")
        else:
            yield Finding(NO, f"refused inside a user namespace: {_answer(error)}", _mend_namespaces(patient))
        return
    yield Finding(YES, "made one, and a read-only copy of all that is mounted")


def _process_namespace(patient: Patient) -> Iterator[Finding]:
    """Mount a /proc for new process numbers: where parts of the old one are covered, a user may not."""
    if refused := _enter_user_namespace(patient):
        yield _without_namespaces(refused)
        return
    try:
        _unshare_mounts()
        _succeed(libc.unshare(CLONE_NEWPID))
    except OSError as error:
        yield Finding(NO, f"refused inside a user namespace: {_answer(error)}", _mend_namespaces(patient))
        return
    pid = os.fork()
    if pid == 0:
        os._exit(_errno_of(_mount_proc))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == 0:
        yield Finding(YES, "new process numbers, with a /proc of their own")
    elif code in (errno.EPERM, errno.EACCES):
        covered = ", ".join(patient.host.mounts_below("/proc")[:3])
        words = f"no new /proc: parts of the one here are covered ({covered}), as in a container"
        hint = "uncover it where the container is started (docker: --security-opt systempaths=unconfined)"
        yield Finding(NO, words if covered else "no new /proc may be mounted here (EPERM)", hint)
    else:
        yield Finding(NO, f"no new /proc: {os.strerror(code)} ({errno.errorcode.get(code, code)})")


def _mount_proc() -> None:
    context = _syscall(PRIVILEGED_CALLS["fsopen"], b"proc", 0)
    _syscall(PRIVILEGED_CALLS["fsconfig"], context, FSCONFIG_CMD_CREATE, 0, 0, 0)
    _syscall(PRIVILEGED_CALLS["fsmount"], context, 0, 0)


def _overlay(patient: Patient) -> Iterator[Finding]:
    """Change, add and remove a file through an overlay whose upper layer is where jails keep theirs."""
    unfit = UNFIT_FOR_UPPER.get(lib.jai_fstype(os.fsencode(_existing(patient.storage))), "")
    local = local_state(patient.uid)
    instead = f"not on {patient.storage} ({unfit}), so " if unfit else ""
    hint = "choose a local file system (ext4, btrfs, xfs): storage DIR in default.conf, or --storage DIR"
    try:
        if unfit:
            private_directory(local, patient.uid)
        elif not os.path.isdir(patient.scratch):
            yield Finding(NO, f"nothing can be made in {os.path.dirname(patient.scratch)}", hint)
            return
        place = f"{local}/{patient.jail}.overlay" if unfit else f"{patient.scratch}/overlay"
        if refused := _enter_user_namespace(patient):
            yield _without_namespaces(refused)
            return
        _unshare_mounts()
        _try_overlay(place)
    except JaiError as error:
        yield Finding(NO, f"{instead}{error.message}", error.hint)
    except OSError as error:
        where = local if unfit else patient.storage
        yield Finding(NO, f"{instead}{where} can not keep what a jail changes: {_answer(error)}", hint)
    else:
        kept = f"in {local}" if unfit else f"on {_file_system(patient.scratch)}"
        yield Finding(
            YES, f"{instead}{kept}: changed, added and removed files were kept apart from the original"
        )


def _try_overlay(place: str) -> None:
    os.mkdir(place, 0o700)
    os.chdir(place)
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(name)
    for name in ("changed", "removed"):
        _write(f"lower/{name}", "old")
    options = b"userxattr,lowerdir=lower,upperdir=upper,workdir=work"
    _succeed(libc.mount(b"overlay", b"merged", b"overlay", 0, options))
    _write("merged/changed", "new")
    _write("merged/added", "new")
    os.unlink("merged/removed")
    seen = [read_bytes(f"{layer}/changed") for layer in ("lower", "upper")]
    whiteout = os.lstat("upper/removed")
    apart = seen == [b"old", b"new"] and sorted(os.listdir("merged")) == ["added", "changed"]
    if not apart or not stat.S_ISCHR(whiteout.st_mode) or not os.path.exists("lower/removed"):
        raise OSError(errno.EIO, "the layers are not kept apart")


def _below_home(patient: Patient) -> Iterator[Finding]:
    """Say what is mounted below the home: an overlay of an ordinary user can not lie over that."""
    if not read_bytes("/proc/self/mountinfo"):
        yield Finding(OPTIONAL, "unknown without /proc")
        return
    below = patient.host.mounts_below(patient.host.real(patient.home))
    if not below:
        yield Finding(YES, f"nothing is mounted below {patient.home}")
        return
    names = ", ".join(below[:3]) + (f" and {len(below) - 3} more" if below[3:] else "")
    refused = _run_jai(patient, [*_words(patient), "-m", "casual", "-D", "--plan", _true()])
    if not refused and all(each.state == YES for each in _helper(patient)):
        yield Finding(OPTIONAL, f"{names}: casual mode needs the helper for it, which is there")
    else:
        hint = f"unmount it, use -m bare, or {patient.setup}"
        yield Finding(NO, f"{names}: casual mode is not possible without the helper", hint)


def _mount_limit(_patient: Patient) -> Iterator[Finding]:
    """Say if there is room for a jail's mounts: two copies of what is mounted, and its own."""
    there = read_bytes("/proc/self/mountinfo").count(b"\n")
    limit = _setting("fs.mount-max")
    if not there or not limit:
        yield Finding(OPTIONAL, "unknown without /proc")
        return
    needed = 2 * there + OWN_MOUNTS
    words = f"{there} mounts here, so a jail needs up to {needed}; the limit is {limit} (fs.mount-max)"
    if needed > int(limit):
        yield Finding(NO, words, f"sudo sysctl fs.mount-max={needed * 10}, or unmount some")
    else:
        yield Finding(YES, words)


def _landlock(_patient: Patient) -> Iterator[Finding]:
    try:
        abi = _syscall(LANDLOCK_CREATE_RULESET, 0, 0, 1)
    except OSError as error:
        hint = (
            "boot with lsm=landlock,..." if error.errno == errno.EOPNOTSUPP else "Linux 6.12 or newer has it"
        )
        words = (
            "switched off when the kernel was started"
            if error.errno == errno.EOPNOTSUPP
            else "not in this kernel"
        )
        yield Finding(OPTIONAL, f"{words}: jails reach abstract sockets of others ({_answer(error)})", hint)
        return
    if abi < LANDLOCK_SCOPES:
        words = (
            f"ABI {abi}: jails reach abstract sockets of others; from ABI {LANDLOCK_SCOPES} on they do not"
        )
        yield Finding(OPTIONAL, words, "update the kernel to 6.12 or newer")
        return
    yield Finding(YES, f"ABI {abi}: abstract sockets and signals stay inside")


def _seccomp(_patient: Patient) -> Iterator[Finding]:
    """Install the filter of jails, in this process that ends with the answer."""
    filtered = _prctl(PR_GET_SECCOMP) == SECCOMP_MODE_FILTER
    _succeed(_prctl(PR_SET_NO_NEW_PRIVS, 1))
    code = lib.jai_filter()
    if code:
        words = f"no filter can be installed: {os.strerror(code)} ({errno.errorcode.get(code, code)})"
        yield Finding(NO, words, "use a kernel with CONFIG_SECCOMP_FILTER; in a container allow seccomp")
        return
    words = f"the filter of jails was installed, {lib.jai_filter_rows()} rules"
    yield Finding(YES, words + ("; there is one around us already" if filtered else ""))


def _tiocsti(_patient: Patient) -> Iterator[Finding]:
    """Type into a terminal made for it, without privileges."""
    setting = _setting("dev.tty.legacy_tiocsti")
    code = _errno_of(_try_tiocsti)
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
        _errno_of(lambda: os.setresuid(65534, 65534, 65534))
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    fcntl.ioctl(slave, TIOCSTI, b"x")


def _apparmor(patient: Patient) -> Iterator[Finding]:
    name = "kernel.apparmor_restrict_unprivileged_userns"
    setting = _setting(name)
    if not os.path.isdir("/proc/sys/kernel"):
        yield Finding(OPTIONAL, "unknown without /proc")
    elif setting != "1":
        yield Finding(
            YES,
            f"does not restrict user namespaces ({f'{name}={setting}' if setting else 'no such setting'})",
        )
    elif _enter_user_namespace(patient) or _errno_of(_unshare_mounts):
        yield Finding(NO, f"keeps jai from user namespaces ({name}=1)", patient.setup)
    else:
        yield Finding(YES, f"restricts user namespaces ({name}=1), but not jai's")


def _container(_patient: Patient) -> Iterator[Finding]:
    """Name what speaks for a container, or another sandbox, around us."""
    signs = [
        path
        for path in ("/.dockerenv", "/run/.containerenv", "/run/systemd/container")
        if os.path.exists(path)
    ]
    if os.environ.get("container"):  # noqa: SIM112 - systemd writes it so
        signs.append(f"container={os.environ['container']}")  # noqa: SIM112
    groups = os.fsdecode(read_bytes("/proc/1/cgroup"))
    words = ("docker", "containerd", "kubepods", "libpod", "lxc", "machine.slice")
    signs += [f"{word} in /proc/1/cgroup" for word in words if word in groups]
    if "JAI_MODE" in os.environ:
        signs.append("JAI_MODE: a jail of jai")
    mapped = " ".join(os.fsdecode(read_bytes("/proc/self/uid_map")).split())
    if mapped not in ("", ALL_IDS):
        signs.append(f"a user namespace ({mapped})")
    if _is_chroot():
        signs.append("a chroot")
    if not os.path.exists("/proc/self"):
        signs.append("no /proc")
    if signs:
        yield Finding(OPTIONAL, f"inside of one, it seems: {', '.join(signs)}")
    else:
        yield Finding(OPTIONAL, "no sign of one")


# --- what strict mode needs -----------------------------------------------------------------------------


def _helper(patient: Patient) -> Iterator[Finding]:
    """Say if the helper has its privileges, and if nobody else could have put it there."""
    try:
        found = os.lstat(HELPER)
    except OSError:
        yield Finding(
            OPTIONAL, f"{HELPER} is not there: no strict mode, no casual mode over mounts", patient.setup
        )
        return
    wrong = [] if stat.S_ISREG(found.st_mode) else ["is not a file"]
    path = HELPER
    while path != "/":
        each = os.lstat(path)
        if each.st_uid != 0:
            wrong.append(f"{path} is of uid {each.st_uid}")
        elif each.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            wrong.append(f"others may write to {path}")
        path = os.path.dirname(path)
    if not found.st_mode & stat.S_ISUID and not _has_capabilities(HELPER):
        wrong.append("it has neither its capabilities nor set-uid")
    if os.statvfs(HELPER).f_flag & os.ST_NOSUID:
        wrong.append("its file system is mounted nosuid")
    if wrong:
        yield Finding(NO, f"{HELPER}: {'; '.join(wrong)}", patient.setup)
    elif _prctl(PR_GET_NO_NEW_PRIVS) == 1:
        yield Finding(
            NO, f"{HELPER} gets no privileges here (no_new_privs)", "run jai outside of the other sandbox"
        )
    else:
        yield Finding(YES, f"{HELPER} is root's, with its privileges")


def _has_capabilities(path: str) -> bool:
    """Say if a file has the helper's capabilities, effective.  Source: capabilities(7), vfs_cap_data."""
    try:
        data = os.getxattr(path, "security.capability")
        flags, permitted = struct.unpack_from("<II", data)
    except (OSError, struct.error):
        return False
    return bool(flags & 1) and permitted & HELPER_CAPABILITIES == HELPER_CAPABILITIES


def _sub_uid(patient: Patient) -> Iterator[Finding]:
    return _sub_ids(patient, "/etc/subuid")


def _sub_gid(patient: Patient) -> Iterator[Finding]:
    return _sub_ids(patient, "/etc/subgid")


def _sub_ids(patient: Patient, path: str) -> Iterator[Finding]:
    """Say if the helper would find a strict id of the user, and trust the file."""
    text = read_bytes(path)
    lines = os.fsdecode(text).split("\n")
    strict = find_ranges(text).get(patient.uid)
    named = [line for line in lines if line.startswith(f"{patient.host.account.name}:")]
    if strict is None:
        but = f", only {named[0]} by name" if named else ""
        yield Finding(OPTIONAL, f"no line of {patient.uid} in {path}{but}", patient.setup)
    elif strict == UNFIT:
        first = next(line for line in lines if line.startswith(f"{patient.uid}:"))
        words = f"{first} in {path} is no range that the helper takes (UID:START:COUNT)"
        yield Finding(NO, words, f"remove the line, then {patient.setup}")
    elif os.lstat(path).st_mode & (stat.S_IWGRP | stat.S_IWOTH) or not stat.S_ISREG(os.lstat(path).st_mode):
        yield Finding(NO, f"{path} must be a file that only root may write to", f"sudo chmod 644 {path}")
    else:
        yield Finding(YES, f"{strict} in {path}")


def _jai_user(patient: Patient) -> Iterator[Finding]:
    try:
        found = pwd.getpwnam("jai")
    except KeyError:
        yield Finding(OPTIONAL, "there is no user jai", patient.setup)
    else:
        yield Finding(YES, f"jai has uid {found.pw_uid}")


def _home_idmap(patient: Patient) -> Iterator[Finding]:
    return _idmap(patient, patient.home)


def _current_idmap(patient: Patient) -> Iterator[Finding]:
    return _idmap(patient, patient.cwd)


def _idmap(patient: Patient, path: str) -> Iterator[Finding]:
    """Say if a directory could be granted in strict mode: as tried by root, else as the manual has it."""
    if not path or not os.path.exists(path):
        yield Finding(OPTIONAL, f"{path or 'the current directory'} does not exist")
        return
    kind = _file_system(path)
    since = FILE_SYSTEMS.get(lib.jai_fstype(os.fsencode(path)), ("", "?"))[1]
    code = patient.idmaps.get(path, errno.EPERM)
    place = f"{path} ({kind})"
    if code == 0:
        yield Finding(YES, f"{place}: tried")
    elif code == errno.EINVAL:
        yield Finding(
            NO, f"{place} refuses them: not to be granted in strict mode (tried)", "use -m bare for it"
        )
    elif not since:
        yield Finding(NO, f"{place} has none: not to be granted in strict mode", "use -m bare for it")
    elif since != "?" and _version_of(os.uname().release) < _version_of(since):
        yield Finding(NO, f"{place}: only from Linux {since} on", "update the kernel, or use -m bare for it")
    else:
        known = "" if since == "?" else f"; {kind} has them from Linux {since} on"
        yield Finding(OPTIONAL, f"{place}: unknown without root{known}")


def _try_idmap(path: str) -> int:
    """Make an id-mapped mount that nobody sees; 0 or the errno."""
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        code = _errno_of(lambda: _succeed(libc.unshare(CLONE_NEWUSER)))
        os.write(ready[1], bytes([code]))
        os.close(go[1])
        os.read(go[0], 1)
        os._exit(0)
    code = os.read(ready[0], 1)[0]
    code = code or _errno_of(lambda: _mount_with_map(path, pid))
    os.close(go[1])
    os.waitpid(pid, 0)
    return code


def _mount_with_map(path: str, pid: int) -> None:
    for name in ("uid_map", "gid_map"):
        _write(f"/proc/{pid}/{name}", "0 100000 1", os.O_WRONLY)
    tree = _syscall(CALLS["open_tree"], AT_FDCWD, os.fsencode(path), OPEN_TREE_CLONE)
    users = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
    _set_attributes(tree, MOUNT_ATTR_IDMAP, users=users)


# --- namespaces -----------------------------------------------------------------------------------------


def _enter_user_namespace(patient: Patient) -> Finding | None:
    """Go into a new user namespace in which the user is himself; what is in the way, None if nothing."""
    uid, gid = os.geteuid(), os.getegid()
    code = _errno_of(lambda: _succeed(libc.unshare(CLONE_NEWUSER)))
    if code:
        return _why_none(patient, code)
    maps = {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
    for name, text in maps.items():
        try:
            _write(f"/proc/self/{name}", text, os.O_WRONLY)
        except FileNotFoundError:
            hint = "mount -t proc proc /proc, as root"
            return Finding(NO, "made one, but without /proc nobody can be mapped in it", hint)
        except OSError as error:
            words = f"made one, but {name} can not be written: {_answer(error)}"
            return Finding(NO, words, _mend_namespaces(patient))
    return None


def _without_namespaces(refused: Finding) -> Finding:
    return Finding(NO, "not without a user namespace", refused.hint)


def _why_none(patient: Patient, code: int) -> Finding:
    """Say why the kernel makes no user namespace."""
    answer = errno.errorcode.get(code, str(code))
    for name, value, _, root_too in SWITCHES:
        if (
            code in (errno.ENOSPC, errno.EPERM, errno.EACCES)
            and _setting(name) == value
            and (root_too or os.geteuid())
        ):
            return Finding(NO, f"switched off: {name}={value} ({answer})", _mend_namespaces(patient))
    if code == errno.ENOSPC:
        limit = _setting("user.max_user_namespaces") or "unknown without /proc"
        words = f"as many as may be, here or around us ({answer}; user.max_user_namespaces here: {limit})"
        return Finding(NO, words, SWITCHES[0][2])
    if code == errno.EUSERS:
        return Finding(NO, f"nested too deep ({answer})", "run jai outside of the other sandbox")
    if code in (errno.EINVAL, errno.ENOSYS):
        return Finding(NO, f"not in this kernel ({answer})", "use one with CONFIG_USER_NS")
    return _who_forbids(answer)


def _who_forbids(answer: str) -> Finding:
    """Say what else than a setting answers so."""
    if _is_chroot():
        return Finding(NO, f"the kernel makes none in a chroot ({answer})", "run jai outside of the chroot")
    if _prctl(PR_GET_SECCOMP) == SECCOMP_MODE_FILTER:
        return Finding(NO, f"a seccomp filter is around us, as in a container ({answer})", UNCONFINED)
    unread = "" if os.path.isdir("/proc/sys") else "; without /proc no setting can be read"
    words = f"refused ({answer}), as in a chroot or by a security module{unread}"
    return Finding(
        NO, words, "run jai outside of the chroot, or look at the settings user.* and kernel.*userns*"
    )


def _mend_namespaces(patient: Patient) -> str:
    """Give the command that sets the switch that is off."""
    for name, value, command, root_too in SWITCHES:
        if _setting(name) == value and (root_too or os.geteuid() != 0):
            return command or f"{patient.setup}, or sudo sysctl {name}=0"
    return ""


def _is_chroot() -> bool:
    """Say if the root directory is no mount of its own: then it is a chroot; if it is, it may be one."""
    found = ctypes.create_string_buffer(256)
    statx = getattr(libc, "statx", None)
    if statx is None or statx(AT_FDCWD, b"/", 0, 0, found) != 0:
        return False
    (attributes,) = struct.unpack_from("Q", found, 8)
    (known,) = struct.unpack_from("Q", found, 56)
    return bool(known & STATX_ATTR_MOUNT_ROOT and not attributes & STATX_ATTR_MOUNT_ROOT)


def _unshare_mounts() -> None:
    _succeed(libc.unshare(CLONE_NEWNS))
    _succeed(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))


# --- small pieces ---------------------------------------------------------------------------------------


def _set_attributes(tree: int, attributes: int, *, recursive: bool = False, users: int = 0) -> None:
    """Set the attributes of a detached mount.  Source: mount_setattr(2), struct mount_attr."""
    wanted = ctypes.create_string_buffer(struct.pack("QQQQ", attributes, 0, 0, users), 32)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    _syscall(CALLS["mount_setattr"], tree, b"", flags, wanted, 32)


def _syscall(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char]) -> int:
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _succeed(libc.syscall(ctypes.c_long(number), *words))


def _prctl(*arguments: int) -> int:
    words = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)[:5]]
    return int(libc.prctl(*words))


def _succeed(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _errno_of(work: Callable[[], object]) -> int:
    """Give 0, or the errno that some work failed with."""
    try:
        work()
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _answer(error: OSError) -> str:
    return f"{error.strerror} ({errno.errorcode.get(error.errno or 0, error.errno)})"


def _write(path: str, text: str, flags: int = os.O_WRONLY | os.O_CREAT | os.O_TRUNC) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _setting(name: str) -> str:
    """Give a setting of sysctl(8), "" where there is none."""
    return os.fsdecode(read_bytes(f"/proc/sys/{name.replace('.', '/')}")).strip()


def _version_of(text: str) -> tuple[int, int]:
    """Give the first two numbers of a kernel's release."""
    first, _, rest = text.partition(".")
    second = "".join(char if char.isdigit() else " " for char in rest).split()
    return int(first), int(second[0]) if second else 0


def _file_system(path: str) -> str:
    """Name the file system that holds a path, as mount(8) does where /proc tells."""
    device = os.stat(path).st_dev
    wanted = f" {os.major(device)}:{os.minor(device)} ".encode()
    for line in read_bytes("/proc/self/mountinfo").splitlines():
        if wanted in line and b" - " in line:
            return os.fsdecode(line.split(b" - ")[1].split(b" ")[0])
    magic = lib.jai_fstype(os.fsencode(path))
    return FILE_SYSTEMS.get(magic, (f"file system {magic:#x}", ""))[0]


def _amount(size: int) -> str:
    number = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:  # noqa: PLR2004 - of the one in the other
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


PROBES = (
    Probe("jai", _version),
    Probe("account", _account),
    Probe("current directory", _current),
    Probe("configuration", _configuration),
    Probe("storage", _storage),
    Probe(CASUAL, _casual, JAIL_LIMIT),
    Probe("bare mode", _bare, JAIL_LIMIT),
    Probe("strict mode", _strict, JAIL_LIMIT),
    Probe("kernel", _kernel),
    Probe("user namespaces", _user_namespaces),
    Probe("mount namespace", _mount_namespace),
    Probe("PID namespace", _process_namespace),
    Probe("overlay", _overlay),
    Probe("mounts in the home", _below_home),
    Probe("mount limit", _mount_limit),
    Probe("Landlock", _landlock),
    Probe("seccomp", _seccomp),
    Probe("TIOCSTI", _tiocsti),
    Probe("AppArmor", _apparmor),
    Probe("container", _container),
    Probe("helper", _helper),
    Probe("sub-uid", _sub_uid),
    Probe("sub-gid", _sub_gid),
    Probe("user jai", _jai_user),
    Probe("id maps, home", _home_idmap),
    Probe("id maps, here", _current_idmap),
    Probe("Python", _python, JAIL_LIMIT),
)
