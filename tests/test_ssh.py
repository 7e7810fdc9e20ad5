"""The copies of the ssh client's configuration that a jail gets."""

from __future__ import annotations

import pytest

from jai.policy import SSH as FOLDER
from jai.ssh import DEEPEST, MOST, find_copies
from tests.fakes import FakeHost


def machine(files: dict[str, str]) -> FakeHost:
    """Give a machine where root has these files."""
    host = FakeHost()
    for path, text in files.items():
        host.add(path, "file", owner=0, mode=0o644)
        host.texts[path] = text
    return host


def copies(host: FakeHost) -> dict[str, str]:
    """Give what is copied, by the names in the folder."""
    return {path.removeprefix(f"{FOLDER}/"): text for path, text in find_copies(host, FOLDER)}  # type: ignore[arg-type]


def test_nothing_is_copied_where_nothing_is() -> None:
    """Many machines have no such file."""
    assert copies(machine({})) == {}


def test_files_are_copied_as_they_are() -> None:
    """Lines that include nothing stay."""
    text = "Host *\n  Port 1\n# Include x\n\tSendEnv LANG LC_*\n"

    assert copies(machine({f"{FOLDER}/a.conf": text})) == {"a.conf": text}


@pytest.mark.parametrize("line", ["Include {}", "  include   {}", "INCLUDE={}", 'Include "{}"'])
def test_what_a_file_includes_is_copied_too(line: str) -> None:
    """As Fedora's does; relative names are below /etc/ssh."""
    files = {f"{FOLDER}/a.conf": line.format("/etc/crypto/ssh") + "\n", "/etc/crypto/ssh": "Ciphers x\n"}

    assert copies(machine(files)) == {
        "a.conf": f"Include {FOLDER}/included-1\n",
        "included-1": "Ciphers x\n",
    }
    assert (
        copies(machine({f"{FOLDER}/a.conf": "Include b\n", "/etc/ssh/b": "Port 2\n"}))["included-1"]
        == "Port 2\n"
    )


@pytest.mark.parametrize("word", ["~/.ssh/more", "/etc/x/*.conf", "/etc/missing"])
def test_what_is_not_copied_stays_included(word: str) -> None:
    """The user's own files need no copy; what is not there is not made."""
    assert copies(machine({f"{FOLDER}/a.conf": f"Include {word}\n"})) == {"a.conf": f"Include {word}\n"}


def test_what_ssh_would_not_read_outside_is_not_copied() -> None:
    """A copy is the user's: it must not make a file trusted that others can write."""
    host = machine({f"{FOLDER}/a.conf": "Include /etc/theirs\n", "/etc/theirs": "ProxyCommand x\n"})
    host.add("/etc/theirs", "file", owner=4242, mode=0o644)
    host.add(f"{FOLDER}/b.conf", "file", owner=0, mode=0o666)
    host.texts[f"{FOLDER}/b.conf"] = "ProxyCommand x\n"

    assert copies(host) == {"a.conf": "Include /etc/theirs\n"}


def test_a_loop_and_very_many_files_end() -> None:
    """Files that include one another, and a folder that is full."""
    loop = machine({f"{FOLDER}/a.conf": "Include /etc/l\n", "/etc/l": "Include /etc/l\n"})
    many = machine({f"{FOLDER}/{number}.conf": "" for number in range(MOST + 20)})

    assert 1 < len(copies(loop)) <= DEEPEST
    assert len(copies(many)) == MOST
