"""The command line: every way to write an option, and what each mistake is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jai.argv import Invocation, parse_argv
from jai.errors import UsageError
from jai.options import ALL_WORDS, BY_NAME, COMMAND_LINE, OPTIONS, Assignment, Option


def typed(option: str, value: str = "", suffix: str = "") -> Assignment:
    """Give the assignment as the command line makes it."""
    return Assignment(option, suffix, value, COMMAND_LINE)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--mode strict", [typed("mode", "strict")]),
        ("--mode=strict", [typed("mode", "strict")]),
        ("-m strict", [typed("mode", "strict")]),
        ("-mstrict", [typed("mode", "strict")]),
        ("--dir! a", [typed("dir", "a", "!")]),
        ("--dir!=a", [typed("dir", "a", "!")]),
        ("--dir?=a", [typed("dir", "a", "?")]),
        ("--rdir? a", [typed("rdir", "a", "?")]),
        ("--conf? a", [typed("conf", "a", "?")]),
        ("-Dd a", [typed("nocwd"), typed("dir", "a")]),
        ("-Dda", [typed("nocwd"), typed("dir", "a")]),
        ("-Dvmcasual", [typed("nocwd"), typed("verbose"), typed("mode", "casual")]),
        ("-d a -d b", [typed("dir", "a"), typed("dir", "b")]),
        ("--setenv A=b=c", [typed("setenv", "A=b=c")]),
        ("--setenv=A=b=c", [typed("setenv", "A=b=c")]),
        ("--setenv A=", [typed("setenv", "A=")]),
        ("-d -x", [typed("dir", "-x")]),
        ("-d --", [typed("dir", "--")]),
        ("-d!a", [typed("dir", "!a")]),
    ],
)
def test_ways_to_write_an_option(line: str, expected: list[Assignment]) -> None:
    """Long and short, attached and apart, combined and with a suffix mean the same as for getopt."""
    assert parse_argv(line.split()) == Invocation("", tuple(expected), ())


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ([], ()),
        (["ls", "-l", "--mode"], ("ls", "-l", "--mode")),
        (["-D", "ls", "-D"], ("ls", "-D")),
        (["--", "-D"], ("-D",)),
        (["-D", "--", "--", "x"], ("--", "x")),
        (["-", "-D"], ("-", "-D")),
        (["", "-D"], ("", "-D")),
        (["--"], ()),
    ],
)
def test_options_end_where_the_command_starts(words: list[str], command: tuple[str, ...]) -> None:
    """The first word that is no option, a lone dash too, or the word after `--` starts the command."""
    assert parse_argv(words).command == command


@pytest.mark.parametrize(
    ("line", "verb"),
    [("--init", "init"), ("-u", "unmount"), ("--help", "help"), ("--version", "version"), ("-D", ""),
     ("--print-defaults", "print-defaults"), ("--plan", "plan"), ("--init --init", "init")],
)  # fmt: skip
def test_verbs(line: str, verb: str) -> None:
    """A verb replaces running the command; saying it twice is no conflict."""
    assert parse_argv(line.split()).verb == verb


def test_a_verb_stands_among_options_and_before_a_command() -> None:
    """`--plan` goes with all that a run goes with; `-u` combines with `-j`."""
    assert parse_argv(["-D", "--plan", "-v", "ls", "-u"]) == Invocation(
        "plan", (typed("nocwd"), typed("verbose")), ("ls", "-u")
    )
    assert parse_argv(["-ujwork"]) == Invocation("unmount", (typed("jail", "work"),), ())


def test_a_verb_that_takes_all_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row may give its verb all words that follow, options and `--` included."""
    row = Option("complete", "", where=(COMMAND_LINE,), verb=True, words=ALL_WORDS)
    monkeypatch.setitem(BY_NAME, "complete", row)

    assert parse_argv(["-v", "--complete", "--mo", "--", "-D"]) == Invocation(
        "complete", (typed("verbose"),), ("--mo", "--", "-D")
    )


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--nocdw"], "--nocdw: unknown option", "did you mean --nocwd?"),
        (["--unset", "A"], "--unset: unknown option", "did you mean --unsetenv?"),
        (["--stor=/x"], "--stor: unknown option", "did you mean --storage?"),
        (["-z"], "-z: unknown option", "jai --help lists the options"),
        (["-Dz"], "-z: unknown option in -Dz", "jai --help lists the options"),
        (["-nocwd"], "-n: unknown option in -nocwd", "did you mean --nocwd?"),
        (["--=x"], "--: unknown option", "jai --help lists the options"),
        (["---"], "---: unknown option", "jai --help lists the options"),
        (["--mode"], "--mode: --mode needs a value", "--mode MODE"),
        (["-Dm"], "-Dm: -m needs a value", "-m MODE"),
        (["--mode="], "--mode: the value is empty", "--mode MODE"),
        (["--dir!="], "--dir!: the value is empty", "--dir! PATH"),
        (["-d", ""], "-d: the value is empty", "-d PATH"),
        (["--nocwd=1"], "--nocwd=1: --nocwd takes no value", ""),
        (["--nocwd="], "--nocwd=: --nocwd takes no value", ""),
        (["--init=x"], "--init=x: --init takes no value", ""),
        (["--mode?", "x"], "--mode?: --mode can not be followed by ?", ""),
        (["--rdir!", "x"], "--rdir!: --rdir can not be followed by !", ""),
        (["--nocwd!"], "--nocwd!: --nocwd can not be followed by !", ""),
        (["--init", "--plan"], "--plan: can not be used together with --init", ""),
        (["-u", "--help"], "--help: can not be used together with --unmount", ""),
        (["--init", "ls"], "ls: --init takes no command", ""),
        (["a\0b"], "a\0b: a NUL byte can not be part of a command line", ""),
        (["-d", "a\0b"], "a\0b: a NUL byte can not be part of a command line", ""),
    ],
)
def test_mistakes_name_the_word(words: list[str], message: str, hint: str) -> None:
    """Each mistake names the word it is about, and the hint says what was meant."""
    with pytest.raises(UsageError) as caught:
        parse_argv(words)

    assert (caught.value.message, caught.value.hint) == (message, hint)
    assert caught.value.status == 125


TEXT = st.text(st.characters(exclude_characters="\0"), min_size=1)
SETTABLE = [option for option in OPTIONS if not option.verb]


@st.composite
def spelt(draw: st.DrawFn) -> tuple[Assignment, list[str]]:
    """Give an assignment and one way to type it."""
    option = draw(st.sampled_from(SETTABLE))
    if not option.value:
        ways = [["--" + option.name], *([["-" + option.short]] if option.short else [])]
        return typed(option.name), draw(st.sampled_from(ways))
    suffix = draw(st.sampled_from(["", *option.suffixes]))
    value = draw(TEXT)
    long = "--" + option.name + suffix
    ways = [[long, value], [f"{long}={value}"]]
    if option.short and not suffix:
        ways += [["-" + option.short, value], ["-" + option.short + value], ["-D" + option.short + value]]
    return typed(option.name, value, suffix), draw(st.sampled_from(ways))


@given(st.lists(spelt()), st.lists(TEXT))
def test_round_trip(options: list[tuple[Assignment, list[str]]], command: list[str]) -> None:
    """Whatever is asked for and however it is typed, it comes back in order and unchanged."""
    words = [word for _, way in options for word in way]
    expected = []
    for assignment, way in options:
        bundled = way[0].startswith("-D") and assignment.option != "nocwd"
        expected += [typed("nocwd"), assignment] if bundled else [assignment]

    assert parse_argv([*words, "--", *command]) == Invocation("", tuple(expected), tuple(command))


WORD = st.text(st.sampled_from("-=!?dDmuvxz"), max_size=5) | st.sampled_from(["--dir", "--init", "--plan"])


@given(st.lists(WORD | st.text(max_size=4)))
def test_any_words_are_understood_or_a_usage_error(words: list[str]) -> None:
    """No words at all make the parser fail in any other way, and none is lost from the command."""
    try:
        found = parse_argv(words)
    except UsageError:
        return
    assert list(found.command) == words[len(words) - len(found.command) :]
