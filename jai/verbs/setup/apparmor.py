"""The AppArmor profile, without which some distributions refuse user namespaces."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys

import jai
from jai.errors import HostError, JaiError, RefusedError
from jai.host import HELPER
from jai.verbs.setup.files import digest, drop, drop_file, read, replace
from jai.verbs.setup.messages import say
from jai.verbs.setup.tools import TOOLS, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from jai.verbs.setup.book import Book, Undo

PROFILE = "/etc/apparmor.d/jai"
APPARMOR = "/sys/kernel/security/apparmor"
RESTRICTED = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"


def make_profile(book: Book, undo: Undo) -> None:
    """Let the helper and the launcher make user namespaces where AppArmor lets nobody without a profile."""
    if not os.path.isdir(APPARMOR) or (read(RESTRICTED) or b"").strip() != b"1":
        return
    parser = shutil.which("apparmor_parser", path=TOOLS)
    if not parser:
        message = "AppArmor restricts user namespaces, and without apparmor_parser jai gets no exception"
        raise HostError(message, hint="install the package apparmor")
    launcher = _launcher()
    launchers = [path for path in book.launchers if os.path.exists(path) and path != launcher]
    launchers += [launcher] if launcher else []
    content = profile(HELPER, launchers).encode()
    old = read(PROFILE)
    if old not in (None, content) and digest(old or b"") not in book.profile:
        say("left", f"{PROFILE}, which --setup has not made or somebody has changed since")
        return
    if old == content:
        run([parser, "-r", PROFILE])
        say("already there", PROFILE)
        return
    before = (list(book.profile), list(book.launchers))
    undo.append((PROFILE, lambda: _undo_profile(book, before, old)))
    book.profile, book.launchers = sorted({*book.profile, digest(content)}), launchers
    book.save()
    replace(PROFILE, content)
    run([parser, "-r", PROFILE])
    book.profile = [digest(content)]
    book.save()
    allowed = " and ".join([HELPER, *launchers])
    say("done", f"{PROFILE}, which lets {allowed} make user namespaces")


def profile(helper: str, launchers: Sequence[str]) -> str:
    """Fill the template of the AppArmor profile.

    Raises: RefusedError for a path that would mean something else in it.
    """
    places = {"jai-idmap": helper}
    for number, path in enumerate(launchers, 1):
        places["jai" if number == 1 else f"jai-{number}"] = path
    with open(os.path.join(os.path.dirname(jai.__file__), "data", "apparmor"), encoding="utf-8") as file:
        head, _, body = file.read().partition("\n\n")
    parts = [head + "\n"]
    for name, path in places.items():
        if not re.fullmatch(r"/[\w ./+:~=%-]*", path):
            message = f"{path}: AppArmor would take a character of this path for a pattern"
            raise RefusedError(message, hint="install jai at a path of letters, digits, blanks and ._+-")
        parts.append(body.replace("@NAME@", name).replace("@PATH@", path))
    return "\n".join(parts)


def _launcher() -> str:
    """Give the launcher that this process was started by, "" without one."""
    path = os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), "jai")
    return path if os.path.exists(f"{path}-python") and os.path.exists(path) else ""


def remove_profile(book: Book) -> None:
    """Unload and remove the profile that was made."""
    if book.profile:
        if drop_file(PROFILE, book.profile, _unload):
            say("removed", PROFILE)
        book.profile, book.launchers = [], []
        book.save()


def _unload(path: str) -> None:
    parser = shutil.which("apparmor_parser", path=TOOLS)
    if parser and os.path.isdir(APPARMOR):
        # What can not be unloaded is gone after a boot; it only allows.
        with contextlib.suppress(JaiError):
            run([parser, "-R", path])


def _undo_profile(book: Book, before: tuple[list[str], list[str]], old: bytes | None) -> None:
    if old is None:
        _unload(PROFILE)
        drop(PROFILE)
    else:
        replace(PROFILE, old)
    book.profile, book.launchers = before
    book.save()
