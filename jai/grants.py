"""What is granted: the paths that the jail gets as they are outside, and every reason to refuse one."""

from __future__ import annotations

from jai.errors import RefusedError
from jai.record import Record
from jai.system import dirname, join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jai.host import Found, Host
    from jai.settings import Grant, Settings

DEV = "/dev"
PROC = "/proc"
SYS = "/sys"
RUNTIME = "/run/user"

# Where root does not get the current directory as a matter of course.
SYSTEM = (
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib",
)


class Granted(Record):
    """A path the jail gets as it is outside; `same` is (device, inode), None if it is yet to be made."""

    path: str
    readonly: bool
    type: str
    owner: int
    same: tuple[int, int] | None


def is_below(path: str, directory: str) -> bool:
    """Say whether a path is a directory or lies below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def said(origin: str) -> str:
    """Give the start of a message about something that was said at `origin`."""
    return f"{origin}: " if origin and origin != "command line" else ""


def find_grants(
    settings: Settings, host: Host, own: tuple[str, ...]
) -> tuple[tuple[Granted, ...], tuple[str, ...]]:
    """Give what is granted, the current directory included, and the directories to make first."""
    granted: dict[str, Granted] = {}
    create = []
    if not settings.nocwd:
        cwd = _current(settings, host)
        granted[cwd.path] = cwd
    for grant in settings.grants:
        path = host.real(grant.path)
        if path != grant.path:
            _refuse_unsafe_link(grant, host, path)
        found = host.find(path)
        if found is None:
            if grant.suffix == "!":
                create.append(path)
                granted[path] = Granted(path, grant.access == "ro", "directory", host.account.uid, None)
            elif grant.suffix != "?":
                _refuse_missing(grant)
            continue
        granted[path] = _granted(grant, host, path, found)
    for path in granted:
        _refuse_own(path, own)
    return tuple(granted[path] for path in sorted(granted)), tuple(create)


def _current(settings: Settings, host: Host) -> Granted:
    """Grant the current directory.

    Raises: RefusedError where granting it is not what anybody wants.
    """
    cwd, home = host.cwd, host.real(host.home)
    found = host.find(cwd)
    hint = "-D runs without granting the current directory; -D -d DIR grants another"
    if found is None:
        message = f"the current directory {cwd} can not be looked at"
        raise RefusedError(message, hint=hint)
    if cwd == home:
        message = f"the current directory is the home {home}: granting it would protect nothing"
        raise RefusedError(message, hint="go to a project, or run without granting it: -D")
    if any(is_below(cwd, place) for place in (PROC, SYS)):
        message = (
            f"the current directory {cwd} is the kernel's: what is written there acts outside of the jail"
        )
        raise RefusedError(message, hint=hint)
    explicit = any(host.real(grant.path) == cwd for grant in settings.grants)
    if explicit:
        return Granted(cwd, host.readonly(cwd), found.type, found.owner, found.same)
    _refuse_secret(settings, host, cwd)
    if is_below(home, cwd):
        message = f"the current directory {cwd} contains the home: granting it would protect nothing"
        raise RefusedError(message, hint=hint)
    if found.owner != host.account.uid:
        message = f"the current directory {cwd} belongs to another user (uid {found.owner})"
        raise RefusedError(message, hint=hint)
    if any(is_below(cwd, place) for place in SYSTEM) and host.account.uid == 0:
        message = f"the current directory {cwd} is the system's"
        raise RefusedError(message, hint=hint)
    return Granted(cwd, host.readonly(cwd), found.type, found.owner, found.same)


def _refuse_secret(settings: Settings, host: Host, cwd: str) -> None:
    """Refuse to grant what is hidden on purpose just because somebody stands in it."""
    hint = "-D runs without granting it; -D -d . grants it all the same"
    if _holds_sockets(host, cwd):
        message = f"the current directory {cwd} holds the sockets of your session"
        raise RefusedError(message, hint=hint)
    for mask in settings.masks:
        if is_below(cwd, host.real(join(host.real(host.home), mask.path))):
            message = f"the current directory {cwd} is masked ({mask.path})"
            raise RefusedError(message, hint=hint)


def _holds_sockets(host: Host, cwd: str) -> bool:
    """Say whether a directory is the user's runtime directory, or lies in it, where services listen, too.

    The variable may name a shared place such as /tmp: then what lies below is not the session's.
    """
    if is_below(cwd, f"{RUNTIME}/{host.account.uid}"):
        return True
    named = host.real(host.env.get("XDG_RUNTIME_DIR", "") or "/")
    if named == "/" or not is_below(cwd, named):
        return False
    found = host.find(named)
    private = found is not None and not found.mode & 0o077 and not is_below(host.real(host.home), named)
    return cwd == named or private


def _option(grant: Grant) -> str:
    return f"{said(grant.origin)}--{'r' if grant.access == 'ro' else ''}dir {grant.path}"


def _refuse_unsafe_link(grant: Grant, host: Host, path: str) -> None:
    """Refuse a grant through a link that an earlier jail may have made: it could lead anywhere.

    A link is trusted where no jail writes by default: directly in the home, or in a folder of somebody else.
    """
    links, end = host.follow(grant.path)
    for link in links:
        if _jails_write(dirname(link), host):
            message = f"{_option(grant)}: goes through the link {link}, which a jail could have made"
            raise RefusedError(message, hint=f"name what it leads to, if that is what you mean: {path}")
    # A jail that runs may have put a link in place for the first look and taken it away for this one.
    if end != path:
        message = f"{_option(grant)}: changes while jai looks at it"
        raise RefusedError(message, hint="end the program that changes it, then try again")


def _jails_write(folder: str, host: Host) -> bool:
    """Say whether jails could write to a folder, or swap it: it, or one above it, is the user's own.

    The topmost of those lies where no jail writes, so it is what it seems to be.
    """
    while folder not in ("/", host.home, host.real(host.home)):
        found = host.find_link(folder)
        if found and found.owner == host.account.uid:
            return True
        folder = dirname(folder)
    return False


def _refuse_missing(grant: Grant) -> None:
    read_only = grant.access == "ro"
    hint = (
        "--rdir? ignores it when missing"
        if read_only
        else "--dir! makes it first, --dir? ignores it when missing"
    )
    message = f"{_option(grant)}: there is no such directory or file"
    raise RefusedError(message, hint=hint)


def _granted(grant: Grant, host: Host, path: str, found: Found) -> Granted:
    """Check one grant.

    Raises: RefusedError if it can not be granted.
    """
    if path == "/" or any(is_below(path, place) for place in (PROC, SYS)):
        message = f"{_option(grant)}: can not be granted"
        raise RefusedError(message, hint="grant a directory of your own")
    if is_below(path, DEV) or found.type == "device":
        message = f"{_option(grant)}: is a device"
        raise RefusedError(message, hint="--dev makes a device node usable")
    readonly = grant.access == "ro"
    # A socket is reached through its own permissions; who grants one names it on purpose.
    if not readonly and found.type != "socket" and found.owner != host.account.uid:
        message = f"{_option(grant)}: belongs to another user (uid {found.owner})"
        raise RefusedError(message, hint="--rdir grants it read-only")
    return Granted(path, readonly or host.readonly(path), found.type, found.owner, found.same)


def _refuse_own(path: str, own: tuple[str, ...]) -> None:
    for place in own:
        if is_below(path, place):
            message = f"{path} can not be granted: it belongs to jai's own files in {place}"
            raise RefusedError(message, hint="go to another directory, or run without granting it: -D")


def refuse_own_inside(own: tuple[str, ...], grants: tuple[Granted, ...], home: str) -> None:
    """Refuse jai's own files in a directory that jails write to: they say what the next jail may.

    Who grants the whole home insists; there they are covered, and so are the folders on the way pinned.
    """
    for grant in grants:
        for place in own:
            if is_below(place, grant.path) and not grant.readonly and not is_below(home, grant.path):
                message = f"{place}, which says what jails may, lies in the granted directory {grant.path}"
                raise RefusedError(
                    message, hint="keep the configuration and the storage outside of what is granted"
                )
