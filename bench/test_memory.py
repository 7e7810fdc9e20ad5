"""What a running jail keeps in memory."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from bench.scenes import running
from conformance.abilities import needs
from conformance.accounts import must, run

if TYPE_CHECKING:
    from bench.workbench import Bench

pytestmark = pytest.mark.also_as_root

LOOK = (
    "for pid in {pid} $(pgrep -P {pid}) $(pgrep -P $(pgrep -P {pid})); do cat /proc/$pid/smaps_rollup; done"
)


def resident(bench: Bench, pid: int) -> list[dict[str, float]]:
    """Give the kinds of memory of a jail's parent, keeper and init, in MB.

    Source: proc(5), /proc/pid/smaps_rollup; of init only root may read it.
    """
    found: list[dict[str, float]] = []
    for line in must(run(bench.account.host, LOOK.format(pid=pid))).stdout.splitlines():
        if "[rollup]" in line:
            found.append({})
        else:
            name, _, rest = line.partition(":")
            found[-1][name] = int(rest.split()[0]) / 1024
    return found


@needs("root")
def test_a_running_jail_is_small(bench: Bench) -> None:
    """Parent and PID 1 together take less than 2 MB, in runs of kept plans."""
    jails = [[bench.jai, "-m", "casual", "-j", f"bench-{number}"] for number in range(3)]
    bench.sh("; ".join(shlex.join([*words, "true"]) for words in jails))  # what they make has to settle
    sizes = []
    for words in jails:
        bench.keep_plan([*words, "sh", "-c", "true"])
        with running(bench, words) as (pid,):
            sizes.append(resident(bench, pid))
    assert all(len(each) == 3 for each in sizes)  # noqa: PLR2004 - parent, keeper, init

    rss = [parent["Rss"] + init["Rss"] for parent, _, init in sizes]
    own = [sum(each["Private_Clean"] + each["Private_Dirty"] for each in size) for size in sizes]
    bench.judge(
        {
            "memory": (rss, [1.0]),
            "memory-keeper": ([keeper["Rss"] for _, keeper, _ in sizes], [1.0]),
            "memory-own": (own, [1.0]),
        }
    )
