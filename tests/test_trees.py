"""What every scenario stands on: a home that is put back, and commands that start as a shell's do."""

from __future__ import annotations

import os
import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from conformance import here, manifest, trees
from conformance.abilities import needs
from conformance.accounts import Account, Seen, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from testinfra.host import Host


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with one of everything that its owner can make."""
    top = tmp_path / "tree"
    (top / "a/deep").mkdir(parents=True)
    (top / "a/file").write_bytes(b"content\n")
    (top / "a/link").symlink_to("nowhere")
    (top / os.fsdecode(b"caf\xe9\n")).write_text("an odd name")
    (top / "twin").write_text("twins")
    os.link(top / "twin", top / "a/twin")
    os.mkfifo(top / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(top / "socket"))
    with (top / "sparse").open("wb") as file:
        file.write(b"head")
        file.truncate(1 << 20)
    (top / "closed").mkdir(mode=0)
    (top / "nothing").touch(mode=0)
    (top / "untouched").mkdir()
    os.utime(top / "a", ns=(1, 1_500_000_000_123_456_789))
    os.chmod(top, 0o750)
    return top


def nothing(_tree: Path) -> None:
    """Change nothing."""


def everything(tree: Path) -> None:
    """Remove everything."""
    os.chmod(tree / "closed", 0o700)
    for path in tree.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def hidden_byte(tree: Path) -> None:
    """Another byte, with the old size and times."""
    times = (tree / "a/file").stat()
    (tree / "a/file").write_bytes(b"cOntent\n")
    os.utime(tree / "a/file", ns=(times.st_atime_ns, times.st_mtime_ns))


def other_kind(tree: Path) -> None:
    """A directory in a file's place, closed, and a mode elsewhere."""
    (tree / "twin").unlink()
    (tree / "twin/more").mkdir(parents=True)
    os.chmod(tree / "twin", 0)
    os.chmod(tree / "pipe", 0o777)


def own_mode(tree: Path) -> None:
    """The top's own mode and time, and a new file."""
    (tree / "new").touch()
    os.chmod(tree, 0o777)


CLOSED = needs("root")  # who alone sees into a closed directory


@pytest.mark.parametrize(
    "wreck", [nothing, everything, hidden_byte, pytest.param(other_kind, marks=CLOSED), own_mode]
)
def test_a_tree_is_put_back_as_it_was(tree: Path, wreck: Callable[[Path], None]) -> None:
    """Whatever was done to it the manifest is the same again, also the second time."""
    kept = trees.take(str(tree))
    before = manifest.read(str(tree))
    untouched = (tree / "untouched").stat().st_ino

    for _ in range(2):
        wreck(tree)
        trees.put_back([kept], "")

        assert manifest.diff(before, manifest.read(str(tree))) == []
        assert (tree / "sparse").stat().st_blocks * 512 < 1 << 20
        assert wreck is everything or (tree / "untouched").stat().st_ino == untouched


def test_what_can_not_be_put_back_is_an_error(tree: Path) -> None:
    """A link in the tree's place is not followed."""
    kept = trees.take(str(tree))
    tree.rename(tree.parent / "moved")
    tree.symlink_to("moved")

    with pytest.raises(OSError, match="tree"):
        trees.put_back([kept], "")


@pytest.mark.parametrize(("argv", "options"), [
    pytest.param(["sh", "-c", "echo out; echo err >&2; pwd; exit 3"], {}, id="status"),
    pytest.param(["sh", "-c", "kill -9 $$"], {}, id="signal"),
    pytest.param(["env"], {"env": {"MORE": "a b"}}, id="environment"),
    pytest.param(["cat"], {"stdin": "told\n"}, id="standard input"),
    pytest.param(["cat"], {"source": "/etc/hostname"}, id="a file as standard input"),
    pytest.param(["id"], {"cwd": "/usr"}, id="identity"),
    pytest.param(["/nonexistent"], {}, id="no such program"),
    pytest.param(["/usr"], {}, id="no program"),
    pytest.param(["true"], {"cwd": "/nonexistent"}, id="no such directory"),
    pytest.param(["sh", "-c", "trap '' TERM; while :; do :; done"], {"timeout": 1}, id="a time limit"),
])  # fmt: skip
def test_a_command_ends_as_its_line_would(
    host: Host, monkeypatch: pytest.MonkeyPatch, argv: list[str], options: dict[str, object]
) -> None:
    """What is started directly ends with the status and the output of the shell line that stands for it."""
    monkeypatch.setattr(here, "GRACE", 0.1)
    account = Account(host, "ada", "/", become=os.geteuid() == 0)

    seen = account.run(argv, **options)  # type: ignore[arg-type]
    line = run(host, seen.line)

    limited = "timeout" in options
    assert answer(seen, limited=limited) == answer(line, limited=limited)


def answer(seen: Seen, *, limited: bool) -> tuple[int, str]:
    """The status, as a shell gives it, and the output; timeout(1) itself is killed where it had to kill."""
    status = seen.rc if seen.rc >= 0 else 128 - seen.rc
    return here.TIMED_OUT if limited and status == 137 else status, seen.stdout
