"""E16: the installed helper, called by hand by a user who wants more than is theirs.

What it accepts to the last bit, with every wrong message and every way to start it: tests/test_helper.py.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from conformance.abilities import needs
from conformance.accounts import must, run
from conformance.clauses import clause
from conformance.jails import PROBE, answers_of, in_each_mode
from conformance.wall import LIBEXEC

if TYPE_CHECKING:
    from conformance.conftest import MakeJail, Outside

pytestmark = needs("strict mode")

# Before each act: a way to start the helper and to ask it, as jai/helper/idmap.h says.
ASK = f"""
import array, struct
MOUNT, CLONE, IDENTITY = 2, 3, 1
def start(kind=socket.SOCK_SEQPACKET, **how):
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    child = subprocess.Popen(["{LIBEXEC}/jai/jai-idmap"], stdin=theirs, **how)
    theirs.close()
    return ours
def ask(verb, fds, helper=None, packet=None, inside=0):
    helper = helper or start()
    packet = packet or struct.pack("=4I", 0x4449414A, 1, verb, inside)
    held = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    helper.sendmsg([packet], held)
    answer, found, *_ = helper.recvmsg(8, socket.CMSG_LEN(4))
    if len(answer) != 8:
        raise EOFError
    error = struct.unpack("=2I", answer)[0]
    if error:
        raise OSError(error, "refused")
    return struct.unpack("=i", found[0][2])[0] if found else -1
def at(path, flags=os.O_PATH):
    return os.open(path, flags)
"""
MINE, OTHERS = "at(HOME)", "at('/usr')"
ACTS = {
    "a directory of mine": f"ask(MOUNT, [{MINE}])",
    "a clone of mine": f"ask(CLONE, [{MINE}])",
    "no environment": f"ask(CLONE, [{MINE}], start(env={{}}))",
    "a directory of root's": f"ask(MOUNT, [{OTHERS}])",
    "a clone of root's": f"ask(CLONE, [{OTHERS}])",
    "a file of root's": "ask(MOUNT, [at('/etc/passwd')])",
    "a clone of a file": "ask(CLONE, [at(HOME + '/.profile')])",
    "a link": "os.symlink('/', 'l'); ask(MOUNT, [at('l', os.O_PATH | os.O_NOFOLLOW)])",
    "a directory of /proc": "ask(MOUNT, [at('/proc/self')])",
    "a pipe": "ask(MOUNT, [os.pipe()[0]])",
    "a mount that it has made": f"ask(MOUNT, [ask(MOUNT, [{MINE}])])",
    "two at once": f"ask(MOUNT, [{MINE}, {MINE}])",
    "none": "ask(MOUNT, [])",
    "an identity without a namespace": "ask(IDENTITY, [], inside=990)",
    "an identity of root": "ask(IDENTITY, [], inside=0)",
    "too long": f"ask(MOUNT, [{MINE}], packet=bytes(17))",
    "too short": f"ask(MOUNT, [{MINE}], packet=bytes(3))",
    "another version": f"ask(MOUNT, [{MINE}], packet=struct.pack('=4I', 0x4449414A, 2, 2, 0))",
    "a stream": f"ask(MOUNT, [{MINE}], start(socket.SOCK_STREAM))",
    "without descriptors": (
        f"import resource; ask(MOUNT, [{MINE}], start(preexec_fn=lambda:"
        " resource.setrlimit(resource.RLIMIT_NOFILE, (1, 1))))"
    ),
}
EXPECTED = {
    **dict.fromkeys(["a directory of mine", "a clone of mine", "no environment"], "ok"),
    **dict.fromkeys(["a directory of root's", "a clone of root's", "a file of root's"], "EACCES"),
    "a clone of a file": "ENOTDIR",
    "a link": "ENOTDIR",
    "a directory of /proc": "EINVAL",
    "a pipe": "ENOTDIR",
    "a mount that it has made": "EACCES",  # in it the caller's files are the strict id's
    "an identity without a namespace": "EPERM",
}
# It ends without an answer: the end of the stream, or a broken one.
ENDED = {"EOFError", "EPIPE", "ECONNRESET"}


def asking(acts: list[str]) -> dict[str, str]:
    """The acts as whole programs."""
    return {name: f"{ASK}\n{ACTS[name]}" for name in acts}


@clause("E16")
def test_called_by_hand(outside: Outside) -> None:
    """It gives the caller what is the caller's, refuses everything else, and nothing is left of it."""
    account = outside.home.account
    must(account.sh("rm -rf /tmp/by-hand; mkdir /tmp/by-hand"))
    before = outside.state()

    argv = ["/usr/bin/python3", "-I", "-c", PROBE, json.dumps(asking(list(ACTS)))]
    answers = answers_of(account.run(argv, cwd="/tmp/by-hand"))

    assert outside.state() == before
    assert {name: answers[name] for name in EXPECTED} == EXPECTED
    assert {answers[name] for name in ACTS if name not in EXPECTED} <= ENDED, answers
    assert not run(account.host, "pgrep jai-idmap").words


@clause("E16")
@in_each_mode
def test_called_from_inside(jail: MakeJail, outside: Outside, mode: str) -> None:
    """In a jail it has no privileges, so it gives nothing at all."""
    before = outside.state()

    answers = jail(mode).tries(asking(["a directory of mine", "a clone of mine", "an identity of root"]))

    assert outside.state() == before
    assert "ok" not in answers.values()
    assert set(answers.values()) <= {*ENDED, "EPERM", "EACCES"}, answers
