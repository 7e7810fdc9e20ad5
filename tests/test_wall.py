"""The second wall holds, whoever builds it, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from conformance import wall
from conformance.abilities import needs

AS_ROOT = os.geteuid() == 0
ORDINARY = ["setpriv", "--reuid=61005", "--regid=61005", "--clear-groups"]
BUILDERS = ["caller", "ordinary user"] if AS_ROOT else ["caller"]
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": os.path.expanduser("~"), "PYTHONDONTWRITEBYTECODE": "1"}


pytestmark = needs("namespaces")


def command_of(builder: str, *words: str) -> list[str]:
    """The command line that runs words behind a wall; an ordinary user needs an interpreter he may run."""
    ordinary = builder == "ordinary user"
    python = "/usr/bin/python3" if ordinary else sys.executable
    return [*(ORDINARY if ordinary else []), python, "-m", "conformance.wall", *words]


def behind(builder: str, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script behind a wall."""
    command = command_of(builder, *options, "--", "/bin/bash", "-c", script)
    return subprocess.run(
        command, cwd=wall.CHECKOUT, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60
    )


def scratches() -> set[Path]:
    """The scratch directories there are."""
    return set(Path("/var/tmp").glob("jai-wall-*"))


@pytest.fixture(params=BUILDERS)
def builder(request: pytest.FixtureRequest) -> str:
    """Whoever may build a wall here."""
    name: str = request.param
    if name == "ordinary user" and not os.access(wall.CHECKOUT, os.X_OK):
        pytest.skip("an ordinary user cannot read the checkout")
    return name


def test_real_file_systems_cannot_be_written(builder: str) -> None:
    """Making, changing and deleting files fails with the words for EROFS everywhere that is real."""
    places = ["/", "/usr", "/etc", "/var/lib", str(wall.CHECKOUT)]

    seen = behind(builder, f"for place in {' '.join(places)}; do touch $place/x; done; rm -f {wall.__file__}")

    assert seen.stderr.count("Read-only file system") == len(places) + 1
    assert Path(wall.__file__).exists()


def test_the_scratch_can_be_written(builder: str) -> None:
    """The control: in the scratch everything can be done, and what was made is there."""
    seen = behind(
        builder, "cd && touch here /tmp/x /var/tmp/x /home/x /root/x /srv/x /dev/shm/x && ls -d ~/here /srv/*"
    )

    assert seen.stdout.split()[-1] == "/srv/x", seen.stderr
    assert seen.returncode == 0


def test_real_homes_and_temporary_files_are_hidden(builder: str) -> None:
    """Nothing of /home, /tmp and /var/tmp is visible but what the wall put there."""
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as real:
        seen = behind(builder, f"ls /home; test -e {real.name} || echo hidden")

    names = {"ada", "bob"} if AS_ROOT and builder == "caller" else {"ada"}
    if wall.CHECKOUT.is_relative_to("/home"):
        names.add(wall.CHECKOUT.parts[2])  # the way to the checkout, which stays readable
    assert seen.stdout.split() == [*sorted(names), "hidden"]


@needs("root")
def test_a_privileged_helper_can_be_installed() -> None:
    """A private /usr/local/libexec, read-only until root opens it, in which file capabilities count."""
    real = set(os.listdir(wall.LOCAL))
    seen = behind(
        "caller",
        f"ls -A {wall.LIBEXEC}; ls -A {wall.LOCAL}; touch {wall.LIBEXEC}/x {wall.LOCAL}/x {wall.LOCAL}/bin/x;"
        f"mount -o remount,bind,rw {wall.LIBEXEC}; cp -p /bin/grep {wall.LIBEXEC}/see;"
        f"setcap cap_sys_admin=ep {wall.LIBEXEC}/see;"
        f"setpriv --reuid=ada --regid=ada --clear-groups {wall.LIBEXEC}/see CapEff /proc/self/status",
    )

    *names, _, caps = seen.stdout.split()
    assert set(names) == real | {"libexec"}
    assert int(caps, 16) == 1 << 21
    assert seen.stderr.count("Read-only file system") == 3, seen.stderr
    assert set(os.listdir(wall.LOCAL)) == real


def test_the_account_is_what_it_says(builder: str) -> None:
    """An ordinary user is ada with ada's home; root stays root and can become ada and bob."""
    if AS_ROOT and builder == "caller":
        become = "setpriv --reuid=bob --regid=bob --init-groups"
        seen = behind(builder, f"id -un; {become} id -un; getent passwd ada")
        assert seen.stdout.split() == ["root", "bob", "ada:x:61001:61001:ada:/home/ada:/bin/bash"]
    else:
        seen = behind(builder, "id -un; echo $HOME $USER $LOGNAME; echo ~ada; grep CapEff /proc/self/status")
        assert seen.stdout.split("\n")[:3] == ["ada", "/home/ada ada ada", "/home/ada"]
        assert int(seen.stdout.split()[-1], 16) == 0


def test_a_jail_can_be_made_inside(builder: str) -> None:
    """A nested user namespace can mount a new /proc, which needs one that is not covered anywhere."""
    seen = behind(builder, "unshare --user --map-root-user --mount --pid --fork --mount-proc ps -o comm= 1")

    assert (seen.returncode, seen.stdout) == (0, "ps\n"), seen.stderr


def test_a_wall_can_stand_inside_a_wall(builder: str) -> None:
    """The judge's own test runs a broken jai in a wall of its own inside the suite's."""
    python = "/usr/bin/python3" if builder == "ordinary user" else sys.executable

    seen = behind(
        builder, f"echo outer > ~/file; {python} -m conformance.wall -- sh -c 'ls -A ~; touch ~/x'; ls ~"
    )

    assert seen.stdout.split() == ["file"], seen.stderr


@pytest.mark.parametrize(
    ("script", "status"), [("true", 0), ("exit 7", 7), ("kill -TERM $$", -signal.SIGTERM)]
)
def test_the_exit_status_is_the_commands(builder: str, script: str, status: int) -> None:
    """The wall ends as the command did, also by a signal."""
    assert behind(builder, script).returncode == status


def test_a_missing_command_is_127(builder: str) -> None:
    """A command that does not exist ends as in a shell, with a message."""
    seen = subprocess.run(
        command_of(builder, "--", "no-such-command"),
        cwd=wall.CHECKOUT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (seen.returncode, seen.stderr) == (127, "jai-wall: no-such-command: No such file or directory\n")


def test_nothing_is_left_behind(builder: str) -> None:
    """The scratch directory goes, whatever modes and processes the command left."""
    before = scratches()

    seen = behind(builder, "mkdir -p ~/a/b; chmod 0 ~/a /home /tmp; sleep 1000 & echo started")

    assert seen.stdout == "started\n"
    assert scratches() == before


@needs("root")
def test_immutable_files_are_removed() -> None:
    """Not even chattr +i keeps the scratch directory."""
    before = scratches()

    seen = behind("caller", "touch ~/x && chattr +i ~/x && lsattr ~/x || echo no attributes here")

    assert "i" in seen.stdout
    assert scratches() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_wall_takes_all_with_it(builder: str, number: signal.Signals) -> None:
    """A signal to the wall ends every process in it and removes the scratch directory."""
    before = scratches()
    command = command_of(builder, "--", "/bin/sh", "-c", "echo up; sleep 3141")
    with subprocess.Popen(
        command, cwd=wall.CHECKOUT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"

        process.send_signal(number)

        # The pipe ends only when the last process that holds it, the sleeper, is gone.
        assert process.stdout.read() == ""
    assert process.returncode == 128 + number
    assert scratches() == before


def test_a_killed_wall_takes_the_processes_with_it(builder: str) -> None:
    """SIGKILL of the wall still ends the command; the scratch directory can then only be left."""
    before = scratches()
    command = command_of(builder, "--", "/bin/sh", "-c", "echo up; sleep 3142")
    with subprocess.Popen(
        command, cwd=wall.CHECKOUT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"

        process.kill()

        assert process.stdout.read() == ""
    for left in scratches() - before:
        wall.remove(str(left))


def test_a_wall_that_does_not_hold_is_noticed() -> None:
    """Fail closed: a place that must be read-only and is not ends it before the command runs."""
    place = Path("/var/tmp")
    assert wall.try_to_write(str(place)) == "success"

    order = wall.Order(
        scratch="",
        home_fs="disk",
        writable=[],
        readable=[str(place)],
        hidden=[],
        command=["true"],
        cwd="/",
        uid=0,
        gid=0,
        status=-1,
    )
    with pytest.raises(wall.WallError, match="does not stand"):
        wall._prove(order)


@needs("root for loop file systems")
@needs("mkfs")
@pytest.mark.parametrize("kind", ["ext4", "btrfs", "xfs"])
def test_homes_can_lie_on_each_file_system(kind: str) -> None:
    """The homes lie on the wanted file system, are the accounts' own, and no loop device is left."""
    become = "setpriv --reuid=ada --regid=ada --init-groups"

    seen = behind("caller", f"stat -f -c %T /home; {become} touch ~ada/x && ls ~ada", "--home-fs", kind)

    assert seen.stdout.split() == [{"ext4": "ext2/ext3"}.get(kind, kind), "x"], seen.stderr
    deadline = time.monotonic() + 10
    while "jai-wall-" in subprocess.run(["losetup", "-a"], check=True, capture_output=True, text=True).stdout:
        assert time.monotonic() < deadline, "a loop device is still there"
        time.sleep(0.05)


def test_a_granted_path_can_be_written(builder: str) -> None:
    """--rw leaves one real path writable, also below a hidden directory, and nothing next to it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        granted = Path(folder, "granted")
        granted.mkdir()
        Path(folder).chmod(0o777)
        granted.chmod(0o777)

        seen = behind(builder, f"echo kept > {granted}/file; touch {folder}/no", "--rw", str(granted))

        assert (granted / "file").read_text() == "kept\n", seen.stderr
        assert not Path(folder, "no").exists()
