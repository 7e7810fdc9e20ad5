"""What an agent's acts reach outside of any jail, in plain bubblewrap, and in jai: `make peers`.

The same probes run in each, side by side; it fails if something gets through jai that is not documented.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from conformance.abilities import needs
from conformance.accounts import must, run
from conformance.jails import MODES, PROBED, answers_of
from conformance.test_escape import connecting, furnished, listening, terminal
from conformance.test_escape_calls import CALLS

if TYPE_CHECKING:
    import pytest

    from conformance.accounts import Account
    from conformance.conftest import MakeJail, Outside

__all__ = ["terminal"]  # a fixture

BUBBLEWRAP = ("bwrap", *["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-pid"])
PLAIN = {"no jail": (), "bubblewrap": BUBBLEWRAP}
SECRET = {"DEPLOY_TOKEN": "hunter2"}


@dataclass(frozen=True)
class Probe:
    """An act, and how to see outside that it came through, where that is not simply that it succeeded."""

    act: str
    trace: str = ""


def probes(outside: Outside, terminal: str, uid: str) -> dict[str, Probe]:
    """What an agent might try; each is harmless on the scratch home that it runs on."""
    home, pid = outside.home.path, outside.canary.pid
    sockets = {"docker's socket": "/run/docker.sock", "the session bus": f"/run/user/{uid}/bus"}
    sockets |= {"X11's socket": "/tmp/.X11-unix/X77", "an abstract socket": "@jai-peers"}
    sockets |= {"a socket elsewhere": "/srv/watched/service.sock"}
    return {
        "write in the project": Probe("open('made', 'w')", "test -e made"),
        "change ~/.bashrc": Probe(
            "open(HOME + '/.bashrc', 'a').write('evil')", f"grep -q evil {home}/.bashrc"
        ),
        "change a file elsewhere": Probe(
            "open('/srv/watched/file', 'a').write('evil')", "grep -q evil /srv/watched/file"
        ),
        "change .git/hooks": Probe(
            "open('.git/hooks/pre-commit', 'w').write('evil')", "test -s .git/hooks/pre-commit"
        ),
        "leave a set-id file": Probe("os.chmod('README.md', 0o6755)", "test -u README.md"),
        "read ~/.ssh": Probe("open(HOME + '/.ssh/id_ed25519')"),
        "read a private file elsewhere": Probe("open('/srv/watched/private')"),
        "read a token in the environment": Probe("os.environ['DEPLOY_TOKEN']"),
        "use an open descriptor": Probe("os.open('.ssh/id_ed25519', os.O_RDONLY, dir_fd=7)"),
        **{f"connect to {name}": Probe(connecting([place])[place]) for name, place in sockets.items()},
        "reach localhost": Probe(f"socket.create_connection(('127.0.0.1', {outside.canary.port}), 5)"),
        "see a process outside": Probe(f"os.lstat('/proc/{pid}/environ')"),
        "signal it": Probe(f"os.kill({pid}, 0)"),
        "write to another terminal": Probe(f"os.open({terminal!r}, os.O_WRONLY | os.O_NOCTTY)"),
        "read others' shared memory": Probe("open('/dev/shm/canary/file')"),
        "use the keyring": Probe("call('keyctl', 0, -3, 0)"),
        "use io_uring": Probe("call('io_uring_setup', 1, ctypes.create_string_buffer(120))"),
        "make a raw socket by nesting": Probe(
            "libc.unshare(0x50000000); socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"
        ),
    }


# What SECURITY.md says.
IN_EACH_MODE = {"write in the project", "reach localhost", "connect to a socket elsewhere"}
DOCUMENTED = {
    "casual": {*IN_EACH_MODE, "read a private file elsewhere"},
    "bare": {*IN_EACH_MODE, "read a private file elsewhere"},
    "strict": IN_EACH_MODE,
}


def make(account: Account, outside: Outside) -> None:
    """What the probes look for, as it was before any of them."""
    home = outside.home
    must(
        account.sh(
            "rm -rf made .git; git init -q; echo '# project' > README.md; chmod 644 README.md",
            cwd=home.project,
        )
    )
    must(account.sh("echo plain > ~/.bashrc; echo plain > /srv/watched/file"))


def reached(account: Account, asked: dict[str, Probe], answers: dict[str, str], cwd: str) -> dict[str, str]:
    """Each probe's answer: "ok" only if what it did can be seen outside."""
    found = dict(answers)
    for name, probe in asked.items():
        if answers[name] == "ok" and probe.trace and run(account.host, f"cd {cwd} && {probe.trace}").rc:
            found[name] = "not outside"
    return found


@needs("root")
@needs("bwrap")
@needs("strict mode")
def test_what_each_lets_through(
    jail: MakeJail, outside: Outside, terminal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside of any jail everything gets through; in jai nothing but what is documented."""
    account = outside.home.account
    uid = must(account.sh("id -u")).stdout.strip()
    asked = probes(outside, terminal, uid)
    acts = {name: probe.act for name, probe in asked.items()}
    prefix, cwd = f"exec 7<{outside.home.path};", outside.home.project
    columns: dict[str, dict[str, str]] = {}
    with contextlib.ExitStack() as stack:
        prepare = f"mkdir -p user/{uid} /tmp/.X11-unix; chown -R {account.name}: /run /tmp/.X11-unix"
        stack.enter_context(furnished(account.host, "/run", prepare))
        places = ["/run/docker.sock", f"/run/user/{uid}/bus", "/tmp/.X11-unix/X77", "@jai-peers"]
        places.append("/srv/watched/service.sock")
        stack.enter_context(listening(account, places))
        for name, through in PLAIN.items():
            make(account, outside)
            line = [*through, *PROBED, json.dumps(acts), CALLS]
            seen = account.run(line, cwd=cwd, env=SECRET, prefix=prefix)
            columns[name] = reached(account, asked, answers_of(seen), cwd)
        for mode in MODES:
            make(account, outside)
            answers = jail(mode).tries(acts, env=SECRET, prefix=prefix, prelude=CALLS)
            columns[f"jai {mode}"] = reached(account, asked, answers, cwd)
    with capsys.disabled():
        print_table(columns)

    found = {
        name: {probe for probe, answer in seen.items() if answer == "ok"} for name, seen in columns.items()
    }
    assert found["no jail"] == set(asked)
    assert {mode: found[f"jai {mode}"] for mode in MODES} == DOCUMENTED


def print_table(columns: dict[str, dict[str, str]]) -> None:
    """Print what gets through each, and what is answered where it does not."""
    table = Table(title="what gets through")
    table.add_column("")
    for name in columns:
        table.add_column(name)
    for probe in columns["no jail"]:
        cells = [seen[probe] for seen in columns.values()]
        table.add_row(probe, *("[bold red]through[/]" if cell == "ok" else cell for cell in cells))
    print()
    Console(width=max(shutil.get_terminal_size().columns, 110)).print(table)
