"""Prints plans: one line a step, in the order in which the core executes them."""

from __future__ import annotations

import sys

from jai._core import lib
from jai.errors import printable
from jai.run import steps_of
from jai.sealed import report
from jai.steps import (
    CONTENT,
    MAKE,
    MAPPED,
    NODEV,
    NOEXEC,
    NOSUID,
    OPENAT2,
    RDONLY,
    RECURSIVE,
    RESOURCES,
    SAME,
    SESSION,
    SHARED,
    STRICT,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jai.host import Host
    from jai.policy import Policy
    from jai.settings import Settings
    from jai.steps import Step

FLAGS = (
    (RDONLY, "ro"),
    (NOSUID, "nosuid"),
    (NODEV, "nodev"),
    (NOEXEC, "noexec"),
    (RECURSIVE, "recursive"),
    (MAKE, "make"),
    (SHARED, "shared"),
    (SESSION, "own-session"),
    (STRICT, "strict-id"),
    (MAPPED, "from-helper"),
)
# Set by jai itself: their values are no secret of the user's.
PLAIN = ("HOME", "JAI_JAIL", "JAI_MODE", "JAI_USER", "LOGNAME", "PATH", "PWD", "SHELL", "TERM", "USER")


def _flags(step: Step) -> str:
    names = [name for bit, name in FLAGS if step.flags & bit]
    if step.flags & SAME:
        names.append(f"same={step.device}:{step.inode}")
    return f" [{','.join(names)}]" if names else ""


def _bind(step: Step) -> str:
    access = "read-only" if step.flags & RDONLY else "read-write"
    source = "" if step.source == step.target else f" from {step.source}"
    return f"bind {step.target}{source} {access}{_flags(step)}"


def _pin(step: Step) -> str:
    return f"{'protect' if step.flags & RDONLY else 'pin'} {step.target}{_flags(step)}"


def _watch(step: Step) -> str:
    if step.flags & CONTENT:
        return f"watch {step.target} content, {len(step.source)} characters"
    changed = f" changed={step.number}" if step.number else ""
    return f"watch {step.target}{changed}{_flags(step) or ' missing'}"


def _mask(step: Step) -> str:
    place = f"{step.source}/{step.target}"
    return f"hold-link {place} to {step.extra}" if step.extra else f"mask {place}"


def _filter(step: Step) -> str:
    namespaces = ", no user namespaces" if step.flags & STRICT else ""
    allowed = ", openat2 allowed" if step.flags & OPENAT2 else ""
    return (
        f"filter system calls: {lib.jai_filter_rows(step.flags)} refusals{namespaces}{allowed}, in every ABI"
    )


def _env(step: Step) -> str:
    name, _, value = step.source.partition("=")
    return f"env {name}={value}" if name in PLAIN else f"env {name}"


def _limit(step: Step) -> str:
    names = {number: name for name, number in RESOURCES.items()}
    return f"limit {names[step.mode]} {step.number}"


WORDS: dict[int, Callable[[Step], str]] = {
    lib.JAI_LOCK: lambda step: f"lock {step.target}{_flags(step)}",
    lib.JAI_HELPER: lambda step: f"helper {step.target}",
    lib.JAI_IDMAP: lambda step: f"id-map {step.source}{_flags(step)}",
    lib.JAI_CLONE: lambda step: f"clone {step.source}{_flags(step)}",
    lib.JAI_USERNS: lambda step: f"user-namespace uid {step.number} gid {step.mode}{_flags(step)}",
    lib.JAI_NETNS: lambda _: "network-namespace",
    lib.JAI_NSLIMIT: lambda step: f"namespace-limit {step.target} {step.number}",
    lib.JAI_ROOT: lambda step: f"root / recursive{_flags(step)}",
    lib.JAI_MASK: _mask,
    lib.JAI_OVERLAY: lambda step: (
        f"overlay {step.target} changes {step.source} work {step.extra}{_flags(step)}"
    ),
    lib.JAI_BIND: _bind,
    lib.JAI_PIN: _pin,
    lib.JAI_WATCH: _watch,
    lib.JAI_TMPFS: lambda step: (
        f"tmpfs {step.target} mode {step.mode:04o} size {step.source or 'default'}{_flags(step)}"
    ),
    lib.JAI_DEVPTS: lambda step: f"devpts {step.target}{_flags(step)}",
    lib.JAI_FILE: lambda step: f"file {step.target} mode {step.mode:04o}, {len(step.source)} characters",
    lib.JAI_SYMLINK: lambda step: f"symlink {step.target} -> {step.source}",
    lib.JAI_SEAL: lambda step: f"seal {step.target}",
    lib.JAI_PIVOT: lambda _: "pivot-root",
    lib.JAI_INIT: lambda _: "init pid-namespace ipc-namespace",
    lib.JAI_PROC: lambda step: f"proc {step.target}",
    lib.JAI_DROP: lambda _: "drop capabilities bounding-set ambient no-new-privileges not-dumpable",
    lib.JAI_SPAWN: lambda step: f"spawn{_flags(step)}",
    lib.JAI_SCOPE: lambda step: f"landlock scope {step.mode} (abstract sockets, signals)",
    lib.JAI_LIMIT: _limit,
    lib.JAI_CHDIR: lambda step: f"chdir {step.target} or {step.source}",
    lib.JAI_KEEP: lambda step: f"keep descriptor {step.number}",
    lib.JAI_CLOSE: lambda _: "close other descriptors from 3",
    lib.JAI_ENV: _env,
    lib.JAI_ARG: lambda step: f"arg {step.source}",
    lib.JAI_FILTER: _filter,
    lib.JAI_EXEC: lambda step: f"exec {step.source}",
}


def describe(step: Step) -> str:
    """Give the line that says what a step does."""
    return printable(WORDS[step.kind](step))


def print_plan(settings: Settings, host: Host, policy: Policy) -> int:
    """Print every mount and every rule; beside it, whether a start would have to decide that again."""
    lines = [f"{describe(step)}\n" for step in steps_of(policy)]
    sys.stdout.buffer.write("".join(lines).encode("utf-8", "backslashreplace"))
    sys.stdout.flush()
    sys.stderr.write(f"jai: {printable(report(settings, host, policy))}\n")
    return 0


def tell(policy: Policy) -> Sequence[str]:
    """Say in a few lines what the jail is."""
    grants = ", ".join(grant.path + (" (read-only)" if grant.readonly else "") for grant in policy.grants)
    found = [
        f"jai: jail {policy.jail!r}, {policy.mode} mode, home {policy.home}",
        f"  granted: {grants or 'nothing'}",
    ]
    protected = ", ".join(each.path for each in policy.protected if each.pinned)
    if protected:
        found.append(f"  read-only there: {protected}")
    if policy.mode == "casual":
        found.append(f"  changes to the home go to {policy.layout.changes}")
    return [printable(line) for line in found]
