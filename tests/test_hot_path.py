"""What every start pays for: the modules it imports, and one operation for each line of the plan."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.accounts import must
from conformance.conftest import *  # noqa: F403 - its fixtures
from jai._core import lib
from jai.describe import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.accounts import Account
    from conformance.homes import Home

# Beyond what the bare interpreter loads by itself.
STANDARD = {"_signal", "errno", "fcntl", "gc", "posix", "sys", "time"}
OWN = {"jai", "jai._front_end", "jai._core", "_cffi_backend"}
SOMETIMES = {"jai.ssh", "__future__"}  # where /etc/ssh/ssh_config.d holds files
# What jai._front_end is made of.
TOGETHER = {
    *("argv", "cli", "conf", "errors", "grants", "host", "options", "plan", "policy"),
    *("protect", "record", "run", "sealed", "settings", "steps", "store", "system"),
}


def imported(stderr: str) -> set[str]:
    """Give the modules that -X importtime lists."""
    return {line.rsplit("|", 1)[1].strip() for line in stderr.splitlines() if line.startswith("import time:")}


def test_a_start_imports_only_what_is_on_the_list(account: Account, home: Home, jai: str) -> None:
    """Each import is paid for at every start, so the list grows only on purpose."""
    python = must(account.sh(f"sed -n '1s/^#!//p' {jai}-python")).stdout.strip()
    must(account.run([jai, "true"], cwd=home.project))  # the first run also writes the configuration

    bare = must(account.run([python, "-I", "-S", "-X", "importtime", "-c", "pass"]))
    full = must(
        account.run([python, "-I", "-S", "-X", "importtime", f"{jai}-python", "true"], cwd=home.project)
    )

    found = imported(full.stderr) - imported(bare.stderr)
    assert found >= OWN  # control: the listing works
    assert found <= STANDARD | OWN | SOMETIMES, sorted(found - STANDARD - OWN)


def put_together() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Give the name and the code of each module that the installed front end is made of."""
    core = importlib.util.find_spec("jai._core")
    assert core
    assert core.origin
    tree = ast.parse(Path(core.origin).with_name("_front_end.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            yield node.name, node


def test_the_front_end_is_made_of_what_is_on_the_list() -> None:
    """What a module imports at its top becomes part of every start."""
    names = [name for name, _ in put_together()]
    assert len(names) == len(set(names))
    assert set(names) == TOGETHER


@pytest.mark.parametrize("name", sorted(TOGETHER))
def test_a_module_of_the_front_end_has_the_names_of_its_source(name: str) -> None:
    """Whatever the source gives a name at its top is global; so the code means the same in one file."""
    source = vars(importlib.import_module(f"jai.{name}"))
    own = {each for each in source if not each.startswith("__")} - {"annotations"}
    first = dict(put_together())[name].body[0]
    assert isinstance(first, ast.Global)
    assert own <= set(first.names), sorted(own - set(first.names))


@pytest.mark.parametrize(
    "words", [["--plan", "true"], ["--plan", "-m", "bare", "-j", "b", "-x", ".", "true"]]
)
def test_the_front_end_plans_as_its_sources_do(
    account: Account, home: Home, jai: str, words: list[str]
) -> None:
    """JAI_DEBUG runs the sources themselves, for the sake of tracebacks: the plan is the same to the byte."""
    must(account.run([jai, "true"], cwd=home.project))
    seen = must(account.run([jai, *words], cwd=home.project)).stdout
    sources = must(account.run([jai, *words], cwd=home.project, env={"JAI_DEBUG": "1"})).stdout
    assert "exec true" in seen.splitlines()
    assert [line for line in sources.splitlines() if "JAI_DEBUG" not in line] == seen.splitlines()


# After JAI_DROP the process is not dumpable, and strace shows addresses where it could read words.
# How each kind of step shows in strace: what its line must find, with {} for the target.
TRACES = {
    lib.JAI_LOCK: r"F_SETLKW, {l_type=F_WRLCK",
    lib.JAI_USERNS: r"unshare\(CLONE_NEWUSER\)",
    lib.JAI_NETNS: r"unshare\(CLONE_NEWNET\)",
    lib.JAI_ROOT: r'open_tree\(AT_FDCWD, "/", .*OPEN_TREE_CLONE.*AT_RECURSIVE',
    lib.JAI_MASK: r"mknodat\(\d+, \"[^\"]+\", S_IFCHR",
    lib.JAI_OVERLAY: r'fsopen\("overlay"',
    lib.JAI_BIND: r'open_tree\(\d+, "", .*OPEN_TREE_CLONE',
    lib.JAI_PIN: r'open_tree\(\d+, "", .*OPEN_TREE_CLONE.*AT_RECURSIVE',
    lib.JAI_WATCH: r'openat2\(AT_FDCWD, "[^"]+/\.git/commondir"',
    lib.JAI_TMPFS: r'fsopen\("tmpfs"',
    lib.JAI_DEVPTS: r'fsopen\("devpts"',
    lib.JAI_SYMLINK: r"symlinkat\(",
    lib.JAI_SEAL: r"mount_setattr\(\d+, \"\", AT_EMPTY_PATH, {attr_set=MOUNT_ATTR_RDONLY, ",
    lib.JAI_PIVOT: r'pivot_root\("\.", "\."\)',
    lib.JAI_INIT: r"clone3\({flags=.*CLONE_NEWPID.*CLONE_NEWIPC|clone3\({flags=.*CLONE_NEWIPC.*CLONE_NEWPID",
    lib.JAI_PROC: r'fsopen\("proc"',
    lib.JAI_DROP: r"prctl\(PR_SET_NO_NEW_PRIVS, 1",
    lib.JAI_SPAWN: r"clone3\((?!{flags=CLONE_PIDFD)",
    lib.JAI_SCOPE: r"landlock_restrict_self\(",
    lib.JAI_LIMIT: r"setrlimit\(|prlimit64\(0, RLIMIT_\w+, (?:{|0x)",
    lib.JAI_CHDIR: r"fchdir\(",
    lib.JAI_CLOSE: r"close_range\(3, ",
    lib.JAI_FILTER: r"seccomp\((?:SECCOMP_SET_MODE_FILTER|0x1), 0, ",
    lib.JAI_EXEC: r'execve\((?:"[^"]*true", \["true"\]|0x)',
}
# The command's words and variables are arguments of the one execve.
WITHOUT_CALL = {lib.JAI_ENV, lib.JAI_ARG, lib.JAI_KEEP, lib.JAI_FILE}
# Only in strict mode, with something mounted below the home, or in a cgroup of the user's own.
ELSEWHERE = {lib.JAI_NSLIMIT, lib.JAI_HELPER, lib.JAI_IDMAP, lib.JAI_CLONE}


def test_every_kind_of_step_has_a_trace() -> None:
    """No step escapes the comparison below."""
    assert set(TRACES) | WITHOUT_CALL | ELSEWHERE == set(WORDS)


@pytest.mark.needs("strace")
def test_each_line_of_the_plan_is_one_operation(account: Account, home: Home, jai: str) -> None:
    """Strace shows, for each kind of step, as many operations as the plan has lines of it."""
    must(account.sh("mkdir -p .git/hooks; touch .git/config", cwd=home.project))
    options = ["--net", "none", "-j", "traced", "-m", "casual"]
    must(account.run([jai, *options, "true"], cwd=home.project))
    lines = must(account.run([jai, *options, "--plan", "true"], cwd=home.project)).stdout.splitlines()
    trace = must(
        account.run(
            ["strace", "-f", "-s", "4096", "-o", "/tmp/trace", jai, *options, "true"], cwd=home.project
        )
    )
    assert trace.rc == 0
    text = must(account.sh("cat /tmp/trace")).stdout
    # What the interpreter does before the plan is handed over is not the plan's.
    calls = text[text.rindex('execve("', 0, text.index("F_SETLKW")) :].splitlines()

    # What is bound onto itself is bound.
    starts = {
        ("bind", "pin", "protect"): lib.JAI_BIND,
        ("tmpfs",): lib.JAI_TMPFS,
        ("mask",): lib.JAI_MASK,
        ("symlink",): lib.JAI_SYMLINK,
    }
    for words, kind in starts.items():
        word = words[0]
        planned = sum(line.split(" ")[0] in words for line in lines)
        done = sum(bool(re.search(TRACES[kind], call)) for call in calls)
        extra = 1 if word == "tmpfs" else 0  # the layer of the masks is a tmpfs too
        assert done == planned + extra, f"{word}: {planned} planned, {done} done"
    for kind, pattern in TRACES.items():
        assert any(re.search(pattern, call) for call in calls), f"no operation for kind {kind}: {pattern}"
