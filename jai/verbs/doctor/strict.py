"""What strict mode needs: the helper, the user jai, ids for it, and id-mapped mounts."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import struct

from jai._core import lib
from jai.host import HELPER, read_bytes
from jai.verbs.doctor.file_systems import FILE_SYSTEMS, file_system
from jai.verbs.doctor.kernel import version_of
from jai.verbs.doctor.namespaces import id_map
from jai.verbs.doctor.records import NO, OPTIONAL, YES, Finding
from jai.verbs.doctor.system_calls import (
    AT_FDCWD,
    CALLS,
    CLONE_NEWUSER,
    MOUNT_ATTR_IDMAP,
    OPEN_TREE_CLONE,
    PR_GET_NO_NEW_PRIVS,
    errno_of,
    libc,
    prctl,
    set_attributes,
    succeed,
    syscall,
    write,
)
from jai.verbs.setup.ranges import UNFIT, find_ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from jai.verbs.doctor.records import Patient

HELPER_CAPABILITIES = 1 << 21 | 1 << 7 | 1 << 6  # CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID


def helper(patient: Patient) -> Iterator[Finding]:
    """Say if the helper has its privileges, and if nobody else could have put it there."""
    try:
        found = os.lstat(HELPER)
    except OSError:
        yield _without_installed_helper(patient)
        return
    wrong = [] if stat.S_ISREG(found.st_mode) else ["is not a file"]
    path = HELPER
    while path != "/":
        each = os.lstat(path)
        if each.st_uid != 0:
            wrong.append(f"{path} is of uid {each.st_uid}")
        elif each.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            wrong.append(f"others may write to {path}")
        path = os.path.dirname(path)
    if not found.st_mode & stat.S_ISUID and not _has_capabilities(HELPER):
        wrong.append("it has neither its capabilities nor set-uid")
    if os.statvfs(HELPER).f_flag & os.ST_NOSUID:
        wrong.append("its file system is mounted nosuid")
    if wrong:
        yield Finding(NO, f"{HELPER}: {'; '.join(wrong)}", patient.setup)
    elif prctl(PR_GET_NO_NEW_PRIVS) == 1:
        yield Finding(
            NO, f"{HELPER} gets no privileges here (no_new_privs)", "run jai outside of the other sandbox"
        )
    else:
        yield Finding(YES, f"{HELPER} is root's, with its privileges")


def _without_installed_helper(patient: Patient) -> Finding:
    """Say who can do without: root lends the package's own its privileges, where it has them itself."""
    own = patient.host.helper()
    if own and not id_map():
        return Finding(YES, f"{HELPER} is not there; root uses {own}")
    words = f"{HELPER} is not there: strict mode, and casual mode over mounts, only with sudo"
    return Finding(OPTIONAL, words, patient.setup)


def _has_capabilities(path: str) -> bool:
    """Say if a file has the helper's capabilities, effective.  Source: capabilities(7), vfs_cap_data."""
    try:
        data = os.getxattr(path, "security.capability")
        flags, permitted = struct.unpack_from("<II", data)
    except (OSError, struct.error):
        return False
    return bool(flags & 1) and permitted & HELPER_CAPABILITIES == HELPER_CAPABILITIES


def sub_uid(patient: Patient) -> Iterator[Finding]:
    """Say if there is a strict uid for the user."""
    return _sub_ids(patient, "/etc/subuid")


def sub_gid(patient: Patient) -> Iterator[Finding]:
    """Say if there is a strict gid for the user."""
    return _sub_ids(patient, "/etc/subgid")


def _sub_ids(patient: Patient, path: str) -> Iterator[Finding]:
    """Say if the helper would find a strict id of the user, and trust the file."""
    text = read_bytes(path)
    lines = os.fsdecode(text).split("\n")
    strict = find_ranges(text).get(patient.uid)
    named = [line for line in lines if line.startswith(f"{patient.host.account.name}:")]
    if strict is None:
        but = f", only {named[0]} by name" if named else ""
        yield Finding(OPTIONAL, f"no line of {patient.uid} in {path}{but}", patient.setup)
    elif strict == UNFIT:
        first = next(line for line in lines if line.startswith(f"{patient.uid}:"))
        words = f"{first} in {path} is no range that the helper takes (UID:START:COUNT)"
        yield Finding(NO, words, f"remove the line, then {patient.setup}")
    elif os.lstat(path).st_mode & (stat.S_IWGRP | stat.S_IWOTH) or not stat.S_ISREG(os.lstat(path).st_mode):
        yield Finding(NO, f"{path} must be a file that only root may write to", f"sudo chmod 644 {path}")
    else:
        yield Finding(YES, f"{strict} in {path}")


def jai_user(patient: Patient) -> Iterator[Finding]:
    """Say if there is the user that a strict jail shows."""
    try:
        found = pwd.getpwnam("jai")
    except KeyError:
        yield Finding(OPTIONAL, "there is no user jai", patient.setup)
    else:
        yield Finding(YES, f"jai has uid {found.pw_uid}")


def home_idmap(patient: Patient) -> Iterator[Finding]:
    """Say if the home could be granted in strict mode."""
    return _idmap(patient, patient.home)


def current_idmap(patient: Patient) -> Iterator[Finding]:
    """Say if the current directory could be granted in strict mode."""
    return _idmap(patient, patient.cwd)


def _idmap(patient: Patient, path: str) -> Iterator[Finding]:
    """Say if a directory could be granted in strict mode: as tried by root, else as the manual has it."""
    if not path or not os.path.exists(path):
        yield Finding(OPTIONAL, f"{path or 'the current directory'} does not exist")
        return
    kind = file_system(path)
    since = FILE_SYSTEMS.get(lib.jai_fstype(os.fsencode(path)), ("", "?"))[1]
    code = patient.idmaps.get(path, errno.EPERM)
    place = f"{path} ({kind})"
    if code == 0:
        yield Finding(YES, f"{place}: tried")
    elif code == errno.EINVAL:
        yield Finding(
            NO, f"{place} refuses them: not to be granted in strict mode (tried)", "use -m bare for it"
        )
    elif not since:
        yield Finding(NO, f"{place} has none: not to be granted in strict mode", "use -m bare for it")
    elif since != "?" and version_of(os.uname().release) < version_of(since):
        yield Finding(NO, f"{place}: only from Linux {since} on", "update the kernel, or use -m bare for it")
    else:
        known = "" if since == "?" else f"; {kind} has them from Linux {since} on"
        yield Finding(OPTIONAL, f"{place}: unknown without root{known}")


def try_idmap(path: str) -> int:
    """Make an id-mapped mount that nobody sees; 0 or the errno."""
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        code = errno_of(lambda: succeed(libc.unshare(CLONE_NEWUSER)))
        os.write(ready[1], bytes([code]))
        os.close(go[1])
        os.read(go[0], 1)
        os._exit(0)
    code = os.read(ready[0], 1)[0]
    code = code or errno_of(lambda: _mount_with_map(path, pid))
    os.close(go[1])
    os.waitpid(pid, 0)
    return code


def _mount_with_map(path: str, pid: int) -> None:
    for name in ("uid_map", "gid_map"):
        write(f"/proc/{pid}/{name}", "0 100000 1", os.O_WRONLY)
    tree = syscall(CALLS["open_tree"], AT_FDCWD, os.fsencode(path), OPEN_TREE_CLONE)
    users = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
    set_attributes(tree, MOUNT_ATTR_IDMAP, users=users)
