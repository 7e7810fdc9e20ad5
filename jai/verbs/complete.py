"""What the shell may write at the cursor: `jai --complete WORD...`, one completion a line.

All of it follows from the table of options: an option is completed by its choices, or by the placeholder
of its value.  A line that starts with a tab is no completion: `command N` says that the words from
number N on are the command's, for which the shell has completions of its own.
"""

from __future__ import annotations

import os

from jai.errors import JaiError
from jai.options import (
    ALL_WORDS,
    BY_NAME,
    BY_SHORT,
    GIT,
    LIMITS,
    NO_WORDS,
    NONE,
    OPTIONS,
    SUFFIXES,
    Option,
    split_suffix,
)
from jai.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from jai.argv import Invocation

COMMAND = "\tcommand "
KEPT = (".jail", ".changes", ".home")


class Place(Record):
    """Where the cursor is.

    `known` are the words before it whose meaning is settled.  `awaited` is the option whose value comes
    next; `command` is the number of the command's first word, -1 while options may follow; `verb` is the
    one that was given.
    """

    known: tuple[str, ...]
    awaited: Option | None = None
    command: int = -1
    verb: Option | None = None


def print_completions(invocation: Invocation) -> int:
    """Print what fits; whatever goes wrong, a shell that waits for its user is not disturbed."""
    try:
        found = completions(invocation.command)
        text = b"".join(os.fsencode(word) + b"\n" for word in found)
        while text:
            text = text[os.write(1, text) :]
    except Exception:  # noqa: BLE001 - no completion is the only answer that never hurts
        return 0
    return 0


def completions(words: Sequence[str]) -> list[str]:
    """Give what the last word may become, in order."""
    *before, word = words or ("",)
    place = _place(before)
    if 0 <= place.command < len(before):
        return [f"{COMMAND}{place.command}"]
    return sorted({each for each in _candidates(place, word) if each.startswith(word) and _fits_a_line(each)})


def _fits_a_line(word: str) -> bool:
    return not any(char < " " or char == "\x7f" for char in word)


def _place(before: Sequence[str]) -> Place:
    """Say where the word behind these stands, as `parse_argv` would; unknown options are passed over."""
    verb = None
    at = 0
    while at < len(before):
        word = before[at]
        if word == "--":
            return Place(tuple(before[:at]), command=at + 1, verb=verb)
        if word == "-" or not word.startswith("-"):
            return Place(tuple(before[:at]), command=at, verb=verb)
        option, _, value = _split(word)
        verb = option if option and option.verb else verb
        if verb and verb.words == ALL_WORDS:
            break
        if option and option.value and value is None:
            if at + 1 == len(before):
                return Place(tuple(before[:at]), awaited=option, verb=verb)
            at += 1
        at += 1
    return Place(tuple(before), verb=verb)


def _split(word: str) -> tuple[Option | None, str, str | None]:
    """Take a word of options apart: the last option in it, what stands before its value, the value."""
    if word.startswith("--"):
        spelled, equals, value = word.partition("=")
        return BY_NAME.get(split_suffix(spelled[2:])[0]), spelled + equals, value if equals else None
    option = None
    for end, letter in enumerate(word[1:], 2):
        option = BY_SHORT.get(letter)
        if option is None or option.value:
            return option, word[:end], word[end:] or None
    return option, word, None


def _candidates(place: Place, word: str) -> Iterable[str]:
    if place.awaited:
        return _values(place.awaited, word, place)
    verb = place.verb
    if verb and verb.words == ALL_WORDS:
        return ()
    if place.command < 0 and word.startswith("-"):
        option, start, value = _split(word)
        if option and option.value and (value is not None or not word.startswith("--")):
            return (start + each for each in _values(option, value or "", place))
        return _options(word, verb)
    if verb and verb.words == NO_WORDS:
        return ()
    return _programs(word, place)


def _options(word: str, verb: Option | None) -> Iterator[str]:
    """Give the options, without verbs where one has been given; one with its suffix once that is typed."""
    suffix = word[-1] if word.endswith(SUFFIXES) else ""
    for option in OPTIONS:
        if verb and option.verb:
            continue
        if suffix in option.suffixes:  # nothing is part of every string
            yield f"--{option.name}{suffix}"
        if option.short:
            yield f"-{option.short}"
    if not word.startswith("--") and _split(word)[0]:
        yield word


# --- values -------------------------------------------------------------------------------------------


def _values(option: Option, word: str, place: Place) -> Iterable[str]:
    """Give the values of an option: its choices, else what its name or its placeholder says."""
    if option.choices:
        return option.choices
    source = SPECIAL.get(option.name) or SOURCES.get(option.value)
    return source(word, place) if source else ()


def _jails(_word: str, place: Place) -> Iterator[str]:
    """Give the jails that have left something in the storage directory."""
    from jai.store import local_state  # noqa: PLC0415 - only for jails

    _, storage, _ = _directories(place)
    for directory in (storage, local_state(os.getuid())):
        for entry in _entries(directory):
            name, ending = os.path.splitext(entry.name)
            if ending in KEPT and not name.startswith("."):
                yield name


def _confs(word: str, place: Place) -> Iterable[str]:
    """Give the configuration files: a name is one of the configuration directory, a path is a path."""
    if "/" in word or word.startswith("~"):
        return _paths(word, place)
    config, _, _ = _directories(place)
    endings = ("",) if word.startswith(".") else (".conf",)
    return (
        entry.name
        for entry in _entries(config)
        if entry.name.endswith(endings) and os.path.isfile(entry.path)
    )


def _paths(word: str, _place: Place) -> Iterator[str]:
    return _below("", word)


def _folders(word: str, _place: Place) -> Iterator[str]:
    return (path for path in _below("", word) if path.endswith("/"))


def _of_the_home(word: str, place: Place) -> Iterator[str]:
    """Give paths relative to the home, the hidden ones too: they are what masks are for."""
    _, _, home = _directories(place)
    return _below(home, word, hidden=True)


def _protected(word: str, _place: Place) -> Iterator[str]:
    """Give the words of --protect, and paths, of which the hidden ones are the point."""
    yield from (GIT, NONE)
    yield from _below("", word, hidden=True)


def _devices(word: str, _place: Place) -> Iterator[str]:
    return _below("", word) if word.startswith("/dev/") else iter(("/dev/",))


def _variables(word: str, _place: Place) -> Iterable[str]:
    """Give the names of the environment; a value is nobody's to guess."""
    return () if "=" in word else (name for name in os.environ if name.isidentifier())


def _limits(_word: str, _place: Place) -> Iterable[str]:
    return (f"{name}=" for name in LIMITS)


def _programs(word: str, _place: Place) -> Iterator[str]:
    """Give the commands of PATH; once there is a slash, what can be executed or leads to it."""
    if "/" in word or word.startswith("~"):
        for path in _below("", word):
            if path.endswith("/") or os.access(_expanded(path), os.X_OK):
                yield path
        return
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        for entry in _entries(directory):
            if entry.name.startswith(word) and os.path.isfile(entry.path) and os.access(entry.path, os.X_OK):
                yield entry.name


# By the name of an option, where its placeholder says too little; else by the placeholder.
SPECIAL: dict[str, Callable[[str, Place], Iterable[str]]] = {
    "conf": _confs,
    "dev": _devices,
    "mask": _of_the_home,
    "unmask": _of_the_home,
    "protect": _protected,
    "unprotect": _protected,
}
SOURCES: dict[str, Callable[[str, Place], Iterable[str]]] = {
    "DIR": _folders,
    "FILE": _paths,
    "NAME": _jails,
    "NAME=VALUE": _limits,
    "PATH": _paths,
    "PATTERN": _variables,
    "PROGRAM": _programs,
    "VAR[=VALUE]": _variables,
}


# --- the machine --------------------------------------------------------------------------------------


def _directories(place: Place) -> tuple[str, str, str]:
    """Give the configuration directory, the storage directory and the home that the words so far choose."""
    from jai.argv import parse_argv  # noqa: PLC0415 - most completions need no file
    from jai.conf import read_file  # noqa: PLC0415
    from jai.host import Host  # noqa: PLC0415
    from jai.settings import configuration_directory, read_settings  # noqa: PLC0415

    host = Host(dict(os.environ))
    try:
        asked = parse_argv(place.known)
        settings = read_settings(asked, env=host.env, cwd=host.cwd, home=host.home, reader=read_file)
    except JaiError:  # a file or a word that is wrong keeps nobody from naming a jail
        config = configuration_directory(host.env, host.home)
        return config, config, host.home
    return settings.config_dir, settings.storage, host.home


def _below(base: str, word: str, *, hidden: bool = False) -> Iterator[str]:
    """Give the paths that a part of a path may become; directories end in a slash."""
    if word == "~":
        yield "~/"
        return
    head, slash, tail = word.rpartition("/")
    directory = os.path.join(base, _expanded(head + slash)) or "."
    if tail in (".", ".."):
        yield f"{word}/"
    for entry in _entries(directory):
        if entry.name.startswith(tail) and (hidden or tail or not entry.name.startswith(".")):
            yield f"{head}{slash}{entry.name}" + ("/" if os.path.isdir(entry.path) else "")


def _expanded(path: str) -> str:
    """Replace `~/` as jai does; `~name` stays what it is."""
    return os.path.expanduser(path) if path.startswith("~/") else path


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except (OSError, ValueError):
        return []
