"""The userland that all guests share: one Debian with what the scenarios need, as an ext4 image.

As root mmdebstrap unpacks it directly; an ordinary user needs a range of sub-uids.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from conformance.guests import cache
from conformance.guests.table import MIRROR, PACKAGES, PYTHON, SUITE, TOOLS

INSIDE = Path(__file__).parent / "inside"
FURNITURE = ("furnish", "start", "inittab", "jai-guest.service")
SIZE = "2G"
ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM")  # both remove what they have unpacked when they hear that
# The least that every kernel of the table mounts; newer tools would switch on more.
FEATURES = "none,has_journal,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,extra_isize"
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*", "/usr/share/info/*")
# A mirror that has been left behind will do; what it gives is signed all the same.
APT = (
    'Acquire::Check-Valid-Until "false"',
    'Acquire::Languages "none"',
    'Acquire::Retries "3"',
    'APT::Install-Recommends "false"',
)
# Reads a tar archive and writes the image, with the owners that the archive has.  Device nodes stay out: an
# ordinary user can make none, and a guest's initrd mounts its own /dev.
TAR_TO_IMAGE = f"""
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' TERM INT HUP
mkdir "$scratch/root"
tar -C "$scratch/root" --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*' -x
mke2fs -q -t ext4 -O {FEATURES} -d "$scratch/root" "$scratch/image" {SIZE} >&2
cat "$scratch/image"
"""


def userland() -> Path:
    """The directory that holds `root.img`, the `key` that opens it, and its `busybox`."""
    furniture = [(INSIDE / name).read_text() for name in FURNITURE]
    made_from = cache.key(SUITE, PYTHON, PACKAGES, TOOLS, FEATURES, LEFT_OUT, SIZE, *furniture)
    return cache.kept("userland", made_from, _make)


def mmdebstrap(target: Path, *words: str) -> None:
    """Make a tar archive of a Debian."""
    mode = "root" if os.geteuid() == 0 else "unshare"
    options = [f"--mode={mode}", "--format=tar", "--quiet", *(f"--aptopt={line}" for line in APT)]
    suite = words[-1]
    subprocess.run([*ENDS_WITH_US, "mmdebstrap", *options, *words, str(target), *_sources(suite)], check=True)


def _sources(suite: str) -> list[str]:
    """The lines for apt; backports stand upon their suite."""
    return [f"deb {MIRROR} {name} main" for name in dict.fromkeys([suite.removesuffix("-backports"), suite])]


def in_namespace(script: str) -> list[str]:
    """A command that runs a script as root, or as what looks like it."""
    helper = [] if os.geteuid() == 0 else ["mmdebstrap", "--unshare-helper"]
    return [*ENDS_WITH_US, *helper, "sh", "-c", script]


def _make(folder: Path) -> None:
    stage = folder / "stage"
    stage.mkdir()
    for name in FURNITURE:
        shutil.copy(INSIDE / name, stage)
    _download_tools(stage / "wheels")
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "jai", "-f", str(key)], check=True)
    shutil.copy(f"{key}.pub", stage / "authorized_keys")
    archive = folder / "userland.tar"
    mmdebstrap(
        archive,
        "--variant=minbase",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
        f"--include={','.join(PACKAGES)}",
        '--customize-hook=mkdir -p "$1/usr/lib/jai-guest"',
        f"--customize-hook=sync-in {stage} /usr/lib/jai-guest",
        '--customize-hook=chroot "$1" sh /usr/lib/jai-guest/furnish',
        SUITE,
    )
    with open(archive, "rb") as source:
        write_sparse(in_namespace(TAR_TO_IMAGE), folder / "root.img", source.fileno())
    busybox = subprocess.run(
        ["tar", "-xOf", archive, "./usr/bin/busybox"], check=True, stdout=subprocess.PIPE
    )
    (folder / "busybox").write_bytes(busybox.stdout)
    archive.unlink()
    shutil.rmtree(stage)


def write_sparse(command: list[str], target: Path, stdin: int) -> None:
    """Write what a command prints into a file that has holes where the zeros are."""
    with subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE) as process:
        writer = ["dd", f"of={target}", "bs=64k", "conv=sparse", "iflag=fullblock", "status=none"]
        subprocess.run(writer, stdin=process.stdout, check=True)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def _download_tools(folder: Path) -> None:
    """Fetch pytest and what goes with it, for the guest's Python, not for this one."""
    foreign = [f"--python-version={PYTHON}", "--implementation=cp", "--platform=manylinux2014_x86_64"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-qq"]
    subprocess.run([*pip, "--only-binary=:all:", *foreign, f"--dest={folder}", *TOOLS, "cffi"], check=True)
