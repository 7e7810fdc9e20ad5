"""What --setup has made, as it is written down beside the helper."""

from __future__ import annotations

import json
import os

from jai.errors import HostError
from jai.host import HELPER
from jai.verbs.setup.files import drop, read, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    # What this call has made, and what takes it back.
    Undo = list[tuple[str, Callable[[], None]]]

FOLDER = os.path.dirname(HELPER)
BOOK = f"{FOLDER}/setup.json"


class Book:
    """What --setup has made here.

    `folders` in the order they were made; `account` the files that get a line of the user; `lines` the lines
    by file; `ends` the last line of a file that had no newline behind it; `created` the files that
    did not exist; `helper` and `profile` digests of what was written; `launchers` what the profile names.
    """

    def __init__(self) -> None:
        """Read what earlier calls have written down.

        Raises: HostError if that can not be understood.
        """
        self.folders: list[str] = []
        self.account: list[str] = []
        self.lines: dict[str, list[str]] = {}
        self.ends: dict[str, str] = {}
        self.created: list[str] = []
        self.helper: list[str] = []
        self.profile: list[str] = []
        self.launchers: list[str] = []
        text = read(BOOK)
        try:
            found = json.loads(text) if text is not None else {}
            self.__dict__.update({name: found[name] for name in self.__dict__ if name in found})
        except (ValueError, TypeError):
            message = f"{BOOK} can not be understood"
            hint = "put it back from a backup, or remove it: what --setup has made is then yours to remove"
            raise HostError(message, hint=hint) from None

    def save(self, path: str = BOOK) -> None:
        """Write it down; where nothing was made there is no book."""
        text = (json.dumps(self.__dict__, indent=1, sort_keys=True) + "\n").encode()
        if self.is_empty():
            drop(path)
        elif text != read(path):
            # For root only: a line of /etc/shadow may be in it.
            replace(path, text, lambda fd: os.fchmod(fd, 0o600))

    def is_empty(self) -> bool:
        """Say whether nothing is known to have been made."""
        return not any(self.__dict__.values())

    def forget(self, path: str) -> None:
        """Drop what is known of one file."""
        self.lines.pop(path, None)
        self.ends.pop(path, None)
        self.created = [each for each in self.created if each != path]
