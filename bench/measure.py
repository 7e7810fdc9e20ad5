"""Times commands as whole processes, in shuffled rounds, so that a machine's moods hit all alike.

Stdlib only and self-contained: it is run by the account that is measured.  Its words are a file with a JSON
object, {"rounds": N, "warm": N, "cwd": DIR, "jobs": {NAME: {"words": [WORD, …], "env": {VARIABLE: VALUE},
"before": SHELL TEXT, "clock": "outside" or "inside"}}}; the answer {NAME: [seconds, …]} is JSON too.

With the clock inside, the command prints two times, in seconds, and what lies between them counts.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from typing import Any


def fail(words: list[str], status: int) -> None:
    """Say that a command failed: what does not work is not fast."""
    message = f"{' '.join(words)[:2000]}: wait status {status}"
    raise RuntimeError(message)


def outside(words: list[str], env: dict[str, str]) -> float:
    """Give the seconds from the start of a command to its end."""
    start = time.perf_counter()
    pid = os.posix_spawn(words[0], words, env)
    _, status = os.waitpid(pid, 0)
    end = time.perf_counter()
    if status:
        fail(words, status)
    return end - start


def inside(words: list[str], env: dict[str, str]) -> float:
    """Give the seconds between the two times that a command prints."""
    done = subprocess.run(words, env=env, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        fail(words, done.returncode)
    start, end = done.stdout.split()[-2:]
    return float(end) - float(start)


def once(job: dict[str, Any], number: int) -> float:
    """Prepare and time one job; it finds the number of the round in its environment."""
    env = {**os.environ, **job["env"], "BENCH_ROUND": str(number)}
    if job["before"]:
        subprocess.run(["/bin/sh", "-e", "-c", job["before"]], env=env, check=True)
    clock = inside if job["clock"] == "inside" else outside
    return clock(job["words"], env)


def main(path: str) -> None:
    """Measure what the file asks for and print the answer."""
    with open(path) as file:
        asked = json.load(file)
    os.chdir(asked["cwd"])
    jobs = asked["jobs"]
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(-asked["warm"], asked["rounds"]):
        names = list(jobs)
        random.shuffle(names)
        for name in names:
            seconds = once(jobs[name], number)
            if number >= 0:
                times[name].append(seconds)
    print(json.dumps(times))


if __name__ == "__main__":
    main(sys.argv[1])
