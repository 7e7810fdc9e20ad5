"""Which files of a granted directory are protected: decisions on machines made of tables."""

from __future__ import annotations

import errno
import time

import pytest

from jai import steps
from jai.errors import RefusedError, UsageError
from jai.explain import explain
from jai.policy import Policy, decide
from tests.fakes import CONF_FILES, HOME, PROJECT, FakeHost, add_repository, asked

GIT = f"{PROJECT}/.git"


def with_repository(config: str = "[core]\n", cwd: str = PROJECT) -> FakeHost:
    """Give a machine whose project is a repository."""
    host = FakeHost(cwd=cwd)
    host.add(cwd)
    add_repository(host, GIT, config)
    return host


def decided(host: FakeHost, *words: str, files: dict[str, bytes] | None = None) -> Policy:
    """Decide on a fake machine."""
    return decide(asked(host, *words, files=files), host)  # type: ignore[arg-type]


def pinned(policy: Policy, top: str = PROJECT) -> set[str]:
    """Give what is read-only, relative to a directory."""
    return {each.path.removeprefix(f"{top}/") for each in policy.protected if each.pinned}


def watched(policy: Policy, top: str = PROJECT) -> set[str]:
    """Give what is missing or a link, and looked for later."""
    return {each.path.removeprefix(f"{top}/") for each in policy.protected if not each.pinned}


def test_a_repository_is_protected_unless_that_is_switched_off() -> None:
    """Hooks and config are read-only by default, what is missing is watched, `none` leaves nothing."""
    policy = decided(with_repository(), "true")

    assert pinned(policy) == {".git/hooks", ".git/config"}
    assert watched(policy) == {".git/commondir", ".git/config.worktree"}
    assert policy.pinned == (GIT,)
    assert decided(with_repository(), "--protect", "none", "true").protected == ()
    assert decided(with_repository(), "--unprotect", "git", "true").protected == ()


def test_a_directory_without_a_repository_is_watched_for_a_new_one() -> None:
    """In it git would run what the new one says, although there may be another one above."""
    host = FakeHost()
    assert watched(decided(host, "true")) == {".git", "HEAD"}
    assert pinned(decided(host, "true")) == set()

    host.add(f"{PROJECT}/HEAD", "file")
    assert watched(decided(host, "true")) == {".git", "objects"}

    host = with_repository(cwd=f"{PROJECT}/src")
    host.add(f"{PROJECT}/src")
    assert {f"src/{name}" for name in (".git", "HEAD")} <= watched(decided(host, "-d", PROJECT, "true"))


def test_a_repository_between_here_and_the_grant_counts_and_others_do_not() -> None:
    """The directories from the current one up to the grant's top are looked at, siblings are not."""
    host = with_repository(cwd=f"{PROJECT}/src/deep")
    add_repository(host, f"{PROJECT}/src/.git")
    add_repository(host, f"{PROJECT}/vendor/.git")

    policy = decided(host, "-D", "-d", PROJECT, "true")

    assert pinned(policy) == {".git/hooks", ".git/config", "src/.git/hooks", "src/.git/config"}
    assert policy.pinned == (GIT, f"{PROJECT}/src", f"{PROJECT}/src/.git")


def test_what_is_read_only_anyway_needs_nothing() -> None:
    """Neither a read-only grant nor a repository above the grant has anything to protect."""
    above = with_repository(cwd=f"{PROJECT}/src")

    assert decided(with_repository(), "-D", "-r", PROJECT, "true").protected == ()
    assert pinned(decided(above, "true")) == set()
    assert pinned(decided(above, "-d", PROJECT, "true")) != set()  # control


def test_a_grant_that_is_a_git_directory_itself() -> None:
    """A bare repository, or .git alone, is known by its HEAD and objects."""
    host = FakeHost()
    add_repository(host, "/srv/repo.git")

    policy = decided(host, "-d", "/srv/repo.git", "true")

    assert pinned(policy, "/srv/repo.git") == {"hooks", "config"}


def test_what_is_granted_by_name_is_not_protected() -> None:
    """Who grants the hooks themselves wants to write them."""
    policy = decided(with_repository(), "-d", f"{GIT}/hooks", "true")

    assert pinned(policy) == {".git/config"}


def test_a_linked_worktree_and_its_common_directory() -> None:
    """`.git` is a file that leads to the repository, whose hooks and config count where they are granted."""
    host = FakeHost()
    main = f"{HOME}/main"
    host.add(main)
    add_repository(host, f"{main}/.git")
    own = f"{main}/.git/worktrees/project"
    host.add(own)
    host.add(GIT, "file")
    host.texts[GIT] = f"gitdir: {own}\n"
    host.add(f"{own}/commondir", "file")
    host.texts[f"{own}/commondir"] = "../..\n"

    alone = decided(host, "true")
    both = decided(host, "-d", main, "true")

    assert pinned(alone) == {".git"}
    assert pinned(both) == {".git"} | {
        f"{main}/.git/{name}" for name in ("hooks", "config", "worktrees/project/commondir")
    }


def test_submodules_also_with_slashes_in_their_names_and_in_one_another() -> None:
    """Each git directory below .git/modules has hooks, and a config that git writes all the time."""
    host = with_repository()
    for name in ("one", "group/two", "one/modules/inner"):
        add_repository(host, f"{GIT}/modules/{name}")

    policy = decided(host, "true")
    found = pinned(policy)

    assert {f".git/modules/{name}/hooks" for name in ("one", "group/two", "one/modules/inner")} <= found
    assert len(found) == 5
    held = {each.path: each.content for each in policy.protected if each.content}
    assert held == {
        f"{GIT}/modules/{name}/config": "[core]\n" for name in ("one", "group/two", "one/modules/inner")
    }


def test_files_that_the_configuration_names() -> None:
    """An included file and the directory of core.hooksPath are as good as the config itself."""
    config = """
        [core]
            hooksPath = .githooks
        [include]
            path = ../shared.conf
        [includeIf "onbranch:x"] path = "~/project/other.conf"
        [remote "x"]
            path = no
    """
    host = with_repository(config)
    host.add(f"{PROJECT}/.githooks")
    host.add(f"{PROJECT}/shared.conf", "file")
    host.add(f"{PROJECT}/other.conf", "file")

    assert pinned(decided(host, "true")) == {
        *(".git/hooks", ".git/config", ".githooks", "shared.conf", "other.conf"),
    }


@pytest.mark.parametrize("line", [
    "hooksPath = .githooks # team",
    "hooksPath = .githooks;team",
    'hooksPath = ".githooks" # "x"',
    'hooksPath = .git"hoo"ks',
    "hooksPath = ~/project/.githooks",
    "hooksPath = .git\\\nhooks  \t",
    "hooksPath = \\\n  .githooks\r",
    "# a comment does not go on \\\n\thooksPath = .githooks",
    "x = y # nor does this \\\n\thooksPath = .githooks",
    "x = y \\\n[z]\nhooksPath = .githooks",
    "HOOKSPATH=.githooks",
    '[a "]\\"["]\n[b]x=y\n[core] bare\nhooksPath = .githooks',
    "x = \n;\nhooksPath = .githooks",
])  # fmt: skip
def test_what_git_reads_in_a_line(line: str) -> None:
    """Comments, quotes, and lines that go on."""
    host = with_repository(f"[user]\n\tname = a\n[core]\n\t{line}\n")
    host.add(f"{PROJECT}/.githooks")

    assert ".githooks" in pinned(decided(host, "true"))


def test_hooks_that_an_included_or_another_configuration_names() -> None:
    """An included file may name them, and a worktree's configuration, the user's and the machine's."""
    team = "[core]\nhooksPath = .githooks\n"
    for place, config in (
        (f"{PROJECT}/team.conf", "[include]\npath = ../team.conf\n"),
        (f"{GIT}/config.worktree", "[core]\n"),
        (f"{HOME}/.gitconfig", "[core]\n"),
        (f"{HOME}/.config/git/config", "[core]\n"),
        ("/etc/gitconfig", "[core]\n"),
    ):
        host = with_repository(config)
        host.add(f"{PROJECT}/.githooks")
        assert ".githooks" not in pinned(decided(host, "true"))

        host.add(place, "file")
        host.texts[place] = team

        assert ".githooks" in pinned(decided(host, "true")), place


def test_files_that_include_one_another_end() -> None:
    """As they would for git; what each names counts."""
    host = with_repository("[include]\npath = ../a\n")
    for name, other in (("a", "b"), ("b", "a")):
        host.add(f"{PROJECT}/{name}", "file")
        host.texts[f"{PROJECT}/{name}"] = f"[include]\npath = {other}\n[core]\nhooksPath = .{name}\n"
        host.add(f"{PROJECT}/.{name}")

    assert {"a", "b", ".a", ".b"} <= pinned(decided(host, "true"))


def test_more_includes_than_anybody_has() -> None:
    """A jail may have made them; nothing starts that would not be protected, and reading comes to an end."""
    host = with_repository("[include]\n" + "".join(f"path = ../x{number}\n" for number in range(1100)))

    with pytest.raises(RefusedError, match="need protection"):
        decided(host, "true")


def test_reading_a_configuration_takes_time_with_its_size() -> None:
    """Not with its square: one line that goes on over ten thousand."""
    host = with_repository("[core]\nhooksPath = x\\\n" + "a\\\n" * 20_000)
    began = time.process_time()

    decided(host, "true")

    assert time.process_time() - began < 1


def test_hooks_in_the_work_tree_of_a_submodule() -> None:
    """Its configuration says where that is."""
    host = with_repository()
    config = "[core]\nworktree = ../../../lib\nhooksPath = .githooks\n"
    add_repository(host, f"{GIT}/modules/lib", config)
    host.add(f"{PROJECT}/lib/.githooks")

    assert "lib/.githooks" in pinned(decided(host, "true"))


def test_a_configuration_that_names_what_is_not_granted_changes_nothing() -> None:
    """Hooks in /dev/null, or includes outside of the grant, are nobody's to write inside."""
    host = with_repository("[core]\nhooksPath = /dev/null\n[include]\npath = ~/.gitalias\n")

    assert pinned(decided(host, "true")) == {".git/hooks", ".git/config"}


def test_a_link_is_watched_and_what_it_leads_to_is_read_only() -> None:
    """Nothing can be mounted on a link."""
    host = with_repository()
    host.add(f"{PROJECT}/tools/hooks")
    host.links[f"{GIT}/hooks"] = "../tools/hooks"

    policy = decided(host, "true")

    assert pinned(policy) == {".git/config", "tools/hooks"}
    assert ".git/hooks" in watched(policy)
    assert policy.pinned == (GIT, f"{PROJECT}/tools")


def test_names_are_meant_in_each_granted_directory_and_paths_where_they_are() -> None:
    """A relative name is looked for in every directory that can be written to; what is missing is watched."""
    host = with_repository()
    host.add(f"{PROJECT}/.envrc", "file")
    host.add("/data")
    host.add("/data/set/.husky")
    host.add("/data/set")

    policy = decided(
        host,
        *("-d", "/data/set", "--protect", ".envrc", "--protect", "~/project/x"),
        "--protect=.husky/",
        "true",
    )

    assert pinned(policy) == {".git/hooks", ".git/config", ".envrc", "/data/set/.husky"}
    assert {"x", ".husky", "/data/set/.envrc"} <= watched(policy)
    assert watched(decided(host, "--protect", "none", "--protect", "./git", "true")) == {"git"}


def test_later_layers_undo_what_earlier_ones_said() -> None:
    """Like masks: a file says what is protected, the command line takes back one or all."""
    files = {**CONF_FILES, f"{HOME}/.jai/default.conf": b"protect .envrc\nprotect .vscode/tasks.json\n"}

    assert asked(FakeHost(), "true", files=files).protected == ("git", ".envrc", ".vscode/tasks.json")
    assert asked(FakeHost(), "--unprotect", ".envrc", "true", files=files).protected == (
        "git",
        ".vscode/tasks.json",
    )
    assert asked(FakeHost(), "--protect", "none", "true", files=files).protected == ()
    assert asked(FakeHost(), "--protect", "none", "--protect", "./git", "true", files=files).protected == (
        "./git",
    )


@pytest.mark.parametrize("value", [".", "..", "../x", "a/../../b"])
def test_a_name_that_leads_out_of_the_grant_is_refused(value: str) -> None:
    """Every granted directory has its own; the directory itself or its parent is a mistake."""
    with pytest.raises(UsageError, match="granted directory"):
        asked(FakeHost(), "--protect", value, "true")
    assert asked(FakeHost(), "--protect", "a/../b", "true").protected == ("git", "b")  # control


def test_what_a_jail_may_have_planted_does_not_overwhelm_the_next_one() -> None:
    """Links without end, files that are none, absurd names and numbers: an answer or a clear refusal."""
    host = with_repository()
    host.add(f"{PROJECT}/{'x' * 200}/.git", "fifo")
    host.texts[f"{GIT}/commondir"] = "../" * 2000 + "dev/null"
    assert pinned(decided(host, "true")) == set()

    host = with_repository()
    for number in range(600):
        add_repository(host, f"{GIT}/modules/m{number}")
    with pytest.raises(RefusedError, match="at most 1000") as caught:
        decided(host, "true")
    assert "--protect none" in caught.value.hint


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENOENT, errno.ELOOP, errno.ENOSPC, errno.EACCES])
def test_what_can_not_be_protected_is_explained(number: int) -> None:
    """The command does not start then; the message has the path or the cause, and what helps."""
    host = with_repository()
    step = steps.protect(f"{GIT}/hooks", (1, 2))

    error = explain(step, number, decided(host, "true"), host)  # type: ignore[arg-type]

    assert f"protect {GIT}/hooks" in error.detail
    assert f"{GIT}/hooks" in error.message or number == errno.ENOSPC
    assert error.hint
