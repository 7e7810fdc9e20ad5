"""What outlives a jail, and what a jail may know: seen from both sides."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest

from conformance.accounts import must
from conformance.clauses import clause, guards
from conformance.homes import MASKED
from conformance.jails import FAILED, also_as_root, for_everybody

if TYPE_CHECKING:
    from conformance.conftest import MakeJail, Outside

STARTED_LATER = (
    *(".bashrc", ".profile", ".zshenv", ".vimrc", ".tmux.conf", ".gitconfig", ".local/bin/ls"),
    *(".config/autostart/agent.desktop", ".config/systemd/user/backup.service", ".ssh/authorized_keys"),
)
SECRETS = {
    "GITHUB_TOKEN": "a token",
    "AWS_SECRET_ACCESS_KEY": "a key",
    "ANTHROPIC_API_KEY": "an API key",
    "MY_PASSWORD": "a password",
    "SSH_AUTH_SOCK": "/run/agent",
    "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/bus",
    "DATABASE_URL": "postgres://ada:pw@localhost/db",
    "KUBECONFIG": "/home/ada/.kube/config",
}
# Whatever runs it, inside or outside, this tries to leave a mark that only the outside can make.
TRAP = "open('/srv/watched/PWNED', 'w').close()\n"


def ways_to(path: str) -> dict[str, str]:
    """Acts that look at a path of the home by different names; `link` is a link in the grant to the home."""
    quoted = repr(path)
    return {
        "by its name": f"os.lstat(HOME + '/' + {quoted})",
        "by the real home": f"os.lstat(os.path.realpath(HOME) + '/' + {quoted})",
        "by ..": f"os.lstat('../' + {quoted})",
        "by /proc/self/root": f"os.lstat('/proc/self/root' + HOME + '/' + {quoted})",
        "by /proc/self/cwd": f"os.lstat('/proc/self/cwd/../' + {quoted})",
        "by a descriptor": f"os.lstat({quoted}, dir_fd=os.open(HOME, os.O_RDONLY))",
        "by /proc/self/fd": f"os.lstat(f'/proc/self/fd/{{os.open(HOME, os.O_RDONLY)}}/' + {quoted})",
        "by /proc/1/root": f"os.lstat('/proc/1/root' + HOME + '/' + {quoted})",
        "by a link in the grant": f"os.lstat('link/' + {quoted})",
    }


@clause("P01")
@guards("overlay")
@for_everybody
def test_what_runs_later_is_not_changed(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Start-up files can be written inside, are there for the jail's next command, and are not changed."""
    before = outside.state()
    files = " ".join(f"$HOME/{path}" for path in STARTED_LATER)
    same = jail(mode)

    same.sh(f"for f in {files}; do mkdir -p $(dirname $f); echo evil >> $f; done")

    assert outside.state() == before
    assert same.sh(f"cat {files} | grep -c evil").words == [str(len(STARTED_LATER))]


@clause("P03")
@guards("hidden-storage")
@for_everybody
@pytest.mark.parametrize(
    "part",
    [
        ".jai",
        ".jai/default.conf",
        ".jai/.defaults",
        ".jai/other.changes",
        ".jai/{name}.changes",
        ".jai/{name}.home",
    ],
)
def test_jai_s_own_directory_is_not_there(jail: MakeJail, outside: Outside, mode: str, part: str) -> None:
    """Neither the configuration nor any jail's storage can be seen from inside, by any path."""
    must(outside.home.account.sh("ln -s .. project/link"))
    jail("casual", name="other").sh("echo other > ~/of-the-other")
    same = jail(mode)
    same.sh("echo mine > ~/mine")
    config, before = outside.home.config(), outside.state()
    assert "default.conf" in config

    answers = same.tries(ways_to(part.format(name=same.name)))
    control = same.tries(ways_to("mine"))

    assert outside.state() == before
    assert outside.home.config() == config
    assert set(control.values()) <= {"ok", "EACCES"}
    assert control["by its name"] == "ok"
    # PID 1's root may be refused altogether.
    assert set(answers.values()) <= {"ENOENT", "EACCES"}
    assert {way for way, answer in answers.items() if answer == "EACCES"} <= {"by /proc/1/root"}


@clause("P03")
@for_everybody
def test_jai_s_configuration_cannot_be_written(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Whatever a jail makes at the configuration's place stays its own, and does not change the next run."""
    same = jail(mode)
    same.sh("true")  # a jail's first run writes its NAME.jail
    config, before = outside.home.config(), outside.state()

    same.sh(
        "mkdir -p ~/.jai; cd ~/.jai; echo 'dir /srv/watched' | tee -a default.conf .defaults default.jail"
    )
    answer = same.tries({"write outside": "open('/srv/watched/PWNED', 'w')"})

    assert outside.state() == before
    assert outside.home.config() == config
    assert answer == {"write outside": "EROFS"}


@clause("P04")
@for_everybody
def test_what_is_left_in_the_project_does_not_run(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Modules, programs and configuration planted in the project have no effect on the next jai."""
    modules = (
        "json",
        "os",
        "sys",
        "site",
        "errno",
        "fcntl",
        "encodings",
        "sitecustomize",
        "usercustomize",
        "_jai",
    )
    plant = {f"{name}.py": TRAP for name in modules} | {"jai/__init__.py": TRAP, "jai/cli.py": TRAP}
    plant |= {
        "pyvenv.cfg": "home = .\n",
        ".jai/default.conf": "dir! /srv/watched/PWNED\n",
        "default.conf": "dir /srv\n",
    }
    plant |= dict.fromkeys(("jai-python", "python3", "bin/jai"), "#!/bin/sh\ntouch /srv/watched/PWNED\n")
    plant |= {".env": "LD_PRELOAD=./evil.so\nPYTHONPATH=.\n", "evil.so": "not a library\n"}
    plant |= {".jairc": "touch /srv/watched/PWNED\n", "sh": "#!/bin/sh\ntouch /srv/watched/PWNED\n"}
    code = (
        f"for path, text in {plant!r}.items():\n"
        "    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)\n"
        "    open(path, 'w').write(text)\n"
        "    os.chmod(path, 0o755)\n"
    )
    account = outside.home.account
    before = outside.state()
    assert jail(mode).tries({"plant": code}) == {"plant": "ok"}
    assert outside.state() == before

    environments: list[dict[str, str]] = [
        {},
        {"PYTHONPATH": "."},
        {"PYTHONSTARTUP": "json.py", "PYTHONHOME": "."},
    ]
    seen = [jail(mode).run(["pwd"], env=environment) for environment in environments]

    assert outside.state() == before
    assert {(each.rc, each.stdout, each.stderr) for each in seen} == {(0, f"{outside.home.project}\n", "")}
    account.run(["python3", "-c", "import json"], cwd=outside.home.project)  # control: the trap does work
    assert account.sh("ls /srv/watched/PWNED && rm /srv/watched/PWNED").rc == 0


@clause("P04")
@guards("pinned-folders")
@also_as_root
def test_what_is_masked_in_a_grant_can_not_be_moved_from_under_its_mask(
    jail: MakeJail, outside: Outside
) -> None:
    """A folder above it stays where it is, so the next run hides it too."""
    grant = ("-d", f"{outside.home.path}/.local")
    moves = {
        "the folder above": "os.rename(HOME + '/.local/share', HOME + '/.local/moved')",
        "another": "os.rename(HOME + '/.local/bin', HOME + '/.local/moved bin')",
    }

    answers = jail("casual").tries(moves, *grant)
    there = jail("casual").tries({"there": "open(HOME + '/.local/moved/keyrings/secret')"}, *grant)

    assert answers == {"the folder above": "EBUSY", "another": "ok"}
    assert there == {"there": "ENOENT"}


@clause("P04")
@guards("unmoved-targets")
@also_as_root
def test_a_link_that_a_jail_left_does_not_lead_a_grant_elsewhere(jail: MakeJail, outside: Outside) -> None:
    """What a jail put in place of a folder of the home is not followed: the next run is refused."""
    same, grant = jail("casual"), f"{outside.home.path}/src/tool"
    before = outside.state()

    control = same.run(["ls", grant], "-D", "-d", grant, cwd=outside.home.path)
    same.sh("rm -rf ~/src; ln -s /tmp ~/src")
    seen = same.run(["ls", grant], "-D", "-d", grant, cwd=outside.home.path)

    assert outside.state() == before
    assert "tool.py" in control.words
    assert (seen.rc, seen.stdout) == (FAILED, "")
    assert 0 < len(seen.stderr.splitlines()) <= 3
    assert "symbolic link" in seen.stderr


@clause("P04")
@for_everybody
def test_a_start_up_file_in_the_home_does_not_run_outside(
    jail: MakeJail, outside: Outside, mode: str
) -> None:
    """What a jail writes into its own home's start-up files never runs with more rights than the jail has."""
    before = outside.state()
    same = jail(mode)
    same.sh(
        "for f in .jairc .bashrc .bash_profile .profile;"
        "do echo 'export EVIL=1; touch /srv/watched/PWNED' >> ~/$f; done"
    )

    seen = same.run(["sh", "-c", "echo $EVIL."])

    assert outside.state() == before
    assert seen.stdout in {".\n", "1.\n"}


@clause("I01")
@guards("masks", "private-home")
@for_everybody
def test_masked_paths_do_not_exist(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Each masked path is absent by every name it has; what is not masked is there by the same names."""
    account = outside.home.account
    must(account.sh("ln -s .. project/link; echo seen > project/probe"))
    there = account.python(
        "import json,os,sys; print(json.dumps([os.path.lexists(p) for p in json.loads(sys.argv[1])]))",
        json.dumps(MASKED),
    )
    assert json.loads(there.stdout) == [True] * len(MASKED)  # control: outside they are there
    before = outside.state()
    probed = jail(mode)

    acts = {f"{path} {way}": act for path in MASKED for way, act in ways_to(path).items()}
    answers = probed.tries(acts)
    control = probed.tries(ways_to("project/probe"))

    assert outside.state() == before
    refused = {"EACCES"} if control["by /proc/1/root"] == "EACCES" else set()
    found = {name: answer for name, answer in answers.items() if answer not in {"ENOENT"} | refused}
    assert found == {}
    assert {way for way, answer in control.items() if answer != "ok"} <= {"by /proc/1/root"}


@clause("I01")
@guards("covers")
@also_as_root
def test_a_mask_holds_in_a_grant_that_is_wider(jail: MakeJail, outside: Outside) -> None:
    """Who grants the folder above gets all of it but what is masked."""
    home, before = outside.home.path, outside.state()
    wider = ("-d", f"{home}/.config", "-d", f"{home}/.cargo")
    acts = {
        "a folder": "open(HOME + '/.config/gh/secret')",
        "another": "os.listdir(HOME + '/.config/op')[0]",
        "a file": "open(HOME + '/.cargo/credentials.toml')",
        "replace it": "os.rename(HOME + '/.config/autostart', HOME + '/.config/gh')",
        "the rest": "open(HOME + '/.config/systemd/user/backup.service', 'r+')",
    }

    answers = jail("casual").tries(acts, *wider)
    shown = jail("casual").tries({"a folder": acts["a folder"]}, *wider, "--unmask", ".config/gh")

    assert outside.state() == before
    assert answers == {
        "a folder": "ENOENT",
        "another": "IndexError",
        "a file": "EACCES",
        "replace it": "EBUSY",
        "the rest": "ok",
    }
    assert shown == {"a folder": "ok"}  # control


@clause("I01")
@for_everybody
def test_a_masked_name_can_be_used_anew(jail: MakeJail, outside: Outside, mode: str) -> None:
    """A program may make its own file where a masked one is; it shows nothing of the old."""
    before = outside.state()
    same = jail(mode)

    same.sh("mkdir -p ~/.ssh && echo new > ~/.ssh/known_hosts; echo anew > ~/.netrc")

    assert outside.state() == before
    assert same.sh("ls -A ~/.ssh; cat ~/.netrc").words == ["known_hosts", "anew"]


@clause("I01")
@also_as_root
def test_the_folders_of_what_is_masked_look_as_outside(jail: MakeJail, outside: Outside) -> None:
    """A folder that something in it is masked of keeps its mode, owner and times."""
    look = "stat -c '%n %a %u %g %y' ~/.config ~/.local ~/.local/share ~/.cargo"

    seen = jail("casual").sh(f"{look}; ls ~/.local/share/keyrings")

    assert seen.stdout == must(outside.home.account.sh(look)).stdout
    assert "keyrings': No such file" in seen.stderr  # control: there is a mask below


@clause("I01")
@also_as_root
def test_an_unmasked_path_is_there(jail: MakeJail, outside: Outside) -> None:
    """The control of the masks: what the user unmasks is readable."""
    before = outside.state()

    seen = jail("casual").sh("cat ~/.netrc; cat ~/.npmrc 2>/dev/null", "--unmask", ".netrc")

    assert outside.state() == before
    assert seen.stdout == "secret of .netrc\n"


@clause("I02")
@for_everybody
def test_the_user_s_other_files_are_readable(jail: MakeJail, outside: Outside, mode: str) -> None:
    """A 0600 file of the user outside the home: readable, as is documented, but for strict; never written."""
    before = outside.state()
    acts = {
        "read": "open('/srv/watched/private').read()",
        "write": "open('/srv/watched/private', 'a')",
        "what the world may read": "open('/srv/watched/file').read()",
    }

    answers = jail(mode).tries(acts)

    assert outside.state() == before
    refused = {"read": "EACCES", "write": "EACCES"} if mode == "strict" else {"write": "EROFS"}
    assert answers == dict.fromkeys(acts, "ok") | refused


@clause("I03")
@guards("environment", "wiped-words")
@for_everybody
def test_secrets_of_the_environment_are_gone(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Neither the environment of a process inside nor any command line there holds a secret."""
    marked = {name: f"{value}-5ecret" for name, value in SECRETS.items()}

    seen = jail(mode).sh(
        "env; echo ---; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n';"
        "echo ---; tr '\\0' '\\n' < /proc/1/cmdline",
        env={**marked, "EDITOR": "harmless"},
    )

    names, everywhere, first = seen.stdout.split("---\n")
    assert first.strip() == "jai"  # not what it was told, nor where it is
    assert "EDITOR=harmless" in names  # control: what is no secret comes through
    assert "EDITOR=harmless" in everywhere
    assert [name for name in SECRETS if f"{name}=" in seen.stdout] == []
    assert "-5ecret" not in everywhere
    assert f"USER={outside.home.account.name}" in names.split()


@clause("I03")
@also_as_root
def test_a_wanted_secret_comes_through(jail: MakeJail) -> None:
    """The control of the scrub: --setenv lets a single variable in."""
    seen = jail("casual").sh(
        "echo $ANTHROPIC_API_KEY $GITHUB_TOKEN",
        *("--setenv", "ANTHROPIC_API_KEY"),
        env={"ANTHROPIC_API_KEY": "wanted", "GITHUB_TOKEN": "unwanted"},
    )

    assert seen.stdout == "wanted\n"


@clause("I04")
@guards("descriptors")
@for_everybody
def test_inherited_descriptors_are_closed(jail: MakeJail, outside: Outside, mode: str) -> None:
    """A file and directories that the caller had open cannot be used from inside."""
    home = shlex.quote(outside.home.path)
    opened = f"exec 5</srv/watched/private 7<{home} 9</srv/watched;"
    before = outside.state()
    acts = {
        "read": "os.read(5, 10)",
        "parent": "os.open('..', os.O_RDONLY, dir_fd=7)",
        "masked": "os.open('.ssh/id_ed25519', os.O_RDONLY, dir_fd=7)",
        "write": "os.open('PWNED', os.O_CREAT | os.O_WRONLY, dir_fd=9)",
        "by /proc": "os.open('/proc/self/fd/7/.ssh/id_ed25519', os.O_RDONLY)",
        "own": "os.fstat(0), os.fstat(1), os.fstat(2)",
    }

    answers = jail(mode).tries(acts, prefix=opened)
    kept = jail(mode).tries({"read": acts["read"]}, "--keep-fd", "5", prefix=opened)

    assert outside.state() == before
    closed = dict.fromkeys(acts, "EBADF") | {"by /proc": "ENOENT", "own": "ok"}
    assert answers == closed
    assert kept == {"read": "ok"}  # control: the same act where it is allowed


@clause("I04")
@for_everybody
def test_only_three_descriptors_are_open(jail: MakeJail, mode: str) -> None:
    """Inside, nothing is open but the standard three (and the one that lists them)."""
    seen = jail(mode).sh("ls /proc/self/fd", prefix="exec 5</etc/passwd 9</;")

    assert seen.words[:3] == ["0", "1", "2"]
    assert len(seen.words) == 4
