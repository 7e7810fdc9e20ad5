"""What jai takes instead of `os` on the start-up path answers as `os` does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jai import system

PATHS = st.text(st.sampled_from("/..a b\udcff~é"), max_size=12)


@given(PATHS)
@example("//a/../..")
@example("///a//")
@example("")
def test_paths(path: str) -> None:
    """One path at a time."""
    for name in ("dirname", "basename"):
        assert getattr(system, name)(path) == getattr(os.path, name)(path), name
    # Two slashes in front, which POSIX leaves to the system, mean the same as one to Linux.
    assert system.normpath(path) == os.path.normpath(path).replace("//", "/")


@given(st.lists(PATHS, min_size=1, max_size=4))
def test_paths_are_joined(parts: list[str]) -> None:
    """Absolute, empty and dotted parts too."""
    assert system.join(*parts) == os.path.join(*parts)


@given(st.binary(max_size=12))
def test_names_are_bytes(data: bytes) -> None:
    """Any bytes come back from their text, and it is the text of `os`."""
    assert system.fsdecode(data) == os.fsdecode(data)
    assert system.fsencode(system.fsdecode(data)) == data


@pytest.mark.parametrize(
    "path", ["/", "/etc/passwd", "/proc/self/exe", "/not/there", "a\0b", "/etc/passwd/x"]
)
def test_what_is_there(path: str) -> None:
    """A path with a NUL byte names nothing."""
    assert system.exists(path) == os.path.exists(path)
    assert system.is_directory(path) == os.path.isdir(path)


ENVIRONMENT = """
import sys
sys.path.insert(0, sys.argv[1])
from jai import system
assert system.variable("JAI_A") == "1" and system.variable("JAI_NOT") is None
system.set_variable("JAI_B", "\\udcff")
assert system.take_variable("JAI_A") == "1" and system.take_variable("JAI_A") is None
assert "JAI_A" not in system.environment() and system.environment()["JAI_B"] == "\\udcff"
assert "os" not in sys.modules
import os
assert os.environ["JAI_B"] == "\\udcff" and "JAI_A" not in os.environ
assert os.system('test "${JAI_A-none}" = none && test -n "$JAI_B"') == 0
print("done")
"""


def test_the_environment_is_that_of_os() -> None:
    """What was set is there for `os`, for what is started, and nothing else is."""
    packages = os.path.dirname(os.path.dirname(system.__file__))
    words = [sys.executable, "-I", "-S", "-X", "utf8", "-c", ENVIRONMENT, packages]
    seen = subprocess.run(words, env={"JAI_A": "1", "PATH": "/bin:/usr/bin"}, stdout=-1, check=True)

    assert seen.stdout == b"done\n"
