"""The directory for what the probes make; it goes again, with all traces of it."""

from __future__ import annotations

import fcntl
import os
import time

from jai.store import layout, local_state
from jai.verbs.doctor.system_calls import errno_of
from jai.verbs.unmount import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jai.verbs.doctor.records import Patient

SETTLE_LIMIT = 5  # seconds
MODES = ("casual", "bare", "strict")


def make_scratch(patient: Patient) -> None:
    """Make it, and a place for a configuration in it."""
    os.mkdir(patient.scratch, 0o700)
    os.mkdir(f"{patient.scratch}/config", 0o700)


def look(place: str) -> list[object]:
    """Give the times and the names of a directory."""
    found = os.stat(place)
    return [found.st_atime_ns, found.st_mtime_ns, sorted(os.listdir(place))]


def clean(patient: Patient) -> bool:
    """Remove what the probes made, once no jail of theirs is on its way out."""
    settle(patient)
    place, local = os.path.dirname(patient.scratch), local_state(patient.uid)
    for directory in (place, local):
        names = os.listdir(directory) if os.path.isdir(directory) else []
        for name in names:
            if name.lstrip(".").startswith(patient.jail):
                remove_tree(f"{directory}/{name}")
    if patient.local_is_ours and os.path.isdir(local) and not os.listdir(local):
        os.rmdir(local)
    if patient.before and look(place)[2] == patient.before[2]:
        times = patient.before[:2]
        errno_of(lambda: os.utime(place, ns=(times[0], times[1])))  # type: ignore[arg-type]
    return True


def settle(patient: Patient) -> None:
    """Wait until the jails of the probes have been taken down: until nobody locks any byte."""
    deadline = time.monotonic() + SETTLE_LIMIT
    for state in (patient.scratch, local_state(patient.uid)):
        for mode in MODES:
            path = layout(patient.scratch, state, f"{patient.jail}-{mode}").lock
            while os.path.exists(path) and time.monotonic() < deadline and _is_locked(path):
                time.sleep(0.01)


def _is_locked(path: str) -> bool:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False
