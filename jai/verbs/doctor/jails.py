"""Jails of each mode, started as they are configured, and from start to end in the scratch."""

from __future__ import annotations

import os
import subprocess
import time

from jai.host import HELPER, read_bytes
from jai.options import BY_NAME
from jai.verbs.doctor.records import NO, OPTIONAL, YES, Finding
from jai.verbs.doctor.scratch import settle
from jai.verbs.doctor.strict import helper, jai_user, sub_gid, sub_uid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from jai.verbs.doctor.records import Patient


def casual(patient: Patient) -> Iterator[Finding]:
    """Say if a casual jail starts and ends."""
    return _jail(patient, "casual")


def bare(patient: Patient) -> Iterator[Finding]:
    """Say if a bare jail starts and ends."""
    return _jail(patient, "bare")


def strict(patient: Patient) -> Iterator[Finding]:
    """Try a strict jail where it could work: as root, or with everything that set-up brings.

    With the package's own helper, root's first one makes the ids that are missing: then none is tried.
    """
    ids = {"a sub-uid": sub_uid, "a sub-gid": sub_gid, "the user jai": jai_user}
    needed = {"the helper": helper, **ids}
    states = {name: each.state for name, ask in needed.items() for each in ask(patient)}
    lacks = [name for name, state in states.items() if state != YES]
    own = patient.host.helper() not in ("", HELPER)
    makes = [name for name in ids if own and states[name] == OPTIONAL]
    tried = [] if makes or (lacks and os.geteuid() != 0) else list(_jail(patient, "strict"))
    if not lacks or (tried and all(each.state == YES for each in tried)):
        yield from tried
    elif makes == lacks:
        words = f"not tried: root's first strict jail makes {', '.join(makes)}"
        yield Finding(OPTIONAL, words, f"{' '.join(patient.jai)} -m strict -D true")
    else:
        yield Finding(OPTIONAL, f"not set up: {', '.join(lacks)}", patient.setup)


def _jail(patient: Patient, mode: str) -> Iterator[Finding]:
    """Run `true` in a jail: as it is configured here as far as the plan goes, then really, in the scratch."""
    jail = [] if mode == "casual" else ["-j", patient.jail]
    refused = _run_jai(patient, [*_words(patient), *jail, "-m", mode, "-D", "--plan", find_true()])
    own = f"{patient.scratch}/config"
    config = patient.config_dir if os.path.exists(f"{patient.config_dir}/.defaults") else own
    failed, taken = _try_jail(patient, mode, own if refused else config)
    if refused:
        alone = "" if failed else " (with a configuration and storage of its own it works)"
        yield Finding(NO, refused.text + alone, refused.hint)
    elif failed:
        yield failed
    else:
        yield Finding(YES, f"`true` ran in a jail, from start to end in {taken * 1000:.0f} ms")


def _try_jail(patient: Patient, mode: str, config: str) -> tuple[Finding | None, float]:
    """Run a jail that lies in the scratch; what went wrong, None if nothing did, and the seconds."""
    name = f"{patient.jail}-{mode}"
    if os.path.isdir(patient.scratch):
        with open(f"{patient.scratch}/{name}.jail", "w", encoding="ascii") as file:
            file.write(f"mode {mode}\n")
    ours = config == patient.config_dir
    undone = [word for path in patient.makes if ours for word in ("-x", path)]
    words = [
        *_words(patient, but=("storage", "initjail") if ours else ("storage", "initjail", "conf")),
        *undone,
    ]
    # What is run for new jails may do anything, so it is not run for this one.
    chosen = ["-m", mode, "-j", name, "--storage", patient.scratch, "-D", "--initjail", find_true()]
    start = time.monotonic()
    failed = _run_jai(patient, [*words, *chosen, find_true()], config)
    taken = time.monotonic() - start
    settle(patient)
    return failed, taken


def _words(patient: Patient, but: tuple[str, ...] = ()) -> list[str]:
    """Give the options that were typed, as words again."""
    words = []
    for each in patient.options:
        if each.option not in ("mode", "jail", "nocwd", "verbose", *but):
            words += [f"--{each.option}{each.suffix}", *([each.value] if BY_NAME[each.option].value else [])]
    return words


def find_true() -> str:
    """Give a program that does nothing; a path, so that no configuration is meant for it."""
    places = ("/bin", "/usr/bin", *os.environ.get("PATH", "").split(os.pathsep))
    found = (f"{place}/true" for place in places if place.startswith("/"))
    return next((path for path in found if os.access(path, os.X_OK)), "/bin/true")


def _run_jai(patient: Patient, words: list[str], config: str = "") -> Finding | None:
    """Run jai itself and give what it complains about, None if it is content."""
    env = {name: value for name, value in os.environ.items() if name not in ("JAI_DEBUG", "JAI_KEEP_FDS")}
    if config:
        env["JAI_CONFIG_DIR"] = config
    done = subprocess.run([*patient.jai, *words], env=env, input=b"", capture_output=True, check=False)
    if done.returncode == 0:
        return None
    lines = os.fsdecode(done.stderr).replace(patient.scratch, patient.storage).splitlines()
    starts = [at for at, line in enumerate(lines) if line.startswith("jai: ")]
    if not starts:
        last = f": {lines[-1]}" if lines else ""
        return Finding(NO, f"the jail ended with status {done.returncode}{last}")
    message, *rest = lines[starts[-1] :]
    hints = [line.removeprefix("  hint: ") for line in rest if line.startswith("  hint: ")]
    return Finding(NO, message.removeprefix("jai: "), hints[0] if hints else "")


def below_home(patient: Patient) -> Iterator[Finding]:
    """Say what is mounted below the home: an overlay of an ordinary user can not lie over that."""
    if not read_bytes("/proc/self/mountinfo"):
        yield Finding(OPTIONAL, "unknown without /proc")
        return
    below = patient.host.mounts_below(patient.host.real(patient.home))
    if not below:
        yield Finding(YES, f"nothing is mounted below {patient.home}")
        return
    names = ", ".join(below[:3]) + (f" and {len(below) - 3} more" if below[3:] else "")
    refused = _run_jai(patient, [*_words(patient), "-m", "casual", "-D", "--plan", find_true()])
    if not refused and all(each.state == YES for each in helper(patient)):
        yield Finding(OPTIONAL, f"{names}: casual mode needs the helper for it, which is there")
    else:
        hint = f"unmount it, use -m bare, or {patient.setup}"
        yield Finding(NO, f"{names}: casual mode is not possible without the helper", hint)
