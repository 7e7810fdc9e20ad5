"""Runs a policy's plan and ends as the command ended."""

from __future__ import annotations

import errno
import os

from jai._core import ffi, lib
from jai.errors import EXIT_JAI, JaiError
from jai.plan import plan
from jai.steps import encode
from jai.store import prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jai.host import Host
    from jai.policy import Policy
    from jai.steps import Step

# A `jai -u` can take the lock file away between our looking and locking.
ATTEMPTS = 10


def steps_of(policy: Policy) -> list[Step]:
    """Give the plan of a policy, with the passwd file that a foreign user needs."""
    passwd = ""
    if policy.account.entry:
        from jai.host import read_bytes  # noqa: PLC0415 - only for users that come from elsewhere

        passwd = os.fsdecode(read_bytes("/etc/passwd")) + policy.account.entry
    return plan(policy, passwd)


def run(policy: Policy, host: Host) -> int:
    """Run the command in its jail; give its exit status, or die of its signal.

    Raises: JaiError where a step fails.
    """
    found = steps_of(policy)
    image = encode(found)
    result = ffi.new("struct jai_result *")
    for _ in range(ATTEMPTS):
        prepare(policy)
        lib.jai_run(image, len(image), result)
        lost_lock = result.outcome == lib.JAI_FAILED and found[result.step].kind == lib.JAI_LOCK
        if not (lost_lock and result.value in (errno.ESTALE, errno.ENOENT)):
            break
    return _end(result, found, policy, host)


def _end(result: Any, found: list[Step], policy: Policy, host: Host) -> int:
    if result.outcome == lib.JAI_EXITED:
        return int(result.value)
    if result.outcome == lib.JAI_SIGNALED:
        lib.jai_die(result.value)
        return 128 + int(result.value)
    if result.outcome == lib.JAI_LOST:
        raise JaiError("the jail was killed from outside", status=EXIT_JAI)
    from jai.explain import explain  # noqa: PLC0415 - only when something failed

    if result.outcome == lib.JAI_BAD_IMAGE:
        message = f"the plan is not one that the core runs (step {result.step})"
        raise JaiError(message, hint="this is a fault in jai, please report it with the output of jai --plan")
    raise explain(found[result.step] if result.step >= 0 else None, result.value, policy, host)
