"""Whether a user may make the namespaces of a jail, and who keeps them from it."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from jai.host import read_bytes
from jai.verbs.doctor.kernel import UNCONFINED
from jai.verbs.doctor.records import NO, OPTIONAL, YES, Finding
from jai.verbs.doctor.system_calls import (
    AT_FDCWD,
    AT_RECURSIVE,
    CALLS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    FSCONFIG_CMD_CREATE,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    OPEN_TREE_CLONE,
    PR_GET_SECCOMP,
    PRIVILEGED_CALLS,
    SECCOMP_MODE_FILTER,
    STATX_ATTR_MOUNT_ROOT,
    errno_of,
    libc,
    prctl,
    set_attributes,
    succeed,
    syscall,
    sysctl,
    unshare_mounts,
    words_of,
    write,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from jai.verbs.doctor.records import Patient

# What keeps users from user namespaces: the setting, the value that does, what mends it, if root minds it.
SWITCHES = (
    ("user.max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=15000", True),
    ("kernel.unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1", False),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "", False),  # the hint depends on where jai is
)

ALL_IDS = "0 0 4294967295"


def user_namespaces(patient: Patient) -> Iterator[Finding]:
    """Say if the user gets a user namespace, with himself in it."""
    refused = enter_user_namespace(patient)
    yield refused or Finding(YES, "made one, and mapped the user in it")


def mount_namespace(patient: Patient) -> Iterator[Finding]:
    """Clone the whole tree read-only, as a jail does."""
    if refused := enter_user_namespace(patient):
        yield without_namespaces(refused)
        return
    try:
        unshare_mounts()
        tree = syscall(CALLS["open_tree"], AT_FDCWD, b"/", OPEN_TREE_CLONE | AT_RECURSIVE)
        set_attributes(tree, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, recursive=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            yield Finding(NO, "there are too many mounts", "sudo sysctl fs.mount-max=200000, or unmount some")
        else:
            yield Finding(
                NO, f"refused inside a user namespace: {words_of(error)}", _mend_namespaces(patient)
            )
        return
    yield Finding(YES, "made one, and a read-only copy of all that is mounted")


def process_namespace(patient: Patient) -> Iterator[Finding]:
    """Mount a /proc for new process numbers: where parts of the old one are covered, a user may not."""
    if refused := enter_user_namespace(patient):
        yield without_namespaces(refused)
        return
    try:
        unshare_mounts()
        succeed(libc.unshare(CLONE_NEWPID))
    except OSError as error:
        yield Finding(NO, f"refused inside a user namespace: {words_of(error)}", _mend_namespaces(patient))
        return
    pid = os.fork()
    if pid == 0:
        os._exit(errno_of(_mount_proc))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == 0:
        yield Finding(YES, "new process numbers, with a /proc of their own")
    elif code in (errno.EPERM, errno.EACCES):
        covered = ", ".join(patient.host.mounts_below("/proc")[:3])
        words = f"no new /proc: parts of the one here are covered ({covered}), as in a container"
        hint = "uncover it where the container is started (docker: --security-opt systempaths=unconfined)"
        yield Finding(NO, words if covered else "no new /proc may be mounted here (EPERM)", hint)
    else:
        yield Finding(NO, f"no new /proc: {os.strerror(code)} ({errno.errorcode.get(code, code)})")


def _mount_proc() -> None:
    context = syscall(PRIVILEGED_CALLS["fsopen"], b"proc", 0)
    syscall(PRIVILEGED_CALLS["fsconfig"], context, FSCONFIG_CMD_CREATE, 0, 0, 0)
    syscall(PRIVILEGED_CALLS["fsmount"], context, 0, 0)


def apparmor(patient: Patient) -> Iterator[Finding]:
    """Say if AppArmor keeps jai from user namespaces."""
    name = "kernel.apparmor_restrict_unprivileged_userns"
    setting = sysctl(name)
    if not os.path.isdir("/proc/sys/kernel"):
        yield Finding(OPTIONAL, "unknown without /proc")
    elif setting != "1":
        yield Finding(
            YES,
            f"does not restrict user namespaces ({f'{name}={setting}' if setting else 'no such setting'})",
        )
    elif enter_user_namespace(patient) or errno_of(unshare_mounts):
        yield Finding(NO, f"keeps jai from user namespaces ({name}=1)", patient.setup)
    else:
        yield Finding(YES, f"restricts user namespaces ({name}=1), but not jai's")


def enter_user_namespace(patient: Patient) -> Finding | None:
    """Go into a new user namespace in which the user is himself; what is in the way, None if nothing."""
    uid, gid = os.geteuid(), os.getegid()
    code = errno_of(lambda: succeed(libc.unshare(CLONE_NEWUSER)))
    if code:
        return _why_none(patient, code)
    maps = {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
    for name, text in maps.items():
        try:
            write(f"/proc/self/{name}", text, os.O_WRONLY)
        except FileNotFoundError:
            hint = "mount -t proc proc /proc, as root"
            return Finding(NO, "made one, but without /proc nobody can be mapped in it", hint)
        except OSError as error:
            words = f"made one, but {name} can not be written: {words_of(error)}"
            return Finding(NO, words, _mend_namespaces(patient))
    return None


def without_namespaces(refused: Finding) -> Finding:
    """Say what follows from the lack of user namespaces."""
    return Finding(NO, "not without a user namespace", refused.hint)


def _why_none(patient: Patient, code: int) -> Finding:
    """Say why the kernel makes no user namespace."""
    answer = errno.errorcode.get(code, str(code))
    for name, value, _, root_too in SWITCHES:
        if (
            code in (errno.ENOSPC, errno.EPERM, errno.EACCES)
            and sysctl(name) == value
            and (root_too or os.geteuid())
        ):
            return Finding(NO, f"switched off: {name}={value} ({answer})", _mend_namespaces(patient))
    if code == errno.ENOSPC:
        limit = sysctl("user.max_user_namespaces") or "unknown without /proc"
        words = f"as many as may be, here or around us ({answer}; user.max_user_namespaces here: {limit})"
        return Finding(NO, words, SWITCHES[0][2])
    if code == errno.EUSERS:
        return Finding(NO, f"nested too deep ({answer})", "run jai outside of the other sandbox")
    if code in (errno.EINVAL, errno.ENOSYS):
        return Finding(NO, f"not in this kernel ({answer})", "use one with CONFIG_USER_NS")
    return _who_forbids(answer)


def _who_forbids(answer: str) -> Finding:
    """Say what else than a setting answers so."""
    if is_chroot():
        return Finding(NO, f"the kernel makes none in a chroot ({answer})", "run jai outside of the chroot")
    if prctl(PR_GET_SECCOMP) == SECCOMP_MODE_FILTER:
        return Finding(NO, f"a seccomp filter is around us, as in a container ({answer})", UNCONFINED)
    unread = "" if os.path.isdir("/proc/sys") else "; without /proc no setting can be read"
    words = f"refused ({answer}), as in a chroot or by a security module{unread}"
    return Finding(
        NO, words, "run jai outside of the chroot, or look at the settings user.* and kernel.*userns*"
    )


def _mend_namespaces(patient: Patient) -> str:
    """Give the command that sets the switch that is off."""
    for name, value, command, root_too in SWITCHES:
        if sysctl(name) == value and (root_too or os.geteuid() != 0):
            return command or f"{patient.setup}, or sudo sysctl {name}=0"
    return ""


def id_map() -> str:
    """Give the map of the user namespace that we are in, "" in the first one, and without /proc."""
    mapped = " ".join(os.fsdecode(read_bytes("/proc/self/uid_map")).split())
    return "" if mapped == ALL_IDS else mapped


def is_chroot() -> bool:
    """Say if the root directory is no mount of its own: then it is a chroot; if it is, it may be one."""
    found = ctypes.create_string_buffer(256)
    statx = getattr(libc, "statx", None)
    if statx is None or statx(AT_FDCWD, b"/", 0, 0, found) != 0:
        return False
    (attributes,) = struct.unpack_from("Q", found, 8)
    (known,) = struct.unpack_from("Q", found, 56)
    return bool(known & STATX_ATTR_MOUNT_ROOT and not attributes & STATX_ATTR_MOUNT_ROOT)
