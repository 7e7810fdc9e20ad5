"""At a terminal jai is as good as not there: each test runs the same keys with and without it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import struct
import subprocess
import time
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

from tests.helpers import DEADLINE, User, processes, user, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["user"]
# Keys reach real shells and kernels; on a loaded machine they are sometimes lost, with jai and without.
pytestmark = pytest.mark.flaky(reruns=3)
PROMPT = "@ready@ "
TIOCGPTN = 0x80045430  # ioctl_tty(2): the number of the terminal behind a master; Python has it from 3.13 on
CTRL_C, CTRL_D, CTRL_Z, CTRL_BACKSLASH, ESCAPE = "\x03", "\x04", "\x1a", "\x1c", "\x1b"
FULL = os.environ.get("JAI_STRESS") == "full"
SOME_STATUSES = (0, 1, 2, 3, 63, 64, 125, 126, 127, 128, 130, 143, 200, 254, 255)

# What the keys are pressed at. Each says when it is ready, so that no key comes too early.
PROGRAMS = {
    "wait": "#!/bin/sh\necho up-and-running\nexec sleep 1000\n",
    "briefly": "#!/bin/sh\necho up-and-running\nread line\necho got $line\n",
    # Counts what it is sent; `?` asks, `q` ends it.
    "count": """#!/usr/bin/python3
import os, signal, sys
counts = {}
def count(number, frame):
    counts[number] = counts.get(number, 0) + 1
    os.write(1, f"caught {signal.Signals(number).name} {counts[number]}\\n".encode())
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH):
    signal.signal(number, count)
print("up-and-running", flush=True)
for line in sys.stdin:
    if line == "q\\n":
        sys.exit(9)
    told = [f"{signal.Signals(number).name}={count}" for number, count in sorted(counts.items())]
    print("counts", " ".join(told), "end", flush=True)
""",
    "size": """#!/bin/bash
trap 'echo size $(stty size) end' WINCH
echo up-and-running $(stty size) end
while :; do read -t 1 line; done
""",
    # As emacs does: a process group of its own that has the terminal, and stops all of it at its own wish.
    "editor": """#!/usr/bin/python3
import os, signal
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
terminal = os.open("/dev/tty", os.O_RDWR)
def take():
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    os.tcsetpgrp(terminal, os.getpgrp())
take()
print("up-and-running", flush=True)
os.read(0, 100)
os.kill(0, signal.SIGTSTP)
take()
print("woken", flush=True)
print("read", os.read(0, 100), flush=True)
""",
}


@dataclass
class Shell:
    """An interactive bash of the account on a terminal of its own, and what is typed there."""

    child: pexpect.spawn[str]
    user: User

    def type(self, text: str) -> None:
        """Press keys."""
        self.child.send(text)

    def see(self, *texts: str) -> str:
        """Wait for texts, one after the other; what came before the last one."""
        for text in texts:
            try:
                self.child.expect_exact(text)
            except (pexpect.TIMEOUT, pexpect.EOF) as error:
                there = "\n".join([repr(self.child.before), *processes(self.user).values()])
                message = f"{text!r} did not appear ({type(error).__name__}); there was\n{there}"
                raise AssertionError(message) from None
        return self.child.before or ""

    def enter(self, line: str) -> None:
        """Type a line and see it echoed."""
        self.type(f"{line}\n")
        self.see(f"{line}\r\n")

    def start(self, line: str) -> None:
        """Type a command and wait until it says that it runs."""
        self.enter(line)
        self.see("up-and-running")

    def run(self, line: str) -> str:
        """Type a command, wait for the next prompt and give what was printed."""
        self.enter(line)
        return self.see(PROMPT).replace("\r", "")

    def status(self) -> int:
        """The exit status of what ended last."""
        return int(self.run("echo $?"))

    def to_prompt(self) -> int:
        """Wait for the prompt and give the exit status."""
        self.see(PROMPT)
        return self.status()


@pytest.fixture(params=[False, True], ids=["without jai", "with jai"])
def word(request: pytest.FixtureRequest, user: User) -> str:
    """What is typed before a command: nothing, which is the control, or jai."""
    for name, text in PROGRAMS.items():
        user.make(f"{user.project}/{name}", text, 0o755)
    return user.jai if request.param else ""


def running(user: User, line: str) -> int:
    """The process with this command line, 0 without one."""
    return next((pid for pid, words in processes(user).items() if words == f"{line} "), 0)


@contextlib.contextmanager
def terminal(user: User, argv: list[str], env: dict[str, str]) -> Iterator[pexpect.spawn[str]]:
    """Run a command as the leader of a session on a new terminal that belongs to the account."""
    words = user.line(argv, env)
    size = (24, 80)
    child = pexpect.spawn(
        words[0], words[1:], cwd=user.project, timeout=DEADLINE, encoding="utf-8", dimensions=size
    )
    child.delaybeforesend = None
    number = struct.unpack("I", ioctl(child.child_fd, TIOCGPTN, bytes(4)))[0]
    os.chown(f"/dev/pts/{number}", user.uid, -1)
    try:
        yield child
    finally:
        child.close(force=True)


@pytest.fixture
def shell(user: User, word: str) -> Iterator[Shell]:
    """The shell; in it $J is the word before commands."""
    env = {"PS1": PROMPT, "J": word, "HISTFILE": ""}
    with terminal(user, ["bash", "--norc", "--noprofile", "--noediting", "-i"], env) as child:
        made = Shell(child, user)
        made.see(PROMPT)
        yield made
        # Whatever the test did, the shell still has its terminal.
        assert "still 2 here\n" in made.run("echo still $((1 + 1)) here")
    wait_until(lambda: not processes(user), f"nothing is left of the session: {processes(user)}")


# --- keys


def test_ctrl_c(shell: Shell) -> None:
    """The command is interrupted, and the shell sees that it was."""
    shell.start("$J ./wait")
    shell.type(CTRL_C)

    assert shell.to_prompt() == 128 + signal.SIGINT


def test_ctrl_c_ends_a_loop_of_the_shell(shell: Shell) -> None:
    """The shell ends its own loop only if the command died of the signal."""
    shell.start("while :; do $J ./wait; done")
    shell.type(CTRL_C)

    assert shell.to_prompt() == 128 + signal.SIGINT


def test_ctrl_c_twice(shell: Shell) -> None:
    """A program that wants to hear it twice hears it once for each time, never twice for one."""
    shell.start("$J ./count")
    for expected in (1, 2):
        shell.type(CTRL_C)
        shell.see(f"caught SIGINT {expected}")
        shell.type("?\n")
        shell.see(f"counts SIGINT={expected} end")
    shell.type("q\n")

    assert shell.to_prompt() == 9


def test_ctrl_backslash(shell: Shell) -> None:
    """The command quits; no core is left."""
    shell.start("$J ./wait")
    shell.type(CTRL_BACKSLASH)

    assert shell.to_prompt() == 128 + signal.SIGQUIT


def test_ctrl_d(shell: Shell) -> None:
    """The end of the input reaches the command."""
    shell.start("$J ./count")
    shell.type(CTRL_D)

    assert shell.to_prompt() == 0


def test_ctrl_z_and_fg(shell: Shell) -> None:
    """The job stops, is listed as stopped, goes on in the foreground and reads what is typed."""
    shell.start("$J ./briefly")
    shell.type(CTRL_Z)
    shell.see("Stopped")
    assert shell.to_prompt() == 128 + signal.SIGTSTP
    assert "Stopped" in shell.run("jobs")
    shell.enter("fg")
    shell.see("./briefly\r\n")
    shell.type("words\n")
    shell.see("got words")

    assert shell.to_prompt() == 0
    assert shell.run("jobs") == ""


def test_ctrl_z_again_and_again(shell: Shell) -> None:
    """It can be stopped and continued any number of times, and still be interrupted."""
    shell.start("$J ./wait")
    for _ in range(5):
        shell.type(CTRL_Z)
        shell.see("Stopped", PROMPT)
        shell.enter("fg")
        shell.see("./wait\r\n")
    shell.type(CTRL_C)

    assert shell.to_prompt() == 128 + signal.SIGINT


def test_ctrl_z_and_bg(shell: Shell) -> None:
    """A job that ends in the background leaves the terminal to the shell."""
    shell.enter("$J sleep 1.5")
    wait_until(lambda: running(shell.user, "sleep 1.5"), "it sleeps")
    shell.type(CTRL_Z)
    shell.see("Stopped", PROMPT)
    shell.run("bg")
    wait_until(lambda: not running(shell.user, "sleep 1.5"), "it has ended")
    shell.run("wait")

    assert "42\n" in shell.run("echo $((6 * 7))")
    own, front = shell.run("sh -c 'ps -o pgid=,tpgid= -p $$'").split()
    assert own == front


def test_a_background_job(shell: Shell) -> None:
    """It runs without the terminal, is waited for, and can be ended by its number."""
    shell.run("set +m; $J sh -c 'exit 6' & wait $!; echo code $?; set -m")
    shell.type("$J ./wait &\n")
    shell.see("up-and-running")
    shell.type("kill %%; wait %%; echo code $?\n")

    shell.see(f"code {128 + signal.SIGTERM}\r\n", PROMPT)


def test_a_background_job_that_reads_the_terminal(shell: Shell) -> None:
    """It is stopped until it is brought to the foreground."""
    shell.enter("$J ./briefly &")
    wait_until(lambda: "Stopped" in shell.run("jobs"), "the job is stopped")
    shell.enter("fg")
    shell.see("./briefly\r\n")
    shell.type("words\n")
    shell.see("got words")

    assert shell.to_prompt() == 0


def test_a_pipeline_stops_and_goes_on(shell: Shell) -> None:
    """All of a pipeline is one job, whichever part of it is in a jail."""
    shell.start("cat </dev/null | $J ./wait | cat")
    shell.type(CTRL_Z)
    shell.see("Stopped", PROMPT)
    shell.enter("fg")
    shell.see("| cat\r\n")
    shell.type(CTRL_C)

    assert shell.to_prompt() == 128 + signal.SIGINT


# --- shells and editors inside

INNER = "$J env PS1='@inner@ ' bash --norc --noprofile --noediting -i"


def test_a_shell_with_job_control_inside(shell: Shell) -> None:
    """Its jobs stop and go on, and its exit status is the command's."""
    shell.type(f"{INNER}\n")
    shell.see("@inner@ ")
    shell.start("./wait")
    shell.type(CTRL_Z)
    shell.see("Stopped", "@inner@ ")
    shell.enter("fg")
    shell.see("./wait\r\n")
    shell.type(CTRL_C)
    shell.see("@inner@ ")
    shell.type("exit 7\n")

    assert shell.to_prompt() == 7


def test_suspending_a_shell_inside(shell: Shell) -> None:
    """`suspend` gives the outer shell its terminal, and `fg` gives it back to the inner one."""
    shell.type(f"{INNER}\n")
    shell.see("@inner@ ")
    for _ in range(2):
        shell.type("suspend\n")
        shell.see("Stopped", PROMPT)
        assert shell.run("echo out$((1 + 1))side") == "out2side\n"
        shell.enter("fg")
        shell.see("-i\r\n")
        shell.type("\n")
        shell.see("@inner@ ")
        shell.type("echo in$((1 + 1))side\n")
        shell.see("in2side", "@inner@ ")
    shell.start("./wait")
    shell.type(CTRL_C)
    shell.see("@inner@ ")
    shell.type("exit 7\n")

    assert shell.to_prompt() == 7


def test_an_editor_with_a_process_group_of_its_own(shell: Shell) -> None:
    """It stops itself, and after `fg` it has the terminal again."""
    shell.start("$J ./editor")
    shell.type("stop\n")
    shell.see("Stopped", PROMPT)
    shell.enter("fg")
    shell.see("woken")
    shell.type("words\n")
    shell.see("read b'words\\n'")

    assert shell.to_prompt() == 0


def test_a_shell_inside_leaves_the_terminal_as_it_was(shell: Shell) -> None:
    """In a script, without job control of its own, the terminal is the script's again, as it was set."""
    script = "stty -g\n$J bash --norc --noediting -ic 'exit 5'\necho $?\nps -o pgid=,tpgid= -p $$\nstty -g\n"
    shell.user.make(f"{shell.user.project}/script", script)
    before, said, status, groups, after = shell.run("sh ./script").splitlines()

    assert (said, status) == ("exit", "5")
    assert groups.split()[0] == groups.split()[1]
    assert before == after


def test_vim(shell: Shell) -> None:
    """It edits and saves a file of the granted directory, is stopped and continued on the way."""
    Path(shell.user.project, "text").unlink(missing_ok=True)
    shell.enter("$J vim -u NONE -N text")
    shell.see("[New]")
    shell.type("ifirst line" + ESCAPE)
    shell.see("first line")
    shell.type(CTRL_Z)
    shell.see("Stopped", PROMPT)
    shell.enter("fg")
    shell.see("first line")
    shell.type("osecond line" + ESCAPE + ":wq\r")

    assert shell.to_prompt() == 0
    assert Path(shell.user.project, "text").read_text() == "first line\nsecond line\n"
    assert Path(shell.user.project, "text").stat().st_uid == shell.user.uid


@pytest.mark.parametrize("line", ["$J less numbers", "$J cat numbers | less", "cat numbers | $J less"])
def test_less(shell: Shell, line: str) -> None:
    """It shows a page, the next page, and quits."""
    shell.user.make(f"{shell.user.project}/numbers", "".join(f"line-{number}\n" for number in range(1, 200)))
    shell.type(f"{line}\n")
    assert "line-30" not in shell.see("line-23")
    shell.type(" ")
    shell.see("line-46")
    shell.type("q")

    assert shell.to_prompt() == 0


def test_script_inside(shell: Shell) -> None:
    """A program that makes terminals finds its own /dev/pts, and passes sizes and statuses on."""
    shell.child.setwinsize(33, 99)

    seen = shell.run("$J script -qec 'stty size; tty; exit 6' /dev/null; echo code $?")

    assert seen.split()[:2] == ["33", "99"]
    assert seen.split()[2].startswith("/dev/pts/")
    assert seen.endswith("code 6\n")


def test_tmux_inside(shell: Shell) -> None:
    """It starts, runs a program in a window, and ends with it."""
    shell.type("$J env TMUX_TMPDIR=/tmp tmux -f /dev/null new-session ./briefly\n")
    shell.see("up-and-running")
    shell.type("words\n")
    shell.see("[exited]")

    assert shell.to_prompt() == 0


# --- the terminal itself


def test_a_resized_window(shell: Shell) -> None:
    """The size inside is the window's, also after it changes, and the command is told."""
    shell.start("$J ./size")
    shell.see("24 80 end")
    for rows, columns in ((30, 100), (10, 40)):
        shell.child.setwinsize(rows, columns)
        shell.see(f"size {rows} {columns} end")
    shell.type(CTRL_C)
    shell.to_prompt()


def test_a_resized_window_is_told_once(shell: Shell) -> None:
    """One change of the size is one signal."""
    shell.start("$J ./count")
    shell.child.setwinsize(30, 100)
    shell.see("caught SIGWINCH 1")
    shell.type("?\n")
    shell.see("counts SIGWINCH=1 end")
    shell.type("q\n")
    shell.to_prompt()


def test_a_name_of_the_terminal(shell: Shell) -> None:
    """`tty` names a device that is the terminal outside; without a terminal it says so."""
    device = int(shell.run('stat -L -c %r "$(tty)"'))

    assert shell.run('$J sh -c \'name=$(tty) && stat -L -c "%r" "$name"\'') == f"{device}\n"
    assert shell.run("$J tty </dev/null") == "not a tty\n"
    assert shell.run("$J sh -c '[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && : >/dev/tty && echo all'") == "all\n"


def test_statuses_of_a_pipeline(shell: Shell) -> None:
    """Each part has its own: the writer dies of SIGPIPE, whether it is in a jail or not."""
    assert shell.run("yes | $J head -3 | cat; echo ${PIPESTATUS[@]}") == "y\ny\ny\n141 0 0\n"
    assert shell.run("$J yes | head -3; echo ${PIPESTATUS[@]}") == "y\ny\ny\n141 0\n"
    assert shell.run("(trap '' PIPE; $J sh -c 'kill -PIPE $$; echo ignored')") == "ignored\n"


def test_closed_descriptors(shell: Shell) -> None:
    """What is closed is no reason to fail, and nothing else slips into its place."""
    assert shell.run("$J ls -d . <&-") == ".\n"
    assert shell.run("$J sh -c 'ls -d .; echo lost >&2' 2>&-") == ".\n"
    assert shell.run("$J sh -c 'echo lost; echo seen >&2' >&- 2>err; grep -c seen err") == "1\n"
    assert "lost" not in Path(shell.user.project, "err").read_text().replace("echo: I/O error", "")


def test_nohup(shell: Shell) -> None:
    """A command that ignores the hang-up lives on, jai with it."""
    shell.run("nohup $J sleep 1000 >out 2>&1 &")
    wait_until(lambda: running(shell.user, "sleep 1000"), "it sleeps")
    shell.run("kill -HUP %%")
    assert "Running" in shell.run("jobs")
    shell.run("kill -TERM %%")
    wait_until(lambda: not running(shell.user, "sleep 1000"), "the control: it hears what it does not ignore")


# --- jai as the leader of a session: a terminal's or tmux's command


@pytest.fixture
def leader(user: User, word: str) -> Iterator[Shell]:
    """`count` as the first process of a terminal."""
    with terminal(user, [*filter(None, [word]), "./count"], {}) as child:
        made = Shell(child, user)
        made.see("up-and-running")
        yield made
    wait_until(lambda: not processes(user), f"nothing is left of the session: {processes(user)}")


def test_ctrl_z_where_nobody_could_continue(leader: Shell) -> None:
    """Nothing stops in an orphaned process group."""
    leader.type(CTRL_Z)
    leader.type("?\n")
    leader.see("counts  end")
    leader.type("q\n")
    leader.child.expect(pexpect.EOF)
    leader.child.close()

    assert leader.child.exitstatus == 9


def test_ctrl_c_as_leader(leader: Shell) -> None:
    """It is heard once."""
    leader.type(CTRL_C)
    leader.see("caught SIGINT 1")
    leader.type("?\n")
    leader.see("counts SIGINT=1 end")


def test_a_terminal_that_is_closed(user: User, word: str) -> None:
    """The hang-up ends the command, as when the window of a terminal emulator is closed."""
    with terminal(user, [*filter(None, [word]), "./wait"], {}) as child:
        Shell(child, user).see("up-and-running")
        os.close(os.dup(child.child_fd))
        os.dup2(os.open("/dev/null", os.O_RDWR), child.child_fd)  # the last descriptor of the terminal goes
        wait_until(lambda: not processes(user), f"the hang-up ends it: {processes(user)}", 10)


# --- signals from elsewhere


def ready(child: subprocess.Popen[str]) -> None:
    """Wait until a program says that it runs."""
    assert child.stdout
    assert child.stdout.readline() == "up-and-running\n"


def state(pid: int) -> str:
    """The letter of a process's state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


ENDING = ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "PIPE", "XCPU", "VTALRM", "PROF", "IO", "PWR"]


@pytest.mark.parametrize("name", ENDING)
def test_a_signal_to_jai_ends_the_command(user: User, word: str, name: str) -> None:
    """The command dies of it, jai dies of the same, and nothing is left."""
    number = signal.Signals[f"SIG{name}"]
    child = user.start([*filter(None, [word]), "./wait"])
    ready(child)
    wait_until(lambda: running(user, "sleep 1000"), "the command runs")

    child.send_signal(number)
    child.communicate(timeout=DEADLINE)

    assert child.returncode == -number
    wait_until(lambda: not processes(user), "nothing is left")


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM", "USR1"])
def test_a_signal_to_jai_is_handled_once(user: User, word: str, name: str) -> None:
    """A command that handles it hears it once and goes on."""
    child = user.start([*filter(None, [word]), "./count"])
    ready(child)
    assert child.stdin
    assert child.stdout

    child.send_signal(signal.Signals[f"SIG{name}"])
    assert child.stdout.readline() == f"caught SIG{name} 1\n"
    child.stdin.write("?\n")
    child.stdin.flush()
    assert child.stdout.readline() == f"counts SIG{name}=1 end\n"
    child.communicate("q\n", timeout=DEADLINE)

    assert child.returncode == 9


def test_stop_and_continue_from_elsewhere(shell: Shell) -> None:
    """SIGTSTP stops the command and jai; SIGCONT continues both."""
    shell.enter("$J ./wait &")
    wait_until(lambda: running(shell.user, "sleep 1000"), "the command runs")
    outer, inner = int(shell.run("echo $!").split()[-1]), running(shell.user, "sleep 1000")

    for _ in range(3):
        os.kill(outer, signal.SIGTSTP)
        wait_until(lambda: state(outer) == "T" and state(inner) == "T", "both are stopped")
        os.kill(outer, signal.SIGCONT)
        wait_until(lambda: state(outer) == "S" and state(inner) == "S", "both go on")
    os.kill(outer, signal.SIGTERM)
    wait_until(lambda: not running(shell.user, "sleep 1000"), "it has ended")


def test_a_stopped_command_is_killed_with_jai(shell: Shell) -> None:
    """SIGKILL of a stopped jai leaves nothing stopped behind."""
    shell.start("$J ./wait")
    shell.type(CTRL_Z)
    shell.see("Stopped", PROMPT)
    shell.run("kill -KILL %%; wait")

    wait_until(lambda: not running(shell.user, "sleep 1000"), "nothing is left")


def test_sigstop_stops_jai_and_harms_nothing(user: User, word: str) -> None:
    """It can not be passed on: jai stops, and afterwards everything is as before."""
    child = user.start([*filter(None, [word]), "./count"])
    ready(child)
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: state(child.pid) == "T", "jai is stopped")
    child.send_signal(signal.SIGCONT)
    wait_until(lambda: state(child.pid) == "S", "jai goes on")
    child.communicate("q\n", timeout=DEADLINE)

    assert child.returncode == 9


DEADLY = [
    "SEGV",
    "ABRT",
    "KILL",
    "BUS",
    "FPE",
    "ILL",
    "SYS",
    "TRAP",
    "PIPE",
    "XFSZ",
    "TERM",
    "HUP",
    "INT",
    "STKFLT",
]


@pytest.mark.parametrize("name", [*DEADLY, "RTMIN", "RTMAX"])
def test_a_command_that_dies_of_a_signal(user: User, word: str, name: str) -> None:
    """Jai dies of the same, and no core file is left."""
    number = signal.Signals[f"SIG{name}"]
    done = user.run([*filter(None, [word]), "sh", "-c", f"kill -{int(number)} $$"])

    assert (done.returncode, done.stdout, done.stderr) == (-number, "", "")
    assert not list(Path(user.project).glob("core*")) or not word


def test_no_core(user: User) -> None:
    """Inside, the limit of core files is 0, wherever it is outside."""
    script = "ulimit -c unlimited 2>/dev/null || ulimit -c $(ulimit -H -c); ulimit -c; $0 sh -c 'ulimit -c'"

    outside, inside = user.run(["sh", "-c", script, user.jai]).stdout.split()

    assert inside == "0"
    assert outside != "0", "the control: outside it is not 0"


@pytest.mark.parametrize("status", range(256) if FULL else SOME_STATUSES)
def test_exit_statuses(user: User, status: int) -> None:
    """The command's own."""
    assert user.run([user.jai, "sh", "-c", f"exit {status}"]).returncode == status


def test_without_a_terminal(user: User, word: str) -> None:
    """In a session without one, as from cron: output, status and signals are as always."""
    child = user.start(
        ["setsid", "-w", *filter(None, [word]), "sh", "-c", "echo up-and-running; tty; cat; exit 4"]
    )
    ready(child)
    out, err = child.communicate("words\n", timeout=DEADLINE)

    assert (child.returncode, out, err) == (4, "not a tty\nwords\n", "")


class Moments:
    """Random moments between the start of jai and a little after the command's; what came of each."""

    def __init__(self, user: User) -> None:
        """Measure how long a start takes."""
        self.chance = random.Random(7)  # noqa: S311 - moments, not secrets
        self.ends: dict[object, int] = {}
        before = time.monotonic()
        user.run([user.jai, "true"])
        self.longest = (time.monotonic() - before) * 1.2
        self.number = 300 if FULL else 25

    def pass_one(self) -> None:
        """Let time pass until the next moment."""
        time.sleep(self.chance.random() * self.longest)

    def saw(self, *end: object) -> None:
        """Take down what happened."""
        self.ends[end] = self.ends.get(end, 0) + 1


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_a_signal_while_it_starts(user: User, name: str) -> None:
    """At whatever moment: jai ends at once by the signal, and prints no traceback."""
    number = signal.Signals[f"SIG{name}"]
    moments = Moments(user)
    for _ in range(moments.number):
        child = user.start([user.jai, "sleep", "1000"])
        moments.pass_one()
        child.send_signal(number)
        try:
            _, said = child.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            said = "the signal was lost"
        moments.saw(child.returncode, said)

    assert set(moments.ends) == {(-number, "")}, moments.ends
    wait_until(lambda: not processes(user), "nothing is left")


def test_ctrl_c_while_it_starts(user: User) -> None:
    """A ctrl-C that comes before the command is there is not lost."""
    moments = Moments(user)
    for _ in range(moments.number):
        with terminal(user, [user.jai, "sleep", "1000"], {}) as child:
            moments.pass_one()
            child.sendintr()
            try:
                child.expect(pexpect.EOF, timeout=5)
                child.wait()
                said = (child.before or "").replace("^C", "").strip()
            except pexpect.TIMEOUT:
                said = "the key was lost"
            moments.saw(child.signalstatus, said)

    assert set(moments.ends) == {(signal.SIGINT, "")}, moments.ends
