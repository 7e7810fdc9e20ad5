"""Destruction inside a jail, each way of which has happened to someone, seen from both sides."""

from __future__ import annotations

import os
import secrets
import shlex
import time
from typing import TYPE_CHECKING

import pytest

from conformance import disks
from conformance.abilities import needs
from conformance.accounts import must, run
from conformance.clauses import clause, guards
from conformance.homes import read
from conformance.jails import FAILED, for_everybody, in_each_mode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.accounts import Account
    from conformance.conftest import MakeJail, Outside
    from conformance.homes import Home

WALK = 400  # seconds: what removes from / on visits every file of the machine
IN_HOME = {"casual": "ok", "bare": "ENOENT", "strict": "ENOENT"}

WRITES = {
    "truncate": "os.truncate({path!r}, 0)",
    "open and truncate": "open({path!r}, 'w').close()",
    "append": "open({path!r}, 'a').write('more')",
    "overwrite": "open({path!r}, 'r+').write('X')",
    "sed -i": "check(['sed', '-i', '--follow-symlinks', 's/a/b/', {path!r}], {path!r})",
    "dd": "check(['dd', 'if=/dev/zero', 'count=1', 'of=' + {path!r}], {path!r})",
    "shared mapping": "mapped({path!r})",
    "punched hole": "punched({path!r})",
    "copy_file_range": "copied({path!r})",
    "rename over": "renamed({path!r})",
}
# The acts' helpers; an act by a foreign program that fails is judged by opening the file for writing.
HELPERS = """
import ctypes
def check(command, path):
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        os.close(os.open(path, os.O_WRONLY))
        raise RuntimeError(done.stderr)
def mapped(path):
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[0:1] = b"M"
def punched(path):
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path, "r+b") as file:
        if libc.fallocate(file.fileno(), 3, ctypes.c_long(0), ctypes.c_long(4)):
            raise OSError(ctypes.get_errno(), "fallocate")
def copied(path):
    with open(path, "rb") as source, open(path, "r+b") as target:
        os.copy_file_range(source.fileno(), target.fileno(), 2, 0, 4)
def renamed(path):
    real = os.path.realpath(path)
    shutil.copy(real, real + ".other")
    os.rename(real + ".other", real)
"""


def writes(path: str) -> dict[str, str]:
    """Every way of writing into the file, as acts for a probe."""
    return {name: HELPERS + act.format(path=path) for name, act in WRITES.items()}


def left(home: Home, mode: str) -> str:
    """What is left of a home that was removed: the mount point of the grant.

    On NFS the overlay asks the server what is in modes/closed, and nobody may read that: it stays in sight.
    """
    served = home.seen_at != home.path and mode == "casual"
    return "left: modes project" if served else "left: project"


def project_is_empty(home: Home) -> bool:
    """Whether the granted directory holds nothing any more."""
    return must(home.account.sh("ls -A project")).stdout == ""


@clause("D01")
@guards("overlay")
@for_everybody
@pytest.mark.parametrize("removal", ["rm -rf ~", 'rm -rf "$HOME"', "rm -rf ~/* ~/.[!.]*", "find ~ -delete"])
def test_removing_the_home_leaves_the_originals(
    jail: MakeJail, outside: Outside, mode: str, removal: str
) -> None:
    """`rm -rf ~` empties the jail's view of the home and the grant, and nothing else."""
    before = outside.state()

    seen = jail(mode).sh(f"touch ~/mine && ls ~; {removal}; echo; echo left: $(ls -A ~)")

    assert outside.state() == before
    assert "mine" in seen.words  # control: it could write there
    assert seen.stdout.splitlines()[-1] == left(outside.home, mode)  # control: inside, it is gone
    assert project_is_empty(outside.home)  # control: the grant is real


@clause("D01")
@in_each_mode
def test_what_was_removed_stays_removed_in_the_jail_only(jail: MakeJail, outside: Outside, mode: str) -> None:
    """The next command in the same jail sees its own removal; another jail sees the home as it is."""
    before = outside.state()
    once, another = jail(mode), jail(mode)

    once.sh("touch ~/.bashrc; rm -rf ~/notes.txt ~/.bashrc")

    there = {"once": "os.stat(HOME + '/notes.txt')"}
    assert once.tries(there) == {"once": "ENOENT"}
    assert another.tries(there) == {"once": IN_HOME[mode]}
    assert outside.state() == before


@clause("D01")
@clause("D03")
@clause("D07")
@in_each_mode
@pytest.mark.timeout(1200)
def test_the_issues_sentence_on_a_large_home(jail: MakeJail, outside: Outside, mode: str) -> None:
    """A home of 20 000 files survives everything at once; inside, it is seen empty."""
    fill = "for f in $(seq 100); do echo $d $f > $f; done"
    many = f"for d in $(seq 200); do mkdir -p many/$d; (cd many/$d; {fill}); done"
    must(outside.home.account.sh(many, timeout=WALK))
    before = outside.state()
    assert len(before) > 20_000

    seen = jail(mode).sh(
        "rm -rf ~/* ~/.[!.]*; echo left: $(ls -A ~); find / -delete 2>/dev/null; chmod -R 0 ~ 2>/dev/null",
        timeout=WALK,
    )

    assert outside.state() == before
    assert seen.stdout.splitlines()[0] == left(outside.home, mode)
    assert project_is_empty(outside.home)


@clause("D02")
@in_each_mode
def test_a_directory_named_tilde(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Cleaning up after a wrongly quoted ~ removes the project's files, and no original."""
    must(outside.home.account.sh("mkdir project/~; echo x > project/~/file; touch project/other"))
    before = outside.state()

    seen = jail(mode).sh("rm -rf *; ls -A; echo after; touch ~/mine; rm -rf ~/; ls -A ~")

    assert outside.state() == before
    assert seen.words == ["after", "project"]
    assert project_is_empty(outside.home)


@clause("D03")
@for_everybody
@pytest.mark.parametrize("removal", ["rm -rf --no-preserve-root /", "find / -xdev -delete", "find / -delete"])
@pytest.mark.timeout(1200)
def test_removing_everything_removes_the_grant_only(
    jail: MakeJail, outside: Outside, mode: str, removal: str
) -> None:
    """From / on, only what was granted goes."""
    before = outside.state()
    must(outside.home.account.sh("echo x > /srv/watched/control && rm /srv/watched/control"))
    before["/srv/watched/."] = outside.state()["/srv/watched/."]  # the control has touched the directory

    seen = jail(mode).sh(f"{removal} >/dev/null 2>&1; echo done", timeout=WALK)

    assert outside.state() == before
    assert seen.stdout == "done\n"
    if "xdev" not in removal:
        assert project_is_empty(outside.home)


@clause("D03")
@guards("read-only-root")
@for_everybody
def test_the_user_s_own_files_elsewhere_are_read_only(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Where the user may write outside, the jail gets EROFS; in the grant it may."""
    acts = {
        "unlink": "os.unlink('/srv/watched/file')",
        "create": "open('/srv/watched/new', 'w')",
        "in a drop box": "open('/srv/watched/drop box/new', 'w')",
        "open to all": "open('/srv/watched/open to all', 'a')",
        "rename": "os.rename('/srv/watched/file', '/srv/watched/else')",
        "in /usr": "open('/usr/new', 'w')",
        "in /etc": "os.unlink('/etc/passwd')",
        "in the grant": "open('new', 'w')",
    }
    must(outside.home.account.sh("echo x > /srv/watched/control && rm /srv/watched/control"))
    before = outside.state()

    answers = jail(mode).tries(acts)

    assert outside.state() == before
    assert answers == dict.fromkeys(acts, "EROFS") | {"in the grant": "ok"}


@clause("D04")
@needs("git")
@in_each_mode
def test_git_clean_and_reset_stay_in_the_grant(jail: MakeJail, outside: Outside, mode: str) -> None:
    """The project loses its uncommitted work, and that is all."""
    account = outside.home.account
    prepare = (
        "git init -q . && git add . && git commit -qm first && echo changed > README.md && touch untracked"
    )
    must(account.sh(prepare, cwd=outside.home.project))
    before = outside.state()

    jail(mode).sh("git clean -fdxq; git reset -q --hard; git checkout -q -- .")

    status = account.sh("cat README.md; git status --short; ls", cwd=outside.home.project)
    assert status.stdout == "# project\nREADME.md\nsrc\n"
    assert outside.state() == before


@clause("D04")
@needs("git")
@in_each_mode
def test_git_clean_in_a_home_that_is_a_repository(jail: MakeJail, outside: Outside, mode: str) -> None:
    """A dotfiles repository that is the home: what git removes and resets there is not the original."""
    must(
        outside.home.account.sh(
            "git init -q . && git add .vimrc && git commit -qm dotfiles && echo x > .vimrc"
        )
    )
    before = outside.state()

    seen = jail(mode).sh(
        "cd ~ && git reset -q --hard && git clean -fdxq; cat ~/.vimrc; test -e ~/Photos || echo gone"
    )

    assert outside.state() == before
    expected = {"casual": "# the content of '.vimrc'\ngone\n"}
    assert seen.stdout == expected.get(mode, "gone\n")


@clause("D05")
@in_each_mode
def test_moving_over_files_replaces_no_original(jail: MakeJail, outside: Outside, mode: str) -> None:
    """`mv` over a file, a failed mkdir before `mv * x`, and a rename over a symbolic link."""
    before = outside.state()

    answers = jail(mode).tries(
        {
            "mv over": "os.rename(HOME + '/notes.txt', HOME + '/.bashrc')",
            "mv over a link": "os.rename(HOME + '/TODO.md', HOME + '/link to notes')",
            "failed mkdir, mv": "os.rename(HOME + '/.vimrc', HOME + '/.profile')",
            "swap": "os.rename(HOME + '/.tmux.conf', HOME + '/.zshenv')",
        }
    )

    assert outside.state() == before
    assert set(answers.values()) == {IN_HOME[mode]}


@clause("D05")
@in_each_mode
def test_a_failed_mkdir_before_a_mass_move(jail: MakeJail, outside: Outside, mode: str) -> None:
    """`mkdir a/b; mv * a/b` with no a ends with the files in one heap inside, and untouched outside."""
    before = outside.state()

    seen = jail(mode).sh(
        "cd ~; mkdir no/where; echo one > 1; echo two > 2;"
        'for f in *; do [ -f "$f" ] && mv -f -- "$f" heap; done; ls'
    )

    assert outside.state() == before
    assert "heap" in seen.words
    assert not {"1", "2", "notes.txt"} & set(seen.words)


@clause("D06")
@for_everybody
def test_writing_through_a_link_into_the_home(jail: MakeJail, outside: Outside, mode: str) -> None:
    """A link in the grant that points into the home leads to the jail's copy, or nowhere."""
    must(outside.home.account.sh("ln -s '../Documents/letters/letter 1.txt' project/link"))
    before = outside.state()

    answers = jail(mode).tries(writes("link"))

    assert outside.state() == before
    assert answers == dict.fromkeys(WRITES, IN_HOME[mode])


@clause("D06")
@for_everybody
def test_writing_through_a_link_out_of_the_home(jail: MakeJail, outside: Outside, mode: str) -> None:
    """A link in the grant to the user's own file elsewhere: it is read-only, however one writes."""
    must(outside.home.account.sh("ln -s /srv/watched/file project/link; cp /srv/watched/file project/own"))
    before = outside.state()
    watched = jail(mode)

    control = watched.tries(writes("own"))
    answers = watched.tries(writes("link"))

    assert outside.state() == before
    assert control == dict.fromkeys(WRITES, "ok")
    # Another uid may not write to the file either: which of the two a call says first is the kernel's affair.
    assert set(answers.values()) <= ({"EROFS", "EACCES"} if mode == "strict" else {"EROFS"})


@clause("D07")
@for_everybody
def test_changing_modes_and_times_changes_no_original(jail: MakeJail, outside: Outside, mode: str) -> None:
    """chmod, chown, touch, setfattr, setfacl and chattr over the whole home."""
    before = outside.state()

    seen = jail(mode).sh(
        "touch ~/notes.txt; id=$(id -u):$(id -g); chown -Rh $id ~; touch -t 200001010000 ~/* ~/.[!.]*;"
        "setfattr -n user.x -v y ~/* ; setfacl -Rb ~; setfacl -m u:0:r ~/notes.txt; chattr +i ~/notes.txt;"
        "stat -c %y ~/notes.txt; find ~ -depth ! -path '*/project*' -exec chmod 000 {} + ; stat -c %a ~"
    )

    assert outside.state() == before
    assert (seen.stdout.split(".")[0], seen.words[-1]) == ("2000-01-01 00:00:00", "0")  # control


@clause("D07")
@in_each_mode
def test_chmod_000_of_the_home(jail: MakeJail, outside: Outside, mode: str) -> None:
    """`chmod -R 000 ~` locks the jail out of its home and the user out of nothing."""
    before = outside.state()

    seen = jail(mode).sh("chmod -R 000 ~; stat -c %a ~; ls ~ || echo locked out")

    assert outside.state() == before
    assert seen.words[0] == "0"


@clause("D08")
@in_each_mode
def test_hard_links_into_the_grant(jail: MakeJail, outside: Outside, mode: str) -> None:
    """A file of the home or elsewhere cannot be linked into the grant and written to there."""
    before = outside.state()
    acts = {
        "of the home": "os.link(HOME + '/notes.txt', 'hard')",
        "of another tree": "os.link('/srv/watched/file', 'hard2')",
        "within the grant": "os.link('README.md', 'hard3')",
        "write": "[open(name, 'a').write('x') for name in ('hard', 'hard2') if os.path.exists(name)]",
    }

    answers = jail(mode).tries(acts)

    assert outside.state() == before
    of_home = {"casual": "EXDEV"}.get(mode, "ENOENT")
    expected = {"of the home": of_home, "of another tree": "EXDEV", "within the grant": "ok", "write": "ok"}
    assert answers == expected


@pytest.fixture
def small_disk(account: Account) -> Iterator[disks.Disk]:
    """A small file system at the account's home; the home fixture, asked for later, fills it."""
    with disks.mounted(account, account.home, megabytes=48, inodes=3000) as disk:
        yield disk


# Bounded to a multiple of the small disk: without a jail the same acts must not fill the machine's own.
FILL = "head -c 200M /dev/zero >"
FILLINGS = {
    "the home's bytes": f"{FILL} ~/fill; echo x > ~/more",
    "the home's inodes": "mkdir ~/i; cd ~/i; n=0; while [ $n -lt 5000 ] && true > $n; do n=$((n+1)); done",
    "/tmp": f"{FILL} /tmp/fill; {FILL} /var/tmp/fill2; echo x > /tmp/more",
    "the project": f"{FILL} fill; echo x > more",
}


@clause("D09")
@needs("root for loop file systems")
@in_each_mode
@pytest.mark.parametrize("filling", FILLINGS)
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("small_disk")
def test_filling_the_disk(jail: MakeJail, request: pytest.FixtureRequest, mode: str, filling: str) -> None:
    """ENOSPC inside; afterwards nothing is lost, and the next start works or says why it does not."""
    outside: Outside = request.getfixturevalue("outside")
    filled = jail(mode)
    filled.sh("echo precious > ~/kept")
    before = outside.state()

    seen = filled.sh(FILLINGS[filling], timeout=120)

    assert "No space left on device" in seen.stderr  # control
    assert outside.state() == before
    started = filled.run(["cat", f"{outside.home.path}/kept"])
    assert (started.rc, started.stdout) == (0, "precious\n") or (
        started.rc == FAILED
        and 0 < len(started.stderr.splitlines()) <= 3
        and "Traceback" not in started.stderr
    ), started.stderr
    storage = f"{outside.home.path}/.jai/{filled.name}.*"
    run(filled.account.host, f"rm -rf {outside.home.project}/fill {storage}/i {storage}/fill*")
    run(
        filled.account.host, f"find {outside.home.path}/.jai -name 'fill*' -delete"
    )  # room is made from outside
    assert filled.sh("cat ~/kept; rm -rf ~/i").stdout == "precious\n"
    assert outside.state() == before


@clause("D10")
@guards("process-limit")
@in_each_mode
def test_a_fork_bomb_ends_inside(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Forking without end gets EAGAIN at the limit, and outside one can still start processes."""
    before = outside.state()
    # The bomb is bounded, so that a jail without limits does not harm the machine that judges it.
    bomb = (
        "pids = []\n"
        "try:\n"
        "    for _ in range(400):\n"
        "        pid = os.fork()\n"
        "        if pid == 0:\n"
        "            __import__('time').sleep(60)\n"
        "            os._exit(0)\n"
        "        pids.append(pid)\n"
        "finally:\n"
        "    [os.kill(pid, 9) for pid in pids]\n"
        "    [os.waitpid(pid, 0) for pid in pids]\n"
    )
    limited = jail(mode)

    answers = limited.tries({"few": bomb.replace("400", "20"), "bomb": bomb}, "--limit", "pids=100")

    assert outside.state() == before
    assert answers == {"few": "ok", "bomb": "EAGAIN"}
    assert limited.tries({"no limit asked": bomb}) == {"no limit asked": "ok"}


@clause("D10")
@in_each_mode
def test_a_memory_hog_ends_inside(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Above the limit there is no memory; below it there is."""
    before = outside.state()
    acts = {"little": "bytearray(1 << 20)", "much": "mmap.mmap(-1, 500 << 20)"}

    answers = jail(mode).tries(acts, "--limit", f"as={400 << 20}")

    assert outside.state() == before
    assert answers == {"little": "ok", "much": "ENOMEM"}
    assert jail(mode).tries(acts) == {"little": "ok", "much": "ok"}  # control


@clause("D11")
@guards("pid-namespace")
@in_each_mode
def test_killing_everybody_kills_the_jail_only(jail: MakeJail, outside: Outside, mode: str) -> None:
    """`kill -9 -1` reaches every process inside and none outside."""
    before = outside.state()

    seen = jail(mode).sh("sleep 1000 & kill -9 -1; wait $!; echo $?")

    assert outside.state() == before
    assert seen.stdout == "137\n"  # control: the sleeper inside was killed


@clause("D11")
@needs("pkill")
@in_each_mode
def test_pkill_of_the_user_s_processes(jail: MakeJail, outside: Outside, mode: str) -> None:
    """`pkill -9 -u $USER` kills the shell that runs it, and no process outside."""
    before = outside.state()

    seen = jail(mode).run(["sh", "-c", 'echo started; pkill -9 -u "$(id -u)"; echo survived'])

    assert outside.state() == before
    assert seen.stdout == "started\n"  # control: it has reached its own shell
    assert seen.rc == 137


@clause("D12")
@guards("end-with-the-parent")
@in_each_mode
def test_killing_jai_ends_everything_in_the_jail(jail: MakeJail, outside: Outside, mode: str) -> None:
    """SIGKILL while the jail writes: nothing of it lives on, the next one starts, what was synced is kept."""
    before, killed = outside.state(), jail(mode)
    host, token = outside.home.account.host, f"token-{secrets.token_hex(8)}"
    work = "echo kept > ~/kept; sync ~/kept; trap '' HUP TERM; (while :; do echo x > ~/notes.txt; done) &"
    work += "while :; do echo x >> ~/log; echo x > started; done"
    alive = f"pgrep -f '[t]{token[1:]}'"

    def within(seconds: int, line: str) -> bool:
        deadline = time.monotonic() + seconds
        while run(host, line).rc != 0:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    start = f"setsid {killed.entry('sh', '-c', work, token)} </dev/null >/dev/null 2>&1 & echo $!"
    jai = must(killed.account.sh(start, cwd=killed.project)).stdout.strip()
    assert within(20, f"test -s {killed.project}/started && {alive}")  # control: they are there
    must(run(host, f"kill -9 {jai}"))
    ended = within(10, f"! {alive}")
    run(host, f"kill -9 $({alive})")

    assert ended
    assert outside.state() == before
    assert killed.sh("cat ~/kept").stdout == "kept\n"


@clause("D13")
@in_each_mode
@pytest.mark.parametrize("count", [2, 10])
def test_many_jails_of_one_name(jail: MakeJail, outside: Outside, mode: str, count: int) -> None:
    """Jails that run at once, each writing and removing, see one home, and lose nothing when some end."""
    host, shared = outside.home.account.host, jail(mode)
    # The kernel's log is a ring: old lines go while new ones come.
    last = "dmesg 2>/dev/null | grep -i overlayfs | tail -n 1"
    before, complaint = outside.state(), run(host, last).stdout
    work = (
        "touch ~/notes.txt; n=0; while [ $n -lt 20 ]; do"
        " echo $1 > ~/out-$1-$n; rm -f ~/out-$1-$((n-1)); n=$((n+1)); done;"
        " rm -f ~/Photos/2019/IMG_000$1.jpg; echo $1 >> ~/log"
    )
    entry = shlex.join([shared.jai, "-m", mode, "-j", shared.name, "sh", "-c", work, "worker"])
    start = f'for i in $(seq 0 {count - 1}); do {entry} $i & p="$p $!"; done'
    script = f"{start}; for q in $p; do wait $q || echo bad; done"

    seen = shared.account.sh(script, cwd=shared.project, timeout=120)

    assert outside.state() == before
    assert (seen.stdout, seen.rc) == ("", 0), seen.stderr
    after = shared.sh("sort -n ~/log; ls ~ | grep -c out-")
    assert after.words == [*map(str, range(count)), str(count)]
    assert run(host, last).stdout in ("", complaint)


@clause("D14")
@needs("root for loop file systems")
@in_each_mode
def test_a_file_system_mounted_below_the_home(jail: MakeJail, outside: Outside, mode: str) -> None:
    """What is mounted below the home is refused by name, shown read-only, or hidden; never destroyed."""
    account, place = outside.home.account, f"{outside.home.path}/second disk"
    must(account.sh("mkdir 'second disk'"))
    with disks.mounted(account, place, megabytes=16):
        must(account.sh("echo precious > 'second disk/file'"))
        before = outside.state()

        removing = jail(mode).run(["sh", "-c", "rm -rf ~/*; ls -A ~; echo end"])

        assert outside.state() == before
        if mode == "casual" and removing.rc == FAILED:
            assert "second disk" in removing.stderr
            assert len(removing.stderr.splitlines()) <= 3
        else:
            assert removing.stdout.endswith("end\n")
    run(account.host, f"rmdir '{place}'")


@clause("D14")
@guards("read-only-below-grants")
@needs("root for loop file systems")
@in_each_mode
def test_a_mount_below_the_grant(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Something else mounted below the granted directory does not go with the grant."""
    account, place = outside.home.account, f"{outside.home.project}/mounted"
    must(account.sh("mkdir project/mounted"))
    must(run(account.host, f"mount --bind /srv/watched {place}"))
    try:
        before, below = outside.state(), read(account.host, place)

        seen = jail(mode).run(["sh", "-c", "rm -rf ./*; ls -A; echo end"])

        assert read(account.host, place) == below
        assert outside.state() == before
        if mode == "casual" and seen.rc == FAILED:
            assert "project/mounted" in seen.stderr  # refused, and it says why
        else:
            assert seen.words in (["end"], ["mounted", "end"])  # control: the rest of the grant is gone
    finally:
        run(account.host, f"umount '{place}'")


@clause("D14")
@needs("btrfs home")
@in_each_mode
def test_a_subvolume_below_the_home(jail: MakeJail, outside: Outside, mode: str) -> None:
    """A btrfs subvolume below the home, which is no mount, is as safe as the rest."""
    account = outside.home.account
    must(account.sh("btrfs -q subvolume create volume && echo precious > volume/file"))
    before = outside.state()

    seen = jail(mode).sh("rm -rf ~/*; ls -A ~")

    assert outside.state() == before
    assert "volume" not in seen.words


MANY = 100_000 if os.environ.get("JAI_STRESS") == "full" else 1000
# Argument: how many files.  Names and paths at the kernel's limits, and a file that lends its owner's id.
ODD_HOME = """
import os, sys
os.mkdir("many")
for number in range(int(sys.argv[1])):
    open(f"many/{number}", "w").close()
top = os.getcwd()
length = len(top)
os.mkdir("deep")
os.chdir("deep")
while length + 202 < 4090:
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
    length += 201
open("end", "w").close()
os.chdir(top)
os.mkdir("names")
for name in (b"n" * 255, b"\\xff" * 255, b" ", b"\\n", b"$(reboot)", b"a:b,c=d\\\\e", b"-"):
    with open(os.path.join(b"names", name), "wb") as file:
        file.write(name)
with open("lends", "w") as file:
    file.write("#!/bin/sh\\n")
os.chmod("lends", 0o6755)
"""


@clause("D15")
@guards("overlay")
@in_each_mode
@pytest.mark.timeout(1200)
def test_an_odd_home_can_be_listed_and_removed(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Many files, names and paths at the limits, immutable and set-id ones: nothing happens to them."""
    account, odd = outside.home.account, jail(mode)
    must(account.python(ODD_HOME, str(MANY)))
    run(account.host, f"touch {outside.home.path}/fixed && chattr +i {outside.home.path}/fixed")
    before = outside.state()
    list_all = "find ~/many ~/deep ~/names ~/lends -print0 | sort -z | sha256sum"

    listed = odd.sh(list_all)
    removed = odd.sh("rm -rf ~/* ~/.[!.]* 2>&1 | tail -n 3; ls ~", timeout=600)

    assert outside.state() == before
    again = odd.sh("ls ~; echo started")
    control = must(account.sh(list_all)).stdout
    assert (listed.stdout == control) == (mode == "casual")
    assert {"many", "deep", "names", "lends"}.isdisjoint(removed.words)  # control: inside they are gone
    assert again.words[-1] == "started"
    run(account.host, f"chattr -i {outside.home.path}/fixed")
