"""What is made once and kept: the userland and the kernels of the guests."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHARED = 86400  # seconds that a thing stays after another checkout has made its own


def place() -> Path:
    """The directory of the cache: $JAI_CACHE, or below the user's own."""
    user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(os.environ.get("JAI_CACHE") or f"{user}/jai-conformance")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def key(*parts: object) -> str:
    """A short name for everything that something is made from."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def kept(name: str, made_from: str, make: Callable[[Path], None], *, days: float = 0) -> Path:
    """The directory `name` of the cache, filled by `make` if it is missing, of other origin, or too old.

    What has only become too old serves on if it can not be made anew: the machine may be offline.
    """
    usable = place() / f"{name}@{made_from}"
    with _locked(name):
        if usable.exists() and (not days or time.time() - usable.stat().st_mtime < days * 86400):
            return usable
        try:
            return _make(name, made_from, make)
        except subprocess.CalledProcessError as error:
            if not usable.exists():
                raise
            print(f"jai: {name} can not be renewed and stays as it is: {error}", file=sys.stderr)
            os.utime(usable)
            return usable


def _make(name: str, made_from: str, make: Callable[[Path], None]) -> Path:
    """Make a directory beside its place and put it there when it is whole; remove what was interrupted."""
    for left in place().glob(f".{name}-*"):
        shutil.rmtree(left)
    print(f"jai: making {name}, which is kept in {place()}", file=sys.stderr)
    final = place() / f"{name}@{made_from}"
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=place()) as scratch:
        new = Path(scratch, "new")
        new.mkdir()
        make(new)
        for old in place().glob(f"{name}@*"):
            if time.time() - old.stat().st_mtime > SHARED:  # or guests of another checkout may stand on it
                shutil.rmtree(old)
        new.rename(final)
    return final


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    """Let only one process make a thing; the lock ends with the process."""
    with open(place() / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
