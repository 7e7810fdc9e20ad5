"""The kernels of the guests: fetched from Debian's suites, with an initrd that finds the userland."""

from __future__ import annotations

import io
import lzma
import stat
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from conformance.guests import cache, image
from conformance.guests.table import KERNELS

if TYPE_CHECKING:
    from collections.abc import Iterable

DAYS = 7  # after that the suite is asked again, since a fixed kernel is not there for long
# What it takes to find the userland's disk; the rest comes from the modules' disk.
EARLY = ("virtio_pci", "virtio_blk", "ext4", "crc32c_generic")
# A word start=PROGRAM of the kernel's command line is a variable here.
INIT = b"""#!/busybox sh
/busybox mkdir -p /dev /root
/busybox mount -t devtmpfs none /dev
for module in /modules/*; do /busybox insmod $module; done
n=0
until [ -b /dev/vdb ] || [ $n = 500 ]; do n=$((n + 1)); /busybox usleep 10000; done
/busybox mount -t ext4 /dev/vda /root
/busybox mount -t ext4 -o ro /dev/vdb /root/usr/lib/modules
/busybox mount --move /dev /root/dev
exec /busybox switch_root /root ${start:-/usr/bin/busybox init}
"""


@dataclass(frozen=True)
class Boot:
    """What a guest starts with."""

    version: str
    vmlinuz: Path
    initrd: Path
    modules: Path
    words: str = ""  # more of them on the kernel's command line
    processors: int = 2


def fetch(name: str, busybox: Path) -> Boot:
    """The kernel of that name in the table."""
    made_from = cache.key(KERNELS[name].suites, INIT, EARLY, image.FEATURES)
    folder = cache.kept(f"kernel-{name}", made_from, lambda new: _make(name, busybox, new), days=DAYS)
    version = (folder / "version").read_text()
    return Boot(version, folder / "vmlinuz", folder / "initrd", folder / "modules.img")


def _make(name: str, busybox: Path, folder: Path) -> None:
    kernel = KERNELS[name]
    with tempfile.TemporaryDirectory(prefix="jai-kernel-") as scratch:
        archive, top = Path(scratch, "kernel.tar"), Path(scratch, "top")
        image.mmdebstrap(archive, "--variant=extract", f"--include={kernel.package}", kernel.suites[-1])
        version = _unpack(archive, top, folder / "vmlinuz")
        subprocess.run(["depmod", "--basedir", top, version], check=True)
        modules = top / "lib/modules"
        make = [
            "mke2fs",
            "-q",
            "-t",
            "ext4",
            "-O",
            image.FEATURES,
            "-E",
            "root_owner=0:0",
            "-d",
            str(modules),
        ]
        subprocess.run([*make, str(folder / "modules.img"), "400M"], check=True, stdout=subprocess.DEVNULL)
        early = [path.read_bytes() for path in _in_order(modules / version, EARLY)]
    files = [
        ("busybox", 0o755, busybox.read_bytes()),
        ("init", 0o755, INIT),
        ("modules", stat.S_IFDIR | 0o755, b""),
    ]
    files += [(f"modules/{number:02}.ko", 0o644, data) for number, data in enumerate(early)]
    (folder / "initrd").write_bytes(cpio(files))
    (folder / "version").write_text(version)


def _unpack(archive: Path, top: Path, vmlinuz: Path) -> str:
    """Take the kernel and its modules, decompressed, out of a tree of packages; the kernel's version."""
    version = ""
    with tarfile.open(archive) as packages:
        for member in packages:
            path = PurePosixPath("/", member.name)
            data = packages.extractfile(member).read() if member.isfile() else b""  # type: ignore[union-attr]
            if path.name.startswith("vmlinuz") and data:
                vmlinuz.write_bytes(data)
                version = path.name.partition("-")[2] or path.parent.name
            elif "modules" in path.parts and "lib" in path.parts and data:
                below = path.parts[path.parts.index("modules") :]
                target = top.joinpath("lib", *below)
                target.parent.mkdir(parents=True, exist_ok=True)
                if target.suffix == ".xz":
                    target, data = target.with_suffix(""), lzma.decompress(data)
                target.write_bytes(data)
    return version


def _in_order(folder: Path, wanted: Iterable[str]) -> list[Path]:
    """The files of the wanted modules, each after those it needs; what the kernel has built in has none."""
    needs = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[PurePosixPath(path).stem.replace("-", "_")] = [*reversed(others.split()), path]
    paths = [path for name in wanted for path in needs.get(name, [])]
    return [folder / path for path in dict.fromkeys(paths)]


def cpio(files: Iterable[tuple[str, int, bytes]]) -> bytes:
    """An archive as the kernel unpacks it: Documentation/driver-api/early-userspace/buffer-format.rst."""
    out = io.BytesIO()
    for number, (name, mode, data) in enumerate([*files, ("TRAILER!!!", 0, b"")], start=1):
        kind = 0 if stat.S_IFMT(mode) or not mode else stat.S_IFREG
        fields = (number, mode | kind, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0")
        out.write(bytes(-out.tell() % 4) + data)
        out.write(bytes(-out.tell() % 4))
    return out.getvalue()
