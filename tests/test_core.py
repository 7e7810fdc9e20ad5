"""The C core as a program: analysed, run under sanitizers on hostile images, and safe after clone."""

from __future__ import annotations

import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from jai.plan import plan
from jai.policy import decide
from jai.steps import encode
from tests.fakes import FakeHost, asked
from tests.test_plan import SITUATIONS, planned

WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow")
FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", *WARNINGS)
ROUNDS = 200_000

# Source: signal-safety(7), and system calls without state in the C library.  What else may be called
# between clone and exec: nothing that allocates, locks or uses stdio.
SAFE = """
    _GLOBAL_OFFSET_TABLE_ __errno_location __stack_chk_fail _exit chdir close dup2 dup3 execve
    fchdir fchmod fchmodat fcntl fstat fstatat futimens getrlimit getuid ioctl jai_landlock kill lstat
    memcpy memset mkdirat mknodat open openat pipe2 poll prctl pread pwrite read recvmsg sendmsg
    setns setpgid setrlimit setsid sigaction sigaddset sigemptyset signalfd sigprocmask socket
    socketpair strcat strchr strchrnul strcmp strcpy strlen strncmp strrchr symlinkat syncfs syscall
    umask unshare waitid waitpid write
"""
AFTER_CLONE = (
    *("child.c", "filter.c", "fmt.c", "mounts.c", "namespaces.c", "steps.c", "strict.c", "supervise.c"),
)


@pytest.fixture(autouse=True)
def _made(filters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the compiler find what is made while the core is built."""
    monkeypatch.setenv("CPATH", str(filters))


def compiled(source: Path, target: Path, *flags: str) -> str:
    """Compile one file and give what the compiler said."""
    line = ["gcc", *FLAGS, *flags, "-c", str(source), "-o", str(target)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_analyser_finds_nothing(root: Path, tmp_path: Path) -> None:
    """`gcc -fanalyzer` with all warnings as errors passes on each file."""
    sources = sorted((root / "jai/core").rglob("*.c"))
    assert len(sources) > 5
    for source in sources:
        compiled(source, tmp_path / "out.o", "-O2", "-fanalyzer")


def test_the_analyser_is_listening(tmp_path: Path) -> None:
    """The control: freeing twice is found."""
    source = tmp_path / "twice.c"
    source.write_text(
        "#include <stdlib.h>\nvoid f(char *p);\nvoid f(char *p)\n{\n\tfree(p);\n\tfree(p);\n}\n"
    )
    line = ["gcc", *FLAGS, "-O2", "-fanalyzer", "-c", str(source), "-o", str(tmp_path / "out.o")]
    assert subprocess.run(line, capture_output=True, check=False).returncode != 0


def undefined(target: Path) -> set[str]:
    """Give the symbols that an object file needs from elsewhere."""
    listed = subprocess.run(["nm", "-u", str(target)], capture_output=True, text=True, check=True).stdout
    return {word.split("@")[0] for word in listed.split() if word not in ("U", "w")}


def test_what_runs_after_clone_is_async_signal_safe(root: Path, tmp_path: Path) -> None:
    """Files that run between clone and exec call nothing that allocates or locks."""
    safe = set(SAFE.split())
    objects = {}
    for name in (*AFTER_CLONE, "parent.c", "image.c", "lend.c"):
        target = tmp_path / f"{name}.o"
        compiled(root / "jai/core" / name, target, "-O2")
        objects[name] = undefined(target)
    ours = {
        line.split()[-1]
        for target in tmp_path.glob("*.o")
        for line in subprocess.run(
            ["nm", str(target)], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        if " T " in line
    }
    for name in AFTER_CLONE:
        assert objects[name] <= safe | ours, f"{name} calls {sorted(objects[name] - safe - ours)}"
    assert "calloc" in objects["image.c"] - safe  # control: the list does see an allocation


def test_no_protection_can_be_left_out_of_what_is_released(root: Path, tmp_path: Path) -> None:
    """The switch of `make mutants` is in none of the installed files."""
    switch = b"JAI_LEAVE_OUT"
    installed = [Path(str(file.locate())) for file in metadata.files("jai-sandbox") or []]
    there = [path for path in installed if path.is_file()]
    assert {path.name for path in there} >= {"jai", "_core.abi3.so", "plan.py", "jai-idmap"}

    assert [str(path) for path in there if switch in path.read_bytes()] == []

    compiled(root / "jai/core/mutants.c", tmp_path / "mutants.o", "-O2")
    assert switch in (tmp_path / "mutants.o").read_bytes()  # control


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """Give files with the plans of all situations."""
    found = []
    for situation in SITUATIONS:
        path = tmp_path / f"{situation.__name__}.image"
        path.write_bytes(encode(planned(situation)))
        found.append(str(path))
    return found


def fuzzer(root: Path, tmp_path: Path, *flags: str) -> Path:
    """Build the fuzzer with sanitizers."""
    core = root / "jai/core"
    target = tmp_path / "fuzz"
    sources = [root / "tests/fuzz_image.c", core / "image.c", core / "parent.c"]
    others = sorted(source for source in core.glob("*.c") if source.name not in ("image.c", "parent.c"))
    line = [
        "gcc",
        *FLAGS,
        *flags,
        "-g",
        "-O1",
        "-DSTANDALONE",
        "-I",
        str(core),
        *map(str, [*sources, *others]),
    ]
    done = subprocess.run([*line, "-o", str(target)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def test_mutated_plans_do_not_harm_the_check(root: Path, tmp_path: Path, images: list[str]) -> None:
    """Nearly good images under AddressSanitizer and UBSan: an answer, never a fault."""
    target = fuzzer(root, tmp_path, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    done = subprocess.run(
        [str(target), str(ROUNDS), "1", *images], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == f"{ROUNDS} rounds of {len(images)} images\n"


def test_the_sanitizer_is_listening(root: Path, tmp_path: Path) -> None:
    """The control: a core that trusts the string table's size is caught."""
    broken = tmp_path / "jai/core"
    shutil.copytree(root / "jai/core", broken)
    shutil.copytree(root / "jai/helper", tmp_path / "jai/helper")
    shutil.copytree(root / "tests", tmp_path / "tests")
    image = broken / "image.c"
    text = image.read_text()
    wrong = text.replace("steps_end + header.strings != size", "0", 1)
    assert wrong != text
    image.write_text(wrong)
    target = fuzzer(tmp_path, tmp_path, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    host = FakeHost()
    sample = tmp_path / "sample.image"
    sample.write_bytes(encode(plan(decide(asked(host, "sh"), host))))  # type: ignore[arg-type]
    done = subprocess.run(
        [str(target), "20000", "1", str(sample)], capture_output=True, text=True, check=False
    )
    assert "AddressSanitizer" in done.stderr
