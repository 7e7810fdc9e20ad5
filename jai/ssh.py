"""What the ssh client reads for the whole machine, and trusts only if root or the user owns it.

In a jail the user's id is the only one, and what is root's looks like nobody's: ssh would end with "Bad owner
or permissions" at the first file that /etc/ssh/ssh_config includes.  So the jail has copies of these files,
which are the user's and on a read-only mount.  Source: ssh_config(5), Include; ssh looks at the owner of each
included file, and not at that of /etc/ssh/ssh_config itself.
"""

from __future__ import annotations

from jai.system import dirname, join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jai.host import Host

DEEPEST, MOST = 16, 100  # includes in includes, as ssh; files
OTHERS_WRITE = 0o022
PATTERN = ("*", "?", "[")


def find_copies(host: Host, folder: str) -> tuple[tuple[str, str], ...]:
    """Give (path, content) of each file of the folder, and of what these include."""
    copies: dict[str, str] = {}
    for path in (join(folder, name) for name in sorted(host.names(folder))):
        text = _trusted(host, path)
        if text is not None and len(copies) < MOST:
            copies[path] = ""  # takes its place before what it includes
            copies[path] = _with_copies(host, text, copies, 1)
    return tuple(copies.items())


def _trusted(host: Host, path: str) -> str | None:
    """Give the content of a file that ssh would read outside, else None."""
    found = host.find(path)
    if found is None or found.type != "file" or found.mode & OTHERS_WRITE:
        return None
    if found.owner not in (0, host.account.uid):
        return None
    text = host.text(path)
    return None if text is None or "\0" in text else text


def _with_copies(host: Host, text: str, copies: dict[str, str], depth: int) -> str:
    """Give the text with each include that is not in the folder replaced by one of a copy there."""
    lines = []
    for line in text.splitlines():
        key, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if key.lower() == "include" and depth < DEEPEST:
            words = (_copied(host, word, copies, depth) for word in rest.split())
            lines.append(f"Include {' '.join(words)}")
        else:
            lines.append(line)
    return "\n".join([*lines, ""])


def _copied(host: Host, word: str, copies: dict[str, str], depth: int) -> str:
    """Give what is included instead: the user's own files and patterns stay what they are."""
    path = word.strip('"')
    if path.startswith("~") or any(each in path for each in PATTERN):
        return word
    path = join("/etc/ssh", path)
    if path in copies:
        return path
    text = _trusted(host, path)
    if text is None or len(copies) >= MOST:
        return word
    # Not *.conf: only who includes it reads it.
    copy = f"{dirname(next(iter(copies)))}/included-{len(copies)}"
    copies[copy] = ""
    copies[copy] = _with_copies(host, text, copies, depth + 1)
    return copy
