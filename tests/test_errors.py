"""What goes wrong is explained in three lines with a hint; jai ends with 125 and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance import abilities
from tests.helpers import JAI_FAILED, Done, User, originals, traces, tree, user, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from testinfra.host import Host

__all__ = ["user"]
THREE_LINES = 3
NOT_EXECUTABLE, NOT_FOUND = 126, 127


@pytest.fixture
def as_root(host: Host) -> None:
    """Let a test mount file systems."""
    abilities.check(host, "root for loop file systems")


def explained(done: Done, *names: str, status: int = JAI_FAILED, hint: bool = True) -> None:
    """Judge one message; where the first line says what would be right itself there is no other hint."""
    lines = done.stderr.splitlines()
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert 0 < len(lines) <= THREE_LINES, done.stderr
    assert lines[0].startswith("jai: "), done.stderr
    assert "Traceback" not in done.stderr
    assert "did not expect" not in done.stderr
    assert [name for name in names if name not in done.stderr] == [], done.stderr
    assert not hint or any(line.startswith("  hint: ") for line in lines), done.stderr


@contextlib.contextmanager
def nothing_changes(user: User) -> Iterator[None]:
    """The home, the project and jai's storage are as they were, and nothing runs."""
    before = originals(user), tree(user.project), tree(user.storage)
    yield
    assert (originals(user), tree(user.project), tree(user.storage)) == before
    no_jail_is_left(user)


def no_jail_is_left(user: User) -> None:
    """Wait until the last keeper has unmounted what it had, and gone."""
    wait_until(lambda: not any(vars(traces(user)).values()), f"nothing of a jail is left: {traces(user)}")


def refused(user: User, words: Sequence[str], *names: str, hint: bool = True, **options: object) -> None:
    """Run jai with words that it must refuse, and judge the message and what is left."""
    with nothing_changes(user):
        done = user.run([user.jai, *words], **options)  # type: ignore[arg-type]
    explained(done, *names, hint=hint)


@contextlib.contextmanager
def mounted(place: str, *options: str) -> Iterator[None]:
    """Mount a file system at a directory, which is made and removed."""
    made = not os.path.isdir(place)
    os.makedirs(place, exist_ok=True)
    subprocess.run(["mount", "-n", *options, place], check=True)
    try:
        yield
    finally:
        wait_until(
            lambda: subprocess.run(["umount", "-n", place], check=False).returncode == 0, f"{place} is idle"
        )
        if made:
            os.rmdir(place)


# --- the controls


def test_the_account_can_start_a_jail(user: User) -> None:
    """The control: nothing but the fault that a test makes is in the way."""
    with nothing_changes(user):
        done = user.run([user.jai, "sh", "-c", "echo fine; echo $PWD"])

    assert (done.returncode, done.stdout, done.stderr) == (0, f"fine\n{user.project}\n", "")


def test_a_change_is_noticed(user: User) -> None:
    """The control of the comparison: a file in the project or in the storage does not pass unseen."""
    for place in (user.home, user.project, user.storage):
        with pytest.raises(AssertionError), nothing_changes(user):
            user.make(f"{place}/left-behind")


@pytest.mark.parametrize(
    "stderr", ["", "jai: no\n", "jai: no\n  a\n  b\n  hint: c\n", "Traceback\n  hint: x\n", "no\n  hint: x\n"]
)
def test_a_bad_message_is_noticed(stderr: str) -> None:
    """The control of the judgement: none, without a hint, too long, a traceback, not jai's."""
    with pytest.raises(AssertionError):
        explained(subprocess.CompletedProcess([], JAI_FAILED, "", stderr))


# --- the machine


@pytest.mark.parametrize("mode", ["casual", "bare"])
def test_user_namespaces_switched_off(user: User, mode: str) -> None:
    """The setting is named, with the command that changes it. It is set in a user namespace of our own."""
    words = f'"$0" -m {mode} -j {mode} true'
    script = f"echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps=-all {words}"
    user.run([user.jai, "-m", mode, "-j", mode, "true"])
    no_jail_is_left(user)  # from that namespace it could not be joined

    with nothing_changes(user):
        done = user.run(
            ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c", script, user.jai]
        )

    explained(done, "user.max_user_namespaces", "sysctl")


def in_a_namespace(user: User, *words: str) -> subprocess.CompletedProcess[str]:
    """Run jai in a user namespace of our own."""
    return user.run(["unshare", "--user", "--map-current-user", user.jai, *words])


def test_a_jail_in_a_user_namespace_of_our_own(user: User) -> None:
    """The control: it is not the nesting that is refused."""
    done = in_a_namespace(user, "-m", "casual", "-j", "nested", "echo", "fine")

    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


@pytest.mark.parametrize("covered", [True, False], ids=["covered", "in sight"])
def test_the_home_mounted_a_second_time(user: User, *, covered: bool) -> None:
    """Its storage is hidden at the other place, unless something else is mounted upon that."""
    there, jail = f"/srv{user.home.removeprefix('/home')}/.jai", f"second-{covered}"
    script = "mount --rbind /home /srv" + (" && mount -t tmpfs none /srv" if covered else "")
    words = f'"$0" -m casual -j {jail} sh -c "test ! -e {there}/{jail}.changes"'
    script += f" && exec setpriv --ambient-caps=-all {words}"
    unshare = ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount"]

    done = user.run([*unshare, "sh", "-c", script, user.jai])

    assert (done.returncode, done.stderr) == (0, "")


def test_a_jail_that_runs_outside_of_our_user_namespace(user: User) -> None:
    """Its overlay can not be taken from there."""
    command = "echo ready; exec sleep 60 >/dev/null"
    with user.start([user.jai, "-m", "casual", "-j", "outer", "sh", "-c", command]) as outer:
        assert outer.stdout is not None
        outer.stdout.readline()

        done = in_a_namespace(user, "-m", "casual", "-j", "outer", "true")

        outer.terminate()
    explained(done, "'outer' is running", "-j NAME")


@pytest.mark.usefixtures("as_root")
def test_a_home_that_is_mounted_otherwise_than_for_the_run_that_lives(user: User) -> None:
    """All runs share one overlay: one whose plan says noexec does not get one without."""
    words = [user.jai, "-m", "casual", "-j", "mounted"]
    with user.start([*words, "sh", "-c", "echo ready; exec sleep 60"]) as first:
        assert first.stdout is not None
        first.stdout.readline()
        try:
            same = user.run([*words, "echo", "joined"])
            subprocess.run(["mount", "-o", "remount,bind,noexec", "/home"], check=True)
            other = user.run([*words, "true"])
        finally:
            subprocess.run(["mount", "-o", "remount,bind,exec", "/home"], check=True)
            first.terminate()

    assert same.stdout == "joined\n"
    explained(other, "'mounted' is running", "-j NAME")


def test_root_of_a_user_namespace_for_a_user_that_is_not_mapped(user: User) -> None:
    """`unshare -r` keeps $USER, whom its root can not become: explained, or run as that root."""
    done = user.run(["unshare", "--user", "--map-root-user", user.jai, "echo", "fine"])

    if done.returncode:
        explained(done, user.name)
    else:
        assert done.stdout == "fine\n"


def test_proc_covered_as_in_a_container(user: User) -> None:
    """A covered /proc forbids a new one, and the message says that it is the container's doing."""
    script = 'mount -t tmpfs none /proc/irq && exec setpriv --ambient-caps=-all "$0" true'

    with nothing_changes(user):
        unshare = ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount"]
        done = user.run([*unshare, "sh", "-c", script, user.jai])

    explained(done, "/proc", "container")


@pytest.mark.usefixtures("as_root")
def test_a_file_system_mounted_below_the_home(user: User) -> None:
    """Casual mode names the mount and says that bare mode would do; bare mode does."""
    with mounted(f"{user.home}/documents/disk", "-t", "tmpfs", "none"):
        refused(user, ["true"], f"{user.home}/documents/disk", "-m bare")
        assert user.run([user.jai, "-m", "bare", "-j", "b", "true"]).returncode == 0


def test_strict_mode_is_not_there_yet(user: User) -> None:
    """Asked for, or by default for a new jail."""
    refused(user, ["-m", "strict", "true"], "strict", "-m casual")
    refused(user, ["-j", "new", "true"], "strict", "new", "-m casual")


# --- what is granted


@pytest.mark.parametrize("option", ["-d", "-r"])
def test_a_grant_that_is_missing(user: User, option: str) -> None:
    """The message names it and the options that forgive it."""
    refused(user, [option, "nowhere", "true"], f"{user.project}/nowhere", "dir?")


def test_a_grant_that_is_not_ours(user: User) -> None:
    """The message names it, and the option that grants it read-only."""
    refused(user, ["-d", "/usr", "true"], "/usr", "--rdir")


@pytest.mark.parametrize("device", ["/dev/null", "/dev", "/dev/shm"])
def test_a_grant_that_is_a_device(user: User, device: str) -> None:
    """The message names it, and the option for devices."""
    refused(user, ["-d", device, "true"], device, "--dev")


@pytest.mark.parametrize("place", ["/", "/proc", "/proc/self", "/sys"])
def test_a_grant_of_the_whole_machine(user: User, place: str) -> None:
    """The root and the kernel's file systems can not be granted."""
    refused(user, ["-d", place, "true"], place)


def test_a_grant_of_jai_s_own_files(user: User) -> None:
    """The storage can not be granted, nor started in."""
    refused(user, ["-d", user.storage, "true"], user.storage)
    refused(user, ["true"], user.storage, cwd=user.storage)


def test_a_grant_that_is_a_dangling_link(user: User) -> None:
    """It is a missing grant, and named."""
    os.symlink("nowhere", f"{user.project}/link")

    refused(user, ["-d", "link", "true"], f"{user.project}/link")


def test_the_home_as_current_directory(user: User) -> None:
    """The home is not granted by being in it; -D runs without granting it."""
    refused(user, ["true"], user.home, "-D", cwd=user.home)

    assert user.run([user.jai, "-D", "true"], cwd=user.home).returncode == 0


def test_the_root_as_current_directory(user: User) -> None:
    """What contains the home is not granted by being in it."""
    refused(user, ["true"], "the current directory /", "-D", cwd="/")


def test_another_user_s_current_directory(user: User) -> None:
    """The message says whose it is."""
    refused(user, ["true"], "/usr", "another user", "-D", cwd="/usr")


def test_a_current_directory_that_was_removed(user: User) -> None:
    """It is said that it is gone, not an errno."""
    with nothing_changes(user):
        done = user.sh(f"mkdir gone && cd gone && rmdir ../gone && exec {user.jai} true")

    explained(done, "current directory is gone")


def test_a_directory_as_standard_input(user: User) -> None:
    """Through it the command could reach the real files, so it is refused."""
    with nothing_changes(user):
        done = user.sh(f"exec {user.jai} true <{user.home}")

    explained(done, "standard input is a directory")


# --- configuration


def test_a_loop_of_includes(user: User) -> None:
    """The message names the files and the line that closes the loop."""
    user.make(f"{user.storage}/one.conf", "conf two\n")
    user.make(f"{user.storage}/two.conf", "# a comment\nconf one\n")

    refused(user, ["-C", "one", "true"], "two.conf:2", "one")


@pytest.mark.parametrize(
    ("line", "word", "says"),
    [
        ("nocwdd", "nocwdd", "nocwd"),
        ("mdoe casual", "mdoe", "mode"),
        ("mode quick", "quick", "must be casual, bare or strict"),
        ("setenv ${UNFINISHED", "${UNFINISHED", "hint: "),
        ("limit pids=many", "many", "hint: "),
        ("init", "init", "command line option"),
        ("dir", "dir", "hint: "),
        ("mask /etc/passwd", "/etc/passwd", "not below the home"),
    ],
)
def test_a_mistake_in_a_configuration_file(user: User, line: str, word: str, says: str) -> None:
    """The message names file, line and the offending word, and what would be right."""
    user.make(f"{user.storage}/bad.conf", f"conf .defaults\n\n# a comment\n{line}\n")

    refused(user, ["-C", "bad", "true"], "bad.conf:4", word, says, hint=False)


@pytest.mark.parametrize("name", ["default.conf", ".defaults", "default.jail"])
def test_a_configuration_file_that_can_not_be_read(user: User, name: str) -> None:
    """A directory in the place of a file, and a file that is not text."""
    path = f"{user.storage}/{name}"
    os.unlink(path)
    user.make(path, "mode casual\n\0\n")
    refused(user, ["true"], f"{name}:2", "not a text file", hint=False)

    os.unlink(path)
    os.mkdir(path)
    refused(user, ["true"], name, "can not be read", hint=False)


def test_a_configuration_file_that_is_missing(user: User) -> None:
    """The message names the path that was looked for."""
    refused(user, ["-C", "nowhere", "true"], f"{user.storage}/nowhere")


def test_a_relative_configuration_directory(user: User) -> None:
    """What it means would depend on where we are, so it is refused."""
    refused(user, ["true"], "JAI_CONFIG_DIR", "absolute", env={"JAI_CONFIG_DIR": "jai"})


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--unknown", "true"], ["--unknown", "hint: "]),
        (["--moed=casual", "true"], ["--moed", "--mode", "hint: "]),
        (["-Z", "true"], ["-Z", "hint: "]),
        (["-m"], ["-m", "hint: "]),
        (["-m", "quick", "true"], ["quick", "must be casual, bare or strict"]),
        (["-j", "a/b", "true"], ["a/b", "no /"]),
        (["-j", ".hidden", "true"], [".hidden", "does not start with a dot"]),
        (["-j", "..", "true"], ["..", "does not start with a dot"]),
        (["-j", "", "true"], ["-j", "empty"]),
        (["--keep-fd", "77", "true"], ["77", "hint: "]),
        (["--limit", "pids=x", "true"], ["pids", "hint: "]),
        (["--dev", "/dev/nowhere", "true"], ["/dev/nowhere", "hint: "]),
        (["--init", "true"], ["--init takes no command"]),
    ],
)
def test_a_mistake_on_the_command_line(user: User, words: list[str], says: list[str]) -> None:
    """The message names the word, and what would be right or was probably meant."""
    refused(user, words, *says, hint=False)


def test_a_directory_beside_a_configuration_file(user: User) -> None:
    """`-C claude` means claude.conf, also where a directory has the shorter name."""
    user.make(f"{user.storage}/claude.conf", "conf .defaults\nsetenv WHO=claude\n")
    user.sh(f"mkdir {user.storage}/claude {user.storage}/alone")

    assert user.run([user.jai, "-C", "claude", "sh", "-c", "echo $WHO"]).stdout == "claude\n"
    refused(user, ["-C", "alone", "true"], f"{user.storage}/alone", hint=False)


def test_a_configuration_that_is_kept_for_all(user: User) -> None:
    """What is missing in a directory that can not be written to is not asked for."""
    user.make(f"{user.home}/shared/.defaults", "setenv WHO=all\n")
    user.make(f"{user.home}/shared/default.conf", "conf .defaults\n")
    user.sh("chmod 500 ~/shared")
    words = [user.jai, "-m", "bare", "-j", "fresh", "--storage", user.storage, "sh", "-c", "echo $WHO"]

    done = user.run(words, env={"JAI_CONFIG_DIR": f"{user.home}/shared"})

    assert (done.returncode, done.stdout) == (0, "all\n"), done.stderr
    assert sorted(os.listdir(f"{user.home}/shared")) == [".defaults", "default.conf"]


def test_two_slashes_in_front_of_the_home(user: User) -> None:
    """They are one to Linux, and to jai."""
    env = {"HOME": f"/{user.home}", "XDG_RUNTIME_DIR": f"/{user.home}/documents"}

    done = user.run([user.jai, "sh", "-c", "echo ~"], env=env)

    assert (done.returncode, done.stdout) == (0, f"{user.home}\n"), done.stderr


def test_a_grant_that_can_not_be_made(user: User) -> None:
    """`--dir!` names what it could not make."""
    user.make(f"{user.home}/file")
    for place in ("/usr/no/place", f"{user.home}/file/below"):
        refused(user, ["--dir!", place, "true"], f"--dir! {place}", "mkdir")


def test_whoever_looks_closer_sees_the_same_end(user: User) -> None:
    """JAI_DEBUG adds where an error came from; the three lines and the exit status stay."""
    plain = user.run([user.jai, "-d", "/nowhere", "true"])
    close = user.run([user.jai, "-d", "/nowhere", "true"], env={"JAI_DEBUG": "1"})

    assert close.returncode == plain.returncode == JAI_FAILED
    assert close.stderr.startswith("Traceback")
    assert close.stderr.endswith(plain.stderr)


# --- storage


def test_storage_that_is_a_file(user: User) -> None:
    """The message names it."""
    user.make(f"{user.home}/file")

    refused(user, ["--storage", f"{user.home}/file", "true"], f"{user.home}/file", "--storage")


def test_storage_that_is_somebody_else_s(user: User) -> None:
    """The message names it and its owner."""
    refused(user, ["--storage", "/usr", "true"], "/usr", "another user", "--storage")


def test_storage_that_contains_the_home(user: User) -> None:
    """Hiding it would hide the home."""
    refused(user, ["--storage", user.home, "true"], user.home, "--storage")


@pytest.mark.parametrize("mode", ["casual", "bare"])
def test_storage_that_can_not_be_written(user: User, mode: str) -> None:
    """A directory without write permission."""
    place = f"{user.home}/storage"
    os.mkdir(place)
    os.chown(place, user.uid, -1)
    os.chmod(place, 0o500)
    if os.geteuid() == 0 or not os.access(place, os.W_OK):
        refused(
            user, ["-m", mode, "-j", mode, "--storage", place, "true"], place, "--storage", "ermission denied"
        )


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("mode", ["casual", "bare"])
@pytest.mark.parametrize("used_before", [False, True], ids=["first run", "later run"])
def test_storage_on_a_read_only_file_system(user: User, mode: str, used_before: bool) -> None:  # noqa: FBT001
    """On the first run of a jail, and when it has been used while it could be written."""
    place = "/srv/storage"
    words = ["-m", mode, "-j", mode, "--storage", place, "true"]
    with mounted(place, "-t", "tmpfs", "-o", f"mode=700,uid={user.uid}", "none"):
        if used_before:
            assert user.run([user.jai, *words]).returncode == 0
        remount = ["mount", "-n", "-o", "remount,ro", place]
        wait_until(lambda: subprocess.run(remount, check=False).returncode == 0, "nobody writes there")
        before = tree(place)
        refused(user, words, place, "--storage", "ead-only")
        assert tree(place) == before


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("mode", ["casual", "bare"])
@pytest.mark.parametrize("used_before", [False, True], ids=["first run", "later run"])
def test_storage_on_a_full_file_system(user: User, mode: str, used_before: bool) -> None:  # noqa: FBT001
    """A jail either starts all the same or says that there is no room; afterwards, with room, it starts."""
    place, filler = "/srv/storage", "/srv/storage/filler"
    words = ["-m", mode, "-j", mode, "--storage", place, "echo", "fine"]
    with mounted(place, "-t", "tmpfs", "-o", f"mode=700,uid={user.uid},size=256k,nr_inodes=40", "none"):
        if used_before:
            assert user.run([user.jai, *words]).returncode == 0
        _fill(filler)
        with nothing_changes(user):
            done = user.run([user.jai, *words])
        if done.returncode or not used_before:
            explained(done, place, "--storage", "No space left")
        else:
            assert done.stdout == "fine\n"
        shutil.rmtree(filler)
        assert user.run([user.jai, *words]).stdout == "fine\n"


def _fill(folder: str) -> None:
    """Use up the space and the inodes of a file system."""
    os.mkdir(folder)
    try:
        with open(f"{folder}/big", "wb", buffering=0) as big:
            while True:
                big.write(b"x" * 4096)
    except OSError:
        pass
    with contextlib.suppress(OSError):
        for number in range(10_000):
            os.mkdir(f"{folder}/{number}")


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("missing", [".jai", ".jai/.defaults"])
def test_a_first_run_on_a_full_disk(user: User, missing: str) -> None:
    """The default configuration can not be written: said so, and no half of a file is left."""
    with mounted("/srv/tiny", "-t", "tmpfs", "-o", f"mode=700,uid={user.uid},size=64k,nr_inodes=20", "none"):
        config = "/srv/tiny/config" if missing == ".jai" else "/srv/tiny"
        _fill("/srv/tiny/filler")
        with nothing_changes(user):
            done = user.run([user.jai, "true"], env={"JAI_CONFIG_DIR": config})
        left = [path for path in os.listdir("/srv/tiny") if path != "filler"]
        explained(done, "/srv/tiny", "No space left")
        assert [name for name in left if Path("/srv/tiny", name).is_file()] == []


@pytest.mark.parametrize(
    ("limit", "hint"), [("-n 12", "ulimit -n"), ("-n 22", "ulimit -n"), ("-u 1", "ulimit -u")]
)
def test_a_limit_that_leaves_no_room(user: User, limit: str, hint: str) -> None:
    """Too few descriptors or processes for the jail itself: the limit is named."""
    with nothing_changes(user):
        done = user.run(["bash", "-c", f'ulimit {limit}; exec "$@"', "bash", user.jai, "true"])
    explained(done, hint)


@pytest.mark.parametrize("blocks", ["0", "1"])
def test_a_limit_on_the_size_of_files(user: User, blocks: str) -> None:
    """It is named, no default configuration is left half-written, and no command runs."""
    config = f"{user.home}/config"
    words = ["bash", "-c", f'ulimit -f {blocks}; exec "$@"', "bash", user.jai, "touch", "ran"]

    first = user.run(words, env={"JAI_CONFIG_DIR": config})
    later = user.run(words)
    fresh = user.run([*words[:-2], "-m", "bare", "-j", "fresh", *words[-2:]])

    for done in (first, later, fresh):
        explained(done, "ulimit -f")
    whole = {path.name: path.read_text() for path in Path(user.storage).iterdir() if path.is_file()}
    left = {path.name: path.read_text() for path in Path(config).iterdir() if path.is_file()}
    assert left.items() <= whole.items()
    assert not Path(user.project, "ran").exists()


def test_a_limit_that_was_asked_for(user: User) -> None:
    """The hint is the option, where it was jai's own."""
    done = user.run([user.jai, "--limit", "nofile=3", "sh", "-c", "true"])

    explained(done, "--limit nofile=")


# --- the command


def test_a_command_that_is_not_there(user: User) -> None:
    """127, as from a shell or env, whether looked up in PATH or named by its path."""
    with nothing_changes(user):
        for name in ("no-such-command", "./no-such-command", "/no/such/command"):
            explained(user.run([user.jai, name]), name, "not found", status=NOT_FOUND)


def test_a_command_that_can_not_be_executed(user: User) -> None:
    """126: no permission, a directory, a missing interpreter is 127 as in a shell."""
    user.make(f"{user.project}/plain", "#!/bin/sh\n", 0o644)
    user.make(f"{user.project}/bad", "#!/no/such/interpreter\n", 0o755)

    with nothing_changes(user):
        for name in ("./plain", "/usr"):
            explained(user.run([user.jai, name]), name, status=NOT_EXECUTABLE, hint=False)
        assert user.run([user.jai, "./bad"]).returncode in (NOT_EXECUTABLE, NOT_FOUND)


@pytest.mark.parametrize("status", [125, 126, 127])
def test_a_command_s_own_status_is_not_explained(user: User, status: int) -> None:
    """The control: the same statuses, when they are the command's, come without a word."""
    done = user.run([user.jai, "sh", "-c", f"exit {status}"])

    assert (done.returncode, done.stderr) == (status, "")


# --- what is planted

STANDARD = ("json", "os", "encodings", "errno", "fcntl", "site", "sitecustomize", "usercustomize")
PLANTED = (*STANDARD, "jai", "cffi", "_cffi_backend")


def plant(user: User, place: str) -> str:
    """Put modules into a directory that leave a marker when they are imported; the marker's path."""
    marker = f"{user.project}/imported"
    for name in PLANTED:
        # `encodings` is imported when there is no open() yet.
        add = f"posix.open({marker!r}, posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND, 0o666)"
        user.make(f"{place}/{name}.py", f"import posix; posix.write({add}, b'{name} ')\n")
    return marker


def imported(marker: str) -> set[str]:
    """Which of the planted modules have been imported."""
    path = Path(marker)
    return set(path.read_text().split()) if path.exists() else set()


def test_planted_modules_are_imported_by_python(user: User) -> None:
    """The control: a plain python3 falls for them."""
    marker = plant(user, user.project)

    user.run(["/usr/bin/python3", "-c", "import json"], env={"PYTHONPATH": "."})

    assert imported(marker)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"PYTHONPATH": "."},
        {"PYTHONPATH": "{project}", "PYTHONSTARTUP": "{project}/os.py", "PYTHONINSPECT": "1"},
        {"PYTHONHOME": "{project}"},
        {"PYTHONUSERBASE": "{project}", "PYTHONPLATLIBDIR": "{project}"},
        {"PYTHONWARNINGS": "error::json.X", "PYTHONBREAKPOINT": "json.x"},
        {"PATH": ".:/usr/bin:/bin"},
        {"PYTHONCASEOK": "1", "PYTHONSAFEPATH": "", "PYTHONPYCACHEPREFIX": "{project}"},
    ],
    ids=lambda variables: ",".join(variables) or "nothing",
)
@pytest.mark.parametrize(
    "words", [["true"], ["--plan", "true"], ["--help"], ["--nonsense"], ["no-such-command"]]
)
def test_planted_modules_are_not_imported_by_jai(
    user: User, words: list[str], variables: dict[str, str]
) -> None:
    """Neither from the current directory nor through Python's variables, also not while explaining."""
    marker = plant(user, user.project)
    user.make(f"{user.project}/python3", f"#!/bin/sh\necho python3 >> {marker}\n", 0o755)
    env = {name: value.format(project=user.project) for name, value in variables.items()}

    done = user.run([user.jai, *words], env=env)

    assert imported(marker) == set()
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, JAI_FAILED, NOT_FOUND), done.stderr


def test_planted_in_the_user_s_site(user: User) -> None:
    """`~/.local/lib/python3.X/site-packages` and its .pth files may be an earlier jail's work."""
    marker = f"{user.project}/imported"
    for version in range(9, 15):
        place = f"{user.home}/.local/lib/python3.{version}/site-packages"
        plant(user, place)
        user.make(f"{place}/x.pth", f"import os; open({marker!r}, 'a').write('pth')\n")

    assert user.run([user.jai, "true"]).returncode == 0
    assert imported(marker) == set()
    user.run(["/usr/bin/python3", "-c", "pass"])
    assert imported(marker), "the control: a plain python3 falls for them"


@pytest.mark.parametrize(
    "locale", [{}, {"LANG": ""}, {"LANG": "C"}, {"LC_ALL": "POSIX"}, {"LC_CTYPE": "C.UTF-8"}]
)
def test_the_environment_is_not_the_interpreter_s(user: User, locale: dict[str, str]) -> None:
    """Python adds LC_CTYPE in the C locale; the command gets neither it nor any other new variable."""
    known = {"JAI_MODE", "JAI_JAIL", "JAI_USER", "JAI_SCRIPT", "PWD"}

    inside = user.run([user.jai, "env", "-0"], env=locale).stdout
    outside = user.run(["env", "-0"], env=locale).stdout

    names = {line.split("=")[0] for line in inside.split("\0") if line}
    assert names - {line.split("=")[0] for line in outside.split("\0")} <= known
    assert "LANG=" in inside
    assert ("LC_CTYPE=" in inside) == ("LC_CTYPE" in locale)


def test_variables_that_jai_uses_itself_do_not_come_from_outside(user: User) -> None:
    """Whatever an earlier jail has left in an environment, it does not become a plan or an outcome."""
    for name in ("JAI_IMAGE", "JAI_FAILED", "JAI_IGNORED"):
        done = user.run([user.jai, "sh", "-c", f"echo ${{{name}-unset}}"], env={name: "0"})
        assert (done.returncode, done.stdout) == (0, "unset\n"), (name, done.stderr)
