r"""The configuration file language: `option value` lines, comments, includes, `${VAR}`.

A `#` that starts a line or follows a blank starts a comment (`\#` after a blank is a literal one): a
remark behind `mask .ssh` must not become part of a name that then hides nothing.  A line that ends in
`\` goes on in the next; a comment never goes on.
"""

from __future__ import annotations

import errno
import posix

from jai.errors import ConfError
from jai.options import BY_NAME, Assignment, Option, complaint, split_suffix
from jai.record import Record
from jai.system import fsdecode, is_directory, join, normpath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Callable

    Reader = Callable[[str], "bytes | None"]

SIZE_LIMIT = 1 << 20
DEPTH_LIMIT = 16
BLANKS = " \t\r"
STAND_INS = (".defaults", "default.conf", "default.jail")
BUILT_IN = "built-in "

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_TYPE_BITS = 0o170000
_REGULAR = 0o100000


class File(Record):
    """A configuration file that was read: its name in errors, its path, its bytes."""

    name: str
    path: str
    data: bytes


class Source(Record):
    """What reading one layer needs: the kind of file, the directories, the variables, the reader.

    The reader answers with the bytes of a path, or None if there is no such file, or raises OSError.
    """

    where: str
    config_dir: str
    home: str
    env: Mapping[str, str]
    reader: Reader


def read_file(path: str) -> bytes | None:
    """Give the bytes of a regular file, None if it does not exist.

    Raises: OSError for all else: a directory, a device, a FIFO, more than 1 MiB, no permission.
    """
    try:
        # O_NONBLOCK: opening a FIFO without a writer would wait for ever.
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOCTTY)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    try:
        state = posix.fstat(fd)
        if state.st_mode & _TYPE_BITS != _REGULAR:
            raise OSError(errno.EINVAL, "not a regular file")
        data = b""
        while len(data) <= SIZE_LIMIT:
            piece = posix.read(fd, SIZE_LIMIT + 1 - len(data))
            if not piece:
                return data
            data += piece
        raise OSError(errno.EFBIG, "larger than 1 MiB")
    finally:
        posix.close(fd)


def absolute(value: str, base: str, home: str) -> str:
    """Give the absolute, lexically normalised path; `~` and `~/x` mean the home, else relative to base."""
    if value == "~" or value.startswith("~/"):
        value = home + value[1:]
    return normpath(join(base, value))


def open_file(path: str, source: Source, *, stand_in: str = "", origin: str = "") -> File | None:
    """Read a file, or the built-in text that stands in for it; None if there is neither.

    Raises: ConfError if it is there and can not be read; `origin` says who asked for it.
    """
    try:
        data = source.reader(path)
    except OSError as error:
        asked = f"asked for by {origin}" if origin else ""
        message = f"{path}: can not be read as a configuration file: {error.strerror}"
        raise ConfError(message, detail=asked) from error
    if data is not None:
        return File(path, path, data)
    if stand_in in STAND_INS:
        from jai.defaults import FILES  # noqa: PLC0415 - cold: needed only before `jai --init`

        return File(BUILT_IN + stand_in, path, FILES[stand_in].encode())
    return None


def find_conf(assignment: Assignment, base: str, source: Source) -> File | None:
    """Read the file that `conf FILE` names; None if it is missing and that is no error (`conf?`)."""
    name = assignment.value
    if "/" in name or name == "~":
        tries = [(absolute(name, base, source.home), "")]
    else:
        names = [name] if name.endswith(".conf") else [name, name + ".conf"]
        tries = [(join(source.config_dir, each), each) for each in names]
    unreadable = None
    for path, stand_in in tries:
        try:
            file = open_file(path, source, stand_in=stand_in, origin=assignment.origin)
        except ConfError as error:
            if not is_directory(path):
                raise
            unreadable = unreadable or error  # beside NAME.conf there may be a directory NAME
            continue
        if file is not None:
            return file
    if unreadable:
        raise unreadable
    if assignment.suffix == "?":
        return None
    raise complaint(assignment, "no such file", hint="looked for " + " and ".join(path for path, _ in tries))


def read_assignments(file: File, source: Source, chain: tuple[str, ...] = ()) -> list[Assignment]:
    """Give what a file says, in order, with the files it includes in their place.

    Raises: ConfError, whose message starts with FILE:LINE.
    """
    chain = (*chain, file.path)
    found = []
    for number, line in _logical_lines(_decoded(file)):
        assignment = _parse_line(line, f"{file.name}:{number}", source)
        if assignment.option == "conf":
            found += _include(assignment, source, chain)
        else:
            found.append(assignment)
    return found


def _include(assignment: Assignment, source: Source, chain: tuple[str, ...]) -> list[Assignment]:
    file = find_conf(assignment, source.config_dir, source)
    if file is None:
        return []
    if file.path in chain:
        loop = " -> ".join((*chain[chain.index(file.path) :], file.path))
        raise complaint(assignment, f"includes itself: {loop}", "take one of these lines out")
    if len(chain) >= DEPTH_LIMIT:
        raise complaint(assignment, f"more than {DEPTH_LIMIT} files include each other")
    return read_assignments(file, source, chain)


def _decoded(file: File) -> str:
    at = file.data.find(b"\0")
    if at >= 0:
        line = file.data.count(b"\n", 0, at) + 1
        message = f"{file.name}:{line}: a NUL byte; this is not a text file"
        raise ConfError(message)
    return fsdecode(file.data.removeprefix(b"\xef\xbb\xbf"))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Give the lines that say something, continued ones joined, with the number of their first line."""
    joined = ""
    start = 0
    for number, physical in enumerate(text.split("\n"), 1):
        line = (_without_comment(physical) if "#" in physical else physical).rstrip(BLANKS)
        if not joined:
            start = number
        if line.endswith("\\") and (len(line) - len(line.rstrip("\\"))) % 2:
            joined += line[:-1]
            continue
        whole = (joined + line).strip(BLANKS)
        joined = ""
        if whole:
            yield start, whole
    if joined.strip(BLANKS):
        yield start, joined.strip(BLANKS)


def _without_comment(line: str) -> str:
    at = line.find("#")
    while at >= 0:
        before = line[:at]
        if not before or before[-1] in BLANKS:
            return before
        if before.endswith((" \\", "\t\\")):
            line = before[:-1] + line[at:]
            at -= 1
        at = line.find("#", at + 1)
    return line


def _parse_line(line: str, origin: str, source: Source) -> Assignment:
    word = line.replace("\t", " ").replace("=", " ").partition(" ")[0]
    end = len(word)
    name, suffix = split_suffix(word)
    option = _option(name, word, origin, source)
    value = line[end:].lstrip(BLANKS)
    # `option=value` and `option = value`, but `dir =x` is the directory `=x`.
    if value.startswith("=") and (line[end] == "=" or value[1:2] in BLANKS):
        value = value[1:].lstrip(BLANKS)
    if suffix and suffix not in option.suffixes:
        message = f"{origin}: {word}: {name} can not be followed by {suffix}"
        raise ConfError(message)
    if not option.value:
        if end != len(line):
            message = f"{origin}: {line}: {name} takes no value"
            raise ConfError(message)
        return Assignment(name, "", "", origin)
    if option.expands and ("$" in value or "\\" in value):
        value = expand(value, source.env, f"{origin}: {word}")
    if not value:
        message = f"{origin}: {word}: the value is missing or empty"
        raise ConfError(message, hint=f"{word} {option.value}")
    return Assignment(name, suffix, value, origin)


def _option(name: str, word: str, origin: str, source: Source) -> Option:
    option = BY_NAME.get(name)
    if option is not None and source.where in option.where:
        return option
    if option is None:
        from jai.suggest import option_hint  # noqa: PLC0415 - cold: loads difflib, needed only to explain

        message = f"{origin}: {word}: unknown option"
        raise ConfError(message, hint=option_hint(word, source.where))
    if len(option.where) == 1:
        message = f"{origin}: {word}: is a {option.where[0]} option only"
    else:
        message = f"{origin}: {word}: is not allowed in a {source.where}, nor in a file it includes"
    raise ConfError(message)


def expand(value: str, env: Mapping[str, str], origin: str) -> str:
    r"""Replace `${VAR}`, `\$` and `\\` in a value; every other `$` and `\` stays.

    Raises: ConfError for a variable that is not set and for a brace that does not end.
    """
    found = []
    at = 0
    while at < len(value):
        pair = value[at : at + 2]
        if pair in ("\\$", "\\\\"):
            found.append(pair[1])
            at += 2
        elif pair == "${":
            end = value.find("}", at)
            name = value[at + 2 : end]
            if end < 0 or name not in env:
                problem = "has no closing brace" if end < 0 else "is not set"
                message = f"{origin}: {value[at:] if end < 0 else pair + name + '}'} {problem}"
                raise ConfError(message, hint="for a literal ${ write \\${")
            found.append(env[name])
            at = end + 1
        else:
            found.append(value[at])
            at += 1
    return "".join(found)
