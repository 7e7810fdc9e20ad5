"""Runs a policy's plan and ends as the command ended."""

from __future__ import annotations

import errno
import os
import sys

from jai._core import ffi, lib
from jai.errors import JaiError
from jai.plan import plan
from jai.steps import encode
from jai.store import prepare

# (step, errno) of what is over when it is tried again.
PASSING = ((lib.JAI_LOCK, errno.ESTALE), (lib.JAI_LOCK, errno.ENOENT), (lib.JAI_USERNS, errno.ESRCH))

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jai.host import Host
    from jai.policy import Policy
    from jai.steps import Step


def steps_of(policy: Policy) -> list[Step]:
    """Give the plan of a policy, with the passwd file that a foreign user needs."""
    passwd = ""
    if policy.account.entry:
        from jai.host import read_bytes  # noqa: PLC0415 - only for users that come from elsewhere

        passwd = os.fsdecode(read_bytes("/etc/passwd")) + policy.account.entry
    return plan(policy, passwd)


def run(policy: Policy, host: Host) -> int:
    """Run the command in its jail; give its exit status, or die of its signal.

    Raises: JaiError where a step failed.
    """
    found = steps_of(policy)
    failed = os.environ.pop("JAI_FAILED", "")
    if failed:
        outcome, step, value = map(int, failed.split())
        _complain_unless_lock_was_lost(outcome, step, value, found, policy, host)
    prepare(policy)
    image = encode(found)
    _restore_signals()
    _hand_over(image)
    result = ffi.new("struct jai_result *")
    lib.jai_run(image, len(image), result)
    if result.outcome == lib.JAI_EXITED:
        return int(result.value)
    if result.outcome == lib.JAI_SIGNALED:
        lib.jai_die(result.value)
        return 128 + int(result.value)
    _complain(result.outcome, result.step, result.value, found, policy, host)
    return 0


def _hand_over(image: bytes) -> None:
    """Let the launcher beside us run the image, so that no interpreter stays in memory; come back without one."""
    launcher = os.path.join(os.path.dirname(sys.argv[0]), "jai")
    if not os.path.exists(f"{launcher}-python"):
        return
    fd = os.memfd_create("jai", 0)
    os.write(fd, image)
    os.environ["JAI_IMAGE"] = str(fd)
    os.execv(launcher, ["jai", *sys.argv[1:]])


def _restore_signals() -> None:
    """Undo what Python does to signals; the launcher knows what the user had."""
    import _signal  # type: ignore[import-not-found]  # noqa: PLC0415 - the signal module costs an enum

    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)


def _complain_unless_lock_was_lost(  # noqa: PLR0913 - what a failure consists of
    outcome: int, step: int, value: int, found: list[Step], policy: Policy, host: Host
) -> None:
    """Return if the run is to be tried again.

    `jai -u` took the lock file away between our looking and locking, or the run that we joined has ended.
    """
    kind = found[step].kind if outcome == lib.JAI_FAILED and 0 <= step < len(found) else -1
    if (kind, value) not in PASSING:
        _complain(outcome, step, value, found, policy, host)


def _complain(  # noqa: PLR0913 - what a failure consists of
    outcome: int, step: int, value: int, found: list[Step], policy: Policy, host: Host
) -> None:
    """Explain a jail that did not come to its end.

    Raises: JaiError, always.
    """
    if outcome == lib.JAI_LOST:
        message = "the jail was killed from outside"
        raise JaiError(message)
    if outcome == lib.JAI_BAD_IMAGE:
        message = f"the plan is not one that the core runs (step {step})"
        raise JaiError(message, hint="this is a fault in jai, please report it with the output of jai --plan")
    from jai.explain import explain  # noqa: PLC0415 - only when something failed

    raise explain(found[step] if 0 <= step < len(found) else None, value, policy, host)
