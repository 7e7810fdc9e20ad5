"""What the jail may: one pure decision from what was asked and what the machine is.

Every refusal lives here, and every path that leaves here is absolute and free of symbolic links.
"""

from __future__ import annotations

from jai.errors import EXIT_NOT_FOUND, HostError, JaiError, RefusedError, UsageError
from jai.grants import DEV, PROC, SYS, Granted, find_grants, is_below, refuse_own_inside, said
from jai.host import HELPER
from jai.protect import Protected, can_be_written, find_protected
from jai.record import Record
from jai.settings import apply_environment
from jai.store import Layout, layout, local_state
from jai.system import basename, dirname, fsencode, join, normpath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from jai.host import Account, Found, Host
    from jai.settings import Settings

# Private in every jail: nothing of the host's shows there but what is listed.
TMP = ("/tmp", "/var/tmp")  # noqa: S108 - the places that the jail replaces
RUN = "/run"

# What name resolution and the system need of /run: the files, not the folders with their sockets.
RUN_FILES = (
    "/run/systemd/resolve/stub-resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/resolvconf/resolv.conf",
    "/run/NetworkManager/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
    "/run/netconfig/resolv.conf",
    "/run/connman/resolv.conf",
    "/run/current-system",
    "/run/booted-system",
    "/run/opengl-driver",
)
RESOLV_CONF = "/etc/resolv.conf"
SSH = "/etc/ssh/ssh_config.d"

# For root as the jailed user: uid 0 may write these without any capability.
ROOT_PROC = tuple(
    f"/proc/{name}"
    for name in (
        "acpi",
        "bus",
        "driver",
        "dynamic_debug",
        "fs",
        "irq",
        "mtrr",
        "scsi",
        "sys",
        "sysrq-trigger",
    )
)

DEVICE_NODES = tuple(f"/dev/{name}" for name in ("full", "null", "random", "tty", "urandom", "zero"))

# Sockets outside of /run that make a member of a group root; a read-only mount does not stop connect(2).
SOCKET_FOLDERS = ("/var/lib/incus", "/var/lib/lxd", "/var/snap/lxd/common/lxd", "/var/run")

# The command of .defaults: without a script it does nothing but run CMD, so bash can be left out.
PLAIN_CODE = '[ -z "$JAI_SCRIPT" ] || . "$JAI_SCRIPT"; "$0" "$@"'
SCRIPT_PLACE = "/dev/shm/jai-script"  # noqa: S108 - the jail's own
SCRIPT_END = '[ -n "${JAI_KEEP_SCRIPT:-}" ] || rm -f -- "$JAI_SCRIPT"\n'

PATH_LIMIT = 4095
KEPT_LIMIT = 64

# Between jai's own processes, or without a meaning inside.
PRIVATE_VARIABLES = (
    "JAI_AFTER",
    "JAI_ATTEMPTS",
    "JAI_CONFIG_DIR",
    "JAI_DEBUG",
    "JAI_ENDED",
    "JAI_FAILED",
    "JAI_IGNORED",
    "JAI_KEEP_FDS",
    "JAI_PREPARING",
    "OLDPWD",
)

LANDLOCK_SCOPES = 6  # the ABI that has them
SCOPE_ALL = 3  # LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL


class Hidden(Record):
    """A path that would show through a grant or the host's tree and must not."""

    path: str
    directory: bool


class Strict(Record):
    """What strict mode adds: the uid and gid that the jail shows for the strict id."""

    uid: int
    gid: int


class Policy(Record):
    """What the jail is and may; nothing is left to be looked up."""

    mode: str
    jail: str
    layout: Layout
    account: Account
    home: str
    home_mode: int
    home_same: tuple[int, int]
    home_noexec: bool
    grants: tuple[Granted, ...]
    masks: tuple[str, ...]
    held_links: tuple[tuple[str, str], ...]
    hidden: tuple[Hidden, ...]
    owns_cgroup: bool
    strict: Strict | None
    helper: str
    mounts_below: tuple[str, ...]
    skeletons: tuple[str, ...]
    pinned: tuple[str, ...]
    protected: tuple[Protected, ...]
    root_proc: tuple[str, ...]
    nodes: tuple[str, ...]
    private_tmp: tuple[str, ...]
    runtime_dir: str
    run_files: tuple[tuple[str, str], ...]
    ssh_files: tuple[tuple[str, str], ...]
    devices: tuple[str, ...]
    terminal: str
    session: bool
    scopes: int
    environment: tuple[tuple[str, str], ...]
    limits: tuple[tuple[str, int], ...]
    keep_fds: tuple[int, ...]
    close_fds: bool
    net: str
    openat2: bool
    cwd: str
    otherwise: str
    command: tuple[str, ...]
    script: str
    initjail: str
    config_dir: str
    create: tuple[str, ...]
    write_mode: bool
    notes: tuple[str, ...]


def decide(settings: Settings, host: Host) -> Policy:
    """Say what the jail may.

    Raises: RefusedError, HostError and UsageError; nothing has been started or made by then.
    """
    _refuse_impossible(settings, host)
    strict = _strict(settings, host) if settings.mode == "strict" else None
    home = host.real(host.home)
    found = _check_home(settings, host, home)
    storage = host.real(settings.storage)
    config = host.real(settings.config_dir)
    _check_storage(settings, host, storage, home)
    _refuse_around(home, config, "the configuration directory", "JAI_CONFIG_DIR")
    state, notes = _state(settings, host, storage)
    grants, create = find_grants(settings, host, (storage, config, state))
    notes += _closed_grants(host, grants) if strict else ()
    refuse_own_inside((storage, config), grants, home)
    casual = settings.mode == "casual" and all(grant.path != home for grant in grants)
    below = _mounts_below(settings, host, home) if casual else ()
    view = View(home, casual, grants, _private_tmp(host), below)
    own = (settings.config_dir, settings.storage, config, storage, state)
    return Policy(
        mode=settings.mode,
        jail=settings.jail,
        layout=layout(storage, state, settings.jail, strict=strict is not None),
        account=host.account,
        strict=strict,
        helper=host.helper() if strict or below else "",
        mounts_below=below,
        home=home,
        home_mode=found.mode,
        home_same=found.same,
        home_noexec=casual and host.noexec(home),
        grants=grants,
        create=create,
        write_mode=not settings.jail_file_exists,
        **_tree(settings, host, view, own),
        **_machine(settings, host, home),
        **_command(settings, host, view, notes),
    )


def _tree(settings: Settings, host: Host, view: View, own: tuple[str, ...]) -> dict[str, Any]:
    """Give the fields that say what of the tree is not simply shown."""
    masks, hidden = _unseen(settings, host, view, own)
    covers = [each.path for each in hidden]
    protected = tuple(
        each
        for each in find_protected(settings, host, view.grants)
        if not any(is_below(each.path, cover) for cover in covers)
    )
    held = [each.path for each in protected if each.pinned]
    return {
        "masks": masks,
        "held_links": _held_links(settings, host, view) if view.tree(view.home) == "overlay" else (),
        "hidden": hidden,
        "protected": (*protected, *_watched_covers(host, view, covers)),
        "pinned": _pinned(view.grants, [view.home, *covers, *held]),
        "private_tmp": view.tmp,
        "skeletons": _skeletons(host, view) if settings.mode == "strict" else (),
    }


def _machine(settings: Settings, host: Host, home: str) -> dict[str, Any]:
    """Give the fields that follow from the machine and the user's session."""
    root = host.account.uid == 0
    return {
        "owns_cgroup": root or host.owns_cgroup(),
        "root_proc": tuple(path for path in ROOT_PROC if root and host.find(path)),
        "nodes": tuple(path for path in DEVICE_NODES if host.find(path)),
        "devices": _devices(settings, host),
        "runtime_dir": _runtime_dir(host, home),
        "run_files": _run_files(host),
        "ssh_files": _ssh_files(host),
        "terminal": host.terminal(),
        "session": not host.controlled(),
        "scopes": SCOPE_ALL if host.landlock() >= LANDLOCK_SCOPES else 0,
    }


def _command(settings: Settings, host: Host, view: View, notes: tuple[str, ...]) -> dict[str, Any]:
    """Give the fields that are about the command itself."""
    script = _read_scripts(settings, host)
    command = settings.command or (host.account.shell,)
    if settings.code and (script or settings.code != PLAIN_CODE):
        command = ("/bin/bash", "-c", settings.code, *command)
    cwd = host.cwd if view.shows(host.cwd) else view.home
    if cwd != host.cwd:
        notes = (*notes, f"the current directory is not in the jail; starting in {view.home}")
    return {
        "cwd": cwd,
        "otherwise": view.home,
        "notes": notes,
        "environment": _environment(settings, host, cwd, view, script),
        "script": script,
        "initjail": _initjail(settings, host),
        "config_dir": settings.config_dir,
        "limits": (*settings.limits, ("core", 0)),
        "keep_fds": _kept(settings, host),
        "close_fds": not settings.keep_all_fds,
        "net": settings.net,
        "openat2": settings.allow == "openat2",
        "command": command,
    }


class View:
    """Which tree a path of the jail belongs to: a grant, the home, a private place, the host's."""

    def __init__(
        self,
        home: str,
        casual: bool,  # noqa: FBT001
        grants: tuple[Granted, ...],
        tmp: tuple[str, ...],
        below: tuple[str, ...],
    ) -> None:
        """Take the places that are not simply the host's."""
        self.home = home
        self.grants = grants
        self.tmp = tmp
        self._trees = dict.fromkeys((*tmp, RUN, DEV, PROC), "private")
        self._trees[home] = "overlay" if casual else "private"
        self._trees.update(dict.fromkeys(below, "host"))
        self._trees.update({grant.path: "grant" for grant in grants})

    def tree(self, path: str) -> str:
        """Say which tree a path belongs to: "grant", "overlay", "private" or "host"."""
        while path not in self._trees:
            parent = dirname(path)
            if parent == path:
                return "host"
            path = parent
        return self._trees[path]

    def writable(self, path: str) -> bool:
        """Say whether files can be made there: in the home's overlay, or in a grant that is not read-only."""
        tree = self.tree(path)
        holders = [grant for grant in self.grants if is_below(path, grant.path)]  # the nearest one last
        return tree == "overlay" or (tree == "grant" and not holders[-1].readonly)

    def shows(self, path: str) -> bool:
        """Say whether what is at the path outside is there inside."""
        return path == self.home or path in self._trees or self.tree(path) != "private"


def _refuse_impossible(settings: Settings, host: Host) -> None:
    if settings.command and not settings.command[0]:
        message = "the command is an empty word"
        raise JaiError(message, hint="jai CMD [ARG...]", status=EXIT_NOT_FOUND)
    if max(map(len, (fsencode(host.cwd), fsencode(host.home)))) > PATH_LIMIT:
        message = "the path of the current directory is too long for the kernel's calls (4095 bytes)"
        raise RefusedError(message, hint="cd to a directory with a shorter path")
    for fd in host.open_directories():
        name = ("standard input", "standard output", "standard error")[fd]
        message = f"{name} is a directory: through it the command would reach the real files"
        raise RefusedError(message, hint="redirect it from or to a file")


def _strict(settings: Settings, host: Host) -> Strict:
    jailed, helper = host.user("jai"), host.helper()
    if jailed is None and helper not in ("", HELPER):
        message = "a strict jail needs the user jai, who does not exist yet"
        raise HostError(message, hint="root's first strict jail makes it: run the command without --plan")
    if jailed is None or not helper:
        message = f"the jail {settings.jail!r} is strict, and strict mode has not been set up"
        hint = "once: sudo jai --setup; or choose a mode that needs no root: -m casual, -m bare"
        raise HostError(message, hint=hint)
    # The helper maps both to one number; the jail has a group file that says so.
    return Strict(jailed.uid, jailed.uid)


def _skeletons(host: Host, view: View) -> tuple[str, ...]:
    """Give the directories that the strict id could not pass on its way to a grant or the home.

    Such a directory is replaced by one that leads on and shows nothing else.
    """
    found = set()
    for path in (view.home, *(grant.path for grant in view.grants)):
        parts = path.split("/")[1:-1]
        for count in range(1, len(parts) + 1):
            parent = "/" + "/".join(parts[:count])
            at = host.find(parent)
            if view.tree(parent) != "host":
                break
            if at and not at.mode & 0o001:
                found.add(parent)
                break
    return tuple(sorted(found))


def _closed_grants(host: Host, grants: tuple[Granted, ...]) -> tuple[str, ...]:
    """Say which grants strict mode can not write to: the map has one group, the user's own."""
    own = host.account
    groups = {
        grant.path: found.group
        for grant in grants
        if not grant.readonly and grant.owner == own.uid and (found := host.find(grant.path))
    }
    return tuple(
        f"{path} is of the group {group}, not of your own ({own.gid}), so strict mode can not write to it:"
        " chgrp it, or use -m bare"
        for path, group in groups.items()
        if group not in (-1, own.gid)
    )


def _check_home(settings: Settings, host: Host, home: str) -> Found:
    found = host.find(home)
    if not host.home.startswith("/") or found is None or found.type != "directory":
        message = f"the home {host.home} is not a directory"
        raise HostError(message, hint="set HOME to the home directory")
    if home == "/" or any(home == place for place in (*TMP, RUN, DEV, PROC, SYS)):
        message = f"the home is {home}: there is nothing to put in its place"
        raise RefusedError(message, hint="set HOME to a directory of your own")
    if settings.mode == "casual" and found.owner != host.account.uid:
        message = f"the home {home} belongs to another user (uid {found.owner})"
        raise RefusedError(message, hint="set HOME to a directory of your own, or use -m bare")
    return found


def _check_storage(settings: Settings, host: Host, storage: str, home: str) -> None:
    found = host.find(storage)
    origin = said(settings.storage_origin)
    if found and found.type != "directory":
        message = f"{origin}the storage {storage} is not a directory"
        raise RefusedError(message, hint="choose a directory with --storage DIR")
    if found and found.owner != host.account.uid:
        message = f"{origin}the storage {storage} belongs to another user (uid {found.owner})"
        raise RefusedError(message, hint="choose a directory of your own with --storage DIR")
    _refuse_around(home, storage, f"{origin}the storage", "--storage DIR")


def _refuse_around(home: str, path: str, what: str, option: str) -> None:
    if is_below(home, path):
        message = f"{what} {path} contains the home: hiding the one would hide the other"
        raise RefusedError(message, hint=f"choose a directory of its own with {option}")


def _state(settings: Settings, host: Host, storage: str) -> tuple[str, tuple[str, ...]]:
    """Say where the run-time state lives, and what to tell the user about it."""
    unfit = host.unfit_for_upper(storage)
    if not unfit:
        return storage, ()
    local = local_state(host.account.uid)
    if settings.mode != "bare" and (also := host.unfit_for_upper(local)):
        message = f"neither {storage} ({unfit}) nor {local} ({also}) can keep what the jail changes"
        hint = "choose a directory on a local file system with --storage DIR, or use -m bare"
        raise HostError(message, hint=hint)
    if host.find_link(local):
        return local, ()
    note = (
        f"{storage} is on {unfit}: changes are kept in {local} (choose another place with the option storage)"
    )
    return local, (note,)


def _mounts_below(settings: Settings, host: Host, home: str) -> tuple[str, ...]:
    """Give what is mounted below the home and is shown read-only at its place, unless it is masked.

    The kernel lets no user uncover what a mount hides, and so makes no overlay over such a home: it takes the
    helper, which clones the home without them.
    """
    below = host.mounts_below(home)
    if below and not host.helper():
        names = ", ".join(below[:3]) + (f" and {len(below) - 3} more" if len(below) > 3 else "")  # noqa: PLR2004
        message = f"something is mounted below the home: {names}"
        detail = "the kernel refuses an overlay over it to a user without privileges (EINVAL)"
        raise HostError(message, detail=detail, hint="once: sudo jai --setup; or unmount it, or use -m bare")
    masked = [join(home, mask.path) for mask in settings.masks]
    shown = [path for path in below if not any(is_below(path, mask) for mask in masked)]
    return tuple(path for path in shown if not any(path != top and is_below(path, top) for top in shown))


def _watched_covers(host: Host, view: View, covers: list[str]) -> Iterator[Protected]:
    """Give what is covered in a grant, so that it is told if it is moved away.

    Its change time is no matter: jai itself makes files in its storage.
    """
    for path in covers:
        found = host.find_link(path)
        if found and can_be_written(path, view.grants):
            yield Protected(path, found.same, 0, pinned=False)


def _pinned(grants: tuple[Granted, ...], inside: list[str]) -> tuple[str, ...]:
    """Give the directories between a writable grant and what is mounted below it.

    A mount point itself can not be renamed where it is one, but a folder above it can, and the next run
    would find what was covered under another name.  Bound onto itself such a folder is a mount point too.
    """
    tops = {grant.path for grant in grants if not grant.readonly}
    mounted = {*(grant.path for grant in grants), *inside}
    found = set()
    for path in mounted:
        between: list[str] = []
        while (path := dirname(path)) not in ("/", ""):
            if path in tops:
                found.update(between)
                break
            between.append(path)
    return tuple(sorted(found - mounted))


def _private_tmp(host: Host) -> tuple[str, ...]:
    """Give the places of /tmp and /var/tmp; one may be a link to the other."""
    return tuple(sorted({place for place in map(host.real, TMP) if host.find(place)}))


def _unseen(
    settings: Settings, host: Host, view: View, own: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[Hidden, ...]]:
    """Give what the overlay leaves out (relative to the home) and what must be covered elsewhere.

    A mask holds for the real place of what it names too, and below a grant that is wider than it;
    a grant of the masked thing itself or of something in it is on purpose.
    """
    wanted = [] if settings.mode != "casual" else [join(view.home, mask.path) for mask in settings.masks]
    masks: dict[str, None] = {}
    hidden: dict[str, Hidden] = {}
    others = host.other_views(view.home)
    for path in SOCKET_FOLDERS:
        found = host.find_link(path)
        if found and found.type == "directory" and view.tree(path) == "host":
            hidden[path] = Hidden(path, directory=True)
    for path, ours in [*((path, False) for path in wanted), *((path, True) for path in own)]:
        for place in _places(host, path, view.home, others):
            tree = view.tree(place)
            if tree == "overlay" and is_below(place, view.home):
                masks[_below(place, view.home)] = None
            elif tree in ("host", "grant") and (ours or view.tree(dirname(place)) == tree):
                found = host.find_link(place)
                if found is None and ours:  # made before the command starts
                    hidden[place] = Hidden(place, directory=True)
                elif found and found.type != "link":
                    hidden[place] = Hidden(place, found.type == "directory")
    return tuple(masks), tuple(hidden[place] for place in sorted(hidden))


def _held_links(settings: Settings, host: Host, view: View) -> tuple[tuple[str, str], ...]:
    """Give the links on the way to what is masked, relative to the home, and where each leads.

    They stay so in the jail: else a directory that takes such a link's place outside would show there what
    the mask names.
    """
    found: dict[str, str] = {}
    for folder in dict.fromkeys(dirname(join(view.home, mask.path)) for mask in settings.masks):
        path = folder
        while path != view.home and is_below(path, view.home):
            place, real = join(host.real(dirname(path)), basename(path)), host.real(path)
            if place != real and is_below(place, view.home) and view.tree(place) == "overlay":
                found[_below(place, view.home)] = real
            path = dirname(path)
    return tuple(sorted(found.items()))


def _places(host: Host, path: str, home: str, others: tuple[str, ...]) -> tuple[str, ...]:
    """Give where the thing at a path is seen.

    That is the path with its parents' links followed; where it leads if it is a link itself; and, if it
    is in the home, the same below each `other` mount that shows the home too.
    """
    real = host.real(path)
    place = real
    if real != path:
        place = join(host.real(dirname(path)), basename(path))
    again = [join(other, _below(real, home)) for other in others if is_below(real, home)]
    return tuple(dict.fromkeys((place, real, *again)))


def _below(path: str, directory: str) -> str:
    return path[len(directory) :].lstrip("/")


def _runtime_dir(host: Host, home: str) -> str:
    """Give the place of the private runtime directory, "" if the user has none."""
    path = host.env.get("XDG_RUNTIME_DIR", "")
    if not path.startswith("/"):
        return ""
    path = host.real(normpath(path))
    found = host.find(path)
    if found is None or found.type != "directory" or found.owner != host.account.uid:
        return ""
    return "" if is_below(home, path) or is_below(host.cwd, path) else path


def _run_files(host: Host) -> tuple[tuple[str, str], ...]:
    """Give (path, real source) of what of /run is shown."""
    found = {}
    resolv = host.real(RESOLV_CONF)
    for path in (*RUN_FILES, *([resolv] if is_below(resolv, RUN) else [])):
        at = host.find(path)
        if at and at.type in ("file", "directory"):
            found[path] = host.real(path)
    return tuple(sorted(found.items()))


def _ssh_files(host: Host) -> tuple[tuple[str, str], ...]:
    """Give (path, content) of what ssh would not trust as nobody's; root's files stay root's for root."""
    if host.account.uid == 0 or not host.names(SSH):
        return ()
    from jai.ssh import find_copies  # noqa: PLC0415 - many machines have no such files

    return find_copies(host, SSH)


def _devices(settings: Settings, host: Host) -> tuple[str, ...]:
    devices = []
    for device in settings.devs:
        path = host.real(device.path)
        found = host.find(path)
        if (
            found is None
            or found.type not in ("device", "directory")
            or not is_below(path, DEV)
            or path == DEV
        ):
            message = f"{said(device.origin)}--dev {device.path}: is not a device node"
            raise RefusedError(message, hint="name a node or a directory of nodes below /dev")
        devices.append(path)
    return tuple(sorted(set(devices)))


def _kept(settings: Settings, host: Host) -> tuple[int, ...]:
    if len(settings.keep_fds) > KEPT_LIMIT:
        message = f"--keep-fd: at most {KEPT_LIMIT} descriptors can be kept"
        raise UsageError(message, hint="JAI_KEEP_FDS=1 lets all of them through")
    for fd in settings.keep_fds:
        if not host.is_open(fd):
            message = f"--keep-fd {fd}: the descriptor is not open"
            raise UsageError(message, hint=f"open it before: jai --keep-fd {fd} CMD {fd}<FILE")
    return tuple(fd for fd in settings.keep_fds if fd > 2)  # noqa: PLR2004 - the standard three stay


def _read_scripts(settings: Settings, host: Host) -> str:
    """Put the script files together; one that has nothing but comments counts for nothing."""
    parts = []
    for script in settings.scripts:
        text = host.text(script.path)
        if text is None and not script.optional:
            message = f"{said(script.origin)}--script {script.path}: can not be read"
            raise RefusedError(message, hint="--script? ignores it when missing")
        lines = (line.strip() for line in (text or "").splitlines())
        if any(line and not line.startswith("#") for line in lines):
            parts.append(text or "")
    if any("\0" in part for part in parts):
        message = "a --script file has a NUL byte in it"
        raise RefusedError(message, hint="it must be bash code")
    return "\n".join([*parts, SCRIPT_END]) if parts else ""


def _initjail(settings: Settings, host: Host) -> str:
    """Give the program that prepares a new jail, "" if there is none."""
    wanted = settings.initjail
    if wanted is None:
        return ""
    found = host.find(wanted.path)
    if found and found.type == "file" and found.mode & 0o111:
        return wanted.path
    if found is None and wanted.optional:
        return ""
    message = f"{said(wanted.origin)}--initjail {wanted.path}: is not a program"
    raise RefusedError(message, hint="chmod +x it; --initjail? ignores it when missing")


def _environment(
    settings: Settings, host: Host, cwd: str, view: View, script: str
) -> tuple[tuple[str, str], ...]:
    """Give the command's whole environment in the order of its names."""
    account = host.account
    outside = {**host.env, "USER": account.name, "LOGNAME": account.name, "HOME": host.home}
    inside = apply_environment(settings, outside)
    for name in PRIVATE_VARIABLES:
        inside.pop(name, None)
    tmpdir = host.real(normpath(inside.get("TMPDIR", "") or "/"))
    if tmpdir not in view.tmp and not view.writable(tmpdir):
        inside.pop("TMPDIR", None)
    inside.pop("JAI_SCRIPT", None)
    if script:
        inside["JAI_SCRIPT"] = SCRIPT_PLACE
    inside.update(JAI_MODE=settings.mode, JAI_JAIL=settings.jail, JAI_USER=account.name, PWD=cwd)
    return tuple(sorted(inside.items()))
