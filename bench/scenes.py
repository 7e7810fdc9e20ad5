"""What a start may find: a live jail, many mounts, many files; and starts that are made special."""

from __future__ import annotations

import contextlib
import shlex
import struct
from typing import TYPE_CHECKING

from bench.peers import AT_REST, TRUE, Job
from conformance.accounts import must, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.workbench import Bench

# As core/sealed.c lays an entry out: magic, version, sum, the sizes of its parts, words; the image is last.
EXTRACT = f"""
import os, struct, sys
entry, = os.listdir(sys.argv[1])
data = open(sys.argv[1] + "/" + entry, "rb").read()
size = struct.unpack_from("=IIQ6I", data)[7]
open(sys.argv[2], "wb").write(data[{struct.calcsize("=IIQ6I")}:][-size:])
"""
MOUNT = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for number in range(int(sys.argv[1])):
    path = b'/srv/more/%d' % number if number else b'/srv/more'
    os.makedirs(path, exist_ok=True)
    if libc.mount(b'none', path, b'tmpfs', 0, None):
        raise OSError(ctypes.get_errno(), 'mount')
"""
# Names, not inodes: as many entries to walk, in a fraction of the time.
LINK = """
import os, sys
top, count = sys.argv[1], int(sys.argv[2])
for folder in range(0, count, 1000):
    os.makedirs(f'{top}/{folder}')
    open(f'{top}/{folder}/0', 'w').close()
    for number in range(1, min(1000, count - folder)):
        os.link(f'{top}/{folder}/0', f'{top}/{folder}/{number}')
"""


def settled(bench: Bench) -> str:
    """Give shell text that waits until no run of the default jail has its overlay any more.

    A run that starts while the last one's is being taken down joins it, which is another job.  And taking an
    overlay down syncs its disk: one that is made meanwhile waits for that.
    """
    lock = f"{bench.home.path}/.jai/default.work/lock"
    return f"while grep -q :$(stat -c %i {lock}) /proc/locks; do :; done; {AT_REST}"


def core_alone(bench: Bench, words: list[str], *, program: str = "core-alone") -> Job:
    """Give the job of the C core that runs the same plan, from a file."""
    image = f"{bench.home.path}/.bench/image"
    bench.sh("rm -rf ~/.jai/.plans; mkdir -p ~/.bench")
    bench.keep_plan(words)
    must(bench.account.python(EXTRACT, f"{bench.home.path}/.jai/.plans", image))
    return Job([f"{bench.tools}/{program}", image], before=settled(bench))


def bare_calls(bench: Bench) -> Job:
    """Give the job of the fewest system calls that make such a tree and start a command in it."""
    upper, work = f"{bench.home.path}/.bench/bare-upper", f"{bench.home.path}/.bench/bare-work"
    bench.sh(f"mkdir -p {upper} {work}")
    return Job([f"{bench.tools}/bare-calls", bench.home.path, upper, work, bench.cwd, *TRUE], before=AT_REST)


def first_start(bench: Bench, words: list[str]) -> Job:
    """Give the job whose every start is a first one: the folder of the plans is none."""
    bench.sh("mkdir -p ~/unkept && touch ~/unkept/.plans")
    return Job(words, {"JAI_CONFIG_DIR": f"{bench.home.path}/unkept"}, before=settled(bench))


@contextlib.contextmanager
def running(bench: Bench, words: list[str], count: int = 1) -> Iterator[list[int]]:
    """Have some runs of a jail alive; their parents' numbers."""
    line = shlex.join([*words, "sh", "-c", "echo up; exec sleep 1000"])
    start = f"(for i in $(seq {count}); do {line} </dev/null 2>&1 & echo $! >> ~/pids; done) | head -{count}"
    bench.sh(f"rm -f ~/pids; {start}")
    try:
        yield [int(word) for word in bench.sh("cat ~/pids").split()]
    finally:
        bench.sh("kill $(cat ~/pids); while kill -0 $(cat ~/pids); do :; done 2>/dev/null; true")


@contextlib.contextmanager
def more_mounts(bench: Bench, count: int) -> Iterator[None]:
    """Mount so many file systems more."""
    if not count:
        yield
        return
    must(run(bench.account.host, f"/usr/bin/python3 -I -c {shlex.quote(MOUNT)} {count}"))
    try:
        yield
    finally:
        must(run(bench.account.host, "umount --lazy /srv/more"))


@contextlib.contextmanager
def many_files(bench: Bench, top: str, count: int) -> Iterator[None]:
    """Have so many more names below a directory, on a disk that has come to rest."""
    must(bench.account.run(["/usr/bin/python3", "-I", "-c", LINK, top, str(count)], timeout=300))
    bench.sh("sync -f ~")
    try:
        yield
    finally:
        bench.sh(f"rm -rf {shlex.quote(top)}; sync -f ~")
