"""Makes this machine ready for strict mode, once, as root: `sudo jai --setup`; `--setup --remove` undoes it.

Everything that is made is first written down in `setup.json` beside the helper, so that `--remove`, and a
second `--setup` after one that was killed, know what is jai's.  What this call has made is taken back when
a step fails.  Nothing of any user's configuration is read.
"""

from __future__ import annotations

import json
import os
import signal

from jai.errors import HostError, JaiError, RefusedError, UsageError
from jai.host import HELPER
from jai.verbs.setup.account import USER, is_account_there, make_account, remove_account
from jai.verbs.setup.apparmor import PROFILE, make_profile, remove_profile
from jai.verbs.setup.book import FOLDER, Book
from jai.verbs.setup.files import read
from jai.verbs.setup.folders import drop_parts, make_folders, remove_folder
from jai.verbs.setup.helper import helper_of_the_package, make_helper, remove_helper
from jai.verbs.setup.locks import only_one
from jai.verbs.setup.messages import doing, say
from jai.verbs.setup.ranges import RANGES, find_ranges, find_users, make_ranges, remove_ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from jai.argv import Invocation
    from jai.host import Account
    from jai.verbs.setup.book import Undo


def set_up(invocation: Invocation) -> int:
    """Make the machine ready, or as it was before.

    Raises: JaiError, which says what remains if anything does.
    """
    words = invocation.command
    if words not in ((), ("--remove",)):
        message = f"{words[-1]}: --setup takes nothing but --remove"
        raise UsageError(message)
    again = " ".join(("sudo jai --setup", *words))
    if os.geteuid() != 0:
        message = "--setup changes the machine's accounts, and only root may"
        raise RefusedError(message, hint=again)
    os.umask(0o022)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with only_one():
        book = Book()
        return _remove(book) if words else _make(book)


def give_ids(account: Account) -> None:
    """Make what a strict jail of root's or through sudo cannot do without: the user jai and a strict id.

    Called with root as the saved uid; nothing privileged is installed.  Raises: JaiError.
    """
    if _has_ids(account):
        return
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _give_as_root(account, writing)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if said:
        message, detail, hint = json.loads(said)
        raise HostError(message, detail=detail, hint=hint)


def _has_ids(account: Account) -> bool:
    ranges = [find_ranges(read(path) or b"") for path in RANGES]
    return is_account_there() and all(account.uid in found for found in ranges)


def _give_as_root(account: Account, pipe: int) -> NoReturn:
    """Make them in a process that is root again, which tells the user what it makes."""
    try:
        os.dup2(2, 1)
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups([])
        os.umask(0o022)
        with only_one():
            _make(Book(), only=account)
    except JaiError as error:
        os.write(pipe, json.dumps([error.message, error.detail, error.hint]).encode())
    except BaseException as error:  # noqa: BLE001 - this process ends here
        os.write(pipe, json.dumps(["strict mode can not be prepared", repr(error), ""]).encode())
    os._exit(0)


def _make(book: Book, only: Account | None = None) -> int:
    """Make everything, or what one account needs for the helper of the package."""
    source = b"" if only else helper_of_the_package()
    users = {only.uid: only.name} if only else find_users()
    undo: Undo = []
    try:
        with doing(f"{FOLDER} can not be made"):
            make_folders(book, undo)
        with doing(f"the user {USER} can not be made"):
            make_account(book, undo)
        with doing("the strict uids can not be given out"):
            make_ranges(book, undo, users)
        if not only:
            with doing("the AppArmor profile can not be installed"):
                make_profile(book, undo)
            with doing(f"the helper {HELPER} can not be installed"):
                make_helper(book, undo, source)
    except BaseException as error:  # noqa: BLE001 - it ends with it
        _roll_back(undo, error)
    return 0


def _roll_back(undo: Undo, error: BaseException) -> NoReturn:
    """Take back what this call has made, the last thing first, and end with the error."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    remains: list[str] = []
    for what, back in reversed(undo):
        if remains and what == FOLDER:
            break  # it holds what --remove needs
        try:
            back()
            say("undone", what)
        except (OSError, JaiError) as failed:
            remains.append(f"{what} ({failed})")
    if isinstance(error, KeyboardInterrupt):
        error = HostError("--setup was interrupted")
    if not remains or not isinstance(error, JaiError):
        raise error
    left = f"what remains: {', '.join(remains)}"
    detail = f"{error.detail}; {left}" if error.detail else left
    raise HostError(error.message, detail=detail, hint="sudo jai --setup --remove") from None


def _remove(book: Book) -> int:
    """Take away what --setup has made and nobody has changed since; each part even if another can not be.

    Raises: HostError that names what remains.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    drop_parts()
    if book.is_empty():
        say("already gone", "there is nothing that --setup has made")
        return 0
    parts: dict[str, Callable[[Book], None]] = {
        PROFILE: remove_profile,
        HELPER: remove_helper,
        "the strict uids": remove_ranges,
        f"the system user {USER}": remove_account,
        FOLDER: remove_folder,
    }
    failed: list[str] = []
    for what, remove in parts.items():
        if what == FOLDER and failed:
            break  # it holds what is needed to try again
        try:
            remove(book)
        except (OSError, JaiError) as error:
            failed.append(f"{what} ({error})")
    if failed:
        message = "not everything could be removed"
        raise HostError(message, detail=f"what remains: {', '.join(failed)}, {FOLDER}")
    return 0
