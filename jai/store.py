"""The storage directory: where a jail's changes, home and temporary files live, and how they come to be.

Under the storage: NAME.jail, NAME.home.  Beside them or, where the storage can not hold an overlay's
upper layer, below /var/tmp/jai-UID: NAME.changes, NAME.tmp, and NAME.work with the overlay's work
directory, the lock file and the boot that NAME.tmp belongs to.
"""

from __future__ import annotations

import posix

from jai.errors import HostError, RefusedError
from jai.host import read_bytes
from jai.record import Record
from jai.system import DIRECTORY, FORMAT, basename, exists, fsdecode, is_directory, variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jai.policy import Policy

PRIVATE_MODE = 0o040700  # a directory, for its owner only
ATTEMPTS = 10
PREPARING = "JAI_PREPARING"  # tells a jai that the program of --initjail starts which home that is
BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Layout(Record):
    """The paths of one jail."""

    storage: str
    state: str
    jail_file: str
    changes: str
    work: str
    overlay_work: str
    lock: str
    boot: str
    home: str
    tmp: str


def layout(storage: str, state: str, jail: str, *, strict: bool = False) -> Layout:
    """Give the paths of a jail; `state` is the storage or the local directory that stands in for it."""
    work = f"{state}/{jail}.work"
    return Layout(
        storage=storage,
        state=state,
        jail_file=f"{storage}/{jail}.jail",
        changes=f"{state}/{jail}.changes",
        work=work,
        overlay_work=f"{work}/overlay",
        lock=f"{work}/lock",
        boot=f"{work}/boot",
        # A strict home is id-mapped, which the file systems that can not hold an upper layer refuse as well.
        home=f"{state if strict else storage}/{jail}.home",
        tmp=f"{state}/{jail}.tmp",
    )


def local_state(uid: int) -> str:
    """Give the directory that stands in for a storage that can not carry an overlay."""
    return f"/var/tmp/jai-{uid}"  # noqa: S108 - made with mode 0700, owner and mode verified


def prepare(policy: Policy) -> None:
    """Make what the jail needs on disk and empty its /tmp after a boot.

    Raises: HostError if the storage can not be written, RefusedError if it is somebody else's.
    """
    for attempt in range(ATTEMPTS):
        try:
            _make(policy)
        except OSError as error:
            # A `jai -u` takes away what we have just made.
            if isinstance(error, FileNotFoundError) and attempt + 1 < ATTEMPTS:
                continue
            where = fsdecode(error.filename or policy.layout.state)
            message = f"the jail {policy.jail!r} can not be kept in {policy.layout.state}"
            hint = "choose a directory that can be written with --storage DIR"
            raise HostError(message, detail=f"{where}: {error.strerror}", hint=hint) from None
        return


def _make(policy: Policy) -> None:
    paths = policy.layout
    if paths.state != paths.storage:
        private_directory(paths.state, policy.account.uid)
    fresh = not exists(paths.lock)
    if fresh or not is_directory(paths.overlay_work):
        _make_work(paths)
    _directory(paths.tmp, 0o1777)
    casual = policy.mode == "casual"
    home, mode = (paths.changes, policy.home_mode) if casual else (paths.home, 0o700)
    if variable(PREPARING) == home:
        message = f"the jail {policy.jail!r} is just being prepared by this program"
        raise HostError(message, hint="do here what can be done outside, and the rest in the jail later")
    if not casual:
        _directories(paths.storage)
    if not policy.initjail:
        _directory(home, mode)
    if fresh:
        _make_lock(paths)
    _new_boot(policy)
    if policy.initjail and not exists(home):
        from jai.verbs.init import make_prepared  # noqa: PLC0415 - once per jail

        make_prepared(policy, home, mode)


def open_directory(path: str) -> int:
    """Open a directory of a jail's storage, where it can not be a link to somewhere else."""
    return posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC)


def _make_work(paths: Layout) -> None:
    _directories(paths.state)
    _directory(paths.work, 0o700)
    work = open_directory(paths.work)
    try:
        posix.mkdir(basename(paths.overlay_work), 0o700, dir_fd=work)
    except FileExistsError:
        return
    finally:
        posix.close(work)


def _make_lock(paths: Layout) -> None:
    """Make the lock file last: whoever finds it relies on all the rest being there."""
    work = open_directory(paths.work)
    try:
        flags = posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW
        posix.close(posix.open(basename(paths.lock), flags, 0o600, dir_fd=work))
    finally:
        posix.close(work)


def _directory(path: str, mode: int) -> None:
    """Make one directory with exactly this mode, whatever the umask, unless it is there."""
    try:
        posix.mkdir(path, 0o700)
    except FileExistsError:
        if posix.lstat(path).st_mode & FORMAT != DIRECTORY:
            message = f"{path} is not a directory"
            hint = "jai follows no link there: for another disk move the whole storage, --storage DIR"
            raise RefusedError(message, hint=hint) from None
        return
    made = open_directory(path)
    posix.fchmod(made, mode)
    posix.close(made)


def _directories(path: str) -> None:
    """Make a directory and those above it, where there are none."""
    if not is_directory(path):
        import os  # noqa: PLC0415 - once per jail

        os.makedirs(path, 0o700, exist_ok=True)


def private_directory(path: str, uid: int) -> None:
    """Make or verify a directory in a place that others can write to."""
    try:
        stat = posix.lstat(path)
    except FileNotFoundError:
        _directories(path)
        stat = posix.lstat(path)
    if stat.st_mode != PRIVATE_MODE or stat.st_uid != uid:
        message = f"{path} is not a private directory of yours"
        detail = (
            f"its mode is {stat.st_mode & 0o7777:04o} and its owner {stat.st_uid}; wanted: 0700 and {uid}"
        )
        raise RefusedError(
            message, detail=detail, hint="remove it, or choose another place with --storage DIR"
        )


def _new_boot(policy: Policy) -> None:
    """Empty the private /tmp on the first start after a boot, as a /tmp is."""
    now = read_bytes(BOOT_ID)
    if read_bytes(policy.layout.boot) == now:
        return
    from jai.verbs.unmount import empty_after_boot  # noqa: PLC0415 - once per boot

    empty_after_boot(policy.layout, now)
