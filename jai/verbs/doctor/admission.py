"""Who and what is examined: the user, the configuration, the place of the storage."""

from __future__ import annotations

import os
import sys

from jai.argv import parse_argv
from jai.cli import become
from jai.conf import read_file
from jai.errors import HostError, JaiError
from jai.host import Host
from jai.settings import configuration_directory, read_settings
from jai.store import local_state
from jai.verbs.doctor.file_systems import existing
from jai.verbs.doctor.isolate import LIMIT, quietly
from jai.verbs.doctor.records import NO, OPTIONAL, YES, Finding, Patient
from jai.verbs.doctor.scratch import look
from jai.verbs.doctor.strict import try_idmap
from jai.verbs.doctor.system_calls import PR_SET_DUMPABLE, prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jai.argv import Invocation
    from jai.settings import Settings

SUDO_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def admit(invocation: Invocation) -> Patient:
    """Say whom and what is examined, as the user that is to be jailed."""
    try:
        cwd = os.getcwd()
    except OSError:
        cwd = ""
        os.chdir("/")
    host, account = _find_host()
    idmaps = quietly(lambda: {path: try_idmap(path) for path in {host.home, cwd} - {""}})
    if host.account.uid != os.getuid():
        try:
            become(host)
            # A process that has changed its user may not write its own maps.
            prctl(PR_SET_DUMPABLE, 1)
        except JaiError as error:
            account = (Finding(NO, error.message, error.hint),)
    read = quietly(lambda: _read_configuration(invocation, host)) or {}
    config_dir = read.get("config_dir") or f"{host.home}/.jai"
    storage = read.get("storage") or config_dir
    said = read.get("findings") or [(NO, f"{config_dir} can not be read within {LIMIT} s", "")]
    jail = f"doctor-{os.urandom(8).hex()}"
    place = quietly(lambda: existing(storage)) or storage
    command = _command()
    return Patient(
        host=host,
        jai=command,
        setup=_setup_command(command),
        cwd=cwd,
        config_dir=config_dir,
        storage=storage,
        options=invocation.assignments,
        makes=tuple(read.get("makes", ())),
        account=account,
        configuration=tuple(Finding(*each) for each in said),
        idmaps=idmaps or {},
        scratch=f"{place.rstrip('/')}/.{jail}",
        jail=jail,
        before=quietly(lambda: look(place)),
        local_is_ours=not os.path.lexists(local_state(host.account.uid)),
    )


def _find_host() -> tuple[Host, tuple[Finding, ...]]:
    """Give the machine and what is to be said about the account."""
    try:
        host = Host(dict(os.environ))
    except HostError as error:
        wrong = (Finding(NO, error.message, error.hint),)
        return Host(
            {name: value for name, value in os.environ.items() if name not in ("SUDO_USER", "USER")}
        ), wrong
    acts = f", for whom root acts (uid {os.getuid()})" if host.account.uid != os.getuid() else ""
    who = f"{host.account.name} (uid {host.account.uid}{acts}), home {host.home}"
    if not os.environ.get("HOME"):
        return host, (Finding(YES, f"{who} (HOME is not set)"),)
    return host, (Finding(YES, who),)


def _command() -> tuple[str, ...]:
    """Give the words that start this same jai: the launcher beside us, else the module."""
    launcher = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "jai")
    if os.path.exists(f"{launcher}-python"):
        return (launcher,)
    return (sys.executable, "-I", "-m", "jai")


def _setup_command(command: tuple[str, ...]) -> str:
    """Give what sets strict mode up; sudo looks in its own PATH only."""
    typed = "jai" if os.path.dirname(command[0]) in SUDO_PATH else " ".join(command)
    return f"sudo {typed} --setup"


def _read_configuration(invocation: Invocation, host: Host) -> dict[str, object]:
    """Read what was asked for, then every other file there is; say which line is wrong."""
    found: dict[str, Finding] = {}
    answer: dict[str, object] = {}
    try:
        config = configuration_directory(host.env, host.home)
        settings = _settings(invocation, host)
    except JaiError as error:
        found[error.message] = Finding(NO, error.message, error.hint)
        config = f"{host.home}/.jai" if host.env.get("JAI_CONFIG_DIR", "/")[:1] != "/" else config
        answer |= {"config_dir": config}
    else:
        makes = [
            grant.path for grant in settings.grants if grant.suffix == "!" and not os.path.exists(grant.path)
        ]
        answer |= {"config_dir": settings.config_dir, "storage": settings.storage, "makes": makes}
    storage = str(answer.get("storage") or config)
    others = [*_named(config, ".conf", "-C"), *_named(storage, ".jail", "-j")]
    for words in others:
        try:
            _settings(parse_argv(words), host)
        except JaiError as error:
            found.setdefault(error.message, Finding(NO, error.message, error.hint))
    if not found and os.path.isdir(config):
        found[""] = Finding(YES, f"{config}: no mistake in {len(others)} files, nor in what they include")
    elif not found:
        found[""] = Finding(OPTIONAL, f"{config} does not exist: the built-in one holds until the first run")
    return {**answer, "findings": [(each.state, each.text, each.hint) for each in found.values()]}


def _settings(invocation: Invocation, host: Host) -> Settings:
    return read_settings(invocation, env=host.env, cwd=host.cwd, home=host.home, reader=read_file)


def _named(directory: str, ending: str, option: str) -> list[list[str]]:
    """Give the words that make jai read each file of a directory with this ending."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    stems = [name if option == "-C" else name[: -len(ending)] for name in names if name.endswith(ending)]
    return [[option, stem] for stem in stems if not stem.startswith(".")]
