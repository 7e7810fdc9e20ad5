"""Directories kept in memory, and put back as they were.

No program has to be started for it, and there is no copy on a disk that a wrecker could reach.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import stat
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Marks = dict[str, list[tuple[str, int, int]]]  # path, inode and ctime, by the first part of the path
OWNERS = ("user.", "system.posix_acl_")  # the attributes that a file's owner may set


@dataclass(frozen=True)
class Kept:
    """One name of a tree, with everything that its owner can give it again."""

    path: str
    mode: int
    mtime: int
    xattrs: dict[str, bytes]
    content: bytes  # of a file, or a link's target
    size: int
    twin: str  # an earlier name of the same file


@dataclass
class Tree:
    """A directory as it was when it was taken; `seen_at` is where whoever judges sees it."""

    path: str
    seen_at: str
    kept: list[Kept]
    marks: Marks

    def changed(self) -> set[str]:
        """The names in the directory below which anything was touched since; nobody can set a ctime back."""
        now = marks(self.seen_at)
        names = {name for name in now.keys() | self.marks.keys() if now.get(name) != self.marks.get(name)}
        linked = {_top(path) for one in self.kept if one.twin != one.path for path in (one.path, one.twin)}
        return names | linked if names & linked else names

    def put_back(self, changed: set[str]) -> None:
        """Make everything below these names as it was."""
        os.chmod(self.path, 0o700)
        for name in changed & set(os.listdir(self.path)):
            _remove(os.path.join(self.path, name))
        made = [one for one in self.kept[1:] if _top(one.path) in changed]
        for one in made:
            _make(self.path, one)
        for one in [*reversed(made), self.kept[0]]:
            _finish(os.path.join(self.path, one.path), one)


def take(path: str, seen_at: str = "") -> Tree:
    """Keep everything in a directory, itself first."""
    tree = seen_at or path
    twins: dict[tuple[int, int], str] = {}
    kept = [_kept(tree, inside, twins) for inside in (".", *_below(tree, ""))]
    return Tree(path, tree, kept, marks(tree))


def put_back(trees: list[Tree], user: str) -> None:
    """Make directories as they were when they were taken, as a user, or as who we are; else OSError."""
    changed = [tree.changed() for tree in trees]

    def work() -> None:
        for tree, names in zip(trees, changed):
            tree.put_back(names)

    as_user(user, work)
    for tree in trees:
        tree.marks = marks(tree.seen_at)


def marks(tree: str) -> Marks:
    """Of each name in a directory what tells whether anything below it was touched."""
    if not stat.S_ISDIR(os.lstat(tree).st_mode):
        raise NotADirectoryError(tree)
    found: Marks = {}
    for path in _below(tree, ""):
        its = os.lstat(os.path.join(tree, path))
        found.setdefault(_top(path), []).append((path, its.st_ino, its.st_ctime_ns))
    return found


def _top(path: str) -> str:
    return path.partition("/")[0]


def _below(tree: str, inside: str) -> Iterator[str]:
    folder = os.path.join(tree, inside)
    with _readable(folder):
        names = sorted(os.listdir(folder))
    for name in names:
        path = os.path.join(inside, name)
        yield path
        if stat.S_ISDIR(os.lstat(os.path.join(tree, path)).st_mode):
            yield from _below(tree, path)


def _kept(tree: str, path: str, twins: dict[tuple[int, int], str]) -> Kept:
    full = os.path.join(tree, path)
    found = os.lstat(full)
    names = [name for name in os.listxattr(full, follow_symlinks=False) if name.startswith(OWNERS)]
    xattrs = {name: os.getxattr(full, name, follow_symlinks=False) for name in names}
    content, twin = b"", path
    if stat.S_ISLNK(found.st_mode):
        content = os.fsencode(os.readlink(full))
    elif stat.S_ISREG(found.st_mode):
        with _readable(full), open(full, "rb") as file:
            content = file.read()
        twin = twins.setdefault((found.st_dev, found.st_ino), path)
    return Kept(path, found.st_mode, found.st_mtime_ns, xattrs, content, found.st_size, twin)


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    """Let an owner who has closed a thing look at it for a moment."""
    if os.access(path, os.R_OK):
        yield
        return
    mode = stat.S_IMODE(os.lstat(path).st_mode)
    os.chmod(path, mode | 0o700)
    yield
    os.chmod(path, mode)


def _remove(path: str) -> None:
    """Remove a name and all below it, whatever the modes are that its owner gave it."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        os.unlink(path)
        return
    os.chmod(path, 0o700)
    for name in os.listdir(path):
        _remove(os.path.join(path, name))
    os.rmdir(path)


def _make(tree: str, one: Kept) -> None:
    full = os.path.join(tree, one.path)
    if one.twin != one.path:
        os.link(os.path.join(tree, one.twin), full)
    elif stat.S_ISDIR(one.mode):
        os.mkdir(full, 0o700)
    elif stat.S_ISLNK(one.mode):
        os.symlink(os.fsdecode(one.content), full)
    elif stat.S_ISREG(one.mode):
        with open(full, "xb") as file:
            file.write(one.content.rstrip(b"\0"))  # holes stay holes
            file.truncate(one.size)
    elif stat.S_ISSOCK(one.mode):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(full)
    else:
        os.mknod(full, one.mode)


def _finish(full: str, one: Kept) -> None:
    if not stat.S_ISLNK(one.mode):
        for name, value in one.xattrs.items():
            os.setxattr(full, name, value)
        os.chmod(full, stat.S_IMODE(one.mode))
    os.utime(full, ns=(one.mtime, one.mtime), follow_symlinks=False)


def become(name: str) -> None:
    """Let this process be a user, for good."""
    user = pwd.getpwnam(name)
    os.initgroups(name, user.pw_gid)
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)


def as_user(name: str, work: Callable[[], object]) -> None:
    """Do something in a child that has become a user, or is one; OSError if it does not come to its end."""
    child = os.fork()
    if not child:
        try:
            if name:
                become(name)
            work()
            os._exit(0)
        except Exception:  # noqa: BLE001 - nothing of the parent's may run in the child
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        message = f"what was kept could not be put back by {name or 'us'}"
        raise OSError(message)
