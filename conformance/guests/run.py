"""`make conformance`: sends the scenarios to guests, and judges what comes back.

`python -m conformance.guests.run scenarios [--kernel NAME] [--home-fs NAME] [--mode MODE] [-k EXPRESSION]
[-- OPTION…]` runs some of them, also with `--guest` on machines that are there already; `… mutants` lets jai
leave out a protection in each guest, and wants the scenarios that guard it to fail;
`python -m conformance.guests.run shell` opens a shell in a guest.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from conformance.clauses import protections
from conformance.guests import cache, image, kernels, machine, payload, reach, report, where
from conformance.guests.rounds import HERE, Round
from conformance.guests.table import HOMES, INITS, KERNELS, LEFT_OUT, NOT_IN_GUESTS, TOLD, cells, kinds
from conformance.jails import MODES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType

THERE = "/opt/conformance"
UNPACK = f"mkdir -p {THERE} && tar -C {THERE} -x"
MOST_MEMORY = 1.5  # GiB of the host's that a guest may take
AFTERWARDS = "conformance/guests/after_the_power_cut.py"
NOTHING_SELECTED = 5  # as pytest says it
NOT_MADE = 77  # what guests consist of could not be had


@dataclass(frozen=True)
class Parts:
    """What the guests are put together from."""

    userland: Path
    boots: dict[str, kernels.Boot]
    jai: Path
    processors: int  # of each guest


def installed(boot: kernels.Boot, userland: Path, wheel: Path) -> Path:
    """What `pip install` has made of the wheel in a guest; it takes too long to do that in each."""
    install = (image.INSIDE / "install").read_text()
    made_from = cache.key(hashlib.sha256(wheel.read_bytes()).hexdigest(), install, userland.name)

    async def make(folder: Path) -> None:
        async with machine.guest("install", boot, userland) as there:
            line = f"{UNPACK} && sh {THERE}/conformance/guests/inside/install >&2 && tar -C / -c opt/jai"
            async with there.start(line) as process:
                (folder / "jai.tar").write_bytes(
                    (await process.communicate(payload.pack({wheel: f"wheels/{wheel.name}"})))[0]
                )
            if process.returncode:
                message = f"jai can not be installed in a guest (status {process.returncode})"
                raise machine.MachineError(message)

    return cache.kept("jai", made_from, lambda folder: asyncio.run(make(folder))) / "jai.tar"


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


async def judge(its: Round, parts: Parts | None, options: Sequence[str]) -> None:
    """Start the guest, run the scenarios in it, and take in what it tells."""
    if its.broken:
        return
    its.began = time.monotonic()
    try:
        if isinstance(its.place, (where.Ssh, where.Vagrant)):
            await _visit(its, its.place, options)
        elif parts:
            await _host(its, parts, options)
    except machine.MachineError as error:
        its.broken = str(error)
    took = time.monotonic() - its.began
    how = ", BROKEN" if its.broken else ""
    say(f"[{its.name}] {len(its.found)} scenarios, {len(its.failed)} failed, {took:.0f} s{how}")


def at_once(processors: int, memory: float) -> int:
    """How many guests run at a time on a machine of so many processors and so many free GiB."""
    return max(2, min(processors, int(memory / MOST_MEMORY)))


@functools.cache
def _room() -> int:
    available = re.search(r"^MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return at_once(len(os.sched_getaffinity(0)), int(available[1]) / (1 << 20) if available else 0)


def what(*, too_old: bool, init: str = "busybox") -> list[str]:
    """The files that are tried: with a kernel that is too old only that jai says so."""
    if too_old:
        return ["conformance/test_refusals.py"]
    if INITS[init].about:
        return [INITS[init].about]
    return ["conformance", *(f"--ignore=conformance/{name}" for name in NOT_IN_GUESTS)]


async def _host(its: Round, parts: Parts, options: Sequence[str]) -> None:
    """Run the scenarios in a guest that is started for them."""
    boot = replace(parts.boots[its.kernel], words=INITS[its.init].word, processors=parts.processors)
    its.version = boot.version
    tried = what(too_old=KERNELS[its.kernel].too_old, init=its.init)
    async with machine.guest(its.name, boot, parts.userland) as there:
        say(f"[{its.name}] Linux {boot.version} is up after {time.monotonic() - its.began:.1f} s")
        env = {"JAI_LEAVE_OUT": its.without} if its.without else {}
        await _try(its, there, parts.jai, [*its.selection, *options, *tried], env)
        if its.writing:
            await _cut_power(its, there, parts.jai, options)
        its.close(there.console())


async def _cut_power(its: Round, there: machine.Machine, jai: Path, options: Sequence[str]) -> None:
    """Cut it while jails write, and judge what they have left when the guest has booted again."""
    its.ended = False
    # A line for each: the last two numbers that it has told, and its mode.
    ask = f"cd {TOLD} && for mode in *; do echo $(tail -n 2 $mode) $mode; done"
    async with there.start(ask) as process:
        told = (await process.communicate())[0].decode()
    await there.cut_power()
    say(f"[{its.name}] has booted again after its power was cut")
    await _try(its, there, jai, [*options, AFTERWARDS], {"JAI_TOLD": told})


async def _try(
    its: Round,
    there: machine.Machine,
    jai: Path,
    options: Sequence[str],
    env: Mapping[str, str] | None = None,
) -> None:
    words = ["env", *(f"{name}={value}" for name, value in (env or {}).items())]
    words += ["sh", f"{THERE}/conformance/guests/inside/scenarios", its.home_fs]
    words += [" ".join(kinds(its.kernel, its.home_fs, its.init)), *options]
    async with there.start(f"{UNPACK} && exec {shlex.join(words)}") as process:
        await _send(process, payload.pack({jai: jai.name}))
        await _listen(its, process)


async def _visit(its: Round, place: where.Ssh | where.Vagrant, options: Sequence[str]) -> None:
    """Run the scenarios on a machine that is there already."""
    async with reach.machine(place, say) as there:
        facts = await reach.ask(there)
        its.version = facts.release
        say(f"[{its.name}] {facts.system}, Linux {facts.release}, homes on {its.home_fs} ({facts.home})")
        if facts.lacks:
            more = facts.install(facts.lacks)
            hint = f"; there: {more}" if more else ""
            say(f"[{its.name}] skips what needs {', '.join(facts.lacks)}{hint}")
        words = [*its.selection, *options, *what(too_old=facts.older_than(reach.TOO_OLD))]
        async with reach.scenarios(there, facts, its.home_fs, words) as process:
            await _listen(its, process)
        its.close(its.log)


async def _send(process: asyncio.subprocess.Process, data: bytes) -> None:
    """Give a process all of its input; one that has ended already is told of by what it says."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await process.stdin.wait_closed()


async def _listen(its: Round, process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        told = json.loads(line)
        its.hear(told)
        if its.ended and not its.place:
            break
        if told.get("when") == "teardown" or told.get("outcome") == "failed":
            _progress(its, told["scenario"], told)


def _progress(its: Round, scenario: str, told: dict[str, Any]) -> None:
    outcome = its.found[scenario]["outcome"]
    if told["when"] == "teardown":
        seconds = its.found[scenario]["seconds"]
        short = scenario.removeprefix("conformance/")
        say(f"[{its.name}] {len(its.found)} of {its.total}: {outcome} {short} ({seconds:.1f} s)")


def prepare(rounds: list[Round]) -> Parts | None:
    """Make what the guests need, or find it in the cache; nothing is needed for other machines."""
    if all(its.place for its in rounds):
        return None
    userland = image.userland()
    boots = {}
    for name in dict.fromkeys(its.kernel for its in rounds):
        try:
            boots[name] = kernels.fetch(name, userland / "busybox")
        except subprocess.CalledProcessError as error:
            for its in rounds:
                its.broken = its.broken or (f"no such kernel: {error}" if its.kernel == name else "")
    if not boots:
        message = f"no kernel to start: {rounds[0].broken}"
        raise machine.MachineError(message)
    wheel = payload.wheel("mutants/wheelhouse" if any(its.without for its in rounds) else "wheelhouse")
    # Emulated processors that have to wait for a real one hold up the others: a tenth of the time.
    processors = max(1, min(2, len(os.sched_getaffinity(0)) // min(_room(), len(rounds))))
    return Parts(userland, boots, installed(next(iter(boots.values())), userland, wheel), processors)


async def run(rounds: list[Round], parts: Parts | None, options: Sequence[str]) -> None:
    """Judge everywhere: on other machines at once, in guests as many at a time as there is room for."""
    free = asyncio.Semaphore(_room())

    async def when_free(its: Round) -> None:
        if isinstance(its.place, where.Ssh):
            await judge(its, parts, options)
            return
        async with free:
            await judge(its, parts, options)

    await asyncio.gather(*(when_free(its) for its in rounds))


def conclude(rounds: list[Round], folder: Path) -> int:
    """Say what failed, write the report, and give the exit status."""
    for its in rounds:
        if its.broken:
            say(f"\n--- {its.name}: {its.broken}")
        for scenario in its.failed:
            say(f"\n--- {its.name}: {scenario}\n{its.found[scenario]['said']}")
    seen = [entry["outcome"] for its in rounds for entry in its.found.values()]
    counts = {outcome: seen.count(outcome) for outcome in ("passed", "failed", "skipped")}
    broken = sum(1 for its in rounds if its.broken)
    say(f"\n{len(rounds)} guests: " + ", ".join(f"{number} {outcome}" for outcome, number in counts.items()))
    say(report.tell(rounds, folder))
    if any(its.without for its in rounds):
        return _noticed(rounds)
    if counts["failed"] or broken:
        return 1
    return 0 if seen else NOTHING_SELECTED


def _noticed(rounds: list[Round]) -> int:
    """Judge the judges: what jai leaves out must make scenarios fail, and nothing else may go wrong."""
    for its in rounds:
        say(
            f"{its.name}: " + (f"noticed by {len(its.failed)} of {len(its.found)}" if its.failed else "A GAP")
        )
    return int(any(its.broken or not its.failed for its in rounds))


async def shell(its: Round, parts: Parts) -> int:
    """Open a shell in a guest, as a user who has jai; the guest ends with it."""
    boot = replace(parts.boots[its.kernel], words=INITS[its.init].word)
    async with machine.guest(its.name, boot, parts.userland) as there:
        inside = f"{THERE}/conformance/guests/inside"
        ready, lived_in = (f"sh {inside}/{script} {its.home_fs} >&2" for script in ("ready", "lived-in"))
        async with there.start(f"{UNPACK} && {ready} && {lived_in}") as process:
            await process.communicate(payload.pack({parts.jai: parts.jai.name}))
        if process.returncode:
            message = f"{its.name} can not be made ready (status {process.returncode})"
            raise machine.MachineError(message)
        say(f"You are ada in a guest with Linux {boot.version}, homes on {its.home_fs}.")
        say("jai is installed, sudo works, nothing here can be lost. To leave and end the guest: exit")
        say("Your home and ~/project are as the scenarios find them: what a report says can be typed here.")
        terminal = await asyncio.create_subprocess_exec(
            there.ssh[0],
            "-t",
            *there.ssh[1:],
            "exec su - ada",
        )
        return await terminal.wait()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make conformance", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("scenarios", "mutants", "shell"))
    parser.add_argument(
        "--leave-out", choices=protections(), action="append", help=f"mutants: {', '.join(LEFT_OUT)}"
    )
    parser.add_argument("--guest", type=_places, default=[], metavar="WORDS", help=where.WORDS)
    parser.add_argument("--kernel", choices=[*KERNELS, "all", "slice"], help="which kernel; 6.12")
    parser.add_argument("--home-fs", choices=[*HOMES, "all"], help="what homes are on; ext4")
    parser.add_argument("--init", choices=INITS, default="busybox", help="what is PID 1; busybox")
    parser.add_argument("--mode", choices=MODES, help="only the scenarios of this mode")
    parser.add_argument(
        "-k", default="", metavar="EXPRESSION", help="only these scenarios, as with pytest -k"
    )
    parser.add_argument("--report", type=Path, default=report.FOLDER, help="the folder of the report")
    words = list(sys.argv[1:] if arguments is None else arguments)
    end = words.index("--") if "--" in words else len(words)
    asked = parser.parse_args(words[:end], argparse.Namespace(pytest=words[end + 1 :]))
    if asked.guest and (asked.kernel or asked.what != "scenarios"):
        parser.error("a machine that is there already has its own kernel, and its own ssh")
    if asked.guest and asked.home_fs not in (None, *reach.HOMES):
        parser.error(f"homes are made on {', '.join(reach.HOMES)} there, or stay on what /home is on")
    return asked


def _places(text: str) -> list[where.Ssh | where.Vagrant]:
    try:
        return where.parse(text)
    except where.WordError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _rounds(asked: argparse.Namespace) -> list[Round]:
    """A guest for each kernel and each file system, or a round on each machine that was named."""
    if asked.guest:
        return [Round("", asked.home_fs or HERE, asked.k, place) for place in asked.guest]
    wanted = cells(asked.kernel or "6.12", asked.home_fs or "ext4", asked.init)
    names = (asked.leave_out or LEFT_OUT) if asked.what == "mutants" else [""]
    return [
        Round(cell.kernel, cell.home_fs, asked.k or only, init=cell.init, without=name)
        for cell, only in wanted.items()
        for name in names
    ]


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """End as on ctrl-C, through every `finally`."""
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked for: 0 if all is well."""
    asked = _parse(arguments)
    rounds = _rounds(asked)
    if not rounds:
        say(f"nothing runs with the kernel {asked.kernel} and homes on {asked.home_fs}")
        return NOTHING_SELECTED
    options = [*([f"--mode={asked.mode}"] if asked.mode else []), *asked.pytest]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        parts = prepare(rounds)
        if asked.what == "shell" and parts:
            return asyncio.run(shell(rounds[0], parts))
        asyncio.run(run(rounds, parts, options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        conclude(rounds, asked.report)
        say("interrupted")
        return 130
    except subprocess.CalledProcessError as error:
        say(f"the guests can not be made: {error}")
        return NOT_MADE
    except machine.MachineError as error:
        say(str(error))
        return 1
    return conclude(rounds, asked.report)


if __name__ == "__main__":
    sys.exit(main())
