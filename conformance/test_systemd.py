"""What only a machine with systemd as PID 1 has: a session's sockets, and programs that run others later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conformance.abilities import needs
from conformance.accounts import Account, must, run
from conformance.clauses import clause, guards
from conformance.jails import for_everybody, in_each_mode, outside_of_a_jail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

    from conformance.accounts import Seen
    from conformance.conftest import MakeJail, Outside

pytestmark = needs("systemd")

# Beside whatever else listens; %s is the uid of the user.
LISTENING = (
    *("/run/dbus/system_bus_socket", "/run/systemd/private", "/run/systemd/notify"),
    *("/run/systemd/journal/stdout", "/run/systemd/journal/socket", "/run/systemd/journal/dev-log"),
    *("/run/user/%s/bus", "/run/user/%s/systemd/private", "/run/user/%s/systemd/notify"),
)
UNIT = "jai-scenario"
# Ways of having something run later, or by somebody else.
JOBS = {
    "systemd-run": f"systemd-run --user --unit={UNIT}-run sleep 1000",
    "a timer": f"systemd-run --user --unit={UNIT}-timer --on-active=1000 true",
    "a unit": f"systemctl --user start {UNIT}.service",
    "linger": "loginctl enable-linger ada",
    "crontab": "echo '0 0 1 1 * true' | crontab -",
    "at": "echo true | at now + 1 day",
}
SPOOLED = "find /var/lib/systemd/linger /var/spool/cron/crontabs /var/spool/cron/atjobs -type f ! -name .SEQ"


class Session:
    """The user's systemd, which a login would have started."""

    def __init__(self, host: Host) -> None:
        """Start it for ada."""
        self.account = Account(host, "ada", "/home/ada", become=True)
        self.uid = must(run(host, "id -u ada")).stdout.strip()
        must(run(host, f"systemctl start user@{self.uid}.service"))

    @property
    def env(self) -> dict[str, str]:
        """What a login would have set."""
        runtime = f"/run/user/{self.uid}"
        return {"XDG_RUNTIME_DIR": runtime, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus"}

    def sh(self, script: str) -> Seen:
        """Run a shell script in it."""
        return self.account.run(["sh", "-c", script], env=self.env)

    def jobs(self) -> str:
        """What is arranged, as root and the user's systemd know it."""
        units = self.sh(f"systemctl --user list-units --all --plain --no-legend '{UNIT}*'")
        return must(units).stdout + must(run(self.account.host, SPOOLED)).stdout


@pytest.fixture
def session(host: Host) -> Iterator[Session]:
    """A session of ada's; what has been arranged in it goes with it.

    logind keeps the user for ten seconds more, and a session that begins in that time does not come up.
    """
    made = Session(host)
    yield made
    must(run(host, f"loginctl disable-linger ada; systemctl stop user@{made.uid}.service; {SPOOLED} -delete"))
    must(run(host, f"timeout 60 sh -c 'while loginctl show-user {made.uid}; do sleep 0.2; done' 2>&1"))


def sockets(host: Host) -> dict[str, str]:
    """An act that connects to each named socket of the machine, by the socket's path."""
    acts = {}
    for line in must(run(host, "cat /proc/net/unix")).stdout.splitlines()[1:]:
        # Flags say that it listens, datagram sockets never do; a connected one has its listener's path.
        _, _, _, flags, kind, _, _, *path = line.split()
        if path and path[0].startswith("/") and (flags == "00010000" or kind == "0002"):
            acts[path[0]] = f"socket.socket(socket.AF_UNIX, {int(kind, 16)}).connect({path[0]!r})"
    return acts


@clause("E03")
@guards("run")
@for_everybody
def test_sockets_of_a_session_are_closed(
    jail: MakeJail, outside: Outside, session: Session, mode: str
) -> None:
    """D-Bus, systemd, the journal and the user's own systemd: root can connect to all, a jail to none."""
    host = outside.home.account.host
    acts = sockets(host)
    wanted = {path % session.uid if "%" in path else path for path in LISTENING}

    control = outside_of_a_jail(outside.home.account, acts, uid="0")
    answers = jail(mode).tries(acts, env=session.env)

    assert wanted <= set(acts)
    assert control == dict.fromkeys(acts, "ok")
    assert answers == dict.fromkeys(acts, "ENOENT")


@clause("P02")
@guards("run")
@in_each_mode
def test_no_job_is_taken_from_inside(jail: MakeJail, outside: Outside, session: Session, mode: str) -> None:
    """The session's programs, cron and at have nothing to do afterwards; outside each of them does."""
    unit = f"printf '[Service]\\nExecStart=sleep 1000\\n' >~/.config/systemd/user/{UNIT}.service"
    must(session.sh(f"mkdir -p ~/.config/systemd/user; {unit}"))
    nothing, before = session.jobs(), outside.state()

    inside = {name: jail(mode).sh(line, env=session.env).rc for name, line in JOBS.items()}
    left, after = session.jobs(), outside.state()
    control = {}
    for name, line in JOBS.items():
        known = session.jobs()
        session.sh(line)
        control[name] = session.jobs() != known

    assert nothing == ""
    assert control == dict.fromkeys(JOBS, True)
    assert 0 not in inside.values(), inside
    assert left == ""
    assert after == before
