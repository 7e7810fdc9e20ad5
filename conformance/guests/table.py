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
FSCRYPT, LEAST_FOR_FSCRYPT = "fscrypt", "6.1"  # ext4 with encrypted names: older kernels differ there
HOMES = ("ext4", "btrfs", "xfs", "tmpfs", *NFS, FSCRYPT)


def kinds(kernel: str, home_fs: str, init: str) -> list[str]:
    """What conformance/abilities.py knows such a guest as."""
    words = ["guest"]
    words += [] if home_fs == "btrfs" else ["not-btrfs"]
    words += ["old"] if KERNELS[kernel].too_old else ["not-old"]
    words += [] if KERNELS[kernel].scopes else ["no-scopes"]
    words += ["tmpfs-without-idmap"] if "tmpfs" in KERNELS[kernel].no_idmap else []
    words += ["no-idmap"] if home_fs in KERNELS[kernel].no_idmap else ["idmap"]
    words += [] if init == "systemd" else ["not-systemd"]
    words += ["power-cut"] if init == "busybox" and home_fs in ON_DISK else []
    words += [] if KERNELS[kernel].apparmor else ["no-apparmor"]
    words += ["nfs"] if home_fs in NFS else []
    return words


# --- which scenarios run where: expressions for pytest's -k, which knows names, files and clauses ---


@dataclass(frozen=True)
class Cell:
    """A guest of the matrix."""

    kernel: str
    home_fs: str
    init: str = "busybox"


# What is about this checkout, not about a machine.
NOT_IN_GUESTS = ("test_clauses.py", "test_the_judge.py")
USER = "not root-local and not local-root"
PLAIN = f"not -bare and {USER}"  # casual and strict mode, for an ordinary user
DESTRUCTION = " or ".join(f"D{number:02}" for number in range(1, 16))
A_FEW = f"(stays_removed or moving_over_files or hard_links or K02) and {PLAIN}"
ON_EACH_HOME = f"(stays_removed or moving_over_files or hard_links or K02 or test_startup) and {PLAIN}"
ON_EACH_HOME_OF_ONE_KERNEL = f"({ON_EACH_HOME}) or ((odd_home or power_is_cut) and {PLAIN})"
THE_KERNEL_S = "test_the_helper or power_is_cut or (K03 and not -strict)"
ON_EACH_KERNEL = f"({ON_EACH_HOME}) or (({THE_KERNEL_S}) and {PLAIN})"
# Each takes a quarter of a minute; the one that renames the grant stays.
OTHER_RACES = "racing and not (racing and grant and not folder)"
# What strict mode refuses for a file system or for want of a set-up is decided before a kernel is asked much.
STRICT = "test_strict and not (a_file_system_without_id_maps or without_its_set_up)"
ON_THE_OLDEST_AND_NEWEST = f"(({STRICT}) or (test_escape and not racing and not -strict)) and {PLAIN}"
SLOW = "-strict and (test_git_in_a_repository_that_was_there or test_venv_and_pip)"  # half a minute each
WORK = f"test_usefulness and not ({SLOW})"
EVERYTHING = ""
# All of it would take hours, emulated: the homes on one kernel share what is left over.
SHARED = {
    "ext4": f"(test_destruction and not large_home and {USER}) or (test_refusals and {PLAIN})",
    "btrfs": f"(test_persistence or test_protect) and {PLAIN}",
    "xfs": f"(({WORK}) or test_interactive or (large_home and -casual)) and {PLAIN}",
    "nfs4": f"(D05 or D06 or D07 or D08 or D14 or D15) and not large_home and {PLAIN}",
    "tmpfs": f"(test_escape or test_strict or test_the_helper) and {USER} and not ({OTHER_RACES})",
}
SHARING = "6.12"


def matrix() -> dict[Cell, str]:
    """KERNEL=all HOME_FS=all, the longest first: what runs in each of the guests.

    As root, and many in bare mode, they run where a single guest is asked for, and on the machine itself.
    """
    cells = {
        Cell(SHARING, home): f"({what}) or ({ON_EACH_HOME_OF_ONE_KERNEL})" for home, what in SHARED.items()
    }
    ends = [kernel for kernel, its in KERNELS.items() if not its.too_old]
    for kernel, its in KERNELS.items():
        more = f" or ({ON_THE_OLDEST_AND_NEWEST})" if kernel in (ends[0], ends[-1]) else ""
        on_ext4 = EVERYTHING if its.too_old else f"({ON_EACH_KERNEL}){more}"
        cells.setdefault(Cell(kernel, "ext4"), on_ext4)
    cells[Cell(SHARING, "ext4", "systemd")] = PLAIN
    for kernel, its in KERNELS.items():
        for home in HOMES:
            # One that is too old refuses before it looks at the home.
            if not its.too_old and (home != FSCRYPT or kernel == LEAST_FOR_FSCRYPT):
                cells.setdefault(Cell(kernel, home), ON_EACH_HOME)
    return cells


SLICE = {
    Cell("6.12", "ext4"): f"({DESTRUCTION}) and {PLAIN} and not -strict",
    Cell("6.1", "btrfs"): A_FEW,
    Cell("sid", "nfs4"): A_FEW,
    Cell("backports", "xfs"): A_FEW,
    Cell("6.1", "nfs3"): A_FEW,
    Cell("6.12", "tmpfs"): A_FEW,
    Cell(LEAST_FOR_FSCRYPT, FSCRYPT): A_FEW,
    Cell("5.10", "ext4"): EVERYTHING,
}


def cells(kernel: str, home_fs: str, init: str) -> dict[Cell, str]:
    """What was asked for: a single guest runs everything, several share the work."""
    if kernel == "slice":
        return SLICE
    if "all" not in (kernel, home_fs):
        return {Cell(kernel, home_fs, init): EVERYTHING}
    wanted = {cell: what for cell, what in matrix().items() if kernel in ("all", cell.kernel)}
    return {cell: what for cell, what in wanted.items() if home_fs in ("all", cell.home_fs)}


# What `make mutants` leaves out in guests, where nothing else is asked for: each mode's own protections.
LEFT_OUT = ("overlay", "masks", "read-only-root", "strict-id")

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
