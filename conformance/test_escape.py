"""Ways out of a jail that must be closed, each beside the same act where it is allowed."""

from __future__ import annotations

import ast
import contextlib
import os
import secrets
import shlex
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from conformance.abilities import needs
from conformance.accounts import must, run
from conformance.clauses import clause, guards
from conformance.conftest import make_home
from conformance.jails import (
    CALL,
    FAILED,
    also_as_root,
    for_everybody,
    for_everybody_s_own,
    in_the_user_s_own_modes,
    left_out,
    outside_of_a_jail,
)
from conformance.terminals import ON_A_TERMINAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from testinfra.host import Host

    from conformance.accounts import Account
    from conformance.conftest import MakeJail, Outside
    from conformance.homes import Home

# A place that only root can furnish, in a mount namespace that is not the machine's, or a control of root's.
with_root = needs("root")

# Arguments: where it says that it is ready, then the sockets to listen on; @ is an abstract one.
LISTENER = """
import os, socket, sys
kept = []
for name in sys.argv[2:]:
    kept.append(socket.socket(socket.AF_UNIX))
    if os.path.exists(name):  # a tmux of an earlier test
        os.unlink(name)
    kept[-1].bind(chr(0) + name[1:] if name[0] == "@" else name)
    kept[-1].listen()
    if name[0] != "@":
        os.chmod(name, 0o777)
with open(sys.argv[1], "w") as file:
    file.write(str(os.getpid()))
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def homes() -> dict[str, Home]:
    """The homes of this file: its acts wreck nothing in them, so one for each account will do."""
    return {}


@pytest.fixture
def home(account: Account, jai: str, homes: dict[str, Home]) -> Home:
    """The account's home, in which jai has been initialised."""
    if account.name not in homes:
        homes[account.name] = make_home(account, jai)
    return homes[account.name]


def wait_for(host: Host, path: str) -> str:
    """The content of a file, once it has any."""
    deadline = time.monotonic() + 20
    while not (told := run(host, f"cat {path} 2>/dev/null").stdout):
        if time.monotonic() > deadline:
            message = f"{path} does not come"
            raise RuntimeError(message)
        time.sleep(0.02)
    return told


@contextlib.contextmanager
def listening(account: Account, places: list[str]) -> Iterator[None]:
    """Let a process of the account listen on sockets outside of every jail."""
    ready = f"/tmp/ready-{secrets.token_hex(4)}"
    words = shlex.join(["/usr/bin/python3", "-I", "-c", LISTENER, ready, *places])
    must(account.sh(f"setsid sh -c {shlex.quote(f'sleep 1000 | {words}')} </dev/null >/dev/null 2>&1 &"))
    pid = wait_for(account.host, ready)
    run(account.host, f"rm {ready}")
    try:
        yield
    finally:
        run(account.host, f"kill -9 -- -$(ps -o pgid= -p {pid} | tr -d ' '); rm -f {shlex.join(places)}")


@contextlib.contextmanager
def furnished(host: Host, place: str, prepare: str) -> Iterator[None]:
    """Mount an empty file system over a folder of the machine, and put something there."""
    must(run(host, f"mount -n -t tmpfs -o mode=755 none {place} && cd {place} && {{ {prepare}; }}"))
    try:
        yield
    finally:
        run(host, f"umount -n -l {place}")


# --- terminals, sockets, devices ---------------------------------------------------------------------------


@pytest.fixture
def terminal(account: Account) -> Iterator[str]:
    """A terminal of the account's, outside of every jail, that has a number no new one gets."""
    code = (
        "import os, sys\n"
        "names = [os.ttyname(os.openpty()[1]) for _ in range(9)]\n"
        "print(names[-1], flush=True); sys.stdin.read()"
    )
    ready = f"/tmp/terminal-{secrets.token_hex(4)}"
    words = f"setsid sh -c {shlex.quote(f'sleep 1000 | /usr/bin/python3 -I -c {shlex.quote(code)} >{ready}')}"
    must(account.sh(f"{words} </dev/null >/dev/null 2>&1 & echo $! > {ready}.pid"))
    yield wait_for(account.host, ready).strip()
    run(account.host, f"kill -9 -- -$(cat {ready}.pid); rm -f {ready} {ready}.pid")


@clause("E02")
@guards("terminals")
@for_everybody
def test_other_terminals_are_not_there(jail: MakeJail, account: Account, terminal: str, mode: str) -> None:
    """A terminal that the user has open elsewhere can not be opened; the jail makes its own ones."""
    number = terminal.rpartition("/")[2]
    acts = {
        "the other": f"os.open({terminal!r}, os.O_RDWR | os.O_NOCTTY)",
        "by its number": f"os.open('/dev/pts/{number}', os.O_WRONLY | os.O_NOCTTY)",
        "by /proc/1": f"os.open('/proc/1/root{terminal}', os.O_WRONLY | os.O_NOCTTY)",
        "its own": "os.ttyname(os.openpty()[1])",
    }

    answers = jail(mode).tries(acts)
    control = outside_of_a_jail(account, {"the other": acts["the other"]})

    assert control == {"the other": "ok"}
    assert answers == {
        "the other": "ENOENT",
        "by its number": "ENOENT",
        "by /proc/1": "EACCES",
        "its own": "ok",
    }


def sockets(home: Home, uid: str) -> dict[str, str]:
    """A socket at each kind of place, and what connecting to it gives in casual mode."""
    return {
        "/run/docker.sock": "ENOENT",
        "/run/podman/podman.sock": "ENOENT",
        "/run/libvirt/libvirt-sock": "ENOENT",
        "/run/dbus/system_bus_socket": "ENOENT",
        "/run/systemd/private": "ENOENT",
        "/run/systemd/journal/stdout": "ENOENT",
        f"/run/user/{uid}/bus": "ENOENT",
        f"/run/user/{uid}/systemd/private": "ENOENT",
        f"/run/user/{uid}/gnupg/S.gpg-agent": "ENOENT",
        f"/run/user/{uid}/wayland-0": "ENOENT",
        f"/run/screens/S-{home.account.name}/1.pts": "ENOENT",
        "/tmp/.X11-unix/X77": "ENOENT",
        f"/tmp/tmux-{uid}/default": "ENOENT",
        "/tmp/ssh-agent/agent.1": "ENOENT",
        "/var/tmp/editor.sock": "ENOENT",
        f"{home.path}/.gnupg/S.agent": "ENOENT",
        f"{home.path}/Documents/editor.sock": "ECONNREFUSED",
    }


def connecting(places: list[str]) -> dict[str, str]:
    """Acts that connect to each of the sockets."""
    return {
        place: f"socket.socket(socket.AF_UNIX).connect({place.replace('@', chr(0), 1)!r})" for place in places
    }


@clause("E03")
@guards("run", "private-tmp")
@with_root
@for_everybody
def test_sockets_of_the_host_are_closed(jail: MakeJail, home: Home, mode: str) -> None:
    """Daemons, agents and sessions that listen in /run, /tmp or the home; one is opened on purpose."""
    account, host = home.account, home.account.host
    uid = must(account.sh("id -u")).stdout.strip()
    wanted = sockets(home, uid)
    folders = " ".join(shlex.quote(place.rpartition("/")[0]) for place in wanted)
    own = f"chown -R {account.name}: /run /tmp/.X11-unix /tmp/*"
    with furnished(host, "/run", f"mkdir -p {folders}; {own}"), listening(account, list(wanted)):
        control = outside_of_a_jail(account, connecting(list(wanted)))
        probed = jail(mode)
        answers = probed.tries(connecting(list(wanted)), env={"XDG_RUNTIME_DIR": f"/run/user/{uid}"})
        docker = {"/run/docker.sock": "ENOENT"}
        granted = jail("casual").tries(connecting(list(docker)), "-d", "/run/docker.sock")
    run(host, "rm -rf /tmp/.X11-unix /tmp/tmux-* /tmp/ssh-agent")

    assert control == dict.fromkeys(wanted, "ok")
    expected = wanted if mode == "casual" else dict.fromkeys(wanted, "ENOENT")
    assert answers == expected
    assert granted == dict.fromkeys(docker, "ok")


@clause("E03")
@guards("private-runtime-directory")
@with_root
@for_everybody
def test_the_runtime_directory_is_private_wherever_it_is(jail: MakeJail, home: Home, mode: str) -> None:
    """$XDG_RUNTIME_DIR that is not in /run is empty inside, and can be used."""
    account, place = home.account, "/srv/runtime"
    must(run(account.host, f"install -d -m 700 -o {account.name} {place}"))
    acts = connecting([f"{place}/bus"])
    with listening(account, [f"{place}/bus"]):
        control = outside_of_a_jail(account, acts)
        answers = jail(mode).tries(
            {**acts, "use": f"open('{place}/own', 'x')"}, env={"XDG_RUNTIME_DIR": place}
        )
        left = run(account.host, f"ls {place}").words
    run(account.host, f"rm -rf {place}")

    assert control == {f"{place}/bus": "ok"}
    assert answers == {f"{place}/bus": "ENOENT", "use": "ok"}
    assert left == ["bus"]


@clause("E04")
@guards("abstract-sockets")
@needs("Landlock scopes")
@for_everybody
def test_abstract_sockets_of_the_host_are_closed(jail: MakeJail, home: Home, mode: str) -> None:
    """X11's, D-Bus's and any other without a file; the jail's own ones work."""
    names = [f"@/tmp/.X11-unix/X{secrets.randbelow(10**6)}", f"@dbus-{secrets.token_hex(4)}"]
    own = "a = socket.socket(socket.AF_UNIX); a.bind(chr(0) + 'own'); a.listen()"
    acts = {**connecting(names), "own": f"{own}; socket.socket(socket.AF_UNIX).connect(chr(0) + 'own')"}
    with listening(home.account, names):
        control = outside_of_a_jail(home.account, acts)
        answers = jail(mode).tries(acts)

    assert control == dict.fromkeys(acts, "ok")
    assert answers == {**dict.fromkeys(names, "EPERM"), "own": "ok"}


@clause("E10")
@guards("dev", "nodev", "sealed")
@with_root
@for_everybody
def test_devices(jail: MakeJail, account: Account, home: Home, mode: str) -> None:
    """No disk, no special device, none can be made, and one that lies in the tree does not open."""
    there = [
        name for name in ("fuse", "loop-control", "loop0") if run(account.host, f"ls /dev/{name}").rc == 0
    ]
    must(run(account.host, f"mknod -m 666 {home.watched_path}/null c 1 3"))
    acts = {f"/dev/{name}": f"os.lstat('/dev/{name}')" for name in there}
    acts |= {
        f"/dev/{name}": f"os.lstat('/dev/{name}')" for name in ("sda", "vda", "mem", "kmsg", "input", "kvm")
    }
    made = {
        "a disk": "os.mknod('disk', 0o60666, os.makedev(7, 0))",
        "in /tmp": "os.mknod('/tmp/memory', 0o20666, os.makedev(1, 1))",
        "in /dev": "open('/dev/new', 'x')",
        "replaced": "os.unlink('/dev/null')",
    }
    lying = {"lying there": f"open('{home.watched_path}/null')"}
    probed = jail(mode)

    answers = probed.tries({**acts, **made, **lying, "/dev/null": "open('/dev/null', 'w').write('x')"})
    granted = probed.tries({name: acts[name] for name in ["/dev/fuse"]}, "--dev", "/dev/fuse")
    control = outside_of_a_jail(account, lying)
    run(account.host, f"rm {home.watched_path}/null")

    assert control == {"lying there": "ok"}
    assert granted == {"/dev/fuse": "ok"}
    assert answers == {
        **dict.fromkeys(acts, "ENOENT"),
        "a disk": "EPERM",
        "in /tmp": "EPERM",
        "in /dev": "EROFS",
        "replaced": "EROFS",
        "lying there": "EACCES",
        "/dev/null": "ok",
    }


# --- mounts and namespaces ---------------------------------------------------------------------------------

# From linux/mount.h.
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MNT_DETACH = 1, 32, 4096, 8192, 16384, 2
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_FSOPEN, SYS_MOUNT_SETATTR = 428, 429, 430, 442
MOUNTING = f"""{CALL}
import ctypes
def mount(source, target, kind=None, flags=0, data=None):
    words = [word.encode() if word else None for word in (source, target, kind, data)]
    return call(libc.mount, words[0], words[1], words[2], ctypes.c_ulong(flags), words[3])
def unmount(target, flags=0):
    return call(libc.umount2, target.encode(), flags)
def open_tree(path, flags):
    return call(libc.syscall, {SYS_OPEN_TREE}, -100, path.encode(), flags)
def move_mount(fd, path, target):
    return call(libc.syscall, {SYS_MOVE_MOUNT}, fd, path.encode(), -100, target.encode(), 0)
def set_attributes(path, clear):
    words = (ctypes.c_uint64 * 4)(0, clear, 0, 0)
    return call(libc.syscall, {SYS_MOUNT_SETATTR}, -100, path.encode(), 0, words, 32)
os.makedirs('/tmp/at', exist_ok=True)
"""
# Every capability, in namespaces of its own.  Without one outside, root can not be mapped (Linux 5.12).
NESTING = f"""
maps = [('setgroups', 'deny'), ('uid_map', f'0 {{os.getuid()}} 1'), ('gid_map', f'0 {{os.getgid()}} 1')]
call(libc.unshare, {CLONE_NEWUSER | CLONE_NEWNS})
for name, line in maps if maps[1][1] != '0 0 1' else []:
    with open('/proc/self/' + name, 'w') as file:
        file.write(line)
"""
# Each would uncover what the jail hides, or open what it closes.
UNCOVERING = {
    "umount the home": "unmount(HOME)",
    "umount -l the home": f"unmount(HOME, {MNT_DETACH})",
    "umount -l /run": f"unmount('/run', {MNT_DETACH})",
    "umount -l /dev": f"unmount('/dev', {MNT_DETACH})",
    "umount -l /tmp": f"unmount('/tmp', {MNT_DETACH})",
    "umount -l /proc": f"unmount('/proc', {MNT_DETACH})",
    "move the home away": f"mount(HOME, '/tmp/at', None, {MS_MOVE})",
    "move_mount the home away": "move_mount(-100, HOME, '/tmp/at')",
    "remount / writable": f"mount(None, '/', None, {MS_REMOUNT | MS_BIND})",
    "mount_setattr / writable": "set_attributes('/', 1)",
    "mount_setattr the home set-uid": "set_attributes(HOME, 2)",
    "bind / alone": f"mount('/', '/tmp/at', None, {MS_BIND})",
    "open_tree / alone": "open_tree('/', 1)",
    "an overlay over /": "mount('none', '/tmp/at', 'overlay', 0, 'lowerdir=/')",
}
LOCKED = dict.fromkeys(UNCOVERING, "EINVAL") | dict.fromkeys(
    ["remount / writable", "mount_setattr / writable", "mount_setattr the home set-uid"], "EPERM"
)
# What a program with a sandbox of its own does; it gains nothing by it.
HARMLESS = {
    "a tmpfs": "mount('none', '/tmp/at', 'tmpfs')",
    "an overlay": "mount('none', '/tmp/at', 'overlay', 0, 'lowerdir=/usr/bin:/usr/share')",
    "a bind over": f"mount('/usr', '/tmp/at', None, {MS_BIND | MS_REC})",
    "fsopen": f"call(libc.syscall, {SYS_FSOPEN}, b'tmpfs', 0)",
    "chroot twice": "out = os.open('/', 0); os.chroot('/tmp/at'); os.fchdir(out);"
    "[os.chdir('..') for _ in range(9)]; os.chroot('.'); assert not os.path.lexists(HOME + '/.netrc')",
}
# The root directory is another, and the old one lies in it.
PIVOTED = {
    "pivot_root": f"os.makedirs('/tmp/new/old'); mount('/tmp/new', '/tmp/new', None, {MS_BIND});"
    "call(libc.pivot_root, b'/tmp/new', b'/tmp/new/old'); os.chdir('/')",
    "umount the home": f"unmount('/old' + HOME, {MNT_DETACH})",
    "umount /run": f"unmount('/old/run', {MNT_DETACH})",
    "a masked file": "os.lstat('/old' + HOME + '/.netrc')",
    "a foreign tree": "open('/old/srv/watched/open to all', 'a')",
}
# What must hold after all of that.
HOLDS = {
    "a masked file": ("os.lstat(HOME + '/.netrc')", "ENOENT"),
    "jai's directory": ("os.lstat(HOME + '/.jai')", "ENOENT"),
    "above /": ("os.lstat('/..' + HOME + '/.netrc')", "ENOENT"),
    "a foreign tree": ("open('/srv/watched/open to all', 'a')", "EROFS"),
    "the host's /tmp": ("os.lstat('/tmp/canary')", "ENOENT"),
    "the grant": ("open('grant', 'w')", "ok"),
}


@clause("E05")
@guards("capabilities", "old-tree-gone")
@for_everybody
def test_nothing_can_be_mounted_or_unmounted(jail: MakeJail, outside: Outside, mode: str) -> None:
    """In the jail itself no call that changes the tree is allowed."""
    before = outside.state()
    acts = {**UNCOVERING, **HARMLESS}
    holds = {name: act for name, (act, _) in HOLDS.items()}

    answers = jail(mode).tries(acts | holds, prelude=MOUNTING)

    assert outside.state() == before
    assert {name: answers[name] for name in acts} == dict.fromkeys(acts, "EPERM")
    assert {name: answers[name] for name in HOLDS} == {name: answer for name, (_, answer) in HOLDS.items()}


@clause("E05")
@clause("E06")
@for_everybody_s_own
def test_nothing_is_uncovered_in_a_nested_namespace(jail: MakeJail, outside: Outside, mode: str) -> None:
    """With every capability in a user namespace of its own: what is there stays, what is new harms nobody."""
    before = outside.state()
    inside = jail(mode)

    answers = inside.tries(UNCOVERING, prelude=MOUNTING + NESTING)
    alone = [inside.tries({name: HARMLESS[name]}, prelude=MOUNTING + NESTING) for name in HARMLESS]
    pivoted = inside.tries(PIVOTED, prelude=MOUNTING + NESTING)

    assert outside.state() == before
    assert answers == LOCKED
    assert alone == [{name: "ok"} for name in HARMLESS]
    assert pivoted == dict.fromkeys(PIVOTED, "EINVAL") | {
        "pivot_root": "ok",
        "a masked file": "ENOENT",
        "a foreign tree": "EROFS",
    }


# --- processes ---------------------------------------------------------------------------------------------

PTRACE_SEIZE, SYS_PIDFD_GETFD = 0x4206, 438
REACHING = f"""{CALL}
def memory(pid):
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(ctypes.create_string_buffer(8)), 8)
    return call(libc.process_vm_readv, pid, vector, 1, vector, 1, 0)
def descriptor(pid):
    return call(libc.syscall, {SYS_PIDFD_GETFD}, os.pidfd_open(pid), 0, 0)
def enter(pid, kind):
    return call(libc.setns, os.open(f'/proc/{{pid}}/ns/{{kind}}', os.O_RDONLY), 0)
"""
# Every way of reaching a process, and what it gives inside: for one of outside, and for PID 1.
WAYS = {
    "see": ("os.lstat('/proc/{pid}')", "ENOENT", "ok"),
    "signal": ("os.kill({pid}, 0)", "ESRCH", ""),
    "trace": (f"call(libc.ptrace, {PTRACE_SEIZE}, {{pid}}, 0, 0)", "ESRCH", "EPERM"),
    "read its memory": ("memory({pid})", "ESRCH", "EPERM"),
    "take a descriptor": ("descriptor({pid})", "ESRCH", "EPERM"),
    "/proc/PID/mem": ("open('/proc/{pid}/mem', 'r+b')", "ENOENT", "EACCES"),
    "/proc/PID/root": ("os.listdir('/proc/{pid}/root/')", "ENOENT", "EACCES"),
    "/proc/PID/cwd": ("os.listdir('/proc/{pid}/cwd/')", "ENOENT", "EACCES"),
    "/proc/PID/fd": (
        "[os.open(f'/proc/{pid}/fd/{{name}}', 0) for name in os.listdir('/proc/{pid}/fd')]",
        "ENOENT",
        "EACCES",
    ),
    "/proc/PID/environ": ("open('/proc/{pid}/environ').read()", "ENOENT", "EACCES"),
    **{
        f"enter its {kind}": (f"enter({{pid}}, '{kind}')", "ENOENT", "EACCES")
        for kind in ("user", "mnt", "pid")
    },
}


def reaching(pid: int) -> dict[str, str]:
    """The acts on one process; what PID 1 makes of a signal is its own affair."""
    ways = {name: act for name, (act, _, first) in WAYS.items() if pid != 1 or first}
    return {f"{name}, {pid}": act.format(pid=pid) for name, act in ways.items()}


@clause("E07")
@guards("proc", "undumpable-init")
@for_everybody
def test_processes_outside_and_pid_1_can_not_be_reached(jail: MakeJail, outside: Outside, mode: str) -> None:
    """The user's own process outside does not exist; the jail's first one is closed; namespaces too."""
    before = outside.state()
    pid = outside.canary.pid
    own = {kind: f"enter('self', '{kind}')" for kind in ("user", "mnt", "net", "pid", "ipc", "cgroup")}
    child = "import time; pid = os.fork()\nif pid == 0: time.sleep(60)\n"
    control = (
        child + f"call(libc.ptrace, {PTRACE_SEIZE}, pid, 0, 0); memory(pid); descriptor(pid); os.kill(pid, 9)"
    )

    inside = jail(mode)

    answers = inside.tries(
        {**reaching(pid), **reaching(1), **own, "its own child": control}, prelude=REACHING
    )
    seen = outside_of_a_jail(
        outside.home.account, {"see": f"os.lstat('/proc/{pid}')", "signal": f"os.kill({pid}, 0)"}
    )

    assert outside.state() == before
    assert seen == {"see": "ok", "signal": "ok"}
    expected = {f"{name}, {pid}": answer for name, (_, answer, _) in WAYS.items()}
    expected |= {f"{name}, 1": answer for name, (_, _, answer) in WAYS.items() if answer}
    expected |= dict.fromkeys(own, "EPERM") | {"its own child": "ok"}
    expected["user"] = "EPERM" if mode == "strict" else "EINVAL"
    assert answers == expected
    # With every capability in a namespace of its own, which PID 1 is not in; strict mode allows none.
    prelude = REACHING + (NESTING if mode != "strict" else "")
    nested = inside.tries({**reaching(pid), **reaching(1)}, prelude=prelude)
    assert nested == {name: expected[name] for name in nested}


# Arguments: a shell line, which gets a terminal of its own, and how often to look afterwards.  The shell
# lives through the signal, its neighbour does not.
WITH_TERMINAL = (
    ON_A_TERMINAL
    + '''
import sys
line = f"""trap '' USR1; (trap - USR1; exec sleep 1000) &
until [ "$(cat /proc/$!/comm)" = sleep ]; do :; done
{sys.argv[1]}
looks={sys.argv[2]}; while [ $looks -gt 0 ] && kill -0 $! 2>/dev/null; do sleep 0.05; looks=$((looks-1)); done
kill -9 $! 2>/dev/null && echo alive"""
on_a_terminal(lambda: os.execv("/bin/bash", ["bash", "-c", line]))
'''
)


@clause("E07")
@guards("signals")
@needs("Landlock scopes")
@for_everybody_s_own
def test_signals_to_the_process_group_stay_inside(jail: MakeJail, home: Home, mode: str) -> None:
    """With a terminal the process group is shared with the caller; a signal to it reaches the jail only."""
    inside = jail(mode)
    send = "import os, signal; signal.signal(10, 1); os.killpg(0, 10); print('sent', flush=True)"
    words = ("/usr/bin/python3", "-I", "-c", send)

    seen = home.account.python(WITH_TERMINAL, inside.entry(*words), "4", cwd=inside.project)
    control = home.account.python(WITH_TERMINAL, shlex.join(words), "200", cwd=inside.project)

    assert seen.words == ["sent", "alive"]
    assert control.words[:1] == ["sent"]
    assert "alive" not in control.words


@clause("E07")
@guards("capabilities", "no-new-privileges", "filter", "nosuid", "core-limit")
@for_everybody
def test_nothing_inside_has_a_privilege(jail: MakeJail, account: Account, mode: str) -> None:
    """No process has a capability or can gain one, no file system honours set-id bits, nothing dumps core."""
    script = (
        "grep -hE '^(Cap|NoNewPrivs)' /proc/self/status /proc/1/status | sort -u;"
        "grep Seccomp: /proc/self/status; awk '$6 !~ /nosuid/' /proc/self/mountinfo; ulimit -Hc"
    )

    seen = jail(mode).sh(script)
    control = account.sh(script)

    caps = [f"{name}:\t{0:016x}" for name in ("CapAmb", "CapBnd", "CapEff", "CapInh", "CapPrm")]
    assert seen.stdout.splitlines() == [*caps, "NoNewPrivs:\t1", "Seccomp:\t2", "0"]
    assert {"NoNewPrivs:\t0", "Seccomp:\t0"} < set(control.stdout.splitlines())
    assert f"CapBnd:\t{0:016x}" not in control.stdout


# --- the kernel --------------------------------------------------------------------------------------------

# Only ever opened: nothing is written, since a jail that fails would let it come true on this machine.
SETTINGS = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hostname",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/sys/kernel/uevent_helper",
    "/sys/power/state",
    "/proc/sys/fs/binfmt_misc/register",
)


@clause("E08")
@guards("root-proc")
@with_root
@for_everybody
def test_the_kernel_s_settings_can_not_be_opened_for_writing(
    jail: MakeJail, account: Account, mode: str
) -> None:
    """Neither by a user nor by root as the jailed user, who needs no capability for most of them."""
    there = [path for path in SETTINGS if run(account.host, f"test -e {path}").rc == 0]
    assert "/proc/sys/kernel/core_pattern" in there
    acts = {path: f"os.open({path!r}, os.O_WRONLY)" for path in there}
    cgroups = "[os.path.join(at, name) for at, _, names in os.walk('/sys/fs/cgroup') for name in names"
    cgroups += " if name in ('release_agent', 'cgroup.procs', 'notify_on_release', 'cgroup.kill')][:99]"
    walk = f"[open(path) for path in {cgroups} if os.access(path, os.W_OK)] and os.listdir('/a writable one')"

    answers = jail(mode).tries({**acts, "cgroups": walk})
    control = outside_of_a_jail(account, acts, uid="0")

    assert {answers[path] for path in there} <= {"EROFS", "EACCES"}
    assert answers["cgroups"] == "ok"
    assert control["/proc/sys/kernel/core_pattern"] == "ok"


@clause("E08")
@guards("cgroup-namespaces")
@needs("root")
@pytest.mark.parametrize("account", ["root"], indirect=True)
@in_the_user_s_own_modes
def test_root_gains_no_control_group_by_nesting(jail: MakeJail, home: Home, mode: str) -> None:
    """A nested user namespace of root's can not mount what would let it write the kernel's files."""
    new_proc = "pid = os.fork()\nif pid == 0:\n"
    new_proc += (
        "    try: mount('proc', '/tmp/at', 'proc')\n    except OSError as error: os._exit(error.errno)\n"
    )
    new_proc += (
        "    os._exit(0)\nstatus = os.waitpid(pid, 0)[1]\nif status: raise OSError(status >> 8, 'child')"
    )
    acts = {
        "cgroup namespace": f"call(libc.unshare, {0x02000000})",
        "cgroups": "mount('none', '/tmp/at', 'cgroup2')",
        "sysfs": f"call(libc.unshare, {0x40000000}); mount('none', '/tmp/at', 'sysfs')",
        "/proc": f"call(libc.unshare, {0x20000000})\n{new_proc}",
        "a tmpfs": "mount('none', '/tmp/at', 'tmpfs')",
    }
    answers: dict[str, str] = {}
    for name, act in acts.items():
        answers |= jail(mode).tries({name: act}, prelude=MOUNTING + NESTING)
    limit = "call(libc.unshare, 0x02000000)"
    control = outside_of_a_jail(home.account, {"cgroup namespace": CALL + limit})

    assert control == {"cgroup namespace": "ok"}
    assert answers == dict.fromkeys(acts, "EPERM") | {"cgroup namespace": "ENOSPC", "a tmpfs": "ok"}


@clause("E13")
@guards("ipc-namespace", "shm")
@for_everybody
@pytest.mark.usefixtures("home")
def test_shared_memory_of_others_is_not_there(jail: MakeJail, account: Account, mode: str) -> None:
    """System V memory, semaphores and queues, POSIX queues, and /dev/shm; all work inside."""
    key, host = 0x6A616900 + secrets.randbelow(99), account.host
    name = f"/q{secrets.token_hex(4)}"
    queue = f"{CALL}queue = lambda flags: call(libc.mq_open, {name.encode()!r}, flags, 0o600, None)\n"
    acts = {
        "memory": f"call(libc.shmget, {key}, 0, 0)",
        "semaphores": f"call(libc.semget, {key}, 0, 0)",
        "a queue": f"call(libc.msgget, {key}, 0)",
        "a POSIX queue": "queue(0)",
        "/dev/shm": "open('/dev/shm/canary/file')",
    }
    make = f"call(libc.shmget, {key}, 8, 0o1600); call(libc.semget, {key}, 1, 0o1600);"
    make += f"call(libc.msgget, {key}, 0o1600)"
    own = {"own": f"{make}; queue(0o102); open('/dev/shm/own', 'x')"}
    made = outside_of_a_jail(account, {"make": f"{queue}{make}; queue(0o102)"})
    control = outside_of_a_jail(account, {"prepare": queue, **acts})

    answers = jail(mode).tries({**acts, **own}, prelude=queue)

    left = outside_of_a_jail(account, {"own": "os.lstat('/dev/shm/own')"})
    run(host, f"ipcrm -M {key}; ipcrm -S {key}; ipcrm -Q {key}")
    outside_of_a_jail(account, {"end": f"{CALL}call(libc.mq_unlink, {name.encode()!r})"})
    assert made == {"make": "ok"}
    assert control == dict.fromkeys([*acts, "prepare"], "ok")
    assert answers == dict.fromkeys(acts, "ENOENT") | {"own": "ok"}
    assert left == {"own": "ENOENT"}


@clause("E18")
@guards("network-namespace")
@for_everybody
def test_no_network(jail: MakeJail, outside: Outside, mode: str) -> None:
    """--net none: no service on localhost, no metadata address, no name server; the own loopback works."""
    name = f"@{secrets.token_hex(6)}"
    acts = {
        "a service on localhost": f"socket.create_connection(('127.0.0.1', {outside.canary.port}), 5)",
        "metadata": "socket.create_connection(('169.254.169.254', 80), 5)",
        "DNS": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
        "IPv6": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'x', ('2001:db8::1', 53))",
        "own": "a = socket.create_server(('127.0.0.1', 0)); socket.create_connection(a.getsockname(), 5)",
        "own IPv6": "a = socket.create_server(('::1', 0), family=socket.AF_INET6);"
        "socket.create_connection(a.getsockname()[:2], 5)",
    }
    shared = jail(mode)
    with listening(outside.home.account, [name]):
        answers = shared.tries({**acts, **connecting([name])}, "--net", "none")
    control = jail(mode).tries({"a service on localhost": acts["a service on localhost"]})

    assert control == {"a service on localhost": "ok"}
    assert answers == dict.fromkeys(acts, "ENETUNREACH") | {
        "a service on localhost": "ECONNREFUSED",
        "own": "ok",
        "own IPv6": "ok",
        name: "ECONNREFUSED",
    }


# --- later ------------------------------------------------------------------------------------------------

# What runs something later: the places that others read, and the programs that write there.
LATER = {
    "/var/spool/cron/crontabs": "crontab - <job",
    "/var/spool/cron/atjobs": "at now <job",
    "/var/lib/systemd/linger": "loginctl enable-linger",
    "/etc/cron.d": "systemctl --user start job",
    "/etc/systemd/user": "systemd-run --user true",
}


@clause("P02")
@guards("read-only-root")
@with_root
@for_everybody
def test_nothing_is_arranged_for_later(jail: MakeJail, account: Account, home: Home, mode: str) -> None:
    """Neither cron, at nor systemd take a job from inside, by a file or by their programs."""
    host = account.host
    acts = {place: f"open('{place}/job', 'w').write('* * * * * true')" for place in LATER}
    spool = "mkdir -p cron/crontabs cron/atjobs; chmod 777 cron/*"
    with contextlib.ExitStack() as stack:
        stack.enter_context(furnished(host, "/var/spool", spool))
        stack.enter_context(furnished(host, "/var/lib/systemd", "mkdir -m 777 linger"))
        for place in ("/etc/cron.d", "/etc/systemd/user"):
            stack.enter_context(furnished(host, place, "chmod 777 ."))
        probed = jail(mode)

        answers = probed.tries(acts)
        programs = probed.sh(f"echo true > job; {'; '.join(f'{line}; echo $?' for line in LATER.values())}")
        left = run(host, f"find {' '.join(LATER)} -type f").stdout
        control = outside_of_a_jail(account, acts)
    run(host, f"rm -f {home.project}/job")

    assert control == dict.fromkeys(acts, "ok")
    assert answers == dict.fromkeys(acts, "EROFS")
    assert "0" not in programs.words
    assert left == ""


# --- races -------------------------------------------------------------------------------------------------

# What is swapped after jai has looked and before it acts; the program of --initjail runs just then.
SWAPS = {
    "the grant for a link": "mv ~/project ~/aside; ln -s ~/Documents ~/project",
    "the grant for another": "mv ~/project ~/aside; cp -a ~/Documents ~/project",
    "a folder above a grant for a link": "mv ~/src ~/aside; mkdir ~/Documents/tool; ln -s ~/Documents ~/src",
    "the storage for a link": "for f in ~/.jai/*.tmp; do mv $f $f.aside; ln -s ~/Documents $f; done",
}


@clause("E14")
@guards("unmoved-sources")
@also_as_root
@pytest.mark.parametrize(
    ("mode", "swap"),
    [
        *(("casual", swap) for swap in SWAPS),
        ("bare", "the grant for a link"),
        pytest.param("strict", "the grant for a link", marks=needs("strict mode")),
    ],
)
def test_a_swap_after_the_decision_is_noticed(
    account: Account, jai: str, jail: MakeJail, mode: str, swap: str
) -> None:
    """What was decided about is what is shown: else nothing starts, and one line says why."""
    home = make_home(account, jai)
    program = f"{home.path}/prepare"
    must(account.sh(f"printf '#!/bin/sh\\ntrue\\n' > {program}; chmod 755 {program}"))
    options = ("-d", f"{home.path}/src/tool", "--initjail", program)

    control = jail(mode).run(["sh", "-c", "touch made; echo ran"], *options)
    must(account.sh(f"rm project/made; echo {shlex.quote(SWAPS[swap])} >> {program}"))
    seen = jail(mode).run(["sh", "-c", "touch made; echo ran"], *options)

    made = must(account.sh("find ~ -name made -not -path '*/.jai/*' 2>/dev/null || true"))
    make_home(account, jai)  # the others of this file use it
    assert control.stdout == "ran\n"
    assert (seen.rc, seen.stdout, made.stdout) == (FAILED, "", "")
    assert 0 < len(seen.stderr.splitlines()) <= 3
    assert seen.stderr.startswith("jai: ")


@clause("E14")
@clause("I01")
@guards("held-links")
@also_as_root
def test_a_link_to_what_is_masked_stays_one(jail: MakeJail, outside: Outside) -> None:
    """A directory that takes the place of a link to what is masked does not show what the mask names."""
    account, home = outside.home.account, outside.home.path
    program = f"{home}/project/prepare"
    swap = "cd ~/keys && rm now && mv -T later now" + " || true"
    must(account.sh(f"printf '#!/bin/sh\n{swap}\n' > {program}; chmod 755 {program}"))
    prepare = "mkdir -p keys/first keys/later; echo a > keys/first/key; echo b > keys/later/key"
    must(account.sh(f"{prepare}; ln -s first keys/now"))
    mask = ("--mask", "keys/now/key")
    acts = {
        "the key": "open(HOME + '/keys/now/key')",
        "where it was": "open(HOME + '/keys/first/key')",
        "the folder": "os.listdir(HOME + '/keys/now')",
    }

    shown = jail("casual").tries(acts, "--initjail", program)
    must(account.sh("cd ~/keys && mv now later && ln -s first now"))
    answers = jail("casual").tries(acts, *mask, "--initjail", program)

    swapped = account.sh("cat ~/keys/now/key; rm -r ~/keys")
    assert swapped.stdout == "b\n"
    assert shown == dict.fromkeys(acts, "ok")  # control
    assert answers == {"the key": "ENOENT", "where it was": "ENOENT", "the folder": "ok"}


# Arguments: how many starts, what changes places meanwhile (the second is a link), then jai's command.
RACE = """
import collections, ctypes, os, subprocess, sys
starts, (place, link), words = int(sys.argv[1]), map(os.fsencode, sys.argv[2:4]), sys.argv[4:]
swap = lambda: ctypes.CDLL(None).renameat2(-100, place, -100, link, 2)  # RENAME_EXCHANGE
racer = os.fork()
while racer == 0:
    swap()
seen = collections.Counter()
try:
    for _ in range(starts):
        done = subprocess.run(words, stdout=-1, stderr=-1)
        brief = done.returncode == 0 or len(done.stderr.splitlines()) <= 3
        seen[done.returncode, done.stdout, brief] += 1
finally:
    os.kill(racer, 9)
    os.wait()
    swaps = os.path.islink(place) and swap()
print([(*outcome, count) for outcome, count in seen.items()])
"""


@dataclass(frozen=True)
class Race:
    """What changes places with a link to somewhere else while jai starts: paths are below the home."""

    place: str
    link: str
    leads_to: str
    prepare: str
    look: str
    options: tuple[str, ...] = ("-D",)
    mode: str = "casual"
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Where the swaps happen: they change its time."""
        return f"~/{self.place.rpartition('/')[0]}"


# Where these are granted, or the jail's own, by mistake, they are marked for good.
MARK = "echo x > ~/Documents/marked; echo x > ~/marked; echo x > /tmp/marked; echo looked"
RACES = {
    "the grant": Race(
        "project/grant",
        "project/link",
        "../Documents",
        "mkdir -p project/grant; touch project/grant/mine",
        f"echo x > ~/project/grant/marked; {MARK}",
        ("-D", "-d", "{home}/project/grant"),
    ),
    "a folder above the grant": Race(
        "project/up",
        "project/link",
        "../Documents",
        "mkdir -p project/up/grant Documents/grant",
        f"echo x > ~/project/up/grant/marked; {MARK}",
        ("-D", "-d", "{home}/project/up/grant"),
    ),
    "a folder above a mask": Race(
        "keys/one",
        "keys/link",
        "other",
        "mkdir -p keys/one keys/other; echo secret > keys/one/key; echo decoy > keys/other/key",
        f"cat ~/keys/one/key; {MARK}",
        ("-D", "--mask", "keys/one/key"),
    ),
    **{
        f"the storage's {kind}": Race(
            f".jai/{{name}}.{kind}", ".jai/link", "../Documents", "", MARK, mode=mode
        )
        for kind, mode in (("changes", "casual"), ("tmp", "casual"), ("work", "casual"), ("home", "bare"))
    },
    "a folder above the home": Race(
        "places/up",
        "places/link",
        "other",
        "mkdir -p places/up/home/Documents places/other/home/Documents",
        MARK,
        env={"HOME": "{home}/places/up/home", "JAI_CONFIG_DIR": "{home}/.jai"},
    ),
}
FULL = os.environ.get("JAI_STRESS") == "full"
STARTS = {"the grant": 10_000 if FULL else 40}
OTHERS = 2_000 if FULL else 12


@clause("E14")
@also_as_root
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("what", RACES)
def test_a_racing_renamer_gains_nothing(jail: MakeJail, outside: Outside, what: str) -> None:
    """While a folder and a link to another change places, jai takes the one that it looked at or nothing."""
    race, account, home = RACES[what], outside.home.account, outside.home.path
    raced = jail(race.mode)
    must(raced.run(["true"]))  # the storage's folders are made
    named = {"home": home, "name": raced.name}
    place, link = (f"{home}/{path.format(**named)}" for path in (race.place, race.link))
    must(account.sh(f"{race.prepare or 'true'}; ln -sn {race.leads_to} {link}"))
    before, starts = outside.state(), STARTS.get(what, OTHERS)
    env = {**left_out(), **{name: value.format(**named) for name, value in race.env.items()}}
    options = [option.format(**named) for option in race.options]
    words = ["env", *(f"{name}={value}" for name, value in env.items()), raced.jai, "-m", race.mode]
    words += ["-j", raced.name, *options, "sh", "-c", race.look]

    seen = account.run(["/usr/bin/python3", "-I", "-c", RACE, str(starts), place, link, *words], timeout=2900)

    after = outside.state()
    must(account.sh(f"rm -rf {link} ~/places ~/keys ~/Documents/grant"))
    outcomes = ast.literal_eval(must(seen).stdout)
    assert {outcome[:3] for outcome in outcomes} <= {(FAILED, b"", True), (0, b"looked\n", True)}
    assert sum(outcome[3] for outcome in outcomes) == starts
    for state in (before, after):
        state.pop(race.folder, None)
    assert after == before
