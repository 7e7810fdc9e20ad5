"""Takes the processor time of commands and of all that they leave behind, in shuffled rounds.

Stdlib only and self-contained, as measure.py, whose question it takes and whose answer it gives.  User and
system time of the whole jail, taken down too: that is nearly the same on a busy machine and on an idle one.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import resource
import sys

PR_SET_CHILD_SUBREAPER = 36
WARM_UP = 3


def spent() -> float:
    """Give the seconds that all children which have been waited for have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def once(words: list[str], env: dict[str, str]) -> float:
    """Give the processor seconds of a command, and of its orphans, which come to us.

    Raises: RuntimeError if it fails.
    """
    before = spent()
    child = os.posix_spawn(words[0], words, {**os.environ, **env})
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return spent() - before
        if pid == child and status:
            message = f"{' '.join(words)} {env}: wait status {status}"
            raise RuntimeError(message)


def main(text: str) -> None:
    """Measure what the JSON text asks for and print the answer."""
    asked = json.loads(text)
    os.chdir(asked["cwd"])
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        message = "orphans would get lost"
        raise RuntimeError(message)
    commands = asked["commands"]
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(asked["rounds"] + WARM_UP):
        names = list(commands)
        random.shuffle(names)
        for name in names:
            seconds = once(commands[name], asked["env"].get(name, {}))
            if number >= WARM_UP:
                times[name].append(seconds)
    print(json.dumps(times))


if __name__ == "__main__":
    main(sys.argv[1])
