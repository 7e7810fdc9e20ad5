"""`jai --doctor` tells the truth in every situation, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import platform
import pwd
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance import abilities, manifest
from jai.verbs import doctor
from jai.verbs.doctor import isolate, records, system_calls
from tests.helpers import Done, User, processes, traces, user, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from testinfra.host import Host

__all__ = ["user"]
YES, NO, OPTIONAL = "✓", "✗", "–"  # noqa: RUF001 - what is printed
TOPICS = [probe.topic for probe in doctor.PROBES]
NEEDED = [
    "kernel",
    "user namespaces",
    "mount namespace",
    "PID namespace",
    "overlay",
    "casual mode",
    "bare mode",
]
LANDLOCK_CREATE_RULESET = 444  # on every architecture


@dataclass(frozen=True)
class Line:
    """One line of a report."""

    state: str
    text: str


@dataclass(frozen=True)
class Report:
    """What the doctor printed, by topic, and the exit status."""

    status: int
    lines: dict[str, list[Line]]
    text: str

    def __getitem__(self, topic: str) -> Line:
        """The only line about a topic."""
        (line,) = self.lines[topic]
        return line

    def says(self, topic: str, state: str, *words: str) -> None:
        """Judge the only line about a topic."""
        line = self[topic]
        assert line.state == state, self.text
        assert [word for word in words if word not in line.text] == [], line.text


def read(done: Done) -> Report:
    """Take the output apart; every line has a state and a topic, and each topic is there, in order."""
    assert done.stderr == ""
    assert done.returncode in (0, 1)
    found: dict[str, list[Line]] = {}
    for line in done.stdout.splitlines():
        assert line[0] in (YES, NO, OPTIONAL), line
        found.setdefault(line[2:20].strip(), []).append(Line(line[0], line[21:]))
    assert list(found) == TOPICS, done.stdout
    casual = {line.state for line in found["casual mode"]}
    assert (done.returncode == 0) == (casual == {YES}), done.stdout
    return Report(done.returncode, found, done.stdout)


def places(user: User) -> dict[str, object]:
    """Everything that a doctor could leave behind: in the home, with all times, and in the common places."""
    common = [os.listdir(place) for place in ("/tmp", "/var/tmp", "/dev/shm", "/home")]
    return {"home": manifest.read(user.home), "common": [sorted(names) for names in common]}


@contextlib.contextmanager
def nothing_left(user: User) -> Iterator[None]:
    """Everything is as before, and nothing runs, is mounted, locked or open."""
    quiet = lambda: not any(vars(traces(user)).values())  # noqa: E731
    wait_until(quiet, "the jails before have ended")
    before = places(user)
    yield
    assert places(user) == before
    wait_until(quiet, f"nothing of a jail is left: {traces(user)}")


def examine(user: User, before: Sequence[str] = (), options: Sequence[str] = (), **more: object) -> Report:
    """Run the doctor as the account, with words before jai that make the situation."""
    with nothing_left(user):
        done = user.run([*before, user.jai, "--doctor", *options], **more)  # type: ignore[arg-type]
    return read(done)


def nested(script: str, *options: str) -> list[str]:
    """The words that run what follows in a user namespace of our own after a script with all capabilities."""
    ends = f'{script} && exec setpriv --ambient-caps=-all "$0" "$@"'
    return ["unshare", "--user", "--map-current-user", "--keep-caps", *options, "sh", "-c", ends]


def out(words: Sequence[str]) -> str:
    """What a command of the system prints, without the end of the line."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def as_root(host: Host) -> None:
    """Let a test mount file systems, and run jai as root."""
    abilities.check(host, "root for loop file systems")


# --- the machine as it is -----------------------------------------------------------------------------------


def test_an_ordinary_user(user: User) -> None:
    """What a jail needs is there, as a jail itself shows."""
    report = examine(user, cwd=user.project)

    assert user.run([user.jai, "true"]).returncode == 0
    assert {topic: report[topic].state for topic in NEEDED} == dict.fromkeys(NEEDED, YES)
    assert report.status == 0
    report.says("account", YES, user.name, f"uid {user.uid}", user.home)
    report.says("current directory", YES, user.project)
    report.says("configuration", YES, user.storage)
    report.says("kernel", YES, os.uname().release)
    report.says("mounts in the home", YES, user.home)
    report.says("jai", YES, out([user.jai, "--version"]), os.path.realpath(user.jai))


def test_the_storage_line(user: User) -> None:
    """File system, owner, mode and free space are what stat and df say."""
    os.chmod(user.storage, 0o750)

    line = examine(user)["storage"]

    assert line.state == YES
    assert (
        f"{user.storage}: {out(['findmnt', '-nro', 'FSTYPE', '-T', user.storage])}, yours, mode 0750"
        in line.text
    )
    free = int(out(["df", "--output=avail", "-B1", user.storage]).split()[-1])
    amount, unit = re.findall(r"([\d.]+) (\w+) free", line.text)[0]
    units = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
    assert float(amount) * units[unit] == pytest.approx(free, rel=0.2)


def test_the_settings_of_the_kernel(user: User) -> None:
    """Mounts, their limit, Landlock, TIOCSTI and AppArmor: read from their sources, by other means."""
    report = examine(user)

    mounts, limit = Path("/proc/self/mountinfo").read_bytes().count(b"\n"), setting("fs/mount-max")
    report.says("mount limit", YES, f"{mounts} mounts", f"limit is {limit} ")
    abi = ctypes.CDLL(None).syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    report.says("Landlock", YES if abi >= 6 else OPTIONAL, f"ABI {abi}:" if abi > 0 else "")
    tiocsti = setting("dev/tty/legacy_tiocsti")
    report.says("TIOCSTI", YES, f"tiocsti={tiocsti}" if tiocsti else "in a jail none may")
    report.says("seccomp", YES if "Seccomp:" in Path("/proc/self/status").read_text() else NO)
    restricted = setting("kernel/apparmor_restrict_unprivileged_userns")
    report.says("AppArmor", YES, f"_userns={restricted}" if restricted else "no such setting")


def setting(name: str) -> str:
    """A sysctl, empty where there is none."""
    path = Path("/proc/sys", name)
    return path.read_text().strip() if path.exists() else ""


def test_the_cost_of_python(user: User) -> None:
    """The interpreter is the one that jai starts; the times are of the size that they have here."""
    text = examine(user)["Python"].text

    interpreter = Path(f"{os.path.realpath(user.jai)}-python").read_text().splitlines()[0].removeprefix("#!")
    assert interpreter in text
    own, least = (float(number) for number in re.findall(r"([\d.]+) ms", text))
    start = time.monotonic()
    subprocess.run([interpreter, "-I", "-S", "-c", "pass"], check=True)
    assert 0.1 < least < own < 20 * (time.monotonic() - start) * 1000


def test_all_of_it_is_quick(user: User) -> None:
    """It is for people who wait."""
    start = time.monotonic()

    examine(user)

    assert time.monotonic() - start < 20


def test_what_strict_mode_lacks(user: User) -> None:
    """Without set-up each missing piece is named, with the command that brings it, which names this jai."""
    report = examine(user)

    there = os.path.exists("/usr/local/libexec/jai/jai-idmap")
    assert (report["helper"].state == OPTIONAL) == (not there)
    assert (report["user jai"].state == YES) == any(entry.pw_name == "jai" for entry in pwd.getpwall())
    if not there:
        report.says("strict mode", OPTIONAL, "helper", f"sudo {os.path.realpath(user.jai)} --setup")
    for topic in ("id maps, home", "id maps, here"):
        report.says(topic, OPTIONAL, "unknown without root")


def test_options_are_taken_into_account(user: User) -> None:
    """Another storage and another configuration file are the ones that are examined; a command is none."""
    user.make(f"{user.home}/other.conf", "net lan\n")
    os.mkdir(f"{user.home}/state", 0o700)
    os.chown(f"{user.home}/state", user.uid, os.stat(user.home).st_gid)

    report = examine(user, options=["--storage", f"{user.home}/state", "-D"])
    broken = examine(user, options=["-C", "../other.conf"])
    refused = user.run([user.jai, "--doctor", "true"])

    report.says("storage", YES, f"{user.home}/state:")
    assert broken.status == 1
    assert "other.conf:1" in broken["casual mode"].text
    assert (refused.returncode, refused.stdout) == (125, "")


# --- namespaces that are refused ----------------------------------------------------------------------------


def test_user_namespaces_switched_off(user: User) -> None:
    """The setting is named with the command that mends it; what does not need them is still told."""
    report = examine(user, nested("echo 0 > /proc/sys/user/max_user_namespaces"))

    report.says(
        "user namespaces", NO, "user.max_user_namespaces=0", "→ sudo sysctl user.max_user_namespaces="
    )
    for topic in ("mount namespace", "PID namespace", "overlay", "bare mode"):
        assert report[topic].state == NO
    report.says("casual mode", NO, "user.max_user_namespaces", "sysctl")
    report.says("container", OPTIONAL, f"a user namespace ({user.uid} {user.uid} 1)")
    for topic in ("kernel", "seccomp", "storage", "configuration", "Python"):
        assert report[topic].state == YES
    assert report.status == 1


def test_user_namespaces_used_up(user: User) -> None:
    """Here none is left though the setting is not 0: not the setting is blamed, but the limit."""
    script = "echo 1 > /proc/sys/user/max_user_namespaces && exec unshare -r"
    script = f'{script} sh -c \'exec "$0" "$@"\' "$0" "$@"; true'

    report = examine(user, nested(script), env={"USER": "root", "LOGNAME": "root"})

    report.says("user namespaces", NO, "as many as may be", "ENOSPC")
    assert report.status == 1


def test_a_user_namespace_around_us(user: User) -> None:
    """The control: it is not the nesting that is refused."""
    report = examine(user, nested("true"))

    assert {topic: report[topic].state for topic in NEEDED} == dict.fromkeys(NEEDED, YES)
    assert report.status == 0


def test_proc_covered_as_in_a_container(user: User) -> None:
    """What covers it is named; all else works."""
    report = examine(user, nested("mount -t tmpfs none /proc/irq", "--mount"))

    report.says("PID namespace", NO, "/proc/irq", "container")
    report.says("casual mode", NO, "/proc", "container")
    for topic in ("user namespaces", "mount namespace", "overlay"):
        assert report[topic].state == YES
    assert report.status == 1


FILTER = """
import ctypes, os, struct, sys
numbers, answer = [int(word) for word in sys.argv[1].split(",")], int(sys.argv[2])
code = [struct.pack("HBBI", 0x20, 0, 0, 0)]  # the number of the call
for number in numbers:
    code += [struct.pack("HBBI", 0x15, 0, 1, number), struct.pack("HBBI", 0x06, 0, 0, 0x50000 | answer)]
code += [struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)]
text = ctypes.create_string_buffer(b"".join(code))
program = ctypes.create_string_buffer(struct.pack("HP", len(code), ctypes.addressof(text)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
assert prctl(38, 1, 0, 0, 0) == 0
assert prctl(22, 2, ctypes.c_void_p(ctypes.addressof(program)), 0, 0) == 0
os.execv(sys.argv[3], sys.argv[3:])
"""
UNSHARE = {"x86_64": 272, "aarch64": 97, "riscv64": 97, "ppc64le": 282, "s390x": 303}
CLONE3, MOUNT_SETATTR = 435, 442
EPERM, ENOSYS = 1, 38


def filtered(numbers: Sequence[int], answer: int) -> list[str]:
    """The words that run what follows under a seccomp filter, as containers do."""
    return ["/usr/bin/python3", "-I", "-c", FILTER, ",".join(map(str, numbers)), str(answer)]


def test_a_seccomp_filter_as_in_a_container(user: User) -> None:
    """Without user namespaces by the container's filter: it is the filter that is named."""
    report = examine(user, filtered([UNSHARE[platform.machine()]], EPERM))

    report.says("user namespaces", NO, "seccomp filter", "container", "EPERM", "→ ")
    report.says("seccomp", YES, "one around us already")
    assert report["casual mode"].state == NO
    assert report["helper"].state in (OPTIONAL, NO)
    assert report.status == 1


@pytest.mark.parametrize(
    ("name", "number", "answer"), [("clone3", CLONE3, ENOSYS), ("mount_setattr", MOUNT_SETATTR, EPERM)]
)
def test_a_system_call_that_a_filter_hides(user: User, name: str, number: int, answer: int) -> None:
    """The kernel is not called too old when it is a filter that answers."""
    report = examine(user, filtered([number], answer))

    report.says("kernel", NO, os.uname().release, name, "filter")
    assert report.status == 1


def test_a_kernel_that_calls_itself_old(user: User) -> None:
    """What counts is what it does, not its name: `uname26` makes it 2.6."""
    report = examine(user, ["setarch", "--uname-2.6"])

    report.says("kernel", YES, "Linux 2.6.")
    assert report.status == 0


# --- another root directory ---------------------------------------------------------------------------------


CHROOT = 'exec chroot {root} setpriv --ambient-caps=-all sh -c \'cd "$HOME" && exec "$0" "$@"\' "$0" "$@"'
PIVOT = "cd {root} && mkdir old && pivot_root . old && cd"
IN_ROOT = ("bin", "sbin", "lib", "lib64", "usr", "etc", "opt", "home", "root")


def in_new_root(user: User, leave: str, *, devices: bool = True, inner: str = "") -> list[str]:
    """The words that run what follows in a root directory made of bind mounts, without /proc.

    It is a file system of its own, or the folder `inner` of it, for which the script `leave`s.
    """
    top = f"/mnt{inner}"
    names = [name for name in IN_ROOT if os.path.exists(f"/{name}")]
    links = {name: os.readlink(f"/{name}") for name in names if os.path.islink(f"/{name}")}
    jai = str(Path(os.path.realpath(user.jai)).parents[1])
    bound = [*(f"/{name}" for name in names if name not in links), jai, *(["/dev"] if devices else [])]
    script = ["mount -t tmpfs none /mnt", f"mkdir -p -m 1777 {top}/tmp {top}/var/tmp {top}/srv"]
    script += [f": >{top}/.dockerenv", *(f"ln -s {target} {top}/{name}" for name, target in links.items())]
    script += [f"mkdir -p {top}{path} && mount --rbind {path} {top}{path}" for path in bound]
    return nested(" && ".join([*script, leave.format(root=top)]), "--mount")


@pytest.mark.parametrize("devices", [True, False])
def test_a_chroot_without_proc(user: User, *, devices: bool) -> None:
    """The kernel makes no user namespaces in a chroot; nothing that needs /proc is guessed."""
    there = in_new_root(user, CHROOT, devices=devices)

    refused = user.run([*there, "unshare", "--user", "true"])
    report = examine(user, there)

    assert "Operation not permitted" in refused.stderr
    report.says("user namespaces", NO, "EPERM", "chroot")
    assert report["casual mode"].state == report["bare mode"].state == NO
    for topic in ("mounts in the home", "mount limit", "AppArmor"):
        report.says(topic, OPTIONAL, "unknown without /proc")
    report.says("container", OPTIONAL, "/.dockerenv", "no /proc")
    report.says("TIOCSTI", *([report["TIOCSTI"].state, "terminal"] if devices else [OPTIONAL, "unknown"]))
    for topic in ("kernel", "storage", "configuration", "seccomp", "Python"):
        assert report[topic].state == YES, topic
    assert report.status == 1


def test_a_plain_folder_as_root_directory(user: User) -> None:
    """A root directory that is no mount can only be a chroot, and is called one."""
    report = examine(user, in_new_root(user, CHROOT, inner="/folder"))

    report.says("user namespaces", NO, "makes none in a chroot", "→ run jai outside of the chroot")
    report.says("container", OPTIONAL, "a chroot")
    assert report.status == 1


def test_a_container_without_proc(user: User) -> None:
    """User namespaces are made, but without /proc nobody can be mapped: that is what has to be mended."""
    there = in_new_root(user, PIVOT)

    made = user.run([*there, "unshare", "--user", "true"])
    report = examine(user, there)

    assert made.returncode == 0, made.stderr
    report.says("user namespaces", NO, "without /proc", "mount -t proc")
    assert "chroot" not in report["container"].text
    assert report.status == 1


@pytest.mark.usefixtures("as_root")
def test_root_in_a_chroot_without_proc(user: User) -> None:
    """Root is refused the same."""
    words = in_new_root(user, CHROOT.replace("setpriv --ambient-caps=-all", ""))
    words = ["unshare", "--mount", *words[words.index("sh") :]]

    report = examine_root(user, words)

    report.says("account", YES, "root (uid 0)")
    report.says("user namespaces", NO, "EPERM", "chroot")
    report.says("id maps, here", OPTIONAL, "unknown")
    assert report.status == 1


# --- configuration ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["default.conf", ".defaults", "default.jail"])
def test_a_broken_configuration(user: User, name: str) -> None:
    """File and line are named once, with what was meant; that jai itself would work is said too."""
    path = f"{user.storage}/{name}"
    count = len(Path(path).read_text().splitlines())
    with open(path, "a") as file:
        file.write("\nmdoe casual\n")

    report = examine(user)

    report.says("configuration", NO, f"{path}:{count + 2}", "mdoe", "mode")
    report.says("casual mode", NO, f"{path}:{count + 2}", "of its own it works")
    for topic in ("user namespaces", "overlay", "storage"):
        assert report[topic].state == YES
    assert report.status == 1


def test_a_broken_configuration_of_one_command(user: User) -> None:
    """All files are read, each mistake has a line of its own; the default mode is not hurt."""
    user.make(f"{user.storage}/claude.conf", "conf .defaults\nnet lan\n")
    user.make(f"{user.storage}/box.jail", "jail other\n")
    user.make(f"{user.storage}/fine.conf", "conf default\n")

    report = examine(user)

    lines = report.lines["configuration"]
    assert [line.state for line in lines] == [NO, NO]
    assert "claude.conf:2" in lines[0].text
    assert "box.jail:1" in lines[1].text
    assert report.status == 0


def test_a_configuration_that_can_not_be_read(user: User) -> None:
    """A FIFO does not stop the doctor, and a directory is named."""
    os.unlink(f"{user.storage}/default.conf")
    os.mkfifo(f"{user.storage}/default.conf", 0o666)

    report = examine(user)

    report.says("configuration", NO, f"{user.storage}/default.conf")
    assert report.status == 1


def test_a_relative_configuration_directory(user: User) -> None:
    """It is refused, so the doctor says so."""
    report = examine(user, env={"JAI_CONFIG_DIR": "jai"})

    report.says("configuration", NO, "JAI_CONFIG_DIR", "absolute")
    assert report.status == 1


def test_nothing_is_made_that_the_configuration_asks_for(user: User) -> None:
    """`dir!` makes a directory when a command is run, not when the doctor looks."""
    with open(f"{user.storage}/default.conf", "a") as file:
        file.write("dir! ~/made-on-demand\n")

    report = examine(user)

    assert report.status == 0, report.text
    assert user.run([user.jai, "true"]).returncode == 0
    assert os.path.isdir(f"{user.home}/made-on-demand")  # the control


def test_before_the_first_run(user: User) -> None:
    """Without ~/.jai all is well, and it is not made; the home is what is looked at."""
    wait_until(lambda: not any(vars(traces(user)).values()), "the first jail has ended")
    subprocess.run(["rm", "-rf", user.storage], check=True)

    report = examine(user)

    report.says("configuration", OPTIONAL, user.storage)
    report.says("storage", YES, "is not there yet", f"{user.home}:")
    assert report.status == 0


# --- the home, the current directory, the storage -----------------------------------------------------------


@pytest.mark.parametrize("home", ["", "/nowhere", "/etc/passwd", "nowhere", "/usr"])
def test_a_home_that_is_none(user: User, home: str) -> None:
    """Unset, the account's own home is used; one that can not be used is named, by jai itself."""
    report = examine(user, ["env", f"HOME={home}"] if home else ["env", "-u", "HOME"])

    if home:
        report.says("casual mode", NO, f"home {home} ")
        assert report.status == 1
    else:
        report.says("account", YES, user.home, "HOME is not set")
        assert report.status == 0


def test_a_current_directory_that_was_removed(user: User) -> None:
    """It is said; all else can still be examined."""
    gone = f"{user.project}/gone"

    done = user.sh(f"mkdir {gone} && cd {gone} && rmdir {gone} && exec {user.jai} --doctor")

    report = read(done)
    report.says("current directory", NO, "gone", "→ cd ")
    assert report["casual mode"].state == YES


@pytest.mark.parametrize("place", ["/", "/usr", "~", "/proc"])
def test_a_current_directory_that_would_not_be_granted(user: User, place: str) -> None:
    """The doctor can be called anywhere: what it says of the modes does not depend on it."""
    report = examine(user, cwd=user.home if place == "~" else place)

    assert report.status == 0, report.text


def test_a_storage_of_somebody_else(user: User) -> None:
    """It is refused, also where a directory could be made in it; such a directory would do, which is said."""
    writable = os.stat("/var/tmp").st_uid != user.uid
    place = "/var/tmp" if writable else "/usr"

    report = examine(user, options=["--storage", place])

    report.says("storage", NO, f"of uid {os.stat(place).st_uid}", "--storage")
    report.says("casual mode", NO, place, "another user", "of its own it works" if writable else "")
    assert report.status == 1


def test_a_storage_that_can_not_be_written(user: User) -> None:
    """Its own user took the right to write away, or it is a file."""
    os.chmod(user.storage, 0o500)
    report = examine(user)
    os.chmod(user.storage, 0o700)

    if user.uid != 0:
        report.says("storage", NO, "mode 0500", "can not write")
        report.says("casual mode", NO, user.storage)
    user.make(f"{user.home}/file")
    report = examine(user, options=["--storage", f"{user.home}/file"])
    report.says("storage", NO, "is not a directory")
    assert report.status == 1


def test_a_storage_that_others_may_write(user: User) -> None:
    """It works, and is dangerous: the command that mends it is named."""
    os.chmod(user.storage, 0o777)

    report = examine(user)

    report.says("storage", NO, "others may write", f"→ chmod go-w {user.storage}")


@contextlib.contextmanager
def mounted(place: str, *options: str) -> Iterator[str]:
    """Mount a file system for a while at a directory that is made."""
    made = not os.path.isdir(place)
    os.makedirs(place, exist_ok=True)
    subprocess.run(["mount", "-n", *options, place], check=True)
    try:
        yield place
    finally:
        wait_until(
            lambda: subprocess.run(["umount", "-n", place], check=False).returncode == 0, f"{place} is idle"
        )
        if made:
            os.rmdir(place)


@pytest.mark.usefixtures("as_root")
def test_a_storage_that_carries_no_overlay(user: User) -> None:
    """The changes then lie in /var/tmp, which is said, tried, and left without a trace."""
    with mounted("/srv/ram", "-t", "ramfs", "-o", "mode=700", "none"):
        os.chown("/srv/ram", user.uid, user.uid)
        report = examine(user, options=["--storage", "/srv/ram"])

    report.says("overlay", YES, "ramfs", f"/var/tmp/jai-{user.uid}")
    report.says("storage", YES, "/srv/ram: ramfs")
    assert report.status == 0, report.text


@pytest.mark.usefixtures("as_root")
def test_a_place_in_var_tmp_that_is_somebody_else_s(user: User) -> None:
    """What jai would use instead of such a storage has been taken by another user: neither is used."""
    local = f"/var/tmp/jai-{user.uid}"
    os.mkdir(local, 0o755)
    try:
        with mounted("/srv/ram", "-t", "ramfs", "-o", "mode=700", "none"):
            os.chown("/srv/ram", user.uid, user.uid)
            report = examine(user, options=["--storage", "/srv/ram"])
        assert os.stat(local).st_uid == 0
    finally:
        os.rmdir(local)

    report.says("overlay", NO, local, "private")
    report.says("casual mode", NO, local)


@pytest.mark.usefixtures("as_root")
def test_a_full_disk(user: User) -> None:
    """Full of bytes, full of inodes, read-only: each is said, with the storage's name."""
    options = f"mode=700,uid={user.uid},size=2m,nr_inodes=100"
    with mounted("/srv/tiny", "-t", "tmpfs", "-o", options, "none"):
        with contextlib.suppress(OSError), open("/srv/tiny/big", "wb", buffering=0) as big:
            while True:
                big.write(b"x" * 4096)
        full = examine(user, options=["--storage", "/srv/tiny"])
        os.unlink("/srv/tiny/big")
        with contextlib.suppress(OSError):
            for number in range(200):
                Path(f"/srv/tiny/{number}").touch()
        without_inodes = examine(user, options=["--storage", "/srv/tiny"])
        subprocess.run(["mount", "-n", "-o", "remount,ro", "/srv/tiny"], check=True)
        read_only = examine(user, options=["--storage", "/srv/tiny"])

    for report, word in ((full, "full"), (without_inodes, "no inode"), (read_only, "read-only")):
        report.says("storage", NO, "/srv/tiny: tmpfs", word)
    assert without_inodes.status == read_only.status == 1


@pytest.mark.usefixtures("as_root")
def test_a_file_system_below_the_home(user: User) -> None:
    """It is named, with the ways out; bare mode works."""
    with mounted(f"{user.home}/documents/disk", "-t", "tmpfs", "none"):
        report = examine(user)

    refused = report["casual mode"].state == NO
    assert report["bare mode"].state == YES
    report.says("mounts in the home", NO if refused else OPTIONAL, f"{user.home}/documents/disk", "helper")
    if refused:
        report.says("casual mode", NO, f"{user.home}/documents/disk")
        report.says("mounts in the home", NO, "-m bare", "--setup")


# --- as root ------------------------------------------------------------------------------------------------


def examine_root(user: User, before: Sequence[str] = (), cwd: str = "/", **more: str) -> Report:
    """Run the doctor as root."""
    env = {**user.environment(), "HOME": "/root", "USER": "root", "LOGNAME": "root", **more}
    there = sorted(os.listdir("/root"))
    with nothing_left(user):
        done = start([*before, user.jai, "--doctor"], env=env, cwd=cwd)
    assert sorted(os.listdir("/root")) == there
    return read(done)


def start(words: Sequence[str], **more: object) -> Done:
    """Run a command as ourselves to its end."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(words, text=True, check=False, timeout=120, **pipes, **more)  # type: ignore[call-overload,no-any-return]


@pytest.mark.usefixtures("as_root")
def test_as_root(user: User) -> None:
    """Root is jailed as itself; id maps are tried; a proc file system refuses them, as the manual says."""
    report = examine_root(user, cwd="/proc")

    report.says("account", YES, "root (uid 0)", "/root")
    report.says("id maps, here", NO, "/proc (proc)", "tried")
    assert {topic: report[topic].state for topic in NEEDED} == dict.fromkeys(NEEDED, YES)
    assert report.status == 0


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(
    ("kind", "state", "since"), [("tmpfs", YES, (6, 3)), ("ramfs", NO, (0, 0)), ("overlay", NO, (0, 0))]
)
def test_id_maps_are_tried_by_root(user: User, kind: str, state: str, since: tuple[int, int]) -> None:
    """On file systems that have them or have not, by mount_setattr(2); and so for the user of sudo."""
    release = tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])
    layers = "-o lowerdir=/usr:/etc" if kind == "overlay" else ""
    script = f'mount -t {kind} {layers} none /mnt && chmod -f 755 /mnt; cd /mnt && exec "$@"'
    before = ["unshare", "--mount", "sh", "-c", script, "sh"]

    mine = examine_root(user, before)
    theirs = examine_root(user, before, SUDO_USER=user.name)

    for report in (mine, theirs):
        report.says("id maps, here", state if release >= since else NO, f"/mnt ({kind})", "tried")
    assert theirs.status == 0, theirs.text


@pytest.mark.usefixtures("as_root")
def test_as_root_for_a_user(user: User) -> None:
    """`sudo jai --doctor` says what holds for the user: the same as that user sees, but for who asks."""
    mine, theirs = examine(user), examine_root(user, SUDO_USER=user.name)

    theirs.says("account", YES, f"{user.name} (uid {user.uid}", "root acts", user.home)
    topics = set(TOPICS) - {"account", "current directory", "casual mode", "bare mode", "Python"}
    topics -= {"storage", "id maps, home", "id maps, here"}
    assert {topic: mine.lines[topic] for topic in topics} == {topic: theirs.lines[topic] for topic in topics}
    theirs.says("id maps, home", theirs["id maps, home"].state, "tried")
    assert theirs.status == 0


@pytest.mark.usefixtures("as_root")
def test_as_root_for_nobody_that_exists(user: User) -> None:
    """It is refused; the rest is told of root."""
    report = examine_root(user, SUDO_USER="nobody-of-that-name")

    report.says("account", NO, "nobody-of-that-name", "does not exist")
    report.says("casual mode", NO, "nobody-of-that-name")
    assert report["user namespaces"].state == YES
    assert report.status == 1


def test_root_of_a_user_namespace(user: User) -> None:
    """`unshare -r` keeps $USER, whom its root can not become; as itself that root is jailed."""
    asked = ["unshare", "--user", "--map-root-user"]

    kept = examine(user, asked)
    itself = examine(user, [*asked, "env", "USER=root"])

    assert kept["casual mode"].state == (YES if user.run([*asked, user.jai, "true"]).returncode == 0 else NO)
    itself.says("account", YES, "root (uid 0)")
    assert (itself.status == 0) == (user.run([*asked, "env", "USER=root", user.jai, "true"]).returncode == 0)


# --- what strict mode needs ---------------------------------------------------------------------------------

HELPER = "/usr/local/libexec/jai/jai-idmap"
ROOT = ["env", "-i", "HOME=/root", "USER=root", "PATH=/usr/bin:/bin"]
# Which topic, what root does to the machine, and the state and a word of the answer. {uid} is the account's.
PIECES = [
    ("helper", f"chmod 4755 {HELPER}", YES, "root's"),
    ("helper", f"chmod 755 {HELPER}", NO, "neither"),
    ("helper", f"chmod 755 {HELPER}; {{caps}} 2000c0", YES, "privileges"),
    ("helper", f"chmod 755 {HELPER}; {{caps}} 200080", NO, "neither"),
    ("helper", f"chmod 4775 {HELPER}", NO, f"others may write to {HELPER}"),
    ("helper", f"chown ada {HELPER}; chmod 4755 {HELPER}", NO, f"{HELPER} is of uid {{uid}}"),
    (
        "helper",
        f"chmod 4755 {HELPER}; chmod 777 /usr/local/libexec",
        NO,
        "others may write to /usr/local/libexec",
    ),
    (
        "helper",
        f"chmod 4755 {HELPER}; chown ada /usr/local/libexec/jai",
        NO,
        "/usr/local/libexec/jai is of uid {uid}",
    ),
    ("helper", f"rm {HELPER}; mkdir -m 4755 {HELPER}", NO, "is not a file"),
    ("helper", f"rm {HELPER}", OPTIONAL, "not there"),
    ("sub-uid", "echo '{uid}:100000:65536' >/etc/subuid", YES, "100000 in"),
    ("sub-gid", "echo '{uid}:100000:65536' >/etc/subgid", YES, "100000 in"),
    ("sub-uid", "echo 'ada:100000:65536' >/etc/subuid", OPTIONAL, "only ada:100000:65536 by name"),
    ("sub-uid", ": >/etc/subuid", OPTIONAL, "no line of {uid}"),
    ("sub-uid", "rm -f /etc/subuid", OPTIONAL, "no line of {uid}"),
    ("sub-uid", "printf 'ada:1:2\\n{uid}:7:0\\n{uid}:200000:1\\n' >/etc/subuid", YES, "200000 in"),
    ("sub-uid", "echo '{uid}:999:1' >/etc/subuid", NO, "{uid}:999:1"),
    ("sub-uid", "echo '{uid}:{uid}:1' >/etc/subuid", NO, "{uid}:{uid}:1"),
    ("sub-uid", "echo '{uid}:100000' >/etc/subuid", NO, "{uid}:100000 in"),
    ("sub-uid", "echo '{uid}:100000:4294867296' >/etc/subuid", NO, "UID:START:COUNT"),
    ("sub-uid", "echo '{uid}:100000:65536' >/etc/subuid; chmod 666 /etc/subuid", NO, "only root may write"),
    (
        "user jai",
        "sed -i /^jai:/d /etc/passwd; echo 'jai:x:987:987::/:/bin/false' >>/etc/passwd",
        YES,
        "uid 987",
    ),
    ("user jai", "sed -i /^jai:/d /etc/passwd", OPTIONAL, "no user jai"),
]
CAPS = (
    "/usr/bin/python3 -c 'import os,struct,sys; numbers = 0x2000001, int(sys.argv[1], 16), 0, 0, 0;"
    f' os.setxattr("{HELPER}", "security.capability", struct.pack("<5I", *numbers))\''
)


def changed_machine(script: str) -> list[str]:
    """The words, for root, that run what follows with an /etc, /run and /usr/local/libexec of its own."""
    made = [
        "for each in /mnt /run /usr/local/libexec; do mount -t tmpfs -o mode=755 none $each || exit; done",
        "mkdir -m 755 /mnt/upper /mnt/work",
        "mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work none /etc",
        f"umask 022 && {script}",
        'cd / && exec "$@"',
    ]
    return ["unshare", "--mount", "sh", "-c", " && ".join(made), "sh"]


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(("topic", "script", "state", "word"), PIECES)
def test_a_piece_of_strict_mode(user: User, topic: str, script: str, state: str, word: str) -> None:
    """The helper, the sub-ids and the user, in every condition that matters."""
    fill = functools.partial(str.format, uid=user.uid, caps=CAPS)

    with nothing_left(user):
        made = f"mkdir -p {os.path.dirname(HELPER)} && : >{HELPER}; {fill(script)}"
        done = start([*changed_machine(made), *user.line([user.jai, "--doctor"])])

    report = read(done)
    report.says(topic, state, fill(word))
    assert report.status == 0


@pytest.mark.usefixtures("as_root")
def test_a_helper_without_new_privileges(user: User) -> None:
    """In a process that can gain none it is of no use, however it is installed."""
    made = f"mkdir {os.path.dirname(HELPER)} && : >{HELPER} && chmod 4755 {HELPER}"
    words = [*changed_machine(made), "setpriv", "--no-new-privs"]

    done = start([*words, *user.line([user.jai, "--doctor"])])

    read(done).says("helper", NO, "no_new_privs")


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("as_user", [True, False])
def test_strict_mode_set_up(user: User, *, as_user: bool) -> None:
    """After `sudo jai --setup` every piece is there and a strict jail runs, for the user and for root."""
    disk = f"{user.home}/documents/disk"
    os.mkdir(disk)
    setup = f"SUDO_USER={user.name} {user.jai} --setup >/dev/null && mount -t tmpfs none {disk}"
    with nothing_left(user):
        done = start([*changed_machine(setup), *(user.line([]) if as_user else ROOT), user.jai, "--doctor"])

    report = read(done)
    for topic in ("helper", "user jai", "sub-uid", "sub-gid", "strict mode", "casual mode"):
        assert report[topic].state == YES, report.text
    if as_user:
        report.says("mounts in the home", OPTIONAL, disk, "helper", "is there")
    assert report.status == 0


NOT_SET_UP = "sed -i /^jai:/d /etc/passwd && : >/etc/subuid && : >/etc/subgid"


def examine_not_set_up(user: User, words: Sequence[str], before: Sequence[str] = ()) -> Report:
    """Run the doctor where nothing of strict mode is set up, after what must succeed there."""
    script = " && ".join([NOT_SET_UP, *(f"{each} >/dev/null 2>&1" for each in before)])
    return read(start([*changed_machine(script), *words, user.jai, "--doctor"]))


@pytest.mark.usefixtures("as_root")
def test_root_without_an_installed_helper(user: User) -> None:
    """Root uses the package's own; what its first strict jail makes is not made by asking."""
    strict = [user.jai, "-m", "strict", "-D", "true"]

    with nothing_left(user):
        report = examine_not_set_up(user, ROOT)
    after = examine_not_set_up(user, ROOT, [shlex.join([*ROOT, *strict]), "rm -r /root/.jai"])

    for each in (report, after):
        each.says("helper", YES, f"{HELPER} is not there", "root uses", "/jai/helper/jai-idmap")
    report.says("strict mode", OPTIONAL, "makes a sub-uid, a sub-gid, the user jai →", shlex.join(strict[:4]))
    for topic in ("sub-uid", "sub-gid", "user jai"):  # which are asked after strict mode
        assert (report[topic].state, after[topic].state) == (OPTIONAL, YES)
    after.says("strict mode", YES, "ran in a jail")
    assert report.status == after.status == 0


@pytest.mark.usefixtures("as_root")
def test_a_user_without_an_installed_helper(user: User) -> None:
    """A strict jail and a casual one over mounts start with sudo only, and that is what is said."""
    disk = f"{user.home}/documents/disk"
    os.mkdir(disk)
    alone = shlex.join(user.line([user.jai]))
    sudo = shlex.join([*ROOT, f"SUDO_USER={user.name}", user.jai])
    before = [f"mount -t tmpfs none {disk}", *(f"{sudo} -m {mode} -D true" for mode in ("casual", "strict"))]
    before += [f"! {alone} -m {mode} -D true" for mode in ("casual", "strict")]

    report = examine_not_set_up(user, user.line([]), before)

    report.says("helper", OPTIONAL, "strict mode, and casual mode over mounts, only with sudo")
    report.says("strict mode", OPTIONAL, "not set up: the helper →", "--setup")
    report.says("mounts in the home", NO, disk)


@pytest.mark.usefixtures("as_root")
def test_root_of_a_user_namespace_without_an_installed_helper(user: User) -> None:
    """It has nothing to lend the package's helper."""
    with nothing_left(user):
        words = user.line(["unshare", "--user", "--map-root-user", "env", "USER=root"])
        report = examine_not_set_up(user, words)

    report.says("helper", OPTIONAL, f"{HELPER} is not there", "only with sudo")
    report.says("strict mode", OPTIONAL, "not set up: the helper, a sub-uid")


# --- other signs --------------------------------------------------------------------------------------------


def test_signs_of_a_container(user: User) -> None:
    """What is there is named; what systemd sets for a container too; a jail of jai is recognised."""
    plain = examine(user)
    marked = examine(user, env={"container": "lxc"})
    shown = ["-r", str(Path(os.path.realpath(user.jai)).parents[1])]
    inside = user.run([user.jai, "-m", "bare", "-j", "around", *shown, user.jai, "--doctor"])

    for path in ("/.dockerenv", "/run/.containerenv"):
        assert (path in plain["container"].text) == os.path.exists(path)
    marked.says("container", OPTIONAL, "container=lxc")
    read(inside).says("container", OPTIONAL, "a jail of jai")


def test_apparmor_s_setting(user: User) -> None:
    """Where the kernel has the setting and it is on, the line says whether jai may make them all the same."""
    line = examine(user)["AppArmor"]

    if setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        assert "_userns=1" in line.text
    else:
        assert line.state == YES


# --- how it ends --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_doctor_that_is_interrupted(user: User, number: signal.Signals) -> None:
    """Whenever that happens, what it made is removed and nothing goes on running."""
    for wanted in ("storage", "casual mode", "bare mode", "kernel", "Python"):
        with nothing_left(user):
            child = user.start([user.jai, "--doctor"])
            assert child.stdout
            seen = []
            for line in child.stdout:
                seen.append(line)
                if wanted in line:
                    break
            child.send_signal(number)
            rest, err = child.communicate(timeout=30)
        assert "Traceback" not in err
        # 0 and 1 are verdicts: it had come to its end before the signal did.
        assert child.returncode in (128 + number, 0, 1, -number), "".join(seen) + rest + err


def test_a_reader_that_goes_away(user: User) -> None:
    """`jai --doctor | head -1` leaves nothing behind either."""
    with nothing_left(user):
        done = user.sh(f"{user.jai} --doctor | head -1")

    assert (done.stderr, done.stdout[:1]) == ("", YES)


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8"])
def test_any_locale(user: User, locale: str) -> None:
    """The marks are the same in all."""
    assert examine(user, env={"LC_ALL": locale}).status == 0


def test_odd_names(user: User) -> None:
    """Control characters and bytes that are no UTF-8 are escaped, each line stays one line."""
    odd = os.fsdecode(b"a\nb\x1b[1m\xff")
    place = f"{user.home}/{odd}"
    os.mkdir(place, 0o700)
    os.chown(place, user.uid, os.stat(user.home).st_gid)

    report = examine(user, options=["--storage", place], cwd=place)

    report.says("current directory", YES, r"a\nb\x1b[1m\udcff")
    report.says("storage", YES, r"a\nb\x1b[1m\udcff")
    assert report.status == 0, report.text


def test_descriptors_that_are_closed(user: User) -> None:
    """Without any standard descriptor it ends, and leaves nothing."""
    with nothing_left(user):
        done = user.sh(f"{user.jai} --doctor <&- >&- 2>&-; echo $?")

    assert done.stdout in ("0\n", "125\n")


# --- the time limit -----------------------------------------------------------------------------------------


def children() -> set[str]:
    """The processes that we are the parent of."""
    return set(out(["ps", "--no-headers", "-o", "pid", "--ppid", str(os.getpid())]).split())


def test_a_probe_that_does_not_end_is_killed() -> None:
    """With all that it started; the time limit holds."""
    marker = f"sleep {os.getpid()}.5"
    start = time.monotonic()

    with pytest.raises(TimeoutError):
        isolate.within(0.3, lambda: subprocess.run(marker.split(), check=False).returncode)

    assert 0.25 < time.monotonic() - start < 5
    wait_until(lambda: marker not in out(["ps", "-ef"]), f"{marker} has been killed")


@pytest.mark.parametrize(
    ("work", "says"),
    [
        (lambda: os.open("/nowhere", os.O_RDONLY), r"/nowhere: No such file or directory \(ENOENT\)"),
        (lambda: dict[str, str]()["x"], "KeyError"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed"),
        (lambda: sys.exit(3), "SystemExit"),
        (lambda: b"not JSON", "."),
    ],
)
def test_a_probe_that_fails(work: object, says: str) -> None:
    """Its own words come back; the process that asked is not hurt."""
    with pytest.raises(isolate.NoAnswerError, match=says):
        isolate.within(5, work)  # type: ignore[arg-type]

    assert isolate.within(5, lambda: ["a\udcff", 1, None]) == ["a\udcff", 1, None]
    assert len(isolate.within(5, lambda: "x" * 1_000_000)) == 1_000_000


def test_what_hangs_is_a_line(user: User) -> None:
    """A jail that does not come up in time is a fault that is reported, and is not waited for."""
    probe = doctor.Probe("casual mode", lambda _patient: iter(lambda: time.sleep(100), 0), 0.2)  # type: ignore[return-value,arg-type]
    patient = records.Patient(*[None] * len(records.Patient._fields))  # type: ignore[arg-type]

    (found,) = doctor._ask(probe, patient)

    assert (found.state, found.text) == (NO, "no answer within 0.2 s")
    assert processes(user) == {}


def test_without_processes(user: User) -> None:
    """Where no process can be made any more the doctor says so of each probe, and ends."""
    script = 'ulimit -u 1 2>/dev/null || ulimit -p 1; exec "$0" --doctor'
    done = user.run(["bash", "-c", script, user.jai])

    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1, 125)


def test_the_tables() -> None:
    """Topics fit their column, are different, and each limit is one that people wait for."""
    assert len(set(TOPICS)) == len(TOPICS)
    assert max(map(len, TOPICS)) <= doctor.COLUMN
    assert all(0 < probe.limit <= 60 for probe in doctor.PROBES)


# Where the numbers of <linux/*.h> are installed, they are the ones that the doctor uses.
NAMES = {
    **{
        f"__NR_{name}": number
        for name, number in {**system_calls.CALLS, **system_calls.PRIVILEGED_CALLS}.items()
    },
    "__NR_landlock_create_ruleset": system_calls.LANDLOCK_CREATE_RULESET,
    "TIOCSTI": system_calls.TIOCSTI,
    "MOUNT_ATTR_IDMAP": system_calls.MOUNT_ATTR_IDMAP,
    "PR_SET_NO_NEW_PRIVS": system_calls.PR_SET_NO_NEW_PRIVS,
    "PR_SET_DUMPABLE": system_calls.PR_SET_DUMPABLE,
    "STATX_ATTR_MOUNT_ROOT": system_calls.STATX_ATTR_MOUNT_ROOT,
    "FSCONFIG_CMD_CREATE": system_calls.FSCONFIG_CMD_CREATE,
}


def test_the_numbers_are_the_kernel_s(host: Host, tmp_path: Path) -> None:
    """The compiler says what each name means here."""
    abilities.check(host, "gcc")
    headers = ("asm/unistd.h", "linux/mount.h", "linux/prctl.h", "linux/stat.h", "asm/ioctls.h", "stdio.h")
    lines = [f"#include <{header}>" for header in headers]
    lines += ['int main(void) { printf("{");']
    lines += [f'printf("\\"{name}\\": %ld, ", (long){name});' for name in NAMES]
    source, program = tmp_path / "numbers.c", tmp_path / "numbers"
    source.write_text("\n".join([*lines, 'printf("\\"end\\": 0}"); }\n']))
    subprocess.run(["gcc", "-o", program, source], check=True)

    assert json.loads(out([str(program)])) == {**NAMES, "end": 0}
