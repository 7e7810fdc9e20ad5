"""The table of options: what must hold for every row, and what is printed from it."""

from __future__ import annotations

import pytest

from jai.errors import ConfError, UsageError
from jai.options import (
    BY_NAME,
    BY_SHORT,
    COMMAND_LINE,
    OPTIONS,
    UNLIMITED,
    Assignment,
    Option,
    amount_of,
    complaint,
    help_text,
)
from jai.suggest import nearest, option_hint

# The options of behaviour.md.
LONG = """
    mode jail dir rdir xdir nocwd mask unmask protect unprotect setenv unsetenv
    conf storage net dev keep-fd limit script
    command initjail verbose unmount allow init setup doctor plan print-defaults complete help version
"""


def test_the_table_has_the_options_of_the_contract() -> None:
    """The table holds exactly the long options of the contract, each once."""
    assert sorted(option.name for option in OPTIONS) == sorted(LONG.split())


def test_short_names_are_those_of_the_contract() -> None:
    """A short name belongs to one option."""
    shorts = {letter: option.name for letter, option in BY_SHORT.items()}

    assert shorts == {
        "m": "mode", "j": "jail", "d": "dir", "r": "rdir", "x": "xdir", "D": "nocwd",
        "C": "conf", "v": "verbose", "u": "unmount",
    }  # fmt: skip
    assert len(shorts) == sum(bool(option.short) for option in OPTIONS)


def test_only_the_listed_values_expand_variables() -> None:
    """`${VAR}` means something in the values the contract lists and nowhere else."""
    assert {option.name for option in OPTIONS if option.expands} == {
        "conf", "dir", "rdir", "xdir", "mask", "unmask", "protect", "unprotect", "setenv", "storage",
    }  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_rows_make_sense(option: Option) -> None:
    """A verb takes no value and stands on the command line only; suffixes need a value."""
    assert COMMAND_LINE in option.where
    if option.verb:
        assert (option.value, option.suffixes, option.where) == ("", "", (COMMAND_LINE,))
    if option.suffixes or option.choices or option.expands or option.check:
        assert option.value


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_help_names_every_option(option: Option) -> None:
    """`--help` has a line that starts with every form of the option and ends in its help."""
    lines = [line.strip() for line in help_text().splitlines()]

    assert [line for line in lines if line.startswith(option.forms()) and line.endswith(option.help)]


def test_help_fits_a_wide_terminal() -> None:
    """No line of the help is longer than 110 columns."""
    assert max(len(line) for line in help_text().splitlines()) <= 110


def test_forms_show_suffixes_and_choices() -> None:
    """The forms of an option are what the manual writes."""
    assert BY_NAME["dir"].forms() == "-d, --dir[!|?] PATH"
    assert BY_NAME["net"].forms() == "--net host|none"


@pytest.mark.parametrize(
    ("text", "amount"),
    [("0", 0), ("512", 512), ("4k", 4096), ("4K", 4096), ("2G", 2 << 30), ("1T", 1 << 40),
     ("unlimited", UNLIMITED), ("9223372036854775807", (1 << 63) - 1)],
)  # fmt: skip
def test_amounts(text: str, amount: int) -> None:
    """A limit is a whole number with an optional unit, or unlimited."""
    assert amount_of(text) == amount


@pytest.mark.parametrize(
    "text",
    [
        "",
        "K",
        "-1",
        "+1",
        "1.5",
        "1 K",
        " 1",
        "1KB",
        "1_000",
        "٣",
        "9223372036854775808",
        "8388608T",
        "9" * 5000,
    ],
)
def test_what_is_no_amount(text: str) -> None:
    """Signs, fractions, blanks, other scripts' digits and what the kernel can not hold are refused."""
    with pytest.raises(ValueError):  # noqa: PT011 - the text is the whole message
        amount_of(text)


def test_a_complaint_speaks_of_the_place_it_comes_from() -> None:
    """The same mistake is a usage error on the command line, a configuration error in a file."""
    typed = complaint(Assignment("net", "", "lan", COMMAND_LINE), "no")
    written = complaint(Assignment("dir", "!", "x", "/c/a.conf:7"), "no")

    assert (type(typed), typed.message) == (UsageError, "--net lan: no")
    assert (type(written), written.message) == (ConfError, "/c/a.conf:7: dir! x: no")


def test_a_complaint_keeps_secrets() -> None:
    """The value of a variable is never part of a message."""
    error = complaint(Assignment("setenv", "", "A B=hunter2", COMMAND_LINE), "no")

    assert "A B" in error.message
    assert "hunter2" not in "".join(error.lines())


@pytest.mark.parametrize(
    ("word", "expected"),
    [("nocdw", "nocwd"), ("unset", "unsetenv"), ("mas", "mask"), ("qqqq", ""), ("", "")],
)
def test_nearest(word: str, expected: str) -> None:
    """A letter swapped or a name cut short is recognised, noise is not."""
    assert nearest(word, LONG.split()) == expected


def test_hints_name_only_what_may_stand_there() -> None:
    """A file is never told to use a verb, and options are spelt as the place spells them."""
    assert option_hint("--vers", COMMAND_LINE) == "did you mean --version?"
    assert "version" not in option_hint("vers", ".conf file")
    assert option_hint("--nocwd", ".conf file") == "did you mean nocwd?"
