"""From what the jail may to how it is made: the ordered list of steps, each carrying all it needs.

The printed plan is the whole truth, so nothing here looks at the machine.
"""

from __future__ import annotations

from jai import steps
from jai._core import lib
from jai.grants import DEV, PROC
from jai.policy import RUN, SCRIPT_PLACE, SSH
from jai.steps import INERT, MAKE, MAPPED, NODEV, NOEXEC, NOSUID, RDONLY, RECURSIVE, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jai.grants import Granted
    from jai.policy import Hidden, Policy
    from jai.protect import Protected

DEV_LINKS = (
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
)
PASSWD = "/etc/passwd"  # noqa: S105 - a path
PASSWD_COPY = "/dev/.passwd"  # noqa: S105 - a path
GROUP = "/etc/group"
GROUP_COPY = "/dev/.group"
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"

# What a step adds at one place of the tree: the place, then how it is made.
Place = tuple[str, list[Step]]


def plan(policy: Policy, passwd: str = "", group: str = "") -> list[Step]:
    """Give the steps that make the jail of a policy; `passwd` and `group` are whole files."""
    account = policy.account
    overlaid = policy.mode == "casual" and not _home_is_granted(policy)
    tree = _tree(policy, overlaid=overlaid, passwd=passwd, group=group)
    found = [steps.lock(policy.layout.lock, shared=overlaid)]
    if policy.helper:
        found.append(steps.helper(policy.helper))
        found += _requests(tree)
    if policy.strict:
        found.append(steps.strict_namespace(policy.strict.uid, policy.strict.gid))
        found.append(steps.namespace_limit("max_user_namespaces", 0))
    else:
        found.append(steps.user_namespace(account.uid, account.gid))
    if policy.net == "none":
        found.append(steps.network_namespace())
    if policy.owns_cgroup:
        # In a cgroup namespace of its own a nested user namespace could mount the cgroup that the
        # caller is in, and kill or starve it.
        found.append(steps.namespace_limit("max_cgroup_namespaces", 0))
    found.append(steps.root(RDONLY | INERT))
    found += tree
    sealed = (DEV, RUN, *([SSH] if policy.ssh_files else []), *policy.skeletons)
    found += [steps.seal(path) for path in sealed]
    found += [steps.pivot(), steps.init(), steps.proc(PROC)]
    if account.uid == 0:
        found += [steps.bind(path, path, RDONLY | INERT | NOEXEC) for path in policy.root_proc]
    if passwd:
        found.append(steps.bind(PASSWD, PASSWD_COPY, RDONLY | INERT))
    if group:
        found.append(steps.bind(GROUP, GROUP_COPY, RDONLY | INERT))
    return found + _command(policy)


def _requests(tree: list[Step]) -> list[Step]:
    """Number the mounts that the helper is to map, and give what is asked of it."""
    found: list[Step] = []
    numbers: dict[object, int] = {}
    for step in tree:
        if step.flags & MAPPED:
            ask, path = (
                (steps.clone, step.target) if step.kind == lib.JAI_OVERLAY else (steps.idmap, step.source)
            )
            # What is shown at two places is asked for once.
            step.number = numbers.setdefault((ask, path, step.same), len(found))
            if step.number == len(found):
                found.append(ask(path, step.number, step.same))
            step.forget_identity()
    return found


def _own(policy: Policy, target: str, source: str, flags: int, same: tuple[int, int] | None = None) -> Step:
    """Show a directory of the user's own: in strict mode, as the strict id's."""
    if policy.strict:
        return steps.mapped(target, source, flags & ~RECURSIVE, same)
    return steps.bind(target, source, flags, same)


def _home_is_granted(policy: Policy) -> bool:
    return any(grant.path == policy.home for grant in policy.grants)


def _tree(policy: Policy, *, overlaid: bool, passwd: str, group: str) -> list[Step]:
    """Give what is put in place, parents before what lies in them."""
    tmp = [_own(policy, path, policy.layout.tmp, INERT) for path in policy.private_tmp]
    places: list[Place] = [(step.target, [step]) for step in tmp]
    places += [(DEV, _dev(policy, passwd, group)), (RUN, _run(policy))]
    if policy.ssh_files:
        places.append((SSH, _ssh(policy)))
    if policy.runtime_dir:
        places.append((policy.runtime_dir, [steps.tmpfs(policy.runtime_dir, 0o700, INERT | MAKE)]))
    if overlaid:
        places.append((policy.home, _overlay(policy)))
    elif not _home_is_granted(policy):
        places.append((policy.home, [_own(policy, policy.home, policy.layout.home, INERT | MAKE)]))
    places += [(path, [steps.tmpfs(path, 0o755, INERT | NOEXEC)]) for path in policy.skeletons]
    places += [(grant.path, [_grant(policy, grant)]) for grant in policy.grants]
    places += [(path, [steps.pin(path)]) for path in policy.pinned]
    places += [(each.path, [steps.protect(each.path, each.same)]) for each in policy.protected if each.pinned]
    places += [(hidden.path, [_cover(hidden)]) for hidden in policy.hidden]
    # A stable sort by path puts parents first, and the order above decides between equals.
    places.sort(key=lambda place: place[0])
    return [step for _, group in places for step in group]


def _overlay(policy: Policy) -> list[Step]:
    paths = policy.layout
    masks = [steps.mask(path, policy.home) for path in sorted(policy.masks)]
    masks += [steps.held_link(path, target, policy.home) for path, target in policy.held_links]
    flags = MAKE | (NOEXEC if policy.home_noexec else 0) | (MAPPED if policy.mounts_below else 0)
    home = steps.overlay(policy.home, paths.changes, paths.overlay_work, flags, policy.home_same)
    below = [steps.bind(path, path, RDONLY | INERT | RECURSIVE) for path in policy.mounts_below]
    return [*masks, home, *below]


def _grant(policy: Policy, grant: Granted) -> Step:
    flags = INERT | MAKE | (RECURSIVE if grant.type == "directory" else 0) | (RDONLY if grant.readonly else 0)
    if grant.owner == policy.account.uid and grant.type in ("directory", "file"):
        return _own(policy, grant.path, grant.path, flags, grant.same)
    return steps.bind(grant.path, grant.path, flags, grant.same)


def _cover(hidden: Hidden) -> Step:
    if hidden.directory:
        return steps.tmpfs(hidden.path, 0o555, RDONLY | INERT | NOEXEC, "4k")
    # A device node on a nodev mount can not be opened by anybody.
    return steps.bind(hidden.path, "/dev/null", RDONLY | INERT | NOEXEC)


def _dev(policy: Policy, passwd: str, group: str) -> list[Step]:
    found = [steps.tmpfs(DEV, 0o755, NOSUID | NOEXEC, "64k" if not passwd else "4m")]
    found += [steps.bind(path, path, NOSUID | NOEXEC | RDONLY | MAKE) for path in policy.nodes]
    found += [steps.symlink(f"{DEV}/{name}", target) for name, target in DEV_LINKS]
    found += [steps.devpts(f"{DEV}/pts"), steps.tmpfs(f"{DEV}/shm", 0o1777, INERT | MAKE)]
    if policy.script:
        found.append(steps.file(SCRIPT_PLACE, policy.script, 0o600))
    if policy.terminal:
        found.append(steps.bind(f"{DEV}/console", policy.terminal, NOSUID | NOEXEC | RDONLY | MAKE))
    found += [steps.bind(path, path, NOSUID | NOEXEC | RDONLY | RECURSIVE | MAKE) for path in policy.devices]
    if passwd:
        found.append(steps.file(PASSWD_COPY, passwd))
    if group:
        found.append(steps.file(GROUP_COPY, group))
    return found


def _run(policy: Policy) -> list[Step]:
    found = [steps.tmpfs(RUN, 0o755, INERT | NOEXEC)]
    found += [steps.bind(path, source, RDONLY | NOSUID | NODEV | MAKE) for path, source in policy.run_files]
    return found


def _ssh(policy: Policy) -> list[Step]:
    return [
        steps.tmpfs(SSH, 0o755, INERT | NOEXEC, "16m"),
        *(steps.file(path, content) for path, content in policy.ssh_files),
    ]


def _watch(each: Protected) -> Step:
    if each.content is not None:
        return steps.watch_content(each.path, each.content)
    return steps.watch(each.path, each.same, each.changed)


def _command(policy: Policy) -> list[Step]:
    """Give what the command's process does, once the tree stands."""
    environment = dict(policy.environment)
    found = [steps.drop(), steps.spawn(session=policy.session)]
    if policy.scopes:
        found.append(steps.scope(policy.scopes))
    found += [steps.limit(name, value) for name, value in policy.limits if value >= 0]
    found.append(steps.chdir(policy.cwd, policy.otherwise))
    found += [_watch(each) for each in policy.protected]
    if policy.close_fds:
        found += [*(steps.keep(fd) for fd in policy.keep_fds), steps.close()]
    found += [steps.env(name, value) for name, value in policy.environment]
    found += [steps.arg(word) for word in policy.command]
    found.append(steps.filter_calls(strict=policy.strict is not None, openat2=policy.openat2))
    found.append(steps.execute(policy.command[0], environment.get("PATH", DEFAULT_PATH)))
    return found
