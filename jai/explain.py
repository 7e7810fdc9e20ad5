"""Explains a step that the kernel refused: what it was for, the kernel's answer, what mends it.

Imported only when something has failed.
"""

from __future__ import annotations

import errno
import os

from jai._core import lib
from jai.describe import describe
from jai.errors import (
    EXIT_CANNOT_EXECUTE,
    EXIT_NOT_FOUND,
    FILE_SIZE_HINT,
    HostError,
    JaiError,
    StepError,
    printable,
)
from jai.host import read_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from jai.host import Host
    from jai.policy import Policy
    from jai.steps import Step

FLOOR = "5.12"
MOST_TOLD = 8


def explain(step: Step | None, number: int, policy: Policy, host: Host) -> JaiError:
    """Give the error for a step and the errno it failed with."""
    answer = f"{os.strerror(number)} ({errno.errorcode.get(number, number)})"
    detail = f"{describe(step)}: {answer}" if step else answer
    if step is None or number == errno.EMFILE:
        return _limit(number, detail, policy)
    if step.kind == lib.JAI_EXEC:
        return _command(step, number, answer)
    if number == errno.ENOSYS and _is_filtered():
        message = "a seccomp filter around jai keeps system calls from it, as in a container or another jail"
        return HostError(message, detail=detail, hint="run jai outside of it; jai --doctor names the calls")
    if number == errno.ENOSYS or (number == errno.EINVAL and step.kind == lib.JAI_ROOT):
        message = f"this kernel ({os.uname().release}) is too old: jai needs Linux {FLOOR} or newer"
        return HostError(message, detail=detail, hint="update the kernel")
    if number == errno.EFBIG or (number in NO_ROOM and step.kind in MAKING):
        return _space(number, detail)
    reason = REASONS.get(step.kind)
    found = reason(step, number, policy, host) if reason else None
    if found is None:
        found = ("the jail can not be set up", "jai --plan prints all the steps; JAI_DEBUG=1 shows more")
    return StepError(found[0], detail=detail, hint=found[1])


def _limit(number: int, detail: str, policy: Policy) -> JaiError:
    """Name the limit that leaves the jail no room."""
    # jai's own descriptors get numbers from 21 on, which answers EINVAL where the limit is lower.
    if number in (errno.EMFILE, errno.EINVAL):
        asked = "nofile" in dict(policy.limits)
        hint = "--limit nofile=1024" if asked else "ulimit -n 1024"
        return HostError("too few files may be open at once here", detail=detail, hint=hint)
    hint = "close other programs, or raise the limit of processes (ulimit -u)"
    return HostError("the jail's first process can not be made", detail=detail, hint=hint)


def changes(steps: Sequence[Step]) -> str:
    """Say that these watched things are not as they were."""
    lines = [
        f"jai: {printable(step.target)} was {'changed' if step.flags else 'made'} while the jail ran\n"
        for step in steps[:MOST_TOLD]
    ]
    if len(steps) > MOST_TOLD:
        lines.append(f"jai: and {len(steps) - MOST_TOLD} more\n")
    lines.append("  hint: it may run, or say what runs, outside of the jail: look at it first\n")
    return "".join(lines)


def _command(step: Step, number: int, answer: str) -> JaiError:
    if number == errno.ENOENT:
        message = f"{step.source}: command not found"
        hint = "inside the jail PATH is searched as it is there; a home that is hidden hides its programs too"
        return JaiError(message, hint=hint, status=EXIT_NOT_FOUND)
    return JaiError(
        f"{step.source}: can not be executed", detail=f"exec: {answer}", status=EXIT_CANNOT_EXECUTE
    )


def _namespace(_step: Step, number: int, _policy: Policy, _host: Host) -> tuple[str, str] | None:
    if number == errno.ENOSPC:
        return _no_namespaces("user.max_user_namespaces", "sudo sysctl user.max_user_namespaces=15000")
    if number == errno.EUSERS:
        return ("user namespaces are nested too deep here", "run jai outside of the other sandbox")
    if number in (errno.EPERM, errno.EACCES):
        return _who_forbids()
    return None


def _no_namespaces(setting: str, command: str) -> tuple[str, str]:
    return (f"user namespaces are switched off here ({setting})", command)


def _setting(name: str) -> str:
    return os.fsdecode(read_bytes(f"/proc/sys/{name}")).strip()


def _who_forbids() -> tuple[str, str]:
    """Name what keeps an ordinary user from user namespaces."""
    if _setting("user/max_user_namespaces") == "0":
        return _no_namespaces("user.max_user_namespaces=0", "sudo sysctl user.max_user_namespaces=15000")
    if _setting("kernel/unprivileged_userns_clone") == "0":
        return _no_namespaces(
            "kernel.unprivileged_userns_clone=0", "sudo sysctl kernel.unprivileged_userns_clone=1"
        )
    if _setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return _no_namespaces(
            "kernel.apparmor_restrict_unprivileged_userns=1",
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        )
    profile, _, how = os.fsdecode(read_bytes("/proc/self/attr/apparmor/current")).strip().rpartition(" ")
    if how == "(enforce)":
        return (
            f"the AppArmor profile {profile} forbids user namespaces here",
            "add `userns,` to that profile, or start jai from outside of it",
        )
    if _is_filtered():
        return (
            "user namespaces are forbidden here by a seccomp filter, as in a container",
            "allow unshare and mount in the container's profile (docker: --security-opt seccomp=unconfined)",
        )
    return ("user namespaces are forbidden here", "look at the sysctl settings user.* and kernel.*userns*")


def _is_filtered() -> bool:
    return b"Seccomp:\t2" in read_bytes("/proc/self/status")


def _root(_step: Step, number: int, _policy: Policy, _host: Host) -> tuple[str, str] | None:
    if number in (errno.EPERM, errno.EACCES):
        return _who_forbids()
    return _mount_limit(number)


def _mount_limit(number: int) -> tuple[str, str] | None:
    if number == errno.ENOSPC:
        return ("there are too many mounts", "sudo sysctl fs.mount-max=200000, or unmount some")
    return None


def _proc(_step: Step, number: int, _policy: Policy, _host: Host) -> tuple[str, str] | None:
    if number in (errno.EPERM, errno.EACCES):
        return (
            "a new /proc can not be mounted: parts of /proc are covered here, as in a container",
            "start the container with an uncovered /proc (docker: --security-opt systempaths=unconfined)",
        )
    return None


def _overlay(_step: Step, number: int, policy: Policy, host: Host) -> tuple[str, str] | None:
    below = host.mounts_below(policy.home)
    if number == errno.EINVAL and below:
        return (f"something is mounted below the home: {', '.join(below[:3])}", "unmount it, or use -m bare")
    if number == errno.ESTALE:
        return (f"the home {policy.home} was replaced while jai started", "try again")
    if number == errno.EINVAL:
        # The storage has been looked at before.
        return (
            f"the kernel makes no overlay of {policy.home} with its changes in {policy.layout.state}",
            "-m bare works, also if a file system ignores case (casefold); --storage DIR moves the changes",
        )
    if number in (errno.EPERM, errno.EOPNOTSUPP, errno.EROFS, errno.EACCES):
        return (
            f"{policy.layout.state} can not keep what the jail changes",
            "choose a directory on a local file system (ext4, btrfs, xfs) with --storage DIR, or use -m bare",
        )
    return None


def _bind(step: Step, number: int, policy: Policy, _host: Host) -> tuple[str, str] | None:
    if number == errno.ESTALE:
        return (f"{step.source} was replaced while jai started", "try again")
    if number == errno.ELOOP:
        return (
            f"on the way to {step.target} there is a symbolic link that was not there before",
            _changed(policy),
        )
    if number in (errno.ENOTDIR, errno.EEXIST):
        return (f"in the jail there is something else in the place of {step.target}", _changed(policy))
    if number == errno.ENOENT:
        return (f"{step.source} is gone", "try again")
    return _mount_limit(number)


def _mask(step: Step, number: int, _policy: Policy, _host: Host) -> tuple[str, str] | None:
    if number == errno.ESTALE:
        return (f"a folder above {step.source}/{step.target} was replaced while jai started", "try again")
    return None


def _pin(step: Step, number: int, _policy: Policy, _host: Host) -> tuple[str, str] | None:
    if number in (errno.ESTALE, errno.ENOENT, errno.ELOOP):
        return (f"{step.target} was replaced while jai started", "try again")
    if number == errno.EACCES:
        return (
            f"{step.target} runs outside, and can not be protected",
            "--protect none does without; --plan shows all that is protected",
        )
    return _mount_limit(number)


def _changed(policy: Policy) -> str:
    where = policy.layout.changes if policy.mode == "casual" else policy.layout.home
    return f"look at what the jail changed in {where}, or use another jail (-j NAME)"


def _lock(_step: Step, number: int, policy: Policy, _host: Host) -> tuple[str, str] | None:
    if number == errno.EBUSY:
        return (
            f"the jail {policy.jail!r} is running with other masks, and all its runs share one view",
            f"wait until it has ended, or use another jail: -j NAME -m {policy.mode}",
        )
    if number == errno.EROFS:
        return (
            f"{policy.layout.state} is on a read-only file system",
            "choose another place with --storage DIR",
        )
    if number == errno.EXDEV:
        return (f"the jail {policy.jail!r} is running in another container", "use another jail: -j NAME")
    if number == errno.EPERM:
        return (
            f"the jail {policy.jail!r} is running, and from this user namespace it can not be joined",
            "wait until it has ended, or use another jail: -j NAME",
        )
    return None


def _strict(step: Step, number: int, policy: Policy, host: Host) -> tuple[str, str] | None:
    setup = "sudo jai --setup"
    if number == errno.ENOENT:
        return ("there is no strict id for you in /etc/subuid and /etc/subgid", setup)
    if number == errno.EBADMSG:
        return ("your line in /etc/subuid or /etc/subgid is not as it must be", setup)
    if number == errno.ECONNRESET:
        return ("the helper of strict mode can not be used", f"{setup}; jai --doctor says more")
    # An id map is kept by a user namespace, which the helper makes.
    if number == errno.ENOSPC and _setting("user/max_user_namespaces") == "0":
        return _namespace(step, number, policy, host)
    if number == errno.EINVAL and step.kind == lib.JAI_IDMAP:
        return (
            f"{step.source} is on a file system whose ids can not be mapped (NFS, FUSE and the like)",
            "bare mode works there: -m bare",
        )
    return _bind(step, number, policy, host) if step.kind == lib.JAI_IDMAP else None


def _user_namespace(step: Step, number: int, policy: Policy, host: Host) -> tuple[str, str] | None:
    return (_strict(step, number, policy, host) if policy.strict else None) or _namespace(
        step, number, policy, host
    )


def _space(number: int, detail: str) -> JaiError:
    if number == errno.EFBIG:
        message = "a limit on the size of files leaves jai no room for its own"
        return HostError(message, detail=detail, hint=FILE_SIZE_HINT)
    what = "read-only" if number == errno.EROFS else "full"
    message = f"the file system of the jail's state is {what}"
    return HostError(message, detail=detail, hint="make room, or choose another place with --storage DIR")


def _filter(_step: Step, _number: int, _policy: Policy, _host: Host) -> tuple[str, str]:
    return (
        "system calls can not be filtered here",
        "use a kernel with CONFIG_SECCOMP_FILTER; in a container allow the system call seccomp",
    )


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
MAKING = (lib.JAI_OVERLAY, lib.JAI_FILE, lib.JAI_BIND)
REASONS = {
    lib.JAI_LOCK: _lock,
    lib.JAI_HELPER: _strict,
    lib.JAI_IDMAP: _strict,
    lib.JAI_USERNS: _user_namespace,
    lib.JAI_NETNS: _namespace,
    lib.JAI_ROOT: _root,
    lib.JAI_OVERLAY: _overlay,
    lib.JAI_MASK: _mask,
    lib.JAI_BIND: _bind,
    lib.JAI_PIN: _pin,
    lib.JAI_PROC: _proc,
    lib.JAI_INIT: _namespace,
    lib.JAI_FILTER: _filter,
}
