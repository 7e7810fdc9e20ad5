"""The manifest notices every change that a destroyer can make, and only those."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from conformance import manifest
from conformance.abilities import needs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree with one of everything that needs no privilege."""
    top = tmp_path / "tree"
    (top / "a" / "deep").mkdir(parents=True)
    (top / "a" / "b").write_bytes(b"content\n")
    (top / "a" / "link").symlink_to("b")
    (top / "a" / "dangling").symlink_to("nowhere")
    (top / "a" / "deep" / "two\nlines").write_text("newline in the name")
    (top / os.fsdecode(b"caf\xe9")).write_text("a name that is not UTF-8")
    (top / "twin1").write_text("twins")
    os.link(top / "twin1", top / "twin2")
    os.mkfifo(top / "fifo")
    with (top / "sparse").open("wb") as file:
        file.truncate(1 << 20)
    return top


def changed_byte_with_restored_times(tree: Path) -> None:
    """One other byte of the same size, with the old times."""
    times = (tree / "a" / "b").stat()
    (tree / "a" / "b").write_bytes(b"cOntent\n")
    os.utime(tree / "a" / "b", ns=(times.st_atime_ns, times.st_mtime_ns))


def twin_replaced(tree: Path) -> None:
    """A hard link replaced by a copy that looks the same."""
    shutil.copy2(tree / "twin2", tree / "copy")
    times = tree.stat()
    (tree / "copy").rename(tree / "twin2")
    os.utime(tree, ns=(times.st_atime_ns, times.st_mtime_ns))


def link_retargeted(tree: Path) -> None:
    """A symbolic link with another target."""
    (tree / "a" / "link").unlink()
    (tree / "a" / "link").symlink_to("c")


CHANGES: list[tuple[Callable[[Path], object], str]] = [
    (changed_byte_with_restored_times, "changed content: a/b"),
    (lambda tree: (tree / "a" / "b").chmod(0o600), "changed mode: a/b"),
    (lambda tree: (tree / "a").chmod(0o700), "changed mode: a "),
    (lambda tree: tree.chmod(0o700), "changed mode: . "),
    (lambda tree: os.utime(tree / "a" / "b", ns=(1, 1)), "changed mtime: a/b"),
    (lambda tree: os.setxattr(tree / "a" / "b", "user.note", b"x"), "changed extended attributes: a/b"),
    (lambda tree: (tree / "a" / "new").write_text(""), "new: a/new"),
    (lambda tree: (tree / "a" / "b").unlink(), "lost: a/b"),
    (lambda tree: (tree / "a" / "b").rename(tree / "a" / "c"), "lost: a/b"),
    (lambda tree: (tree / "a" / "b").rename(tree / "a" / "c"), "new: a/c"),
    (link_retargeted, "changed link target: a/link"),
    (twin_replaced, "changed number of hard links: twin1"),
    (twin_replaced, "changed hard link: twin2"),
    (lambda tree: (tree / "a" / "deep" / "two\nlines").unlink(), r"lost: 'a/deep/two\nlines'"),
    (lambda tree: (tree / os.fsdecode(b"caf\xe9")).unlink(), r"lost: 'caf\udce9'"),
    (lambda tree: os.truncate(tree / "sparse", 2 << 20), "changed size: sparse"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES, ids=[words for _, words in CHANGES])
def test_a_change_is_noticed_and_said(tree: Path, change: Callable[[Path], object], words: str) -> None:
    """Each change makes two manifests unequal and is named in the difference."""
    before = manifest.read(str(tree))

    change(tree)

    after = manifest.read(str(tree))
    assert after != before
    assert any(line.startswith(words) for line in manifest.diff(before, after)), manifest.diff(before, after)


def test_an_untouched_tree_is_identical(tree: Path) -> None:
    """Reading twice gives the same, although reading moves the access times."""
    before = manifest.read(str(tree))

    (tree / "a" / "b").read_bytes()

    assert manifest.read(str(tree)) == before
    assert manifest.diff(before, before) == []


@needs("root")
def test_another_owner_is_noticed(tree: Path) -> None:
    """A file given to another user and group is noticed."""
    before = manifest.read(str(tree))

    os.chown(tree / "a" / "b", 61001, 61002)

    lines = manifest.diff(before, manifest.read(str(tree)))
    assert lines == ["changed owner: a/b (from 0 to 61001)", "changed group: a/b (from 0 to 61002)"]


@needs("root")
def test_another_device_number_is_noticed(tree: Path) -> None:
    """A device node that has become another device is noticed."""
    os.mknod(tree / "node", 0o20600, os.makedev(1, 3))
    before = manifest.read(str(tree))

    (tree / "node").unlink()
    os.mknod(tree / "node", 0o20600, os.makedev(1, 5))

    assert "changed device number: node (from '1:3' to '1:5')" in manifest.diff(
        before, manifest.read(str(tree))
    )


@needs("setfacl")
def test_an_access_control_list_is_noticed(tree: Path) -> None:
    """An ACL that keeps the mode bits as they are is noticed."""
    before = manifest.read(str(tree))

    subprocess.run(["setfacl", "-d", "-m", f"u:{os.getuid()}:rwx", tree / "a"], check=True)

    lines = manifest.diff(before, manifest.read(str(tree)))
    assert [line.split(" (")[0] for line in lines] == ["changed extended attributes: a"]


def test_links_are_not_followed(tmp_path: Path, tree: Path) -> None:
    """What a link points to outside the tree is not part of it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("x")
    (tree / "way out").symlink_to("../outside")

    paths = manifest.read(str(tree))

    assert paths["way out"]["target"] == "../outside"
    assert not any(path.startswith("way out/") for path in paths)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_what_cannot_be_read_is_recorded_as_such(tree: Path) -> None:
    """An unreadable file and an unreadable directory are in the manifest, with their error."""
    (tree / "a" / "b").chmod(0)
    (tree / "a" / "deep").chmod(0)

    found = manifest.read(str(tree))
    (tree / "a" / "deep").chmod(0o700)

    assert found["a/b"]["error"] == "EACCES"
    assert found["a/deep"]["error"] == "EACCES"


def test_special_files_are_not_opened(tree: Path) -> None:
    """FIFOs and sockets are recorded without waiting for their other end."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket"))

        found = manifest.read(str(tree))

    assert (found["fifo"]["type"], found["socket"]["type"]) == ("fifo", "socket")


def test_a_tree_that_is_gone_is_lost(tree: Path) -> None:
    """The removal of a whole tree is a difference like any other, its root included."""
    before = manifest.read(str(tree))

    shutil.rmtree(tree)

    lines = manifest.diff(before, manifest.read(str(tree)))
    assert len(lines) == len(before)
    assert "lost: ." in lines


def test_a_left_out_path_is_left_out_with_all_below(tree: Path) -> None:
    """Neither a granted directory itself nor what is in it is part of the manifest."""
    found = manifest.read(str(tree), without=["a"])

    assert "twin1" in found
    assert not any(path == "a" or path.startswith("a/") for path in found)


def test_a_tree_deeper_than_path_max_is_read(tmp_path: Path) -> None:
    """Paths too long for one system call are read and noticed."""
    top = os.open(tmp_path, os.O_RDONLY)
    here = os.dup(top)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=here)
        here, old = os.open("d" * 200, os.O_RDONLY, dir_fd=here), here
        os.close(old)
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=here))

    found = manifest.read(str(tmp_path))

    os.close(here)
    os.close(top)
    assert max(map(len, found)) > 4096
    assert sum(path.endswith("/bottom") for path in found) == 1
    subprocess.run(["rm", "-rf", tmp_path / ("d" * 200)], check=True)


def test_the_script_prints_the_same(tree: Path) -> None:
    """Run as a script, alone and isolated, it prints what the library reads."""
    command = [sys.executable, "-I", manifest.__file__, str(tree)]

    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()

    printed = {line["path"]: line for line in map(json.loads, lines)}
    for line in printed.values():
        assert line.pop("tree") == str(tree)
        line.pop("path")
    assert printed == manifest.read(str(tree))
