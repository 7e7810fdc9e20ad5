"""A machine made of tables, for decisions and plans that need no machine."""

from __future__ import annotations

import os
import posixpath

from jai.argv import parse_argv
from jai.host import HELPER, Account, Found
from jai.settings import Settings, read_settings

UID = 1000
HOME = "/home/ada"
PROJECT = f"{HOME}/project"
CONF_FILES = {
    f"{HOME}/.jai/default.conf": b"conf .defaults\n",
    f"{HOME}/.jai/.defaults": b"mask .jai\nmask .ssh\nmask .config/gh\nunsetenv *_TOKEN\n",
    f"{HOME}/.jai/default.jail": b"mode casual\n",
}


class FakeHost:
    """Answers what `jai.host.Host` answers, from tables that a test can change."""

    def __init__(self, cwd: str = PROJECT, uid: int = UID) -> None:
        """Build an ordinary machine with a home, a project and a few system folders."""
        self.account = Account("ada", uid, uid, HOME, "/bin/bash")
        self.env: dict[str, str] = {
            "HOME": HOME,
            "PATH": "/usr/bin:/bin",
            "TERM": "xterm",
            "GH_TOKEN": "secret",
        }
        self.home = HOME
        self.cwd = cwd
        self.links: dict[str, str] = {}
        self.mounts: tuple[str, ...] = ()
        self.unfit: dict[str, str] = {}
        self.read_only: set[str] = set()
        self.no_exec: set[str] = set()
        self.views: dict[str, tuple[str, ...]] = {}
        self.directories_open: tuple[int, ...] = ()
        self.open_fds: set[int] = {0, 1, 2}
        self.tty = "/dev/pts/3"
        self.abi = 6
        self.texts: dict[str, str] = {}
        self.own_helper = ""
        self.users: dict[str, Account] = {}
        self.cgroup_is_ours = False
        self.things: dict[str, Found] = {}
        for path in ("/", "/home", "/tmp", "/var/tmp", "/dev", "/proc", "/sys", "/run", "/etc", "/usr"):
            self.add(path, owner=0)
        for name in ("full", "null", "random", "tty", "urandom", "zero"):
            self.add(f"/dev/{name}", "device", owner=0)
        for path in (HOME, f"{HOME}/.jai", f"{HOME}/.ssh", f"{HOME}/.config", f"{HOME}/.config/gh", PROJECT):
            self.add(path)

    def add(self, path: str, kind: str = "directory", owner: int = UID, mode: int = 0o755) -> None:
        """Put something at a path; the inode follows from the order."""
        self.things[path] = Found(kind, owner, mode, 64, 1000 + len(self.things))

    def user(self, name: str) -> Account | None:
        """Look a user of the table up."""
        return self.users.get(name)

    def find(self, path: str) -> Found | None:
        """Look through links."""
        return self.things.get(self.real(path))

    def helper(self) -> str:
        """Give the installed helper, else the package's own where root has one."""
        return HELPER if HELPER in self.things else self.own_helper

    def set_up_strict(self) -> None:
        """Do what `jai --setup` does."""
        self.users["jai"] = Account("jai", 997, 996, "/", "/usr/sbin/nologin")
        self.add(HELPER, "file", owner=0)

    def text(self, path: str) -> str | None:
        """Give the content of the table."""
        return self.texts.get(path)

    def start_of(self, path: str) -> str:
        """Give the content of the table."""
        return self.texts.get(path, "")

    def names(self, path: str) -> tuple[str, ...]:
        """List what the table has in a directory."""
        start = path + "/"
        return tuple(
            sorted({each[len(start) :].split("/")[0] for each in self.things if each.startswith(start)})
        )

    def find_link(self, path: str) -> Found | None:
        """Look at the last link itself."""
        if path in self.links:
            return Found("link", UID, 0o777, 64, 1)
        return self.things.get(path)

    find_state = find_link

    def real(self, path: str) -> str:
        """Follow the links of the table, which may stand for any part of a path."""
        for _ in range(8):
            for link, target in self.links.items():
                if path == link or path.startswith(link + "/"):
                    path = posixpath.normpath(
                        os.path.join(posixpath.dirname(link), target) + path[len(link) :]
                    )
                    break
            else:
                return path
        message = f"a loop of links at {path}"
        raise AssertionError(message)

    def readonly(self, path: str) -> bool:
        """Say what the table says."""
        return path in self.read_only

    def noexec(self, path: str) -> bool:
        """Say what the table says."""
        return path in self.no_exec

    def follow(self, path: str) -> tuple[tuple[str, ...], str]:
        """List the links of the table that lead on from a path, and say where it ends."""
        found = []
        for _ in range(8):
            for link, target in self.links.items():
                if path == link or path.startswith(link + "/"):
                    found.append(link)
                    path = posixpath.normpath(
                        os.path.join(posixpath.dirname(link), target) + path[len(link) :]
                    )
        return tuple(found), path

    def other_views(self, directory: str) -> tuple[str, ...]:
        """Give what the table says."""
        return self.views.get(directory, ())

    def unfit_for_upper(self, path: str) -> str:
        """Name the file system of the deepest known parent."""
        while path not in self.unfit and path != "/":
            path = posixpath.dirname(path)
        return self.unfit.get(path, "")

    def mounts_below(self, path: str) -> tuple[str, ...]:
        """List the mounts of the table below a path."""
        return tuple(mount for mount in self.mounts if mount.startswith(path + "/"))

    def owns_cgroup(self) -> bool:
        """Say what the table says."""
        return self.cgroup_is_ours

    def terminal(self) -> str:
        """Give the terminal of the table."""
        return self.tty

    def controlled(self) -> bool:
        """Say whether there is a terminal."""
        return bool(self.tty)

    def open_directories(self) -> tuple[int, ...]:
        """List what the table says."""
        return self.directories_open

    def is_open(self, fd: int) -> bool:
        """Say what the table says."""
        return fd in self.open_fds

    def landlock(self) -> int:
        """Give the ABI of the table."""
        return self.abi


def add_repository(host: FakeHost, gitdir: str, config: str = "[core]\n") -> None:
    """Make a git directory as `git init` does."""
    for path in (gitdir, f"{gitdir}/objects", f"{gitdir}/hooks"):
        host.add(path)
    host.add(f"{gitdir}/HEAD", "file")
    host.add(f"{gitdir}/config", "file")
    host.texts[f"{gitdir}/config"] = config


def asked(host: FakeHost, *words: str, files: dict[str, bytes] | None = None) -> Settings:
    """Read the settings of a command line on a fake machine."""
    table = CONF_FILES if files is None else files
    return read_settings(parse_argv(words), env=host.env, cwd=host.cwd, home=host.home, reader=table.get)
