"""Starting a command on this machine as a shell line would, without the programs that the line consists of.

A scenario starts ten commands, and each would be two shells, timeout, setpriv and env before it is itself.
"""

from __future__ import annotations

import base64
import os
import shlex
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.trees import become

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOT_ENTERED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127  # what env(1) answers
TIMED_OUT = 124
GRACE = 5  # seconds from TERM to KILL


@dataclass(frozen=True)
class Seen:
    """How a command ended, and the exact line that ran it."""

    line: str
    rc: int
    stdout: str
    stderr: str

    @property
    def words(self) -> list[str]:
        """The words of the standard output."""
        return self.stdout.split()


@dataclass(frozen=True)
class Start:
    """What a command starts with; the user is empty where nobody else has to be become."""

    argv: Sequence[str]
    user: str
    cwd: str
    env: Mapping[str, str]
    stdin: str
    source: str
    timeout: float


def as_line(start: Start, prefix: str = "") -> str:
    """The shell line that does the same; `prefix` is shell text that comes before the command."""
    switch = ["setpriv", f"--reuid={start.user}", f"--regid={start.user}", "--init-groups"]
    words = [
        *("timeout", f"--kill-after={GRACE}", str(start.timeout)),
        *(switch if start.user else []),
        # By the account itself: on NFS root may not enter a home.
        *("env", "-i", f"--chdir={start.cwd}", *(f"{key}={value}" for key, value in start.env.items())),
        *start.argv,
    ]
    enter = f"cd / && {prefix} exec {shlex.join(words)}"
    shell = f"sh -c {shlex.quote(enter)}"
    data = base64.b64encode(start.stdin.encode()).decode()
    return f"echo {data} | base64 -d | {shell}" if start.stdin else f"{shell} <{shlex.quote(start.source)}"


def run(line: str, start: Start) -> Seen:
    """Run it to its end, or to its time's end; `line` is the same for a shell, for whoever reads of it."""
    with open(start.source, "rb") as source:
        try:
            process = _popen(start, source.fileno())
        except FileNotFoundError as error:
            return Seen(line, NOT_FOUND, "", str(error))
        except OSError as error:
            return Seen(line, NOT_EXECUTABLE, "", str(error))
        except subprocess.SubprocessError as error:
            return Seen(line, NOT_ENTERED, "", str(error))
    with process:
        rc, out, err = _finish(process, start)
    return Seen(line, rc, *(data.decode("utf-8", "surrogateescape") for data in (out, err)))


def _popen(start: Start, source: int) -> subprocess.Popen[bytes]:
    def enter() -> None:
        os.setpgid(0, 0)  # as timeout(1) does
        if start.user:
            become(start.user)
        os.chdir(start.cwd)  # by the account itself: on NFS root may not enter a home

    pipe = subprocess.PIPE
    stdin = pipe if start.stdin else source
    return subprocess.Popen(
        start.argv,
        stdin=stdin,
        stdout=pipe,
        stderr=pipe,
        env=start.env,
        preexec_fn=enter,  # noqa: PLW1509
    )


def _finish(process: subprocess.Popen[bytes], start: Start) -> tuple[int, bytes, bytes]:
    told = start.stdin.encode() if start.stdin else None
    try:
        out, err = process.communicate(told, timeout=start.timeout)
    except subprocess.TimeoutExpired:
        return TIMED_OUT, *_end(process)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode, out, err


def _end(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    os.killpg(process.pid, signal.SIGTERM)
    try:
        return process.communicate(timeout=GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()
