"""Throws away the run-time state of jails: `jai -u`, and /tmp after a boot."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sys
import time

from jai.errors import HostError, RefusedError
from jai.host import FORMAT
from jai.sealed import FOLDER
from jai.store import PREPARING, layout, local_state, open_directory, private_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Self

    from jai.host import Host
    from jai.settings import Settings
    from jai.store import Layout

# The two bytes of core/namespaces.c.
STARTING = 0
ALIVE = 1

GONE = ".gone-"

DIRECTORY = 0o040000

# Seconds: a jail that has just ended is still being taken down, which takes as long as a sync.
PATIENCE = 2.0


class JailLock:
    """The start lock of a jail: while it is held no run of the jail starts or leaves."""

    def __init__(self, path: str) -> None:
        """Open the lock file; nothing is locked yet."""
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def __enter__(self) -> Self:
        """Wait for runs that are starting or leaving."""
        fcntl.lockf(self.fd, fcntl.LOCK_EX, 1, STARTING)
        return self

    def __exit__(self, *_unused: object) -> None:
        """Let runs start again: closing releases a record lock."""
        os.close(self.fd)

    def holders(self) -> list[int]:
        """List the processes that keep the jail alive.  Source: proc(5), /proc/locks."""
        stat = os.fstat(self.fd)
        place = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
        found = []
        with open("/proc/locks", encoding="ascii", errors="replace") as locks:
            for line in locks:
                fields = line.split()
                if "->" not in fields and fields[5] == place and fields[6] == str(ALIVE):
                    found.append(int(fields[4]))
        return sorted(found)

    def is_there(self, path: str) -> bool:
        """Say whether the lock file is still the one at its path."""
        try:
            return os.path.samestat(os.fstat(self.fd), os.stat(path))
        except OSError:
            return False

    def is_alive(self) -> bool:
        """Say whether any run of the jail lives."""
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, ALIVE)
        except OSError:
            return True
        fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, ALIVE)
        return False


def empty_after_boot(paths: Layout, boot_id: bytes) -> None:
    """Empty the private /tmp and remember the boot, unless another start has just done so."""
    with JailLock(paths.lock) as lock:
        if lock.is_alive() or not lock.is_there(paths.lock):
            return
        work, tmp = open_directory(paths.work), open_directory(paths.tmp)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        name = os.path.basename(paths.boot)
        with open(os.open(name, flags, 0o600, dir_fd=work), "r+b") as boot:
            if boot.read() != boot_id:
                _empty(tmp)
                boot.seek(0)
                boot.truncate()
                boot.write(boot_id)
        os.close(work)
        os.close(tmp)


def remove_tree(path: str) -> None:
    """Remove a file or a whole tree, also what its owner made unwritable; links are not followed.

    However deep the tree is, two descriptors and no recursion do: a directory found inside is moved to the
    top before it is looked into.
    """
    if not _is_directory(path):
        os.unlink(path)
        return
    os.chmod(path, 0o700)
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _empty(top)
    finally:
        os.close(top)
    os.rmdir(path)


def _empty(top: int) -> None:
    while names := os.listdir(top):
        for name in names:
            _remove_or_open_up(top, name)


def _is_directory(name: str, dir_fd: int | None = None) -> bool:
    return os.lstat(name, dir_fd=dir_fd).st_mode & FORMAT == DIRECTORY


def _remove_or_open_up(top: int, name: str) -> None:
    """Remove one entry of the top, moving what a directory contains up beside it."""
    if not _is_directory(name, top):
        os.unlink(name, dir_fd=top)
        return
    os.chmod(name, 0o700, dir_fd=top)
    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
    try:
        for child in os.listdir(inner):
            if _is_directory(child, inner):
                os.chmod(child, 0o700, dir_fd=inner)
                os.rename(child, secrets.token_hex(16), src_dir_fd=inner, dst_dir_fd=top)
            else:
                os.unlink(child, dir_fd=inner)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=top)


def unmount(settings: Settings, host: Host, *, everything: bool) -> int:
    """Remove the run-time state of the named jail or of all; what they changed and their homes stay.

    Raises: RefusedError while one of them runs.
    """
    if PREPARING in os.environ:
        message = "a jail is just being prepared by this program"
        raise RefusedError(message, hint="let it end first")
    local = local_state(host.account.uid)
    if os.path.lexists(local):
        private_directory(local, host.account.uid)
    states = (host.real(settings.storage), local)
    found = [
        (state, name) for state in states for name in _jails(state) if everything or name == settings.jail
    ]
    _refuse_running([(name, layout(settings.storage, state, name)) for state, name in found])
    plans = f"{settings.config_dir}/{FOLDER}"
    if os.path.isdir(plans):
        remove_tree(plans)
    for state in states:
        try:
            _remove_forgotten(state)
        except OSError as error:
            raise _not_removed(state, error) from None
    for state, name in found:
        _clean(layout(settings.storage, state, name))
        if settings.verbose:
            sys.stderr.write(f"jai: removed the run-time state of the jail {name!r} in {state}\n")
    return 0


def _jails(state: str) -> list[str]:
    try:
        names = os.listdir(state)
    except OSError:
        return []
    endings = (".work", ".tmp")
    return sorted(
        {name.rsplit(".", 1)[0] for name in names if name.endswith(endings) and not name.startswith(".")}
    )


def _refuse_running(found: list[tuple[str, Layout]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while running := {name: pids for name, paths in found if (pids := _running(paths))}:
        if time.monotonic() > deadline:
            names = "; ".join(
                f"{name!r}: {', '.join(map(str, pids))}" for name, pids in sorted(running.items())
            )
            message = f"a jail is running ({names})"
            raise RefusedError(message, hint="end these processes first")
        time.sleep(0.05)


def _remove_forgotten(state: str) -> None:
    """Remove what a `jai -u` had put aside that was killed before it could."""
    names = os.listdir(state) if os.path.isdir(state) else []
    for name in names:
        pid = name[len(GONE) :].partition("-")[0]
        if name.startswith(GONE) and not os.path.exists(f"/proc/{pid}"):
            with contextlib.suppress(FileNotFoundError):  # another one is at it
                remove_tree(os.path.join(state, name))


def _running(paths: Layout) -> list[int]:
    if not os.path.exists(paths.lock):
        return []
    try:
        lock = JailLock(paths.lock)
    except FileNotFoundError:
        return []
    with lock:
        return lock.holders() or ([0] if lock.is_alive() else [])


def _clean(paths: Layout) -> None:
    """Remove tmp and work; under the lock, so that a run that starts meanwhile makes them anew."""
    gone = f"{paths.state}/{GONE}{os.getpid()}"
    try:
        # Never make one: a run that finds a lock file relies on all the rest being there.
        if not os.path.exists(paths.lock):
            return
        with JailLock(paths.lock) as lock:
            if lock.is_alive() or not lock.is_there(paths.lock):
                message = "a jail was started meanwhile"
                raise RefusedError(message, hint="try again")
            # Whole, in one moment: who starts now makes both anew, who waits for the lock finds it gone.
            for number, path in enumerate((paths.work, paths.tmp)):
                if os.path.lexists(path):
                    os.rename(path, f"{gone}-{number}")
        for name in os.listdir(paths.state):
            if name.startswith(f"{GONE}{os.getpid()}-"):
                remove_tree(os.path.join(paths.state, name))
    except OSError as error:
        raise _not_removed(paths.state, error) from None


def _not_removed(state: str, error: OSError) -> HostError:
    message = f"the run-time state in {state} can not be removed"
    detail = f"{os.fsdecode(error.filename or '')}: {error.strerror}"
    return HostError(message, detail=detail, hint="look at who owns it")
