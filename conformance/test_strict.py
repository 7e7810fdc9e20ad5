"""Strict mode: another uid that reaches nothing but what is granted, and leaves nothing of its own."""

from __future__ import annotations

import contextlib
import secrets
import shlex
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from conformance import disks
from conformance.abilities import needs
from conformance.accounts import Account, must, run
from conformance.clauses import clause, guards
from conformance.homes import read
from conformance.jails import CALL, FAILED, Jail, also_as_root, outside_of_a_jail
from conformance.wall import LIBEXEC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

    from conformance.accounts import Seen
    from conformance.conftest import MakeJail, Outside

pytestmark = needs("strict mode")

HELPER = f"{LIBEXEC}/jai/jai-idmap"
# Arguments: a whole command line.  Prints the ids of the processes that have it.
FIND = """
import os, sys
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            if file.read().split("\\0")[:-1] == sys.argv[1:]:
                print(pid)
    except OSError:
        pass
"""
CLONE_NEWNS, CLONE_NEWUSER, PTRACE_SEIZE = 0x20000, 0x10000000, 0x4206
# These have the same numbers on every architecture.
SYS_CLONE3, SYS_PIDFD_GETFD = 435, 438
SYS_CLONE = "220 if os.uname().machine == 'aarch64' else 56"


@dataclass(frozen=True)
class Sleeper:
    """A process that runs in a jail, seen from outside."""

    jail: Jail
    pid: int

    def status(self, key: str) -> list[str]:
        """The words of a line of its /proc/PID/status."""
        seen = run(self.jail.account.host, f"sed -n 's/^{key}:[[:space:]]*//p' /proc/{self.pid}/status")
        return seen.words

    @property
    def uid(self) -> str:
        """Its uid outside, as ps(1) has it."""
        return must(run(self.jail.account.host, f"ps -o uid= -p {self.pid}")).stdout.strip()


@contextlib.contextmanager
def sleeping(jail: Jail) -> Iterator[Sleeper]:
    """Let a process sleep in a jail."""
    host, number = jail.account.host, str(10**9 + secrets.randbelow(10**9))
    entry = shlex.join([jail.jai, "-m", jail.mode, "-j", jail.name, "sleep", number])
    must(jail.account.sh(f"setsid {entry} </dev/null >/dev/null 2>err &", cwd=jail.project))
    find = f"/usr/bin/python3 -I -c {shlex.quote(FIND)} sleep {number}"
    deadline = time.monotonic() + 20
    while not (found := run(host, find).words):
        if time.monotonic() > deadline:
            message = f"the sleeper does not start: {run(host, f'cat {jail.project}/err').stdout}"
            raise RuntimeError(message)
        time.sleep(0.05)
    try:
        yield Sleeper(jail, int(found[0]))
    finally:
        run(host, f"kill -9 {found[0]}; rm -f {jail.project}/err")


@pytest.fixture
def bobs(host: Host, jai: str) -> Jail:
    """A strict jail of bob, who is another user than the one of the other fixtures."""
    account = Account(host, "bob", "/home/bob", become=True)
    must(run(host, "find /home/bob -mindepth 1 -delete; install -d -m 755 -o bob -g bob /home/bob/project"))
    must(account.run([jai, "--init"]))
    return Jail(account, jai, "strict", "bobs", "/home/bob/project")


def sub_uid(account: Account) -> str:
    """The first id of the line of an account in /etc/subuid, "" if there is none."""
    uid = must(account.sh("id -u")).stdout.strip()
    return run(account.host, f"sed -n 's/^{uid}:\\([0-9]*\\):1$/\\1/p' /etc/subuid").stdout.strip()


def owners(host: Host, *places: str) -> set[str]:
    """Who owns the files that lie there, by user and group."""
    return set(must(run(host, f"find {shlex.join(places)} -printf '%u:%g\\n'")).words)


# --- who it is -------------------------------------------------------------------------------------------


@clause("E15")
@guards("groups", "strict-id")
def test_inside_it_is_jai_and_in_no_other_group(jail: MakeJail, outside: Outside) -> None:
    """`id` says jai, and a group that the user is in as well does not come along."""
    account, strict = outside.home.account, jail("strict")
    must(run(account.host, "install -m 640 -g games /dev/null /srv/games-only"))
    before = outside.state()
    asks = "id -un; id -G | wc -w; cat /srv/games-only 2>&1 && echo could read; echo end"
    become = f"setpriv --reuid={account.name} --regid={account.name} --groups={account.name},games"
    inner = shlex.join(["env", f"HOME={account.home}", f"USER={account.name}"])
    line = f"cd {strict.project} && {become} {inner}"

    control = run(account.host, f"{line} sh -c {shlex.quote(asks)}")
    entry = shlex.join([strict.jai, "-m", "strict", "-j", strict.name])
    seen = run(account.host, f"{line} {entry} sh -c {shlex.quote(asks)}")

    run(account.host, "rm /srv/games-only")
    assert control.stdout == f"{account.name}\n2\ncould read\nend\n"
    assert seen.stdout == "jai\n1\ncat: /srv/games-only: Permission denied\nend\n", seen.stderr
    assert outside.state() == before


@clause("E15")
def test_outside_it_is_a_sub_uid_of_the_user(jail: MakeJail, bobs: Jail) -> None:
    """Outside, `ps` shows an id of the user's own line of /etc/subuid, without groups and capabilities."""
    with sleeping(jail("strict")) as adas, sleeping(bobs) as another:
        for sleeper in (adas, another):
            expected = sub_uid(sleeper.jail.account)
            assert sleeper.uid == expected
            assert sleeper.status("Uid") == [expected] * 4
            assert len(set(sleeper.status("Gid"))) == 1
            assert sleeper.status("Groups") == []
            caps = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
            assert {int(word, 16) for key in caps for word in sleeper.status(key)} == {0}
            assert sleeper.status("NoNewPrivs") == ["1"]
        assert len({adas.uid, another.uid, "61001", "61002", "0"}) == 5


def acts_on(pid: int, project: str) -> dict[str, str]:
    """Every way of reaching a process, as acts for a probe; the last changes the probe itself."""
    return {
        "signal": f"os.kill({pid}, 0)",
        "trace": CALL + f"call(libc.ptrace, {PTRACE_SEIZE}, {pid}, 0, 0)",
        "memory": f"open('/proc/{pid}/mem', 'rb')",
        "environment": f"open('/proc/{pid}/environ').read()",
        "root": f"os.listdir('/proc/{pid}/root/')",
        "granted directory": f"os.listdir('/proc/{pid}/root{project}')",
        "current directory": f"os.listdir('/proc/{pid}/cwd/')",
        "descriptors": f"os.listdir('/proc/{pid}/fd')",
        "a descriptor": CALL + f"call(libc.syscall, {SYS_PIDFD_GETFD}, os.pidfd_open({pid}), 0, 0)",
        "its namespaces": CALL + f"call(libc.setns, os.open('/proc/{pid}/ns/user', os.O_RDONLY), 0)",
    }


ABSENT = dict.fromkeys(("signal", "trace", "a descriptor"), "ESRCH")
FORBIDDEN = dict.fromkeys(("signal", "trace", "a descriptor"), "EPERM")


@clause("E15")
@pytest.mark.parametrize("who", ["in a jail", "in another jail of the same user", "outside", "as a sub-uid"])
def test_a_jail_of_another_can_not_be_reached(jail: MakeJail, bobs: Jail, outside: Outside, who: str) -> None:
    """It is not signalled, traced, read or entered, neither from a jail nor with one's own sub-uid."""
    before = outside.state()
    with sleeping(jail("strict")) as sleeper:
        acts = acts_on(sleeper.pid, sleeper.jail.project)
        if who == "in a jail":
            answers = bobs.tries(acts)
        elif who == "outside":
            answers = outside_of_a_jail(bobs.account, acts)
        elif who == "as a sub-uid":
            answers = outside_of_a_jail(bobs.account, acts, uid=sub_uid(bobs.account) or "61002")
        else:
            answers = jail("strict").tries(acts)
        control = outside_of_a_jail(outside.home.account, acts, uid="0")
        sub_uids = {sub_uid(sleeper.jail.account), sub_uid(bobs.account)}
        alive = sleeper.status("State")

        assert sleeper.uid in sub_uids - {"", sub_uid(bobs.account)}
    inside = who.startswith("in ")
    expected = dict.fromkeys(acts, "ENOENT" if inside else "EACCES") | (ABSENT if inside else FORBIDDEN)
    assert answers == expected
    assert control == dict.fromkeys(acts, "ok")  # root can: the acts are right
    assert alive[0] in "SR"
    assert outside.state() == before


@clause("E15")
def test_the_sub_uid_is_what_separates(bobs: Jail) -> None:
    """The control of the one before: whoever had the jail's own sub-uid could signal what is in it."""
    with sleeping(bobs) as sleeper:
        acts = {"signal": acts_on(sleeper.pid, bobs.project)["signal"]}

        answers = outside_of_a_jail(bobs.account, acts, uid=sub_uid(bobs.account) or "0")

        assert sleeper.uid == sub_uid(bobs.account)
    assert answers == {"signal": "ok"}


@clause("E15")
def test_processes_of_others_are_not_seen(jail: MakeJail, bobs: Jail, outside: Outside) -> None:
    """A jail sees the processes in it, and none of another's or of the host's."""
    with sleeping(jail("strict")) as sleeper:
        listed = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done; echo end"
        found = f"sleep {run(outside.home.account.host, f'cat /proc/{sleeper.pid}/cmdline').stdout[6:-1]}"

        seen = bobs.sh(listed)
        control = outside.home.account.sh(listed)

    assert found in control.stdout
    assert found not in seen.stdout
    assert len(seen.stdout.split("\n")) < 12
    assert seen.stdout.endswith("end\n")


@clause("E15")
def test_files_of_another_user(jail: MakeJail, bobs: Jail, outside: Outside) -> None:
    """The home and /tmp of another's jail and closed files are out of reach; nothing can be written."""
    account, host = outside.home.account, outside.home.account.host
    adas = jail("strict")
    adas.sh("echo mine > ~/mine; echo mine > /tmp/mine; echo mine > in-the-grant; chmod 666 in-the-grant")
    must(run(host, "install -m 666 /dev/null /srv/watched/anybody"))
    before = outside.state()
    storage = f"{account.home}/.jai/{adas.name}"
    acts = {
        "its home": f"open('{storage}.home/mine').read()",
        "its /tmp": f"open('{storage}.tmp/mine').read()",
        "/tmp": "open('/tmp/mine').read()",
        "a closed file": "open('/srv/watched/private').read()",
        "an open file": "open('/srv/watched/file').read()",
        "write to what anybody may": "open('/srv/watched/anybody', 'a')",
        "write to its grant": f"open('{adas.project}/in-the-grant', 'a')",
        "make a file in its grant": f"open('{adas.project}/new', 'x')",
        "write to one's own": "open('own', 'w')",
    }

    answers = bobs.tries(acts)
    control = outside_of_a_jail(account, acts, cwd=account.home + "/project")

    assert outside.state() == before
    assert answers == {
        "its home": "EACCES",
        "its /tmp": "EACCES",
        "/tmp": "ENOENT",
        "a closed file": "EACCES",
        "an open file": "ok",
        "write to what anybody may": "EROFS",
        "write to its grant": "EACCES",
        "make a file in its grant": "EACCES",
        "write to one's own": "ok",
    }
    assert control == dict.fromkeys(acts, "ok") | {"/tmp": "ENOENT"}


# --- whose the files are ----------------------------------------------------------------------------------

MAKES = """
set -e
umask 027
echo 1 > made; mkdir folder; ln -s made link; mkfifo pipe; echo 2 > folder/inner
echo 3 > new; mv new renamed; ln made linked; mkdir moved; mv moved folder/moved
echo more >> README.md; chmod 600 README.md; touch -d @1000000000 made; chmod 750 folder
sed -i s/return/return\\ / src/main.c; cp -a src copied; echo 4 > temporary; mv temporary src/main.c
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
tar -cf all.tar made folder; mkdir out; tar -xf all.tar -C out
find . -printf '%u\\n' | sort -u; stat -c '%a %Y' made
"""


@clause("E15")
@pytest.mark.parametrize(
    "place", ["the home's file system", pytest.param("tmpfs", marks=needs("a tmpfs that can be id-mapped"))]
)
def test_what_is_made_in_the_grant_is_the_user_s(jail: MakeJail, outside: Outside, place: str) -> None:
    """However it was made, renamed, linked or changed; the jail's own home and /tmp likewise."""
    account, host, strict = outside.home.account, outside.home.account.host, jail("strict")
    with contextlib.ExitStack() as stack:
        if place == "tmpfs":
            stack.enter_context(disks.strange(account, strict.project, "tmpfs"))
            must(account.sh("mkdir src; echo x > README.md; echo 'return' > src/main.c", cwd=strict.project))
        before = outside.state()

        seen = strict.sh(f"{MAKES}\ntouch ~/mine /tmp/mine /var/tmp/mine2 /dev/shm/mine")

        assert (seen.words, seen.rc) == (["jai", "640", "1000000000"], 0), seen.stderr
        storage = f"{account.home}/.jai"
        assert owners(host, strict.project, storage) == {f"{account.name}:{account.name}"}
        assert outside.state() == before
        listed = account.sh(
            "stat -c '%n %a' made renamed folder README.md; stat -c %h made linked", cwd=strict.project
        )
        modes = ["made 640", "renamed 640", "folder 750", "README.md 600"]
        assert listed.stdout.splitlines() == [*modes, "2", "2"]
        # Outside they are the user's to change and to remove.
        must(account.sh("echo x >> made; chmod 700 folder; rm -r out copied folder", cwd=strict.project))
        must(account.sh(f"rm -r .jai/{strict.name}.home .jai/{strict.name}.tmp"))


def acts_on_files_of_others(jail: Jail) -> dict[str, str]:
    """Put files of others in the grant: as acts that write to each of them, in every way there is."""
    host, project = jail.account.host, jail.project
    acts: dict[str, str] = {}
    own = f"{jail.account.name}:{jail.account.name}"
    for name, owner in {
        "roots": "root:root",
        "open to all": "root:root",
        "bobs": "bob:bob",
        "own": own,
    }.items():
        mode = "666" if name == "open to all" else "644"
        make = f"echo old > '{name}'; mkdir 'in {name}'; touch 'in {name}/file'; chmod 777 'in {name}'"
        give = f"chmod {mode} '{name}' 'in {name}/file'; chown -R {owner} '{name}' 'in {name}'"
        must(run(host, f"cd {project} && {{ {make}; {give}; }}"))
        acts |= {
            f"read {name}": f"open('{name}').read()",
            f"write to {name}": f"open('{name}', 'r+').write('new')",
            f"truncate {name}": f"os.truncate('{name}', 0)",
            f"touch {name}": f"os.utime('{name}')",
            f"set an attribute of {name}": f"os.setxattr('{name}', 'user.x', b'1')",
            f"change the mode of {name}": f"os.chmod('{name}', 0o606)",
            f"take {name}": f"os.chown('{name}', os.getuid(), os.getgid())",
            f"make a file in {name}": f"open('in {name}/new', 'x')",
            f"make a folder in {name}": f"os.mkdir('in {name}/folder')",
            f"link into {name}": f"os.link('README.md', 'in {name}/link')",
            f"remove a file in {name}": f"os.unlink('in {name}/file')",
            f"link {name}": f"os.link('{name}', 'linked {name}')",
            f"rename {name}": f"os.rename('{name}', 'renamed'); os.rename('renamed', '{name}')",
            f"remove {name}": f"os.unlink('{name}')",
        }
    return acts


@clause("E15")
def test_files_of_others_in_the_grant_stay_as_they_are(jail: MakeJail, outside: Outside) -> None:
    """Not even what is open to all can be written, replaced or removed, since its owner has no id inside."""
    strict, host = jail("strict"), outside.home.account.host
    acts = acts_on_files_of_others(strict)
    own = {name: act for name, act in acts.items() if name.endswith("own")}
    not_own = {name: act for name, act in acts.items() if name not in own}
    before = read(host, strict.project), outside.state()

    answers = strict.tries(not_own)

    assert (read(host, strict.project), outside.state()) == before
    assert strict.tries(own) == dict.fromkeys(own, "ok")
    # Outside the user may write to what is open to all, and remove what lies in a directory of its own.
    control = outside_of_a_jail(outside.home.account, not_own, cwd=strict.project)
    allowed = {name for name, answer in control.items() if answer == "ok"}
    assert {"write to open to all", "make a file in bobs", "rename roots", "remove bobs"} <= allowed
    reading = {name for name in not_own if name.startswith("read ")}
    assert {name for name in not_own if answers[name] == "ok"} == reading
    # Which of them it is has changed from kernel to kernel.
    assert {answers[name] for name in not_own.keys() - reading} <= {"EACCES", "EPERM", "EOVERFLOW"}


@clause("E15")
def test_a_directory_of_another_group(jail: MakeJail, outside: Outside) -> None:
    """The map has no place for its group, so nobody can write to it; jai says so before it starts."""
    account, strict = outside.home.account, jail("strict")
    before = outside.state()
    must(run(account.host, f"chgrp 60 {strict.project}"))

    seen = strict.run(["sh", "-c", "ls; touch made || ls src"])

    assert seen.words == ["README.md", "src", *must(account.sh(f"ls {strict.project}/src")).words]
    assert f"jai: {strict.project} is of the group 60" in seen.stderr
    must(run(account.host, f"chgrp {account.name} {strict.project}"))
    assert outside.state() == before
    seen = strict.run(["touch", "made"])  # control
    assert (seen.rc, seen.stderr) == (0, "")


@clause("E15")
def test_nothing_can_be_given_away(jail: MakeJail, outside: Outside) -> None:
    """Neither chown nor chgrp to any id but the jail's own succeeds, whoever it is outside."""
    account, strict = outside.home.account, jail("strict")
    sub = sub_uid(account) or "1"
    before = outside.state()
    ids = {"root": 0, "the user": 61001, "bob": 61002, "nobody": 65534, "the sub-uid": int(sub), "1": 1}
    acts = {"make": "open('mine', 'w').close(); os.mkdir('folder'); os.symlink('x', 'link')"}
    for name, number in ids.items():
        acts[f"to {name}"] = f"os.chown('mine', {number}, -1)"
        acts[f"to {name}'s group"] = f"os.chown('mine', -1, {number})"
        acts[f"a folder to {name}"] = f"os.chown('folder', {number}, {number})"
        acts[f"a link to {name}"] = f"os.lchown('link', {number}, {number})"
    kept = {"to itself": "[os.chown(name, os.getuid(), os.getgid()) for name in ('mine', 'folder')]"}

    answers = strict.tries(acts | kept)

    assert answers == dict.fromkeys(acts, "EINVAL") | {"make": "ok", "to itself": "ok"}
    assert owners(account.host, strict.project) == {f"{account.name}:{account.name}"}
    assert outside.state() == before


@clause("E15")
def test_set_gid_directories(jail: MakeJail, outside: Outside) -> None:
    """In one of the user's group files get that; one of another group can not be written to."""
    account, strict = outside.home.account, jail("strict")
    host, name = account.host, account.name
    make = "mkdir own other; touch other/old; chmod 664 other/old"
    give = f"chown {name}:{name} own; chown -R {name}:games other; chmod 2775 own other"
    must(run(host, f"cd {strict.project} && {{ {make}; {give}; }}"))
    before = outside.state()
    acts = {
        "a file in own": "open('own/file', 'x')",
        "a folder in own": "os.mkdir('own/folder')",
        "a file in other": "open('other/file', 'x')",
        "a folder in other": "os.mkdir('other/folder')",
        "link into other": "os.link('README.md', 'other/link')",
        "rename into other": "os.rename('README.md', 'other/README.md')",
        "write in other": "open('other/old', 'a').write('x')",
    }

    answers = strict.tries(acts)
    control = outside_of_a_jail(
        account, {name: acts[name] for name in acts if "other" in name}, cwd=strict.project
    )

    allowed = {"a file in own": "ok", "a folder in own": "ok"}
    assert answers == dict.fromkeys(acts, "EACCES") | allowed
    assert set(control.values()) == {"ok"}
    made = must(run(host, f"cd {strict.project} && stat -c '%U:%G %A' own/file own/folder other/file"))
    folder = "drwxr-sr-x"
    assert made.stdout.splitlines()[:2] == [f"{name}:{name} -rw-r--r--", f"{name}:{name} {folder}"]
    assert owners(host, strict.project) <= {f"{name}:{name}", f"{name}:games"}
    assert outside.state() == before


@clause("E15")
@needs("setfacl")
def test_access_control_lists(jail: MakeJail, outside: Outside) -> None:
    """A default list is inherited as outside; nobody can be named in one but jai, that is the user."""
    account, strict = outside.home.account, jail("strict")
    must(account.sh("mkdir a b; setfacl -m d:u:bob:rwx,d:g:games:r,d:o:- a b; touch one", cwd=strict.project))
    before = outside.state()

    seen = strict.sh(
        "umask 022; touch a/file; mkdir a/folder;"
        "setfacl -m u:61002:rw one; echo $?; setfacl -m g:60:rw one; echo $?;"
        "setfacl -m u:$(id -u):rw one; echo $?; setfacl -m d:u:0:rwx a; echo $?; stat -c %U a/file"
    )

    assert seen.stdout == "1\n1\n0\n1\njai\n", seen.stderr
    must(account.sh("umask 022; touch b/file; mkdir b/folder", cwd=strict.project))
    for path in ("", "/file", "/folder"):
        lists = [must(account.sh(f"getfacl -cn {strict.project}/{top}{path}")).stdout for top in "ab"]
        assert lists[0] == lists[1]
    assert "user:61001:rw-" in must(account.sh("getfacl -cn project/one")).words
    assert owners(account.host, strict.project) == {f"{account.name}:{account.name}"}
    assert outside.state() == before


# --- what is there -----------------------------------------------------------------------------------------


@clause("I02")
def test_the_rest_of_the_home_is_not_there(jail: MakeJail, outside: Outside) -> None:
    """Of the home only the granted directory is there, by whatever way."""
    must(outside.home.account.sh("ln -s .. project/link; mkdir -m 700 closed; touch closed/file"))
    before = outside.state()
    ways = {"by its name": "{home}/", "by ..": "../", "by a link": "link/", "by /proc": "/proc/self/cwd/../"}
    acts = {
        f"{path} {way}": f"os.lstat('{start.format(home=outside.home.path)}{path}')"
        for path in ("notes.txt", ".bashrc", ".ssh/id_ed25519", "Documents", "closed/file", "project")
        for way, start in ways.items()
    }

    answers = jail("strict").tries(acts)
    casual = jail("casual").tries(acts)

    assert answers == {name: "ok" if name.startswith("project") else "ENOENT" for name in acts}
    assert {name for name in acts if casual[name] != "ok"} == {name for name in acts if ".ssh" in name}
    assert outside.state() == before


@pytest.fixture
def closed(host: Host) -> Iterator[str]:
    """A closed directory of ada's outside of the home, with something deep in it to be granted."""
    place = f"/srv/closed-{secrets.token_hex(4)}"
    must(run(host, f"mkdir -p {place}/deep/project {place}/other; echo secret > {place}/secret"))
    must(run(host, f"touch {place}/deep/next {place}/deep/project/file; chown -R ada:ada {place}"))
    must(run(host, f"chmod 700 {place} {place}/deep; chmod 755 {place}/secret"))
    yield place
    run(host, f"rm -rf {place}")


@clause("E15")
def test_a_grant_below_a_closed_directory(jail: MakeJail, outside: Outside, closed: str) -> None:
    """It is reachable where it is, and shows nothing else of what is closed."""
    strict, host = jail("strict"), outside.home.account.host
    before = outside.state(), read(host, closed, without=["deep/project"])
    acts = {
        "the way": f"assert os.listdir('{closed}') == ['deep']",
        "the rest of the way": f"assert os.listdir('{closed}/deep') == ['project']",
        "the grant": f"open('{closed}/deep/project/file', 'a').write('x')",
        "here": f"assert os.getcwd() == '{closed}/deep/project'; open('made', 'x')",
        "what is beside": f"os.lstat('{closed}/secret')",
        "beside, by ..": "os.lstat('../../secret')",
        "a folder beside": f"os.lstat('{closed}/other')",
        "write beside": f"open('{closed}/new', 'x')",
        "rename the way": f"os.rename('{closed}/deep', '{closed}/other')",
    }

    answers = strict.tries(acts, cwd=f"{closed}/deep/project")

    expected = dict.fromkeys(("what is beside", "beside, by ..", "a folder beside"), "ENOENT")
    expected |= {"write beside": "EROFS", "rename the way": "EROFS"}
    assert answers == dict.fromkeys(acts, "ok") | expected
    assert (outside.state(), read(host, closed, without=["deep/project"])) == before
    assert owners(host, closed) == {"ada:ada"}
    assert jail("bare").tries({"what is beside": acts["what is beside"]}, cwd=f"{closed}/deep/project") == {
        "what is beside": "ok"
    }  # control: the user itself may go there


@clause("E15")
def test_read_only_grants(jail: MakeJail, outside: Outside, closed: str) -> None:
    """With --rdir the user's closed files can be read, and nothing can be written; with --dir it can."""
    must(run(outside.home.account.host, f"chmod 600 {closed}/secret"))
    before = outside.state(), read(outside.home.account.host, closed)
    acts = {
        "read": f"open('{closed}/secret').read()",
        "write": f"open('{closed}/secret', 'a').write('x')",
        "make": f"open('{closed}/new', 'x')",
        "change": f"os.chmod('{closed}/secret', 0o644)",
        "remove": f"os.unlink('{closed}/secret')",
    }

    answers = jail("strict").tries(acts, "-r", closed)
    without = jail("strict").tries({"read": acts["read"]})

    assert (outside.state(), read(outside.home.account.host, closed)) == before
    assert answers == dict.fromkeys(acts, "EROFS") | {"read": "ok"}
    assert without == {"read": "EACCES"}
    assert jail("strict").tries(acts, "-d", closed) == dict.fromkeys(acts, "ok")  # control


@clause("E06")
@guards("nested-user-namespaces", "strict-filter")
@also_as_root
def test_no_user_namespaces_inside(jail: MakeJail, outside: Outside) -> None:
    """Neither unshare nor clone nor clone3 makes one, none can be entered, and the limit is 0."""
    before = outside.state()
    record = f"ctypes.byref((ctypes.c_uint64 * 8)({CLONE_NEWUSER}, 0, 0, 0, {signal.SIGCHLD:d}))"
    clone3 = f"call(libc.syscall, {SYS_CLONE3}, {record}, 64)"
    child = "\nos._exit(0) if pid == 0 else os.waitpid(pid, 0)"
    acts = {
        "unshare": CALL + f"call(libc.unshare, {CLONE_NEWUSER})",
        "clone": CALL
        + f"pid = call(libc.syscall, ({SYS_CLONE}), {CLONE_NEWUSER | signal.SIGCHLD}, 0, 0, 0, 0)"
        + child,
        "clone3": CALL + f"pid = {clone3}{child}",
        "with mounts": CALL + f"call(libc.unshare, {CLONE_NEWUSER | CLONE_NEWNS})",
        "mounts alone": CALL + f"call(libc.unshare, {CLONE_NEWNS})",
        "enter its own": CALL + "call(libc.setns, os.open('/proc/self/ns/user', os.O_RDONLY), 0)",
        "enter that of PID 1": CALL + "call(libc.setns, os.open('/proc/1/ns/user', os.O_RDONLY), 0)",
        "raise the limit": "open('/proc/sys/user/max_user_namespaces', 'w').write('10')",
        "mount": CALL + "call(libc.mount, b'none', b'/tmp', b'tmpfs', 0, None)",
    }
    alone = [{name: act} for name, act in acts.items()]  # since one that succeeds changes the probe

    strict, casual = jail("strict"), jail("casual")
    answers = {name: answer for act in alone for name, answer in strict.tries(act).items()}
    control = {name: answer for act in alone[:4] for name, answer in casual.tries(act).items()}
    bwrap = strict.sh(
        "unshare -Ur true; echo $?; unshare --user --map-root-user --mount true; echo $?"
        "; cat /proc/sys/user/max_user_namespaces"
    )

    assert outside.state() == before
    assert answers == {
        "unshare": "EPERM",
        "clone": "EPERM",
        "clone3": "ENOSYS",
        "with mounts": "EPERM",
        "mounts alone": "EPERM",
        "enter its own": "EPERM",
        "enter that of PID 1": "EACCES",
        "raise the limit": "EROFS" if outside.home.account.name == "root" else "EACCES",
        "mount": "EPERM",
    }
    assert control == dict.fromkeys(("unshare", "clone", "clone3", "with mounts"), "ok")
    assert bwrap.stdout == "1\n1\n0\n"


# --- when it can not be ------------------------------------------------------------------------------------


def is_refused(seen: Seen, *words: str) -> None:
    """Assert that jai itself ended, before the command began, with a message that has the words."""
    assert (seen.rc, seen.stdout) == (FAILED, "")
    assert 0 < len(seen.stderr.splitlines()) <= 3
    assert seen.stderr.startswith("jai: ")
    assert [word for word in words if word not in seen.stderr] == [], seen.stderr


@clause("E15")
@pytest.mark.parametrize("kind", ["ramfs", pytest.param("FUSE", marks=needs("FUSE"))])
@pytest.mark.parametrize("how", ["as the current directory", "with --dir", "read-only"])
def test_a_file_system_without_id_maps(
    jail: MakeJail, outside: Outside, closed: str, kind: str, how: str
) -> None:
    """A grant on one is refused with its name and what does work: bare mode."""
    account, strict, place = outside.home.account, jail("strict"), f"{closed}/other"
    options = {"with --dir": ["-d", place], "read-only": ["-r", place]}.get(how, [])
    cwd = place if how == "as the current directory" else ""
    must(run(account.host, f"chmod 755 {closed}"))
    with disks.strange(account, place, kind):
        before = outside.state()

        seen = strict.run(["echo", "ran"], *options, cwd=cwd)
        control = jail("bare").run(["echo", "ran"], *options, cwd=cwd)

        assert outside.state() == before
    assert (control.rc, control.stdout) == (0, "ran\n"), control.stderr
    assert strict.run(["echo", "ran"]).stdout == "ran\n"
    is_refused(seen, place, "-m bare")


LIBEXEC_COPY = f"cp -a {LIBEXEC}/jai /tmp/libexec-$$; mount -t tmpfs -o mode=755 none {LIBEXEC}"
SPOILED = {
    "the helper is missing": f"mount -t tmpfs none {LIBEXEC}",
    "the helper has no capabilities": f"{LIBEXEC_COPY}; mv /tmp/libexec-$$ {LIBEXEC}/jai; setcap -r {HELPER}",
    "the helper is mounted nosuid": f"mount -B {LIBEXEC} {LIBEXEC}; mount -o remount,bind,nosuid {LIBEXEC}",
    "there is no sub-uid": "grep -v ^61001: /etc/subuid > /tmp/new; mount --bind /tmp/new /etc/subuid",
    "there is no sub-gid": "grep -v ^61001: /etc/subgid > /tmp/new; mount --bind /tmp/new /etc/subgid",
    "there is no user jai": "grep -v ^jai: /etc/passwd > /tmp/new; mount --bind /tmp/new /etc/passwd",
}


@clause("E15")
@pytest.mark.parametrize("spoiled", SPOILED)
def test_strict_mode_without_its_set_up(jail: MakeJail, outside: Outside, spoiled: str) -> None:
    """A message that names what mends it; the command does not run, in strict mode or in a weaker one."""
    strict = jail("strict")
    elsewhere = shlex.join(["unshare", "--mount", "sh", "-c", f'{SPOILED[spoiled]}; "$@"', "sh"])
    before = outside.state()

    seen = strict.run(["sh", "-c", "touch ran; echo ran"], prefix=elsewhere)

    assert outside.state() == before
    is_refused(seen, "sudo jai --setup")
    assert run(outside.home.account.host, f"ls {strict.project}").words == ["README.md", "src"]
    assert strict.run(["echo", "ran"]).stdout == "ran\n"  # control


# As on a machine where nobody has set strict mode up; what the system's tools change is the copy.
NOTHING_SET_UP = f"""
mount -t tmpfs -o mode=755 none {LIBEXEC}; mount -t tmpfs none /run
cp -a /etc /tmp/etc-$$; mount --bind /tmp/etc-$$ /etc; rm -f /etc/subuid /etc/subgid /etc/sub?id-
sed -i /^jai:/d /etc/passwd /etc/shadow /etc/group /etc/gshadow
rm -f /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow-
cp -a /etc /tmp/before-$$
"""
BUT_BACKUPS = "--no-dereference -x '*-'"  # of useradd and its like


@clause("E15")
@pytest.mark.parametrize("caller", ["through sudo", "root itself"])
def test_root_needs_no_helper(jail: MakeJail, outside: Outside, caller: str) -> None:
    """Nothing privileged is installed: only the user jai and a strict id are made, which --remove knows."""
    account, strict = outside.home.account, jail("strict")
    user = account.name if caller == "through sudo" else "root"
    project = strict.project if user != "root" else "/root/project"
    must(run(account.host, "mkdir -p /root/project"))
    inside = "id -un; id -u; touch made; grep CapPrm /proc/self/status"
    entry = shlex.join([strict.jai, "-m", "strict", "-j", "roots", "sh", "-c", inside])
    before = outside.state()
    script = f"""{NOTHING_SET_UP}
        cd {project}; export SUDO_USER={user} USER=root HOME=/root
        {entry}; echo $?; stat -c %U made; rm made; find {LIBEXEC} -type f
        setpriv --reuid={account.name} --clear-groups env -u SUDO_USER HOME={account.home} {entry}; echo $?
        {strict.jai} --setup --remove >/dev/null; diff -r {BUT_BACKUPS} /etc /tmp/before-$$
        find {LIBEXEC} -mindepth 1"""

    seen = run(account.host, f"unshare --mount sh -c {shlex.quote(script)}")

    number, book = seen.words[1], f"{LIBEXEC}/jai/setup.json"
    assert seen.words == ["jai", number, "CapPrm:", "0" * 16, "0", user, book, "125"], seen.stderr
    assert f"a strict uid for {user}: " in seen.stderr
    assert "strict mode has not been set up" in seen.stderr  # the control: the user alone
    assert outside.state() == before


@clause("E15")
def test_what_root_lends_the_helper_is_for_nobody_else(jail: MakeJail, outside: Outside) -> None:
    """A program of the user's that jai starts outside of the jail, which prepares it, has no privilege."""
    account, strict = outside.home.account, jail("strict")
    script = "#!/bin/sh\\nexec >seen\\nid -u\\ngrep ^Cap /proc/self/status | grep -v CapBnd\\n"
    must(account.sh(f"printf '{script}' >~/prepare; chmod 755 ~/prepare"))
    program = ["--initjail", f"{account.home}/prepare"]
    entry = shlex.join([strict.jai, "-m", "strict", "-j", strict.name, *program, "cat", "../seen"])
    lent = f"cd {strict.project}; export SUDO_USER={account.name} USER=root HOME=/root; {entry}"

    seen = run(account.host, f"unshare --mount sh -c {shlex.quote(NOTHING_SET_UP + lent)}")

    none = [word for name in ("CapInh:", "CapPrm:", "CapEff:", "CapAmb:") for word in (name, "0" * 16)]
    assert seen.words == [*must(account.sh("id -u")).words, *none], seen.stderr


@clause("E15")
def test_root_for_a_user(jail: MakeJail, outside: Outside) -> None:
    """`sudo jai -m strict` is the user's own strict jail: jai inside, the user's files outside."""
    account, strict = outside.home.account, jail("strict")
    before = outside.state()
    entry = shlex.join(
        [strict.jai, "-m", "strict", "-j", strict.name, "sh", "-c", "id -un; echo ~; touch made; id -u"]
    )

    seen = run(
        account.host, f"cd {strict.project} && env SUDO_USER={account.name} USER=root HOME=/root {entry}"
    )

    assert seen.words[:2] == ["jai", account.home], seen.stderr
    assert seen.words[2:] == must(strict.sh("id -u")).words  # the same as without sudo
    assert owners(account.host, strict.project, f"{account.home}/.jai") == {f"{account.name}:{account.name}"}
    assert outside.state() == before
