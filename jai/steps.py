"""The typed steps of a plan: each is one thing the C core does, carries all it needs, and no more.

Source of the fields: core/jai.h.  `describe.py` prints steps, `encode` makes the core's image of them.
"""

from __future__ import annotations

from jai._core import ffi, lib
from jai.system import fsencode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

RDONLY: int = lib.JAI_RDONLY
NOSUID: int = lib.JAI_NOSUID
NODEV: int = lib.JAI_NODEV
NOEXEC: int = lib.JAI_NOEXEC
RECURSIVE: int = lib.JAI_RECURSIVE
MAKE: int = lib.JAI_MAKE
SAME: int = lib.JAI_SAME
SHARED: int = lib.JAI_SHARED
SESSION: int = lib.JAI_SESSION
STRICT: int = lib.JAI_STRICT
MAPPED: int = lib.JAI_MAPPED
CONTENT: int = lib.JAI_CONTENT
OPENAT2: int = lib.JAI_OPENAT2

# Everything that is not a system directory of the host's own.
INERT = NOSUID | NODEV

RESOURCES = {"cpu": 0, "fsize": 1, "core": 4, "pids": 6, "nofile": 7, "as": 9}


class Step:
    """One step; the meaning of the fields depends on the kind, see core/jai.h."""

    __slots__ = ("device", "extra", "flags", "inode", "kind", "mode", "number", "source", "target")

    def __init__(  # noqa: PLR0913 - one parameter for each field of the record
        self,
        kind: int,
        target: str = "",
        source: str = "",
        extra: str = "",
        *,
        flags: int = 0,
        mode: int = 0,
        number: int = 0,
        same: tuple[int, int] | None = None,
    ) -> None:
        """Take the fields; `same` is the (device, inode) that the source must still have."""
        self.kind = kind
        self.target = target
        self.source = source
        self.extra = extra
        self.flags = flags | SAME if same else flags
        self.mode = mode
        self.number = number
        self.device, self.inode = same or (0, 0)

    @property
    def same(self) -> tuple[int, int] | None:
        """The identity that the source must still have."""
        return (self.device, self.inode) if self.flags & SAME else None

    def forget_identity(self) -> None:
        """Leave the check of the identity to another step."""
        self.flags &= ~SAME
        self.device = self.inode = 0


def lock(path: str, *, shared: bool) -> Step:
    """Serialise the starts of the jail; find a living run whose overlay to share."""
    return Step(lib.JAI_LOCK, path, flags=SHARED if shared else 0)


def user_namespace(uid: int, gid: int) -> Step:
    """Make a user namespace that maps the user to itself, and a mount namespace in it."""
    return Step(lib.JAI_USERNS, number=uid, mode=gid)


def helper(path: str) -> Step:
    """Start the privileged helper of strict mode."""
    return Step(lib.JAI_HELPER, path)


def idmap(source: str, number: int, same: tuple[int, int] | None) -> Step:
    """Let the helper map what is at `source` to the strict id; `mapped` uses it by its number."""
    return Step(lib.JAI_IDMAP, source=source, number=number, same=same)


def clone(source: str, number: int, same: tuple[int, int] | None) -> Step:
    """Let the helper clone a directory without what is mounted below it; the overlay uses it."""
    return Step(lib.JAI_CLONE, source=source, number=number, same=same)


def mapped(target: str, source: str, flags: int, same: tuple[int, int] | None) -> Step:
    """Show at `target` what the helper mapped; the plan gives it the number of the request."""
    return Step(lib.JAI_BIND, target, source, flags=flags | MAPPED, same=same)


def strict_namespace(uid: int, gid: int) -> Step:
    """Make a user namespace in which the user's strict id is `uid`, and become it."""
    return Step(lib.JAI_USERNS, number=uid, mode=gid, flags=STRICT)


def network_namespace() -> Step:
    """Make a network that has nothing but its own loopback."""
    return Step(lib.JAI_NETNS)


def namespace_limit(name: str, count: int) -> Step:
    """Let the jail make at most `count` namespaces of a kind: a file of /proc/sys/user."""
    return Step(lib.JAI_NSLIMIT, name, number=count)


def root(flags: int) -> Step:
    """Clone the host's whole tree, read-only, as the jail's."""
    return Step(lib.JAI_ROOT, flags=flags)


def mask(path: str, home: str) -> Step:
    """Leave `path`, relative to the home, out of what the overlay shows."""
    return Step(lib.JAI_MASK, path, home)


def held_link(path: str, target: str, home: str) -> Step:
    """Let `path`, relative to the home, be a link in what the overlay shows, whatever it becomes outside."""
    return Step(lib.JAI_MASK, path, home, target)


def overlay(home: str, upper: str, work: str, flags: int, same: tuple[int, int] | None) -> Step:
    """Show the home copy-on-write: what changes goes to `upper`."""
    return Step(lib.JAI_OVERLAY, home, upper, work, flags=flags, same=same)


def bind(target: str, source: str, flags: int, same: tuple[int, int] | None = None) -> Step:
    """Show what is at `source` outside at `target` inside."""
    return Step(lib.JAI_BIND, target, source, flags=flags, same=same)


def pin(target: str) -> Step:
    """Bind `target` onto itself, so that nobody inside can rename it."""
    return Step(lib.JAI_PIN, target)


def protect(target: str, same: tuple[int, int] | None) -> Step:
    """Make what is at `target` read-only."""
    return Step(lib.JAI_PIN, target, flags=RDONLY, same=same)


def watch(target: str, same: tuple[int, int] | None, changed: int) -> Step:
    """Tell the user when all has ended if `target` is not what it was, or is no longer missing."""
    return Step(lib.JAI_WATCH, target, same=same, number=changed)


def watch_content(target: str, content: str) -> Step:
    """Tell the user when all has ended if the file `target` holds something else."""
    return Step(lib.JAI_WATCH, target, content, flags=CONTENT)


def tmpfs(target: str, mode: int, flags: int, size: str = "") -> Step:
    """Put an empty private file system at `target`."""
    return Step(lib.JAI_TMPFS, target, size, mode=mode, flags=flags)


def devpts(target: str) -> Step:
    """Put private pseudo-terminals at `target`."""
    return Step(lib.JAI_DEVPTS, target, flags=MAKE)


def file(target: str, content: str = "", mode: int = 0o644) -> Step:
    """Make a file in the jail."""
    return Step(lib.JAI_FILE, target, content, mode=mode)


def symlink(target: str, source: str) -> Step:
    """Make a symbolic link at `target` that points to `source`."""
    return Step(lib.JAI_SYMLINK, target, source)


def seal(target: str) -> Step:
    """Make the mount at `target` read-only, now that it is furnished."""
    return Step(lib.JAI_SEAL, target)


def pivot() -> Step:
    """Make the jail's tree the root and let go of the host's."""
    return Step(lib.JAI_PIVOT)


def init() -> Step:
    """Go on as PID 1 of new PID and IPC namespaces."""
    return Step(lib.JAI_INIT)


def proc(target: str) -> Step:
    """Mount the new PID namespace's /proc."""
    return Step(lib.JAI_PROC, target)


def drop() -> Step:
    """Give up every capability and every way to gain one."""
    return Step(lib.JAI_DROP)


def spawn(*, session: bool) -> Step:
    """Go on as the command's own process; PID 1 stays behind and reaps."""
    return Step(lib.JAI_SPAWN, flags=SESSION if session else 0)


def scope(scopes: int) -> Step:
    """Keep abstract Unix sockets and signals inside (Landlock)."""
    return Step(lib.JAI_SCOPE, mode=scopes)


def limit(resource: str, value: int) -> Step:
    """Lower a resource limit."""
    return Step(lib.JAI_LIMIT, mode=RESOURCES[resource], number=value)


def chdir(path: str, otherwise: str) -> Step:
    """Start in `path`, or in `otherwise` where `path` is not in the jail."""
    return Step(lib.JAI_CHDIR, path, otherwise, f"PWD={otherwise}")


def keep(fd: int) -> Step:
    """Let one descriptor through."""
    return Step(lib.JAI_KEEP, number=fd)


def close() -> Step:
    """Close every descriptor but 0, 1, 2 and what is kept."""
    return Step(lib.JAI_CLOSE)


def env(name: str, value: str) -> Step:
    """Set one variable of the command's environment, which starts empty."""
    return Step(lib.JAI_ENV, source=f"{name}={value}")


def arg(word: str) -> Step:
    """Add one word to the command."""
    return Step(lib.JAI_ARG, source=word)


def filter_calls(*, strict: bool, openat2: bool) -> Step:
    """Refuse the system calls that no agent needs, from here on; in strict mode user namespaces too."""
    return Step(lib.JAI_FILTER, flags=(STRICT if strict else 0) | (OPENAT2 if openat2 else 0))


def execute(program: str, path: str) -> Step:
    """Become the command; a name without a slash is looked up in `path`."""
    return Step(lib.JAI_EXEC, source=program, extra=path)


def encode(steps: Sequence[Step]) -> bytes:
    """Give the plan image of core/jai.h: header, steps, string table."""
    table = _Strings()
    rows = [
        (
            step.kind,
            step.flags,
            table.offset(step.target),
            table.offset(step.source),
            table.offset(step.extra),
            step.mode,
            step.number,
            step.device,
            step.inode,
        )
        for step in steps
    ]
    body = bytes(ffi.buffer(ffi.new("struct jai_step[]", rows)))
    strings = b"".join(table.parts)
    width = ffi.sizeof("struct jai_header") + len(body) + len(strings)
    header = ffi.new(
        "struct jai_header *", (lib.JAI_MAGIC, lib.JAI_VERSION, width, len(rows), len(strings), 0)
    )
    return bytes(ffi.buffer(header)) + body + strings


class _Strings:
    """The string table while it grows; equal strings share a place."""

    def __init__(self) -> None:
        self.parts = [b"\0"]
        self._size = 1
        self._known = {"": 0}

    def offset(self, string: str) -> int:
        at = self._known.get(string)
        if at is None:
            data = fsencode(string) + b"\0"
            at = self._known[string] = self._size
            self.parts.append(data)
            self._size += len(data)
        return at
