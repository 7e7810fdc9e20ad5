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
# git-config(1): where a repository has its configuration, and what in it leads to what git runs.
CONFIGS = ("config", "config.worktree")
INCLUDED = "include.path"
RUNNING = ("core.hookspath", INCLUDED)

INCLUDES = 10  # as git goes
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
        raise _too_many(len(found))
    return tuple(found[path] for path in sorted(found))


def _too_many(number: int) -> RefusedError:
    message = f"{number} files of git in the granted directories need protection, at most {MOST} get it"
    return RefusedError(
        message, hint="grant a directory with fewer submodules, or do without: --protect none"
    )


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
    everywhere = [named for place in _everybody_s(host) for named in _named(host, place, set())]
    for directory in dict.fromkeys((common, repository.gitdir, *repository.modules)):
        if directory == common or directory in repository.modules:
            yield from (f"{directory}/{name}" for name in (*SHARED, *OWN))
        named = [each for name in CONFIGS for each in _named(host, f"{directory}/{name}", set())]
        tree = _tree(named, directory) if directory in repository.modules else repository.tree
        for name, path in (*named, *everywhere):
            # Without a known work tree a relative path leads nowhere.
            if name in RUNNING and (tree or path.startswith("/")):
                yield normpath(join(tree, path))


def _everybody_s(host: Host) -> tuple[str, ...]:
    """Give the configurations of all repositories, which can name hooks within each."""
    own = host.env.get("XDG_CONFIG_HOME", "") or f"{host.home}/.config"
    return ("/etc/gitconfig", f"{own}/git/config", f"{host.home}/.gitconfig")


def _tree(named: Iterable[tuple[str, str]], directory: str) -> str:
    """Give the work tree that a submodule's configuration names, "" if it names none."""
    trees = [path for name, path in named if name == "core.worktree"]
    return normpath(join(directory, trees[-1])) if trees else ""


def _named(host: Host, path: str, seen: set[object], depth: int = INCLUDES) -> Iterator[tuple[str, str]]:
    """Give the paths that a git-config(1) names, and those in the files that it includes.

    Raises: RefusedError where they are more than anybody's: a jail may have made them.
    """
    found = host.find(path)
    if not depth or (found and found.same in seen):
        return
    seen.add(found.same if found else path)
    if len(seen) > MOST:
        raise _too_many(len(seen))
    config = host.start_of(path)
    lower = config.lower()
    if not any(word in lower for word in ("hookspath", "include", "worktree")):
        return
    for section, key, value in _settings_in(config):
        place = host.home + value[1:] if value.startswith("~/") else value
        if not place:
            continue
        if section in ("include", "includeif") and key == "path":
            included = normpath(join(dirname(path), place))
            yield INCLUDED, included
            yield from _named(host, included, seen, depth - 1)
        else:
            yield f"{section}.{key}", place


def _settings_in(config: str) -> Iterator[tuple[str, str, str]]:
    """Give section, without its subsection, name and value of each setting as git-config(1) reads them."""
    section, at, size = "", 0, len(config)
    while at < size:
        char = config[at]
        if char == "[":
            section, at = _section(config, at)
        elif char in "#;":
            at = _end_of_line(config, at)
        elif char.isalnum():
            end = at
            while end < size and (config[end].isalnum() or config[end] == "-"):
                end += 1
            name, at = config[at:end].lower(), end
            while at < size and config[at] in " \t":
                at += 1
            if config[at : at + 1] == "=":
                value, at = _value(config, at + 1)
                yield section, name, value
        else:
            at += 1


def _end_of_line(config: str, at: int) -> int:
    end = config.find("\n", at)
    return len(config) if end < 0 else end


def _section(config: str, at: int) -> tuple[str, int]:
    """Give the name of the section that begins here, and where it ends: a quoted bracket is a letter."""
    quoted, end = False, at + 1
    while end < len(config) and config[end] != "\n" and (quoted or config[end] != "]"):
        if config[end] == "\\" and quoted:
            end += 1
        elif config[end] == '"':
            quoted = not quoted
        end += 1
    return config[at + 1 : end].partition('"')[0].strip().lower(), end + 1


def _value(config: str, at: int) -> tuple[str, int]:
    """Give the value that begins here, and where its last line ends: without quotes, comment and margins."""
    found: list[str] = []
    quoted, kept = False, 0  # blanks at the end count only within quotes
    while at < len(config) and config[at] != "\n":
        char = config[at]
        if char in "#;" and not quoted:
            at = _end_of_line(config, at)
            break
        if char == '"':
            quoted = not quoted
        elif char == "\\":
            at += 1
            if config[at : at + 1] != "\n":  # there the line goes on
                found.append(config[at : at + 1])
                kept = len(found)
        elif quoted or char not in " \t\r" or found:
            found.append(char)
            kept = len(found) if quoted or char not in " \t\r" else kept
        at += 1
    return "".join(found[:kept]), at
