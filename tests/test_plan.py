"""Plans, line by line: the golden files say what the core is told for a situation.

`JAI_GOLDEN=write` writes them anew; read the difference before it is committed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable

import pytest

from jai._core import ffi, lib
from jai.describe import WORDS, describe
from jai.plan import plan
from jai.policy import decide
from jai.steps import Step, encode
from tests.fakes import HOME, PROJECT, FakeHost, add_repository, asked

GOLDEN = Path(__file__).parent / "golden"

Situation = Callable[[FakeHost], "tuple[str, ...]"]


def casual(_host: FakeHost) -> tuple[str, ...]:
    """An ordinary user's first command."""
    return ("sh",)


def bare(_host: FakeHost) -> tuple[str, ...]:
    """The home is private."""
    return ("-m", "bare", "sh", "-c", "ls ~")


def everything(host: FakeHost) -> tuple[str, ...]:
    """Every option that adds a step."""
    host.add("/data/ref", owner=0)
    host.add("/dev/kvm", "device", owner=0)
    host.add("/tmp/work")
    host.add("/run/user/1000", mode=0o700)
    host.add("/run/agent.sock", "socket")
    host.add("/run/systemd/resolve/stub-resolv.conf", "file", owner=0)
    host.links["/etc/resolv.conf"] = "/run/systemd/resolve/stub-resolv.conf"
    host.env["XDG_RUNTIME_DIR"] = "/run/user/1000"
    host.open_fds.add(7)
    return (
        *("-r", "/data/ref", "--dev", "/dev/kvm", "-d", "/tmp/work", "-d", "/run/agent.sock"),
        *("--net", "none", "--keep-fd", "7", "--limit", "pids=100", "--limit", "as=1G", "--setenv", "A=b"),
        *("--allow", "openat2"),
        *(
            "--mask",
            "photos/private",
            "--storage",
            "/data/jails",
            "-j",
            "work",
            "-m",
            "casual",
            "make",
            "-j2",
        ),
    )


def granted_home(host: FakeHost) -> tuple[str, ...]:
    """All of the home, for who insists."""
    host.add(f"{HOME}/.netrc", "file")
    host.add(f"{HOME}/.ssh/id", "file")
    return ("-Dd", HOME, "--mask", ".netrc", "sh")


def old_kernel_without_terminal(host: FakeHost) -> tuple[str, ...]:
    """No Landlock scopes; no terminal, so a session of its own; a cgroup that the user may write to."""
    host.abi = 0
    host.tty = ""
    host.cgroup_is_ours = True
    return ("sh",)


def root_user(host: FakeHost) -> tuple[str, ...]:
    """Root as the jailed user: what uid 0 may write without capabilities is covered."""
    host.account.uid = host.account.gid = 0
    for path in (HOME, f"{HOME}/.jai", PROJECT):
        host.add(path, owner=0)
    return ("sh",)


def strict(host: FakeHost) -> tuple[str, ...]:
    """Another uid; a grant behind a directory that it may not pass, a shared one that is somebody else's."""
    host.set_up_strict()
    host.add("/data", owner=0)
    host.add("/data/ada", mode=0o700)
    host.add("/data/ada/set")
    host.add("/srv/shared", owner=0)
    add_repository(host, "/data/ada/set/.git")
    return ("-m", "strict", "-d", "/data/ada/set", "-r", "/srv/shared", "sh")


def mounts_below(host: FakeHost) -> tuple[str, ...]:
    """Something is mounted below the home, one of it masked: with the helper it is shown read-only."""
    host.set_up_strict()
    host.mounts = (f"{HOME}/photos", f"{HOME}/photos/old", f"{HOME}/.ssh", "/mnt")
    return ("sh",)


def repository(host: FakeHost) -> tuple[str, ...]:
    """A repository with a submodule and a linked worktree, its hooks in the work tree; an .envrc too."""
    git = f"{PROJECT}/.git"
    add_repository(host, git, config="[core]\nhooksPath = .githooks\n")
    add_repository(host, f"{git}/modules/lib")
    host.add(f"{git}/worktrees/topic/commondir", "file")
    host.add(f"{PROJECT}/.githooks")
    host.add(f"{PROJECT}/.envrc", "file")
    return ("--protect", ".envrc", "--protect", ".vscode/tasks.json", "sh")


SITUATIONS = [
    casual,
    bare,
    repository,
    mounts_below,
    strict,
    everything,
    granted_home,
    old_kernel_without_terminal,
    root_user,
]


def planned(situation: Situation) -> list[Step]:
    """Plan for a situation."""
    host = FakeHost()
    words = situation(host)
    return plan(decide(asked(host, *words), host))  # type: ignore[arg-type]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_plan_is_the_golden_one(situation: Situation) -> None:
    """What the core is told is, line for line, what was agreed on."""
    lines = "".join(f"{describe(step)}\n" for step in planned(situation))
    golden = GOLDEN / f"{situation.__name__}.plan"
    if os.environ.get("JAI_GOLDEN") == "write":
        golden.write_text(lines)
    assert lines == golden.read_text()


@pytest.mark.parametrize("situation", SITUATIONS)
def test_two_plans_of_the_same_are_the_same_bytes_and_the_core_takes_them(situation: Situation) -> None:
    """A plan is a pure function of what was asked and what the machine is."""
    image = encode(planned(situation))
    result = ffi.new("struct jai_result *")

    lib.jai_check(image, len(image), result)

    assert image == encode(planned(situation))
    assert (result.outcome, result.step) == (lib.JAI_EXITED, -1)


def test_parents_come_before_what_lies_in_them() -> None:
    """A mount would be covered by a later one on a parent."""
    seen: list[str] = []
    for step in planned(everything):
        if step.kind in (lib.JAI_BIND, lib.JAI_TMPFS, lib.JAI_OVERLAY, lib.JAI_DEVPTS):
            assert not [path for path in seen if path.startswith(step.target.rstrip("/") + "/")], step.target
            seen.append(step.target)
    assert PROJECT in seen


def test_every_kind_of_step_can_print_itself() -> None:
    """The printed plan leaves nothing out."""
    assert set(WORDS) == set(range(lib.JAI_KINDS))


def test_a_secret_that_is_let_through_is_not_printed() -> None:
    """The plan names variables; only jai's own have their values shown."""
    host = FakeHost()
    steps = plan(decide(asked(host, "--setenv", "GH_TOKEN", "sh"), host))  # type: ignore[arg-type]

    lines = [describe(step) for step in steps]

    assert "env GH_TOKEN" in lines
    assert not [line for line in lines if "secret" in line]
