"""What a tree holds: every path with its type, mode, owner, times, attributes and content.

As a script (`python3 manifest.py TREE…`) it prints one JSON object a line. It uses the standard library only,
so that it can be copied to a guest and run there.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import json
import os
import resource
import stat
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Entry = dict[str, Any]

TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}

WORDS = {
    "type": "type",
    "mode": "mode",
    "uid": "owner",
    "gid": "group",
    "size": "size",
    "mtime": "mtime",
    "nlink": "number of hard links",
    "twin": "hard link",
    "xattrs": "extended attributes",
    "target": "link target",
    "rdev": "device number",
    "sha256": "content",
    "error": "readability",
}


class Manifest(dict[str, Entry]):
    """The entries of a tree by their path, which is relative to the tree."""

    def under(self, prefix: str) -> Manifest:
        """The same entries, with their paths below another name."""
        return Manifest({f"{prefix}/{path}": entry for path, entry in self.items()})


def read(tree: str, without: Iterable[str] = ()) -> Manifest:
    """The manifest of a tree, without the named paths and what is below them.

    It follows no link and does go into file systems that are mounted below the tree. A tree that is gone has
    no entries.
    """
    if not os.path.lexists(tree):
        return Manifest()
    left_out = frozenset(without)
    twins: dict[tuple[int, int], str] = {}
    with _deep_trees():
        return Manifest(_entries(tree, left_out, twins))


def diff(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> list[str]:
    """What changed between two manifests, one line each, in people's words."""
    lines = [f"lost: {shown(path)}" for path in before if path not in after]
    lines += [f"new: {shown(path)}" for path in after if path not in before]
    for path, old in before.items():
        new = after.get(path, old)
        if new == old:
            continue
        lines += [_change(path, key, old, new) for key in _keys(old, new) if old.get(key) != new.get(key)]
    return lines


def shown(path: str) -> str:
    """A path as it can be printed on one line, whatever bytes it holds."""
    return path if path.isprintable() else ascii(path)


def _keys(old: Entry, new: Entry) -> list[str]:
    return list(dict.fromkeys([*old, *new]))


def _change(path: str, key: str, old: Entry, new: Entry) -> str:
    word = WORDS.get(key, key)
    if key == "sha256":
        return f"changed {word}: {shown(path)}"
    return f"changed {word}: {shown(path)} (from {old.get(key)!r} to {new.get(key)!r})"


@contextlib.contextmanager
def _deep_trees() -> Iterator[None]:
    """Let the walk hold one descriptor and one frame for each level of a deep tree."""
    limits, depth = resource.getrlimit(resource.RLIMIT_NOFILE), sys.getrecursionlimit()
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    sys.setrecursionlimit(max(depth, 20_000))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        sys.setrecursionlimit(depth)


def _entries(
    tree: str, left_out: frozenset[str], twins: dict[tuple[int, int], str]
) -> Iterator[tuple[str, Entry]]:
    top = os.open(os.path.dirname(os.path.abspath(tree)), os.O_PATH | os.O_DIRECTORY)
    try:
        yield ".", _entry(top, os.path.basename(os.path.abspath(tree)) or ".", ".", twins)
    finally:
        os.close(top)
    unreadable: list[OSError] = []
    for folder, dirs, files, descriptor in os.fwalk(tree, onerror=unreadable.append):
        inside = os.path.relpath(folder, tree) if folder != tree else "."
        kept = {name: os.path.normpath(os.path.join(inside, name)) for name in sorted([*dirs, *files])}
        kept = {name: path for name, path in kept.items() if path not in left_out}
        dirs[:] = [name for name in sorted(dirs) if name in kept]
        for name, path in kept.items():
            yield path, _entry(descriptor, name, path, twins)


def _entry(folder: int, name: str, path: str, twins: dict[tuple[int, int], str]) -> Entry:
    """What is known of one name in an open directory."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    kind = TYPES[stat.S_IFMT(found.st_mode)]
    entry: Entry = {
        "type": kind,
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "uid": found.st_uid,
        "gid": found.st_gid,
        "mtime": found.st_mtime_ns,
        "xattrs": _xattrs(folder, name),
    }
    if kind == "directory":
        return entry | _listable(folder, name)
    entry["nlink"] = found.st_nlink
    if found.st_nlink > 1:
        entry["twin"] = twins.setdefault((found.st_dev, found.st_ino), path)
    if kind == "link":
        entry["target"] = os.readlink(name, dir_fd=folder)
    elif kind.endswith("device"):
        entry["rdev"] = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
    elif kind == "file":
        entry["size"] = found.st_size
        entry |= _content(folder, name)
    return entry


def _listable(folder: int, name: str) -> Entry:
    """Nothing for a directory whose names can be read, else the error: an unread part is no proof."""
    try:
        os.close(os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder))
    except OSError as error:
        return {"error": errno.errorcode[error.errno or 0]}
    return {}


def _xattrs(folder: int, name: str) -> dict[str, str]:
    """The extended attributes in hex. ACLs are among them (system.posix_acl_access)."""
    # There is no listxattrat(2) before Linux 6.13: the magic link stands for the open directory.
    path = f"/proc/self/fd/{folder}/{name}"
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return {attr: os.getxattr(path, attr, follow_symlinks=False).hex() for attr in sorted(names)}
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        return {"error": errno.errorcode[error.errno or 0]}


def _content(folder: int, name: str) -> Entry:
    """The hash of a file's content, or the error that kept it from being read."""
    try:
        # O_NONBLOCK: should the file become a FIFO between the stat and here, do not wait for a writer.
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        return {"sha256": None, "error": errno.errorcode[error.errno or 0]}
    with open(descriptor, "rb", buffering=0) as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def main(arguments: list[str]) -> int:
    """Print the manifest of each tree; `--without PATH` leaves out a path and what is below it."""
    parser = argparse.ArgumentParser(prog="manifest.py", description="print what trees hold, as JSON lines")
    parser.add_argument("--without", action="append", default=[], metavar="PATH")
    parser.add_argument("trees", nargs="+", metavar="TREE")
    asked = parser.parse_args(arguments)
    for tree in asked.trees:
        for path, entry in read(tree, asked.without).items():
            print(json.dumps({"tree": tree, "path": path, **entry}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
