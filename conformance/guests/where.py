"""What GUEST= says: on which machines the scenarios run."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

WORDS = "qemu, local, ssh://[USER@]HOST[:PORT] or vagrant:NAME"
SHARING = "+"
# No part can be taken for an option: none begins with a hyphen.
SSH_URL = re.compile(r"ssh://(?:(\w[\w.-]*)@)?(\w[\w.-]*|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?/?")
VAGRANT = re.compile(r"vagrant:(\w[\w.-]*)")


class WordError(ValueError):
    """A word of GUEST= that names nothing."""


@dataclass(frozen=True)
class Local:
    """This machine, behind the wall."""

    name: str = "local"
    by_hand: str = ".venv/bin/python -m conformance.wall -- .ci/inside sh -c 'PATH=${JAI%/*}:$PATH exec bash'"
    part: str = ""


@dataclass(frozen=True)
class Ssh:
    """A machine that ssh reaches with what the user's own configuration says about it.

    `part` is its part of the scenarios where it shares them with others.
    """

    name: str
    ssh: tuple[str, ...]
    part: str = ""

    @property
    def by_hand(self) -> str:
        """What is typed to be there."""
        return " ".join(self.ssh)


@dataclass(frozen=True)
class Vagrant:
    """A machine of vagrant/Vagrantfile."""

    name: str
    box: str
    part: str = ""

    @property
    def by_hand(self) -> str:
        """What is typed to be there."""
        return f"cd vagrant; vagrant up {self.box}; vagrant ssh {self.box}"


def parse(text: str) -> list[Ssh | Vagrant]:
    """The machines that are named, by blanks or commas apart; none for `qemu`, which starts its own.

    Those with a `+` between them share the scenarios: each has its part, "1/2" and "2/2".

    Raises: WordError.
    """
    words = list(dict.fromkeys(re.split(r"[\s,]+", text.strip())))
    if words == ["qemu"]:
        return []
    return [place for word in words for place in _parse_group(list(dict.fromkeys(word.split(SHARING))))]


def _parse_group(words: list[str]) -> list[Ssh | Vagrant]:
    places = [_parse_word(word) for word in words]
    if len(places) == 1:
        return places
    return [replace(place, part=f"{number}/{len(places)}") for number, place in enumerate(places, 1)]


def _parse_word(word: str) -> Ssh | Vagrant:
    if word == "local":
        message = "GUEST=local is this machine as it is: without KERNEL=, HOME_FS= or another machine"
        raise WordError(message)
    url, box = SSH_URL.fullmatch(word), VAGRANT.fullmatch(word)
    if url:
        user, host, port = url.groups()
        options = [*(["-p", port] if port else []), *(["-l", user] if user else [])]
        return Ssh(word.rstrip("/"), ("ssh", *options, host.strip("[]")))
    if box:
        return Vagrant(word, box[1])
    message = f"GUEST={word or '(nothing)'} names no machine: it is {WORDS}"
    raise WordError(message)
