"""What `jai -v` says at the end: what was changed in the granted directories and may run later outside.

Looks at known names only, never at a whole tree.  The time that counts is the one nobody can set back.
"""

from __future__ import annotations

import os
import stat
from itertools import islice
from typing import TYPE_CHECKING

from jai.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jai.policy import Policy

# Read and executed by the tools of the project, or by an editor.
FILES = (
    *("Makefile", "makefile", "GNUmakefile", "CMakeLists.txt", "meson.build", "justfile", "Taskfile.yml"),
    *("package.json", ".npmrc", ".yarnrc.yml", "pyproject.toml", "setup.py", "setup.cfg", "conftest.py"),
    *("noxfile.py", "tox.ini", "build.rs", "Cargo.toml", ".cargo/config.toml", "build.gradle", "pom.xml"),
    *("Rakefile", "Gemfile", "Dockerfile", "compose.yaml", "docker-compose.yml", "flake.nix", "shell.nix"),
    *(".envrc", ".mise.toml", ".tool-versions", ".pre-commit-config.yaml", ".gitmodules", ".gitattributes"),
    *(".mcp.json", "CLAUDE.md", "AGENTS.md"),
)
FOLDERS = (
    *(".vscode", ".idea", ".devcontainer", ".claude", ".claude/commands", ".cursor", ".husky", ".githooks"),
    *(".github/workflows",),
)
# Here, only what can be executed.
PROGRAMS = ("", "bin", "scripts", ".venv/bin", "venv/bin", "env/bin", "node_modules/.bin")

MOST_LOOKED_AT = 2000
MOST_TOLD = 20


def tell_aftermath(policy: Policy, since: int) -> None:
    """Print what was changed since a time in ns."""
    tops = [grant.path for grant in policy.grants if grant.type == "directory" and not grant.readonly]
    found = sorted({path for top in tops for path in _changed(top, since)})
    if found:
        lines = ["jai: changed while the jail ran, and may run later:"]
        lines += [f"  {path}" for path in found[:MOST_TOLD]]
        lines += [f"  and {len(found) - MOST_TOLD} more"] if len(found) > MOST_TOLD else []
        text = "".join(f"{printable(line)}\n" for line in lines)
        os.write(2, text.encode("utf-8", "backslashreplace"))


def _changed(top: str, since: int) -> Iterator[str]:
    for name in FILES:
        path = os.path.join(top, name)
        if _is_new(path, since, programs=False):
            yield path
    for folders, programs in ((FOLDERS, False), (PROGRAMS, True)):
        for folder in folders:
            for path in _entries(os.path.join(top, folder)):
                if _is_new(path, since, programs=programs):
                    yield path


def _entries(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in islice(entries, MOST_LOOKED_AT)]
    except OSError:
        return []


def _is_new(path: str, since: int, *, programs: bool) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    if found.st_ctime_ns < since or stat.S_ISDIR(found.st_mode):
        return False
    return not programs or stat.S_ISLNK(found.st_mode) or bool(found.st_mode & 0o111)
