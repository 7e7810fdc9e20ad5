"""The judge itself: against a jai that protects from nothing, every scenario must find it guilty.

The suite runs once more, behind a wall inside the wall, with a fake jai. A scenario that passes there can
not fail.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.abilities import needs
from conformance.wall import CHECKOUT

FAKE = Path(__file__).parent / "fakes" / "no-jail"
LINE = re.compile(r"^(PASSED|FAILED|ERROR) \S*?test_\w+\.py::(test_\w+(?:\[.*?\])?)(?: - (.*))?$")
# What rightly passes without a jail, and why.
INNOCENT = {
    "test_an_unmasked_path_is_there": "a control: it shows that reading succeeds where it is allowed",
    "test_a_wanted_secret_comes_through": "a control",
    "test_git_clean_and_reset_stay_in_the_grant": "git stays there; a home's repository is tested too",
    "test_filling_the_disk[the project": "the project is on that disk with and without a jail",
    "test_a_hidden_file_can_not_be_opened_by_its_handle": "without a privilege the kernel refuses it itself",
    "test_the_kernel_s_settings_can_not_be_opened": "the kernel refuses it to a user; root is the case",
    "test_a_subvolume_below_the_home": "skipped but on btrfs",
}
WALKS = "removing_everything or issues_sentence"
# With root as the jailed user, and no jail, the judge would lose what it stands on.
AS_ROOT = "root-local or local-root"
# Without a jail, and without root to judge from, this kills the judge.
KILLERS = "" if os.geteuid() == 0 else " and not kill"


def verdicts(*selection: str, timeout: int) -> dict[str, list[tuple[str, str]]]:
    """What each scenario says about the fake: its outcomes, each with the reason's first line."""
    pytest_line = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        os.devnull,
        f"--rootdir={CHECKOUT}",
        "-q",
        "-rA",
        "--tb=line",
    ]
    command = [
        *(sys.executable, "-m", "conformance.wall", "--ro", str(CHECKOUT), "--"),
        *(*pytest_line, "--jai", str(FAKE), *selection),
    ]
    environment = {**os.environ, "COLUMNS": "1000", "JAI_MUST_HAVE": ""}
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False, timeout=timeout
    )
    found: dict[str, list[tuple[str, str]]] = {}
    for line in done.stdout.splitlines():
        match = LINE.match(line)
        if match:
            name = match[2].replace("[local-", "[").replace("[local]", "")
            found.setdefault(name, []).append((match[1], match[3] or ""))
    assert found, done.stdout[-3000:] + done.stderr[-3000:]
    return found


def not_guilty(found: dict[str, list[tuple[str, str]]]) -> list[str]:
    """The scenarios with an outcome that is not a verdict of guilty by an assertion."""
    return [
        f"{name}: {outcome} {reason}"
        for name, outcomes in found.items()
        for outcome, reason in outcomes
        if not any(name.startswith(innocent) for innocent in INNOCENT)
        and (outcome != "FAILED" or "UnfinishedError" in reason or "assert" not in reason.lower())
    ]


ONLY_ROOT = needs("root")  # who can look where a wrecker has closed everything


@pytest.mark.usefixtures("host")  # whom "needs" asks
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "scenarios",
    [
        pytest.param("test_destruction.py", marks=ONLY_ROOT),  # it closes the checkout, too
        "test_escape.py",
        "test_escape_calls.py",
        "test_persistence.py",
        "test_protect.py",
        pytest.param("test_strict.py", marks=ONLY_ROOT),
    ],
)
def test_a_jai_without_a_jail_is_found_guilty(scenarios: str) -> None:
    """Every scenario fails by an assertion, not by chance, when there is no jail at all."""
    found = verdicts(f"conformance/{scenarios}", "-k", f"not ({WALKS} or {AS_ROOT}){KILLERS}", timeout=800)

    assert len(found) > 5
    assert not_guilty(found) == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", ["removing_everything", "issues_sentence"])
def test_a_jai_without_a_jail_destroys_everything(scenario: str) -> None:
    """Removing everything from / on, with no jail but the wall: the scenario lives to tell."""
    found = verdicts("conformance/test_destruction.py", "-k", f"{scenario} and not ({AS_ROOT})", timeout=800)

    assert not_guilty(found) == []
