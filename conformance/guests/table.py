"""The table of guests: which kernels, which file systems of the homes, and what each of them lacks."""

from __future__ import annotations

from dataclasses import dataclass

SUITE, PYTHON = "trixie", "3.13"
MIRROR = "http://deb.debian.org/debian"
NFS = ("nfs4", "nfs3")
# What jails that write until the power is cut leave behind: this outlives it, that is read just before.
KEPT, TOLD = "/var/lib/jai-power-cut", "/run/power-cut"
ON_DISK = ("ext4", "btrfs", "xfs")  # these outlive a reset of the guest as they are


@dataclass(frozen=True)
class Kernel:
    """A kernel of Debian; the newest one of the suite, whichever that is today."""

    suites: tuple[str, ...]
    too_old: bool = False  # jai must refuse, and nothing else is tried
    scopes: bool = True  # of Landlock, for signals and abstract sockets
    apparmor: bool = True  # that can forbid user namespaces
    no_idmap: tuple[str, ...] = NFS  # on which strict mode can grant nothing

    @property
    def package(self) -> str:
        """What apt is asked for: backports are taken only where they are named."""
        extra = f"/{self.suites[-1]}" if len(self.suites) > 1 else ""
        return f"linux-image-cloud-amd64{extra}"


@dataclass(frozen=True)
class Init:
    """What is PID 1: a word for the kernel's command line, and the scenarios that are about it, else all."""

    word: str = ""
    about: str = ""


KERNELS = {
    "5.10": Kernel(("bullseye",), too_old=True, scopes=False, apparmor=False),
    "6.1": Kernel(("bookworm",), scopes=False, apparmor=False, no_idmap=(*NFS, "tmpfs")),
    "6.12": Kernel(("trixie",)),
    "backports": Kernel(("trixie", "trixie-backports")),
    "sid": Kernel(("sid",)),
}
INITS = {
    "busybox": Init(),
    "systemd": Init("start=/usr/lib/systemd/systemd systemd.show_status=0", "conformance/test_systemd.py"),
}
HOMES = ("ext4", "btrfs", "xfs", "tmpfs", *NFS)


def kinds(kernel: str, home_fs: str, init: str) -> list[str]:
    """What conformance/abilities.py knows such a guest as."""
    words = ["guest"]
    words += [] if home_fs == "btrfs" else ["not-btrfs"]
    words += ["old"] if KERNELS[kernel].too_old else ["not-old"]
    words += [] if KERNELS[kernel].scopes else ["no-scopes"]
    words += ["no-idmap"] if home_fs in KERNELS[kernel].no_idmap else ["idmap"]
    words += [] if init == "systemd" else ["not-systemd"]
    words += ["power-cut"] if init == "busybox" and home_fs in ON_DISK else []
    words += [] if KERNELS[kernel].apparmor else ["no-apparmor"]
    words += ["nfs"] if home_fs in NFS else []
    return words


# What the scenarios call, and what makes a home; the kernels come apart from it.
PACKAGES = (
    *("busybox-static", "iproute2", "kmod", "openssh-server", "python3-venv", "sudo"),
    *("btrfs-progs", "e2fsprogs", "nfs-common", "nfs-kernel-server", "rpcbind", "xfsprogs"),
    *(
        "acl",
        "attr",
        "bubblewrap",
        "curl",
        "fuse3",
        "gcc",
        "gdb",
        "git",
        "less",
        "libc6-dev",
        "libcap2-bin",
        "make",
    ),
    *("apparmor", "at", "cron", "dbus-user-session", "polkitd", "systemd"),
    *("openssh-client", "procps", "psmisc", "strace", "tmux", "uidmap", "vim-tiny", "zsh"),
)
# What runs the scenarios in the guest.
TOOLS = ("pip", "pytest", "pytest-testinfra", "pytest-timeout")
