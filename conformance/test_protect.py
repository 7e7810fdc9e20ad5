"""What a later git, shell or editor outside would run from the project: seen from both sides."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from conformance import trees
from conformance.abilities import needs
from conformance.accounts import must
from conformance.clauses import clause, guards
from conformance.homes import read
from conformance.jails import also_as_root, for_everybody, in_the_user_s_own_modes

if TYPE_CHECKING:
    from conformance.conftest import MakeJail
    from conformance.homes import Home
    from conformance.manifest import Manifest

# A repository with a hook, an included file, hooks in the work tree, a submodule and a linked worktree;
# beside the project an upstream and the worktree.
REPOSITORY = """
    set -e
    export GIT_CONFIG_GLOBAL=/dev/null
    as_ada() { git -c user.name=Ada -c user.email=ada@example.org -c protocol.file.allow=always "$@"; }
    git init -q -b main ../upstream
    (cd ../upstream; echo 1 > a; as_ada add a; as_ada commit -qm one)
    git init -q -b main .
    as_ada submodule --quiet add ../upstream lib
    echo '#!/bin/sh' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit
    mkdir .githooks; touch .githooks/update shared.gitconfig
    git add .; as_ada commit -qm first --no-verify
    git worktree add -q ../tree
    git remote add origin ../upstream; git push -q origin main:topic; git fetch -q
    git config include.path ../shared.gitconfig
"""
WITH_HOOKS_IN_THE_TREE = "git config core.hooksPath .githooks\n"

# Each act undoes itself, so that where it is allowed the next one finds what it needs.
ACTS = {
    "a new hook": ("open('.git/hooks/post-checkout', 'w')", "EROFS"),
    "a hook's content": ("open('.git/hooks/pre-commit', 'a')", "EROFS"),
    "a hook's mode": ("os.chmod('.git/hooks/pre-commit', 0o700)", "EROFS"),
    "a hook is removed": ("os.unlink('.git/hooks/update.sample')", "EROFS"),
    "other hooks": ("os.rename('.git/hooks', '.git/x'); os.rename('.git/x', '.git/hooks')", "EBUSY"),
    "the configuration": ("open('.git/config', 'a')", "EROFS"),
    "another one": ("shutil.copy('.git/config', 'copy'); os.rename('copy', '.git/config')", "EXDEV"),
    "as git does it": (
        "shutil.copy('.git/config', '.git/copy'); os.rename('.git/copy', '.git/config')",
        "EBUSY",
    ),
    "a second name": ("os.link('.git/config', '.git/second')", "EXDEV"),
    "another .git": ("os.rename('.git', 'x'); os.rename('x', '.git')", "EBUSY"),
    "a link to another": (
        "os.rename('.git', 'x'); os.symlink('x', '.git')\nos.unlink('.git')\nos.rename('x', '.git')",
        "EBUSY",
    ),
    "an included file": ("open('shared.gitconfig', 'a')", "EROFS"),
    "hooks in the work tree": ("open('.githooks/update', 'a')", "EROFS"),
    "a submodule's hook": ("open('.git/modules/lib/hooks/update', 'w')", "EROFS"),
    "a submodule": (
        "os.rename('.git/modules/lib', '.git/modules/x'); os.rename('.git/modules/x', '.git/modules/lib')",
        "EBUSY",
    ),
    "where a worktree has its configuration": ("open('.git/worktrees/tree/commondir', 'a')", "EROFS"),
    "a nested bind": (
        "subprocess.run('unshare -Urm umount .git/hooks'.split(), check=True)",
        "CalledProcessError",
    ),
}

WORK = "git -c user.name=A -c user.email=a@b commit -qm w --allow-empty --no-verify"

# A nested namespace lets go of the tree in which .git/hooks is a mount point and renames it.  Root can not do
# it so: without a capability it can not be mapped there (Linux 5.12).
RENAME = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
uid, gid = os.getuid(), os.getgid()
git = os.open(".git", os.O_RDONLY)
call(libc.unshare(0x10000000 | 0x20000))
for name, text in ("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1"):
    with open(f"/proc/self/{name}", "w") as file:
        file.write(text)
call(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
os.mkdir("/tmp/old")
os.chdir("/tmp")
call(libc.pivot_root(b".", b"old"))
os.chdir("/")
call(libc.umount2(b"/old", 2))
os.rename("hooks", "away", src_dir_fd=git, dst_dir_fd=git)
os.mkdir("hooks", dir_fd=git)
os.close(os.open("hooks/pre-commit", os.O_CREAT | os.O_WRONLY, 0o755, dir_fd=git))
"""


made: dict[str, trees.Tree] = {}


@pytest.fixture
def repository(home: Home) -> Home:
    """The home, whose project is a repository, with others beside: git has made them once."""
    account = home.account
    if account.name in made:
        trees.put_back([made[account.name]], account.name if account.become else "")
    else:
        must(account.sh(REPOSITORY, cwd=home.project))
        if account.host.backend.NAME == "local":
            made[account.name] = trees.take(home.path, home.seen_at)
    return home


def project_of(home: Home) -> Manifest:
    """The project at this moment."""
    return read(home.account.host, home.project)


@clause("P05")
@guards("protected-files", "pinned-folders")
@needs("git")
@for_everybody
def test_what_git_runs_can_not_be_changed(jail: MakeJail, repository: Home, mode: str) -> None:
    """Hooks, configurations, what they name, and the directories that hold them stay as they are."""
    must(repository.account.sh(WITH_HOOKS_IN_THE_TREE, cwd=repository.project))
    acts = {name: act for name, (act, _) in ACTS.items()}
    before = project_of(repository)

    answers = jail(mode).tries(acts)

    after = project_of(repository)
    assert answers == {name: errno for name, (_, errno) in ACTS.items()}
    left = {"copy", ".git/copy"}  # what the acts made before they were refused
    held = {path for path in before if path != "." and "/" in path and path != ".git"}
    assert {path: after[path] for path in held} == {path: before[path] for path in held}
    assert set(after) - set(before) <= left
    must(repository.account.sh("rm -f copy .git/copy", cwd=repository.project))
    control = jail(mode).tries(
        {name: act for name, act in acts.items() if name != "a nested bind"}, "--protect", "none"
    )
    assert set(control.values()) == {"ok"}, control


@clause("P05")
@needs("git")
@for_everybody
def test_a_linked_worktree_with_its_repository_granted(jail: MakeJail, repository: Home, mode: str) -> None:
    """Work goes on in the worktree; `.git`, which leads to the repository, and what git runs there stay."""
    tree, git = f"{repository.path}/tree", f"{repository.project}/.git"
    acts = {
        "the lead": "open('.git', 'a')",
        "another lead": "os.rename('.git', 'x'); os.rename('x', '.git')",
        "a hook": f"open('{git}/hooks/post-checkout', 'w')",
        "work": f"subprocess.run({WORK.split()}, check=True)",
    }

    answers = jail(mode).tries(acts, "-d", git, cwd=tree)

    assert answers == {"the lead": "EROFS", "another lead": "EBUSY", "a hook": "EROFS", "work": "ok"}
    log = must(repository.account.sh("git log --format=%s", cwd=tree))
    assert log.words == ["w", "first"]
    control = jail(mode).tries(acts, "-d", git, "--protect", "none", cwd=tree)
    assert set(control.values()) == {"ok"}


@clause("P05")
@needs("git")
@for_everybody
def test_files_that_are_named_stay_in_every_granted_directory(
    jail: MakeJail, repository: Home, mode: str
) -> None:
    """--protect NAME holds in the current directory and in another grant, from a file as on the line."""
    host, other = repository.account, f"{repository.watched_path}/other"
    must(
        host.sh(
            f"mkdir -p {other}/.vscode .vscode; touch {other}/.vscode/tasks.json .vscode/tasks.json .envrc",
            cwd=repository.project,
        )
    )
    must(host.sh("echo 'protect .vscode/tasks.json' > ~/.jai/named.conf"))
    acts = {
        "here": "open('.vscode/tasks.json', 'a')",
        "there": f"open('{other}/.vscode/tasks.json', 'a')",
        "its folder": "os.rename('.vscode', 'x'); os.rename('x', '.vscode')",
        "on the line": "open('.envrc', 'a')",
        "beside": "open('.vscode/settings.json', 'a')",
    }
    options = ("-d", other, "-C", "named", "--protect", ".envrc")

    answers = jail(mode).tries(acts, *options)

    assert answers == {**dict.fromkeys(acts, "EROFS"), "its folder": "EBUSY", "beside": "ok"}
    control = jail(mode).tries(acts, *options, "--protect", "none")
    assert set(control.values()) == {"ok"}


MADE = {
    "the hooks": ("rm -rf .git/hooks", "mkdir .git/hooks", ".git/hooks", ()),
    "another common directory": ("", "mkdir -p evil; echo ../evil > .git/commondir", ".git/commondir", ()),
    "a worktree's configuration": ("", "touch .git/config.worktree", ".git/config.worktree", ()),
    "a submodule's configuration": (
        "",
        "git config -f .git/modules/lib/config core.fsmonitor evil",
        ".git/modules/lib/config",
        (),
    ),
    "what direnv reads": ("", "echo evil > .envrc", ".envrc", ("--protect", ".envrc")),
    "what an editor reads": (
        "",
        "mkdir -p .vscode; echo {} > .vscode/tasks.json",
        ".vscode/tasks.json",
        ("--protect", ".vscode/tasks.json"),
    ),
    "a link": (
        "ln -s ../good .husky; mkdir -p ../good",
        "rm .husky; ln -s evil .husky",
        ".husky",
        ("--protect", ".husky"),
    ),
}


@clause("P05")
@guards("watched-files")
@needs("git")
@for_everybody
@pytest.mark.parametrize("what", MADE)
def test_what_can_not_be_prevented_is_told(jail: MakeJail, repository: Home, mode: str, what: str) -> None:
    """A missing file leaves nothing in the project; if the jail makes it, jai says so at the end."""
    prepare, act, path, options = MADE[what]
    must(repository.account.sh(prepare or "true", cwd=repository.project))
    before = project_of(repository)

    quiet = jail(mode).sh("true", *options)
    assert (project_of(repository), quiet.stderr) == (before, "")
    told = jail(mode).sh(f"{act}; (exit 7)", *options)

    name = f"{repository.project}/{path}"
    verb = "changed" if what in ("a link", "a submodule's configuration") else "made"
    assert told.stderr.splitlines()[:1] == [f"jai: {name} was {verb} while the jail ran"]
    assert "look at it" in told.stderr
    assert told.rc == 7
    must(repository.account.sh(f"rm -r {path}; {prepare or 'true'} 2>&-", cwd=repository.project))
    control = jail(mode).sh(act, "--protect", "none")
    assert control.stderr == ""


@clause("P05")
@needs("git")
@for_everybody
@pytest.mark.parametrize(("act", "made"), [("git init -q", ".git"), ("git init -q --bare .", "HEAD")])
def test_a_repository_in_a_repository_is_told(
    jail: MakeJail, repository: Home, mode: str, act: str, made: str
) -> None:
    """A new one in the granted part of a repository would be the one that git uses there."""
    part = f"{repository.project}/src"

    told = jail(mode).sh(act, cwd=part)

    assert told.stderr.splitlines()[:1] == [f"jai: {part}/{made} was made while the jail ran"]
    again = jail(mode).sh("true", cwd=part)
    assert (again.stderr, again.rc) == ("", 0)  # it is known now


@clause("P05")
@needs("git")
@also_as_root
def test_it_is_told_too_where_the_launcher_is_not_used(jail: MakeJail, repository: Home) -> None:
    """`python -m jai` runs the jail in its own process and says the same."""
    same = jail("casual")
    told = same.sh("touch .git/commondir")
    assert "commondir was made" in told.stderr

    python = must(repository.account.sh(f"sed -n '1s/^#!//p' {same.jai}-python")).stdout.strip()
    line = [python, "-m", "jai", "-m", "casual", "-j", same.name, "sh", "-c"]

    must(repository.account.sh("rm .git/commondir", cwd=repository.project))
    again = repository.account.run([*line, "touch .git/commondir"], cwd=repository.project)
    control = repository.account.run([*line, "true"], cwd=repository.project)

    assert again.stderr == told.stderr
    assert (control.stderr, control.rc) == ("", 0)


@clause("P05")
@needs("git")
@in_the_user_s_own_modes
def test_a_nested_namespace_that_renames_the_hooks_is_told(
    jail: MakeJail, repository: Home, mode: str
) -> None:
    """The kernel forbids to rename a mount point only where it is one; what that does is seen."""
    seen = jail(mode).run(["/usr/bin/python3", "-I", "-c", RENAME])

    assert f"{repository.project}/.git/hooks was changed while the jail ran" in seen.stderr
    planted = repository.account.sh("test -e .git/hooks/pre-commit && ls .git", cwd=repository.project)
    assert "away" in planted.words  # control: it was


@clause("P03")
@in_the_user_s_own_modes
def test_a_nested_namespace_that_moves_jai_s_own_files_is_told(jail: MakeJail, home: Home, mode: str) -> None:
    """Who grants all of the home is told when what is covered there is replaced."""
    code = RENAME.replace('".git"', '"."').replace('"hooks', '".jai')

    quiet = jail(mode).run(["true"], "-D", "-d", home.path, cwd=home.path)
    seen = jail(mode).run(["/usr/bin/python3", "-I", "-c", code], "-D", "-d", home.path, cwd=home.path)

    assert (quiet.rc, quiet.stderr) == (0, "")
    assert f"{home.path}/.jai was changed while the jail ran" in seen.stderr
    moved = home.account.sh("ls away .jai", cwd=home.path)
    assert "default.conf" in moved.words  # control: it was


@clause("P05")
@needs("git")
@needs("strict mode")
@also_as_root
def test_strict_mode_has_no_nested_namespace_to_rename_in(jail: MakeJail, repository: Home) -> None:
    """The same attempt ends at its first step."""
    before = project_of(repository)

    seen = jail("strict").run(["/usr/bin/python3", "-I", "-c", RENAME])

    assert "PermissionError: [Errno 1]" in seen.stderr
    assert "was changed" not in seen.stderr
    assert project_of(repository) == before


@clause("P05")
@needs("git")
@for_everybody
def test_git_says_what_it_can_not_write(jail: MakeJail, repository: Home, mode: str) -> None:
    """Branches and pushes that only want to note their upstream succeed; what is about the file fails."""
    script = """
        exec 2>&1; export GIT_CONFIG_GLOBAL=/dev/null
        git checkout -q topic && git branch --show-current
        git push -q -u origin HEAD:refs/heads/new && git ls-remote ../upstream new | cut -f2
        git checkout -q main && git branch -q -D topic; echo $?
        git remote add other ../upstream; echo $?
    """
    options = ("-d", f"{repository.path}/upstream")

    seen = jail(mode).sh(script, *options)

    complaint = "error: could not write config file .git/config: Device or resource busy"
    known = (complaint, "warning: update of config-file failed")  # git 2.40 begins it with a capital
    lines = [line for line in seen.stdout.splitlines() if line.replace("Update", "update") not in known]
    assert complaint in seen.stdout
    assert lines == [
        *("topic", "refs/heads/new", "0"),
        *("fatal: could not set 'remote.other.url' to '../upstream'", "128"),
    ]
    control = jail(mode).sh(script, *options, "--protect", "none")
    assert control.words == ["topic", "refs/heads/new", "0", "0"]


@clause("P05")
@needs("git")
@for_everybody
def test_a_name_that_a_jail_made_does_not_steer_the_terminal(
    jail: MakeJail, repository: Home, mode: str
) -> None:
    """A submodule's name with escape sequences in it is told in plain characters."""
    evil = "lib\x1b]0;x\x07\x9bü"
    module = shlex.quote(f".git/modules/{evil}")
    must(repository.account.sh(f"mkdir -p {module}; touch {module}/HEAD", cwd=repository.project))

    seen = jail(mode).sh(f"mkdir {module}/hooks")

    assert "lib\\x1b]0;x\\x07\\xc2\\x9bü/hooks was made" in seen.stderr
    assert "\x1b" not in seen.stderr


@clause("P05")
@for_everybody
def test_what_else_may_run_later_is_listed_on_request(jail: MakeJail, home: Home, mode: str) -> None:
    """With -v the end of a run names new programs and changed build files, whatever times they were given."""
    folders = ".venv/bin node_modules/.bin .vscode"
    prepare = f"mkdir -p {folders}; touch Makefile setup.py .venv/bin/{{old,pip}}; chmod +x .venv/bin/*"
    must(home.account.run(["bash", "-c", prepare], cwd=home.project))
    act = """
        echo 'all: evil' >> Makefile; touch -d @1000000000 Makefile; chmod -x .venv/bin/old; echo > data
        cp /bin/true .venv/bin/tool; ln -s ../x node_modules/.bin/x; touch .vscode/tasks.json
        touch .venv/bin/no-program
        chmod +x .venv/bin/pip
    """

    told = jail(mode).sh(f"{act} (exit 7)", "-v")
    killed = jail(mode).run(["sh", "-c", "touch setup.py; kill -KILL $$"], "-v")
    quiet = jail(mode).sh("touch setup.py")

    head = "jai: changed while the jail ran, and may run later:"
    names = (".venv/bin/pip", ".venv/bin/tool", ".vscode/tasks.json", "Makefile", "node_modules/.bin/x")
    assert told.stderr.splitlines()[-6:] == [head, *(f"  {home.project}/{name}" for name in names)]
    assert told.rc == 7
    assert [f"  {home.project}/setup.py" in killed.stderr.splitlines(), killed.rc] == [True, 137]
    assert (quiet.rc, quiet.stderr) == (0, "")
