"""What jai promises, one sentence each, and the decorator that says which promise a test examines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest


class Clause(NamedTuple):
    """A promise: its sentence, and where the documents make it."""

    says: str
    document: str
    sentence: str


SECURITY, README, MANUAL = "SECURITY.md", "README.md", "jai/man/jai.1"
# What most of destruction is about, and the shortest promise of all.
KEPT = (SECURITY, "Nothing in the jail changes its content, name, mode, owner, times, attributes or links.")
USUAL = (README, "The command works as usual")

CLAUSES = {
    "D01": Clause("Removing the home inside leaves every original outside as it was.", *KEPT),
    "D02": Clause("A directory that is literally named ~ does not lead a removal to the home.", *KEPT),
    "D03": Clause("Removing everything from / on removes nothing but what was granted.", *KEPT),
    "D04": Clause("Git's cleaning and resetting stays within the granted directory.", *KEPT),
    "D05": Clause("Moving and renaming over files replaces no original.", *KEPT),
    "D06": Clause("No way of writing into a file reaches one that was not granted.", *KEPT),
    "D07": Clause("Modes, owners, times, attributes and ACLs of the originals stay.", *KEPT),
    "D08": Clause("A hard link does not carry an original into the granted directory.", *KEPT),
    "D09": Clause("A full disk loses no data and does not lock the user out.", *KEPT),
    "D10": Clause(
        "Too many processes and too much memory end inside.",
        README,
        "A jail shares CPU, memory and disk with you. `--limit` bounds what a single run may take.",
    ),
    "D11": Clause(
        "Signals to everybody reach nobody outside.",
        SECURITY,
        "Nothing in the jail sees, signals or traces a process outside",
    ),
    "D12": Clause(
        "When jai is killed or the power fails, its jail ends, and what was written is kept.",
        SECURITY,
        "When jai ends, or is killed, everything in the jail is killed.",
    ),
    "D13": Clause(
        "Many jails of one name at once share one view and harm nothing.",
        MANUAL,
        "Several commands may run in the same jail at the same time.",
    ),
    "D14": Clause(
        "A file system mounted below the home or the grant is as safe as the home.",
        MANUAL,
        "File systems that are mounted below a granted directory are shown read-only.",
    ),
    "D15": Clause("Many files, and files that are odd in every way, are as safe as others.", *KEPT),
    "P01": Clause("What a later login or program of the user would run is not changed.", *KEPT),
    "P02": Clause(
        "Nothing inside arranges for anything to be run later.", SECURITY, "Nothing in the jail survives it."
    ),
    "P03": Clause(
        "jai's configuration and storage can be neither read nor changed from inside.",
        SECURITY,
        "jai's configuration and storage are not visible there.",
    ),
    "P04": Clause(
        "Nothing left behind in the project changes what the next jai does.",
        SECURITY,
        "Nothing in the jail changes how the next jail is set up.",
    ),
    "P05": Clause(
        "What git, a shell or an editor would later run from a granted repository is not changed unseen.",
        SECURITY,
        "is not changed, or jai says so when the jail has ended.",
    ),
    "I01": Clause(
        "A masked path does not exist, by whatever way it is named.",
        MANUAL,
        "The file or directory is absent in the jail.",
    ),
    "I02": Clause(
        "Outside the home casual and bare mode show what the user may read, strict what everybody may.",
        SECURITY,
        "| your files outside the home | what you can read | what you can read | what all can read |",
    ),
    "I03": Clause(
        "Secrets of the environment are not in the jail.",
        MANUAL,
        "Variables that look like secrets are removed from the environment.",
    ),
    "I04": Clause(
        "Inherited descriptors are closed.",
        MANUAL,
        "Descriptors other than standard input, output and error are closed",
    ),
    "E01": Clause("Nothing inside types into the terminal.", SECURITY, "or types into your terminal"),
    "E02": Clause(
        "Terminals outside of the jail can not be opened.",
        MANUAL,
        "holds the terminal, the usual harmless nodes",
    ),
    "E03": Clause(
        "Sockets in /run, /tmp and the home can not be connected to, unless they are granted.",
        SECURITY,
        "| sockets in `/run`, `/tmp`, the home | none | none | none |",
    ),
    "E04": Clause(
        "Abstract Unix sockets of others can not be connected to, where the kernel can forbid it.",
        MANUAL,
        "On kernels with Landlock ABI 6 (Linux 6.12) the command can not connect to those outside.",
    ),
    "E05": Clause(
        "Nothing that is covered, hidden or read-only can be uncovered by a mount or another root.",
        MANUAL,
        "Everything else is read-only.",
    ),
    "E06": Clause(
        "Nested user namespaces gain nothing outside; strict mode allows none.",
        SECURITY,
        "Nothing in the jail gains a privilege: no capability outside its own user namespace",
    ),
    "E07": Clause(
        "No process outside can be seen, signalled, traced, read or entered, and PID 1 inside neither.",
        SECURITY,
        "Nothing in the jail sees, signals or traces a process outside",
    ),
    "E08": Clause(
        "The kernel's own settings and files can not be written.",
        SECURITY,
        "Nothing in the jail gains a privilege",
    ),
    "E09": Clause(
        "No set-id program takes effect, and no set-id file is left behind.",
        SECURITY,
        "Nor does it leave a set-uid or set-gid file that would lend somebody yours.",
    ),
    "E10": Clause(
        "There are no devices but the harmless ones, and none can be made.",
        MANUAL,
        "holds the terminal, the usual harmless nodes",
    ),
    "E11": Clause(
        "No file can be opened by its handle.", MANUAL, "System calls that no agent needs are refused"
    ),
    "E12": Clause(
        "Parts of the kernel that no agent needs do not answer.",
        MANUAL,
        "System calls that no agent needs are refused",
    ),
    "E13": Clause(
        "Shared memory, semaphores and message queues of others are not there.",
        MANUAL,
        "It has its own processes and its own System V IPC and POSIX message queues.",
    ),
    "E14": Clause(
        "What is swapped while jai starts is noticed; nothing is shown or written elsewhere.",
        SECURITY,
        "makes jai start with less protection than it printed with `--plan`, instead of refusing.",
    ),
    "E15": Clause(
        "A strict jail is closed to other users, and they to it; what it makes is the user's.",
        MANUAL,
        "What it makes in a granted directory belongs to you.",
    ),
    "E16": Clause(
        "The privileged helper gives a caller what is the caller's, and nothing to a jail.",
        SECURITY,
        "takes descriptors of what its caller owns, maps the caller to the strict id that root gave it",
    ),
    "E18": Clause(
        "With --net none there is no network but the jail's own loopback.",
        MANUAL,
        "gives a network that has nothing but a loopback device of its own.",
    ),
    "K01": Clause(
        "On a kernel that is too old jai says so in at most three lines, and starts nothing.",
        README,
        "On kernels before 5.12, or where user namespaces are switched off, jai says so and stops.",
    ),
    "K02": Clause(
        "Where strict mode can not be given the user's files, jai says so and names a mode that works.",
        MANUAL,
        "It needs a file system that can map user ids; NFS and FUSE can not, and a grant there is refused.",
    ),
    "K03": Clause(
        "Where user namespaces are forbidden, jai says by what, and what allows them; then it works.",
        README,
        "On kernels before 5.12, or where user namespaces are switched off, jai says so and stops.",
    ),
    "K04": Clause(
        "Where the kernel makes no overlay of the home, jai says so and names a mode that works.",
        MANUAL,
        "Where the file system of the home ignores the case of names",
    ),
    "W01": Clause("Developers' tools work as outside.", *USUAL),
    "W02": Clause(
        "At a terminal and in a pipeline a command in a jail behaves as without jai.",
        MANUAL,
        "dies of the same signal.",
    ),
    "W03": Clause(
        "Programs that bring their own sandbox can start it.",
        SECURITY,
        "so that programs can bring their own sandbox.",
    ),
    "W04": Clause("Names, time, language and the home are those of the user.", *USUAL),
    "W05": Clause(
        "However many runs there are, none leaves a mount, a process or a file behind.",
        MANUAL,
        "When jai ends, or is killed, everything in the jail is killed.",
    ),
    "W06": Clause(
        "A decision is kept: a later start costs less than the first one.",
        README,
        "The second start of a command in a place runs a plan that is kept, without Python",
    ),
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
