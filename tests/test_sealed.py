"""Sealed plans: what the launcher runs without the front end, and everything that must keep it from that."""

from __future__ import annotations

import contextlib
import os
import shlex
from typing import TYPE_CHECKING

import pytest

from conformance.abilities import needs
from conformance.accounts import must, run
from conformance.conftest import *  # noqa: F403 - its fixtures
from jai.host import Host, look_at_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from conformance.accounts import Account, Seen
    from conformance.homes import Home

# The front end as the launcher starts it, but for the rule that a file must not have been changed just now:
# a test can not make an old file.
AT_ONCE = """
import sys
sys.argv = sys.argv[1:]
sys.path[:0] = [sys.argv.pop(0)]
import jai.sealed
jai.sealed.SETTLED = -10**12
from jai.cli import main
main()
"""
NOTHING: dict[str, str] = {}


class Warm:
    """Seals plans, and says whether a start is served by one: whether it works without the front end."""

    def __init__(self, account: Account, home: Home, jai: str) -> None:
        """Take who starts what."""
        self.account = account
        self.home = home
        self.jai = jai
        self.cwd = home.project
        self.python = must(run(account.host, f"sed -n '1s/^#!//p' {jai}-python")).stdout.strip()
        find = "import jai, os; print(os.path.dirname(os.path.dirname(jai.__file__)))"
        self.packages = must(account.run([self.python, "-I", "-c", find])).stdout.strip()

    @property
    def plans(self) -> str:
        """Where they are kept."""
        return f"{self.home.path}/.jai/.plans"

    def seal(self, *words: str, env: Mapping[str, str] = NOTHING) -> None:
        """Start something through the front end; the first start of a jail changes what it has looked at."""
        entry = [self.python, "-I", "-S", "-Xjai_no_ctype", "-c", AT_ONCE, self.packages]
        for _ in range(2):
            must(self.account.run([*entry, f"{self.jai}-python", *words], cwd=self.cwd, env=env))

    def start(self, *words: str, env: Mapping[str, str] = NOTHING, prefix: str = "") -> Seen:
        """Start something while there is no front end."""
        with self.without_front_end():
            return self.account.run([self.jai, *words], cwd=self.cwd, env=env, prefix=prefix)

    def serves(self, *words: str, env: Mapping[str, str] = NOTHING, prefix: str = "") -> bool:
        """Say whether the launcher runs it alone."""
        seen = self.start(*words, env=env, prefix=prefix)
        assert seen.rc == 0 or "install jai again" in seen.stderr, seen
        return seen.rc == 0

    @contextlib.contextmanager
    def without_front_end(self) -> Iterator[None]:
        """Take the front end away for a while."""
        script = f"{self.jai}-python"
        os.rename(script, f"{script}.away")
        try:
            yield
        finally:
            os.rename(f"{script}.away", script)

    def sh(self, script: str) -> None:
        """Change something outside, as the account."""
        must(self.account.sh(script, cwd=self.cwd))


@pytest.fixture
def warm(account: Account, home: Home, jai: str) -> Warm:
    """Seal `true` in the project of a fresh home."""
    made = Warm(account, home, jai)
    must(account.run([jai, "true"], cwd=home.project))
    made.seal("true")
    assert made.serves("true")
    return made


# --- what is served -----------------------------------------------------------------------------------------
LOOK = """
sort -k5 /proc/self/mountinfo | cut -d' ' -f4-6 | sed 's/jai-[0-9]*//'; env | sort; pwd; id; ulimit -a
ls -la ~ | grep -v total
cat /proc/self/status | grep -E '^(Cap|NoNew|Seccomp|Sig[BIC])'; ls /proc/self/fd | wc -l
"""


@pytest.mark.parametrize("options", [[], ["-m", "bare", "-j", "b"], ["-D"], ["-r", "src", "--net", "none"]])
def test_the_jail_is_the_same(warm: Warm, options: list[str]) -> None:
    """What is run from a sealed plan sees what it sees from a fresh one."""
    words = [*options, "sh", "-c", LOOK]
    warm.seal(*words)

    served, fresh = warm.start(*words), warm.account.run([warm.jai, *words], cwd=warm.cwd)

    assert fresh.rc == 0
    assert "JAI_MODE" in fresh.stdout
    assert (served.rc, served.stdout, served.stderr) == (fresh.rc, fresh.stdout, fresh.stderr)


def test_words_and_variables_are_those_of_the_start(warm: Warm) -> None:
    """One plan serves all arguments and all values that nothing was decided by."""
    script = 'printf "%s|" "$@" "$COLOR"; exit 7'
    warm.seal("sh", "-c", "true", env={"COLOR": "red", "A_TOKEN": "secret"})

    seen = warm.start("sh", "-c", script, "0", "a b", "", "*", env={"COLOR": "x y=z", "A_TOKEN": "other"})
    hidden = warm.start("sh", "-c", "env", env={"COLOR": "", "A_TOKEN": "other"})

    assert (seen.rc, seen.stdout) == (7, "a b||*|x y=z|")
    assert "TOKEN" not in hidden.stdout
    assert "COLOR=\n" in hidden.stdout


def test_the_same_words_differ_by_where_options_end(warm: Warm) -> None:
    """`-m bare sh` and `sh -m bare` are two things."""
    warm.seal("-m", "bare", "-j", "b", "sh", "-c", "true")

    assert warm.start("-m", "bare", "-j", "b", "sh", "-c", "echo $JAI_MODE").stdout == "bare\n"
    assert not warm.serves("sh", "-m", "bare", "-j", "b")
    assert not warm.serves("-m", "bare", "-j", "b", "true")


def test_a_shell_without_words(warm: Warm) -> None:
    """`jai` alone starts the shell."""
    warm.seal()

    assert warm.serves()


def test_an_end_by_a_signal(warm: Warm) -> None:
    """As from the front end."""
    warm.seal("sh", "-c", "true")

    seen = warm.start("sh", "-c", "kill -SEGV $$")

    assert seen.rc == warm.account.run([warm.jai, "sh", "-c", "kill -SEGV $$"], cwd=warm.cwd).rc
    assert seen.rc in (-11, 139)


def test_a_step_that_fails_is_explained(warm: Warm) -> None:
    """The front end decides anew and says what is wrong."""
    warm.sh("printf '#!/bin/sh\n' > ~/tool; chmod +x ~/tool")
    warm.seal("../tool")
    assert warm.serves("../tool")
    warm.sh("rm ~/tool")

    seen = warm.account.run([warm.jai, "../tool"], cwd=warm.cwd)

    assert (seen.rc, seen.stderr.splitlines()[0]) == (127, "jai: ../tool: command not found"), seen


# --- what is not --------------------------------------------------------------------------------------------
CHANGES = {
    "the configuration": "echo '# nothing' >> ~/.jai/default.conf",
    "the configuration, with its times and size": (
        "cd ~/.jai; cp -p default.conf /tmp/old; tr a-z b-za </tmp/old >default.conf;"
        " cat /tmp/old >default.conf; touch -r /tmp/old default.conf"
    ),
    "an included file": "echo 'mask other' >> ~/.jai/.defaults",
    "a configuration for the command": "echo 'conf default.conf' > ~/.jai/true.conf",
    "a stand-in of the defaults": "rm ~/.jai/.defaults",
    "the jail's file": "echo 'mode casual' > ~/.jai/default.jail",
    "the jail's changes": "mv ~/.jai/default.changes ~/.jai/old; mkdir ~/.jai/default.changes",
    "the jail's lock": "rm -rf ~/.jai/default.work",
    "the jail's /tmp": "rm -rf ~/.jai/default.tmp",
    "the mode of the directory": "chmod 700 .",
    "the directory": "cd ..; mv project away; mkdir project",
    "a mask, by a link": "mv ~/.config ~/dots; ln -s dots ~/.config",
    "a mask's target": "mv ~/.ssh ~/keys; ln -s keys ~/.ssh",
    "the home's mode": "chmod 711 ~",
    "jai -u": "{jai} -u",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_outside(warm: Warm, change: str) -> None:
    """The plan is made anew; afterwards that one is sealed."""
    warm.sh(CHANGES[change].replace("{jai}", warm.jai))

    assert not warm.serves("true")
    must(warm.account.run([warm.jai, "true"], cwd=warm.cwd))
    warm.seal("true")
    assert warm.serves("true")


STARTS: dict[str, tuple[list[str], dict[str, str], str]] = {
    "a new variable": (["true"], {"NEW": "1"}, ""),
    "PATH": (["true"], {"PATH": "/bin:/usr/bin"}, ""),
    "TMPDIR": (["true"], {"TMPDIR": "/srv"}, ""),
    "another home": (["true"], {"HOME": "/home/ada/."}, ""),
    "another configuration": (["true"], {"JAI_CONFIG_DIR": "/home/ada/other"}, ""),
    "another command": (["echo"], {}, ""),
    "an option": (["-D", "true"], {}, ""),
    "a word that ends options": (["--", "true"], {}, ""),
    "another directory": (["true"], {}, "/src"),
}


@pytest.mark.parametrize("start", STARTS)
def test_another_start(warm: Warm, start: str) -> None:
    """What was decided for one start says nothing about another."""
    words, env, folder = STARTS[start]

    warm.cwd = f"{warm.home.project}{folder}"
    assert not warm.serves(*words, env=env)
    warm.cwd = warm.home.project
    assert warm.serves("true")


def test_a_variable_that_the_configuration_uses(warm: Warm) -> None:
    """Its value is a fact."""
    warm.sh("echo 'setenv WHERE=${COLOR}' >> ~/.jai/default.conf")
    warm.seal("sh", "-c", "true", env={"COLOR": "red"})

    assert warm.start("sh", "-c", "echo $WHERE", env={"COLOR": "red"}).stdout == "red\n"
    assert not warm.serves("sh", "-c", "true", env={"COLOR": "blue"})


def test_what_is_set_does_not_follow_what_is_outside(warm: Warm) -> None:
    """A value from the configuration stays, also where it was the same outside when the plan was sealed."""
    warm.sh("echo 'setenv COLOR=red' >> ~/.jai/default.conf")
    warm.seal("sh", "-c", "true", env={"COLOR": "red"})

    assert warm.start("sh", "-c", "echo $COLOR", env={"COLOR": "blue"}).stdout == "red\n"


@needs("root")
def test_a_new_group(warm: Warm) -> None:
    """Who is in another group is somebody else."""
    line = shlex.join(
        ["setpriv", f"--reuid={warm.account.name}", f"--regid={warm.account.name}", "--groups=61001,50"]
    )
    env = "env -i HOME=$HOME USER=ada LOGNAME=ada LANG=C.UTF-8 TERM=dumb PATH=$P"
    clean = must(warm.account.run(["env"])).stdout
    path = next(each for each in clean.splitlines() if each.startswith("PATH=")).removeprefix("PATH=")
    start = f"cd {warm.cwd} && HOME={warm.home.path} P={path}; {{}} {env} {warm.jai} true"
    with warm.without_front_end():
        same = run(warm.account.host, start.format(line.replace("--groups=61001,50", "--init-groups")))
        other = run(warm.account.host, start.format(line))

    assert (same.rc, other.rc) == (0, 125)


@needs("root")
def test_a_new_mount(warm: Warm) -> None:
    """Where it is does not matter: the table of mounts is another one."""
    host = warm.account.host
    must(run(host, "mkdir -p /srv/new && mount -t tmpfs none /srv/new"))
    try:
        assert not warm.serves("true")
    finally:
        run(host, "umount /srv/new; rmdir /srv/new")
    assert warm.serves("true")


def test_a_terminal(warm: Warm) -> None:
    """With one, /dev/console is another."""
    with warm.without_front_end():
        seen = warm.account.sh(f"script -qec '{warm.jai} true' /dev/null", cwd=warm.cwd)

    assert "install jai again" in seen.stdout


IN_A_REPOSITORY = {
    "a new hook": "echo exit >.git/hooks/pre-commit",
    "its configuration": "git config user.name other",
    "no configuration": "rm .git/config",
    "a worktree": "git worktree add -q ../tree",
    "a submodule": "mkdir -p .git/modules/sub; echo ref: x >.git/modules/sub/HEAD",
    "no repository": "rm -rf .git",
}


@pytest.mark.parametrize("change", IN_A_REPOSITORY)
def test_a_repository_that_changes(warm: Warm, change: str) -> None:
    """What is protected is decided anew."""
    commit = "git -c user.name=ada -c user.email=a@b commit -q --allow-empty -m one"
    warm.sh(f"git init -q; echo true >.git/hooks/post-commit; {commit}")
    warm.seal("sh", "-c", "true")
    writes = "echo x >>.git/hooks/post-commit; echo x >>.git/config; echo new >file"
    assert warm.start("sh", "-c", writes).stderr.count("Read-only file system") == 2

    warm.sh(IN_A_REPOSITORY[change])

    assert not warm.serves("sh", "-c", "true")
    warm.seal("sh", "-c", "true")
    assert warm.serves("sh", "-c", "true")


def test_what_could_not_be_prevented_is_told(warm: Warm) -> None:
    """As from the front end: a file that was missing has been made, and runs outside."""
    warm.sh("git init -q")
    warm.seal("sh", "-c", "true")
    make = "echo x >.git/config.worktree"

    served = warm.start("sh", "-c", make)

    assert "was made while the jail ran" in served.stderr
    assert served.stderr.count("\n") == 2


def test_a_limit_on_the_size_of_files(warm: Warm) -> None:
    """The command does not begin in a jail that is then not made."""
    warm.seal("sh", "-c", "true")
    assert warm.start("sh", "-c", "mkdir control", prefix="ulimit -f 1000;").rc == 0

    limited = warm.start("sh", "-c", "mkdir ran; sleep 1", prefix="ulimit -f 0;")

    assert limited.rc != 0
    assert limited.stderr.startswith("jai: ")
    assert must(warm.account.sh("ls", cwd=warm.cwd)).words == ["README.md", "control", "src"]


# --- what is wrong with an entry ----------------------------------------------------------------------------
WRONG = {
    "cut short": "truncate -s -1 $f",
    "empty": ": > $f",
    "one byte of the image": "printf X | dd of=$f bs=1 seek=$(($(stat -c %s $f) - 9)) {notrunc}",
    "one byte of the facts": "printf X | dd of=$f bs=1 seek=900 {notrunc}",
    "one byte of the head": "printf X | dd of=$f bs=1 seek=20 {notrunc}",
    "writable by others": "chmod 666 $f",
    "two names": "ln $f ~/other",
    "a link": "mv $f ~/other; ln -s ~/other $f",
    "a FIFO": "rm $f; mkfifo -m 600 $f",
    "a directory": "rm $f; mkdir $f",
    "a folder that others can enter": "chmod 755 ~/.jai/.plans",
    "a folder that is a link": "mv ~/.jai/.plans ~/plans; ln -s ~/plans ~/.jai/.plans",
    "of other words": "mv $f ${f%?}$(echo ${f#${f%?}} | tr 0-9a-f 1-9a-f0)",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_entry(warm: Warm, wrong: str) -> None:
    """It is as if it were not there."""
    warm.sh(f"f=$(ls -d {warm.plans}/*); {WRONG[wrong].replace('{notrunc}', 'conv=notrunc status=none')}")

    assert not warm.serves("true")
    must(warm.account.run([warm.jai, "true"], cwd=warm.cwd))


def test_every_byte_of_an_entry(warm: Warm) -> None:
    """Whatever is damaged, the launcher does not crash and does not run it."""
    entry = must(warm.account.sh(f"ls {warm.plans}/*")).stdout.strip()
    size = int(must(warm.account.sh(f"stat -c %s {entry}")).stdout)
    code = f"""
import os, subprocess, sys
good = open({entry!r}, "rb").read()
for at in range(0, {size}, {size} // 150):
    with open({entry!r}, "wb") as file:
        file.write(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
    done = subprocess.run([{warm.jai!r}, "true"], cwd={warm.cwd!r}, capture_output=True)
    print(at, done.returncode)
open({entry!r}, "wb").write(good)
"""
    with warm.without_front_end():
        seen = must(warm.account.run(["/usr/bin/python3", "-I", "-c", code], timeout=120))

    assert {line.split()[1] for line in seen.stdout.splitlines()} == {"125"}
    assert len(seen.stdout.splitlines()) >= 150
    assert warm.serves("true")


def test_a_file_that_was_changed_just_now(account: Account, home: Home, jai: str) -> None:
    """Its times can not be trusted yet, so nothing is sealed; a while later it is."""
    warm = Warm(account, home, jai)
    must(account.run([jai, "true"], cwd=home.project))
    assert not warm.serves("true")

    must(account.run(["sleep", "3.2"]))
    must(account.run([jai, "true"], cwd=home.project))

    assert warm.serves("true")


def test_another_boot(warm: Warm) -> None:
    """The plan is as old as the boot: the front end empties the private /tmp on the first start after one."""
    code = """
import glob, os, struct, subprocess, sys
sys.path[:0] = [sys.argv[2]]
from jai._core import lib
[entry] = glob.glob(os.path.expanduser("~/.jai/.plans/*"))
data = open(entry, "rb").read()
at = data.index(b"c/proc/sys/kernel/random/boot_id") + 33
assert data[at:at + 16] != b"0" * 16
body = (data[:at] + b"0" * 16 + data[at + 16:])[16:]
open(entry, "wb").write(data[:8] + struct.pack("=Q", lib.jai_hash(body, len(body))) + body)
"""
    must(warm.account.run([warm.python, "-I", "-S", "-c", code, "", warm.packages]))

    assert not warm.serves("true")


def test_another_installation(warm: Warm) -> None:
    """It may decide in another way."""
    must(run(warm.account.host, f"rm -rf /srv/bin; mkdir /srv/bin; cp {warm.jai} /srv/bin/jai"))

    assert warm.account.run(["/srv/bin/jai", "true"], cwd=warm.cwd).rc == 125
    assert warm.serves("true")


def test_no_jail_reaches_them(warm: Warm) -> None:
    """They say what the next jail may, like the configuration."""
    for mode in ("casual", "bare"):
        words = [warm.jai, "-m", mode, "-j", mode, "ls", "-a", warm.plans, f"{warm.home.path}/.jai"]
        seen = warm.account.run(words, cwd=warm.cwd)
        assert seen.stdout == "", mode
        assert seen.stderr.count("No such file") == 2, seen.stderr


def test_their_number_is_bounded(warm: Warm) -> None:
    """The oldest go."""
    warm.sh(f"for i in $(seq 200); do cp -p {warm.plans}/* {warm.plans}/$i 2>/dev/null; done; true")

    warm.seal("echo")

    assert len(must(warm.account.sh(f"ls {warm.plans}")).words) <= 64
    assert warm.serves("echo")


def test_the_plan_says_whether_it_is_kept(warm: Warm) -> None:
    """And what has changed, if it is not valid any more."""

    def plan() -> str:
        return must(warm.account.run([warm.jai, "--plan", "true"], cwd=warm.cwd)).stderr

    kept = plan()
    warm.sh("chmod 700 ~/project")
    changed = plan()
    warm.sh(f"rm -r {warm.plans}")

    assert "the next start runs it at once" in kept
    assert f"has changed: {warm.cwd}" in changed
    assert "no plan is kept" in plan()


def test_a_value_that_looks_like_a_verb(warm: Warm) -> None:
    """A directory of that name is part of what was typed."""
    warm.sh("mkdir -- --plan")
    warm.seal("-d", "--plan", "sh", "-c", "true")

    assert warm.serves("-d", "--plan", "sh", "-c", "true")
    assert not warm.serves("-d", "sh", "-c", "true")


def test_a_failure_is_told_once(warm: Warm) -> None:
    """The launcher leaves that to the front end, which tries again."""
    warm.sh("mkdir -p ~/.ssh; printf '#!/bin/sh\n' > ~/tool; chmod +x ~/tool")
    warm.cwd = f"{warm.home.path}/.ssh"
    tool = f"{warm.home.path}/tool"
    warm.seal("-D", tool)
    assert warm.serves("-D", tool)
    warm.sh("rm ~/tool")

    seen = warm.account.run([warm.jai, "-D", tool], cwd=warm.cwd)

    assert (seen.rc, seen.stderr.count("started in the home"), seen.stderr.count("not found")) == (
        127,
        1,
        1,
    ), seen


def test_what_is_no_file_is_not_opened(warm: Warm) -> None:
    """A jail may have put a link to a device there."""
    warm.sh("git init -q; mkfifo .git/commondir ../control")
    warm.sh("for f in .git/commondir ../control; do (: >$f; echo opened >>../opened) >/dev/null 2>&1 & done")
    warm.seal("sh", "-c", "true")
    warm.serves("sh", "-c", "true")

    opened = must(warm.account.sh("cat control; sleep 0.3; cat opened")).stdout
    warm.sh("cat .git/commondir")  # or who waits there would wait for ever
    assert opened == "opened\n"


def test_a_kernel_that_answers_otherwise(warm: Warm) -> None:
    """Where Landlock was forbidden a plan goes without; elsewhere that is not enough."""
    code = """
import ctypes, os, struct, sys
row = struct.Struct("=HBBI")
# seccomp(2): landlock_create_ruleset is 444 everywhere; ENOSYS, else allow.
rows = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (6, 0, 0, 0x50000 | 38), (6, 0, 0, 0x7FFF0000)]
rows = [row.pack(*each) for each in rows]
text = ctypes.create_string_buffer(b"".join(rows))
program = ctypes.create_string_buffer(struct.pack("@HP", len(rows), ctypes.addressof(text)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
    entry = [warm.python, "-I", "-S", "-Xjai_no_ctype", "-c", AT_ONCE, warm.packages, f"{warm.jai}-python"]
    without = ["/usr/bin/python3", "-I", "-c", code, *entry, "sh", "-c", "true"]
    must(warm.account.run(without, cwd=warm.cwd))

    assert not warm.serves("sh", "-c", "true")


@needs("root")
def test_another_group(warm: Warm) -> None:
    """Which group a directory has counts too: a strict jail says when it can not write there."""
    warm.seal("sh", "-c", "true")
    must(run(warm.account.host, f"chgrp daemon {warm.cwd}"))
    assert not warm.serves("sh", "-c", "true")


def test_a_configuration_that_a_jail_can_write(warm: Warm) -> None:
    """The front end refuses it, so the launcher does not look there, whatever a jail may have forged."""
    inner = f"{warm.cwd}/inner"
    env = {"HOME": inner}
    warm.sh(f"mkdir {inner}")
    must(warm.account.run([warm.jai, "-D", "true"], cwd=warm.cwd, env=env))
    warm.seal("-D", "true", env=env)
    code = """
import os, struct, sys
sys.path[:0] = [sys.argv[2]]
from jai._core import lib
[name] = os.listdir(sys.argv[3])
data = open(f"{sys.argv[3]}/{name}", "rb").read()
sizes = struct.unpack("=6I", data[16:40])
key, rest = data[40:40 + sizes[0]], data[40 + sizes[0]:]
assert key.endswith(b"1\\0-D\\0true\\0")
key = key[:-len(b"1\\0-D\\0true\\0")] + b"0\\0true\\0"
body = struct.pack("=6I", len(key), *sizes[1:]) + key + rest
path = f"{sys.argv[3]}/{lib.jai_hash(key, len(key)):016x}"
with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
    file.write(data[:8] + struct.pack("=Q", lib.jai_hash(body, len(body))) + body)
"""
    plans = f"{inner}/.jai/.plans"
    must(warm.account.run([warm.python, "-I", "-S", "-c", code, "", warm.packages, plans]))

    seen = warm.account.run([warm.jai, "true"], cwd=warm.cwd, env=env)

    assert seen.rc == 125, seen
    assert "contains the home" in seen.stderr
    assert warm.serves("-D", "true", env=env)


def test_what_changes_while_it_is_looked_at(tmp_path: Path) -> None:
    """A jail that runs may swap directories: the facts are those of what was looked at, or none."""
    one, other = tmp_path / "one", tmp_path / "other"
    (one / "file").mkdir(parents=True)
    other.mkdir()
    host = Host(dict(os.environ))
    first = look_at_file(str(one))[0]

    assert host.names(str(one)) == ("file",)
    assert host.find(str(one))
    assert not host.uncertain
    one.rename(tmp_path / "away")
    other.rename(one)

    assert host.facts[f"f{one}"] == first != look_at_file(str(one))[0]
    assert host.find(str(one))
    assert host.uncertain
