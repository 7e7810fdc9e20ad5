"""The table of guests: which kernels, which file systems of the homes, and what each of them lacks."""

from __future__ import annotations

from dataclasses import dataclass

SUITE, PYTHON = "trixie", "3.13"
MIRROR = "http://deb.debian.org/debian"


@dataclass(frozen=True)
class Kernel:
    """A kernel of Debian; the newest one of the suite, whichever that is today."""

    suites: tuple[str, ...]
    too_old: bool = False

    @property
    def package(self) -> str:
        """What apt is asked for: backports are taken only where they are named."""
        extra = f"/{self.suites[-1]}" if len(self.suites) > 1 else ""
        return f"linux-image-cloud-amd64{extra}"


KERNELS = {
    "5.10": Kernel(("bullseye",), too_old=True),
    "6.1": Kernel(("bookworm",)),
    "6.12": Kernel(("trixie",)),
    "backports": Kernel(("trixie", "trixie-backports")),
    "sid": Kernel(("sid",)),
}
HOMES = ("ext4", "btrfs", "xfs", "nfs4", "nfs3", "tmpfs")

# What the scenarios call, and what makes a home; the kernels come apart from it.
PACKAGES = (
    *("busybox-static", "iproute2", "kmod", "openssh-server", "python3-venv", "sudo"),
    *("btrfs-progs", "e2fsprogs", "nfs-common", "nfs-kernel-server", "rpcbind", "xfsprogs"),
    *("acl", "attr", "bubblewrap", "curl", "fuse3", "gcc", "git", "less", "libc6-dev", "libcap2-bin", "make"),
    *("openssh-client", "procps", "psmisc", "strace", "tmux", "uidmap", "vim-tiny", "zsh"),
)
# What runs the scenarios in the guest.
TOOLS = ("pip", "pytest", "pytest-testinfra", "pytest-timeout")
