"""The scenarios on a machine that ssh reaches: which is meant, what it must have said, what is left there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.abilities import needs
from conformance.guests import where
from tests.conftest import ROOT
from tests.helpers import COLLECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

A_SCENARIO = "test_removing_the_home_leaves_the_originals and casual and find and ada"
# In a mount namespace of its own, whose /etc says whether it may be wrecked.
SERVER = """\
set -eu
mount --bind etc /etc
exec dropbear -F -E -m -s -r host -p 127.0.0.1:$1 -P pid
"""
CONFIG = """\
Host 127.0.0.1 localhost
    IdentityFile {place}/key
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
"""


@pytest.mark.parametrize(("text", "meant"), [
    ("qemu", []),
    ("ssh://host", [where.Ssh("ssh://host", ("ssh", "host"))]),
    ("ssh://ada@host:2222/", [where.Ssh("ssh://ada@host:2222", ("ssh", "-p", "2222", "-l", "ada", "host"))]),
    ("ssh://[fe80::1]:22", [where.Ssh("ssh://[fe80::1]:22", ("ssh", "-p", "22", "fe80::1"))]),
    ("vagrant:debian", [where.Vagrant("vagrant:debian", "debian")]),
    (" ssh://a, vagrant:b  ssh://a ", [where.Ssh("ssh://a", ("ssh", "a")), where.Vagrant("vagrant:b", "b")]),
    ("ssh://a+vagrant:b+ssh://a ssh://c", [
        where.Ssh("ssh://a", ("ssh", "a"), "1/2"),
        where.Vagrant("vagrant:b", "b", "2/2"),
        where.Ssh("ssh://c", ("ssh", "c")),
    ]),
])  # fmt: skip
def test_what_a_word_of_guest_means(text: str, meant: list[where.Ssh | where.Vagrant]) -> None:
    """Several are apart by blanks or commas, or share by a plus; one that is named twice is meant once."""
    assert where.parse(text) == meant


@pytest.mark.parametrize("text", [
    *("", "qemu ssh://a", "local", "host", "ssh://", "ssh://-oProxyCommand=x", "ssh://-x@host", "ssh://a b"),
    *("ssh://a:b", "ssh://a/path", "vagrant:", "vagrant:-f", "vagrant:a;b", "http://host"),
    *("ssh://a+", "+ssh://a", "ssh://a+qemu", "ssh://a+local"),
])  # fmt: skip
def test_a_word_that_means_nothing_is_refused(text: str) -> None:
    """In one line that says what can be said; nothing that ssh or vagrant would take for an option passes."""
    with pytest.raises(where.WordError, match="GUEST=") as refused:
        where.parse(text)

    assert "\n" not in str(refused.value)


@dataclass(frozen=True)
class Machine:
    """A machine that ssh reaches."""

    place: Path
    port: int

    @property
    def name(self) -> str:
        """What GUEST= calls it."""
        return f"ssh://root@127.0.0.1:{self.port}"

    def mark(self) -> None:
        """Let it say that it may be wrecked."""
        (self.place / "etc/jai-guest").touch()

    @property
    def command(self) -> list[str]:
        """The command line of a scenario on it."""
        run = [sys.executable, "-m", "conformance.guests.run", "scenarios", "--guest", self.name]
        return [*run, "-k", A_SCENARIO, "--report", str(self.place / "report")]

    def judge(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run a scenario on it."""
        return subprocess.run(
            [*self.command, *options], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
        )

    def answers(self) -> bool:
        """Whether its sshd talks."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)) as line:
            return line.recv(4) == b"SSH-"
        return False

    def left(self) -> list[str]:
        """Give what a run could have left on it."""
        places = [*Path("/var/tmp").glob("jai-*"), *Path("/home").glob("jai-*")]
        names = [entry.name for entry in os.scandir("/proc") if entry.name.isdigit()]
        for name in names:
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{name}/cmdline").read_bytes()
                places += [Path("/proc", name)] if b"jai-conformance" in words else []
        return [str(path) for path in places]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pytest for that machine, from PyPI, is kept between two tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def machine(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine that has not said anything; behind the wall root's home is nobody's."""
    if "JAI_WALL" not in os.environ:
        pytest.skip("writes into root's ~/.ssh: only behind the wall")
    monkeypatch.setenv("JAI_CACHE", str(kept))
    subprocess.run(["cp", "-a", "/etc", str(tmp_path / "etc")], check=True)
    for make, name in ((["dropbearkey", "-t"], "host"), (["ssh-keygen", "-q", "-N", "", "-t"], "key")):
        subprocess.run([*make, "ed25519", "-f", str(tmp_path / name)], check=True, capture_output=True)
    ssh = Path("/root/.ssh")
    ssh.mkdir(0o700, exist_ok=True)
    (ssh / "config").write_text(CONFIG.format(place=tmp_path))
    shutil.copy(tmp_path / "key.pub", ssh / "authorized_keys")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        made = Machine(tmp_path, probe.getsockname()[1])
    server = subprocess.Popen(["unshare", "--mount", "sh", "-c", SERVER, "sh", str(made.port)], cwd=tmp_path)
    try:
        wait_for(made.answers, "its sshd")
        yield made
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(ssh)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds, a minute at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.05)


@needs("root")
@needs("dropbear")
def test_a_machine_that_has_not_said_that_it_may_be_wrecked_is_left_alone(machine: Machine) -> None:
    """The refusal names the one command that allows it."""
    seen = machine.judge()

    assert seen.returncode == 1
    assert f"--- {machine.name}: {machine.name} has not said that it may be wrecked" in seen.stdout
    assert f"allow it: ssh -p {machine.port} -l root 127.0.0.1 sudo touch /etc/jai-guest\n" in seen.stdout
    assert "0 passed, 0 failed" in seen.stdout
    assert machine.left() == []


@needs("root")
@needs("dropbear")
def test_a_machine_that_does_not_answer_is_said_to(machine: Machine) -> None:
    """Nothing is tried, and what must work by hand is named."""
    Path("/root/.ssh/authorized_keys").unlink()

    seen = machine.judge()

    assert seen.returncode == 1
    by_hand = f"ssh -p {machine.port} -l root 127.0.0.1"
    assert f"{machine.name} does not answer: `{by_hand} sudo -n true` must work" in seen.stdout


@needs("root")
@needs("dropbear")
@pytest.mark.parametrize("home_fs", ["here", "ext4"])
def test_scenarios_on_a_machine_that_may_be_wrecked(machine: Machine, home_fs: str) -> None:
    """They are judged as everywhere, and nothing is left of them."""
    machine.mark()

    seen = machine.judge(*([] if home_fs == "here" else ["--home-fs", home_fs]))

    assert "1 passed, 0 failed, 0 skipped" in seen.stdout, seen.stdout + seen.stderr
    assert seen.returncode == 0
    assert f"make conformance GUEST={machine.name}" in (machine.place / "report/report.json").read_text()
    assert machine.left() == []


@needs("root")
@needs("dropbear")
def test_machines_can_share_the_scenarios(machine: Machine) -> None:
    """What one of them tries the other does not, and together they try all."""
    machine.mark()
    some = "test_destruction and casual and ada and (removing or moving or links or chmod)"
    both = f"{machine.name}+{machine.name.replace('127.0.0.1', 'localhost')}"

    seen = machine.judge("-k", some, "--guest", both)

    told = json.loads((machine.place / "report/report.json").read_text())["guests"]
    parts = [{one["id"] for one in guest["scenarios"]} for guest in told]
    assert seen.returncode == 0, seen.stdout + seen.stderr
    assert all(parts)
    assert not parts[0] & parts[1]
    assert f"2 guests: {len(parts[0] | parts[1])} passed, 0 failed, 0 skipped" in seen.stdout
    listed = subprocess.run(
        [*COLLECT, "-k", some, "conformance"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert parts[0] | parts[1] == {line for line in listed.stdout.splitlines() if "::" in line}


@needs("root")
@needs("dropbear")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_whoever_asked_can_end_at_any_time(machine: Machine, how: signal.Signals) -> None:
    """Also when the line is cut there is nothing left, a moment later."""
    machine.mark()
    asked = subprocess.Popen(machine.command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert asked.stdout is not None
    with asked:
        for line in asked.stdout:
            if "skips what" in line:
                break
        wait_for(lambda: machine.left() != [], "something to be there")
        asked.send_signal(how)

    wait_for(lambda: machine.left() == [], "nothing to be left")


@needs("vagrant")
def test_vagrant_accepts_each_machine(tmp_path: Path) -> None:
    """The public boxes, too, which nobody downloads for a test."""
    own = {"VAGRANT_HOME": str(tmp_path / "home"), "VAGRANT_DOTFILE_PATH": str(tmp_path / "dot")}
    environment = {**os.environ, **own, "VAGRANT_CHECKPOINT_DISABLE": "1"}
    names = re.findall(r'^  "(\w+)" =>', (ROOT / "vagrant/Vagrantfile").read_text(), re.MULTILINE)

    for name in ["local", *names]:
        said = subprocess.run(
            ["vagrant", "validate", name],
            cwd=ROOT / "vagrant",
            env=environment,
            capture_output=True,
            check=False,
        )
        assert (name, said.returncode, said.stderr) == (name, 0, b"")

    assert len(names) > 5
