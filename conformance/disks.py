"""Small file systems that a test mounts for itself."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.accounts import must, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.accounts import Account


@dataclass(frozen=True)
class Disk:
    """A mounted loop file system."""

    place: str


# The least that the kernel asks of a FUSE server: an empty directory.  Arguments: where, its owner.
SERVER = """
import ctypes, os, struct, sys
place, uid = sys.argv[1], int(sys.argv[2])
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id={uid},group_id={uid},allow_other"
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"test", place.encode(), b"fuse", 0, options.encode()):
    sys.exit(os.strerror(ctypes.get_errno()))
if os.fork():
    os._exit(0)
os.setsid()
os.close(2)  # whoever started it waits for the end of that
while True:
    try:
        request = os.read(device, 1 << 20)
    except OSError:
        break
    opcode, unique = struct.unpack_from("=IQ", request, 4)
    answers = {
        3: struct.pack("=QII6Q10I", 0, 0, 0, 1, *[0] * 8, 0o40755, 2, uid, uid, 0, 4096, 0),  # GETATTR
        17: bytes(80),  # STATFS
        26: struct.pack("=4I2H2I2H8I", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, *[0] * 8),  # INIT
        27: bytes(16),  # OPENDIR
        28: b"",  # READDIR
        29: b"",  # RELEASEDIR
    }
    answer = answers.get(opcode)
    if opcode not in (2, 42):  # FORGET and BATCH_FORGET get no answer
        error = 0 if answer is not None else -2 if opcode == 1 else -38  # LOOKUP finds nothing
        os.write(device, struct.pack("=IiQ", 16 + len(answer or b""), error, unique) + (answer or b""))
"""


@contextlib.contextmanager
def strange(account: Account, place: str, kind: str) -> Iterator[Disk]:
    """Mount an empty file system of another kind at a directory, as the account's own."""
    host, quoted = account.host, shlex.quote(place)
    uid = must(run(host, f"id -u {account.name}")).stdout.strip()
    if kind == "FUSE":
        server = shlex.join(["/usr/bin/python3", "-I", "-c", SERVER, place, uid])
        must(run(host, f"{server} </dev/null >/dev/null"))
    else:
        must(run(host, f"mount -n -t {kind} -o mode=755 none {quoted} && chown {uid}:{uid} {quoted}"))
    try:
        yield Disk(place)
    finally:
        run(host, f"umount -n -l {quoted}")


@contextlib.contextmanager
def mounted(account: Account, place: str, *, megabytes: int, inodes: int = 1000) -> Iterator[Disk]:
    """Mount a fresh ext4 of a size at a directory and give it to the account."""
    host, quoted = account.host, shlex.quote(place)
    image = must(run(host, "mktemp /var/tmp/disk-XXXXXX")).stdout.strip()
    try:
        must(run(host, f"truncate -s {megabytes}M {image} && mkfs.ext4 -q -m 0 -N {inodes} {image}"))
        must(run(host, f"mount -n -o loop {image} {quoted}"))
        must(run(host, f"rmdir {quoted}/lost+found; chown {account.name}:{account.name} {quoted}"))
        yield Disk(place)
    finally:
        run(host, f"umount -n -l {quoted}; rm -f {image}")
