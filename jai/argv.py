"""The command line: words in, one frozen `Invocation` out."""

from __future__ import annotations

from jai.errors import UsageError
from jai.options import (
    ALL_WORDS,
    BY_NAME,
    BY_SHORT,
    COMMAND_LINE,
    NO_WORDS,
    Assignment,
    Option,
    split_suffix,
)
from jai.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Given = tuple[Option, str, str]  # the option, its suffix, its value


class Invocation(Record):
    """What was typed: the verb ("" runs the command), the options in order, the command's words."""

    verb: str
    assignments: tuple[Assignment, ...]
    command: tuple[str, ...]


def parse_argv(words: Sequence[str]) -> Invocation:
    """Say what the words after `jai` ask for.

    Raises: UsageError, which names the offending word.
    """
    for word in words:
        if "\0" in word:
            message = f"{word}: a NUL byte can not be part of a command line"
            raise UsageError(message)
    verb: Option | None = None
    assignments = []
    at = 0
    while at < len(words) and not (verb and verb.words == ALL_WORDS):
        word = words[at]
        if word == "--":
            at += 1
            break
        if word == "-" or not word.startswith("-"):
            break
        given, used = _long(words, at) if word.startswith("--") else _short(words, at)
        at += used
        for option, suffix, value in given:
            if option.verb:
                verb = _only_verb(verb, option)
            else:
                assignments.append(Assignment(option.name, suffix, value, COMMAND_LINE))
    command = tuple(words[at:])
    if verb and command and verb.words == NO_WORDS:
        message = f"{command[0]}: --{verb.name} takes no command"
        raise UsageError(message)
    return Invocation(verb.name if verb else "", tuple(assignments), command)


def _only_verb(earlier: Option | None, now: Option) -> Option:
    if earlier and earlier is not now:
        message = f"--{now.name}: can not be used together with --{earlier.name}"
        raise UsageError(message)
    return now


def _long(words: Sequence[str], at: int) -> tuple[list[Given], int]:
    """Read `--name`, `--name=VALUE` or `--name VALUE`; the number is how many words that took."""
    word = words[at]
    spelled, equals, value = word.partition("=")
    name, suffix = split_suffix(spelled[2:])
    option = BY_NAME.get(name)
    if option is None:
        raise _unknown(spelled)
    if suffix and suffix not in option.suffixes:
        message = f"{spelled}: --{name} can not be followed by {suffix}"
        raise UsageError(message)
    if not option.value:
        if equals:
            message = f"{word}: --{name} takes no value"
            raise UsageError(message)
        return [(option, "", "")], 1
    if equals:
        return [(option, suffix, _full(option, spelled, value))], 1
    return [(option, suffix, _next(option, spelled, words, at))], 2


def _short(words: Sequence[str], at: int) -> tuple[list[Given], int]:
    """Read `-D`, `-DvmVALUE` or `-Dd VALUE`; the number is how many words that took."""
    word = words[at]
    given: list[Given] = []
    for place, letter in enumerate(word[1:], 2):
        option = BY_SHORT.get(letter)
        if option is None:
            raise _unknown(word, f"-{letter}")
        if option.value:
            attached = word[place:]
            if attached:
                return [*given, (option, "", attached)], 1
            return [*given, (option, "", _next(option, f"-{letter}", words, at))], 2
        given.append((option, "", ""))
    return given, 1


def _next(option: Option, spelled: str, words: Sequence[str], at: int) -> str:
    if at + 1 == len(words):
        message = f"{words[at]}: {spelled} needs a value"
        raise UsageError(message, hint=f"{spelled} {option.value}")
    return _full(option, spelled, words[at + 1])


def _full(option: Option, spelled: str, value: str) -> str:
    if not value:
        message = f"{spelled}: the value is empty"
        raise UsageError(message, hint=f"{spelled} {option.value}")
    return value


def _unknown(word: str, part: str = "") -> UsageError:
    from jai.suggest import option_hint  # noqa: PLC0415 - cold: loads difflib, needed only to explain

    where = f" in {word}" if part and part != word else ""
    return UsageError(f"{part or word}: unknown option{where}", hint=option_hint(word, COMMAND_LINE))
