"""The program that prepares a new jail: it is the user's, and the jail is there when it has succeeded."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.helpers import JAI_FAILED, User, user, wait_until

__all__ = ["user"]
SHOWS = "#!/bin/sh\npwd; echo $JAI_MODE $JAI_JAIL; touch prepared\n"
# It says that it is there and goes on when there is a file `go` in the project.
WAITS = """#!/bin/sh
echo half >half; echo begun
for i in $(seq 600); do [ -e {go} ] && break; sleep 0.05; done
touch prepared
"""
MODES = {"casual": "changes", "bare": "home"}


def program(user: User, text: str, mode: int = 0o755) -> str:
    """Write the program."""
    return user.make(f"{user.home}/prepare/it", text, mode)


def words(user: User, mode: str, text: str, *command: str) -> list[str]:
    """A start of a new jail that is prepared by a program with this text."""
    return [user.jai, "-m", mode, "-j", "new", "--initjail", program(user, text), *command]


@pytest.mark.parametrize("mode", MODES)
def test_a_new_jail_is_prepared_once(user: User, mode: str) -> None:
    """What the program makes is in the home inside; the second start runs nothing."""
    place = f"{user.storage}/new.{MODES[mode]}"
    typed = words(user, mode, SHOWS, "sh", "-c", "ls ~ | grep prepared")

    first, second = user.run(typed), user.run(typed)

    assert first.stdout.splitlines() == [f"{place}.new", f"{mode} new", "prepared"], first.stderr
    assert second.stdout == "prepared\n"
    assert Path(place, "prepared").exists()
    assert not os.path.lexists(f"{place}.new")


@pytest.mark.parametrize(("text", "said"), [
    ("#!/bin/sh\ntouch half; exit 3\n", "exit status 3"),
    ("#!/no/such/interpreter\n", "No such file or directory"),
    ("echo a script without a first line\n", "Exec format error"),
    ("#!/bin/sh\nkill -9 $$\n", "exit status -9"),
])  # fmt: skip
@pytest.mark.parametrize("mode", MODES)
def test_what_it_fails_for_is_not_made(user: User, mode: str, text: str, said: str) -> None:
    """The command does not run, also not the next time; when the program is mended, all is well."""
    typed = words(user, mode, text, "touch", "ran")

    for _ in range(2):
        done = user.run(typed)

        assert done.returncode == JAI_FAILED
        lines = done.stderr.splitlines()
        assert lines[0].endswith("failed for the new jail 'new'")
        assert said in lines[1]
        assert lines[2].startswith("  hint: ")
        assert not Path(user.project, "ran").exists()
        assert [name for name in os.listdir(user.storage) if name.startswith(f"new.{MODES[mode]}")] == []

    assert user.run(words(user, mode, SHOWS, "true")).returncode == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_a_start_that_is_ended_leaves_a_jail_that_is_prepared_later(
    user: User, mode: str, how: signal.Signals
) -> None:
    """The next start begins anew, with an empty home."""
    place, go = f"{user.storage}/new.{MODES[mode]}", f"{user.project}/go"
    typed = words(user, mode, WAITS.format(go=go), "sh", "-c", "ls -A ~ | grep -c -e half -e prepared")
    with user.start(typed, start_new_session=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "begun\n"
        assert not os.path.exists(place)
        os.killpg(first.pid, how)
    user.make(go)

    second = user.run(typed)

    assert second.stdout == "begun\n2\n", second.stderr
    assert not os.path.lexists(f"{place}.new")


@pytest.mark.parametrize("mode", MODES)
def test_another_start_waits_for_it(user: User, mode: str) -> None:
    """Its command finds what the program has made; the program runs once."""
    go = f"{user.project}/go"
    typed = words(user, mode, WAITS.format(go=go), "sh", "-c", "ls -A ~ | grep prepared")
    with user.start(typed) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "begun\n"
        with user.start(typed) as second:
            locks = f"POSIX  ADVISORY  WRITE {second.pid} "
            wait_until(lambda: f"-> {locks}" in Path("/proc/locks").read_text(), "the second start waits")
            user.make(go)
            assert second.communicate()[0] == "prepared\n"
        assert first.communicate()[0] == "prepared\n"


def test_the_program_can_not_start_the_jail_that_it_prepares(user: User) -> None:
    """That would wait for itself; it is told so, and so is one that throws jails away."""
    for option in ("--initjail $0", ""):
        inner = f"#!/bin/sh\nexec {user.jai} -D -m bare -j new {option} true\n"

        done = user.run(words(user, "bare", inner, "true"))

        assert done.returncode == JAI_FAILED
        assert "the jail 'new' is just being prepared by this program" in done.stderr
        assert not os.path.lexists(f"{user.storage}/new.home")
    other = (
        f"#!/bin/sh\n{user.jai} -u; {user.jai} -D -m bare -j other sh -c 'echo ${{JAI_PREPARING-unset}}'\n"
    )

    done = user.run(words(user, "bare", other, "true"))

    assert "a jail is just being prepared by this program" in done.stderr
    assert (done.returncode, done.stdout) == (0, "unset\n")


def test_a_program_that_removes_its_directory(user: User) -> None:
    """It is not run again and again."""
    done = user.run(words(user, "bare", '#!/bin/sh\necho run; rm -r "$PWD"\n', "true"))

    assert done.returncode == JAI_FAILED
    assert done.stdout == "run\n"
    assert "it has removed its directory" in done.stderr


def test_a_place_of_the_jail_that_is_a_link(user: User) -> None:
    """Nothing is opened by it; the message names it and what would do."""
    user.sh(f"mkdir -p {user.storage} ~/bigger && ln -s ~/bigger {user.storage}/linked.home")

    done = user.run([user.jai, "-m", "bare", "-j", "linked", "true"])

    assert done.returncode == JAI_FAILED
    assert f"{user.storage}/linked.home is not a directory" in done.stderr
    assert "--storage DIR" in done.stderr
