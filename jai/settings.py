"""What was asked: the .conf file, the .jail file and the command line as one frozen `Settings`.

Later layers win.  Nothing here looks at the machine: all files come through the reader.
"""

from __future__ import annotations

from jai.conf import BUILT_IN, Source, absolute, find_conf, open_file, read_assignments
from jai.errors import UsageError
from jai.options import (
    BY_NAME,
    COMMAND_LINE,
    CONF_FILE,
    GIT,
    JAIL_FILE,
    LIMITS,
    NONE,
    amount_of,
    complaint,
)
from jai.record import Record
from jai.system import join, normpath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from jai.argv import Invocation
    from jai.conf import Reader
    from jai.options import Assignment

DEFAULT_JAIL = "default"
DEFAULT_PIDS = 8192

READ_WRITE = "rw"
READ_ONLY = "ro"

SET = "set"
UNSET = "unset"
PASS = "pass"  # noqa: S105 - an action, not a password
_VARIABLES = ("setenv", "unsetenv")


class Grant(Record):
    """A path outside that the jail gets; suffix "!" makes it first, "?" lets it be missing."""

    path: str
    access: str
    suffix: str
    origin: str


class Mask(Record):
    """A path of the home, relative to it, that casual mode hides."""

    path: str
    origin: str


class EnvRule(Record):
    """One step on the way to the jail's environment: set a name, unset a pattern, pass a name."""

    action: str
    name: str
    value: str
    origin: str


class Device(Record):
    """A device node of the host, or a directory of them, that becomes usable."""

    path: str
    origin: str


class Script(Record):
    """A bash file that becomes part of `$JAI_SCRIPT`, or the program that prepares a new jail."""

    path: str
    optional: bool
    origin: str


class Settings(Record):
    """Everything that was asked for, merged.

    `mode_given`: somebody chose the mode, it is not a built-in default.  An empty origin stands for a
    default.  `limits` are (name, value) in the order of `LIMITS`; -1 is `options.UNLIMITED`.
    """

    jail: str
    jail_origin: str
    jail_file_exists: bool
    mode: str
    mode_origin: str
    mode_given: bool
    config_dir: str
    storage: str
    storage_origin: str
    grants: tuple[Grant, ...]
    nocwd: bool
    masks: tuple[Mask, ...]
    protected: tuple[str, ...]
    environment: tuple[EnvRule, ...]
    net: str
    allow: str
    devs: tuple[Device, ...]
    keep_fds: tuple[int, ...]
    keep_all_fds: bool
    limits: tuple[tuple[str, int], ...]
    scripts: tuple[Script, ...]
    code: str
    initjail: Script | None
    verbose: bool
    command: tuple[str, ...]


def read_settings(
    invocation: Invocation, *, env: dict[str, str], cwd: str, home: str, reader: Reader
) -> Settings:
    """Say what was asked for by the configuration files and the command line together.

    Raises: UsageError or ConfError, which name where the offending value comes from.
    """
    home = absolute(home, "/", "/")
    config_dir = configuration_directory(env, home)
    source = Source(CONF_FILE, config_dir, home, _variables(env, PWD=cwd, HOME=home), reader)
    conf = _conf_layer(invocation, cwd, source)
    asked = (*conf, *invocation.assignments)
    _check(asked)
    storage = _last(asked, "storage")
    directory = absolute(storage.value, _base(storage, cwd, home), home) if storage else config_dir
    jail = _last(asked, "jail")
    name = jail.value if jail else DEFAULT_JAIL
    source = source.replace(where=JAIL_FILE)
    jail_file = open_file(join(directory, name + ".jail"), source, stand_in=name + ".jail")
    jailed = read_assignments(jail_file, source) if jail_file else []
    _check(jailed)
    merged = (*conf, *jailed, *invocation.assignments)
    mode = _last(merged, "mode")
    return Settings(
        jail=name,
        jail_origin=jail.origin if jail else "",
        jail_file_exists=jail_file is not None and not jail_file.name.startswith(BUILT_IN),
        mode=mode.value if mode else "casual" if name == DEFAULT_JAIL else "strict",
        mode_origin=mode.origin if mode else "",
        mode_given=mode is not None and not mode.origin.startswith(BUILT_IN),
        config_dir=config_dir,
        storage=directory,
        storage_origin=storage.origin if storage else "",
        keep_all_fds="JAI_KEEP_FDS" in env,
        scripts=_scripts((*invocation.assignments, *conf, *jailed), cwd, config_dir, home),
        initjail=_script(_last(merged, "initjail"), cwd, config_dir, home),
        command=invocation.command,
        **_merged(merged, cwd, home),
    )


def _variables(env: dict[str, str], **ours: str) -> dict[str, str]:
    found = env.copy()
    found.update(ours)
    return found


def _merged(assignments: tuple[Assignment, ...], cwd: str, home: str) -> dict[str, Any]:
    """Give the fields of the settings that follow from the assignments alone."""
    net = _last(assignments, "net")
    allow = _last(assignments, "allow")
    code = _last(assignments, "command")
    return {
        "grants": _grants(assignments, cwd, home),
        "nocwd": _last(assignments, "nocwd") is not None,
        "masks": _masks(assignments, home),
        "protected": _protected(assignments, home),
        "environment": tuple(_env_rule(each) for each in assignments if each.option in _VARIABLES),
        "net": net.value if net else "host",
        "allow": allow.value if allow else NONE,
        "devs": _devices(assignments),
        "keep_fds": tuple(sorted({int(each.value) for each in assignments if each.option == "keep-fd"})),
        "limits": _limits(assignments),
        "code": code.value if code else "",
        "verbose": _last(assignments, "verbose") is not None,
    }


def configuration_directory(env: Mapping[str, str], home: str) -> str:
    """Say where jai's configuration lives: `$JAI_CONFIG_DIR`, else `~/.jai`."""
    chosen = env.get("JAI_CONFIG_DIR", "")
    if not chosen:
        return absolute(".jai", home, home)
    if not chosen.startswith("/"):
        message = f"JAI_CONFIG_DIR={chosen}: must be an absolute path"
        raise UsageError(message, hint="export JAI_CONFIG_DIR=$HOME/.jai, or unset it")
    return absolute(chosen, "/", home)


def apply_environment(settings: Settings, env: Mapping[str, str]) -> dict[str, str]:
    """Give the jail's environment: the one outside after the rules, in order."""
    result = dict(env)
    for rule in settings.environment:
        name = rule.name
        if rule.action == SET:
            result[name] = rule.value
        elif rule.action == PASS:
            if name in env:
                result[name] = env[name]
        else:
            for each in _matching(name, result):
                del result[each]
    return result


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    tail = pattern[1:]
    # Nearly all patterns are of these two kinds, and five times as fast.
    if "*" not in pattern:
        return [pattern] if pattern in names else []
    if pattern.startswith("*") and "*" not in tail:
        return [name for name in names if name.endswith(tail)]
    return [name for name in names if matches(pattern, name)]


def matches(pattern: str, name: str) -> bool:
    """Say whether the name fits the pattern, in which `*` stands for any characters, none too."""
    first, *pieces = pattern.split("*")
    if not pieces:
        return name == pattern
    last = pieces.pop()
    if not (name.startswith(first) and name.endswith(last)):
        return False
    at = len(first)
    end = len(name) - len(last)
    for piece in pieces:
        found = name.find(piece, at, max(at, end))
        if found < 0:
            return False
        at = found + len(piece)
    return at <= end


def _conf_layer(invocation: Invocation, cwd: str, source: Source) -> list[Assignment]:
    chosen = _last(invocation.assignments, "conf")
    file = find_conf(chosen, cwd, source) if chosen else None
    name = invocation.command[0] if invocation.command else ""
    if file is None and name and not name.startswith(".") and "/" not in name:
        file = open_file(join(source.config_dir, name + ".conf"), source)
    if file is None:
        file = open_file(join(source.config_dir, "default.conf"), source, stand_in="default.conf")
    return read_assignments(file, source) if file else []


def _last(assignments: Iterable[Assignment], option: str) -> Assignment | None:
    found = None
    for each in assignments:
        if each.option == option:
            found = each
    return found


def _base(assignment: Assignment, cwd: str, home: str) -> str:
    return cwd if assignment.origin == COMMAND_LINE else home


def _grants(assignments: Iterable[Assignment], cwd: str, home: str) -> tuple[Grant, ...]:
    found: dict[str, Grant] = {}
    for each in assignments:
        if each.option not in ("dir", "rdir", "xdir"):
            continue
        path = absolute(each.value, _base(each, cwd, home), home)
        found.pop(path, None)
        if each.option != "xdir":
            access = READ_WRITE if each.option == "dir" else READ_ONLY
            found[path] = Grant(path, access, each.suffix, each.origin)
    return tuple(found.values())


def _masks(assignments: Iterable[Assignment], home: str) -> tuple[Mask, ...]:
    found: dict[str, Mask] = {}
    for each in assignments:
        if each.option not in ("mask", "unmask"):
            continue
        path = absolute(each.value, home, home)
        inside = home.rstrip("/") + "/"
        if path == home:
            raise complaint(each, "is the home directory itself", hint="mode bare hides the whole home")
        if not path.startswith(inside):
            raise complaint(each, f"is not below the home directory {home}")
        path = path[len(inside) :]
        found.pop(path, None)
        if each.option == "mask":
            found[path] = Mask(path, each.origin)
    return tuple(found.values())


def _protected(assignments: Iterable[Assignment], home: str) -> tuple[str, ...]:
    """Give `git`, absolute paths, and paths that are meant in each granted directory."""
    found: dict[str, None] = {GIT: None}
    for each in assignments:
        if each.option == "protect" and each.value == NONE:
            found.clear()
        elif each.option in ("protect", "unprotect"):
            name = normpath(each.value)
            if name.startswith(("/", "~")):
                name = absolute(each.value, home, home)
            elif name == GIT != each.value:
                name = "./git"  # a file of that name, as for a shell
            found.pop(name, None)
            if each.option == "protect":
                found[name] = None
    return tuple(found)


def _script(given: Assignment | None, cwd: str, config_dir: str, home: str) -> Script | None:
    """Give the file that is meant: without a slash it lies in the configuration directory."""
    if given is None:
        return None
    base = cwd if given.origin == COMMAND_LINE and "/" in given.value else config_dir
    return Script(absolute(given.value, base, home), given.suffix == "?", given.origin)


def _scripts(assignments: Iterable[Assignment], cwd: str, config_dir: str, home: str) -> tuple[Script, ...]:
    """Give the script files in the order in which they are asked for; the first mention of each counts."""
    found: dict[str, Script] = {}
    for each in assignments:
        script = _script(each, cwd, config_dir, home) if each.option == "script" else None
        if script:
            found.setdefault(script.path, script)
    return tuple(found.values())


def _env_rule(assignment: Assignment) -> EnvRule:
    if assignment.option == "unsetenv":
        return EnvRule(UNSET, assignment.value, "", assignment.origin)
    name, equals, value = assignment.value.partition("=")
    return EnvRule(SET if equals else PASS, name, value, assignment.origin)


def _devices(assignments: Iterable[Assignment]) -> tuple[Device, ...]:
    found = {}
    for each in assignments:
        if each.option == "dev":
            path = absolute(each.value, "/", "/")
            found[path] = Device(path, each.origin)
    return tuple(found.values())


def _limits(assignments: Iterable[Assignment]) -> tuple[tuple[str, int], ...]:
    found = {"pids": DEFAULT_PIDS}
    for each in assignments:
        if each.option == "limit":
            name, _, amount = each.value.partition("=")
            found[name] = amount_of(amount)
    return tuple((name, found[name]) for name in LIMITS if name in found)


def _check(assignments: Iterable[Assignment]) -> None:
    """Refuse a wrong value, also one that a later layer would have replaced."""
    for each in assignments:
        option = BY_NAME[each.option]
        choices = option.choices
        if choices and each.value not in choices:
            raise complaint(each, "must be " + ", ".join(choices[:-1]) + " or " + choices[-1])
        if option.check is not None:
            option.check(each)
