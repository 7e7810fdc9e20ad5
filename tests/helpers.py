"""What the tests of a running jai share: the account behind the wall, and what must stay as it was."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance import manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

JAI_FAILED = 125
COLLECT = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
DEADLINE = 30
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

Done = subprocess.CompletedProcess[str]


def find_jai() -> str:
    """The command under test: $JAI, else the one installed beside this interpreter, else the one on PATH."""
    beside = Path(sys.executable).parent / "jai"
    found = os.environ.get("JAI") or (str(beside) if beside.exists() else shutil.which("jai"))
    if not found:
        message = "no jai to test: install the wheel, or say JAI=PATH"
        raise FileNotFoundError(message)
    return os.path.abspath(found)


def wait_until(true: Callable[[], object], what: str, deadline: float = DEADLINE) -> None:
    """Wait for a condition; an error that says what never came true."""
    end = time.monotonic() + deadline
    while not true():
        if time.monotonic() > end:
            message = f"not within {deadline} s: {what}"
            raise TimeoutError(message)
        time.sleep(0.005)


@dataclass(frozen=True)
class User:
    """The account that runs jai: ada, if we are root behind the wall, else ourselves, who are ada there."""

    jai: str
    home: str = "/home/ada"
    name: str = "ada"

    @property
    def storage(self) -> str:
        """Where jai keeps its files."""
        return f"{self.home}/.jai"

    @property
    def project(self) -> str:
        """The directory that jails are started in."""
        return f"{self.home}/project"

    @property
    def uid(self) -> int:
        """The account's number."""
        return os.stat(self.home).st_uid

    @property
    def words(self) -> list[str]:
        """The command that becomes the account; what follows it is a command line."""
        become = ["setpriv", f"--reuid={self.name}", f"--regid={self.name}", "--init-groups", "--"]
        # pytest ignores SIGPIPE, and so would everything that it starts.
        return [*(become if os.geteuid() == 0 else []), "env", "-i", "--default-signal"]

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a login."""
        login = {
            "HOME": self.home,
            "USER": self.name,
            "LOGNAME": self.name,
            "PATH": PATH,
            "SHELL": "/bin/bash",
        }
        return {**login, "LANG": "C.UTF-8", "TERM": "xterm", **(more or {})}

    def line(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> list[str]:
        """The whole command line that runs a command as the account."""
        return [*self.words, *(f"{name}={value}" for name, value in self.environment(env).items()), *argv]

    def start(
        self, argv: Sequence[str], *, cwd: str = "", env: Mapping[str, str] | None = None, **options: object
    ) -> subprocess.Popen[str]:
        """Start a command with pipes; its process is the command's own."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        place = cwd or self.project
        return subprocess.Popen(self.line(argv, env), cwd=place, text=True, **pipes)  # type: ignore[call-overload,no-any-return]

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: float = 60,
        **options: object,
    ) -> Done:
        """Run a command to its end."""
        if "stdin" not in options and not stdin:
            options["stdin"] = subprocess.DEVNULL
        child = self.start(argv, cwd=cwd, env=env, **options)
        try:
            out, err = child.communicate(stdin or None, timeout=timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
            message = f"no end after {timeout} s: {argv}\n{out[-1000:]}\n{err[-1000:]}"
            raise TimeoutError(message) from None
        return subprocess.CompletedProcess(argv, child.returncode, out, err)

    def sh(self, script: str, **options: object) -> Done:
        """Run a shell script to its end, outside of any jail."""
        return self.run(["sh", "-c", script], **options)  # type: ignore[arg-type]

    def make(self, path: str, content: str = "", mode: int = 0o644) -> str:
        """Write a file of the account and give its path."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(content)
        os.chmod(path, mode)
        for place in (Path(path).parent, Path(path)):
            os.chown(place, self.uid, os.stat(self.home).st_gid)
        return path

    def new_home(self) -> None:
        """Empty the home, give it a project and some files, and initialise jai in it."""
        subprocess.run(["chmod", "-R", "u+rwx", self.home], check=True)
        for name in os.listdir(self.home):
            subprocess.run(["rm", "-rf", "--one-file-system", f"{self.home}/{name}"], check=True)
        os.mkdir(self.project)
        os.chown(self.project, self.uid, os.stat(self.home).st_gid)
        for number in range(12):
            self.make(f"{self.home}/documents/letter-{number}", f"letter {number}\n" * 50)
        self.make(f"{self.home}/.bashrc", "PS1='from bashrc '\n")
        for words in (["--init"], ["true"]):
            done = self.run([self.jai, *words])
            assert done.returncode == 0, done.stderr


def outside_walls() -> bool:
    """Whether nothing protects the real home of whoever runs the tests."""
    return "JAI_WALL" not in os.environ


def originals(user: User) -> manifest.Manifest:
    """The home but for the granted project and jai's storage."""
    return manifest.Manifest(manifest.read(user.home, without=["project", ".jai"]))


def tree(place: str) -> dict[str, tuple[str, bytes]]:
    """The paths below a directory with their types and what is in the files; times and sizes left out."""
    found = {}
    for path, entry in manifest.read(place).items():
        content = (
            Path(place, path).read_bytes() if entry["type"] == "file" and not entry.get("error") else b""
        )
        found[path] = (f"{entry['type']} {entry['mode']}", content)
    return found


def processes(user: User) -> dict[int, str]:
    """The account's living processes and their command lines, our own and our parents' left out."""
    ours = {1, *_line_of(os.getpid())}
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError):
            if int(name) in ours or os.stat(f"/proc/{name}").st_uid not in (user.uid, 0):
                continue
            state, owner = _status(int(name))
            if owner == user.uid and state != "Z":
                found[int(name)] = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def _status(pid: int) -> tuple[str, int]:
    """The state of a process, and its user: /proc/PID belongs to root when it may not be dumped."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return values["State"].split()[0], int(values["Uid"].split()[0])


def _line_of(pid: int) -> Iterator[int]:
    while pid > 1:
        yield pid
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@dataclass(frozen=True)
class Traces:
    """What a jail needs while it runs, and nothing of which may outlive it."""

    processes: dict[int, str] = field(default_factory=dict)
    mounts: list[str] = field(default_factory=list)
    locks: list[str] = field(default_factory=list)
    open_files: list[str] = field(default_factory=list)


def traces(user: User) -> Traces:
    """What of jails is there at this moment, in whatever namespace."""
    return Traces(processes(user), _mounts(user), _locks(user), _open_files(user))


def _all(pattern: str) -> Iterable[Path]:
    return Path("/proc").glob(f"[1-9]*/{pattern}")


def _mounts(user: User) -> list[str]:
    """Every mount that any process sees and whose source or options lead into the storage."""
    found = set()
    for table in _all("mountinfo"):
        with contextlib.suppress(OSError):
            lines = table.read_text(errors="replace").splitlines()
            found |= {
                line.split(" ", 3)[3] for line in lines if f"{user.storage}/" in line or " overlay " in line
            }
    return sorted(found)


def _locks(user: User) -> list[str]:
    """Record locks on any file of the storage.  Source: proc(5), /proc/locks."""
    inodes = {str(os.stat(path).st_ino) for path in Path(user.storage).glob("*.work/lock")}
    lines = Path("/proc/locks").read_text().splitlines()
    return [line for line in lines if "->" not in line and line.split()[5].split(":")[2] in inodes]


def _open_files(user: User) -> list[str]:
    """Files of the storage that any process has open."""
    found = []
    for link in _all("fd/*"):
        with contextlib.suppress(OSError):
            path = os.readlink(link)
            if path.startswith(f"{user.storage}/"):
                found.append(f"{link}: {path}")
    return found


def kernel_log() -> list[str]:
    """What the kernel has complained about; whatever overlayfs says counts as a complaint."""
    lines = subprocess.run(["dmesg", "-r"], capture_output=True, text=True, check=True).stdout.splitlines()
    wanted = (
        "overlayfs",
        "BUG",
        "WARNING",
        "Oops",
        "hung_task",
        "blocked for more than",
        "I/O error",
        "lockdep",
    )
    # Said of a storage on a file system without O_TMPFILE, which works all the same.
    said = [line for line in lines if "does not support tmpfile" not in line]
    return [line for line in said if any(word in line for word in wanted)]


@contextlib.contextmanager
def no_complaint_of_the_kernel() -> Iterator[None]:
    """Fail if the kernel log has a new complaint afterwards; only root may read it."""
    before = kernel_log() if os.geteuid() == 0 else []
    yield
    after = kernel_log() if os.geteuid() == 0 else []
    assert [line for line in after if line not in before] == []


def set_blocking(descriptor: int, *, blocking: bool) -> None:
    """Let reads of a descriptor wait or not."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_NONBLOCK
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags if blocking else flags | os.O_NONBLOCK)


@pytest.fixture
def user() -> Iterator[User]:
    """The account with a new home, in which jai has been initialised and has run once."""
    if outside_walls():
        pytest.exit("run it behind the wall: python -m conformance.wall -- pytest tests", returncode=4)
    made = User(find_jai())
    made.new_home()
    yield made
    for pid in processes(made):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
