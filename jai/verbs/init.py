"""Writes the default configuration: `jai --init`, and quietly on the first run."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

from jai._core import lib
from jai.defaults import FILES
from jai.errors import FILE_SIZE_HINT, HostError, RefusedError
from jai.store import PREPARING
from jai.system import write_whole

# What file systems without hard links answer.
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jai.policy import Policy
    from jai.settings import Settings


def write_defaults(settings: Settings, *, tell: bool) -> int:
    """Create what is missing of the default files; what is there is never touched."""
    try:
        os.makedirs(settings.config_dir, 0o700, exist_ok=True)
        os.makedirs(settings.storage, 0o700, exist_ok=True)
        for name, text in FILES.items():
            place = settings.storage if name.endswith(".jail") else settings.config_dir
            try:
                made = write_new(f"{place}/{name}", text)
            except OSError as error:
                if not tell and place != settings.storage and _is_kept_by_others(place, error):
                    continue
                raise
            if tell:
                sys.stdout.write(f"{'created' if made else 'kept'} {place}/{name}\n")
    except OSError as error:
        raise _not_written(settings, error) from None
    return 0


def _not_written(settings: Settings, error: OSError) -> HostError:
    message = f"the configuration can not be written to {settings.config_dir}"
    detail = f"{os.fsdecode(error.filename or '')}: {error.strerror}"
    hint = "set JAI_CONFIG_DIR or --storage to a directory of yours"
    return HostError(message, detail=detail, hint=FILE_SIZE_HINT if error.errno == errno.EFBIG else hint)


def _is_kept_by_others(config_dir: str, error: OSError) -> bool:
    """Say whether a configuration is used as it is: one that can not be written to, as root's for all."""
    return error.errno in (errno.EACCES, errno.EROFS) and os.path.exists(f"{config_dir}/.defaults")


def write_new(path: str, text: str) -> bool:
    """Write a file that does not exist yet, whole or not at all; say whether it was written."""
    if os.path.lexists(path):
        return False
    part = f"{path}.{os.getpid()}.new"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            write_whole(fd, text.encode())
        finally:
            os.close(fd)
        # Unlike a rename, a link does not replace what another jai has just written.
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        os.rename(part, path)
        return True
    finally:
        if os.path.lexists(part):
            os.unlink(part)
    return True


def make_grants(policy: Policy) -> None:
    """Make the directories that --dir! asks for.

    Raises: RefusedError where that can not be done.
    """
    for path in policy.create:
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            message = f"--dir! {path}: can not be made"
            detail = f"mkdir {os.fsdecode(error.filename or path)}: {error.strerror}"
            raise RefusedError(
                message, detail=detail, hint="name a directory in a place of your own"
            ) from None


def write_mode(settings: Settings, policy: Policy) -> None:
    """Write down the mode that a new jail was given."""
    if policy.write_mode:
        try:
            write_new(policy.layout.jail_file, f"mode {settings.mode}\n")
        except OSError as error:
            raise _not_written(settings, error) from None


def make_prepared(policy: Policy, home: str, mode: int) -> None:
    """Make a new jail's home and let a program prepare it, before it is there for anybody to see.

    It gets its name when the program has succeeded: so a jail is prepared wholly or not made, however that
    ends, and no command has ever run in what a start that was killed leaves. Other starts wait meanwhile.

    Raises: HostError if the program fails; FileNotFoundError where `jai -u` was faster: then make all anew.
    """
    from jai.verbs.unmount import JailLock, remove_tree  # noqa: PLC0415 - a first run needs nothing of it

    new = f"{home}.new"
    with JailLock(policy.layout.lock) as lock:
        if not lock.is_there(policy.layout.lock):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), policy.layout.lock)
        if os.path.lexists(home):
            return
        if os.path.lexists(new):
            remove_tree(new)
        os.mkdir(new, 0o700)
        os.chmod(new, mode)
        try:
            _run_initjail(policy, home, new)
            if not os.path.isdir(new):
                raise _initjail_failed(policy, "it has removed its directory")
            os.rename(new, home)
        finally:
            if os.path.lexists(new):
                remove_tree(new)


def _run_initjail(policy: Policy, home: str, new: str) -> None:
    words = {"JAI_MODE": policy.mode, "JAI_JAIL": policy.jail, "JAI_CONFIG_DIR": policy.config_dir}
    env = {**os.environ, **words, PREPARING: home}
    try:
        # There are no threads here that the function before the execution could deadlock with.
        done = subprocess.run([policy.initjail], cwd=new, env=env, check=False, preexec_fn=_give_back)
        detail = f"exit status {done.returncode}" if done.returncode else ""
    except (OSError, subprocess.SubprocessError) as error:
        detail = f"exec: {error.strerror}" if isinstance(error, OSError) else str(error)
    if detail:
        raise _initjail_failed(policy, detail)


def _initjail_failed(policy: Policy, detail: str) -> HostError:
    message = f"--initjail {policy.initjail} failed for the new jail {policy.jail!r}"
    return HostError(message, detail=detail, hint="mend the program and try again")


def _give_back() -> None:
    """End what root has lent us for the helper: the program is the user's."""
    number = lib.jai_give_back()
    if number:
        raise OSError(number, os.strerror(number))
