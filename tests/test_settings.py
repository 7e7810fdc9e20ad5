"""The three layers together: which files are read, what wins, and what each wrong value is called."""

from __future__ import annotations

import fnmatch
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jai import settings
from jai.argv import parse_argv
from jai.errors import ConfError, UsageError
from jai.options import UNLIMITED
from jai.settings import Device, EnvRule, Grant, Mask, apply_environment, matches, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jai.settings import Settings

    Texts = Mapping[str, str]

NONE: Texts = {}
CONF = "/home/u/.jai/default.conf"
JAIL = "/home/u/.jai/default.jail"
TYPED = "command line"


def read(line: str | list[str] = "", files: Texts = NONE, env: Texts = NONE) -> Settings:
    """Read the settings of a command line, with files from a dict of path to text."""
    texts = {path: text.encode() for path, text in files.items()}
    words = line if isinstance(line, list) else line.split()
    return read_settings(
        parse_argv(words), env=dict(env), cwd="/home/u/work", home="/home/u", reader=texts.get
    )


def lone(line: str | list[str] = "", files: Texts = NONE, env: Texts = NONE) -> Settings:
    """Read the settings with empty default files, so that nothing but the case under test counts."""
    return read(line, {CONF: "", JAIL: "", **files}, env)


def test_without_any_file_the_built_in_texts_count() -> None:
    """A user who never ran `jai --init` has the default jail, casual, with all masks and scrubs."""
    found = read("ls -l")

    assert (found.jail, found.mode, found.mode_given, found.jail_file_exists) == (
        "default",
        "casual",
        False,
        False,
    )
    assert (found.config_dir, found.storage, found.storage_origin) == ("/home/u/.jai", "/home/u/.jai", "")
    assert ".ssh" in [mask.path for mask in found.masks]
    assert "*_TOKEN" in [rule.name for rule in found.environment]
    assert (found.net, found.limits, found.grants, found.keep_fds) == ("host", (("pids", 8192),), (), ())
    assert found.allow == "none"
    assert (found.nocwd, found.verbose, found.keep_all_fds) == (False, False, False)
    assert found.command == ("ls", "-l")


FILES = {
    "/home/u/.jai/ls.conf": "setenv FILE=ls",
    "/home/u/.jai/.ls.conf": "setenv FILE=hidden",
    "/home/u/.jai/other.conf": "setenv FILE=other",
    CONF: "setenv FILE=default",
    "/home/u/work/here": "setenv FILE=here",
}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ls", "ls"),
        ("./ls", "default"),
        ("/bin/ls", "default"),
        (".ls", "default"),
        ("cat", "default"),
        ("", "default"),
        ("-C other ls", "other"),
        ("-C other -C ls cat", "ls"),
        ("-C ./here ls", "here"),
        ("--conf? other ls", "other"),
        ("--conf? none ls", "ls"),
        ("--conf? none cat", "default"),
    ],
)
def test_which_conf_file_is_read(line: str, expected: str) -> None:
    """`-C` decides, else the file of the command, else default.conf; a missing `conf?` is as none."""
    assert [rule.value for rule in read(line, FILES).environment] == [expected]


def test_a_conf_file_that_must_exist() -> None:
    """`-C` of a missing file is a usage error, not a silent default."""
    with pytest.raises(UsageError, match="--conf none: no such file"):
        read("-C none ls", FILES)


@pytest.mark.parametrize("command", [[""], ["x" * 5000], ["a\nb"], ["\udcff"]])
def test_an_odd_command_reads_the_default_file(command: list[str]) -> None:
    """A command whose name can not have a file of its own is nothing special."""
    assert read(command, FILES).environment[0].value == "default"


@pytest.mark.parametrize(
    ("env", "expected"),
    [({}, "/home/u/.jai"), ({"JAI_CONFIG_DIR": ""}, "/home/u/.jai"), ({"JAI_CONFIG_DIR": "/x//y/"}, "/x/y")],
)
def test_the_configuration_directory(env: dict[str, str], expected: str) -> None:
    """`$JAI_CONFIG_DIR` moves it; an empty one counts as not set."""
    assert read(env=env).config_dir == expected


def test_a_relative_configuration_directory_is_refused() -> None:
    """A relative one would mean another directory in every place jai is typed."""
    with pytest.raises(UsageError, match="JAI_CONFIG_DIR=x: must be an absolute path"):
        read(env={"JAI_CONFIG_DIR": "x"})


@pytest.mark.parametrize(
    ("line", "conf", "jail", "expected", "origin"),
    [
        ("-m bare", "mode strict", "mode casual", "bare", TYPED),
        ("", "mode strict", "mode bare", "bare", JAIL + ":1"),
        ("", "mode strict", "", "strict", CONF + ":1"),
        ("", "", "", "casual", ""),
        ("-m bare -m strict", "", "", "strict", TYPED),
        ("", "mode bare\nmode strict", "", "strict", CONF + ":2"),
    ],
)
def test_who_chooses_the_mode(line: str, conf: str, jail: str, expected: str, origin: str) -> None:
    """The command line wins over the .jail file, that over the .conf file."""
    found = read(line, {CONF: conf, JAIL: jail})

    assert (found.mode, found.mode_origin, found.mode_given) == (expected, origin, bool(origin))


def test_a_named_jail_is_strict_until_told_otherwise() -> None:
    """A jail with a name of its own is strict by default, whether its file exists or not."""
    files = {"/home/u/.jai/a.jail": "# nothing", "/home/u/.jai/b.jail": "mode bare"}

    seen = {name: read(["-j", name], files) for name in ("a", "b", "c")}

    assert {name: found.mode for name, found in seen.items()} == {"a": "strict", "b": "bare", "c": "strict"}
    assert {name: found.jail_file_exists for name, found in seen.items()} == {
        "a": True,
        "b": True,
        "c": False,
    }
    assert {name: found.mode_given for name, found in seen.items()} == {"a": False, "b": True, "c": False}


def test_who_chooses_the_jail() -> None:
    """The command line wins over the .conf file."""
    assert lone("", {CONF: "jail work"}).jail == "work"
    assert lone("", {CONF: "jail work"}).jail_origin == CONF + ":1"
    assert lone("-j play", {CONF: "jail work"}).jail == "play"


def test_where_the_storage_is() -> None:
    """The .jail file comes from the storage directory; its path is relative to where it was said."""
    files = {
        "/home/u/s/default.jail": "mode bare",
        "/home/u/work/s/default.jail": "mode strict",
        CONF: "storage s",
    }

    assert (read("", files).storage, read("", files).mode) == ("/home/u/s", "bare")
    assert (read("--storage s", files).storage, read("--storage s", files).mode) == (
        "/home/u/work/s",
        "strict",
    )
    assert read("--storage s", files).storage_origin == TYPED
    assert read("", {CONF: "storage ~/s"}).storage == "/home/u/s"


def test_later_layers_come_later() -> None:
    """All layers keep their order: .conf, .jail, command line."""
    found = read("--setenv A=3", {CONF: "setenv A=1", JAIL: "setenv A=2"})

    assert found.environment == (
        EnvRule("set", "A", "1", CONF + ":1"),
        EnvRule("set", "A", "2", JAIL + ":1"),
        EnvRule("set", "A", "3", TYPED),
    )


def test_grants_are_relative_to_where_they_were_said() -> None:
    """A relative path starts at the current directory when typed, at the home in a file."""
    found = lone("-d a --dir! /x/../y -r ~/b", {CONF: "dir a\nrdir? ${HOME}/c/\ndir ${PWD}/d"})

    assert found.grants == (
        Grant("/home/u/a", "rw", "", CONF + ":1"),
        Grant("/home/u/c", "ro", "?", CONF + ":2"),
        Grant("/home/u/work/d", "rw", "", CONF + ":3"),
        Grant("/home/u/work/a", "rw", "", TYPED),
        Grant("/y", "rw", "!", TYPED),
        Grant("/home/u/b", "ro", "", TYPED),
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-d /a -r /a", [("/a", "ro")]),
        ("-r /a -d /a/", [("/a", "rw")]),
        ("-d /a -d /b -x /a", [("/b", "rw")]),
        ("-r /a -x /b/../a", []),
        ("-x /a -d /a", [("/a", "rw")]),
        ("-d /a/b -x /a", [("/a/b", "rw")]),
    ],
)
def test_grants_undone_and_replaced(line: str, expected: list[tuple[str, str]]) -> None:
    """The last word on a path counts; --xdir of what was never granted is nothing."""
    assert [(grant.path, grant.access) for grant in lone(line).grants] == expected


def test_pwd_is_the_true_current_directory() -> None:
    """A `$PWD` or `$HOME` that lies does not move a grant."""
    found = lone("", {CONF: "dir ${PWD}/a\ndir ${HOME}/b"}, env={"PWD": "/lie", "HOME": "/lie"})

    assert [grant.path for grant in found.grants] == ["/home/u/work/a", "/home/u/b"]


def test_the_command_line_is_not_expanded() -> None:
    """The shell has expanded what it had to: a directory may be called `${HOME}`."""
    assert lone(["-d", "/${HOME}\\$"]).grants[0].path == "/${HOME}\\$"


def test_masks_are_relative_to_the_home() -> None:
    """However a mask is written, it is kept relative to the home, and once."""
    found = lone("--mask b/../c", {CONF: "mask a/\nmask ~/x/y\nmask /home/u/z\nmask ./a"})

    assert found.masks == (
        Mask("x/y", CONF + ":2"), Mask("z", CONF + ":3"), Mask("a", CONF + ":4"), Mask("c", TYPED),
    )  # fmt: skip


def test_masks_undone() -> None:
    """`unmask` takes back an earlier mask of the same file, no later one and no other."""
    found = lone("--unmask ~/.ssh --mask .aws", {CONF: "mask .ssh\nmask .ssh2\nunmask .aws"})

    assert [mask.path for mask in found.masks] == [".ssh2", ".aws"]


@pytest.mark.parametrize("value", ["..", "../v/x", "/etc/passwd", "/home/u2", "a/../../v", "~/.."])
@pytest.mark.parametrize("option", ["mask", "unmask"])
def test_a_mask_outside_the_home_is_refused(option: str, value: str) -> None:
    """Casual mode hides parts of the home; a mask of anything else would hide nothing."""
    with pytest.raises(ConfError) as caught:
        lone("", {CONF: f"{option} {value}"})
    assert caught.value.message == f"{CONF}:1: {option} {value}: is not below the home directory /home/u"
    with pytest.raises(UsageError, match="is not below the home directory"):
        lone(["--" + option, value])


def test_a_mask_is_no_pattern() -> None:
    """It would hide nothing, in silence."""
    with pytest.raises(UsageError, match="is a name and not a pattern"):
        lone(["--mask", "*.pem"])
    assert [mask.path for mask in lone(["--mask", "a[1]?"]).masks] == ["a[1]?"]


def test_scripts_come_in_the_order_in_which_they_are_first_asked_for() -> None:
    """Those of the command line before the files'; a file counts once, as it was first asked for."""
    found = lone("--script b --script a", {CONF: "script? b\nscript c"})

    assert [(script.path.rpartition("/")[2], script.optional) for script in found.scripts] == [
        ("b", False),
        ("a", False),
        ("c", False),
    ]


@pytest.mark.parametrize("value", [".", "~", "/home/u/", "a/.."])
def test_a_mask_of_the_whole_home_is_refused(value: str) -> None:
    """To hide the home is another mode, and the hint says which."""
    with pytest.raises(UsageError, match="is the home directory itself") as caught:
        lone(["--mask", value])
    assert "bare" in caught.value.hint


def test_devices_descriptors_and_limits() -> None:
    """Each is kept once, tidy and in order; the last limit of a name wins."""
    fds = "--keep-fd 9 --keep-fd 3 --keep-fd 9"
    devices = "--dev /dev//kvm --dev /dev/dri/ --dev /dev/kvm"
    found = lone(
        f"{fds} {devices} --limit cpu=60 --limit as=4G", {CONF: "limit as=1G\nlimit nofile=unlimited"}
    )

    assert found.devs == (Device("/dev/kvm", TYPED), Device("/dev/dri", TYPED))
    assert found.keep_fds == (3, 9)
    assert found.limits == (("pids", 8192), ("nofile", UNLIMITED), ("cpu", 60), ("as", 4 << 30))
    assert lone("--limit pids=5").limits == (("pids", 5),)


def test_flags() -> None:
    """Flags are set by any layer; `JAI_KEEP_FDS` is set by being there."""
    found = lone("-v --net none", {CONF: "nocwd"}, env={"JAI_KEEP_FDS": ""})

    assert (found.verbose, found.nocwd, found.net, found.keep_all_fds) == (True, True, "none", True)


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("mode", "paranoid", "must be casual, bare or strict"),
        ("net", "lan", "must be host or none"),
        ("allow", "io_uring_setup", "must be openat2 or none"),
        ("jail", "a/b", "a jail's name has no / and does not start with a dot"),
        ("jail", ".a", "a jail's name has no / and does not start with a dot"),
        ("jail", "..", "a jail's name has no / and does not start with a dot"),
        ("jail", "a\x1bb", "a jail's name has no control characters"),
        ("jail", "a\x7f", "a jail's name has no control characters"),
        ("jail", "é" * 65, "a jail's name has at most 128 bytes"),
        ("setenv", "=x", "is not the name of a variable"),
        ("setenv", "A B", "is not the name of a variable"),
        ("setenv", "*_TOKEN", "names a single variable; only unsetenv takes a pattern"),
        ("unsetenv", "A B", "is not one name or pattern"),
        ("unsetenv", "A=B", "is not one name or pattern"),
        ("dev", "kvm", "must be an absolute path"),
        ("keep-fd", "-1", "is not the number of a descriptor"),
        ("keep-fd", "x", "is not the number of a descriptor"),
        ("keep-fd", "2147483648", "is not the number of a descriptor"),
        ("keep-fd", "9" * 5000, "is not the number of a descriptor"),
        ("limit", "ram=1G", "ram is no limit"),
        ("limit", "pids", "nothing is no amount"),
        ("limit", "pids=many", "many is no amount"),
    ],
)
def test_a_wrong_value_names_where_it_was_said(option: str, value: str, reason: str) -> None:
    """The same reason on the command line and in a file, each naming its place."""
    with pytest.raises(UsageError) as typed:
        lone([f"--{option}={value}"])
    with pytest.raises(ConfError) as written:
        lone("", {CONF: f"\n{option}={value}"})

    assert typed.value.message.startswith(f"--{option}")
    assert written.value.message.startswith(f"{CONF}:2: {option}")
    assert typed.value.message.endswith(reason)
    assert written.value.message.endswith(reason)


def test_a_wrong_value_is_an_error_even_when_overruled() -> None:
    """A configuration with a mistake in it does not hide behind the command line."""
    with pytest.raises(ConfError, match="mode paranoid"):
        lone("-m strict", {CONF: "mode paranoid"})
    with pytest.raises(ConfError, match="net lan"):
        lone("--net none", {JAIL: "net lan"})


def test_longest_jail_name() -> None:
    """128 bytes are still a name."""
    assert lone(["-j", "é" * 64]).jail == "é" * 64


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {"A_TOKEN": "1", "B_TOKEN": "2", "HOST": "h"}),
        ("--unsetenv *_TOKEN", {"HOST": "h"}),
        ("--unsetenv A_TOKEN --unsetenv NONE", {"B_TOKEN": "2", "HOST": "h"}),
        ("--unsetenv *", {}),
        ("--unsetenv A*EN", {"B_TOKEN": "2", "HOST": "h"}),
        ("--unsetenv *_TOKEN --setenv A_TOKEN", {"A_TOKEN": "1", "HOST": "h"}),
        ("--setenv A_TOKEN --unsetenv *_TOKEN", {"HOST": "h"}),
        ("--unsetenv *_TOKEN --setenv A_TOKEN=x", {"A_TOKEN": "x", "HOST": "h"}),
        ("--setenv A_TOKEN=x --unsetenv *_TOKEN", {"HOST": "h"}),
        ("--unsetenv * --setenv NONE", {}),
        ("--setenv NEW= --setenv HOST=a=b", {"A_TOKEN": "1", "B_TOKEN": "2", "HOST": "a=b", "NEW": ""}),
        ("--setenv HOST=x --unsetenv HOST --setenv HOST", {"A_TOKEN": "1", "B_TOKEN": "2", "HOST": "h"}),
    ],
)
def test_environment_rules_in_order(line: str, expected: dict[str, str]) -> None:
    """Rules count in order: the last one on a variable wins."""
    outside = {"A_TOKEN": "1", "B_TOKEN": "2", "HOST": "h"}

    assert apply_environment(lone(line), outside) == expected
    assert len(outside) == 3


def test_the_command_line_lets_a_key_through_the_default_scrub() -> None:
    """`setenv KEY` after the built-in scrub gives one key back and no other."""
    outside = {"ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k", "PATH": "/bin"}

    found = apply_environment(read("--setenv ANTHROPIC_API_KEY"), outside)

    assert found == {"ANTHROPIC_API_KEY": "k", "PATH": "/bin"}


SMALL = st.text(st.sampled_from("ab*"), max_size=6)


@given(SMALL, st.text(st.sampled_from("ab\n"), max_size=8))
def test_the_wildcard_agrees_with_fnmatch(pattern: str, name: str) -> None:
    """With `*` alone the matcher says what the standard library's says."""
    assert matches(pattern, name) == fnmatch.fnmatchcase(name, pattern)


@given(SMALL, st.text(st.sampled_from("?[]ab"), max_size=4))
def test_only_the_star_is_a_wildcard(pattern: str, odd: str) -> None:
    """Characters that are special to the shell stand for themselves."""
    escaped = "".join(f"[{char}]" if char in "?[" else char for char in odd)

    assert matches(odd + pattern, odd + pattern.replace("*", "a"))
    assert matches(odd, "a" * len(odd)) == fnmatch.fnmatchcase("a" * len(odd), escaped)


@given(SMALL, st.dictionaries(st.text(st.sampled_from("ab"), min_size=1, max_size=6), st.just("x")))
def test_the_scrub_agrees_with_fnmatch(pattern: str, env: dict[str, str]) -> None:
    """The short cut for `*SUFFIX` removes what the whole matcher would."""
    found = lone(["--unsetenv", pattern or "*"])

    assert apply_environment(found, env) == {
        name: value for name, value in env.items() if not fnmatch.fnmatchcase(name, pattern or "*")
    }


def test_reading_settings_imports_next_to_nothing() -> None:
    """The modules of the hot path load no library but the small ones the interpreter has anyway."""
    code = (
        "import sys, os, errno, fcntl; sys.path.insert(0, sys.argv[1]); before = set(sys.modules)\n"
        "from jai.argv import parse_argv; from jai.settings import read_settings, apply_environment\n"
        "typed = parse_argv(['-D', 'ls'])\n"
        "found = read_settings(typed, env={}, cwd='/', home='/h', reader=lambda path: None)\n"
        "apply_environment(found, os.environ); print(*sorted(set(sys.modules) - before))"
    )
    root = str(Path(settings.__file__).parents[1])

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, root], capture_output=True, text=True, check=True
    )

    assert set(done.stdout.split()) - {"__future__"} == {
        "jai", "jai.argv", "jai.conf", "jai.defaults", "jai.errors", "jai.options", "jai.record",
        "jai.settings", "jai.system",
    }  # fmt: skip
