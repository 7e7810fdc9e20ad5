"""`sudo jai --setup` makes the machine ready for strict mode, and `--setup --remove` leaves it as it was.

The real command runs as the real root, in a mount namespace with an /etc, /usr/local and /run of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.abilities import needs
from jai.errors import RefusedError
from jai.host import HELPER
from jai.verbs.setup import apparmor, ranges
from jai.verbs.setup.account import GECOS, USER
from jai.verbs.setup.book import BOOK, FOLDER
from tests.helpers import JAI_FAILED, PATH, find_jai, outside_walls

if TYPE_CHECKING:
    from collections.abc import Iterator

Done = subprocess.CompletedProcess[str]
Tree = dict[str, tuple[object, ...]]

AS_ROOT = os.geteuid() == 0
as_root = needs("root")

PEOPLE = {"ada": 61001, "carl": 1500, "dora": 1501}  # ada is beyond the real users: only as $SUDO_USER
FOREIGN = "ada:100000:65536\ncarl:165536:65536\n# comment\n\ncontainers:2147483647:2147483648\n"
PRIVILEGE = bytes.fromhex("01000002c00020000000000000000000" + "00000000")

# Arguments: a scratch directory, the folder of the package, the files to write.
MAKE = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755,size=256m none "$1"
cd "$1"
cp -a /etc etc
mkdir run local local.work package package.work sbin sbin.work
for place in local:/usr/local package:"$2" sbin:/usr/sbin; do
    upper=$1/${place%%:*}
    mount -t overlay -o "lowerdir=${place#*:},upperdir=$upper,workdir=$upper.work" none "${place#*:}"
done
chown root:root /usr/local
chmod 755 /usr/local
rm -rf /usr/local/libexec
mount --bind etc /etc
mount --bind run /run
rm -f /etc/*- /etc/*.lock /etc/apparmor.d/jai
echo ready
exec cat
"""

CAPABILITIES = """
import socket, subprocess, sys, time
ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
helper = subprocess.Popen([sys.argv[1]], stdin=its)
its.close()
for _ in range(1000):
    time.sleep(0.005)
    status = dict(line.split(":", 1) for line in open(f"/proc/{helper.pid}/status"))
    if status["State"].split()[0] != "R":  # it waits for a request, or has given up
        break
print(int(status["CapPrm"], 16), status["Uid"].split()[0])
ours.close()
helper.wait(10)
"""


class Machine:
    """A machine of its own as far as --setup is concerned; the kernel and the programs are the real ones."""

    def __init__(self, place: Path, jai: str) -> None:
        """Make it: the accounts of `PEOPLE` and the sub-uids of others, no trace of jai."""
        self.jai = jai
        python = Path(jai).parent / "python"
        where = "import jai; print(jai.__path__[0])"
        self.package = subprocess.run(
            [python, "-I", "-c", where], capture_output=True, text=True, check=True
        ).stdout.strip()
        command = ["unshare", "--mount", "sh", "-c", MAKE, "make", str(place), self.package]
        self.keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.keeper.stdout
        assert self.keeper.stdout.readline() == "ready\n"
        self.root = Path(f"/proc/{self.keeper.pid}/root")
        for name, mode in {"passwd": 0o644, "group": 0o644, "shadow": 0o640, "gshadow": 0o640}.items():
            self.set_accounts(name, mode)
        for name in ("subuid", "subgid"):
            self.write(f"/etc/{name}", FOREIGN)
        if not Path(self.package, "helper/jai-idmap").exists():
            self.write(f"{self.package}/helper/jai-idmap", Path("/bin/true").read_bytes(), 0o755)

    def set_accounts(self, name: str, mode: int) -> None:
        """Keep the system's accounts, drop the people, and put ours in their place."""
        names = {*PEOPLE, "jai"}
        kept = []
        for line in self.text(f"/etc/{name}").splitlines():
            fields = line.split(":")
            number = int(fields[2]) if name in ("passwd", "group") else 0
            if fields[0] not in names and (number < 1000 or number == 65534):
                kept.append(line)
        row = {
            "passwd": "{0}:x:{1}:{1}::/home/{0}:/bin/bash",
            "group": "{0}:x:{1}:",
            "shadow": "{0}:*:19000:0:99999:7:::",
            "gshadow": "{0}:!::",
        }[name]
        kept += [row.format(*each) for each in PEOPLE.items()]
        self.write(f"/etc/{name}", "\n".join(kept) + "\n", mode)

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Write a file of root's."""
        place = self.root / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
        place.chmod(mode)

    def bytes(self, path: str) -> bytes:
        """Read a file."""
        return (self.root / path[1:]).read_bytes()

    def text(self, path: str) -> str:
        """Read a file that is text."""
        return self.bytes(path).decode("utf-8", "surrogateescape")

    def there(self, path: str) -> bool:
        """Say whether something is at a path."""
        return os.path.lexists(self.root / path[1:])

    def run(self, *words: str, **env: str) -> Done:
        """Run a command as root."""
        login = {"HOME": "/root", "USER": "root", "LOGNAME": "root", "PATH": PATH, **env}
        enter = ["nsenter", f"--target={self.keeper.pid}", "--mount", "--"]
        return subprocess.run(
            [*enter, *words], env=login, capture_output=True, text=True, check=False, timeout=120
        )

    def sh(self, script: str, *words: str, **env: str) -> Done:
        """Run a shell script as root, which must succeed."""
        done = self.run("sh", "-ec", script, "sh", *words, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def setup(self, *words: str, **env: str) -> Done:
        """Run the command."""
        return self.run(self.jai, "--setup", *words, **env)

    def good_setup(self, *words: str, **env: str) -> list[str]:
        """Run the command, which must succeed, and give what it said."""
        done = self.setup(*words, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    def tree(self, *, times: bool = False) -> Tree:
        """Everything that --setup may touch, but for the lock that stays, and what useradd and mount keep."""
        found: Tree = {}
        for top in ("etc", "usr/local/libexec", "run"):
            for folder, folders, files in os.walk(self.root / top):
                for name in [".", *folders, *files]:
                    path = Path(folder, name)
                    backup = name.endswith("-") and folder == str(self.root / "etc")
                    if not backup and name != ".pwd.lock":
                        found[str(path.relative_to(self.root))] = entry(path, times=times)
        found.pop("run/mount", None)
        return found

    def lines(self, name: str) -> dict[int, int]:
        """The strict ids in /etc/subuid or /etc/subgid."""
        return ranges.find_ranges(self.bytes(f"/etc/{name}"))

    def end(self) -> None:
        """Let go of it."""
        self.keeper.communicate("", timeout=30)


def entry(path: Path, *, times: bool) -> tuple[object, ...]:
    """What is to be compared of one file or directory."""
    found = path.lstat()
    content: object = os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
    attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in listed(path)}
    # A directory's time also changes when a lock comes and goes.
    when = (found.st_mtime_ns, found.st_ino) if times and not path.is_dir() else ()
    return (stat.filemode(found.st_mode), found.st_uid, found.st_gid, content, str(attributes), *when)


def listed(path: Path) -> list[str]:
    """The extended attributes of a file, overlayfs's own left out."""
    return [name for name in os.listxattr(path, follow_symlinks=False) if ".overlay." not in name]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine on which nobody has ever set up jai."""
    if outside_walls():
        pytest.exit("run it behind the wall: python -m conformance.wall -- pytest tests", returncode=4)
    made = Machine(tmp_path, find_jai())
    yield made
    made.end()


# --- it does what it says -------------------------------------------------------------------------------


@as_root
def test_setup_makes_all_that_strict_mode_needs(machine: Machine) -> None:
    """A system user, a strict uid for root and each person, the helper with its capabilities and no more."""
    said = machine.good_setup()

    account = next(line for line in machine.text("/etc/passwd").splitlines() if line.startswith("jai:"))
    name, _, uid, gid, gecos, home, shell = account.split(":")
    assert (name, gecos, home) == ("jai", "JAI sandbox untrusted user", "/")
    assert 0 < int(uid) < 1000
    assert 0 < int(gid) < 1000
    assert shell.endswith("nologin")
    assert machine.lines("subuid") == {0: 2_100_000_000, 1500: 2_100_000_001, 1501: 2_100_000_002}
    assert machine.lines("subgid") == machine.lines("subuid")
    for path, mode in {FOLDER: 0o755, HELPER: 0o755, BOOK: 0o600}.items():
        found = (machine.root / path[1:]).lstat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, mode), path
    assert os.getxattr(machine.root / HELPER[1:], "security.capability") == PRIVILEGE
    assert machine.bytes(HELPER) == machine.bytes(f"{machine.package}/helper/jai-idmap")
    assert all(line.startswith("done: ") for line in said), said
    assert len(said) == 6


@as_root
def test_the_same_again_changes_nothing(machine: Machine) -> None:
    """The second call finds everything there, and writes to no file."""
    machine.good_setup()
    before = machine.tree(times=True)

    said = machine.good_setup()

    assert machine.tree(times=True) == before
    assert all(line.startswith("already there: ") for line in said), said
    assert len(said) == 4


@as_root
@pytest.mark.parametrize("times", [1, 2])
def test_remove_leaves_the_machine_as_it_was(machine: Machine, times: int) -> None:
    """Each account file has its bytes, mode and owner back, and the folders that were made are gone."""
    before = machine.tree()
    for _ in range(times):
        machine.good_setup()
    assert machine.tree() != before

    said = machine.good_setup("--remove")

    assert machine.tree() == before
    assert all(line.startswith("removed: ") for line in said), said
    assert machine.good_setup("--remove") == ["already gone: there is nothing that --setup has made"]


@as_root
def test_the_helper_has_its_capabilities_for_a_user(machine: Machine) -> None:
    """Started by an ordinary user it has the three capabilities, and the user's uid."""
    machine.good_setup()
    if machine.bytes(HELPER) == Path("/bin/true").read_bytes():
        pytest.fail("this jai was built without the helper")

    words = ["setpriv", "--reuid=1500", "--regid=1500", "--clear-groups", "--no-new-privs"]
    seen = machine.run(*words[:-1], "/usr/bin/python3", "-c", CAPABILITIES, HELPER)
    without = machine.run(*words, "/usr/bin/python3", "-c", CAPABILITIES, HELPER)

    assert seen.stdout.split() == [str(1 << 6 | 1 << 7 | 1 << 21), "1500"], seen.stderr
    assert not without.stdout.startswith(seen.stdout.split()[0])  # control: no_new_privs takes them away


@as_root
def test_without_file_capabilities_it_is_set_uid_root(machine: Machine) -> None:
    """On a file system that has none (ramfs) the helper is set-uid root, and the second call is content."""
    machine.sh("mount -t ramfs -o mode=755 none /usr/local")

    said = machine.good_setup()

    found = (machine.root / HELPER[1:]).stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, 0o4755)
    assert said[-1].endswith("set-uid root, since the file system has no file capabilities")
    assert machine.good_setup()[-1] == f"already there: {HELPER}"
    machine.good_setup("--remove")
    assert os.listdir(machine.root / "usr/local") == []


@as_root
def test_fifty_people_get_fifty_strict_uids(machine: Machine) -> None:
    """No two people share one; who comes later gets a new one, and nobody's changes."""
    people = range(2000, 2050)
    rows = "".join(f"p{uid}:x:{uid}:{uid}::/home/p{uid}:/bin/sh\n" for uid in people)
    machine.write("/etc/passwd", machine.text("/etc/passwd") + rows)
    before = machine.tree()
    machine.good_setup()
    first = machine.lines("subuid")
    machine.good_setup(SUDO_USER="ada")

    later = machine.lines("subuid")

    assert set(first) == {0, 1500, 1501, *people}
    assert len(set(first.values())) == len(first)
    assert later == {**first, PEOPLE["ada"]: max(first.values()) + 1}
    assert later == machine.lines("subgid")
    machine.good_setup("--remove")
    assert machine.tree() == before


@as_root
def test_two_at_once_are_as_good_as_one(machine: Machine) -> None:
    """Two setups that start together make everything once."""
    before = machine.tree()
    machine.sh('"$1" --setup & "$1" --setup & wait %1 && wait %2', machine.jai)

    assert sorted(machine.lines("subuid")) == [0, 1500, 1501]
    for path in ("passwd", "group", "shadow", "gshadow"):
        assert machine.text(f"/etc/{path}").count("\njai:") == 1
    machine.good_setup("--remove")
    assert machine.tree() == before


@as_root
def test_it_waits_for_useradd_and_keeps_it_waiting(machine: Machine) -> None:
    """Setups and user changes at the same time lose nothing of each other."""
    script = 'for n in 1 2 3; do "$1" --setup; "$1" --setup --remove; done >/dev/null & '
    script += "for n in 1 2 3 4 5 6; do useradd -M new$n; done; wait %1"
    machine.sh(script, machine.jai)

    assert [machine.text("/etc/passwd").count(f"\nnew{number}:") for number in range(1, 7)] == [1] * 6
    assert machine.text("/etc/subuid").count("new") == 6
    assert "jai:" not in machine.text("/etc/passwd")


# --- what others have written ---------------------------------------------------------------------------

HOSTILE = {
    "missing": None,
    "empty": b"",
    "no newline at the end": b"carl:100000:65536",
    "malformed": b":::\ncarl\n:5:5\n1500x:1:1\n-1:2:3\ncarl:abc:5\ncarl:5:-5\n\xff\xfe:1:1\nx:1\r\n\x0b\n:::",
    "endless numbers": b"carl:" + b"9" * 90_000 + b":" + b"9" * 90_000 + b"\n",
    "a long file": b"".join(b"user%d:%d:1\n" % (number, number) for number in range(30_000)),
    "the first numbers are taken": b"carl:2099999990:15\nx:2100000005:1\nx:2100000007:3\n",
}


@as_root
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_foreign_lines_stay_as_they_are(machine: Machine, text: bytes | None) -> None:
    """Whatever is in the files, ours come behind it, and are all that is taken away again."""
    for path in ("/etc/subuid", "/etc/subgid"):
        machine.write(path, text or b"")
        if text is None:
            (machine.root / path[1:]).unlink()
    before = machine.tree()

    machine.good_setup()
    made = machine.bytes("/etc/subuid")
    machine.good_setup("--remove")

    assert made.startswith(text or b"")
    assert machine.tree() == before
    rest = made[len(text or b"") :].lstrip(b"\n").decode().splitlines()
    assert [line.split(":")[0::2] for line in rest] == [["0", "1"], ["1500", "1"], ["1501", "1"]]


@as_root
def test_account_files_without_a_newline_get_none(machine: Machine) -> None:
    """What useradd puts at the end of the last line is taken away again."""
    for name in ("passwd", "group", "shadow", "gshadow"):
        place = machine.root / "etc" / name
        place.write_bytes(place.read_bytes().rstrip(b"\n"))
    before = machine.tree()

    machine.good_setup()
    machine.good_setup("--remove")

    assert machine.tree() == before


@as_root
def test_taken_numbers_are_passed_over(machine: Machine) -> None:
    """Neither a range of either file nor a user's or group's number is given out."""
    machine.write("/etc/subuid", "carl:2099999990:15\n")  # to 2100000004
    machine.write("/etc/subgid", "2100000005:2100000006:2\n")
    machine.write("/etc/passwd", machine.text("/etc/passwd") + "far:x:2100000005:1::/:/bin/sh\n")
    machine.write("/etc/group", machine.text("/etc/group") + "far:x:2100000009:\n")

    machine.good_setup()

    given = {0: 2_100_000_008, 1500: 2_100_000_010, 1501: 2_100_000_011}
    assert machine.lines("subuid") == given
    assert machine.lines("subgid") == {2_100_000_005: 2_100_000_006, **given}


@as_root
def test_a_line_of_the_user_is_kept(machine: Machine) -> None:
    """Who has a numeric line keeps it; who has it in one file gets the other; a useless one is told of."""
    machine.write("/etc/subuid", "1500:300000:1\n1501:17:1\n")
    machine.write("/etc/subgid", "1501:400000:1\n")

    done = machine.setup()

    assert machine.lines("subuid") == {0: 2_100_000_000, 1500: 300_000, 1501: ranges.UNFIT}
    assert machine.lines("subgid") == {0: 2_100_000_000, 1500: 2_100_000_001, 1501: 400_000}
    assert done.returncode == 0
    assert "/etc/subuid: strict mode can not use the line of dora" in done.stderr


@as_root
def test_when_every_number_is_taken_nothing_is_made(machine: Machine) -> None:
    """A line that covers everything is told of, and the machine stays as it was."""
    machine.write("/etc/subgid", "carl:1:4294967294\n")
    before = machine.tree()

    done = machine.setup()

    assert done.returncode == JAI_FAILED
    assert "no id from 2100000000" in done.stderr
    assert machine.tree() == before


@as_root
@pytest.mark.parametrize(("uid", "gecos"), [(1000, GECOS), (0, GECOS), (900, "Jai Kumar")])
def test_somebody_called_jai_is_left_alone(machine: Machine, uid: int, gecos: str) -> None:
    """A user of that name that is not ours is refused, and nothing is made."""
    machine.write("/etc/passwd", machine.text("/etc/passwd") + f"jai:x:{uid}:{uid}:{gecos}:/:/bin/sh\n")
    before = machine.tree()

    done = machine.setup()

    assert done.returncode == JAI_FAILED
    assert "that is not jai's" in done.stderr
    assert machine.tree() == before


@as_root
def test_the_user_of_a_package_is_not_ours_to_remove(machine: Machine) -> None:
    """A user and group that were there before stay."""
    machine.sh(f"useradd --system --home-dir / --shell /usr/sbin/nologin --comment '{GECOS}' jai")
    before = machine.tree()

    assert "already there: the system user jai" in machine.good_setup()
    machine.good_setup("--remove")

    assert machine.tree() == before


@as_root
def test_a_group_that_was_there_is_used(machine: Machine) -> None:
    """The user gets it, and it stays when the user goes."""
    machine.sh("groupadd --system jai")
    before = machine.tree()

    machine.good_setup()
    machine.good_setup("--remove")

    assert machine.tree() == before


# --- changed by hand ------------------------------------------------------------------------------------


@as_root
def test_what_was_changed_by_hand_is_left_and_said(machine: Machine) -> None:
    """A changed helper, line and user stay; everything else goes."""
    machine.good_setup()
    machine.write(HELPER, "#!/bin/sh\n", 0o755)
    machine.sh("sed -i s/^1500:2100000001:1/1500:2100000001:7/ /etc/subuid; usermod --shell /bin/sh jai")

    said = machine.good_setup("--remove")

    left = [line for line in said if line.startswith("left: ")]
    assert len(left) == 4, said
    assert machine.text(HELPER) == "#!/bin/sh\n"
    assert machine.text("/etc/subuid") == FOREIGN + "1500:2100000001:7\n"
    assert machine.text("/etc/subgid") == FOREIGN
    for path in ("passwd", "group", "shadow", "gshadow"):
        assert "\njai:" in machine.text(f"/etc/{path}")
    assert os.listdir(machine.root / FOLDER[1:]) == ["jai-idmap"]


@as_root
def test_what_is_gone_already_is_no_error(machine: Machine) -> None:
    """A removed helper and user are no longer to be removed."""
    before = machine.tree()
    machine.good_setup()
    machine.sh(f"rm {HELPER}; userdel jai")

    said = machine.good_setup("--remove")

    assert machine.tree() == before
    assert [line for line in said if line.startswith("already gone")] == [
        f"already gone: {HELPER}",
        "already gone: the system user jai",
    ]


@as_root
def test_what_was_lost_is_made_anew(machine: Machine) -> None:
    """After a part was taken away by hand the next call makes it again, and remove still leaves nothing."""
    before = machine.tree()
    machine.good_setup()
    machine.sh(f"rm {HELPER}; userdel jai; sed -i /^1500:/d /etc/subuid")

    said = machine.good_setup()

    assert [line.partition(": ")[0] for line in said].count("done") == 3
    machine.good_setup("--remove")
    assert machine.tree() == before


@as_root
def test_a_new_helper_replaces_the_old_one(machine: Machine) -> None:
    """After an upgrade of jai the next call installs the new helper; what others put there is refused."""
    before = machine.tree()
    machine.good_setup()
    new = machine.bytes(f"{machine.package}/helper/jai-idmap") + b"new"
    machine.write(f"{machine.package}/helper/jai-idmap", new, 0o755)

    said = machine.good_setup()

    assert machine.bytes(HELPER) == new
    assert os.getxattr(machine.root / HELPER[1:], "security.capability") == PRIVILEGE
    assert [line for line in said if line.startswith("done")] == [
        f"done: {HELPER}, with cap_sys_admin, cap_setuid and cap_setgid"
    ]
    machine.write(HELPER, "#!/bin/sh\n", 0o755)
    refused = machine.setup()
    assert refused.returncode == JAI_FAILED
    assert "is not one that --setup has installed" in refused.stderr
    machine.sh(f"rm {HELPER}")
    machine.good_setup("--remove")
    assert machine.tree() == before


# --- what goes wrong ------------------------------------------------------------------------------------

OBSTACLES = {
    "read-only /etc": ("mount -o remount,bind,ro /etc", "read-only"),
    "a file in the way of a rename": ("mount --bind /etc/subgid /etc/subgid", "mounted over the file"),
    "/usr/local of a group": ("chmod g+w /usr/local", "sudo chmod go-w /usr/local"),
    "/usr/local of a user": ("chown carl /usr/local", "sudo chown root /usr/local"),
    "nosuid": ("mount -o remount,bind,nosuid /usr/local", "nosuid"),
    "a link of a user on the way": (
        "mkdir -p /run/x/y; chown carl /run/x; ln -s /run/x/y /usr/local/libexec",
        "sudo chown root /run/x",
    ),
    "sub-uids of a group": ("chmod g+w /etc/subuid", "chmod go-w /etc/subuid"),
    "sub-uids behind a link": ("mv /etc/subuid /etc/there; ln -s there /etc/subuid", "no links"),
    "a NUL byte": (r"printf 'x\000\n' >>/etc/subgid", "no NUL bytes"),
    "a huge file": ("seq -f 'x%.0f:5:5' 200000 >>/etc/subgid", "larger than the helper reads"),
    "a folder instead of the helper": ("mkdir -p /usr/local/libexec/jai/jai-idmap", "Is a directory"),
    "a locked account file": ("echo 1 >/etc/subgid.lock", "/etc/subgid.lock"),
    "no tool": (
        "for tool in sbin/useradd bin/systemd-sysusers; do mount --bind /dev/null /usr/$tool; done; true",
        "neither useradd nor systemd-sysusers",
    ),
}


@as_root
@pytest.mark.parametrize(("obstacle", "told"), OBSTACLES.values(), ids=OBSTACLES)
def test_a_failure_leaves_the_machine_as_it_was(machine: Machine, obstacle: str, told: str) -> None:
    """Whatever stands in the way is named, and what was made until then is taken back."""
    machine.sh(f"({obstacle}) >/dev/null 2>&1")
    before = machine.tree()

    done = machine.setup()

    assert done.returncode == JAI_FAILED, done.stdout
    assert told in done.stderr
    assert len(done.stderr.splitlines()) <= 4  # the note about the helper's source, and the error
    assert "Traceback" not in done.stderr
    assert machine.tree() == before


@as_root
def test_what_remains_is_named_and_can_be_removed_later(machine: Machine) -> None:
    """A remove that can not do everything says what it left, and the next one does the rest."""
    before = machine.tree()
    machine.good_setup()
    machine.sh("mount --bind /etc/subgid /etc/subgid")

    done = machine.setup("--remove")
    machine.sh("umount /etc/subgid")
    machine.good_setup("--remove")

    assert done.returncode == JAI_FAILED
    assert "what remains: the strict uids" in done.stderr
    assert machine.tree() == before


def at_rename(count: int, signal: str) -> list[str]:
    """The start of a command line that sends a signal when a file is put in place."""
    calls = "rename,renameat,renameat2"
    return [
        "strace",
        "-qq",
        "-o/dev/null",
        f"-etrace={calls}",
        f"-einject={calls}:signal={signal}:when={count}",
    ]


@as_root
@pytest.mark.parametrize("count", range(1, 10))
@pytest.mark.parametrize("again", [False, True])
def test_killed_at_any_point_it_can_be_removed(machine: Machine, count: int, *, again: bool) -> None:
    """SIGKILL at each file that is put in place: remove, or another setup and remove, leave nothing."""
    machine.good_setup("--remove")  # so that Python has its bytecode, which it renames too
    before = machine.tree()
    killed = machine.run(*at_rename(count, "KILL"), machine.jai, "--setup")
    assert killed.returncode != 0, killed.stdout  # control: there are that many

    if again:
        machine.good_setup()
        assert sorted(machine.lines("subuid")) == [0, 1500, 1501]
    machine.good_setup("--remove")

    after = machine.tree()
    after.pop("run/jai-setup.lock", None)
    assert after == before


@as_root
@pytest.mark.parametrize("count", range(1, 10))
def test_a_terminated_setup_takes_everything_back(machine: Machine, count: int) -> None:
    """SIGTERM in the middle is a failure like any other."""
    machine.good_setup("--remove")
    before = machine.tree()

    done = machine.run(*at_rename(count, "TERM"), machine.jai, "--setup")

    assert done.returncode == JAI_FAILED
    assert "--setup was interrupted" in done.stderr
    assert machine.tree() == before


@as_root
def test_nobody_has_to_listen(machine: Machine) -> None:
    """A closed standard output does not stop it half-way."""
    machine.sh('"$1" --setup >&- 2>&-; "$1" --setup | true', machine.jai)

    assert sorted(machine.lines("subuid")) == [0, 1500, 1501]
    assert machine.there(HELPER)


@as_root
@needs("systemd-sysusers")
def test_systemd_can_make_the_user(machine: Machine) -> None:
    """Without useradd systemd-sysusers makes the same user, and remove takes it away."""
    before = machine.tree()
    machine.sh("mount --bind /dev/null /usr/sbin/useradd")

    machine.good_setup()
    made = machine.text("/etc/passwd")
    machine.good_setup("--remove")

    assert f":{GECOS}:/:/usr/sbin/nologin\n" in made
    assert machine.tree() == before


# --- who calls ------------------------------------------------------------------------------------------


def test_an_ordinary_user_is_refused() -> None:
    """Who is not root is told how, and nothing is tried."""
    become = ["setpriv", "--reuid=61001", "--regid=61001", "--clear-groups", "--"] if AS_ROOT else []

    for words in (["--setup"], ["--setup", "--remove"]):
        command = [*become, find_jai(), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": PATH})

        assert done.returncode == JAI_FAILED
        assert done.stdout == ""
        assert done.stderr.splitlines()[1:] == [f"  hint: sudo jai {' '.join(words)}"]


@pytest.mark.parametrize("words", [["--remove", "--remove"], ["--help"], ["ls"], ["--rm"]])
def test_other_words_are_refused(words: list[str]) -> None:
    """--setup takes --remove and nothing else."""
    done = subprocess.run([find_jai(), "--setup", *words], capture_output=True, text=True, check=False)

    assert done.returncode == JAI_FAILED
    assert done.stderr == f"jai: {words[-1]}: --setup takes nothing but --remove\n"


@as_root
def test_it_stays_root_and_reads_no_configuration(machine: Machine) -> None:
    """As `sudo jai --setup` the caller gets a strict uid, and a broken configuration does not matter."""
    machine.write("/run/config/default.conf", "no such option\n")

    machine.good_setup(SUDO_USER="ada", SUDO_UID="61001", JAI_CONFIG_DIR="/run/config", HOME="/run/config")

    assert sorted(machine.lines("subuid")) == [0, 1500, 1501, 61001]
    assert os.listdir(machine.root / "run/config") == ["default.conf"]


@as_root
def test_an_unknown_caller_is_no_error(machine: Machine) -> None:
    """$SUDO_USER may be anything."""
    done = machine.setup(SUDO_USER="nobody-knows\x1b")

    assert done.returncode == 0
    assert "there is no user nobody-knows\\x1b" in done.stderr


@as_root
def test_a_source_that_others_can_change_is_told_of(machine: Machine) -> None:
    """The owner of the environment that the helper comes from is named; the copy is root's all the same."""
    machine.sh('chown -R carl "$1"', f"{machine.package}/helper")

    done = machine.setup()

    assert done.returncode == 0
    assert "jai: the helper is copied from" in done.stderr
    assert "carl" in done.stderr.partition("which ")[2]
    assert (machine.root / HELPER[1:]).stat().st_uid == 0


@as_root
def test_what_is_no_program_is_not_installed(machine: Machine) -> None:
    """A link or text in the helper's place is refused before anything is made."""
    before = machine.tree()
    for make in ("echo text >", "ln -sf /bin/true "):
        machine.sh(f'rm -f "$1"; {make}"$1"', f"{machine.package}/helper/jai-idmap")

        done = machine.setup()

        assert done.returncode == JAI_FAILED
        assert "the helper is not in this installation of jai" in done.stderr
        assert machine.tree() == before


# --- the pieces -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", {}),
        (b"5:100000:1\n5:7:7\n", {5: 100000}),
        (b"ada:100000:65536\n05:1:1\n+5:1:1\n 5:1:1\n", {}),
        (b"5:100000:0\n5:200000:1", {5: 200000}),
        (b"5:999:1\n6:6000:1\n6000:6000:1\n", {5: -1, 6: 6000, 6000: -1}),
        (b"5\n6:1\n7:x:1\n8:100000:1:1\n9:100000:1 \n", {5: -1, 6: -1, 7: -1, 8: -1, 9: -1}),
        (b"6:4294967295:1\n7:100000:4294967295\n8:9999999999:0\n", {6: -1, 7: -1, 8: -1}),
        (b"5:4294967294:1\n", {5: 4294967294}),
    ],
)
def test_lines_are_read_as_the_helper_reads_them(text: bytes, expected: dict[int, int]) -> None:
    """The first line with the number counts, one without a range does not, and a wrong one is no use."""
    assert ranges.find_ranges(text) == expected


def test_the_profile_names_the_helper_and_each_launcher() -> None:
    """One profile each, that allows user namespaces and restricts nothing."""
    text = apparmor.profile(HELPER, ["/home/ada lace/.venv/bin/jai", "/opt/jai/bin/jai"])

    assert text.startswith("#")
    assert text.count("abi <abi/4.0>,\ninclude <tunables/global>\n") == 1
    assert [line for line in text.splitlines() if line.startswith("profile ")] == [
        'profile jai-idmap "/usr/local/libexec/jai/jai-idmap" flags=(unconfined) {',
        'profile jai "/home/ada lace/.venv/bin/jai" flags=(unconfined) {',
        'profile jai-2 "/opt/jai/bin/jai" flags=(unconfined) {',
    ]
    assert text.count("\n  userns,\n") == text.count("\n}\n") == 3
    assert "@" not in text


@pytest.mark.parametrize(
    "path", ['/a"', "/a*", "/a[b]", "/@{HOME}/x", "/a\nb", "/a\\b", "/a,b", "/a{b}", "a", "/a\udcff"]
)
def test_a_path_that_is_a_pattern_gets_no_profile(path: str) -> None:
    """Whoever names a folder can not write the profile of other programs."""
    with pytest.raises(RefusedError, match="AppArmor would take"):
        apparmor.profile("/h", [path])


# No kernel here has AppArmor: its files and the parser are imitated.
RESTRICTED = """
mount -t tmpfs none /sys/kernel
mkdir -p /sys/kernel/security/apparmor /etc/apparmor.d
mount -t tmpfs none /proc/sys/kernel
echo 1 >/proc/sys/kernel/apparmor_restrict_unprivileged_userns
"""
PARSER = '#!/bin/sh\necho "$@" >>/usr/local/parsed\ntest -e "$2"\n'


@as_root
def test_apparmor_is_told_where_it_restricts(machine: Machine) -> None:
    """The profile is loaded, loaded again, unloaded and gone."""
    machine.sh(RESTRICTED)
    machine.write("/usr/sbin/apparmor_parser", PARSER, 0o755)
    launcher = os.path.realpath(machine.jai)
    before = machine.tree()

    first = machine.good_setup()
    profile = machine.text(apparmor.PROFILE)
    again = machine.good_setup()
    machine.good_setup("--remove")

    assert profile == apparmor.profile(HELPER, [launcher])
    assert f"done: {apparmor.PROFILE}, which lets {HELPER} and {launcher} make user namespaces" in first
    assert f"already there: {apparmor.PROFILE}" in again
    calls = machine.text("/usr/local/parsed").splitlines()
    assert calls == [f"{word} {apparmor.PROFILE}" for word in ("-r", "-r", "-R")]
    assert machine.tree() == before


@as_root
def test_a_profile_of_somebody_else_is_left(machine: Machine) -> None:
    """What --setup has not written is neither replaced nor removed."""
    machine.sh(RESTRICTED)
    machine.write("/usr/sbin/apparmor_parser", PARSER, 0o755)
    machine.write(apparmor.PROFILE, "# mine\n")
    before = machine.tree()

    said = machine.good_setup()
    machine.good_setup("--remove")

    assert f"left: {apparmor.PROFILE}, which --setup has not made or somebody has changed since" in said
    assert machine.tree() == before


@as_root
@pytest.mark.parametrize("parser", ["", "#!/bin/sh\necho wrong >&2\nexit 1\n"])
def test_apparmor_that_can_not_be_told_is_an_error(machine: Machine, parser: str) -> None:
    """Without the parser, or where it refuses the profile, nothing stays."""
    if parser:
        machine.write("/usr/sbin/apparmor_parser", parser, 0o755)
    elif shutil.which("apparmor_parser"):
        machine.sh('mount --bind /dev/null "$(command -v apparmor_parser)"')
    machine.sh(RESTRICTED)
    before = machine.tree()

    done = machine.setup()

    assert done.returncode == JAI_FAILED
    assert ("wrong" if parser else "install the package apparmor") in done.stderr
    assert machine.tree() == before


def test_the_fragments_for_packages_say_the_same(root: Path) -> None:
    """The user that a package declares is the one that --setup looks for."""
    declared = (root / "jai/data/sysusers.conf").read_text()

    assert f'\nu {USER} - "{GECOS}" / /usr/sbin/nologin\n' in declared
    if shutil.which("systemd-sysusers"):
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run(
                ["systemd-sysusers", "--dry-run", str(root / "jai/data/sysusers.conf")],
                capture_output=True,
                text=True,
                check=False,
            )
            assert "unrecognized" in done.stderr or done.returncode == 0, done.stderr
