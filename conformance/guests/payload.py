"""What is sent to a machine: the scenarios, jai, and what runs them where we have not made the machine."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.guests import cache
from conformance.guests.table import TOOLS

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECKOUT = Path(__file__).resolve().parents[2]


def wheel(house: str = "wheelhouse") -> Path:
    """The newest wheel of jai that was built here."""
    wheels = (CHECKOUT / "build" / house).glob("jai_sandbox-*.whl")
    return max(wheels, key=lambda path: path.stat().st_mtime)


def pack(more: Mapping[Path, str]) -> bytes:
    """The scenarios, and more files or folders with the names that they get, as a tar archive."""
    files = {CHECKOUT / "pyproject.toml": "pyproject.toml", **more}
    for path in (CHECKOUT / "conformance").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            files[path] = str(path.relative_to(CHECKOUT))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, name in files.items():
            archive.add(path, name, filter=_as_root)
    return out.getvalue()


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def tools(python: str, machine: str) -> Path:
    """For another machine's Python: `wheels` that jai needs, pip's among them; `site`, pytest unpacked."""

    def make(folder: Path) -> None:
        foreign = [f"--python-version={python}", "--implementation=cp", f"--platform=manylinux2014_{machine}"]
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        only = ["-qq", "--only-binary=:all:", *foreign]
        subprocess.run([*pip, "download", *only, f"--dest={folder / 'wheels'}", "pip", "cffi"], check=True)
        others = [name for name in TOOLS if name != "pip"]
        subprocess.run([*pip, "install", *only, f"--target={folder / 'site'}", *others], check=True)

    return cache.kept(f"tools-{python}-{machine}", cache.key(TOOLS), make)
