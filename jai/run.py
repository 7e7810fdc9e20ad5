"""Runs a policy's plan and ends as the command ended."""

from __future__ import annotations

import errno
import posix
import sys

from jai._core import ffi, lib
from jai.errors import FILE_SIZE_HINT, HostError, JaiError
from jai.host import read_bytes
from jai.plan import plan
from jai.record import Record
from jai.sealed import launcher, seal
from jai.steps import encode
from jai.store import prepare
from jai.system import exists, fsdecode, set_variable, take_variable, variable, write_whole

# (step, errno) of what is over when it is tried again.
MOST_ATTEMPTS = 10
PASSING = ((lib.JAI_LOCK, errno.ESTALE), (lib.JAI_LOCK, errno.ENOENT), (lib.JAI_USERNS, errno.ESRCH))

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jai.host import Host
    from jai.policy import Policy
    from jai.settings import Settings
    from jai.steps import Step


def steps_of(policy: Policy) -> list[Step]:
    """Give the plan of a policy, with the passwd and group files where the jail's differ from the host's."""
    account, strict = policy.account, policy.strict
    if not account.entry and not strict:
        return plan(policy)
    passwd = fsdecode(read_bytes("/etc/passwd")) + account.entry
    if not strict:
        return plan(policy, passwd)
    group = fsdecode(read_bytes("/etc/group"))
    user = f"jai:x:{strict.uid}:{strict.gid}:jailed:{policy.home}:{account.shell}\n"
    return plan(policy, _replaced(passwd, user), _replaced(group, f"jai:x:{strict.gid}:\n"))


def _replaced(text: str, line: str) -> str:
    """Put a line in front of a passwd(5) or group(5) file, and take out what has its name or number."""
    name, _, number = line.split(":")[:3]
    others = [
        other for other in text.splitlines(keepends=True) if not _clashes(other.split(":"), name, number)
    ]
    return line + "".join(others)


def _clashes(fields: list[str], name: str, number: str) -> bool:
    return fields[0] == name or fields[2:3] == [number]


class Ending(Record):
    """How the core came back: an outcome of core/jai.h, the step, and a status, signal or errno."""

    outcome: int
    step: int
    value: int


def run(settings: Settings, policy: Policy, host: Host) -> int:
    """Run the command in its jail; give its exit status, or die of its signal.

    Raises: JaiError where a step failed.
    """
    steps = steps_of(policy)
    failed = take_variable("JAI_FAILED")
    if failed:
        ending = Ending(*map(int, failed.split()))
        attempts = int(variable("JAI_ATTEMPTS") or 0)
        if not _is_passing(ending, steps) or attempts == MOST_ATTEMPTS:
            raise _complaint(ending, steps, policy, host)
        set_variable("JAI_ATTEMPTS", str(attempts + 1))
    prepare(policy)
    image = encode(steps)
    if not failed:
        seal(settings, host, policy, image)
    _hand_over(image)
    _restore_signals()
    result = ffi.new("struct jai_result *")
    lib.jai_run(image, len(image), result)
    ending = Ending(result.outcome, result.step, result.value)
    if ending.outcome in (lib.JAI_EXITED, lib.JAI_SIGNALED, lib.JAI_LOST):
        _tell_changes(image, steps)
    if ending.outcome in (lib.JAI_EXITED, lib.JAI_SIGNALED):
        after = variable("JAI_AFTER")
        if after:
            from jai.verbs.aftermath import tell_aftermath  # noqa: PLC0415 - only when asked

            tell_aftermath(policy, int(after))
        return end_as(ending.outcome, ending.value)
    raise _complaint(ending, steps, policy, host)


def end_as(outcome: int, value: int) -> int:
    """Give the status of a command that exited, or die of the signal it died of."""
    if outcome == lib.JAI_SIGNALED:
        lib.jai_die(value)
        return 128 + value
    return value


def _tell_changes(image: bytes, steps: list[Step]) -> None:
    """Say what the jail changed of what may run later, as the launcher would."""
    changed = ffi.new("int32_t[]", len(steps))
    count = lib.jai_changed(image, len(image), changed, len(steps))
    if count:
        from jai.explain import changes  # noqa: PLC0415 - only when something was changed

        posix.write(
            2, changes([steps[changed[at]] for at in range(count)]).encode("utf-8", "backslashreplace")
        )


def _hand_over(image: bytes) -> None:
    """Let the launcher beside us run the image, so that no interpreter stays in memory.

    Comes back only where there is no launcher.
    """
    path = launcher()
    if not exists(f"{path}-python"):
        return
    fd = posix.memfd_create("jai", 0)
    try:
        write_whole(fd, image)
    except OSError as error:
        message = "the plan can not be written down for the core"
        raise HostError(message, detail=f"memfd: {error.strerror}", hint=FILE_SIZE_HINT) from None
    set_variable("JAI_IMAGE", f"{fd} {posix.getpid()}")
    _restore_signals()
    posix.execve(path, ["jai", *sys.argv[1:]], posix.environ)


def _restore_signals() -> None:
    """Undo what Python does to signals; the launcher knows what the user had."""
    import _signal  # type: ignore[import-not-found]  # noqa: PLC0415 - the signal module costs an enum

    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)


def _is_passing(ending: Ending, steps: list[Step]) -> bool:
    """Say whether it may go well the next time.

    `jai -u` took the lock file away between our looking and locking, or the run that we joined has ended.
    """
    known = ending.outcome == lib.JAI_FAILED and 0 <= ending.step < len(steps)
    return known and (steps[ending.step].kind, ending.value) in PASSING


def _complaint(ending: Ending, steps: list[Step], policy: Policy, host: Host) -> JaiError:
    """Explain a jail that did not come to its end."""
    if ending.outcome == lib.JAI_LOST:
        return JaiError("the jail was killed from outside")
    if ending.outcome == lib.JAI_BAD_IMAGE:
        message = f"the plan is not one that the core runs (step {ending.step})"
        return JaiError(message, hint="a fault in jai: please report it with the output of jai --plan")
    from jai.explain import explain  # noqa: PLC0415 - only when something failed

    step = steps[ending.step] if 0 <= ending.step < len(steps) else None
    return explain(step, ending.value, policy, host)
