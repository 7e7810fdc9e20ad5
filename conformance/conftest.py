"""Fixtures of the conformance suite.

It runs behind the second wall: `python -m conformance.wall -- pytest conformance`.
"""

from __future__ import annotations

import functools
import itertools
import os
import shlex
import shutil
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest

from conformance import abilities, canary, manifest, trees, wall
from conformance.accounts import Account, must, run
from conformance.homes import Home, read
from conformance.jails import MODES, Jail
from conformance.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

WATCHED = "/srv/watched"
MADE_TO_BE_WRECKED = "/etc/jai-guest"  # only conformance/guests/image.py makes it
CANARY_PLACES = ("/tmp/canary", "/var/tmp/canary", "/dev/shm/canary")
numbers = itertools.count(1)
# (account, jai): the trees of its home and of what is watched beside it, when they were new
kept: dict[tuple[str, str], list[trees.Tree]] = {}


class MakeJail(Protocol):
    """Makes jails of the account under test."""

    def __call__(self, mode: str, *, name: str = "") -> Jail:
        """Give a jail of a mode, with a name that no other test has unless one is given."""


@dataclass(frozen=True)
class Outside:
    """Everything outside the jail that must not change."""

    home: Home
    canary: canary.Canary

    def state(self) -> Manifest:
        """The home, the watched tree, the canary files, process and socket, at this moment."""
        host = self.home.account.host
        state = self.home.manifest().under("~")
        state |= self.home.watched().under(WATCHED)
        for path in CANARY_PLACES:
            state |= read(host, path).under(path)
        state["the canary process"] = self.canary.state()
        return Manifest(state)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where jai is."""
    parser.addoption("--jai", metavar="PATH", help="the jai command to judge (default: $JAI, or jai on PATH)")
    parser.addoption("--mode", choices=MODES, help="only the scenarios of this mode")
    parser.addoption("--part", metavar="I/N", help="only the I-th of N parts, as machines share them")
    parser.addoption("--guards", metavar="PROTECTION", help="only the scenarios that fail without it")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line("markers", "clause(name): the promise that the test examines")
    config.addinivalue_line("markers", "comes_last: what it starts goes on when it has ended")
    config.addinivalue_line("markers", abilities.MARK)
    config.addinivalue_line("markers", "guards(name, ...): the protections without which the test fails")
    config.addinivalue_line(
        "markers", "also_as_root: run also with root as the jailed user, where we are root"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat what is marked `also_as_root` with root as the jailed user."""
    marked = metafunc.definition.get_closest_marker("also_as_root")
    if marked and os.geteuid() == 0 and "account" in metafunc.fixturenames:
        accounts = os.environ.get("JAI_ACCOUNTS", "ada root").split()
        metafunc.parametrize("account", accounts, indirect=True)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let -k select by the promise, too."""
    item.extra_keyword_matches.update(mark.args[0] for mark in item.iter_markers("clause"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the other modes' scenarios where one mode was asked for, and put what goes on to the end."""
    items.sort(key=lambda item: item.get_closest_marker("comes_last") is not None)
    mode, protection = config.getoption("--mode"), config.getoption("--guards")
    part = config.getoption("--part")
    others = [
        item
        for item in items
        if (mode and _mode_of(item) not in ("", mode))
        or (protection and protection not in _guarded_by(item))
        or (part and not _is_in(item, *map(int, part.split("/"))))
    ]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


def _is_in(item: pytest.Item, number: int, parts: int) -> bool:
    """Whether a scenario is in the part of a number from 1 on: each name is in one, on whichever machine."""
    return zlib.crc32(item.nodeid.encode()) % parts == number - 1


def _guarded_by(item: pytest.Item) -> list[str]:
    return [name for mark in item.iter_markers("guards") for name in mark.args]


def _mode_of(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get("mode", "")) if callspec else ""


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Say in people's words what has changed between two manifests."""
    if op == "==" and isinstance(left, Manifest) and isinstance(right, Manifest):
        lines = manifest.diff(right, left)
        return [f"{len(lines)} changes outside the jail:", *lines[:30], *(["…"] if len(lines) > 30 else [])]
    return None


@pytest.fixture(scope="session", autouse=True)
def _behind_the_wall(request: pytest.FixtureRequest) -> None:
    """Refuse to run a wrecker on this machine unless the second wall stands."""
    if request.config.getoption("--hosts") or os.path.exists(MADE_TO_BE_WRECKED):
        return
    for place in wall.PROVEN:
        if "JAI_WALL" not in os.environ or wall.try_to_write(place) != "EROFS":
            pytest.exit(
                "run it behind the wall: python -m conformance.wall -- pytest conformance", returncode=4
            )


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest) -> None:
    """Skip, or fail, tests that need what this machine lacks."""
    for mark in request.node.iter_markers("needs"):
        abilities.check(request.getfixturevalue("host"), mark.args[0])
        if mark.args[0] == "strict mode":
            request.getfixturevalue("strict_mode")


@pytest.fixture(scope="module")
def strict_mode(host: Host, request: pytest.FixtureRequest) -> None:
    """What root does for strict mode, for each user of the suite; the second time it changes nothing.

    Behind the wall the places that it changes are private but read-only, and they stay so for everybody else.
    """
    abilities.check(host, "root")
    made = [f"SUDO_USER={name} {shlex.quote(_find_jai(request.config))} --setup" for name in wall.ACCOUNTS]
    if "JAI_WALL" in os.environ and not request.config.getoption("--hosts"):
        opened = [f"mount -o remount,bind,rw {path}" for path in ("/etc", wall.LIBEXEC)]
        made = ["mount -t tmpfs none /run", *opened, *made]
    must(run(host, f"unshare --mount sh -c {shlex.quote(' && '.join(made))}"))


@functools.cache
def _session(host: Host) -> str:
    """Who commands are run as, unless they become somebody else."""
    return str(host.user().name)


@pytest.fixture
def account(host: Host, request: pytest.FixtureRequest) -> Account:
    """The user who runs jai: ada, an ordinary user, unless a test asks for root."""
    name = getattr(request, "param", "ada")
    session = _session(host)
    home = "/root" if name == "root" else f"/home/{name}"
    return Account(host, name, home, become=session != name)


@pytest.fixture
def jai(request: pytest.FixtureRequest) -> str:
    """The path of the command under test."""
    return _find_jai(request.config)


def _find_jai(config: pytest.Config) -> str:
    path = config.getoption("--jai") or os.environ.get("JAI") or shutil.which("jai")
    if not path:
        pytest.exit("no jai to judge: use --jai PATH or JAI=PATH", returncode=4)
    return str(path)


@pytest.fixture
def home(account: Account, jai: str) -> Home:
    """A fresh home of the account, in which jai has been initialised."""
    return make_home(account, jai)


def make_home(account: Account, jai: str) -> Home:
    """The account's home and what is watched beside it, as new: filled once, then put back from memory."""
    made = Home(account, account.home, WATCHED)
    if account.host.backend.NAME != "local":
        _fill(made, jai)
    elif (account.name, jai) not in kept or not _put_back(account, kept[account.name, jai]):
        _fill(made, jai)
        beside = [trees.take(place) for place in (WATCHED, *CANARY_PLACES)]
        kept[account.name, jai] = [trees.take(made.path, made.seen_at), *beside]
    return made


def _put_back(account: Account, tree: list[trees.Tree]) -> bool:
    """Whether the account itself could do it: a scenario may have left what only root can remove."""
    try:
        trees.put_back(tree, account.name if account.become else "")
    except OSError:
        return False
    return True


def _fill(made: Home, jai: str) -> None:
    """Empty the places and fill them anew.

    Initialising jai comes before any manifest, since making ~/.jai touches the home itself.
    """
    account, host = made.account, made.account.host
    places = shlex.join([WATCHED, *CANARY_PLACES])
    owner = f"-o {account.name} -g {account.name}" if account.become else ""
    must(run(host, f"rm -rf {places} && install -d -m 755 {owner} {places}"))
    made.fill()
    files = " ".join(f"{path}/file" for path in CANARY_PLACES)
    must(account.sh(f"for file in {files}; do echo canary > $file; chmod 666 $file; done"))
    must(account.run([jai, "--init"]))


@pytest.fixture(scope="session")
def birds() -> Iterator[dict[str, canary.Canary]]:
    """The accounts' canaries."""
    living: dict[str, canary.Canary] = {}
    yield living
    for bird in living.values():
        bird.stop()


@pytest.fixture
def outside(home: Home, birds: dict[str, canary.Canary]) -> Outside:
    """What must not change, with a canary that lives as long as nothing kills it."""
    bird = birds.get(home.account.name)
    if bird is None or bird.state()["answer"] != bird.token:
        bird = birds[home.account.name] = canary.start(home.account, "/tmp")
    made = Outside(home, bird)
    # What is not there beforehand cannot be seen to go.
    watched = {"~/notes.txt", f"{WATCHED}/file", *(f"{path}/file" for path in CANARY_PLACES)}
    assert watched <= set(made.state())
    assert made.canary.state()["answer"] == bird.token
    return made


@pytest.fixture
def jail(account: Account, home: Home, jai: str) -> MakeJail:
    """Make jails that are started in the project directory."""

    def make(mode: str, *, name: str = "") -> Jail:
        return Jail(account, jai, mode, name or f"t{os.getpid()}-{next(numbers)}", home.project)

    return make
