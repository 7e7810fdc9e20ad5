"""The linters are tests like any other: one each, failing with the linter's own words."""

from __future__ import annotations

import ast
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
TOOLS = Path(sys.executable).parent

FOLDERS = {"jai", "conformance", "vagrant", "bench", "tests", ".github", ".ci"}
CACHES = {".benchmarks", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__"}
MADE = {".git", ".venv", ".vagrant", "build", "dist"} | CACHES

# The modules directly in jai/ are imported before every command, so they import next to nothing.
# These are not: they are imported only when something has to be explained.
COLD = {"describe", "explain", "suggest", "verbs"}
LEAN = {"__future__", "_signal", "posix", "sys", "errno", "fcntl", "time", "jai"}

LONGEST_FUNCTION = 40


def sources() -> Iterator[Path]:
    """Every file of the project, without what was made from it."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(set(folders) - MADE)
        yield from (Path(folder, name) for name in sorted(set(files) - MADE))  # .git is a file in a worktree


def by_suffix(*suffixes: str) -> list[Path]:
    """Every file of the project whose name ends so."""
    return [path for path in sources() if path.suffix in suffixes]


def name(path: Path) -> str:
    """The file as a person would name it from the top of the checkout."""
    return str(path.relative_to(ROOT))


def says_nothing(tool: str, *arguments: str | Path) -> None:
    """Fail with the linter's own words unless it is content."""
    command = [str(TOOLS / tool), *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)


def finds_nothing(findings: list[str]) -> None:
    """Fail with the list of findings unless it is empty."""
    if findings:
        pytest.fail("\n".join(findings), pytrace=False)


def test_ruff_has_no_complaint() -> None:
    """Every rule of ruff holds, but for those that pyproject.toml gives up with a reason."""
    says_nothing("ruff", "check", "--no-cache", "--quiet", "--output-format=concise", ".")


def test_python_is_formatted() -> None:
    """Python looks the way `make fmt` would write it."""
    says_nothing("ruff", "format", "--no-cache", "--check", "--diff", "--quiet", ".")


def test_types_are_right() -> None:
    """Strict mypy accepts all Python of the project."""
    there = [name for name in ("jai", "conformance", "tests", "bench") if any((ROOT / name).rglob("*.py"))]
    says_nothing("mypy", "--strict", "--no-error-summary", f"--cache-dir={os.devnull}", *there)


def test_c_is_formatted() -> None:
    """C looks the way `make fmt` would write it."""
    files = by_suffix(".c", ".h")
    assert files
    says_nothing("clang-format", "--dry-run", "-Werror", *files)


def test_words_are_spelled_right() -> None:
    """No file has a misspelling that codespell knows."""
    says_nothing("codespell", *(path for path in sources() if b"\0" not in path.read_bytes()))


def test_shell_scripts_are_sound() -> None:
    """ShellCheck has nothing to say about any script, found by its first line."""
    scripts = [path for path in sources() if re.match(rb"#!.*\b(ba|da)?sh\b", path.read_bytes()[:64])]
    assert scripts
    says_nothing("shellcheck", "--enable=deprecate-which,quote-safe-variables", *scripts)


def test_workflows_are_sound() -> None:
    """The workflows are valid, ask for the least permissions and pin what they use by hash."""
    says_nothing("zizmor", "--offline", "--quiet", "--no-progress", "--strict-collection", ROOT / ".github")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="no package brings actionlint along")
def test_workflows_are_what_github_understands() -> None:
    """Actionlint finds no expression, name, shell script or event in a workflow that is not right."""
    workflows = sorted((ROOT / ".github/workflows").glob("*.yml"))
    assert workflows
    says_nothing("actionlint", f"-shellcheck={TOOLS / 'shellcheck'}", "-no-color", *workflows)


def test_top_level_folders() -> None:
    """There is no top-level folder but the ones that ARCHITECTURE.md describes."""
    assert {path.name for path in ROOT.iterdir() if path.is_dir()} - MADE <= FOLDERS


def imported_at_start(body: list[ast.stmt]) -> Iterator[str]:
    """Name the modules that are imported as soon as this code is."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = "jai" if node.level else ""
            module = ".".join(filter(None, [package, node.module]))
            # What is imported from the package itself may be a module of it.
            yield from (f"{module}.{alias.name}" if module == "jai" else module for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imported_at_start(node.orelse)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for block in ("body", "orelse", "finalbody"):
                yield from imported_at_start(getattr(node, block, []))
            for handler in getattr(node, "handlers", []):
                yield from imported_at_start(handler.body)


def test_the_hot_path_imports_next_to_nothing() -> None:
    """What is imported before every command imports posix, sys, errno, fcntl and jai's own modules only."""
    hot = [path for path in (ROOT / "jai").glob("*.py") if path.stem not in COLD]
    assert hot
    findings = []
    for path in hot:
        for module in imported_at_start(ast.parse(path.read_bytes()).body):
            top, *rest = module.split(".")
            if top not in LEAN or (top == "jai" and rest and rest[0] in COLD):
                findings.append(f"{name(path)} imports {module}")
    finds_nothing(findings)


def test_functions_are_short() -> None:
    """No Python function outside the tests is longer than a screen."""
    findings = []
    for path in by_suffix(".py"):
        if path.name.startswith("test_") or path.name == "conftest.py":
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    findings.append(f"{name(path)}:{node.lineno}: {node.name} has {length} lines")
    finds_nothing(findings)


def test_links_in_the_documents_lead_somewhere() -> None:
    """Each relative link of a document names a file that is there."""
    findings = []
    for document in by_suffix(".md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
            file = target.partition("#")[0]
            if not re.match(r"\w+:", file) and not (document.parent / file).exists():
                findings.append(f"{name(document)}: {target}")
    finds_nothing(findings)


def test_no_file_names_a_builder_s_own_directory() -> None:
    """No file holds a path that exists only on the machine it was written on."""
    tops = "work|workspaces?|builds|__w|Users|github"
    pattern = re.compile(rf"(?<![\w.$}}~*/-])/(?:{tops})/\w")
    findings = []
    for path in sources():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if pattern.search(line):
                findings.append(f"{name(path)}:{number}: {line.strip()}")
    finds_nothing(findings)
