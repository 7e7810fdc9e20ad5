"""What a start costs, beside a plain one and bubblewrap's; the report shows it for each guest.

The commands take turns, shuffled anew in each round, so that what else the machine does hits all alike.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from conformance import abilities
from conformance.abilities import needs
from conformance.accounts import must
from conformance.clauses import clause
from conformance.jails import MODES

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from conformance.conftest import MakeJail
    from conformance.homes import Home

ROUNDS = 2  # they show the order; what a start may cost is judged by `make bench`

# Its words: the jobs, and how many rounds count after the first one. A job is a command and what it adds to
# the environment. Before that it starts the modes' until their plans are kept, which is when no fact is new.
TURNS = """
import json, os, random, sys, time
jobs, rounds, modes = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
def start(words, env):
    began = time.perf_counter()
    pid = os.posix_spawn(words[0], words, {**os.environ, **env})
    status = os.waitpid(pid, 0)[1]
    took = time.perf_counter() - began
    if status:
        sys.exit(f"{words}: wait status {status}")
    return took
plans, deadline = os.path.expanduser("~/.jai/.plans"), time.monotonic() + 30
while not os.path.isdir(plans) or len(os.listdir(plans)) < len(modes):
    if time.monotonic() > deadline:
        sys.exit("the plans are not kept")
    for mode in modes:
        start(*jobs[mode])
times = {name: [] for name in jobs}
for number in range(rounds + 1):
    for name in random.sample(list(jobs), len(jobs)):
        took = start(*jobs[name])
        if number:
            times[name].append(took)
print(json.dumps(times))
"""


def bubblewrap(home: Home) -> list[str]:
    """A jail of bubblewrap's that shows about the same: the home and the project, the rest read-only."""
    bound = [word for path in (home.path, home.project) for word in ("--bind", path, path)]
    return [
        *("/usr/bin/bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--die-with-parent"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
        *("--tmpfs", "/run", "--tmpfs", "/tmp", "--tmpfs", "/var/tmp"),
        *(*bound, "--chdir", home.project, "/bin/true"),
    ]


@clause("W06")
@needs("bwrap")
def test_a_later_start_costs_less(
    jail: MakeJail, home: Home, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    """In each mode a later start costs less than the first, where Python decides; others are timed beside."""
    account = home.account
    modes = [mode for mode in MODES if mode != "strict" or abilities.has(account.host, "strict mode")]
    if "strict" in modes:
        request.getfixturevalue("strict_mode")
    # Where the folder of the plans is none, nothing is kept: each start is a first one.
    unkept = f"{home.path}/unkept"
    must(account.sh(f"mkdir {unkept} && touch {unkept}/.plans"))
    jobs: dict[str, tuple[list[str], dict[str, str]]] = {
        "plain": (["/bin/true"], {}),
        "bubblewrap": (bubblewrap(home), {}),
    }
    for mode in modes:
        inside = jail(mode)
        words = [inside.jai, "-m", mode, "-j", inside.name, "/bin/true"]
        jobs[f"{mode}, first"] = (words, {"JAI_CONFIG_DIR": unkept})
        jobs[mode] = (words, {})

    seen = must(account.python(TURNS, json.dumps(jobs), str(ROUNDS), *modes, cwd=home.project))

    times = json.loads(seen.stdout)
    record_property("startup", times)
    least = {name: min(values) for name, values in times.items()}
    for mode in modes:
        assert least["plain"] < least[mode] < least[f"{mode}, first"]
