"""A machine that is there already: what it is asked, what it must have said, and the scenarios on it.

There the scenarios run behind the wall, as `make test` does it here: nothing is left of accounts, homes and
what they install. A wrecker is sent only where /etc/jai-guest says that it may be.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.abilities import ABILITIES, ORDINARY
from conformance.guests import payload, vagrant
from conformance.guests.image import INSIDE
from conformance.guests.machine import Machine, MachineError
from conformance.guests.where import Vagrant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from conformance.guests.where import Ssh

# The user's own configuration says the rest: keys, known hosts, jump hosts.
SSH = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=15")
# For whoever logs in as root, or may become root without a question; whatever the login shell is.
AS_ROOT = 'if [ "$(id -u)" = 0 ]; then exec "$@"; else exec sudo -n "$@"; fi'
PLACE = "/var/tmp/jai-conformance-XXXXXX"
LEAVE_LIMIT = 60  # seconds for the machine to remove what was brought there
TOO_OLD = (5, 12)
NOT_ASKED = {*ORDINARY, "btrfs home", "dropbear"}  # of no scenario, or not for a machine to have
IDMAPPED_TMPFS = (6, 3)
HOMES = ("ext4", "btrfs", "xfs", "tmpfs")  # what the wall can make without a disk
INSTALL = {
    "apt-get": "apt-get install",
    "dnf": "dnf install",
    "pacman": "pacman -S",
    "zypper": "zypper install",
}
# Debian's names of the packages, where they are not the commands'.
PACKAGES = {
    "bwrap": "bubblewrap",
    "gcc": "gcc make",
    "setfacl": "acl",
    "setfattr": "attr",
    "ssh": "openssh-client",
    **{
        name: name
        for name in ("cargo", "curl", "fish", "gdb", "git", "npm", "python3", "strace", "tar", "zsh")
    },
    **dict.fromkeys(("cp", "head", "mktemp", "rm", "timeout"), "coreutils"),
    **dict.fromkeys(("mount", "setpriv", "umount", "unshare"), "util-linux"),
    "pkill": "procps",
    "root for loop file systems": "e2fsprogs",
    "venv": "python3-venv",
}


@dataclass(frozen=True)
class Facts:
    """What a machine has said of itself."""

    marked: bool
    release: str
    machine: str
    system: str
    installer: str
    home: str
    pythons: tuple[tuple[str, str], ...]  # path, version
    misses: tuple[str, ...]  # commands without which nothing can be tried
    lacks: tuple[str, ...]  # abilities whose scenarios are skipped

    def older_than(self, version: tuple[int, int]) -> bool:
        """Whether its kernel is older."""
        major, minor = self.release.split(".")[:2]
        return (int(major), int("".join(filter(str.isdigit, minor.partition("-")[0])))) < version

    def kinds(self, home_fs: str) -> list[str]:
        """What conformance/abilities.py knows it as, with the homes on that file system."""
        tmpfs = "tmpfs" in (home_fs, self.home if home_fs == "here" else "")
        nfs = home_fs == "here" and self.home == "nfs"
        return ["reached", *(["no-idmap"] if nfs or (tmpfs and self.older_than(IDMAPPED_TMPFS)) else [])]

    def python(self, least: tuple[int, int]) -> tuple[str, str]:
        """The first of its Pythons that is new enough: path and version, "" if none is."""
        for path, version in self.pythons:
            if tuple(map(int, version.split("."))) >= least:
                return path, version
        return "", ""

    def install(self, names: Sequence[str]) -> str:
        """The line that installs what is missing there."""
        packages = dict.fromkeys(PACKAGES[name] for name in names if name in PACKAGES)
        return f"sudo {INSTALL.get(self.installer, 'install')} {' '.join(packages)}" if packages else ""


@contextlib.asynccontextmanager
async def machine(place: Ssh | Vagrant, say: Callable[[str], None]) -> AsyncIterator[Machine]:
    """The machine that a word of GUEST= names, for as long as the block lasts."""
    if isinstance(place, Vagrant):
        async with vagrant.up(place, say) as reached:
            yield Machine(place.name, (*reached, *SSH, place.box))
    else:
        yield Machine(place.name, (place.ssh[0], *SSH, *place.ssh[1:]))


async def ask(there: Machine) -> Facts:
    """Find out what it is; nothing on it is changed.

    Raises: MachineError with what to do, where nothing can be tried on it.
    """
    script = (INSIDE / "ask").read_text()
    wanted = {name: line for name, line in ABILITIES.items() if name not in NOT_ASKED}
    script += "".join(f"has {shlex.quote(name)} {shlex.quote(line)}\n" for name, line in wanted.items())
    async with there.start(as_root("sh", "-s")) as process:
        said = (await process.communicate(script.encode() + b"echo end\n"))[0].decode(errors="replace")
    by_hand = shlex.join(word for word in there.ssh if word not in SSH)  # as it is typed
    if not said.endswith("end\n"):
        message = f"{there.name} does not answer: `{by_hand} sudo -n true` must work without a question there"
        raise MachineError(message)
    facts = _facts(said)
    _admit(facts, there.name, by_hand)
    return facts


def _facts(said: str) -> Facts:
    lines = [line.partition(" ") for line in said.splitlines()]
    one = {key: value for key, _, value in lines}

    def some(wanted: str) -> tuple[str, ...]:
        return tuple(value for key, _, value in lines if key == wanted)

    return Facts(
        marked=one["marked"] == "yes",
        release=one["release"],
        machine=one["machine"],
        system=one["system"],
        installer=one["installer"],
        home=one["home"],
        pythons=tuple(
            (path, version) for path, _, version in (line.rpartition(" ") for line in some("python"))
        ),
        misses=some("misses"),
        lacks=some("lacks"),
    )


def _admit(facts: Facts, name: str, by_hand: str) -> None:
    """Refuse what can not be judged, or has not said that it may be wrecked."""
    least = least_python()
    if not facts.marked:
        message = (
            f"{name} has not said that it may be wrecked, and the scenarios do what agents have done.\n"
            f"If nothing on it matters, allow it: {by_hand} sudo touch /etc/jai-guest"
        )
    elif facts.misses:
        message = f"{name} lacks {', '.join(facts.misses)}; there: {facts.install(facts.misses)}"
    elif facts.machine != platform.machine():
        message = f"{name} is {facts.machine}; the wheel that was built here is for {platform.machine()}"
    elif not facts.python(least)[0]:
        found = ", ".join(version for _, version in facts.pythons) or "no Python with venv"
        message = (
            f"{name} has {found}; the wheel that was built here wants {least[0]}.{least[1]} or newer."
            f"\nInstall one there, or build with an older one here: make conformance PYTHON=…"
        )
    else:
        return
    raise MachineError(message)


def least_python() -> tuple[int, int]:
    """The oldest Python that the wheel that was built here can be installed for."""
    tag = payload.wheel().stem.split("-")[2]
    return int(tag[2]), int(tag[3:])


def as_root(*words: str) -> str:
    """A line that runs words as root, for whatever shell sshd starts there."""
    return shlex.join(["sh", "-c", AS_ROOT, "sh", *words])


@contextlib.asynccontextmanager
async def scenarios(
    there: Machine, facts: Facts, home_fs: str, options: Sequence[str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run scenarios there; when the block ends, so do they, and what was brought is removed.

    The line stays open for as long as the scenarios may run: they end with it, however it is cut.
    """
    python, version = facts.python(least_python())
    tools = await asyncio.to_thread(payload.tools, version, facts.machine)
    wheel = payload.wheel()
    archive = payload.pack(
        {tools / "wheels": "wheels", tools / "site": "site", wheel: f"wheels/{wheel.name}"}
    )
    words = [python, home_fs, " ".join(facts.kinds(home_fs)), *options]
    bring = (
        f"place=$(mktemp -d {PLACE}) && chmod 755 $place && head -c {len(archive)} | tar -C $place -xf - &&"
        f' exec sh $place/conformance/guests/inside/reached "$@"; rm -rf "$place"; exit 1'
    )
    async with there.start(as_root("sh", "-c", bring, "reached", *words)) as process:
        assert process.stdin is not None
        try:
            process.stdin.write(archive)
            await process.stdin.drain()
            yield process
        finally:
            process.stdin.close()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), LEAVE_LIMIT)
