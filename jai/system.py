"""What the start-up path needs of `os`: paths, the bytes of names, the environment.

Importing `os` costs a start 0.8 ms, most of it for the abstract classes of its environment.  The system
calls themselves are in `posix`, of which `os` makes its own; so a module on the start-up path takes those
from there, and these from here.  For strings each answers as its namesake in `os` and `os.path` does.
"""

from __future__ import annotations

import posix
import sys

FORMAT, DIRECTORY = 0o170000, 0o040000  # of st_mode; source: inode(7)
ENCODING, ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


def fsencode(text: str) -> bytes:
    """Give the bytes that a name has for the kernel."""
    return text.encode(ENCODING, ERRORS)


def fsdecode(data: str | bytes) -> str:
    """Give a name of the kernel's as text; `fsencode` gives the same bytes again."""
    return data.decode(ENCODING, ERRORS) if isinstance(data, bytes) else data


def join(directory: str, *names: str) -> str:
    """Put paths together; an absolute one begins anew."""
    path = directory
    for name in names:
        if name.startswith("/"):
            path = name
        else:
            path += name if not path or path.endswith("/") else f"/{name}"
    return path


def dirname(path: str) -> str:
    """Give what comes before the last slash, "" if there is none."""
    head = path[: path.rfind("/") + 1]
    return head.rstrip("/") or head


def basename(path: str) -> str:
    """Give what comes after the last slash."""
    return path[path.rfind("/") + 1 :]


def normpath(path: str) -> str:
    """Leave out empty parts and `.`, and take `..` for the folder above, as if there were no links."""
    root = "/" if path[:1] == "/" else ""  # two mean the same to Linux
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", ".") and not (part == ".." and root and not parts):
            parts.append(part)
    return root + "/".join(parts) or "."


def exists(path: str) -> bool:
    """Say whether there is something at a path, links followed."""
    try:
        posix.stat(path)
    except (OSError, ValueError):
        return False
    return True


def is_directory(path: str) -> bool:
    """Say whether there is a directory at a path, links followed."""
    try:
        return posix.stat(path).st_mode & FORMAT == DIRECTORY
    except (OSError, ValueError):
        return False


def write_whole(fd: int, data: bytes) -> None:
    """Write all of it.

    Raises: OSError, also where a full disk or a limit takes a part only.
    """
    while data:
        data = data[posix.write(fd, data) :]


def variable(name: str) -> str | None:
    """Give a variable of the environment, None if it is not set."""
    value = posix.environ.get(fsencode(name))
    return None if value is None else fsdecode(value)


def set_variable(name: str, value: str) -> None:
    """Set a variable for what this process becomes, and for what it starts."""
    posix.environ[fsencode(name)] = fsencode(value)
    posix.putenv(fsencode(name), fsencode(value))


def take_variable(name: str) -> str | None:
    """Give a variable and take it out of the environment."""
    value = variable(name)
    if value is not None:
        del posix.environ[fsencode(name)]
        posix.unsetenv(fsencode(name))
    return value


def environment() -> dict[str, str]:
    """Give a copy of the environment."""
    return {fsdecode(name): fsdecode(value) for name, value in posix.environ.items()}
