"""What TAB writes: asked of jai itself, and seen in real shells at a terminal."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.abilities import needs
from conformance.conftest import *  # noqa: F403 - its fixtures
from jai.options import BY_NAME, BY_SHORT, OPTIONS, Option
from jai.verbs import complete
from tests.helpers import PATH, User, find_jai, originals, user
from tests.test_terminal import PROMPT, Shell, terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["user"]
TAB, START_OF_LINE = "\t", "\x01"
BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
SHARE = Path(find_jai()).resolve().parents[1] / "share"
NOT_COMPLETED = {"keep-fd"}  # a number that only the user knows


def ask(user: User, *words: str, **options: object) -> list[str]:
    """Give what jai says the last word may become."""
    done = user.run([user.jai, "--complete", *words], **options)  # type: ignore[arg-type]
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


# --- jai --complete -----------------------------------------------------------------------------------


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_of_the_table_is_completed(option: Option) -> None:
    """A cut name becomes the whole one, with each suffix that is typed, and a dash the short name."""
    assert f"--{option.name}" in complete.completions([f"--{option.name[:3]}"])
    for suffix in "!?":
        found = complete.completions([f"--{option.name}{suffix}"])
        assert found == [f"--{option.name}{suffix}"] * (suffix in option.suffixes)
    if option.short:
        assert f"-{option.short}" in complete.completions(["-"])


@pytest.mark.parametrize("option", [each for each in OPTIONS if each.choices], ids=lambda option: option.name)
def test_every_choice_of_the_table_is_completed(option: Option) -> None:
    """Choices follow the option as the next word and attached, long and short."""
    choices = sorted(option.choices)

    assert complete.completions([f"--{option.name}", ""]) == choices
    assert complete.completions([f"--{option.name}="]) == [f"--{option.name}={each}" for each in choices]
    if option.short:
        assert complete.completions([f"-{option.short}"]) == [f"-{option.short}{each}" for each in choices]
        assert complete.completions([f"-D{option.short}", choices[0][:2]]) == [choices[0]]


def test_values_are_known_for_every_option() -> None:
    """An option has choices, or a placeholder that says where its values come from."""
    unknown = {
        option.name
        for option in OPTIONS
        if option.value and not option.choices and option.name not in complete.SPECIAL
        and option.value not in complete.SOURCES
    }  # fmt: skip

    assert unknown <= NOT_COMPLETED | {"command"}


def test_a_new_option_needs_no_other_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is added to the table is completed, its values too."""
    row = Option("colour", "of the bars", short="k", value="COLOUR", suffixes="?", choices=("red", "green"))
    monkeypatch.setattr(complete, "OPTIONS", (*OPTIONS, row))
    monkeypatch.setitem(BY_NAME, row.name, row)
    monkeypatch.setitem(BY_SHORT, row.short, row)

    assert complete.completions(["--col"]) == ["--colour"]
    assert complete.completions(["--colour?"]) == ["--colour?"]
    assert complete.completions(["-D", "--colour?=g"]) == ["--colour?=green"]
    assert complete.completions(["-k", ""]) == ["green", "red"]


def test_one_verb_excludes_the_others() -> None:
    """Behind a verb options are offered and verbs are not; the command only where one may follow."""
    behind = complete.completions(["--plan", "--"])

    assert "--mode" in behind
    assert not [option.name for option in OPTIONS if option.verb and f"--{option.name}" in behind]
    assert "sh" in complete.completions(["--plan", "s"])
    assert complete.completions(["--init", "s"]) == []
    assert complete.completions(["--complete", "--m"]) == []


@pytest.mark.parametrize(
    ("words", "number"),
    [(["ls", ""], 0), (["-D", "ls", "-l"], 1), (["-D", "--", "-odd", "x"], 2), (["-m", "bare", "-", "x"], 2),
     (["--mode=bare", "ls", "--", "x"], 1), (["--", "--", "x"], 1), (["-Dj", "ls", "sh", "x"], 2)],
)  # fmt: skip
def test_the_words_of_the_command_are_left_to_the_shell(words: list[str], number: int) -> None:
    """One line says where the command starts, and that it is no completion."""
    assert complete.completions(words) == [f"\tcommand {number}"]


def test_jails(user: User) -> None:
    """A jail is named by any of its files, in the storage directory that the words before choose."""
    for name in ("one.jail", "one.home", "two.changes", "a.b.home", "four.tmp", ".five.jail", "six"):
        user.make(f"{user.storage}/{name}")
    user.make(f"{user.home}/elsewhere/seven.jail")
    user.make(f"{user.storage}/away.conf", "storage elsewhere\n")

    assert ask(user, "--jail", "") == ["a.b", "default", "one", "two"]
    assert ask(user, "-jt") == ["-jtwo"]
    assert ask(user, "--storage", "../elsewhere", "-j", "") == ["seven"]
    assert ask(user, "-C", "away", "-j", "") == ["seven"]
    # What is wrong before keeps nobody from naming a jail.
    assert ask(user, "--bogus", "-C", "missing", "-j", "o") == ["one"]


def test_configuration_files(user: User) -> None:
    """A name is one of the configuration directory; with a slash it is a path."""
    for name in ("claude.conf", "notes.txt", ".secret"):
        user.make(f"{user.storage}/{name}")
    user.make(f"{user.project}/jail.conf")

    assert ask(user, "-C", "") == ["claude.conf", "default.conf"]
    assert ask(user, "--conf?=.d") == ["--conf?=.defaults"]
    assert ask(user, "--conf", "./j") == ["./jail.conf"]
    assert ask(user, "--conf", "~/.jai/cl") == ["~/.jai/claude.conf"]


def test_paths(user: User) -> None:
    """Directories end in a slash, hidden files show once their dot is typed, and masks start at the home."""
    for name in ("letter", "lessons/one", ".hidden/x", "two words"):
        user.make(f"{user.project}/{name}")
    os.symlink("loop", f"{user.project}/loop")
    user.make(f"{user.home}/.netrc")

    assert ask(user, "-d", "") == ["lessons/", "letter", "loop", "two words"]
    assert ask(user, "-Dd", "l") == ["lessons/", "letter", "loop"]
    assert ask(user, "--rdir?", ".") == ["./", ".hidden/"]
    assert ask(user, "--xdir=./les") == ["--xdir=./lessons/"]
    assert ask(user, "-dlessons/") == ["-dlessons/one"]
    assert ask(user, "--dir", "~") == ["~/"]
    assert ask(user, "--storage", "l") == ["lessons/"]
    assert ask(user, "--mask", ".n") == [".netrc"]
    assert ask(user, "--unmask", "documents/letter-1") == [f"documents/letter-1{tail}" for tail in ("", 0, 1)]
    assert ask(user, "--dev", "") == ["/dev/"]
    assert ask(user, "--dev", "/dev/zer") == ["/dev/zero"]


def test_names_of_limits_and_variables(user: User) -> None:
    """Limits wait for their amount; a variable's value is never offered."""
    env = {"ADA_TOKEN": "hunter2"}

    assert ask(user, "--limit", "") == ["as=", "cpu=", "fsize=", "nofile=", "pids="]
    assert ask(user, "--limit=p") == ["--limit=pids="]
    assert ask(user, "--setenv", "ADA", env=env) == ["ADA_TOKEN"]
    assert ask(user, "--unsetenv", "ADA", env=env) == ["ADA_TOKEN"]
    assert ask(user, "--setenv", "ADA_TOKEN=", env=env) == []


def test_programs(user: User) -> None:
    """The command is one of PATH, or with a slash a file that can be executed or a directory."""
    for name, mode in (("bin/frob", 0o755), ("bin/frog", 0o644), ("run.sh", 0o755), ("run.txt", 0o644)):
        user.make(f"{user.project}/{name}", mode=mode)
    os.mkdir(f"{user.project}/bin/from")
    env = {"PATH": f"/nowhere:{user.project}/bin"}

    assert ask(user, "fr", env=env) == ["frob"]
    assert ask(user, "-D", "--", "fr", env=env) == ["frob"]
    assert ask(user, "./r") == ["./run.sh"]
    assert ask(user, "./") == ["./bin/", "./run.sh"]
    assert ask(user, env=env) == ["frob"]


ODD = """
    --bogus | -d | --= --= | - - | --mode= = | ~root/ | -j ../../etc/ | --dir!? x | -é | -d \udcff | -C \udcff
    --plan --init -u -- | --complete | -d nowhere/ -d \x7f | -- -- | -j -j -j | --jail=/etc/ | -D\x01
    -C /proc/1/ | --conf=~ | --setenv = | --limit == | -mm | -uu x | -vDd
"""
ODD_LINES = [words.split() for line in ODD.strip().split("\n") for words in line.split("|")]


@pytest.mark.parametrize(
    "words", [*ODD_LINES, ["", ""], ["a\nb", ""], ["-" * 5000], ["-d", "x/" * 4000], ["-j"] * 500]
)
def test_odd_words_are_borne(user: User, words: list[str]) -> None:
    """Whatever is typed, the answer is a list and nothing else happens."""
    assert all("\n" not in line for line in ask(user, *words))


def test_no_answer_is_an_answer(user: User) -> None:
    """A home, a configuration or a current directory that jai can not use leave the shell undisturbed."""
    assert ask(user, "-j", "", env={"JAI_CONFIG_DIR": "relative"}) == []
    assert ask(user, "-j", "", env={"JAI_CONFIG_DIR": "/proc/1/mem"}) == []
    assert ask(user, "-j", "", env={"HOME": "/nowhere"}) == []
    user.make(f"{user.storage}/default.conf", "nonsense\n")
    assert ask(user, "-j", "d") == ["default"]
    for nowhere in ("/dev/full", "&-"):
        done = user.sh(f"{user.jai} --complete -- >{nowhere}")
        assert (done.returncode, done.stderr) == (0, "")


def test_a_file_of_many_lines_is_not_offered(user: User) -> None:
    """A name that would break the list is left out; one that is not UTF-8 comes through."""
    for name in ("many\nlines", "many\ttabs", "many\udcff"):
        user.make(f"{user.project}/{name}")
    done = user.sh(f"{user.jai} --complete -d ma | od -An -c")

    assert done.stdout.split() == ["m", "a", "n", "y", "377", "\\n"]


def test_nothing_is_made(user: User) -> None:
    """Completing leaves no trace, not even where jai has never run."""
    user.sh(f"rm -rf {user.storage}; rm -f {user.home}/.jairc")
    before = originals(user)

    assert ask(user, "-j", "") == []
    ask(user, "-C", "")
    ask(user, "--mask", "")
    assert originals(user) == before
    assert not os.path.exists(user.storage)


# --- real shells --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """How a shell is started, and what it is told before the first TAB."""

    argv: tuple[str, ...]
    setup: tuple[str, ...]


BASH = ("bash", "--norc", "--noprofile", "-i")
OWN = "frob() { COMPREPLY=($(compgen -W 'alpine' -- \"$2\")); }; complete -F frob frob"
KINDS = {
    "bash": Kind(BASH, (f". {SHARE}/bash-completion/completions/jai",)),
    "bash-completion": Kind(BASH, (f". {BASH_COMPLETION}", OWN)),
    "zsh": Kind(
        ("zsh", "-f", "-i"),
        (
            f"fpath=({SHARE}/zsh/site-functions $fpath); bindkey -e; autoload -Uz compinit; compinit -u -D",
            "_frob() { compadd alpine }; compdef _frob frob",
        ),
    ),
    "fish": Kind(
        ("fish", "-i", "-C", f"function fish_prompt; echo -n '{PROMPT}'; end; set fish_greeting"),
        ("complete -c frob -f -a alpine",),
    ),
}


WITHOUT_HELP = "bash"
WITH_HELP = [
    pytest.param("bash-completion", marks=needs("bash-completion")),
    pytest.param("zsh", marks=needs("zsh")),
    pytest.param("fish", marks=needs("fish")),
]


@pytest.fixture(params=[WITHOUT_HELP, *WITH_HELP])
def shell(user: User, request: pytest.FixtureRequest) -> Iterator[Shell]:
    """A shell that finds jai on PATH and its completion where it was installed."""
    for name in ("letter.txt", "My Directory/file", "frob"):
        user.make(f"{user.project}/{name}", mode=0o755)
    user.make(f"{user.storage}/distant.jail", "mode bare\n")
    kind = KINDS[request.param]
    env = {
        "PS1": PROMPT,
        "PATH": f"{Path(user.jai).parent}:{PATH}:{user.project}",
        "XDG_DATA_DIRS": f"{SHARE}:/usr/local/share:/usr/share",
        "INPUTRC": "/dev/null",
    }
    with terminal(user, list(kind.argv), env) as child:
        made = Shell(child, user)
        made.see(PROMPT)
        for line in kind.setup:
            made.type(f"{line}\n")
            made.see(PROMPT)
        yield made


def complete_line(shell: Shell, typed: str) -> list[str]:
    """Press TAB behind what was typed and give the words as the shell reads them, up to an `@` typed last."""
    shell.type(f"{typed}{TAB}@{START_OF_LINE}printf '<%s>' \n")
    command = typed.split(maxsplit=1)[0]
    shell.see(f"<{command}>")
    words: list[str] = []
    while not (words and words[-1].endswith("@")):
        shell.see("<")
        words.append(shell.see(">"))
    return words


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("jai --noc", ["--nocwd", "@"]),
        ("jai -D --verb", ["-D", "--verbose", "@"]),
        ("jai --rdir\\?", ["--rdir?", "@"]),
        ("jai --mode ca", ["--mode", "casual", "@"]),
        ("jai --mode=ca", ["--mode=casual", "@"]),
        ("jai -mca", ["-mcasual", "@"]),
        ("jai -j dist", ["-j", "distant", "@"]),
        ("jai --jail=dist", ["--jail=distant", "@"]),
        ("jai --limit pi", ["--limit", "pids=@"]),
        ("jai --limit=pi", ["--limit=pids=@"]),
        ("jai -d ~/docu", ["-d", "/home/ada/documents/@"]),
        ("jai -d ~ada/docu", ["-d", "/home/ada/documents/@"]),
        ("jai -d $HOME/docu", ["-d", "/home/ada/documents/@"]),
        ("jai -d My", ["-d", "My Directory/@"]),
        ("jai -d My\\ D", ["-d", "My Directory/@"]),
        ("jai --rdir=My", ["--rdir=My Directory/@"]),
        ("jai unsh", ["unshare", "@"]),
        ("jai -D -m bare -- unsh", ["-D", "-m", "bare", "--", "unshare", "@"]),
        ("jai cat lett", ["cat", "letter.txt", "@"]),
        ("jai --mode=bare -D cat -n lett", ["--mode=bare", "-D", "cat", "-n", "letter.txt", "@"]),
    ],
)
def test_tab(shell: Shell, typed: str, words: list[str]) -> None:
    """TAB completes options, their values, the command and its arguments, each quoted as it must be."""
    assert complete_line(shell, typed) == words


@pytest.mark.parametrize("quote", ["'", '"'])
def test_tab_in_quotes(shell: Shell, quote: str, request: pytest.FixtureRequest) -> None:
    """What is quoted already stays quoted; bash closes the quote before the slash, as for any path."""
    bash = "bash" in request.node.callspec.params["shell"]
    shell.type(f"jai -d {quote}My{TAB}@{'' if bash else quote}{START_OF_LINE}printf '<%s>' \n")
    shell.see("<jai><-d><My Directory/@>")


def test_tab_behind_quotes(shell: Shell) -> None:
    """A word of which a part is quoted goes on."""
    assert complete_line(shell, "jai -d 'My Directory'/fi") == ["-d", "My Directory/file", "@"]


@pytest.mark.parametrize("shell", WITH_HELP, indirect=True)
def test_tab_asks_the_command_s_own_completion(shell: Shell) -> None:
    """Behind the command the shell completes as if jai were not there."""
    assert complete_line(shell, "frob al") == ["alpine", "@"]  # control
    assert complete_line(shell, "jai --mode=bare frob al") == ["--mode=bare", "frob", "alpine", "@"]
