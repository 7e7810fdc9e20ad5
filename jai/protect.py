"""Files that run later outside: which of them lie in a granted directory, and which are missing.

What git, a shell or an editor reads from a project and executes is read-only in the jail.  What is missing
can not be kept away without putting something in its place, so it is looked for when the jail has ended.
"""

from __future__ import annotations

from jai.errors import RefusedError
from jai.grants import is_below
from jai.options import GIT
from jai.record import Record
from jai.system import basename, dirname, fsencode, join, normpath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jai.grants import Granted
    from jai.host import Host
    from jai.settings import Settings

# gitrepository-layout(5): what says which programs git runs.  A file `commondir` leads git elsewhere for
# the first two.
SHARED = ("hooks", "config")
OWN = ("commondir", "config.worktree")
GITDIR = "gitdir: "

DEEPEST = 4  # the name of a submodule may have slashes in it
PATH_LIMIT = 4095
MOST = 1000


class Protected(Record):
    """A path in a granted directory and what is there, `same` being None where it is missing.

    What is `pinned` is read-only.  The rest can only be looked at later: links, what is missing, and what git
    writes all the time, which must have the same `content`.
    """

    path: str
    same: tuple[int, int] | None
    changed: int
    pinned: bool
    content: str | None = None


class Repository(Record):
    """A git directory, the common one of its worktrees, its work tree, and what has led to it."""

    gitdir: str
    common: str
    tree: str
    leads: tuple[str, ...]
    modules: tuple[str, ...]


def find_protected(settings: Settings, host: Host, grants: tuple[Granted, ...]) -> tuple[Protected, ...]:
    """Give what is protected of the granted directories that can be written to.

    Raises: RefusedError if it is more than the kernel should have mounts for.
    """
    tops = [grant.path for grant in grants if grant.type == "directory" and not grant.readonly]
    wanted: dict[str, bool] = {}  # whether git writes it anew all the time
    for name in settings.protected:
        if name == GIT:
            wanted.update(pair for folder in _folders(host, tops) for pair in _by_git(host, folder))
        else:
            wanted.update((normpath(join(top, name)), False) for top in tops)
    found: dict[str, Protected] = {}
    for path, rewritten in wanted.items():
        place = join(host.real(dirname(path)), basename(path))
        for each in _protected(host, place, rewritten=rewritten):
            if can_be_written(each.path, grants) and len(fsencode(each.path)) <= PATH_LIMIT:
                found[each.path] = each
    if len(found) > MOST:
        message = (
            f"{len(found)} files of git in the granted directories need protection, at most {MOST} get it"
        )
        hint = "grant a directory with fewer submodules, or do without: --protect none"
        raise RefusedError(message, hint=hint)
    return tuple(found[path] for path in sorted(found))


def can_be_written(path: str, grants: tuple[Granted, ...]) -> bool:
    """Say whether a path lies in a writable grant; who grants the thing itself does so on purpose."""
    holders = [grant for grant in grants if is_below(path, grant.path)]
    return bool(holders) and not holders[-1].readonly and holders[-1].path != path


def _protected(host: Host, place: str, *, rewritten: bool) -> Iterator[Protected]:
    """Give what is at a place, and if that is a link, on which nothing can be mounted, what it leads to."""
    found = host.find_state(place)
    if found is None:
        yield Protected(place, None, 0, pinned=False)
    elif rewritten and found.type == "file":
        yield Protected(place, None, 0, pinned=False, content=host.start_of(place))
    else:
        mountable = found.type in ("directory", "file")
        yield Protected(place, found.same, found.changed, pinned=mountable)
        if found.type == "link" and host.real(place) != place:
            yield from _protected(host, host.real(place), rewritten=False)


def _folders(host: Host, tops: Iterable[str]) -> Iterator[str]:
    """Give the granted directories, and those that lie between here and the top of a grant."""
    for top in tops:
        folder = host.cwd if is_below(host.cwd, top) else top
        while folder != top:
            yield folder
            folder = dirname(folder)
        yield top


def _by_git(host: Host, folder: str) -> Iterator[tuple[str, bool]]:
    """Give what git would run or make in a folder, and whether it writes it anew all the time."""
    repository = _repository_in(host, folder)
    if repository:
        yield from ((path, False) for path in _run_by_git(host, repository))
        # `git submodule update` does, with what was there.
        yield from ((f"{module}/config", True) for module in repository.modules)
    else:
        # What is missing, and would make a repository, or a bare one.
        yield f"{folder}/.git", False
        yield f"{folder}/objects" if host.find_link(f"{folder}/HEAD") else f"{folder}/HEAD", False


def _repository_in(host: Host, folder: str) -> Repository | None:
    """Look for `.git`, which is a repository, a link to one or a file that names one, or for a bare one."""
    git = f"{folder}/.git"
    found = host.find_link(git)
    if found is None:
        bare = host.find_link(f"{folder}/HEAD") and host.find_link(f"{folder}/objects")
        return _repository(host, folder, folder, ()) if bare else None
    if found.type == "directory":
        return _repository(host, git, folder, ())
    gitdir = host.real(git)
    text = host.start_of(git)
    if text.startswith(GITDIR):
        gitdir = _lead(host, dirname(gitdir), text[len(GITDIR) :])
    return _repository(host, gitdir, folder, (git,))


def _lead(host: Host, base: str, line: str) -> str:
    return host.real(normpath(join(base, line.rstrip("\n"))))


def _repository(host: Host, gitdir: str, tree: str, leads: tuple[str, ...]) -> Repository:
    common = gitdir
    if lead := host.start_of(f"{gitdir}/commondir"):
        common = _lead(host, gitdir, lead)
        leads = (*leads, *(f"{gitdir}/{name}" for name in OWN))
    return Repository(gitdir, common, tree, leads, tuple(_modules(host, f"{common}/modules", DEEPEST)))


def _modules(host: Host, folder: str, depth: int) -> Iterator[str]:
    """Give the git directories of the submodules, and of theirs."""
    for name in host.names(folder) if depth else ():
        path = f"{folder}/{name}"
        if host.find_link(f"{path}/HEAD"):
            yield path
            path += "/modules"
        yield from _modules(host, path, depth - 1)


def _run_by_git(host: Host, repository: Repository) -> Iterator[str]:
    """Give what git executes, or what names it."""
    yield from repository.leads
    common = repository.common
    for name in host.names(f"{common}/worktrees"):
        yield from (f"{common}/worktrees/{name}/{each}" for each in OWN)
    for directory in (common, *repository.modules):
        yield from (f"{directory}/{name}" for name in (*SHARED, *OWN))
        config = host.start_of(f"{directory}/config")
        lower = config.lower()
        if "hookspath" in lower or "[include" in lower:
            yield from _named(host, config, directory, repository.tree if directory == common else "")


def _named(host: Host, config: str, directory: str, tree: str) -> Iterator[str]:
    """Give the files that a git-config(1) includes, and the directory that it names for hooks."""
    section = ""
    for each in config.splitlines():
        line = each.strip()
        if line.startswith("["):
            section, _, line = line.partition("]")
        name, _, value = line.partition("=")
        key = f"{section} {name.strip()}".lower()
        base = tree if key == "[core hookspath" else directory if _includes(key) else ""
        value = value.strip().strip('"')
        if base and value:
            value = host.home + value[1:] if value.startswith("~/") else value
            yield normpath(join(base, value))


def _includes(key: str) -> bool:
    return key.startswith("[include") and key.endswith(" path")
