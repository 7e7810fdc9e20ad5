"""An account of the machine under test, and running commands as it."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance import here, record
from conformance.here import TIMED_OUT, Seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testinfra.host import Host

__all__ = ["TIMED_OUT", "Account", "Seen", "must", "run"]
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Account:
    """A user of the machine under test."""

    host: Host
    name: str
    home: str
    become: bool

    def run(  # noqa: PLR0913 - they are what a process starts with
        self,
        argv: Sequence[str],
        *,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: int = 60,
        prefix: str = "",
        source: str = "/dev/null",
    ) -> Seen:
        """Run a command as this account in a clean environment, with a time limit.

        `prefix` is shell text that comes before the command, for example to open descriptors; `source` is the
        file that becomes its standard input, opened by the session's user, if `stdin` gives none.
        """
        clean = {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "PATH": PATH}
        clean |= {"LANG": "C.UTF-8", "TERM": "dumb", **(env or {})}
        user = self.name if self.become else ""
        start = here.Start(argv, user, cwd or self.home, clean, stdin, source, timeout)
        seen = self._start(start, prefix)
        typed = _typed(argv, env or {}, prefix, stdin, source)
        record.note(seen, who=self.name, typed=f"cd {shlex.quote(cwd or self.home)} && {typed}")
        return seen

    def _start(self, start: here.Start, prefix: str) -> Seen:
        line = here.as_line(start, prefix)
        if prefix or self.host.backend.NAME != "local":
            return run(self.host, line)
        began = time.monotonic()
        return record.ran(here.run(line, start), time.monotonic() - began)

    def sh(self, script: str, *, cwd: str = "", timeout: int = 60) -> Seen:
        """Run a shell script as this account, outside of any jail."""
        return self.run(["sh", "-c", script], cwd=cwd, timeout=timeout)

    def python(self, code: str, *arguments: str, cwd: str = "") -> Seen:
        """Run Python code as this account, outside of any jail."""
        return self.run(["/usr/bin/python3", "-I", "-c", code, *arguments], cwd=cwd)

    def script(self, path: str, *arguments: str, cwd: str = "") -> Seen:
        """Run a Python file that only the session's user needs to be able to read."""
        return self.run(["/usr/bin/python3", "-I", "-", *arguments], cwd=cwd, source=path)


def _typed(argv: Sequence[str], env: Mapping[str, str], prefix: str, stdin: str, source: str) -> str:
    """The line for a terminal of the account's that does the same."""
    changed = ["env", *(f"{name}={value}" for name, value in env.items())] if env else []
    line = f"{prefix} {shlex.join([*changed, *argv])}".strip()
    if stdin:
        return f"printf %s {shlex.quote(stdin)} | {line}"
    return line if source == "/dev/null" else f"{line} <{shlex.quote(source)}"


def run(host: Host, line: str) -> Seen:
    """Run a shell line on the machine under test, as whoever the session is."""
    began = time.monotonic()
    done = host.run(line)
    out, err = (data.decode("utf-8", "surrogateescape") for data in (done.stdout_bytes, done.stderr_bytes))
    return record.ran(Seen(line, done.rc, out, err), time.monotonic() - began)


def must(seen: Seen) -> Seen:
    """The same result; an error if the preparing command did not succeed."""
    if seen.rc != 0:
        message = f"a preparation failed with {seen.rc}: {seen.line[:1000]}\n{seen.stderr[-2000:]}"
        raise RuntimeError(message)
    return seen
