"""The system call filter: what it answers by its text, and what the kernel answers under it."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.abilities import needs
from tests.helpers import JAI_FAILED, User, user
from tests.test_doctor import filtered

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["user"]

# Source: linux/audit.h, linux/seccomp.h, linux/filter.h.
ABIS = {"x86_64": 0xC000003E, "i386": 0x40000003, "aarch64": 0xC00000B7, "arm": 0x40000028}
ARCHITECTURES = {"x86_64": ("x86_64", "i386"), "aarch64": ("aarch64", "arm")}
PAIRS = [(architecture, abi) for architecture, abis in ARCHITECTURES.items() for abi in abis]
X32 = 0x40000000
ALLOW, ERRNO = 0x7FFF0000, 0x50000
LOAD, AND, JUMP, RETURN = 0x20, 0x54, 0x05, 0x06
EQUAL, GREATER, GREATER_OR_EQUAL, ANY_BIT = 0x15, 0x25, 0x35, 0x45
NEWEST_CALL = 469
# Which of the table's calls an ABI does not have; the numbers that libseccomp does not tell.
MISSING = {
    "x86_64": {"socketcall"},
    "i386": {"kexec_file_load"},
    "aarch64": {"chmod", "creat", "mkdir", "mknod", "open", "socketcall"},
    "arm": {"socketcall"},
}
UNTOLD = {"fchmodat2": dict.fromkeys(ABIS, 452), "socket": {"i386": 359}}
SECCOMP = {"x86_64": 317, "aarch64": 277}[platform.machine()]

Instruction = tuple[int, int, int, int]


@dataclass(frozen=True)
class Row:
    """One row of the table: a call, the answer, the conditions as (argument, sign, value)."""

    call: str
    answer: int
    conditions: tuple[tuple[int, str, int], ...]
    strict: bool

    def refuses(self, arguments: list[int]) -> bool:
        """Whether the row holds for these arguments."""
        return all(_holds(arguments[at], sign, value) for at, sign, value in self.conditions)


def _holds(argument: int, sign: str, value: int) -> bool:
    low = argument & 0xFFFFFFFF
    # The kernel looks at the lower half; what is refused unless it is equal may be compared as a whole.
    return {"==": low == value, "!=": argument != value, "&": bool(low & value)}[sign]


def read_rows(filters: Path, *, strict: bool) -> list[Row]:
    """The table as the compiler of filters has it, with or without strict mode's rows."""
    listed = subprocess.run(
        [str(filters / "compile-filter"), "x86_64", "--rows"], capture_output=True, text=True, check=True
    )
    found, whens = [], set()
    for line in listed.stdout.splitlines():
        call, answer, conditions, reason, when = line.split("\t")
        assert len(reason) > 5, f"{call} has no reason"
        split = [condition.split() for condition in conditions.split(", ") if condition]
        parts = tuple((int(at), sign, int(value, 0)) for at, sign, value in split)
        found.append(Row(call, int(answer), parts, when == "in strict mode"))
        whens.add(when)
    assert whens == {"always", "in strict mode", "unless allowed"}
    return [row for row in found if strict or not row.strict]


def read_program(
    filters: Path, architecture: str, *, strict: bool, openat2: bool = False
) -> list[Instruction]:
    """A filter of an architecture, from the header that is built into the core."""
    made = subprocess.run(
        [str(filters / "compile-filter"), architecture], capture_output=True, text=True, check=True
    )
    name = ("strict_" if strict else "") + "filter" + ("_but_openat2" if openat2 else "")
    text = made.stdout.partition(f"sock_filter {name}[] = ")[2].partition(";")[0]
    rows = re.findall(r"\{(0x\w+), (\d+), (\d+), (0x\w+)\},", text)
    return [(int(code, 0), int(true), int(false), int(value, 0)) for code, true, false, value in rows]


def simulate(program: list[Instruction], abi: str, number: int, arguments: list[int]) -> int:
    """What the kernel would do with a call: a run of the classic BPF program."""
    data = struct.pack("<IIQ6Q", number, ABIS[abi], 0, *arguments)
    accumulator, at = 0, 0
    while True:
        code, true, false, value = program[at]
        at += 1
        if code == RETURN:
            return value
        if code == LOAD:
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif code == AND:
            accumulator &= value
        elif code == JUMP:
            at += value
        else:
            met = {
                EQUAL: accumulator == value,
                GREATER: accumulator > value,
                GREATER_OR_EQUAL: accumulator >= value,
                ANY_BIT: accumulator & value,
            }[code]
            at += true if met else false


def number_of(call: str, abi: str) -> int:
    """The number of a call in an ABI, below 0 where it has none."""
    told = UNTOLD.get(call, {}).get(abi)
    resolve = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name_arch
    return told or int(resolve(ctypes.c_uint32(ABIS[abi]), call.encode()))


@dataclass(frozen=True)
class Filter:
    """The filter of an architecture with the table that it was made of."""

    rows: list[Row]
    program: list[Instruction]
    abi: str
    calls: dict[int, str]

    def answer(self, number: int, arguments: list[int]) -> int:
        """What the program does."""
        return simulate(self.program, self.abi, number, arguments)

    def wanted(self, number: int, arguments: list[int]) -> int:
        """What the table says."""
        call = self.calls.get(number)
        refusals = [row.answer for row in self.rows if row.call == call and row.refuses(arguments)]
        return ERRNO | refusals[0] if refusals else ALLOW


@pytest.fixture(scope="module", params=[False, True], ids=["ordinary", "strict"])
def strict(request: pytest.FixtureRequest) -> bool:
    """Both filters."""
    return bool(request.param)


@pytest.fixture(scope="module", params=PAIRS, ids=[f"{abi} on {machine}" for machine, abi in PAIRS])
def made(filters: Path, request: pytest.FixtureRequest, strict: bool) -> Filter:  # noqa: FBT001
    """Each ABI under the filters of its architecture."""
    architecture, abi = request.param
    rows = read_rows(filters, strict=strict)
    numbers = {row.call: number_of(row.call, abi) for row in rows}
    assert {call for call, number in numbers.items() if number < 0} == MISSING[abi]
    calls = {number: call for call, number in numbers.items() if number >= 0}
    return Filter(rows, read_program(filters, architecture, strict=strict), abi, calls)


# --- by its text ------------------------------------------------------------------------------------------

HALVES = (0, 1, 2, 3, 16, 17, 38, 40, 0x5412, 0x541C, 0o644, 0o755, 0o2000, 0o4000, 0o6755, 0o100, 0o20200000)
values = st.one_of(
    st.sampled_from(HALVES),
    st.sampled_from(HALVES).map(lambda low: 0xDEADBEEF << 32 | low),
    st.integers(0, 2**64 - 1),
)


@given(st.data())
def test_it_answers_as_the_table_says(made: Filter, data: st.DataObject) -> None:
    """For any number and any arguments: what a row refuses, and nothing else."""
    number = data.draw(st.one_of(st.sampled_from(sorted(made.calls)), st.integers(0, NEWEST_CALL)))
    arguments = data.draw(st.lists(values, min_size=6, max_size=6))
    if made.abi in ("i386", "arm"):  # there the registers have half the width
        arguments = [argument & 0xFFFFFFFF for argument in arguments]

    assert made.answer(number, arguments) == made.wanted(number, arguments)


def test_every_row_refuses_and_is_as_narrow_as_it_says(made: Filter) -> None:
    """With all conditions met it refuses, whatever is in the upper halves; with one missed it does not."""
    numbers = {call: number for number, call in made.calls.items()}
    upper = 0 if made.abi in ("i386", "arm") else 0xFFFFFFFF << 32
    for row in made.rows:
        if row.call not in numbers:
            continue
        met, missed = [upper] * 6, [0] * 6
        for at, sign, value in row.conditions:
            met[at] = upper | (value + 1 if sign == "!=" else value)
        assert made.answer(numbers[row.call], met) == ERRNO | row.answer, row
        for at, sign, value in row.conditions:
            missed = met.copy()
            missed[at] = value if sign == "!=" else 0 if sign == "&" else value + 1000
            assert made.answer(numbers[row.call], missed) == ALLOW, row


def test_newer_calls_are_not_there(made: Filter) -> None:
    """What is newer than the table answers ENOSYS; the private calls of an ABI and -1 are left alone."""
    for number in (NEWEST_CALL + 1, 500, 1000, 0xEFFFF):
        assert made.answer(number, [0] * 6) == ERRNO | errno.ENOSYS
    for number in (NEWEST_CALL, 0xF0000, 0xF0005, 0xFFFFFFFF):
        assert made.answer(number, [0] * 6) == ALLOW


def test_foreign_abis_are_refused(filters: Path, strict: bool) -> None:  # noqa: FBT001
    """x32 on x86_64, and whatever else calls itself an ABI."""
    program = read_program(filters, "x86_64", strict=strict)

    for number in (0, 39, 59, 512, 546):
        assert simulate(program, "x86_64", X32 | number, [0] * 6) == ERRNO | errno.EPERM
    for number in (0, 39, 59):
        assert simulate(program, "aarch64", number, [0] * 6) == ERRNO | errno.EPERM
    assert simulate(program, "x86_64", 39, [0] * 6) == ALLOW  # control


def test_there_is_no_filter_for_a_strange_architecture(filters: Path) -> None:
    """It does not make one that refuses nothing."""
    asked = [str(filters / "compile-filter"), "riscv64"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert "riscv64" in done.stderr


# --- by the kernel ----------------------------------------------------------------------------------------

HERE, AT_FDCWD = '"file"', -100
SET_ID = (0o4755, 0o2755)
# For every row, by its call: arguments that it refuses and that harm nobody where they are not refused.
PROBES: dict[str, Sequence[tuple[object, ...]]] = {
    "ioctl": [(-1, 0x5412), (-1, 0x541C), (-1, 0xDEADBEEF << 32 | 0x5412), (-1, 0x5423)]
    + [(-1, request) for request in (0x50009401, 0x50009417, 0x5000943F, 0xC0406618, 0xC0406619)],
    "chmod": [(HERE, mode) for mode in SET_ID],
    "fchmod": [(-1, mode) for mode in SET_ID],
    "fchmodat": [(AT_FDCWD, HERE, mode) for mode in SET_ID],
    "fchmodat2": [(AT_FDCWD, HERE, mode) for mode in SET_ID],
    "creat": [(HERE, mode) for mode in SET_ID],
    "open": [(HERE, flags, mode) for flags in (0o100, 0o101) for mode in SET_ID]
    + [('"."', 0o20200002, 0o4755)],
    "openat": [(AT_FDCWD, HERE, 0o100, mode) for mode in SET_ID] + [(AT_FDCWD, '"."', 0o20200002, 0o4755)],
    "openat2": [(AT_FDCWD, HERE, 0, 0)],
    "mknod": [('"node"', 0o100000 | mode) for mode in SET_ID],
    "mknodat": [(AT_FDCWD, '"node"', 0o100000 | mode) for mode in SET_ID],
    "mkdir": [('"folder"', mode) for mode in SET_ID],
    "mkdirat": [(AT_FDCWD, '"folder"', mode) for mode in SET_ID],
    "add_key": [()],
    "keyctl": [(0, -3)],
    "request_key": [()],
    "open_by_handle_at": [(-1, 0, 0)],
    "setpriority": [(1, 0, 0), (1 << 32 | 1, 1 << 32, 0)],
    "ioprio_set": [(2, 0, 0)],
    "socket": [(40, 1, 0), (38, 5, 0), (17, 3, 0), (1 << 32 | 17, 3, 0), (16, 3, 15)],
    "bpf": [(-1, 0, 0)],
    "perf_event_open": [(0, 0, -1, -1, 0)],
    "userfaultfd": [(-1,)],
    "io_uring_setup": [(0, 0)],
    "io_uring_enter": [(-1, 0, 0, 0, 0)],
    "io_uring_register": [(-1, 0, 0, 0)],
    "socketcall": [(1, 0)],
    "kexec_load": [(0, 0, 0, -1)],
    "kexec_file_load": [(-1, -1, 0, 0, -1)],
    "init_module": [(0, 0, 0)],
    "finit_module": [(-1, 0, -1)],
    "delete_module": [(0, 0)],
    "quotactl": [(-1, 0, 0, 0)],
    "quotactl_fd": [(-1, -1, 0, 0)],
    "acct": [('"/nowhere"',)],
    "swapon": [('"/nowhere"', 0)],
    "swapoff": [('"/nowhere"',)],
}
# The same for strict mode's: with a flag that the call does not take beside the one that is refused.
STRICT_PROBES: dict[str, Sequence[tuple[object, ...]]] = {
    "clone": [(0x10000200, 0, 0, 0, 0), (1 << 32 | 0x10000200, 0, 0, 0, 0)],
    "clone3": [(0, 0)],
    "unshare": [(0x10000001,), (1 << 32 | 0x10000001,)],
    "setns": [(-1, 0)],
}
# Of an ordinary user the kernel wants a privilege for these before it looks at anything else, so there is
# no control but root's.
PRIVILEGED = {
    *("open_by_handle_at", "bpf", "perf_event_open", "userfaultfd", "kexec_load", "kexec_file_load"),
    *("init_module", "finit_module", "delete_module", "quotactl", "acct", "swapon", "swapoff", "socket"),
}
NATIVE = platform.machine()
# The word for system_calls.c, and the ABI.
CALLED = [("native", NATIVE), ("i386", "i386")][: 2 if NATIVE == "x86_64" else 1]
HARMLESS = {"getpid": "ok", "getuid": "ok"}
FILTERED = """
import ctypes, os, sys
from jai._core import lib
assert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0
assert lib.jai_filter(lib.JAI_STRICT if sys.argv[1] == "strict" else 0) == 0
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture(scope="module")
def program(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that makes system calls."""
    path = tmp_path_factory.mktemp("calls") / "system_calls"
    source = str(root / "tests/system_calls.c")
    subprocess.run(["gcc", "-static", "-D_GNU_SOURCE", source, "-o", str(path)], check=True)
    return path


@pytest.fixture
def caller(program: Path, user: User) -> str:
    """The same in the project, with the file that the calls are about."""
    path = f"{user.project}/system_calls"
    Path(path).write_bytes(program.read_bytes())
    os.chmod(path, 0o755)
    user.make(f"{user.project}/file")
    return path


def lines_for(word: str, abi: str, *, strict: bool) -> list[tuple[str, str]]:
    """What is asked in an ABI: the call's name, and the line for system_calls.c."""
    found = []
    probes = {**PROBES, **(STRICT_PROBES if strict else {}), **{name: [()] for name in HARMLESS}}
    for call, attempts in probes.items():
        number = number_of(call, abi)
        for attempt in attempts if number >= 0 else []:
            arguments = [each if isinstance(each, str) else str(each) for each in attempt]
            found.append((call, " ".join([word, str(number), *arguments])))
    return found


def answers(done: subprocess.CompletedProcess[str], asked: list[tuple[str, str]]) -> list[str]:
    """The answers by name, as many as there were questions."""
    told = done.stdout.split()
    assert len(told) == len(asked), f"{done.returncode}: {done.stderr}"
    return ["ok" if answer == "ok" else errno.errorcode[int(answer)] for answer in told]


def expected(filters: Path, asked: list[tuple[str, str]]) -> list[str]:
    """The table's answer to each call."""
    table = {row.call: errno.errorcode[row.answer] for row in read_rows(filters, strict=True)}
    return [{**table, **HARMLESS}[call] for call, _ in asked]


def judge_control(
    asked: list[tuple[str, str]], refused: list[str], control: list[str], *, root: bool
) -> None:
    """Assert that without the filter each call answers something else."""
    for (call, line), answer, without in zip(asked, refused, control):
        if call not in HARMLESS and (root or call not in PRIVILEGED):
            assert without != answer, f"{call}: {line} answers {without} without the filter too"


def test_every_row_has_a_probe(filters: Path) -> None:
    """A row that is added is also tried."""
    assert {row.call for row in read_rows(filters, strict=False)} == set(PROBES)
    assert {row.call for row in read_rows(filters, strict=True)} == {*PROBES, *STRICT_PROBES}


@pytest.mark.parametrize(("word", "abi"), CALLED)
def test_every_row_is_refused_in_a_jail(user: User, caller: str, filters: Path, word: str, abi: str) -> None:
    """Each call is made, in each ABI; outside the same account gets other answers."""
    asked = lines_for(word, abi, strict=False)
    stdin = "".join(f"{line}\n" for _, line in asked)

    inside = answers(user.run([user.jai, caller], stdin=stdin), asked)
    outside = answers(user.run(["setsid", "-w", caller], stdin=stdin), asked)

    assert dict(zip(asked, inside)) == dict(zip(asked, expected(filters, asked)))
    judge_control(asked, inside, outside, root=False)


@needs("root")  # who alone gets other answers without the filter to all of them
@pytest.mark.parametrize(("word", "abi"), CALLED)
def test_every_row_is_refused_to_root(  # noqa: PLR0913 - what it is tried with
    program: Path, filters: Path, tmp_path: Path, word: str, abi: str, *, strict: bool
) -> None:
    """The filter alone, without a jail, for a process with every privilege; without it none is refused."""
    asked = lines_for(word, abi, strict=strict)
    stdin = "".join(f"{line}\n" for _, line in asked)

    def call(*before: str) -> list[str]:
        (tmp_path / "file").touch()
        done = subprocess.run(
            [*before, str(program)],
            input=stdin,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
        return answers(done, asked)

    under = call(sys.executable, "-c", FILTERED, "strict" if strict else "usual")
    without = call()

    assert dict(zip(asked, under)) == dict(zip(asked, expected(filters, asked)))
    judge_control(asked, under, without, root=True)


@pytest.mark.skipif(NATIVE != "x86_64", reason="there is no x32")
def test_x32_is_refused(user: User, caller: str) -> None:
    """Even a harmless call of that ABI; outside it works, or the kernel knows no such ABI."""
    stdin = "x32 39\nx32 16 -1 0x5412\nnative 39\n"

    assert user.run([user.jai, caller], stdin=stdin).stdout.split() == ["1", "1", "ok"]
    outside = user.run([caller], stdin=stdin).stdout.split()
    assert "1" not in outside[:1]


ALLOW_OPENAT2 = ("--allow", "openat2")


def test_openat2_has_its_fallback(user: User) -> None:
    """ENOSYS, so that programs do what they do on older kernels; --allow openat2 lets it through."""
    act = "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); libc.syscall(437, -100, b'.', 0, 0)"
    tell = f"{act}; print(os.strerror(ctypes.get_errno()))"
    ways: tuple[list[str], ...] = (
        [],
        [user.jai],
        [user.jai, *ALLOW_OPENAT2],
        [user.jai, *ALLOW_OPENAT2, "--allow", "none"],
    )

    seen = [user.run([*way, "/usr/bin/python3", "-c", tell]).stdout for way in ways]

    invalid, missing = "Invalid argument\n", "Function not implemented\n"
    assert seen == [invalid, missing, invalid, missing]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_what_is_allowed_is_one_call(filters: Path, architecture: str, *, strict: bool) -> None:
    """With openat2 allowed the filter answers all else as ever, in every ABI."""
    usual = read_program(filters, architecture, strict=strict)
    allowing = read_program(filters, architecture, strict=strict, openat2=True)
    mode = 0o4755
    tried = [
        (),
        (0, 0, 0, 0, 0, 0),
        (1, 0x5412),
        (1, mode, mode, mode),
        (1, 0o100, 0o100, mode),
        (17, 0x10000000),
    ]
    calls = [(number, [*each, *[0] * (6 - len(each))]) for number in range(NEWEST_CALL + 3) for each in tried]

    for abi in ARCHITECTURES[architecture]:
        differ = {
            number
            for number, arguments in calls
            if simulate(usual, abi, number, arguments) != simulate(allowing, abi, number, arguments)
        }
        assert differ == {437}
        assert simulate(allowing, abi, 437, [0] * 6) == ALLOW


# --- when it can not be installed -------------------------------------------------------------------------


def test_without_the_filter_the_command_does_not_start(user: User) -> None:
    """Where the kernel, or a container, refuses the filter, jai says so and ends."""
    words = [user.jai, "sh", "-c", "echo ran; touch ran"]

    done = user.run([*filtered([SECCOMP], errno.EPERM), *words])
    control = user.run([*filtered([NEWEST_CALL], errno.EPERM), *words])

    assert (done.returncode, done.stdout) == (JAI_FAILED, "")
    assert control.stdout == "ran\n"
    lines = done.stderr.splitlines()
    assert lines[0] == "jai: system calls can not be filtered here"
    assert lines[1].startswith("  filter system calls: ")
    assert "EPERM" in lines[1]
    assert lines[2].startswith("  hint: ")
    assert len(lines) == 3


@pytest.mark.parametrize("mode", ["casual", "bare"])
def test_a_jail_in_a_jail_says_why_it_can_not_be(user: User, mode: str) -> None:
    """Not the kernel is too old, but a filter is around jai; the calls that it misses are named."""
    inner = f"{os.path.dirname(os.path.dirname(user.jai))}/bin/jai"

    done = user.run([*filtered([437], errno.ENOSYS), inner, "-m", mode, "true"])

    assert done.returncode == JAI_FAILED
    assert "filter around jai" in done.stderr
    assert "too old" not in done.stderr


# --- when it can not be built -----------------------------------------------------------------------------

# Does not find libseccomp, and is otherwise the compiler.
COMPILER_WITHOUT = """#!/bin/sh
for word; do
    case $word in
    *.c) grep -q 'seccomp\\.h' "$word" 2>/dev/null && exit 1 ;;
    esac
done
exec gcc "$@"
"""


@pytest.mark.parametrize("there", [True, False])
def test_jai_is_not_built_without_libseccomp(root: Path, tmp_path: Path, *, there: bool) -> None:
    """The build says which package is missing, and what for."""
    compiler = tmp_path / "compiler"
    compiler.write_text(COMPILER_WITHOUT)
    compiler.chmod(0o755)
    bin_path = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{bin_path}:{os.environ['PATH']}"}

    done = subprocess.run(
        ["meson", "setup", str(tmp_path / "build"), str(root)],
        env=environment if there else {**environment, "CC": str(compiler)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode == 0) == there, done.stdout
    assert ("libseccomp is missing" in done.stdout) == (not there)
    assert ("libseccomp-dev" in done.stdout) == (not there)
