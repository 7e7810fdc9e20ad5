"""`make bench`: makes what the benchmarks need, lets pytest measure behind the wall, and reports.

`python -m bench.run [-k EXPRESSION]`
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from bench.report import report
from conformance.guests import cache, image

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECKOUT = Path(__file__).resolve().parents[1]
HERE, MADE = CHECKOUT / "bench", CHECKOUT / "build/bench"
# Debian's first suite with a bubblewrap that has overlays (0.11 or newer).
SUITE, DAYS = "trixie", 30
LIBRARIES = ("ld-linux", "libc.so", "libcap.so", "libpcre2-8.so", "libselinux.so")
PROGRAMS = {"bare-calls": "bare_calls.c", "core-alone": "core_alone.c", "clocked": "clocked.c"}
CORE = CHECKOUT / "jai/core"


def main(words: Sequence[str]) -> int:
    """Measure, report, and give pytest's exit status."""
    tools = MADE / "tools"
    shutil.rmtree(tools, ignore_errors=True)
    tools.mkdir(parents=True)
    for name, source in PROGRAMS.items():
        subprocess.run([*_compiler(), "-o", tools / name, HERE / source, *_core(source)], check=True)
    try:
        shutil.copytree(cache.kept("bubblewrap", cache.key(SUITE), _fetch, days=DAYS), tools / "bubblewrap")
    except (OSError, subprocess.CalledProcessError) as error:
        (tools / "absent").write_text(f"can not be fetched: {error}")
    shutil.copytree(CHECKOUT / "build/wheelhouse", tools / "wheels", ignore=shutil.ignore_patterns("jai*"))
    wall = [sys.executable, "-m", "conformance.wall", "--rw", str(MADE), "--", ".ci/inside"]
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE), *words]
    done = subprocess.run(
        [*wall, *pytest], cwd=CHECKOUT, env={**os.environ, "JAI_BENCH": str(MADE)}, check=False
    )
    report(MADE / "results.json", HERE)
    return done.returncode


def _compiler() -> list[str | Path]:
    """Give a line that compiles and links as jai/meson.build does for the launcher."""
    line: list[str | Path] = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-static", "-Wall", "-Wextra", "-Werror"]
    line += [f"-I{CORE}", f"-I{CHECKOUT / 'build/meson/jai/core/filter'}"]
    if not shutil.which("musl-gcc"):
        return ["cc", *line]
    after = [f"-idirafter{path}" for path in ("/usr/include", f"/usr/include/{platform.machine()}-linux-gnu")]
    return ["musl-gcc", *line, *after, CHECKOUT / "jai/launcher/memory.c"]


def _core(source: str) -> list[Path]:
    """Give the files of the core that a program is made of; the one with clocks includes one itself."""
    left_out = {"mutants.c", *(["steps.c"] if source == "clocked.c" else [])}
    return [path for path in CORE.glob("*.c") if path.name not in left_out]


def _fetch(folder: Path) -> None:
    """Unpack bubblewrap, with the C library that it was built for, from packages of a newer Debian."""
    with tempfile.TemporaryDirectory(prefix="jai-bench-") as scratch:
        archive = Path(scratch, "bubblewrap.tar")
        image.mmdebstrap(archive, "--variant=extract", "--include=bubblewrap", SUITE)
        with tarfile.open(archive) as packages:
            for member in packages:
                name, place = PurePosixPath(member.name).name, PurePosixPath(member.name).parent.name
                if (place, name) != ("bin", "bwrap") and not name.startswith(LIBRARIES):
                    continue
                data = packages.extractfile(member)  # of a link: what it points to
                if data and (member.isfile() or member.issym()):
                    (folder / name).write_bytes(data.read())
                    (folder / name).chmod(0o755)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
