"""Jai itself, and where it was started: by whom, in which directory, beside what, in what container."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time

from jai.host import read_bytes
from jai.verbs.doctor.jails import find_true
from jai.verbs.doctor.namespaces import id_map, is_chroot
from jai.verbs.doctor.records import NO, OPTIONAL, YES, Finding
from jai.verbs.help import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from jai.verbs.doctor.records import Patient


def version(patient: Patient) -> Iterator[Finding]:
    """Name this jai, and how it is started."""
    yield Finding(YES, f"jai {VERSION}, {' '.join(patient.jai)}")


def account(patient: Patient) -> Iterator[Finding]:
    """Say who is to be jailed."""
    yield from patient.account


def current(patient: Patient) -> Iterator[Finding]:
    """Say if there is a current directory."""
    if patient.cwd:
        yield Finding(YES, patient.cwd)
    else:
        yield Finding(NO, "it is gone", "cd to a directory that exists")


def configuration(patient: Patient) -> Iterator[Finding]:
    """Say which lines of the configuration are wrong."""
    yield from patient.configuration


def container(_patient: Patient) -> Iterator[Finding]:
    """Name what speaks for a container, or another sandbox, around us."""
    signs = [
        path
        for path in ("/.dockerenv", "/run/.containerenv", "/run/systemd/container")
        if os.path.exists(path)
    ]
    if os.environ.get("container"):  # noqa: SIM112 - systemd writes it so
        signs.append(f"container={os.environ['container']}")  # noqa: SIM112
    groups = os.fsdecode(read_bytes("/proc/1/cgroup"))
    words = ("docker", "containerd", "kubepods", "libpod", "lxc", "machine.slice")
    signs += [f"{word} in /proc/1/cgroup" for word in words if word in groups]
    if "JAI_MODE" in os.environ:
        signs.append("JAI_MODE: a jail of jai")
    if mapped := id_map():
        signs.append(f"a user namespace ({mapped})")
    if is_chroot():
        signs.append("a chroot")
    if not os.path.exists("/proc/self"):
        signs.append("no /proc")
    if signs:
        yield Finding(OPTIONAL, f"inside of one, it seems: {', '.join(signs)}")
    else:
        yield Finding(OPTIONAL, "no sign of one")


def python(_patient: Patient) -> Iterator[Finding]:
    """Say what the interpreter costs at each start, next to the smallest program there is."""
    own = _milliseconds([sys.executable, "-I", "-S", "-c", "pass"])
    least = _milliseconds([find_true()])
    words = (
        f"{platform.python_version()}, {sys.executable}: {own:.1f} ms to start and end, `true` {least:.1f} ms"
    )
    yield Finding(YES, f"{words} (median of 5)")


def _milliseconds(words: list[str]) -> float:
    taken = []
    for _ in range(5):
        start = time.monotonic()
        pid = os.posix_spawn(words[0], words, os.environ)
        os.waitpid(pid, 0)
        taken.append((time.monotonic() - start) * 1000)
    return statistics.median(taken)
