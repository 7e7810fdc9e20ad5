"""The system's own tools, which make users and load profiles."""

from __future__ import annotations

import os
import subprocess

from jai.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Directories that only root may write to; what else is on PATH is not asked.
TOOLS = "/usr/sbin:/usr/bin:/sbin:/bin"


def run(command: Sequence[str]) -> None:
    """Run a tool of the system.

    Raises: HostError with the last thing that it said.
    """
    env = {"PATH": TOOLS, "LC_ALL": "C"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=env, cwd="/", check=False
    )
    if done.returncode:
        said = os.fsdecode(done.stderr or done.stdout).strip().splitlines()
        detail = said[-1] if said else f"it ended with {done.returncode}"
        message = f"{os.path.basename(command[0])} failed"
        raise HostError(message, detail=detail)
