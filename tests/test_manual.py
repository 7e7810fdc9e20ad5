"""The manual pages: well-formed, complete, and as the table of options has it."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.abilities import needs
from jai.argv import parse_argv
from jai.conf import File, Source, read_assignments
from jai.options import BY_NAME, CONF_FILE, JAIL_FILE, OPTIONS
from tests.helpers import find_jai

if TYPE_CHECKING:
    from types import ModuleType

PAGES = ("jai.1", "jai.conf.5")
OF_VERBS = {"remove"}  # what is no option of its own, but a word behind one


def source(root: Path, page: str) -> str:
    """Give a page as it is written."""
    return (root / "jai" / "man" / page).read_text(encoding="utf-8")


def rendered(root: Path, page: str) -> str:
    """Give a page as plain text, without hyphenation."""
    words = ["groff", "-man", "-Tascii", "-P-cbou", "-rHY=0", "-rLL=110n", str(root / "jai" / "man" / page)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def examples(root: Path, page: str) -> list[str]:
    """Give the examples of a page as a reader copies them."""
    found = re.findall(r"^\.EX\n(.*?)^\.EE$", source(root, page), re.MULTILINE | re.DOTALL)
    assert found
    return [each.replace(r"\-", "-").replace(r"\(ti", "~").replace(r"\e", "\\") for each in found]


@pytest.fixture(scope="session")
def update(root: Path) -> ModuleType:
    """The program behind `make man`."""
    spec = importlib.util.spec_from_file_location("update", root / "jai" / "man" / "update.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def groff(page: Path) -> str:
    """Give groff's complaints, with all of its warnings on."""
    words = ["groff", "-man", "-Tutf8", "-ww", "-z", str(page)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_groff_has_no_warning(root: Path, tmp_path: Path, page: str) -> None:
    """All of groff's warnings are on, and there are none."""
    wrong = tmp_path / page
    wrong.write_text(source(root, page) + ".NOSUCHMACRO\n", encoding="utf-8")

    assert "NOSUCHMACRO" in groff(wrong)  # control
    assert groff(root / "jai" / "man" / page) == ""


@needs("mandoc")
@pytest.mark.parametrize("page", PAGES)
def test_mandoc_has_no_complaint(root: Path, page: str) -> None:
    """Nor has mandoc, not even about style."""
    words = ["mandoc", "-Tlint", str(root / "jai" / "man" / page)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("page", PAGES)
def test_the_lists_are_current(root: Path, page: str, update: ModuleType) -> None:
    """What `make man` would write is what is there."""
    assert update.updated(source(root, page)) == source(root, page), "run `make man`"


def test_make_man_keeps_what_is_written_by_hand(root: Path, update: ModuleType) -> None:
    """A heading that is wrong is mended, an option that is missing gets its place, and no other line goes."""
    page = source(root, "jai.1")
    start, end = page.index('.\\" option rdir\n'), page.index('.\\" option xdir\n')
    by_hand = page[start:end].partition('.\\" by hand\n')[2]
    assert by_hand

    assert update.updated(page.replace("\\fB\\-\\-rdir\\fR", "\\fB\\-\\-other\\fR")) == page
    bare = page[start:end].removesuffix(by_hand)
    assert update.updated(page[:start] + page[end:]) == page[:start] + bare + page[end:]
    extra = page[start:end].replace("option rdir", "option gone")
    assert update.updated(page[:start] + extra + page[start:]) == page


def test_every_option_is_in_the_manual(root: Path) -> None:
    """Each form of each option has a heading in jai(1)."""
    lines = [line.strip() for line in rendered(root, "jai.1").splitlines()]
    for option in OPTIONS:
        assert [line for line in lines if f"{line} ".startswith(f"{option.forms()} ")], option.forms()


def test_every_option_of_a_file_is_in_its_manual(root: Path) -> None:
    """Each option that a file may have has a heading in jai.conf(5), and no other one has."""
    lines = [line.strip() for line in rendered(root, "jai.conf.5").splitlines()]
    for option in OPTIONS:
        forms = option.forms().partition("--")[2]
        headings = [line for line in lines if f"{line} ".startswith(f"{forms} ")]
        assert bool(headings) == (CONF_FILE in option.where), forms


@pytest.mark.parametrize("page", PAGES)
def test_no_other_option_is_in_the_manual(root: Path, page: str) -> None:
    """Whatever looks like a long option is one."""
    named = set(re.findall(r"(?<![\w-])--([a-z][a-z-]*)", rendered(root, page)))

    assert named
    assert named - set(BY_NAME) <= OF_VERBS


def test_the_examples_of_the_command_are_understood(root: Path) -> None:
    """Every example line that starts with jai is a command line that jai accepts."""
    text = "".join(examples(root, "jai.1")).replace("\\\n", "")
    commands = [line for line in text.splitlines() if line.startswith("jai")]
    assert len(commands) > 5

    for line in commands:
        parse_argv(shlex.split(line.partition("&&")[0])[1:])


def test_the_examples_of_files_are_understood(root: Path) -> None:
    """Every example of a file is one that jai accepts."""
    texts = examples(root, "jai.conf.5")
    texts += [each for each in examples(root, "jai.1") if each.startswith("conf ")]
    for text in texts:
        where = CONF_FILE if text.lstrip().startswith(("conf", "#")) else JAIL_FILE
        env = {"HOME": "/home/ada", "PWD": "/home/ada/project", "SSH_AUTH_SOCK": "/tmp/ssh/agent"}
        found = read_assignments(
            File("example", "/example", text.encode()),
            Source(where, "/home/ada/.jai", "/home/ada", env, lambda _path: None),
        )
        assert found
        for each in found:
            check = BY_NAME[each.option].check
            if check:
                check(each)


def test_the_pages_are_installed(root: Path) -> None:
    """man(1) finds the pages beside the command."""
    share = Path(find_jai()).resolve().parents[1] / "share" / "man"
    for page in PAGES:
        assert (share / f"man{page[-1]}" / page).read_text(encoding="utf-8") == source(root, page)
