"""The command `jai`: the one place that prints errors and exits."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what signal is made of, without its enums
import posix
import sys

from jai.argv import parse_argv
from jai.errors import HostError, JaiError
from jai.system import environment, exists, set_variable, take_variable, variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jai.argv import Invocation
    from jai.host import Host
    from jai.policy import Policy
    from jai.settings import Settings


# Files get the time of the clock's last tick, at most this many ns ago.
CLOCK_TICK = 10_000_000


def main() -> None:
    """Run jai on the process's own words and end the process."""
    _let_interrupts_end_us()
    status = guarded(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        status = status or 125
    # Nothing is left to be finalised: 1.3 ms that nobody has to wait for.
    posix._exit(status)  # noqa: SLF001 - its documented name


def _let_interrupts_end_us() -> None:
    """An interrupt ends jai as it ends any command, without a traceback; the launcher has held it back."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    if "jai_interrupt" in sys._xoptions:  # noqa: SLF001 - the documented place of -X options
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGINT])


def guarded(words: Sequence[str]) -> int:
    """Run jai and give its exit status; an error is printed, never a traceback."""
    try:
        return dispatch(words)
    except JaiError as error:
        _trace()
        _print_lines(error.lines())
        return error.status
    except BrokenPipeError:
        return 125
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - whatever it is, people get three lines
        _trace()
        _print_lines(
            [
                f"jai: an error that jai did not expect: {error!r}",
                "  hint: JAI_DEBUG=1 shows where; please report it",
            ]
        )
        return 125


def _trace() -> None:
    """Show where an error came from, to whoever asked for it; the exit status is the same."""
    if variable("JAI_DEBUG"):
        import traceback  # noqa: PLC0415 - only when asked

        _print_lines(traceback.format_exc().splitlines())


def _print_lines(lines: Sequence[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    try:
        posix.write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:
        return  # nobody to tell


def dispatch(words: Sequence[str]) -> int:
    """Do what the words ask for and give the exit status."""
    if variable("JAI_ENDED") is not None:
        return _ended(words)
    invocation = parse_argv(words)
    cold = COLD.get(invocation.verb)
    if cold:
        return cold(invocation)
    settings, host = read(invocation)
    if invocation.verb == "unmount":
        from jai.verbs.unmount import unmount  # noqa: PLC0415 - a cold command

        named = any(each.option == "jail" for each in invocation.assignments)
        return unmount(settings, host, everything=not named)
    if invocation.verb == "init":
        from jai.verbs.init import write_defaults  # noqa: PLC0415 - a cold command

        return write_defaults(settings, tell=True)
    return jail(settings, host, only_plan=invocation.verb == "plan")


def read(invocation: Invocation) -> tuple[Settings, Host]:
    """Give what was asked and the machine it was asked on, as the user that is to be jailed."""
    from jai.host import Host  # noqa: PLC0415 - not needed for --help
    from jai.settings import read_settings  # noqa: PLC0415

    if "jai_no_ctype" in sys._xoptions:  # noqa: SLF001 - the documented place of -X options
        take_variable("LC_CTYPE")
    host = Host(environment())
    if host.account.uid != posix.getuid():
        become(host, keep_root=invocation.verb in ("", "plan"))
    settings = read_settings(invocation, env=host.env, cwd=host.cwd, home=host.home, reader=host.read_conf)
    return settings, host


def become(host: Host, *, keep_root: bool = False) -> None:
    """As root for a user: be that user before anything of theirs is read; the saved uid may stay root's."""
    account = host.account
    try:
        posix.initgroups(account.name, account.gid)
        posix.setresgid(account.gid, account.gid, account.gid)
        posix.setresuid(account.uid, account.uid, 0 if keep_root else account.uid)
    except OSError as error:
        message = f"root can not become {account.name!r} here, for whom it seems to act (SUDO_USER, USER)"
        hint = "unset SUDO_USER and set USER=root to run as this root"
        raise HostError(message, detail=f"setresuid: {error.strerror}", hint=hint) from None
    # The process that explains a failure starts from this environment and must find the same.
    for name, value in (("HOME", host.home), ("USER", account.name), ("LOGNAME", account.name)):
        set_variable(name, value)


def _give_up_root(host: Host, *, lend: bool = False) -> None:
    """Be nothing but the user for good; what the helper needs can be lent to it."""
    uid = host.account.uid
    if posix.getresuid()[2] == uid:
        return
    if not lend:
        posix.setresuid(uid, uid, uid)
        return
    from jai._core import lib  # noqa: PLC0415 - only for root

    number = lib.jai_lend(uid)
    if number:
        message = "root can not lend the helper its privileges here"
        raise HostError(message, detail=posix.strerror(number), hint="sudo jai --setup installs it")


def jail(settings: Settings, host: Host, *, only_plan: bool) -> int:
    """Decide, then run the command in its jail or print how that would be done."""
    from jai.host import HELPER  # noqa: PLC0415 - not needed by the cold commands
    from jai.policy import decide  # noqa: PLC0415

    if settings.mode == "strict" and not only_plan and host.helper() not in ("", HELPER):
        from jai.verbs.setup import give_ids  # noqa: PLC0415 - only for root, where nothing is installed

        give_ids(host.account)
    policy = decide(settings, host)
    _give_up_root(host, lend=not only_plan and policy.helper not in ("", HELPER))
    if only_plan:
        from jai.describe import print_plan  # noqa: PLC0415 - a cold command

        return print_plan(settings, host, policy)
    if policy.create:
        from jai.verbs.init import make_grants  # noqa: PLC0415 - only where one is to be made

        make_grants(policy)
        policy = decide(settings, host)
    _first_run(settings, policy)
    again = variable("JAI_FAILED") is not None  # what follows has been said
    _print_lines([] if again else [f"jai: {note}" for note in policy.notes])
    if settings.verbose and not again:
        from jai.describe import tell  # noqa: PLC0415 - only when asked

        _print_lines(tell(policy))
        from time import time_ns  # noqa: PLC0415

        set_variable("JAI_AFTER", str(time_ns() - CLOCK_TICK))
    from jai.run import run  # noqa: PLC0415 - the C core is not needed before

    return run(settings, policy, host)


def _ended(words: Sequence[str]) -> int:
    """Say what a jail left, which the launcher asks for at the end of `jai -v`; end as its command ended."""
    from jai.policy import decide  # noqa: PLC0415
    from jai.run import end_as  # noqa: PLC0415
    from jai.verbs.aftermath import tell_aftermath  # noqa: PLC0415

    outcome, _, value = map(int, (take_variable("JAI_ENDED") or "").split())
    since = int(take_variable("JAI_AFTER") or 0)
    try:
        tell_aftermath(decide(*read(parse_argv(words))), since)
    except (JaiError, OSError) as error:
        _print_lines([f"jai: what was changed can not be listed: {error}"])
    return end_as(outcome, value)


def _first_run(settings: Settings, policy: Policy) -> None:
    """Write the default configuration and the jail's mode where they are missing."""
    if not exists(f"{settings.config_dir}/.defaults") or policy.write_mode or not settings.jail_file_exists:
        from jai.verbs.init import write_defaults, write_mode  # noqa: PLC0415 - once per jail

        write_defaults(settings, tell=False)
        write_mode(settings, policy)


def _help(invocation: Invocation) -> int:
    from jai.verbs.help import print_help  # noqa: PLC0415 - a cold command

    return print_help(invocation)


def _version(invocation: Invocation) -> int:
    from jai.verbs.help import print_version  # noqa: PLC0415 - a cold command

    return print_version(invocation)


def _defaults(invocation: Invocation) -> int:
    from jai.verbs.help import print_defaults  # noqa: PLC0415 - a cold command

    return print_defaults(invocation)


def _complete(invocation: Invocation) -> int:
    from jai.verbs.complete import print_completions  # noqa: PLC0415 - a cold command

    return print_completions(invocation)


def _doctor(invocation: Invocation) -> int:
    from jai.verbs.doctor import diagnose  # noqa: PLC0415 - a cold command

    return diagnose(invocation)


def _setup(invocation: Invocation) -> int:
    from jai.verbs.setup import set_up  # noqa: PLC0415 - a cold command

    return set_up(invocation)


COLD: dict[str, Callable[[Invocation], int]] = {
    "help": _help,
    "version": _version,
    "print-defaults": _defaults,
    "complete": _complete,
    "setup": _setup,
    "doctor": _doctor,
}
