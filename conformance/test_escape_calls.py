"""System calls that reach out of a jail or leave something behind: refused, beside the same ones outside."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from conformance.abilities import needs
from conformance.accounts import must, run
from conformance.clauses import clause, guards
from conformance.jails import PROBE, answers_of, for_everybody, in_the_user_s_own_modes
from conformance.terminals import ON_A_TERMINAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.accounts import Account
    from conformance.conftest import MakeJail, Outside
    from conformance.jails import Jail

# What an act can use.  The numbers are those of x86_64 and of aarch64.  Source: asm/unistd.h.
CALLS = """
import ctypes, fcntl, platform, signal, struct, termios
libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {
    "acct": (163, 89), "add_key": (248, 217), "bpf": (321, 280), "chmod": (90, 0), "creat": (85, 0),
    "delete_module": (176, 106), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "finit_module": (313, 273), "init_module": (175, 105), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "io_uring_setup": (425, 425), "kexec_file_load": (320, 294),
    "kexec_load": (246, 104), "ioprio_set": (251, 30), "keyctl": (250, 219), "mkdir": (83, 0),
    "mkdirat": (258, 34), "mknod": (133, 0), "mknodat": (259, 33), "open": (2, 0),
    "open_by_handle_at": (304, 265), "openat": (257, 56), "openat2": (437, 437),
    "perf_event_open": (298, 241), "quotactl": (179, 60),
    "request_key": (249, 218), "swapoff": (168, 225), "swapon": (167, 224), "userfaultfd": (323, 282),
}
def call(name, *arguments):
    number = ctypes.c_long(NUMBERS[name][platform.machine() == "aarch64"])
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    answer = libc.syscall(number, *words)
    if answer < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return answer
def ioctl(request, text, fd=None):
    fd = os.open("/dev/tty", os.O_RDWR) if fd is None else fd
    if libc.ioctl(fd, ctypes.c_ulong(request), text) < 0:
        raise OSError(ctypes.get_errno(), "refused")
def in_a_session_of_its_own(act):
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            act()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno)
    number = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if number:
        raise OSError(number, "refused")
"""
# Scenarios with `unshare -Ur` are for a user: without a capability root can not be mapped (Linux 5.12).
ONLY_X86 = ("chmod", "creat", "mkdir", "mknod", "open")


def words(acts: Mapping[str, str]) -> list[str]:
    """The command that tries acts and prints what became of each."""
    return ["/usr/bin/python3", "-I", "-c", CALLS + PROBE, json.dumps(acts)]


def inside(jail: Jail, acts: Mapping[str, str], *options: str) -> dict[str, str]:
    """What becomes of each act in a jail."""
    return answers_of(jail.run(words(acts), *options))


def outside_of_it(account: Account, acts: Mapping[str, str], cwd: str) -> dict[str, str]:
    """What becomes of each act for the account, outside of any jail."""
    return answers_of(account.run(words(acts), cwd=cwd))


def as_root(account: Account, acts: Mapping[str, str]) -> dict[str, str]:
    """What becomes of each act for root, outside of any jail."""
    return answers_of(run(account.host, f"cd / && {shlex.join(words(acts))}"))


# --- the terminal ------------------------------------------------------------------------------------------

# Arguments: a shell line, which gets a terminal of its own.  Prints what it printed, then what is in that
# terminal's input for the one who reads next: the shell, when the line has ended.
WITH_TERMINAL = (
    ON_A_TERMINAL
    + """
import select, sys, termios
def act():
    settings = termios.tcgetattr(0)
    settings[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(0, termios.TCSANOW, settings)
    os.system(sys.argv[1])
    typed = os.read(0, 100) if select.select([0], [], [], 0)[0] else b""
    print("TYPED", typed.decode() or "nothing", flush=True)
on_a_terminal(act)
"""
)
HIGH = 0xDEADBEEF << 32
TYPING = {
    "TIOCSTI": "ioctl(0x5412, b'x')",
    "TIOCSTI, on standard input": "ioctl(0x5412, b'y', 0)",
    "TIOCSTI, with more bits": f"ioctl({HIGH | 0x5412}, b'z')",
    "TIOCSTI, on a terminal of its own": """
def type():
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    ioctl(0x5412, b'e', slave)
master, slave = os.openpty()
in_a_session_of_its_own(type)
""",
    "TIOCLINUX": "ioctl(0x541c, b'\\x03')",
    "TIOCLINUX, with more bits": f"ioctl({HIGH | 0x541C}, b'\\x03')",
}
# In a jail this is the terminal that jai was started at, outside another one.
CONSOLE = {"TIOCSTI, on /dev/console": "ioctl(0x5412, b'c', os.open('/dev/console', os.O_RDWR))"}
# Its own terminal must work all the same.
USING = {
    "size": "ioctl(0x5413, ctypes.create_string_buffer(8))",
    "settings": "termios.tcsetattr(0, termios.TCSANOW, termios.tcgetattr(0))",
    "group": "os.tcgetpgrp(0)",
}


def told_before(account: Account, program: str, line: str, cwd: str, mark: str) -> tuple[dict[str, str], str]:
    """What a probe tells that a program has started, and what the program says behind a mark."""
    seen = account.python(program, line, cwd=cwd)
    told, found, rest = seen.stdout.partition(mark)
    assert found, seen.stdout + seen.stderr
    return answers_of(type(seen)(seen.line, seen.rc, told, seen.stderr)), rest.strip()


def at_a_terminal(account: Account, line: str, cwd: str) -> tuple[dict[str, str], str]:
    """What a probe tells at a terminal, and what it has typed there."""
    return told_before(account, WITH_TERMINAL, line, cwd, "TYPED ")


@clause("E01")
@guards("filter")
@for_everybody
def test_nothing_is_typed_into_the_terminal(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Neither by TIOCSTI nor by TIOCLINUX, by whatever descriptor and however the request is written."""
    account, shut = outside.home.account, jail(mode)
    before = outside.state()

    answers, typed = at_a_terminal(account, shut.entry(*words(TYPING | CONSOLE | USING)), shut.project)
    control, would_be = at_a_terminal(account, shlex.join(words(TYPING | USING)), shut.project)

    assert outside.state() == before
    # The terminal is the user's, and strict mode's user is another.
    console = dict.fromkeys(CONSOLE, "EACCES" if mode == "strict" else "EPERM")
    assert answers == dict.fromkeys(TYPING, "EPERM") | console | dict.fromkeys(USING, "ok")
    assert typed == "nothing"
    # Outside it succeeds, unless the kernel has it switched off: dev.tty.legacy_tiocsti.
    successes = {control[name] for name in TYPING if "TIOCSTI" in name}
    assert successes in ({"ok"}, {"EIO"})
    assert would_be == ("xyz" if successes == {"ok"} else "nothing")
    assert {control[name] for name in TYPING if "TIOCLINUX" in name} <= {"ENOTTY", "EINVAL"}


# --- set-id bits -------------------------------------------------------------------------------------------

MODES_WITH_BITS = {"set-uid": 0o4755, "set-gid": 0o2755}
O_CREAT, O_TMPFILE, O_RDWR, AT_SYMLINK_FOLLOW = 0o100, 0o20200000, 2, 0x400
# Each way to a set-id file, for {mode}; the file's name is that of the act.
WAYS = {
    "chmod": "open(name, 'x'); call('chmod', name.encode(), {mode})",
    "fchmod": f"call('fchmod', os.open(name, {O_CREAT}), {{mode}})",
    "fchmodat": "open(name, 'x'); call('fchmodat', -100, name.encode(), {mode})",
    "fchmodat2": "open(name, 'x'); call('fchmodat2', -100, name.encode(), {mode}, 0)",
    "creat": "call('creat', name.encode(), {mode})",
    "open": f"call('open', name.encode(), {O_CREAT}, {{mode}})",
    "openat": f"call('openat', -100, name.encode(), {O_CREAT}, {{mode}})",
    "openat, unnamed": f"""
fd = call('openat', -100, b'.', {O_TMPFILE | O_RDWR}, {{mode}})
assert libc.linkat(-100, f'/proc/self/fd/{{{{fd}}}}'.encode(), -100, name.encode(), {AT_SYMLINK_FOLLOW}) == 0
""",
    "openat2": f"call('openat2', -100, name.encode(), struct.pack('QQQ', {O_CREAT}, {{mode}}, 0), 24)",
    "mknod": "call('mknod', name.encode(), 0o100000 | {mode}, 0)",
    "mknodat": "call('mknodat', -100, name.encode(), 0o100000 | {mode}, 0)",
    "mkdir": "call('mkdir', name.encode(), {mode})",
    "mkdirat": "call('mkdirat', -100, name.encode(), {mode})",
    "python": "open(name, 'x'); os.chmod(name, {mode})",
}
# The kernel itself leaves the bits out of a new directory.
WITHOUT_EFFECT = ("mkdir", "mkdirat")
TOOLS = """
umask 022; touch a b c d; chmod u+s a; chmod g+s b; chmod 6755 c; install -m 4755 /dev/null e
python3 -c 'import tarfile
with tarfile.open("all.tar", "w") as tar:
    member = tarfile.TarInfo("f")
    member.mode = 0o6755
    tar.addfile(member)'
tar -xpf all.tar; true
"""


def ways_to(account: Account, modes: Mapping[str, int]) -> dict[str, str]:
    """An act for each mode and each way that the machine's architecture has."""
    ways = dict(WAYS)
    if run(account.host, "uname -m").stdout.strip() != "x86_64":
        ways = {name: act for name, act in ways.items() if name not in ONLY_X86}
    named = {
        f"{kind} by {way}": act.format(mode=mode) for kind, mode in modes.items() for way, act in ways.items()
    }
    return {name: f"name = {name!r}; os.umask(0)\n{act}" for name, act in named.items()}


def with_bits(account: Account, folder: str) -> set[str]:
    """What lies in a folder and is set-id, as seen from outside."""
    return set(must(run(account.host, f"find {folder} -perm /6000 -printf '%f\\n'")).stdout.splitlines())


@clause("E09")
@guards("filter")
@for_everybody
def test_no_set_id_file_is_left_behind(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Of none of the calls that can set one of the bits; ordinary modes can be set as ever."""
    account, shut = outside.home.account, jail(mode)
    acts, ordinary = ways_to(account, MODES_WITH_BITS), ways_to(account, {"plain": 0o755})
    before = outside.state()

    answers = inside(shut, acts)
    tools = shut.sh(TOOLS)
    left = with_bits(account, shut.project)
    plain = inside(shut, ordinary)

    assert outside.state() == before
    assert answers == {name: "ENOSYS" if name.endswith("openat2") else "EPERM" for name in acts}
    assert left == set()
    assert tools.stderr.count("Operation not permitted") == 5
    new = {"plain by fchmodat2", "plain by openat2"}  # since Linux 6.6; not there in a jail
    assert {name for name, answer in plain.items() if answer != "ok"} <= new
    # Outside each of them leaves one.
    must(run(account.host, f"find {shut.project} -mindepth 1 -delete"))
    control = outside_of_it(account, acts, shut.project)
    must(account.sh(TOOLS, cwd=shut.project))
    old = {name for name in acts if name.endswith("fchmodat2") and control[name] == "ENOSYS"}
    assert {name for name in acts if control[name] != "ok"} == old
    expected = {name for name in acts if name.partition(" by ")[2] not in WITHOUT_EFFECT}
    assert with_bits(account, shut.project) == expected - old | {"a", "b", "c", "e", "f"}


@clause("E09")
@guards("filter")
@in_the_user_s_own_modes
def test_no_set_id_file_from_a_nested_namespace(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Being root of a user namespace of its own changes nothing."""
    account, shut = outside.home.account, jail(mode)
    script = "id -u; touch file; chmod u+s file; cp -p file copy; chmod g+s copy; chmod 755 file"
    nested = f"unshare -Ur sh -c '{script}'"
    before = outside.state()

    seen = shut.sh(nested)
    left = with_bits(account, shut.project)

    assert outside.state() == before
    assert (seen.stdout, seen.rc, left) == ("0\n", 0, set())
    assert seen.stderr.count("Operation not permitted") == 2
    must(account.sh(nested, cwd=shut.project))  # control
    assert with_bits(account, shut.project) == {"copy"}


@clause("E09")
@needs("root")
@for_everybody
def test_set_id_programs_have_no_effect(jail: MakeJail, outside: Outside, mode: str) -> None:
    """One of another user's in the project, the home or /tmp runs as the user who starts it."""
    account, shut = outside.home.account, jail(mode)
    other = "61002" if account.name == "root" else "0"
    storage = f"{account.home}/.jai/{shut.name}"
    home = account.home if mode == "casual" else f"{storage}.home"
    me = must(shut.sh("id -u; id -g")).words
    programs = {f"{shut.project}/": "./", f"{home}/": "~/", f"{storage}.tmp/": "/tmp/"}
    for folder in programs:
        own = f"chown {other}:{other} {folder}who; chmod 6755 {folder}who"
        must(run(account.host, f"mkdir -p {folder}; cp /usr/bin/id {folder}who; {own}"))
    script = "; ".join(f"{place}who -u; {place}who -g" for place in programs.values())
    before = outside.state()

    seen = shut.sh(script)
    control = account.sh("; ".join(f"{folder}who -u; {folder}who -g" for folder in programs))

    assert outside.state() == before
    assert seen.words == me * 3
    assert control.words == [other] * 6
    run(account.host, "rm -f " + " ".join(f"{folder}who" for folder in programs))


# --- files by their handle ---------------------------------------------------------------------------------

HANDLE = """
handle = (ctypes.c_uint32 * 34)(128)
found = libc.name_to_handle_at(-100, {path!r}.encode(), handle, ctypes.byref(ctypes.c_int()), 0)
assert found == 0, ctypes.get_errno()
"""
OPEN_HANDLE = """
place = os.open({place!r}, os.O_RDONLY)
call('open_by_handle_at', place, handle, {flags})
"""
OWN_FILE_SYSTEM = """
subprocess.run(["mount", "-t", "tmpfs", "none", "/tmp"], check=True)
os.mkdir("/tmp/folder")
"""


@clause("E11")
@needs("root")
@for_everybody
def test_a_hidden_file_can_not_be_opened_by_its_handle(jail: MakeJail, outside: Outside, mode: str) -> None:
    """The number of a masked key is no way to it, although its file system is the grant's."""
    account, shut = outside.home.account, jail(mode)
    key = f"{account.home}/.ssh/id_ed25519"
    tell = f"import sys\n{HANDLE.format(path=key)}print(bytes(handle).hex())"
    handle = must(account.python(f"{CALLS}{tell}")).stdout.strip()
    act = f"handle = bytes.fromhex('{handle}')\n{OPEN_HANDLE.format(place=shut.project, flags=0)}"
    before = outside.state()

    answers = inside(shut, {"the key": act})
    control = as_root(account, {"the key": act})

    assert outside.state() == before
    assert answers == {"the key": "EPERM"}
    assert control == {"the key": "ok"}


@clause("E11")
@guards("filter")
@in_the_user_s_own_modes
def test_handles_in_a_nested_namespace(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Nor is one to the root of a namespace, on a file system of its own."""
    account, shut = outside.home.account, jail(mode)
    find = OWN_FILE_SYSTEM + HANDLE.format(path="/tmp/folder")
    acts = {
        "find": find,
        "open": find + OPEN_HANDLE.format(place="/tmp", flags="os.O_DIRECTORY"),
        "control": f"{find}os.open('/tmp/folder', os.O_DIRECTORY)",
    }
    nested = ["unshare", "-Urm", *words(acts)]

    answers = answers_of(shut.run(nested))
    control = answers_of(account.run(nested))

    assert answers == {"find": "ok", "open": "EPERM", "control": "ok"}
    # Before Linux 6.11 the kernel refuses it itself.
    assert control in ({**answers, "open": "ok"}, answers)


# --- parts of the kernel -----------------------------------------------------------------------------------

# An ordinary user can do these outside, where the machine's administrator has not forbidden it.
# On a descriptor of no file: what would be done to a file system by a granted directory.
IOCTLS = {
    "a snapshot": "ioctl(0x50009401, b'', -1)",
    "a snapshot, anew": "ioctl(0x50009417, b'', -1)",
    "a subvolume by its number": "ioctl(0x5000943f, b'', -1)",
    "the key of encrypted files": "ioctl(0xc0406618, b'', -1)",
    "everybody's key of them": "ioctl(0xc0406619, b'', -1)",
}
ORDINARY = {
    "the session's keyring": "call('keyctl', 0, -3, 0)",
    "what is in it": "call('keyctl', 11, -3, ctypes.create_string_buffer(64), 64)",
    "a key": "call('add_key', b'user', b'jai-test', b'x', 1, -2)",
    "io_uring": "call('io_uring_setup', 1, ctypes.create_string_buffer(120))",
    "userfaultfd": "call('userfaultfd', 1)",
}
# The kernel wants a privilege for most of these; they are such that they fail of something else for root.
PRIVILEGED = {
    "bpf": "call('bpf', -1, 0, 0)",
    "perf": "call('perf_event_open', 0, 0, -1, -1, 0)",
    "userfaultfd for the kernel's faults": "call('userfaultfd', 0x40000000)",
    "io_uring, to use": "call('io_uring_enter', -1, 0, 0, 0, 0, 0)",
    "io_uring, to register": "call('io_uring_register', -1, 0, 0, 0)",
    "a module": "call('init_module', 0, 0, b'')",
    "a module from a file": "call('finit_module', -1, b'', -1)",
    "a module less": "call('delete_module', b'jai-no-such-module', 0o4000)",
    "quotas": "call('quotactl', -1, 0, 0, 0)",
    "accounting": "call('acct', b'/nowhere')",
    "swap": "call('swapon', b'/nowhere', 0)",
    "no swap": "call('swapoff', b'/nowhere')",
    "another kernel": "call('kexec_load', 0, 0, 0, -1)",
    "another kernel from a file": "call('kexec_file_load', -1, -1, 0, 0, -1)",
    "a key from root's helper": "call('request_key', b'user', b'jai-no-such-key', b'', 0)",
}


@clause("E12")
@guards("filter")
@for_everybody
def test_parts_of_the_kernel_that_no_agent_needs(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Keyrings, io_uring, page faults: an ordinary user's outside, out of reach inside."""
    account, shut = outside.home.account, jail(mode)
    before = outside.state()

    answers = inside(shut, ORDINARY)
    control = outside_of_it(account, ORDINARY, shut.project)

    assert outside.state() == before
    assert answers == dict.fromkeys(ORDINARY, "EPERM")
    assert control == dict.fromkeys(ORDINARY, "ok")


@clause("E12")
@guards("filter")
@needs("root")
@for_everybody
def test_parts_of_the_kernel_that_are_root_s(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Modules, other kernels, swap and the like; outside they answer root something else."""
    account, shut = outside.home.account, jail(mode)
    before = outside.state()

    answers = inside(shut, PRIVILEGED)
    control = as_root(account, PRIVILEGED)

    assert outside.state() == before
    assert answers == dict.fromkeys(PRIVILEGED, "EPERM")
    assert [name for name, answer in control.items() if answer in ("ok", "EPERM")] == []


@clause("E12")
@guards("filter")
@for_everybody
def test_what_a_granted_directory_could_ask_of_its_file_system(jail: MakeJail, mode: str) -> None:
    """No copy of a whole subvolume, which would show what is hidden of it, and no locked files outside."""
    shut = jail(mode)

    answers = inside(shut, IOCTLS)
    control = outside_of_it(shut.account, IOCTLS, shut.project)

    assert answers == dict.fromkeys(IOCTLS, "EPERM")
    assert control == dict.fromkeys(IOCTLS, "EBADF")


SOCKETS = {
    "AF_VSOCK": "socket.socket(40, socket.SOCK_STREAM)",
    "AF_ALG": "socket.socket(38, socket.SOCK_SEQPACKET)",
    "AF_PACKET": "socket.socket(17, socket.SOCK_RAW)",
    "netlink: events of devices": "socket.socket(16, socket.SOCK_RAW, 15)",
    "netlink: the firewall": "socket.socket(16, socket.SOCK_RAW, 12)",
    "netlink: audit": "socket.socket(16, socket.SOCK_RAW, 9)",
    "netlink: generic": "socket.socket(16, socket.SOCK_RAW, 16)",
}
KEPT_SOCKETS = {
    "AF_UNIX": "socket.socketpair()",
    "AF_INET": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "AF_INET6": "socket.socket(socket.AF_INET6, socket.SOCK_STREAM)",
    "netlink: routes": "socket.socket(16, socket.SOCK_RAW, 0)",
    "names of interfaces": "socket.if_nameindex()",
}


@clause("E12")
@guards("filter")
@for_everybody
def test_sockets_of_other_families(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Packets, hypervisor, cryptography and the kernel's settings are shut; the network is as ever."""
    account, shut = outside.home.account, jail(mode)
    before = outside.state()

    answers = inside(shut, SOCKETS | KEPT_SOCKETS)
    control = outside_of_it(account, SOCKETS | KEPT_SOCKETS, shut.project)

    assert outside.state() == before
    assert answers == dict.fromkeys(SOCKETS, "EPERM") | dict.fromkeys(KEPT_SOCKETS, "ok")
    assert {name: control[name] for name in KEPT_SOCKETS} == dict.fromkeys(KEPT_SOCKETS, "ok")
    # Some kernels have not all of the families; raw packets need a privilege, in whichever namespace.
    need = {"AF_PACKET"} if account.name != "root" else set()
    assert {control[name] for name in SOCKETS.keys() - need} <= {"ok", "EAFNOSUPPORT", "EPROTONOSUPPORT"}
    assert control["netlink: events of devices"] == "ok"


@clause("E12")
@guards("filter")
@in_the_user_s_own_modes
def test_sockets_in_a_nested_network(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Raw packets and the firewall are shut to the root of a namespace of its own, too."""
    acts = {name: SOCKETS[name] for name in ("AF_PACKET", "netlink: the firewall")}
    nested = ["unshare", "-Urn", *words(acts | KEPT_SOCKETS)]

    answers = answers_of(jail(mode).run(nested))
    control = answers_of(outside.home.account.run(nested, cwd=outside.home.project))

    assert answers == dict.fromkeys(acts, "EPERM") | dict.fromkeys(KEPT_SOCKETS, "ok")
    assert control["AF_PACKET"] == "ok"


# --- the process group -------------------------------------------------------------------------------------

# Arguments: a shell line, which gets a terminal of its own and a neighbour in its process group.  Prints the
# neighbour's priorities: the nice value and the class of its disk accesses.
WITH_NEIGHBOUR = (
    ON_A_TERMINAL
    + """
import sys
line = "sleep 1000 & " + sys.argv[1] + "; echo NEIGHBOUR $(ps -o ni= -p $!) $(ionice -p $!); kill -9 $!"
on_a_terminal(lambda: os.execv("/bin/sh", ["sh", "-c", line]))
"""
)
PRIORITIES = {
    "nice": "os.setpriority(os.PRIO_PGRP, 0, 7)",
    "ionice": "call('ioprio_set', 2, 0, 3 << 13)",
}
OWN_PRIORITIES = {
    "its own": "os.setpriority(os.PRIO_PROCESS, 0, 3)",
    "its disk accesses": "call('ioprio_set', 1, 0, 2 << 13 | 7)",
    "a group of its own": """
def act():
    os.setpriority(os.PRIO_PGRP, os.getpgrp(), 5)
in_a_session_of_its_own(act)
""",
}


def next_to_a_neighbour(account: Account, line: str, cwd: str) -> tuple[dict[str, str], list[str]]:
    """What a probe tells, and the priorities of what was started beside it."""
    told, neighbour = told_before(account, WITH_NEIGHBOUR, line, cwd, "NEIGHBOUR ")
    return told, neighbour.split()


@clause("E12")
@guards("filter")
@for_everybody
def test_priorities_of_the_process_group(jail: MakeJail, outside: Outside, mode: str) -> None:
    """At a terminal the group is shared with the caller; its priorities stay, and the own ones can be set."""
    account, shut = outside.home.account, jail(mode)
    probe = words(PRIORITIES | OWN_PRIORITIES)
    before = outside.state()

    answers, neighbour = next_to_a_neighbour(account, shut.entry(*probe), shut.project)
    control, changed = next_to_a_neighbour(account, shlex.join(words(PRIORITIES)), shut.project)

    assert outside.state() == before
    assert answers == dict.fromkeys(PRIORITIES, "EPERM") | dict.fromkeys(OWN_PRIORITIES, "ok")
    assert neighbour[0] == run(account.host, "nice").stdout.strip()  # what it was started with
    assert "idle" not in neighbour
    assert control == dict.fromkeys(PRIORITIES, "ok")
    assert changed == ["7", "idle"]
