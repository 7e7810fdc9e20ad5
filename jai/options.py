"""The one table of options: the argument parser, the configuration parser and --help derive from it.

A new option is one row of `OPTIONS`; what it does is then one more reader of its assignments.
"""

from __future__ import annotations

from jai.errors import ConfError, UsageError
from jai.record import Record
from jai.system import fsencode, normpath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Callable

    from jai.errors import JaiError

COMMAND_LINE = "command line"
CONF_FILE = ".conf file"
JAIL_FILE = ".jail file"
EVERYWHERE = (COMMAND_LINE, CONF_FILE, JAIL_FILE)
OUTSIDE_JAIL_FILES = (COMMAND_LINE, CONF_FILE)
COMMAND_LINE_ONLY = (COMMAND_LINE,)

NO_WORDS = ""
COMMAND_WORDS = "command"
ALL_WORDS = "all"

SUFFIXES = ("!", "?")

# What --protect takes besides paths; --allow takes back all by the second.
GIT = "git"
NONE = "none"

LIMITS = ("pids", "nofile", "fsize", "cpu", "as")
UNLIMITED = -1
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
NAME_LIMIT = 128
LIMIT_MAX = (1 << 63) - 1
FD_MAX = (1 << 31) - 1
DIGITS_MAX = 19


class Option(Record):
    """What one option is called, what it takes and where it may stand.

    `value` is the placeholder of its value, empty for a flag.  `repeatable`: every use counts, else
    the last one wins.  `expands`: `${VAR}` is replaced in its value in a file.  `words` is for verbs:
    no command may follow, options and a command may follow, or all that follows belongs to the verb.
    `check` raises for a wrong value.
    """

    name: str
    help: str
    short: str = ""
    value: str = ""
    suffixes: str = ""
    where: tuple[str, ...] = EVERYWHERE
    repeatable: bool = False
    expands: bool = False
    choices: tuple[str, ...] = ()
    verb: bool = False
    words: str = NO_WORDS
    check: Callable[[Assignment], None] | None = None

    def forms(self) -> str:
        """Give the option as help and manual write it, such as `-r, --rdir[?] PATH`."""
        short = f"-{self.short}, " if self.short else ""
        suffix = f"[{'|'.join(self.suffixes)}]" if self.suffixes else ""
        value = "|".join(self.choices) or self.value
        return f"{short}--{self.name}{suffix} {value}".rstrip()


class Assignment(Record):
    """One option given once: its name, `!`, `?` or nothing, its value, and where that was said."""

    option: str
    suffix: str
    value: str
    origin: str


def complaint(assignment: Assignment, reason: str, hint: str = "") -> JaiError:
    """Give the error for a value that is wrong, in the words of the place it comes from."""
    value = assignment.value
    if assignment.option == "setenv":
        value = value.partition("=")[0]  # the rest may be a secret
    said = f"{assignment.option}{assignment.suffix} {value}".rstrip()
    if assignment.origin == COMMAND_LINE:
        return UsageError(f"--{said}: {reason}", hint=hint)
    return ConfError(f"{assignment.origin}: {said}: {reason}", hint=hint)


def amount_of(text: str) -> int:
    """Read a limit such as `512`, `4G` or `unlimited`.

    Raises: ValueError if it is none.
    """
    if text == "unlimited":
        return UNLIMITED
    unit = UNITS.get(text[-1:].upper(), 1)
    amount = _whole(text if unit == 1 else text[:-1]) * unit
    if amount > LIMIT_MAX:
        raise ValueError(text)
    return amount


def _whole(text: str) -> int:
    """Read a number of plain digits: no sign, no blanks, no other script's digits.

    Raises: ValueError if it is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX):
        raise ValueError(text)
    return int(text)


def _check_jail(assignment: Assignment) -> None:
    name = assignment.value
    if "/" in name or name.startswith("."):
        raise complaint(assignment, "a jail's name has no / and does not start with a dot")
    if any(char < " " or "\x7f" <= char <= "\x9f" for char in name):
        raise complaint(assignment, "a jail's name has no control characters")
    if len(fsencode(name)) > NAME_LIMIT:
        raise complaint(assignment, f"a jail's name has at most {NAME_LIMIT} bytes")


def _check_protected(assignment: Assignment) -> None:
    path = normpath(assignment.value)
    if path == "." or path.split("/")[0] == "..":
        raise complaint(assignment, "does not name something in a granted directory", "for example .envrc")


def _check_variable(assignment: Assignment) -> None:
    name = assignment.value.partition("=")[0]
    if not name or any(char <= " " or char == "\x7f" for char in name):
        raise complaint(assignment, "is not the name of a variable", hint="setenv VAR=VALUE or setenv VAR")
    if "*" in name:
        raise complaint(assignment, "names a single variable; only unsetenv takes a pattern")


def _check_mask(assignment: Assignment) -> None:
    # Nobody means a file whose name is that, and to hide nothing in silence is the worst answer.
    if "*" in assignment.value:
        raise complaint(
            assignment, "is a name and not a pattern", hint="mask each file by its name, or their folder"
        )


def _check_pattern(assignment: Assignment) -> None:
    if any(char <= " " or char in "=\x7f" for char in assignment.value):
        raise complaint(assignment, "is not one name or pattern", hint="one unsetenv for each pattern")


def _check_device(assignment: Assignment) -> None:
    if not assignment.value.startswith("/"):
        raise complaint(assignment, "must be an absolute path", hint="for example dev /dev/kvm")


def _check_fd(assignment: Assignment) -> None:
    try:
        good = _whole(assignment.value) <= FD_MAX
    except ValueError:
        good = False
    if not good:
        raise complaint(assignment, "is not the number of a descriptor")


def _check_limit(assignment: Assignment) -> None:
    name, _, amount = assignment.value.partition("=")
    if name not in LIMITS:
        raise complaint(assignment, f"{name} is no limit", hint="the limits are " + " ".join(LIMITS))
    try:
        amount_of(amount)
    except ValueError:
        hint = "a number such as 512, with K, M, G or T behind it if you like, or unlimited"
        raise complaint(assignment, f"{amount or 'nothing'} is no amount", hint) from None


def _verb(name: str, help_: str, *, short: str = "", words: str = NO_WORDS) -> Option:
    return Option(name, help_, short=short, where=COMMAND_LINE_ONLY, verb=True, words=words)


# One row reads as one row, so the formatter stays out.
# fmt: off
OPTIONS = (
    Option("mode", "how much the jail may see", short="m", value="MODE",
           choices=("casual", "bare", "strict")),
    Option("jail", "which jail: its home, its changes, its /tmp", short="j", value="NAME",
           where=OUTSIDE_JAIL_FILES, check=_check_jail),
    Option("dir", "grant read-write access to PATH; !: make it first, ?: ignore it if missing", short="d",
           value="PATH", suffixes="!?", repeatable=True, expands=True),
    Option("rdir", "grant read-only access to PATH; ?: ignore it if missing", short="r", value="PATH",
           suffixes="?", repeatable=True, expands=True),
    Option("xdir", "undo an earlier --dir or --rdir of PATH", short="x", value="PATH",
           repeatable=True, expands=True),
    Option("nocwd", "do not grant the current directory", short="D"),
    Option("mask", "casual mode: hide FILE of the home", value="FILE", repeatable=True, expands=True,
           check=_check_mask),
    Option("unmask", "undo an earlier --mask of FILE", value="FILE", repeatable=True, expands=True),
    Option("protect", "keep NAME in granted directories read-only; git (default): hooks and config",
           value="NAME|git|none", repeatable=True, expands=True, check=_check_protected),
    Option("unprotect", "undo an earlier --protect of NAME", value="NAME", repeatable=True, expands=True,
           check=_check_protected),
    Option("setenv", "set a variable, or let VAR through --unsetenv", value="VAR[=VALUE]",
           repeatable=True, expands=True, check=_check_variable),
    Option("unsetenv", "remove variables; * is a wildcard", value="PATTERN", repeatable=True,
           check=_check_pattern),
    Option("conf", "read this configuration file; ?: ignore it if missing", short="C", value="FILE",
           suffixes="?", expands=True),
    Option("storage", "where jails keep their homes, changes and tmp", value="DIR",
           where=OUTSIDE_JAIL_FILES, expands=True),
    Option("net", "share the network, or have none", value="NET", choices=("host", "none")),
    Option("allow", "let the system call openat2 through, on which some programs insist", value="CALL",
           choices=("openat2", NONE)),
    Option("dev", "make a device node of the host usable", value="PATH", repeatable=True,
           check=_check_device),
    Option("keep-fd", "let one inherited descriptor through", value="N", repeatable=True, check=_check_fd),
    Option("limit", "pids, nofile, fsize, cpu or as: limit a resource", value="NAME=VALUE",
           repeatable=True, check=_check_limit),
    Option("script", "add a bash file to $JAI_SCRIPT in the jail; ?: ignore it if missing", value="FILE",
           suffixes="?", repeatable=True),
    Option("command", "run /bin/bash -c CODE CMD ARG...", value="CODE"),
    Option("initjail", "run PROGRAM once in the home of a new jail; ?: ignore it if missing",
           value="PROGRAM", suffixes="?"),
    Option("verbose", "say what is done", short="v"),
    _verb("unmount", "remove the run-time state of all jails, or of the one named with -j", short="u"),
    _verb("init", "write the default configuration files and stop"),
    _verb("doctor", "say what of this machine jai can use, and what mends the rest"),
    _verb("setup", "as root: make strict mode possible; --setup --remove undoes it", words=ALL_WORDS),
    _verb("plan", "print the plan for this command and stop", words=COMMAND_WORDS),
    _verb("print-defaults", "print the built-in .defaults"),
    _verb("complete", "print completions of WORD... for the shell", words=ALL_WORDS),
    _verb("help", "print this help", words=COMMAND_WORDS),
    _verb("version", "print the version", words=COMMAND_WORDS),
)
# fmt: on

BY_NAME = {option.name: option for option in OPTIONS}
BY_SHORT = {option.short: option for option in OPTIONS if option.short}


def split_suffix(word: str) -> tuple[str, str]:
    """Give the option's name and its suffix (`!`, `?` or nothing) of the word `dir?`."""
    return (word[:-1], word[-1]) if word.endswith(SUFFIXES) else (word, "")


def help_text(options: Iterable[Option] = OPTIONS) -> str:
    """Give what `jai --help` prints."""
    rows = tuple((option, option.forms()) for option in options)
    column = min(34, max(len(forms) for _, forms in rows) + 4)
    parts = [
        "Usage: jai [OPTION]... [CMD [ARG]...]",
        "Run CMD (default: the login shell) with the current directory read-write, a home of its own",
        "and everything else read-only.  Options end at the first word that is not one, or at --.",
    ]
    for title, verb in (("Options:", False), ("Instead of running a command:", True)):
        parts += ["", title]
        for option, forms in rows:
            if option.verb is verb:
                left = f"  {forms}"
                gap = " " * (column - len(left)) if len(left) < column - 1 else "\n" + " " * column
                parts.append(f"{left}{gap}{option.help}")
    return "\n".join(parts) + "\n"
