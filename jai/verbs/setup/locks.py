"""Locks: one --setup at a time, and none while another program changes the accounts."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from jai.errors import HostError
from jai.verbs.setup.files import PART, drop, read
from jai.verbs.setup.messages import doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOCK = "/run/jai-setup.lock"
PATIENCE = 15.0  # seconds, as lckpwdf(3)


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Keep other setups out.  In /run, since a file that everybody may open could be locked by anybody."""
    with doing("the lock of --setup can not be taken"):
        fd = _lock()
    try:
        yield
    finally:
        os.unlink(LOCK)
        os.close(fd)


def _lock() -> int:
    """Lock the file, which whoever is done removes: a lock on a removed file is none."""
    end = time.monotonic() + 8 * PATIENCE
    while True:
        fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.stat(LOCK)):
                return fd
        os.close(fd)
        _wait(end, "another jai --setup is running")


@contextlib.contextmanager
def locked(paths: Sequence[str]) -> Iterator[None]:
    """Keep useradd and its like away from account files.

    Source: lckpwdf(3), and lib/commonio.c of shadow: `FILE.lock` is a link to a file that holds a process id.
    """
    end = time.monotonic() + PATIENCE
    held = []
    fd = os.open("/etc/.pwd.lock", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        while True:
            with contextlib.suppress(BlockingIOError, PermissionError):
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            _wait(end, "another program is changing the accounts (/etc/.pwd.lock)")
        for path in paths:
            while not _link_lock(path):
                _wait(end, f"another program is changing {path} ({path}.lock)")
            held.append(f"{path}.lock")
            drop(path + PART)
        yield
    finally:
        for path in held:
            os.unlink(path)
        os.close(fd)


def _link_lock(path: str) -> bool:
    """Make FILE.lock; one whose process is dead is removed first."""
    own = f"{path}.{os.getpid()}"
    with open(own, "wb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)) as file:
        file.write(b"%d\0" % os.getpid())
    try:
        os.link(own, f"{path}.lock")
    except FileExistsError:
        holder = (read(f"{path}.lock") or b"").rstrip(b"\0\n")
        if holder.isdigit() and not _is_alive(int(holder)):
            os.unlink(f"{path}.lock")
        return False
    finally:
        os.unlink(own)
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _wait(end: float, why: str) -> None:
    if time.monotonic() > end:
        raise HostError(why, hint="try again when it has ended")
    time.sleep(0.05)
