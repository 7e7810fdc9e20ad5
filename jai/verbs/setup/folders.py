"""The folders of the helper, which only root can write to."""

from __future__ import annotations

import errno
import os
import shutil
import stat

from jai.errors import HostError, RefusedError
from jai.host import HELPER
from jai.verbs.setup.apparmor import PROFILE
from jai.verbs.setup.book import BOOK, FOLDER
from jai.verbs.setup.files import PART, drop, ways
from jai.verbs.setup.messages import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from jai.verbs.setup.book import Book, Undo


def make_folders(book: Book, undo: Undo) -> None:
    """Make the folders of the helper; no user may be able to write to any on the way to them."""
    there = list(ways(FOLDER))
    for path in there:
        _refuse_writable(path)
    if os.statvfs(there[-1]).f_flag & (os.ST_NOSUID | os.ST_NOEXEC):
        message = f"{there[-1]} is mounted nosuid or noexec, so a helper in it would have no effect"
        raise HostError(message, hint=f"remount the file system of {there[-1]} with suid,exec")
    missing = [path for path in _parents(FOLDER) if not os.path.lexists(path)]
    if not missing:
        say("already there", FOLDER)
        return
    undo.append((FOLDER, lambda: _undo_folders(book, missing)))
    drop_parts()
    top = missing[0]
    for path in missing:
        place = path.replace(top, top + PART, 1)
        os.mkdir(place, 0o755)
        # A set-gid parent gives its group and bit away.
        os.chown(place, 0, 0)
        os.chmod(place, 0o755)  # noqa: S103 - everybody may start the helper
    book.folders += missing
    # They come to be with the book in them, so it is never unknown whose they are.
    book.save(BOOK.replace(top, top + PART, 1))
    os.rename(top + PART, top)
    say("done", f"{FOLDER}, which only root can write to")


def _refuse_writable(path: str) -> None:
    found = os.stat(path)
    if found.st_uid != 0 or found.st_mode & 0o022 or not stat.S_ISDIR(found.st_mode):
        message = f"{path} is not root's alone to write to, so the helper would not be safe in {FOLDER}"
        # In a user namespace without the real root nothing is root's.
        hint = "in a container, set jai up outside of it" if path == "/" else ""
        raise RefusedError(message, hint=hint or f"sudo chown root {path}; sudo chmod go-w {path}")


def _parents(path: str) -> list[str]:
    """Give a path and the directories above it, the uppermost first."""
    parts = path.strip("/").split("/")
    return ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]


def remove_folder(book: Book) -> None:
    """Remove what was written down, and the folders that were made unless something else is in them."""
    for path in (BOOK, BOOK + PART, HELPER + PART, PROFILE + PART):
        drop(path)
    _drop_folders(book.folders)
    if book.folders:
        gone = not os.path.exists(FOLDER)
        say("removed" if gone else "left", FOLDER if gone else f"{FOLDER}, which is not empty")


def _undo_folders(book: Book, folders: Sequence[str]) -> None:
    book.folders = [path for path in book.folders if path not in folders]
    book.save()
    drop_parts()
    _drop_folders(folders)


def drop_parts() -> None:
    """Remove the folders of a call that was killed while it made them."""
    for path in _parents(FOLDER):
        shutil.rmtree(path + PART, ignore_errors=True)


def _drop_folders(folders: Sequence[str]) -> None:
    for path in reversed(folders):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return
