"""What the user is told: each thing that is done, and what the kernel refused."""

from __future__ import annotations

import contextlib
import errno
import os

from jai.errors import HostError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """Turn the kernel's refusals into words."""
    try:
        yield
    except OSError as error:
        hint = {
            errno.EROFS: "the file system is read-only: remount it writable for the time of --setup",
            errno.EBUSY: "something is mounted over the file: in a container, make the change outside of it",
        }
        detail = f"{os.fsdecode(error.filename or '')}: {error.strerror}".removeprefix(": ")
        raise HostError(what, detail=detail, hint=hint.get(error.errno or 0, "")) from None


def say(word: str, what: str) -> None:
    """Say what was done."""
    _write(1, f"{word}: {printable(what)}\n")


def warn(what: str) -> None:
    """Say what the user should look at."""
    _write(2, f"jai: {printable(what)}\n")


def _write(fd: int, line: str) -> None:
    # Who does not listen must not stop it half-way.
    with contextlib.suppress(OSError):
        os.write(fd, line.encode("utf-8", "backslashreplace"))
