"""Writes the default configuration: `jai --init`, and quietly on the first run."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

from jai.defaults import FILES
from jai.errors import HostError

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
            made = write_new(f"{place}/{name}", text)
            if tell:
                sys.stdout.write(f"{'created' if made else 'kept'} {place}/{name}\n")
    except OSError as error:
        message = f"the configuration can not be written to {settings.config_dir}"
        detail = f"{os.fsdecode(error.filename or '')}: {error.strerror}"
        raise HostError(
            message, detail=detail, hint="set JAI_CONFIG_DIR or --storage to a directory of yours"
        ) from None
    return 0


def write_new(path: str, text: str) -> bool:
    """Write a file that does not exist yet, whole or not at all; say whether it was written."""
    if os.path.lexists(path):
        return False
    part = f"{path}.{os.getpid()}.new"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text.encode())
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


def write_mode(settings: Settings, policy: Policy) -> None:
    """Write down the mode that a new jail was given."""
    if policy.write_mode:
        write_new(policy.layout.jail_file, f"mode {settings.mode}\n")


def run_initjail(policy: Policy) -> None:
    """Run the program that prepares a new jail, in the jail's home; a jail that it fails for is not made.

    Raises: HostError if the program fails.
    """
    paths = policy.layout
    home = paths.changes if policy.mode == "casual" else paths.home
    words = {"JAI_MODE": policy.mode, "JAI_JAIL": policy.jail, "JAI_CONFIG_DIR": policy.config_dir}
    done = subprocess.run([policy.initjail], cwd=home, env={**os.environ, **words}, check=False)
    if done.returncode:
        from jai.verbs.unmount import remove_tree  # noqa: PLC0415 - only after a failure

        remove_tree(home)  # half made; the next start makes it anew
        message = f"--initjail {policy.initjail} failed for the new jail {policy.jail!r}"
        detail = f"exit status {done.returncode}"
        raise HostError(message, detail=detail, hint="mend the program and try again")
