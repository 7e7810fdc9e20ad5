"""Seals a plan for the launcher, which runs it at once when the same words are typed in the same place.

An entry is a key, the facts that the decision rested on, the variables, the words and the plan image; its
layout and how facts are checked: core/sealed.c.  It lies in the configuration directory, which no jail
shows, because that is where the launcher looks before anything has been read.

A fact is a letter, a name and what was found:
s, l  stat, lstat: device, inode, mode, owner, group    o  flags of the mount      e  a variable
i, f  lstat, or what was read: its times too            t  type of the file system g  whose cgroup we are in
r     the path without links                            c  hash of the content
a     Landlock's ABI                                    h  whether we may lend privileges to the helper
"""

from __future__ import annotations

import posix
import sys
import time

from jai._core import lib
from jai.host import look, look_at_file, read_bytes
from jai.store import BOOT_ID
from jai.system import dirname, exists, fsencode, write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from jai.host import Host
    from jai.policy import Policy
    from jai.settings import Settings

FOLDER = ".plans"
MOST = 64
MAGIC, VERSION = 0x4C41454A, 2
PRIVATE = ("JAI_ATTEMPTS", "JAI_FAILED", "JAI_IGNORED", "JAI_IMAGE")
# Set by jai itself, whatever they are outside.
OURS = ("HOME", "JAI_JAIL", "JAI_MODE", "JAI_SCRIPT", "JAI_USER", "LOGNAME", "PWD", "USER")

# These are not simply passed on.
DECIDING = ("PATH", "TMPDIR")

# A file that was changed a moment ago may be changed again without its times telling: clocks of file
# systems are coarse, FAT's is the coarsest.
SETTLED = 3 * 10**9  # nanoseconds


def launcher() -> str:
    """Give the path of the command beside the script that is running."""
    return f"{dirname(sys.argv[0])}/jai"


def why_not(settings: Settings, host: Host, policy: Policy) -> str:
    """Say why a plan can not be sealed, "" if it can."""
    reasons = {
        "root acts for a user": posix.geteuid() != posix.getuid() or host.account.uid != posix.getuid(),
        "it was not started by the launcher": not exists(f"{launcher()}-python"),
        "it says something at each start": bool(policy.notes or settings.verbose),
        "it makes directories": bool(policy.create),
        "descriptors are passed on": bool(policy.keep_fds),
        "a variable has no name": "" in host.env,
        host.uncertain: bool(host.uncertain),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def seal(settings: Settings, host: Host, policy: Policy, image: bytes) -> None:
    """Write the entry; whatever keeps it from being written, the next start decides again."""
    if why_not(settings, host, policy):
        return
    facts, changed = find_facts(settings, host, policy)
    if changed > time.time_ns() - SETTLED:
        return
    directory = f"{settings.config_dir}/{FOLDER}"
    key = key_of(settings, host, policy, sys.argv[1:])
    words = len(settings.command)
    args = policy.command[: len(policy.command) - words]
    fixed = _fixed_names(settings)
    env = [
        name if name in host.env and name not in fixed else f"{name}={value}"
        for name, value in policy.environment
    ]
    parts = [
        key,
        _joined(part for fact in facts.items() for part in fact),
        _joined(env),
        _joined(args),
        image,
    ]
    sizes = [len(part) for part in parts]
    body = b"".join(size.to_bytes(4, sys.byteorder) for size in [*sizes, int(words > 0)])
    body += b"".join(parts)
    head = b"".join(number.to_bytes(4, sys.byteorder) for number in (MAGIC, VERSION))
    head += lib.jai_hash(body, len(body)).to_bytes(8, sys.byteorder)
    try:
        _write(directory, f"{lib.jai_hash(key, len(key)):016x}", head + body)
    except OSError:
        return


def report(settings: Settings, host: Host, policy: Policy) -> str:
    """Say whether a start of what was typed would run a sealed plan, and if not, why."""
    reason = why_not(settings, host, policy)
    if reason:
        return f"such a plan is never kept: {reason}"
    typed = sys.argv[1:]
    typed.remove("--plan")
    key = key_of(settings, host, policy, typed)
    try:
        with open(f"{settings.config_dir}/{FOLDER}/{lib.jai_hash(key, len(key)):016x}", "rb") as file:
            strings = file.read().split(b"\0")
    except OSError:
        return "no plan is kept for this: the next start decides"
    for name, value in find_facts(settings, host, policy)[0].items():
        at = strings.index(fsencode(name)) + 1 if fsencode(name) in strings else 0
        if strings[at] != fsencode(value):
            return f"the plan that is kept rests on something that has changed: {name[1:]}"
    return "this plan is kept: the next start runs it at once"


def _fixed_names(settings: Settings) -> set[str]:
    """Give the variables whose values are not those outside, whatever those are."""
    return {*OURS, *(rule.name for rule in settings.environment if rule.action != "unset")}


def key_of(settings: Settings, host: Host, policy: Policy, typed: list[str]) -> bytes:
    """Say what was typed, where, and by whom."""
    kernel = posix.uname()
    words = typed[: len(typed) - len(settings.command)]
    names = sorted(fsencode(name) for name in host.env if name not in PRIVATE)
    return b"".join(
        (
            _joined((str(lib.JAI_VERSION), dirname(sys.argv[0]))),
            _joined((kernel.release, kernel.version, host.cwd)),
            _joined((str(posix.getuid()), str(posix.getgid()))),
            _joined(map(str, posix.getgroups())) + b"\0",
            _joined((policy.terminal, str(int(not policy.session)))),
            b"".join(name + b"\0" for name in names) + b"\0",
            _joined((str(len(words)), *words, *settings.command[:1])),
        )
    )


def find_facts(settings: Settings, host: Host, policy: Policy) -> tuple[dict[str, str], int]:
    """Give what was found, by letter and name, and when one of the files was last changed, in nanoseconds."""
    facts = dict(host.facts)
    facts.update({("r" + path): real for path, real in host.real_paths.items()})
    passed = (rule.name for rule in settings.environment if rule.action == "pass")
    facts.update({("e" + name): _variable(host, name) for name in (*host.env.used, *DECIDING, *passed)})
    layout = policy.layout
    private = (layout.changes, layout.overlay_work) if policy.mode == "casual" else (layout.home,)
    for path in (layout.state, layout.lock, layout.tmp, *private):
        facts["l" + path] = look(posix.lstat, path)[0]
    # Python empties the private /tmp on the first start after a boot.
    boot = read_bytes(BOOT_ID)
    facts["c" + BOOT_ID] = f"{lib.jai_hash(boot, len(boot)):016x}"
    newest = host.newest
    own = (launcher(), f"{policy.config_dir}/.defaults", layout.boot)
    for path in own:
        facts["f" + path], changed = look_at_file(path)
        newest = max(newest, changed)
    return facts, newest


def _variable(host: Host, name: str) -> str:
    value = dict.get(host.env, name)  # without a note that it was used
    return "" if value is None else f"={value}"


def _joined(strings: Iterable[str]) -> bytes:
    return b"".join(fsencode(each) + b"\0" for each in strings)


def _write(directory: str, name: str, data: bytes) -> None:
    try:
        posix.mkdir(directory, 0o700)
    except FileExistsError:
        _make_room(directory)
    part = f"{directory}/{name}.{posix.getpid()}"
    fd = posix.open(
        part, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC, 0o600
    )
    try:
        write_whole(fd, data)
    except OSError:
        posix.unlink(part)
        raise
    finally:
        posix.close(fd)
    posix.rename(part, f"{directory}/{name}")


def _make_room(directory: str) -> None:
    """Keep the number of entries bounded: the oldest go."""
    names = posix.listdir(directory)
    if len(names) >= MOST:
        names.sort(key=lambda name: posix.lstat(f"{directory}/{name}").st_mtime_ns)
        for name in names[: len(names) - MOST // 2]:
            posix.unlink(f"{directory}/{name}")
