"""What the file systems can do that hold the jails' state."""

from __future__ import annotations

import errno
import os
import stat

from jai._core import lib
from jai.errors import JaiError
from jai.host import UNFIT_FOR_UPPER, read_bytes
from jai.store import local_state, private_directory
from jai.verbs.doctor.namespaces import enter_user_namespace, without_namespaces
from jai.verbs.doctor.records import NO, YES, Finding
from jai.verbs.doctor.system_calls import libc, succeed, unshare_mounts, words_of, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from jai.verbs.doctor.records import Patient

LEAST_ROOM = 1 << 20

# statfs(2) f_type: the name, and the Linux that brought id-mapped mounts ("" never, "?" it depends).
# Source: mount_setattr(2).
# fmt: off
FILE_SYSTEMS = {
    **{magic: (name, "") for magic, name in UNFIT_FOR_UPPER.items()},
    0xEF53: ("ext4", "5.12"), 0x58465342: ("xfs", "5.12"), 0x4D44: ("FAT", "5.12"),
    0x9123683E: ("btrfs", "5.15"), 0x7366746E: ("ntfs3", "5.15"), 0xF2F52010: ("f2fs", "5.18"),
    0xE0F5E1E2: ("erofs", "5.19"), 0x73717368: ("squashfs", "6.2"), 0x01021994: ("tmpfs", "6.3"),
    0x00C36400: ("Ceph", "6.7"), 0x65735546: ("FUSE", "?"), 0x2FC12FC1: ("zfs", "?"),
    0xCA451A4E: ("bcachefs", "?"), 0x9FA0: ("proc", ""), 0x62656572: ("sysfs", ""),
}
# fmt: on


def storage(patient: Patient) -> Iterator[Finding]:
    """Say what holds the jails' state: its file system, owner and mode, and what room there is."""
    choose = "choose a directory of your own: storage DIR in default.conf, or --storage DIR"
    place = existing(patient.storage)
    found, room = os.stat(place), os.statvfs(place)
    free = f"{_amount(room.f_bavail * room.f_frsize)} free" if room.f_blocks else "as much as there is memory"
    words = (
        f"{patient.storage}: "
        if place == patient.storage
        else f"{patient.storage} is not there yet; {place}: "
    )
    owner = "yours" if found.st_uid == patient.uid else f"of uid {found.st_uid}"
    words += f"{file_system(place)}, {owner}, mode {stat.S_IMODE(found.st_mode):04o}, {free}"
    if os.path.lexists(patient.storage) and place != patient.storage:
        yield Finding(NO, f"{patient.storage} is not a directory", choose)
    elif place == patient.storage and found.st_uid != patient.uid:
        yield Finding(NO, words, choose)
    elif room.f_flag & os.ST_RDONLY:
        yield Finding(NO, f"{words}; read-only", choose)
    elif not os.access(place, os.W_OK | os.X_OK):
        yield Finding(NO, f"{words}; you can not write there", choose)
    elif room.f_blocks and room.f_bavail * room.f_frsize < LEAST_ROOM:
        yield Finding(NO, f"{words}: full", "make room, or choose another --storage DIR")
    elif room.f_files and not room.f_favail:
        yield Finding(NO, f"{words}: no inode is left", "remove files, or choose another --storage DIR")
    elif place == patient.storage and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield Finding(NO, f"{words}: others may write there", f"chmod go-w {place}")
    else:
        yield Finding(YES, words)


def overlay(patient: Patient) -> Iterator[Finding]:
    """Change, add and remove a file through an overlay whose upper layer is where jails keep theirs."""
    unfit = UNFIT_FOR_UPPER.get(lib.jai_fstype(os.fsencode(existing(patient.storage))), "")
    local = local_state(patient.uid)
    instead = f"not on {patient.storage} ({unfit}), so " if unfit else ""
    hint = "choose a local file system (ext4, btrfs, xfs): storage DIR in default.conf, or --storage DIR"
    try:
        if unfit:
            private_directory(local, patient.uid)
        elif not os.path.isdir(patient.scratch):
            yield Finding(NO, f"nothing can be made in {os.path.dirname(patient.scratch)}", hint)
            return
        place = f"{local}/{patient.jail}.overlay" if unfit else f"{patient.scratch}/overlay"
        if refused := enter_user_namespace(patient):
            yield without_namespaces(refused)
            return
        unshare_mounts()
        _try_overlay(place)
    except JaiError as error:
        yield Finding(NO, f"{instead}{error.message}", error.hint)
    except OSError as error:
        where = local if unfit else patient.storage
        yield Finding(NO, f"{instead}{where} can not keep what a jail changes: {words_of(error)}", hint)
    else:
        kept = f"in {local}" if unfit else f"on {file_system(patient.scratch)}"
        yield Finding(
            YES, f"{instead}{kept}: changed, added and removed files were kept apart from the original"
        )


def _try_overlay(place: str) -> None:
    os.mkdir(place, 0o700)
    os.chdir(place)
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(name)
    for name in ("changed", "removed"):
        write(f"lower/{name}", "old")
    options = b"userxattr,lowerdir=lower,upperdir=upper,workdir=work"
    succeed(libc.mount(b"overlay", b"merged", b"overlay", 0, options))
    write("merged/changed", "new")
    write("merged/added", "new")
    os.unlink("merged/removed")
    seen = [read_bytes(f"{layer}/changed") for layer in ("lower", "upper")]
    whiteout = os.lstat("upper/removed")
    apart = seen == [b"old", b"new"] and sorted(os.listdir("merged")) == ["added", "changed"]
    if not apart or not stat.S_ISCHR(whiteout.st_mode) or not os.path.exists("lower/removed"):
        raise OSError(errno.EIO, "the layers are not kept apart")


def existing(path: str) -> str:
    """Give the path or its deepest parent that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "/"
    return path


def file_system(path: str) -> str:
    """Name the file system that holds a path, as mount(8) does where /proc tells."""
    device = os.stat(path).st_dev
    wanted = f" {os.major(device)}:{os.minor(device)} ".encode()
    for line in read_bytes("/proc/self/mountinfo").splitlines():
        if wanted in line and b" - " in line:
            return os.fsdecode(line.split(b" - ")[1].split(b" ")[0])
    magic = lib.jai_fstype(os.fsencode(path))
    return FILE_SYSTEMS.get(magic, (f"file system {magic:#x}", ""))[0]


def _amount(size: int) -> str:
    number = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:  # noqa: PLR2004 - of the one in the other
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
