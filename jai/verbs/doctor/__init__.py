"""What of this machine jai can use: `jai --doctor`, a line for each thing, with what mends it.

Nothing is concluded from a version where it can be tried.  Each probe is tried in a process of its own
that has a time limit, and answers with findings; what it makes lies in one directory that goes again.
"""

from __future__ import annotations

import os
import signal

from jai.errors import printable
from jai.record import Record
from jai.verbs.doctor import file_systems, jails, kernel, namespaces, strict, surroundings
from jai.verbs.doctor.admission import admit
from jai.verbs.doctor.isolate import JAIL_LIMIT, LIMIT, SIGNALS, NoAnswerError, quietly, within
from jai.verbs.doctor.records import NO, OPTIONAL, YES, Finding, Patient
from jai.verbs.doctor.scratch import clean, make_scratch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

    from jai.argv import Invocation

CASUAL = "casual mode"
COLUMN = 18


class Probe(Record):
    """One question: what it is about, who asks it, how many seconds it may take."""

    topic: str
    ask: Callable[[Patient], Iterable[Finding]]
    limit: float = LIMIT


PROBES = (
    Probe("jai", surroundings.version),
    Probe("account", surroundings.account),
    Probe("current directory", surroundings.current),
    Probe("configuration", surroundings.configuration),
    Probe("storage", file_systems.storage),
    Probe(CASUAL, jails.casual, JAIL_LIMIT),
    Probe("bare mode", jails.bare, JAIL_LIMIT),
    Probe("strict mode", jails.strict, JAIL_LIMIT),
    Probe("kernel", kernel.kernel),
    Probe("user namespaces", namespaces.user_namespaces),
    Probe("mount namespace", namespaces.mount_namespace),
    Probe("PID namespace", namespaces.process_namespace),
    Probe("overlay", file_systems.overlay),
    Probe("mounts in the home", jails.below_home),
    Probe("mount limit", kernel.mount_limit),
    Probe("Landlock", kernel.landlock),
    Probe("seccomp", kernel.seccomp),
    Probe("TIOCSTI", kernel.tiocsti),
    Probe("AppArmor", namespaces.apparmor),
    Probe("container", surroundings.container),
    Probe("helper", strict.helper),
    Probe("sub-uid", strict.sub_uid),
    Probe("sub-gid", strict.sub_gid),
    Probe("user jai", strict.jai_user),
    Probe("id maps, home", strict.home_idmap),
    Probe("id maps, here", strict.current_idmap),
    Probe("Python", surroundings.python, JAIL_LIMIT),
)


def diagnose(invocation: Invocation) -> int:
    """Print the findings; 0 if the default mode works, else 1."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _leave)
    patient = admit(invocation)
    try:
        try:
            return _examine(patient)
        finally:
            _ignore_signals()
    finally:
        if not quietly(lambda: clean(patient)):
            _print("left behind", [Finding(NO, f"{patient.scratch} can not be removed", "remove it")])


def _examine(patient: Patient) -> int:
    works = False
    quietly(lambda: make_scratch(patient))
    for probe in PROBES:
        found = _ask(probe, patient)
        _print(probe.topic, found)
        if probe.topic == CASUAL:
            works = all(each.state == YES for each in found)
    return 0 if works else 1


def _leave(number: int, _frame: object) -> NoReturn:
    """End through the `finally` that cleans up."""
    _ignore_signals()
    raise SystemExit(128 + number)


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _ask(probe: Probe, patient: Patient) -> list[Finding]:
    def answer() -> list[tuple[str, str, str]]:
        return [(each.state, each.text, each.hint) for each in probe.ask(patient)]

    try:
        return [Finding(*each) for each in within(probe.limit, answer)]
    except TimeoutError:
        return [Finding(NO, f"no answer within {probe.limit:g} s")]
    except (NoAnswerError, OSError) as error:
        return [Finding(OPTIONAL, f"could not be tried: {error}")]


def _print(topic: str, found: Iterable[Finding]) -> None:
    lines = (
        f"{each.state} {topic:<{COLUMN}} {each.text}{' → ' * bool(each.hint)}{each.hint}" for each in found
    )
    text = "".join(f"{printable(line)}\n" for line in lines).encode("utf-8", "backslashreplace")
    while text:
        text = text[os.write(1, text) :]
