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
