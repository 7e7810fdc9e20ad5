"""The parts around the guests: what is kept, and how a guest's tale is judged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conformance.guests import cache, machine, run, table
from conformance.guests.rounds import Round
from tests.helpers import COLLECT

if TYPE_CHECKING:
    from collections.abc import Callable

BOOTING = "[    1.5] WARNING: CPU: 0 PID: 1 at mm/slab.c\n"
CONSOLE = """\
[    9.1] jai-scenario: test_a
[    9.2] overlayfs: upper fs does not support tmpfile.
[    9.3] jai-scenario: test_b
[    9.4] BUG: kernel NULL pointer dereference, address: 0
[    9.5] jai-scenario:
[    9.6] EXT4-fs error (device vdc): ext4_lookup: deleted inode referenced
"""
PASSED: list[dict[str, Any]] = [
    {"total": 1},
    {"begins": "test_b"},
    *({"scenario": "test_b", "when": when, "outcome": "passed", "seconds": 1, "said": ""} for when in "123"),
    {"scenario": "test_b", "when": "teardown", "outcome": "passed", "seconds": 1, "said": ""},
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAI_CACHE", str(tmp_path / "cache"))


def writes(text: str) -> Callable[[Path], None]:
    """A maker that writes a file."""

    def make(folder: Path) -> None:
        (folder / "file").write_text(text)

    return make


def fails(folder: Path) -> None:
    """A maker that leaves half of its work."""
    (folder / "half").touch()
    raise subprocess.CalledProcessError(1, "apt")


def test_what_is_made_is_kept_until_it_is_made_of_something_else() -> None:
    """The second call makes nothing; another origin replaces what was there, unless that may be in use."""
    assert (cache.kept("x", "1", writes("one")) / "file").read_text() == "one"
    assert (cache.kept("x", "1", writes("two")) / "file").read_text() == "one"
    assert (cache.kept("x", "2", writes("two")) / "file").read_text() == "two"
    assert (cache.kept("x", "1", fails) / "file").read_text() == "one"
    os.utime(cache.place() / "x@1", (0, 0))
    cache.kept("x", "3", writes("three"))
    assert sorted(path.name for path in cache.place().glob("x@*")) == ["x@2", "x@3"]


def test_what_is_too_old_serves_on_where_it_can_not_be_renewed() -> None:
    """Offline, an old kernel is better than none; without one it is an error, and nothing is left."""
    made = cache.kept("x", "1", writes("one"))

    assert cache.kept("x", "1", fails, days=1e-9) == made
    with pytest.raises(subprocess.CalledProcessError):
        cache.kept("y", "1", fails)
    assert list(cache.place().glob("*y*/*")) == []


def test_a_complaint_of_the_kernel_belongs_to_a_scenario() -> None:
    """What is between two marks belongs to the first; harmless lines to nobody, nor does a boot."""
    log = BOOTING + CONSOLE + BOOTING + CONSOLE

    found = machine.complaints(machine.passages(log, boots=True))

    assert {name: len(lines) for name, lines in found.items()} == {"": 2, "test_b": 2}
    everything = machine.complaints(machine.passages(BOOTING + CONSOLE, boots=False))
    assert {name: len(lines) for name, lines in everything.items()} == {"": 2, "test_b": 1}


@pytest.mark.parametrize(("end", "console", "failed", "broken"), [
    pytest.param([{"end": 0}], "", [], False, id="well"),
    pytest.param([{"end": 0}], CONSOLE, ["test_b", "between the scenarios"], False, id="a sick kernel"),
    pytest.param([], "", [], True, id="lost after the last"),
    pytest.param([{"begins": "test_c"}], "", ["test_c"], True, id="lost in a scenario"),
])  # fmt: skip
def test_a_guest_is_judged_by_what_it_tells_and_by_its_console(
    end: list[dict[str, Any]], console: str, failed: list[str], *, broken: bool
) -> None:
    """A passed scenario stays passed only if the kernel kept quiet and the guest came to its end."""
    its = Round("6.12", "ext4")
    for told in [*PASSED, *end]:
        its.hear(told)

    its.close(console)

    assert (its.failed, bool(its.broken)) == (failed, broken)


def selected(root: Path, expression: str, *options: str) -> set[str]:
    """The scenarios that pytest selects, without their parameters."""
    words = [*COLLECT, "-k", expression, *options, "conformance"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    return {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}


def test_the_slice_touches_every_kernel_and_every_home_and_all_of_destruction(root: Path) -> None:
    """It is what the build server runs of the matrix."""
    assert {cell.kernel for cell in table.SLICE} == set(table.KERNELS)
    assert {cell.home_fs for cell in table.SLICE} == set(table.HOMES)
    assert selected(root, table.SLICE[table.Cell("6.12", "ext4")]) == selected(root, table.DESTRUCTION)
    assert all(selected(root, expression) for expression in set(table.SLICE.values()) - {table.EVERYTHING})


def test_the_matrix_has_every_guest() -> None:
    """What is asked for by name runs whole; a kernel that is too old needs no second home."""
    cells = table.cells("all", "all", "busybox")

    old = [name for name, kernel in table.KERNELS.items() if kernel.too_old]
    assert set(cells) == {
        table.Cell("6.12", "ext4", "systemd"),
        *(
            table.Cell(kernel, home)
            for kernel in table.KERNELS
            for home in table.HOMES
            if kernel not in old or home == "ext4"
            if home != table.FSCRYPT or kernel == table.LEAST_FOR_FSCRYPT
        ),
    }
    alone = table.Cell("6.1", "btrfs", "systemd")
    assert table.cells("6.1", "btrfs", "systemd") == {alone: table.EVERYTHING}
    assert set(table.cells("6.1", "all", "busybox")) == {table.Cell("6.1", home) for home in table.HOMES}
    assert table.Cell("sid", table.FSCRYPT) in table.cells("sid", table.FSCRYPT, "busybox")


@pytest.mark.parametrize(
    ("processors", "memory", "guests"), [(1, 1, 2), (2, 24, 2), (16, 24, 16), (16, 4, 2)]
)
def test_as_many_guests_run_as_there_is_room_for(processors: int, memory: float, guests: int) -> None:
    """One for each processor where there is memory, but never fewer than two."""
    assert run.at_once(processors, memory) == guests


def test_every_scenario_runs_somewhere_in_the_matrix(root: Path) -> None:
    """Shared among the guests, none is forgotten; the two files are about a checkout, not about a machine."""
    shared = " or ".join(f"({only})" for only in table.matrix().values() if only)
    here = [f"--ignore=conformance/{name}" for name in table.NOT_IN_GUESTS]

    assert selected(root, shared, *here) == selected(root, "", *here)


# In QEMU's place: it answers as sshd does, and would stay for ever.
STAYS = """\
import os, re, socket, sys
with open(os.environ["STARTED"], "a") as file:
    print(os.getpid(), file=file)
port = re.search(r"hostfwd=tcp:127.0.0.1:(\\d+)-:22", " ".join(sys.argv))[1]
with socket.create_server(("127.0.0.1", int(port))) as listener:
    while True:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"SSH-2.0-guest\\r\\n")
"""
# What `make conformance` does around a guest: how it shall end is the first argument.
RUNNER = """\
import asyncio, sys
from pathlib import Path
from conformance.guests import kernels, machine
machine.HOME_DISK = 1 << 20  # the wall lets no file be as large as a guest's home
boot = kernels.Boot("1", Path("vmlinuz"), Path("initrd"), Path("modules"))
async def main():
    async with machine.guest("guest", boot, Path(".")):
        print("up", flush=True)
        if sys.argv[1] == "fails":
            raise SystemExit(1)
        if sys.argv[1] != "succeeds":
            await asyncio.Event().wait()
asyncio.run(main())
"""


def alive(pid: int) -> bool:
    """Whether a process is there and not only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("ends", ["succeeds", "fails", "INT", "TERM", "KILL"])
def test_no_guest_outlives_its_runner(root: Path, tmp_path: Path, ends: str) -> None:
    """However the runner ends, QEMU ends with it and no file is left."""
    programs, scratch, started = tmp_path / "bin", tmp_path / "scratch", tmp_path / "started"
    programs.mkdir()
    scratch.mkdir()
    (programs / machine.QEMU).write_text(f"#!{sys.executable}\n{STAYS}")
    (programs / machine.QEMU).chmod(0o755)
    changed = {"PATH": f"{programs}:{os.environ['PATH']}", "TMPDIR": str(scratch), "STARTED": str(started)}
    changed |= {"PYTHONPATH": str(root), "JAI_CACHE": str(tmp_path / "cache")}
    words = [sys.executable, "-c", RUNNER, ends]
    with subprocess.Popen(
        words, cwd=tmp_path, env={**os.environ, **changed}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as runner:
        assert runner.stdout
        assert runner.stdout.readline() == b"up\n", runner.communicate()
        pids = [int(pid) for pid in started.read_text().split()]
        if ends.isupper():
            assert alive(pids[-1])  # control: it would have stayed
            runner.send_signal(signal.Signals[f"SIG{ends}"])
        runner.communicate(timeout=30)

    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"{pids} are still there"
    assert list(scratch.iterdir()) == []
