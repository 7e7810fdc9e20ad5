"""The configuration file language: lines, comments, expansion, includes, and reading from the disk."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jai.conf import SIZE_LIMIT, File, Source, absolute, expand, find_conf, read_assignments, read_file
from jai.defaults import FILES
from jai.errors import ConfError, JaiError, UsageError
from jai.options import COMMAND_LINE, CONF_FILE, JAIL_FILE, Assignment
from jai.policy import PLAIN_CODE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jai.conf import Reader

    Files = Mapping[str, bytes]

ENV = {"HOME": "/home/u", "EMPTY": "", "WORK": "/srv/work"}
NONE: Files = {}


def source(files: Files = NONE, where: str = CONF_FILE, reader: Reader | None = None) -> Source:
    """Give a source that reads from a dict of path to bytes."""
    return Source(where, "/c", "/home/u", ENV, reader or files.get)


def parse(data: bytes, files: Files = NONE, where: str = CONF_FILE) -> list[Assignment]:
    """Read the bytes as the file /c/a.conf."""
    return read_assignments(File("/c/a.conf", "/c/a.conf", data), source(files, where))


def said(data: bytes, files: Files = NONE, where: str = CONF_FILE) -> list[tuple[str, str]]:
    """Give what the bytes say, without the origins."""
    return [(each.option + each.suffix, each.value) for each in parse(data, files, where)]


def wrong(data: bytes, files: Files = NONE, where: str = CONF_FILE) -> ConfError:
    """Give the error that the bytes lead to."""
    with pytest.raises(ConfError) as caught:
        parse(data, files, where)
    return caught.value


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"mode strict", [("mode", "strict")]),
        (b"mode=strict\n", [("mode", "strict")]),
        (b"mode = strict\n", [("mode", "strict")]),
        (b"\t mode \t strict \t\n", [("mode", "strict")]),
        (b"nocwd\nverbose\n", [("nocwd", ""), ("verbose", "")]),
        (b"mode strict\r\nnocwd\r\n", [("mode", "strict"), ("nocwd", "")]),
        (b"\xef\xbb\xbfnocwd\n", [("nocwd", "")]),
        (b"dir! a b\ndir?=c\n", [("dir!", "a b"), ("dir?", "c")]),
        (b"dir =x\n", [("dir", "=x")]),
        (b"dir==x\n", [("dir", "=x")]),
        (b"setenv A=b=c\nsetenv=A=b\nsetenv A\n", [("setenv", "A=b=c"), ("setenv", "A=b"), ("setenv", "A")]),
        (b"", []),
        (b"\n \n\t\n", []),
        (b"# nocwd\n  # verbose\n\t#nocwd", []),
        (b"nocwd # not the current directory", [("nocwd", "")]),
        (b"mask .ssh # the keys\n", [("mask", ".ssh")]),
        (b"mask .ssh\t# the keys\r\n", [("mask", ".ssh")]),
        (b"setenv C=#fff\n", [("setenv", "C=#fff")]),
        (b"dir a \\#1 \\#2 # no\n", [("dir", "a #1 #2")]),
        (b"dir a\\#1\n", [("dir", "a\\#1")]),
        (b"mode \\\nstrict\n", [("mode", "strict")]),
        (b"mode st\\\nri\\\r\nct\nnocwd", [("mode", "strict"), ("nocwd", "")]),
        (b"mode strict\\", [("mode", "strict")]),
        (b"mode strict \\ \n\nnocwd\n", [("mode", "strict"), ("nocwd", "")]),
        (b"mask .a # not \\\nmask .b\n", [("mask", ".a"), ("mask", ".b")]),
        (b"# not \\\nmask .b\n", [("mask", ".b")]),
        (b"dir a\\\\\nnocwd\n", [("dir", "a\\"), ("nocwd", "")]),
        (b"dir ${WORK}/x\n", [("dir", "/srv/work/x")]),
        (b"unsetenv ${WORK}\n", [("unsetenv", "${WORK}")]),
        (b"dir \xff\n", [("dir", "\udcff")]),
        ("dir \u00a0é\n".encode(), [("dir", "\u00a0é")]),
    ],
)
def test_lines(data: bytes, expected: list[tuple[str, str]]) -> None:
    """Every form of a line that the language has, read as the manual says."""
    assert said(data) == expected


def test_an_origin_is_the_line_where_the_option_starts() -> None:
    """A continued line is known by its first line, and counting goes on behind it."""
    found = parse(b"# x\n\nmode \\\n strict\nnocwd\n")

    assert [each.origin for each in found] == ["/c/a.conf:3", "/c/a.conf:5"]


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        (b"nocwd\nnocdw\n", "/c/a.conf:2: nocdw: unknown option", "did you mean nocwd?"),
        (b"--nocwd\n", "/c/a.conf:1: --nocwd: unknown option", "did you mean nocwd?"),
        (b"qqqq x\n", "/c/a.conf:1: qqqq: unknown option", "jai --help lists the options"),
        (b"= x\n", "/c/a.conf:1: : unknown option", "jai --help lists the options"),
        (b"init\n", "/c/a.conf:1: init: is a command line option only", ""),
        (b"help\n", "/c/a.conf:1: help: is a command line option only", ""),
        (b"mode\n", "/c/a.conf:1: mode: the value is missing or empty", "mode MODE"),
        (b"dir!=\n", "/c/a.conf:1: dir!: the value is missing or empty", "dir! PATH"),
        (b"dir ${EMPTY}\n", "/c/a.conf:1: dir: the value is missing or empty", "dir PATH"),
        (b"nocwd yes\n", "/c/a.conf:1: nocwd yes: nocwd takes no value", ""),
        (b"mode? x\n", "/c/a.conf:1: mode?: mode can not be followed by ?", ""),
        (b"dir ${NO}/x\n", "/c/a.conf:1: dir: ${NO} is not set", "for a literal ${ write \\${"),
        (b"dir a/${HOME\n", "/c/a.conf:1: dir: ${HOME has no closing brace", "for a literal ${ write \\${"),
        (b"nocwd\n\nmode a\0b\n", "/c/a.conf:3: a NUL byte; this is not a text file", ""),
    ],
)
def test_mistakes_name_file_line_and_word(data: bytes, message: str, hint: str) -> None:
    """Each mistake names the file, the line and the word, and says what was meant."""
    error = wrong(data)

    assert (error.message, error.hint) == (message, hint)


@pytest.mark.parametrize("option", ["jail x", "storage /x"])
def test_a_jail_file_can_not_choose_the_jail(option: str) -> None:
    """Neither a .jail file nor a file it includes says which jail or where jails are; a .conf file may."""
    line = option.encode()
    name, value = option.split()

    assert said(line) == [(name, value)]
    reason = f"{name}: is not allowed in a .jail file, nor in a file it includes"
    assert wrong(line, where=JAIL_FILE).message == f"/c/a.conf:1: {reason}"
    assert wrong(b"\nconf b", {"/c/b": line}, JAIL_FILE).message == f"/c/b:1: {reason}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${WORK}", "/srv/work"),
        ("a${EMPTY}b${WORK}c", "ab/srv/workc"),
        ("$WORK $", "$WORK $"),
        ("\\${WORK}", "${WORK}"),
        ("\\\\${WORK}", "\\/srv/work"),
        ("\\n\\", "\\n\\"),
    ],
)
def test_expansion(value: str, expected: str) -> None:
    r"""Only `${VAR}` expands; `\$` and `\\` are literal, every other backslash and dollar stays."""
    assert expand(value, ENV, "f:1") == expected


def test_expanded_text_is_not_expanded_again() -> None:
    """A variable whose value looks like a variable is text."""
    assert expand("${A}", {"A": "${B}\\\\"}, "f:1") == "${B}\\\\"


@given(st.text())
def test_escaped_text_comes_back(text: str) -> None:
    """Any text survives expansion once its backslashes and dollars are escaped."""
    escaped = text.replace("\\", "\\\\").replace("$", "\\$")

    assert expand(escaped, {}, "f:1") == text


def test_an_include_stands_in_its_place() -> None:
    """What a file includes comes between the lines around it, with its own origins."""
    found = parse(b"mask a\nconf b\nmask d\n", {"/c/b.conf": b"mask b\nconf c\n", "/c/c": b"mask c\n"})

    assert [(each.value, each.origin) for each in found] == [
        ("a", "/c/a.conf:1"), ("b", "/c/b.conf:1"), ("c", "/c/c:1"), ("d", "/c/a.conf:3"),
    ]  # fmt: skip


def test_one_file_may_be_included_twice() -> None:
    """A file that comes twice, but not within itself, is no loop."""
    assert said(b"conf b\nconf b\n", {"/c/b": b"nocwd"}) == [("nocwd", ""), ("nocwd", "")]


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (b"conf b", "/c/b"),
        (b"conf b.conf", "/c/b.conf"),
        (b"conf ./b", "/c/b"),
        (b"conf sub/b", "/c/sub/b"),
        (b"conf /x/b", "/x/b"),
        (b"conf ~/b", "/home/u/b"),
        (b"conf ${WORK}/b", "/srv/work/b"),
    ],
)
def test_where_an_include_is_looked_up(line: bytes, path: str) -> None:
    """A name is looked up in the configuration directory; with a slash it is relative to it."""
    assert said(line, {path: b"nocwd"}) == [("nocwd", "")]


def test_the_exact_name_comes_before_the_one_with_conf() -> None:
    """`.conf` may be left out, but the exact name is tried first."""
    assert said(b"conf b", {"/c/b": b"mask exact", "/c/b.conf": b"mask longer"}) == [("mask", "exact")]


def test_every_path_looked_for_goes_through_the_reader() -> None:
    """The caller sees each path that could change the outcome, absent ones too."""
    looked: list[str] = []

    assert read_assignments(File("f", "f", b"conf? b\nconf? x/y"), source(reader=looked.append)) == []
    assert looked == ["/c/b", "/c/b.conf", "/c/x/y"]


def test_a_missing_include_is_an_error_unless_optional() -> None:
    """`conf` names all places it looked in; `conf?` says nothing."""
    error = wrong(b"conf b")

    assert error.message == "/c/a.conf:1: conf b: no such file"
    assert error.hint == "looked for /c/b and /c/b.conf"
    assert said(b"conf? b\nnocwd") == [("nocwd", "")]


def test_a_loop_names_its_chain() -> None:
    """The error for a loop shows the way round."""
    error = wrong(b"conf b", {"/c/b": b"\nconf c", "/c/c.conf": b"conf b"})

    assert error.message == "/c/c.conf:1: conf b: includes itself: /c/b -> /c/c.conf -> /c/b"


def test_a_loop_under_ever_new_names_ends() -> None:
    """Links can give one file endless names; the depth is limited."""
    files = {"/c/" + "x/" * depth + "b": b"conf " + b"x/" * (depth + 1) + b"b" for depth in range(40)}

    assert "more than 16 files include each other" in wrong(b"conf x/b", files).message


def test_built_in_texts_stand_in_while_files_are_missing() -> None:
    """`conf .defaults` works before `jai --init`, and the file on disk wins once it is there."""
    built_in = parse(b"conf .defaults")

    assert built_in[0].option == "mask"
    assert built_in[0].origin.startswith("built-in .defaults:")
    assert said(b"conf .defaults", {"/c/.defaults": b"nocwd"}) == [("nocwd", "")]
    assert len(said(b"conf default")) == len(built_in)
    assert wrong(b"conf /elsewhere/.defaults").message.endswith("no such file")


def test_the_built_in_files_are_valid() -> None:
    """Every built-in configuration file parses, and default.conf is .defaults and comments."""
    defaults = said(FILES[".defaults"].encode())

    assert said(FILES["default.conf"].encode()) == defaults
    assert said(FILES["default.jail"].encode(), where=JAIL_FILE) == [("mode", "casual")]
    assert all(line.startswith("#") for line in FILES[".jairc"].splitlines())


def test_the_examples_in_default_conf_are_valid() -> None:
    """What default.conf shows commented out works once the `#` is removed."""
    lines = FILES["default.conf"].splitlines()
    examples = [line[1:] for line in lines if line.startswith("#") and line[1:2].strip()]

    found = said("\n".join(examples).encode())

    assert len(found) == len(examples) > 5


MASKS = """
    .jai .ssh .gnupg .local/share/keyrings .netrc .git-credentials .aws .azure .config/gcloud .config/gh
    .config/Keybase .kube .config/kube .docker .password-store .mozilla .config/mozilla
    .config/BraveSoftware .config/chromium .config/google-chrome .bash_history .zsh_history
    .npmrc .pypirc .cargo/credentials.toml .config/rclone .config/op .local/share/fish/fish_history
    .python_history .vault-token .terraform.d/credentials.tfrc.json
"""
SCRUBS = """
    *_ACCESS_KEY *_APIKEY *_API_KEY *_AUTH *_AUTH_TOKEN *_CONNECTION_STRING *_CREDENTIAL *_CREDENTIALS
    *_PASSWD *_PASSWORD *_PID *_PRIVATE_KEY *_PWD *_SECRET *_SECRET_KEY *_SOCK *_SOCKET *_SOCKET_PATH
    *_TOKEN AZURE_CLIENT_ID AZURE_TENANT_ID BB_AUTH_STRING DATABASE_URL DBUS_SESSION_BUS_ADDRESS
    GOOGLE_APPLICATION_CREDENTIALS KUBECONFIG MAIL MONGODB_URI MONGO_URI REDIS_URL SENTRY_DSN
    SLACK_WEBHOOK_URL
"""


def test_the_masks_and_scrubs_are_those_of_the_contract() -> None:
    """The built-in .defaults hides exactly what the contract lists."""
    defaults = said(FILES[".defaults"].encode())

    assert sorted(value for option, value in defaults if option == "mask") == sorted(MASKS.split())
    assert sorted(value for option, value in defaults if option == "unsetenv") == sorted(SCRUBS.split())
    assert {option for option, _ in defaults} == {"mask", "unsetenv", "script?", "command"}
    assert dict(defaults)["command"] == PLAIN_CODE  # what jai knows it may leave out


def test_a_conf_file_on_the_command_line_is_relative_to_the_current_directory() -> None:
    """With a slash, `-C` means what the shell would; a missing file is a usage error."""
    files = source({"/w/x/a": b"nocwd", "/c/a": b"verbose"})

    def found(name: str) -> File | None:
        return find_conf(Assignment("conf", "", name, COMMAND_LINE), "/w", files)

    assert found("x/a") == File("/w/x/a", "/w/x/a", b"nocwd")
    assert found("a") == File("/c/a", "/c/a", b"verbose")
    with pytest.raises(UsageError, match=r"--conf \./b: no such file"):
        found("./b")


def test_a_file_that_can_not_be_read_is_named_and_who_asked_for_it() -> None:
    """What the reader raises becomes an error that names the file and the line that includes it."""

    def refuse(_path: str) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(ConfError) as caught:
        read_assignments(File("/c/a.conf", "/c/a.conf", b"\nconf? b"), source(reader=refuse))

    assert caught.value.message == "/c/b: can not be read as a configuration file: Permission denied"
    assert caught.value.detail == "asked for by /c/a.conf:2"


LINE = st.sampled_from(
    [
        b"conf a.conf",
        b"conf b",
        b"conf ~",
        b"mode",
        b"dir ${",
        b"dir ${HOME}",
        b"#",
        b"\\",
        b"\r",
        b"=",
        b"!",
        b"jail a",
    ]
)
PIECE = LINE | st.binary(max_size=8) | st.sampled_from([b" ", b"\n", b"\\\n"])


@given(st.lists(PIECE).map(b"".join) | st.binary(), st.sampled_from([CONF_FILE, JAIL_FILE]))
def test_any_bytes_are_understood_or_a_configuration_error(data: bytes, where: str) -> None:
    """No bytes at all make the parser fail in any other way, nor give an option its place forbids."""
    try:
        found = parse(data, {"/c/a.conf": data, "/c/b": data}, where)
    except JaiError as error:
        places = [error.message]
    else:
        places = [each.origin for each in found]
        assert all(each.option != "conf" for each in found)
    assert all(place.startswith("/c/") for place in places)


TEXT = st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=["Cs"]))
VALUE = (TEXT | st.text(st.sampled_from("a \t#=\\"))).map(lambda text: text.strip(" \t\\"))


@given(VALUE.filter(lambda text: text and not text.startswith("#") and not re.search(r"[ \t]\\#", text)))
def test_values_come_back(value: str) -> None:
    r"""A value of any characters, its `#` escaped, is read back unchanged (but one that has ` \#` itself)."""
    written = re.sub(r"([ \t])#", r"\1\\#", value)

    assert said(f"unsetenv={written}\nnocwd".encode()) == [("unsetenv", value), ("nocwd", "")]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("x", "/b/x"), ("./x/../y/", "/b/y"), ("/x//y/.", "/x/y"), ("//x", "/x"), ("~", "/h"), ("~/x", "/h/x"),
     ("~u", "/b/~u"), ("./~", "/b/~"), ("../..", "/")],
)  # fmt: skip
def test_absolute(value: str, expected: str) -> None:
    """A path is made absolute and tidy by its letters alone; a leading `~/` is the home."""
    assert absolute(value, "/b", "/h") == expected


def test_reading_a_file(tmp_path: Path) -> None:
    """A regular file gives its bytes, also through a link; a missing one gives None."""
    file = tmp_path / "a.conf"
    file.write_bytes(b"nocwd\n")
    (tmp_path / "link").symlink_to(file)

    assert read_file(str(file)) == b"nocwd\n"
    assert read_file(str(tmp_path / "link")) == b"nocwd\n"
    assert read_file(str(tmp_path / "none")) is None
    assert read_file(str(file / "below")) is None
    assert read_file(str(tmp_path / ("x" * 300))) is None


@pytest.mark.parametrize("size", [SIZE_LIMIT, SIZE_LIMIT + 1])
def test_a_file_may_have_one_mebibyte(tmp_path: Path, size: int) -> None:
    """A file of just the limit is read, one byte more is refused."""
    file = tmp_path / "a.conf"
    file.write_bytes(b"#" * size)

    if size == SIZE_LIMIT:
        assert read_file(str(file)) == b"#" * size
    else:
        with pytest.raises(OSError, match="larger than 1 MiB"):
            read_file(str(file))


def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    """A directory, a device and a FIFO without a writer give an error, none of them a wait."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    for path in (tmp_path, fifo, "/dev/zero"):
        with pytest.raises(OSError, match=r"not a regular file|directory"):
            read_file(str(path))


def test_a_link_to_itself_is_not_a_missing_file(tmp_path: Path) -> None:
    """What is there and leads nowhere is an error, so that no default stands in for it."""
    (tmp_path / "a.conf").symlink_to("a.conf")

    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is looked at
        read_file(str(tmp_path / "a.conf"))
    assert caught.value.errno == errno.ELOOP


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """Reading and refusing to read close what they opened."""
    (tmp_path / "a.conf").write_bytes(b"nocwd\n")
    before = sorted(os.listdir("/proc/self/fd"))

    read_file(str(tmp_path / "a.conf"))
    with pytest.raises(OSError, match=r"not a regular file|directory"):
        read_file(str(tmp_path))

    assert sorted(os.listdir("/proc/self/fd")) == before
