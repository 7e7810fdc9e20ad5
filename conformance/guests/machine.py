"""Machines that scenarios are sent to: a guest of QEMU's, or whatever ssh reaches.

A guest writes nothing but an unlinked file: its disks are snapshots, its console is a temporary file, and it
dies with the process that started it. So nothing is left of it, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from conformance.guests import cache

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from io import BufferedRWPair
    from pathlib import Path

    from conformance.guests import kernels

QEMU = "qemu-system-x86_64"
START_LIMIT, KVM_LIMIT = 300, 20  # seconds until sshd answers
LINE_LIMIT = 64 << 20  # bytes: a report of a failed scenario is one line
HOME_DISK = 3 << 30
# qemu64 is quicker to translate than `max`, and without tb-size a guest takes 1.4 GB of the host's memory.
ACCELERATORS = {
    "kvm": ["-accel", "kvm", "-cpu", "host"],
    "tcg": ["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "qemu64"],
}
# loglevel=5: warnings are printed, too. Watchdogs go off when the host is busy, not when the guest is ill.
APPEND = (
    "console=ttyS0 loglevel=5 printk.devkmsg=on panic=-1 net.ifnames=0 mitigations=off nokaslr no_timer_check"
    " nowatchdog rcupdate.rcu_cpu_stall_suppress=1"
)
SSH = (
    *("-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=60"),
    *("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=8"),
)


class MachineError(Exception):
    """The machine does not start, or does not do what every machine must."""


@dataclass(frozen=True)
class Qemu:
    """What a guest runs in."""

    process: asyncio.subprocess.Process
    port: int
    monitor: BufferedRWPair

    async def answers(self, limit: float) -> bool:
        """Wait for sshd's banner. QEMU accepts connections long before that: each try has a second."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit
        while loop.time() < deadline and self.process.returncode is None:
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    if (await asyncio.wait_for(reader.readline(), 1)).startswith(b"SSH-"):
                        return True
                finally:
                    writer.close()
            await asyncio.sleep(0.1)
        return False


@dataclass(frozen=True)
class Machine:
    """Something that ssh reaches; `ssh` is the command line up to the command."""

    name: str
    ssh: tuple[str, ...]
    log: IO[bytes] | None = None
    qemu: Qemu | None = None

    def console(self) -> str:
        """What the machine has printed on its console so far, if it has one that can be seen."""
        if self.log is None:
            return ""
        return os.pread(self.log.fileno(), 64 << 20, 0).decode(errors="replace")

    async def cut_power(self) -> None:
        """Reset a guest at this moment: what was only in its memory is lost, its disks are not."""
        assert self.qemu is not None
        monitor = self.qemu.monitor
        # Unless told otherwise, a reset ends it, since a panic makes one.
        for what, how in (
            ("qmp_capabilities", {}),
            ("set-action", {"reboot": "reset"}),
            ("system_reset", {}),
        ):
            monitor.write(json.dumps({"execute": what, "arguments": how}).encode())
        monitor.flush()
        told = [monitor.readline()]
        while told[-1] and b'"RESET"' not in told[-1]:
            told.append(monitor.readline())
        if not told[-1] or not await self.qemu.answers(START_LIMIT):
            said = b"".join(told).decode() + self.console()[-3000:]
            message = f"{self.name} does not start again after a reset: {said}"
            raise MachineError(message)

    @contextlib.asynccontextmanager
    async def start(self, line: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a shell line on the machine, with pipes; it ends with the block."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", *self.ssh, line), stdin=pipe, stdout=pipe, limit=LINE_LIMIT
        )
        try:
            yield process
        finally:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


@contextlib.asynccontextmanager
async def guest(name: str, boot: kernels.Boot, userland: Path) -> AsyncIterator[Machine]:
    """A guest with that kernel, from its start to its end."""
    accelerator = await _accelerator(boot, userland)
    async with contextlib.AsyncExitStack() as stack:
        try:
            start = _started(name, boot, userland, accelerator, START_LIMIT)
            machine = await stack.enter_async_context(start)
        except MachineError:
            # An emulated processor may trip over a kernel that patches itself while it boots: once more.
            start = _started(name, boot, userland, accelerator, START_LIMIT)
            machine = await stack.enter_async_context(start)
        yield machine


async def _accelerator(boot: kernels.Boot, userland: Path) -> str:
    """KVM if a guest has really started with it; a /dev/kvm that opens proves nothing."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    known = cache.place() / f"kvm-{os.uname().release}"  # a probe that fails takes long
    if not known.exists():
        answer = "kvm"
        try:
            async with _started("probe", boot, userland, "kvm", KVM_LIMIT):
                pass
        except MachineError:
            answer = "tcg"
        known.write_text(answer)
    return known.read_text()


@contextlib.asynccontextmanager
async def _started(
    name: str, boot: kernels.Boot, userland: Path, accelerator: str, limit: float
) -> AsyncIterator[Machine]:
    port = _free_port()
    with (
        tempfile.TemporaryFile() as console,
        tempfile.TemporaryFile() as home,
        tempfile.TemporaryFile() as errors,
        _pair() as (monitor, its_end),
    ):
        home.truncate(HOME_DISK)
        devices = _devices(boot, userland, home.fileno(), port)
        monitored = ["-chardev", f"socket,id=monitor,fd={its_end.fileno()}", "-mon", "monitor,mode=control"]
        line = ["-append", f"{APPEND} {boot.words}", *monitored]
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", QEMU, *ACCELERATORS[accelerator], *devices, *line),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=console,
            stderr=errors,
            pass_fds=[home.fileno(), its_end.fileno()],
        )
        key = str(userland / "key")
        qemu = Qemu(process, port, monitor)
        machine = Machine(name, ("ssh", *SSH, "-i", key, "-p", str(port), "root@127.0.0.1"), console, qemu)
        try:
            if not await qemu.answers(limit):
                errors.seek(0)
                said = errors.read().decode(errors="replace") + machine.console()[-3000:]
                message = f"{name} does not start with {accelerator}: {said}"
                raise MachineError(message)
            yield machine
        finally:
            await _end(process)


def _devices(boot: kernels.Boot, userland: Path, home: int, port: int) -> list[str]:
    """What the guest is made of; its home's disk is an open file, which needs no name."""
    disks = [str(userland / "root.img"), str(boot.modules), f"/proc/self/fd/{home}"]
    words = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35"]
    words += ["-smp", str(boot.processors), "-m", "768"]
    words += ["-kernel", str(boot.vmlinuz), "-initrd", str(boot.initrd)]
    words += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
    for number, path in enumerate(disks):
        snapshot = "off" if number == len(disks) - 1 else "on"
        escaped = path.replace(",", ",,")
        words += [
            "-drive",
            f"if=none,id=d{number},format=raw,cache=unsafe,snapshot={snapshot},file={escaped}",
        ]
        words += ["-device", f"virtio-blk-pci,drive=d{number}"]
    forward = f"hostfwd=tcp:127.0.0.1:{port}-:22"
    words += [
        "-netdev",
        f"user,id=net,restrict=on,{forward}",
        "-device",
        "virtio-net-pci,netdev=net,romfile=",
    ]
    return [*words, "-device", "virtio-rng-pci"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _pair() -> Iterator[tuple[BufferedRWPair, socket.socket]]:
    """Two ends of a socket that has no name: ours as a file, and QEMU's."""
    ours, other = socket.socketpair()
    ours.settimeout(START_LIMIT)
    with ours, other, ours.makefile("rwb") as file:
        yield file, other


SICK = re.compile(
    r"WARNING: |BUG: |Oops|Kernel panic|general protection fault|Call Trace|blocked for more than"
    r"|EXT4-fs error|BTRFS (?:error|critical)|XFS.*(?:[Cc]orrupt|Internal error)|refcount_t: |UBSAN|KASAN"
)
CLOCK = re.compile(r"\[ *(\d+\.\d+)\]")
MARK = re.compile(r"jai-scenario:(.*)")


def passages(console: str, *, boots: bool) -> dict[str, list[str]]:
    """What the kernel printed while which scenario ran; "" stands for the time between them.

    A kernel whose clock starts anew boots, as it may do at first: nothing of jai runs there until a mark.
    """
    found: dict[str, list[str]] = {}
    scenario, before = "", 0.0
    for line in console.splitlines():
        mark, clock = MARK.search(line), CLOCK.match(line)
        now = float(clock[1]) if clock else before
        boots, before = (boots or now < before) and not mark, now
        if mark:
            scenario = mark[1].strip()
        elif not boots:
            found.setdefault(scenario, []).append(line.strip())
    return found


def complaints(said: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Of what the kernel printed, only what it complained of."""
    sick = {name: [line for line in lines if SICK.search(line)] for name, lines in said.items()}
    return {name: lines for name, lines in sick.items() if lines}
