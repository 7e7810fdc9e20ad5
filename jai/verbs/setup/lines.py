"""Lines of the account files: put behind the others, and taken out so that the rest is as it was."""

from __future__ import annotations

import os

from jai.verbs.setup.files import read, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jai.verbs.setup.book import Book


def note_end(book: Book, path: str, text: bytes) -> None:
    """Write down that a file has no newline at its end, before one is put there."""
    if text and not text.endswith(b"\n"):
        book.ends[path] = decode(text.rpartition(b"\n")[2])


def appended(text: bytes, lines: Sequence[str]) -> bytes:
    """Give a file with lines behind its own."""
    newline = b"\n" if text and not text.endswith(b"\n") else b""
    return text + newline + "".join(f"{line}\n" for line in lines).encode()


def drop_lines(book: Book, path: str, lines: Sequence[str]) -> list[str]:
    """Take lines out of a file, and the file away if it was made for them; give those that were not there."""
    text = read(path) or b""
    found = text.split(b"\n")
    present = [line for line in lines if encode(line) in found]
    if present:
        rest = _without(text, present, book.ends.get(path))
        if path in book.created and not rest:
            os.unlink(path)
        else:
            replace(path, rest)
    return [line for line in lines if line not in present]


def _without(text: bytes, lines: Iterable[str], end: str | None) -> bytes:
    """Give a file without lines, the last of each; without the last newline if there was none."""
    parts = text.split(b"\n")
    for line in map(encode, lines):
        if line in parts:
            del parts[len(parts) - 1 - parts[::-1].index(line)]
    if end is not None and parts[-1:] == [b""] and parts[-2:-1] == [encode(end)]:
        parts.pop()
    return b"\n".join(parts)


def decode(line: bytes) -> str:
    """Give a line as it is written down, whatever its bytes."""
    return line.decode("utf-8", "surrogateescape")


def encode(line: str) -> bytes:
    """Give the bytes of a line that was written down."""
    return line.encode("utf-8", "surrogateescape")
