"""Times commands as whole processes, in shuffled rounds, so that a machine's moods hit all alike.

Stdlib only and self-contained: it is run by an ordinary account.  The words are a JSON object
{"rounds": N, "cwd": DIR, "commands": {NAME: [WORD, ...]}, "env": {NAME: {VARIABLE: VALUE}}}; the answer
{NAME: [seconds, ...]} is JSON too.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time


def once(words: list[str], env: dict[str, str]) -> float:
    """Give the seconds from the start of a command to its end.

    Raises: RuntimeError if it fails: what does not work is not fast.
    """
    start = time.perf_counter()
    pid = os.posix_spawn(words[0], words, {**os.environ, **env})
    _, status = os.waitpid(pid, 0)
    end = time.perf_counter()
    if status:
        message = f"{' '.join(words)}: wait status {status}"
        raise RuntimeError(message)
    return end - start


def main(text: str) -> None:
    """Measure what the JSON text asks for and print the answer."""
    asked = json.loads(text)
    os.chdir(asked["cwd"])
    commands = asked["commands"]
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(asked["rounds"] + 3):
        names = list(commands)
        random.shuffle(names)
        for name in names:
            seconds = once(commands[name], asked["env"].get(name, {}))
            if number >= 3:  # noqa: PLR2004 - the first rounds warm the caches
                times[name].append(seconds)
    print(json.dumps(times))


if __name__ == "__main__":
    main(sys.argv[1])
