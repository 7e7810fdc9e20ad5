"""Other sandboxes, each told to do what comes nearest to a jail of jai's."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.accounts import must, run

if TYPE_CHECKING:
    from conformance.accounts import Account
    from conformance.homes import Home

TRUE = ("/bin/true",)
PLAIN, OVERLAY = "bubblewrap", "bubblewrap, overlay"
WHERE = ("/usr/bin/readlink", "/proc/self/ns/mnt")
AT_REST = "sync -f ~"  # before an overlay is made: each one that ends syncs its disk
ONLY_RULES = ("landrun",)  # has no namespaces, but Landlock's rules


@dataclass(frozen=True)
class Job:
    """A command to be timed, and what is done before each time."""

    words: list[str]
    env: dict[str, str] = field(default_factory=dict)
    before: str = ""
    clock: str = "outside"


@dataclass(frozen=True)
class Bubblewrap:
    """The two bubblewraps: the distribution's, and one that has overlays, if there is one."""

    account: Account
    home: Home
    plain: list[str]
    newer: list[str]

    def run(self, command: list[str], *, overlay: bool) -> list[str]:
        """Give the words of a jail like casual's: the project, private /tmp and /run, all else read-only."""
        home, project = self.home.path, self.home.project
        work = f"{home}/.bench"
        must(self.account.sh(f"mkdir -p {work}/upper {work}/work {work}/tmp"))
        merged = ["--overlay-src", home, "--overlay", f"{work}/upper", f"{work}/work", home]
        return [
            *(self.newer if overlay else self.plain),
            *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--die-with-parent"),
            *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/run"),
            *("--bind", f"{work}/tmp", "/tmp", "--bind", f"{work}/tmp", "/var/tmp"),
            *(merged if overlay else ["--bind", home, home]),
            *("--bind", project, project, "--chdir", project, *command),
        ]

    def all(self, command: list[str]) -> dict[str, list[str]]:
        """Give those that can be had, by their names in the tables."""
        found = {PLAIN: self.run(command, overlay=False)} if self.plain else {}
        return found | ({OVERLAY: self.run(command, overlay=True)} if self.newer else {})


def find_bubblewrap(account: Account, home: Home, newer: list[str]) -> Bubblewrap:
    """Find both; the distribution's own is taken for either where it has overlays."""
    plain = account.sh("command -v bwrap").words
    if plain and "--overlay" in account.sh("bwrap --help").stdout:
        newer = plain
    return Bubblewrap(account, home, plain, newer)


def others(account: Account) -> dict[str, list[str]]:
    """Give the sandboxes that are no bubblewrap, whether they are there or not."""
    ids = must(account.sh("id -u; id -g")).words
    unshared = ("--user", "--map-current-user", "--mount", "--pid", "--ipc", "--fork", "--mount-proc")
    maps = (f"-m{ids[0]} {ids[0]} 1", f"-M{ids[1]} {ids[1]} 1")
    return {
        "unshare": ["unshare", *unshared, *TRUE],
        "minijail0": ["minijail0", "-U", *maps, "-p", "-l", "-v", "-r", *TRUE],
        "landrun": ["landrun", "--rox", "/usr", "--ro", "/lib,/lib64,/etc", "--unrestricted-network", *TRUE],
        "firejail --noprofile": ["firejail", "--quiet", "--noprofile", *TRUE],
        "firejail": ["firejail", "--quiet", *TRUE],
    }


def usable(account: Account, cwd: str, absent: dict[str, str]) -> dict[str, list[str]]:
    """Give those that are installed and work here; `absent` gets the others, with the reason."""
    found = {}
    for name, words in others(account).items():
        program = account.sh(f"command -v {words[0]}").stdout.strip()
        if not program:
            absent[name] = "not installed"
            continue
        tried = account.run([program, *words[1:]], cwd=cwd)
        where = account.run([program, *words[1 : -len(TRUE)], *WHERE], cwd=cwd).stdout
        if tried.rc == 0 and name not in ONLY_RULES and where == account.run(WHERE).stdout:
            absent[name] = "makes no sandbox inside of another"
        elif tried.rc == 0:
            found[name] = [program, *words[1:]]
        else:
            said = (tried.stderr or tried.stdout).strip().splitlines()
            absent[name] = f"does not run here: {said[-1] if said else tried.rc}"
    return found


def version(account: Account, words: list[str]) -> str:
    """Give what a sandbox says of its version."""
    return run(account.host, f"{shlex.join(words)} --version 2>/dev/null | head -1").stdout.strip()
