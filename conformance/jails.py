"""Running things in a jail, with `jai` as a black box."""

from __future__ import annotations

import json
import os
import secrets
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from conformance import record
from conformance.abilities import needs
from conformance.accounts import TIMED_OUT, Seen, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conformance.accounts import Account

    Scenario = Callable[..., None]

MODES = ("casual", "bare", "strict")
FAILED = 125

_STRICT = pytest.param("strict", marks=needs("strict mode"))
in_each_mode = pytest.mark.parametrize("mode", [_STRICT if mode == "strict" else mode for mode in MODES])
in_the_user_s_own_modes = pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "strict"])

also_as_root = pytest.mark.also_as_root


def for_everybody(function: Scenario) -> Scenario:
    """Run a scenario in each mode for a user, and for root as the jailed user."""
    return also_as_root(in_each_mode(function))


def for_everybody_s_own(function: Scenario) -> Scenario:
    """The same without strict mode."""
    return also_as_root(in_the_user_s_own_modes(function))


# Runs inside the jail: each act by itself, its error's name or "ok", all printed at the end as the sentinel.
PROBE = """
import errno, json, mmap, os, shutil, socket, subprocess, sys
HOME = os.path.expanduser("~")
exec("".join(sys.argv[2:]))  # what the acts share
answers = {}
for name, act in json.loads(sys.argv[1]).items():
    try:
        exec(act)
        answers[name] = "ok"
    except OSError as error:
        answers[name] = errno.errorcode.get(error.errno, str(error))
    except Exception as error:
        answers[name] = type(error).__name__
print("ANSWERS", json.dumps(answers), flush=True)
"""

PROBED = ("/usr/bin/python3", "-I", "-c", PROBE)
# For acts that are system calls: an error where -1 is answered.
CALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(function, *arguments):
    answer = function(*arguments)
    if answer < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return answer
"""


class UnfinishedError(Exception):
    """What should have run inside did not run to its end: there is no verdict."""


@dataclass(frozen=True)
class Jail:
    """A jail of one mode and name for one account, entered anew by each call."""

    account: Account
    jai: str
    mode: str
    name: str
    project: str

    def entry(self, *words: str) -> str:
        """The shell words that start a command in the jail."""
        without = [f"{name}={value}" for name, value in left_out().items()]
        return shlex.join(["env", *without, self.jai, "-m", self.mode, "-j", self.name, *words])

    def run(  # noqa: PLR0913 - they are what a process starts with
        self,
        argv: list[str],
        *options: str,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: int = 60,
        prefix: str = "",
    ) -> Seen:
        """Run a command in the jail and give what came of it."""
        line = [self.jai, "-m", self.mode, "-j", self.name, *options, *argv]
        seen = self.account.run(
            line,
            cwd=cwd or self.project,
            env=left_out() | dict(env or {}),
            stdin=stdin,
            timeout=timeout,
            prefix=prefix,
        )
        words = ("-m", self.mode, *options, argv[0])
        where = cwd or self.project
        record.entered(
            record.Entry(self.account, self.jai, self.name, words, where, tuple((env or {}).items()))
        )
        record.note(seen, mode=self.mode)
        if seen.rc == TIMED_OUT:
            raise UnfinishedError(_report(f"no end after {timeout} s", seen))
        return seen

    def sh(  # noqa: PLR0913 - they are what a process starts with
        self,
        script: str,
        *options: str,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: int = 60,
        prefix: str = "",
    ) -> Seen:
        """Run a shell script in the jail; an error unless it ran to its end, whatever its status is."""
        token = secrets.token_hex(8)
        wrapped = f"{{ {script}\n}}; status=$?; printf '\\n%s' {token}; exit $status"
        seen = self.run(
            ["sh", "-c", wrapped], *options, cwd=cwd, env=env, stdin=stdin, timeout=timeout, prefix=prefix
        )
        stdout = seen.stdout.removesuffix(f"\n{token}")
        record.script(seen, wrapped, script, stdout)
        if not seen.stdout.endswith(f"\n{token}"):
            raise UnfinishedError(_report("the script did not reach its end", seen))
        return Seen(seen.line, seen.rc, stdout, seen.stderr)

    def tries(  # noqa: PLR0913 - they are what a process starts with
        self,
        acts: Mapping[str, str],
        *options: str,
        through: Sequence[str] = (),
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        prefix: str = "",
        timeout: int = 60,
        prelude: str = "",
    ) -> dict[str, str]:
        """What becomes of each act (Python statements): "ok" or the name of the error.

        `through` is a command that starts the probe inside, for example one that makes namespaces; `prelude`
        is what the acts share.
        """
        argv = [*through, *PROBED, json.dumps(acts), prelude]
        seen = self.run(argv, *options, cwd=cwd, env=env, prefix=prefix, timeout=timeout)
        answers = answers_of(seen)
        record.tried(seen, acts, answers)
        return answers


def left_out() -> dict[str, str]:
    """The variable that makes a build for tests leave out a protection, if one is to be left out."""
    return {name: os.environ[name] for name in ("JAI_LEAVE_OUT",) if name in os.environ}


def answers_of(seen: Seen) -> dict[str, str]:
    """What a probe has told; an error if it did not reach its end."""
    _, found, answers = seen.stdout.rpartition("ANSWERS ")
    if not found:
        raise UnfinishedError(_report("the probe did not reach its end", seen))
    told: dict[str, str] = json.loads(answers)
    return told


def outside_of_a_jail(
    account: Account, acts: Mapping[str, str], uid: str = "", cwd: str = ""
) -> dict[str, str]:
    """What becomes of each act outside of any jail, for an account or for a bare uid."""
    argv = [*PROBED, json.dumps(acts)]
    if not uid:
        return answers_of(account.run(argv, cwd=cwd or account.home))
    become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    return answers_of(run(account.host, f"cd / && {shlex.join([*become, *argv])}"))


def _report(what: str, seen: Seen) -> str:
    """What went wrong with which command, the message first and the long line last."""
    return (
        f"{what} (status {seen.rc}): {seen.stderr[-2000:]}\nstdout: {seen.stdout[-1000:]}\n{seen.line[:4000]}"
    )
