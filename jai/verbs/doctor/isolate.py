"""Work in a process of its own, which has a time limit and leaves nothing running."""

from __future__ import annotations

import json
import os
import select
import signal
import time

from jai.verbs.doctor.system_calls import PR_SET_PDEATHSIG, prctl, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Seconds.  A jail may have to wait for a disk; the rest only asks the kernel.
JAIL_LIMIT, LIMIT = 30, 10
KILL_LIMIT = 2


class NoAnswerError(Exception):
    """The process that was to find out has failed; in its words."""


def within(seconds: float, work: Callable[[], object]) -> Any:
    """Do some work in a process of its own and give its result, as JSON can carry it.

    Raises: TimeoutError when the time is over, NoAnswerError if the work failed, OSError without a process.
    """
    reading, writing = os.pipe()
    try:
        pid = os.fork()
        if pid == 0:
            _work(work, writing)
        try:
            os.close(writing)
            writing = -1
            text = _read_line(reading, time.monotonic() + seconds)
        finally:
            _kill(pid)
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    answer = json.loads(text or b'{"failed": "its process was killed"}')
    if "failed" in answer:
        raise NoAnswerError(answer["failed"])
    return answer["result"]


def _work(work: Callable[[], object], pipe: int) -> NoReturn:
    """Work in the child, and leave whatever happens."""
    try:
        # A session: whatever is started here is killed with it.
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        answer = {"result": work()}
    except OSError as error:
        answer = {"failed": f"{error.filename or ''}: {words_of(error)}".removeprefix(": ")}
    except BaseException as error:  # noqa: BLE001 - this process prints nothing, it reports
        answer = {"failed": repr(error)}
    try:
        text = json.dumps(answer).encode() + b"\n"
        while text:
            text = text[os.write(pipe, text) :]
    finally:
        os._exit(0)


def _read_line(fd: int, deadline: float) -> bytes:
    found = b""
    while not found.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            raise TimeoutError
        piece = os.read(fd, 1 << 16)
        if not piece:
            break
        found += piece
    return found


def _kill(pid: int) -> None:
    """End a child and all that it started; one that the kernel does not let go is left to it."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except OSError:
            continue
    deadline = time.monotonic() + KILL_LIMIT
    while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.001)


def quietly(work: Callable[[], object]) -> Any:
    """Give the result of some work, None where it fails: a probe will say what that means."""
    try:
        return within(LIMIT, work)
    except (NoAnswerError, OSError):
        return None
