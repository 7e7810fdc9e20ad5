"""What jai promises, one sentence each, and the decorator that says which promise a test examines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CLAUSES = {
    "D01": "Removing the home inside leaves every original outside as it was.",
    "D02": "A directory that is literally named ~ does not lead a removal to the home.",
    "D03": "Removing everything from / on removes nothing but what was granted.",
    "D04": "Git's cleaning and resetting stays within the granted directory.",
    "D05": "Moving and renaming over files replaces no original.",
    "D06": "No way of writing into a file reaches one that was not granted.",
    "D07": "Modes, owners, times, attributes and ACLs of the originals stay.",
    "D08": "A hard link does not carry an original into the granted directory.",
    "D09": "A full disk loses no data and does not lock the user out.",
    "D10": "Too many processes and too much memory end inside.",
    "D11": "Signals to everybody reach nobody outside.",
    "D12": "When jai is killed or the power fails, its jail ends, and what was written is kept.",
    "D13": "Many jails of one name at once share one view and harm nothing.",
    "D14": "A file system mounted below the home or the grant is as safe as the home.",
    "D15": "Many files, and files that are odd in every way, are as safe as others.",
    "P01": "What a later login or program of the user would run is not changed.",
    "P02": "Nothing inside arranges for anything to be run later.",
    "P03": "jai's configuration and storage can be neither read nor changed from inside.",
    "P04": "Nothing left behind in the project changes what the next jai does.",
    "P05": "What git, a shell or an editor would later run from a granted repository is not changed unseen.",
    "I01": "A masked path does not exist, by whatever way it is named.",
    "I02": "Outside the home casual and bare mode show what the user may read, strict what everybody may.",
    "I03": "Secrets of the environment are not in the jail.",
    "I04": "Inherited descriptors are closed.",
    "E01": "Nothing inside types into the terminal.",
    "E02": "Terminals outside of the jail can not be opened.",
    "E03": "Sockets in /run, /tmp and the home can not be connected to, unless they are granted.",
    "E04": "Abstract Unix sockets of others can not be connected to, where the kernel can forbid it.",
    "E05": "Nothing that is covered, hidden or read-only can be uncovered by a mount or another root.",
    "E06": "Nested user namespaces gain nothing outside; strict mode allows none.",
    "E07": "No process outside can be seen, signalled, traced, read or entered, and PID 1 inside neither.",
    "E08": "The kernel's own settings and files can not be written.",
    "E09": "No set-id program takes effect, and no set-id file is left behind.",
    "E10": "There are no devices but the harmless ones, and none can be made.",
    "E11": "No file can be opened by its handle.",
    "E12": "Parts of the kernel that no agent needs do not answer.",
    "E13": "Shared memory, semaphores and message queues of others are not there.",
    "E14": "What is swapped while jai starts is noticed; nothing is shown or written elsewhere.",
    "E15": "A strict jail is closed to other users, and they to it; what it makes is the user's.",
    "E16": "The privileged helper gives a caller what is the caller's, and nothing to a jail.",
    "E18": "With --net none there is no network but the jail's own loopback.",
    "K01": "On a kernel that is too old jai says so in at most three lines, and starts nothing.",
    "K02": "Where strict mode can not be given the user's files, jai says so and names a mode that works.",
    "K03": "Where user namespaces are forbidden, jai says by what, and what allows them; then it works.",
    "W01": "Developers' tools work as outside.",
    "W03": "Programs that bring their own sandbox can start it.",
    "W04": "Names, time, language and the home are those of the user.",
    "W06": "A decision is kept: a later start costs less than the first one.",
}


def clause(name: str) -> pytest.MarkDecorator:
    """Say which promise a test examines."""
    if name not in CLAUSES:
        message = f"{name} is not in conformance/clauses.py"
        raise ValueError(message)
    return pytest.mark.clause(name)


def protections() -> list[str]:
    """What a build for tests can leave out: the names in the core's table."""
    table = Path(__file__).parents[1] / "jai/core/mutants.c"
    return list(dict.fromkeys(re.findall(r'^\t\{"([a-z-]+)",', table.read_text(), flags=re.MULTILINE)))


def guards(*names: str) -> pytest.MarkDecorator:
    """Say without which protections the test fails; `make mutants` tries it."""
    return pytest.mark.guards(*names)
