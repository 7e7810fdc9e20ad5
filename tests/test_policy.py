"""What the jail may, and what is refused: decisions on machines made of tables."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from jai.errors import HostError, JaiError, RefusedError
from jai.host import Host
from jai.policy import PLAIN_CODE, Hidden, Policy, decide
from tests.fakes import CONF_FILES, HOME, PROJECT, FakeHost, asked

if TYPE_CHECKING:
    from pathlib import Path


def decided(host: FakeHost, *words: str, files: dict[str, bytes] | None = None) -> Policy:
    """Decide on a fake machine."""
    return decide(asked(host, *words, files=files), host)  # type: ignore[arg-type]


def paths(policy: Policy) -> list[str]:
    """Give the granted paths."""
    return [grant.path for grant in policy.grants]


REFUSED = [
    ({"cwd": HOME}, (), "is the home", "-D"),
    ({"cwd": "/home"}, (), "contains the home", "-D"),
    ({"cwd": "/usr"}, (), "belongs to another user", "-D"),
    ({}, ("-d", "/nowhere"), "no such directory", "--dir!"),
    ({}, ("-r", "/nowhere"), "no such directory", "--rdir?"),
    ({}, ("-d", "/usr"), "belongs to another user", "--rdir"),
    ({}, ("-d", "/"), "can not be granted", "your own"),
    ({}, ("-d", "/proc/self"), "can not be granted", "your own"),
    ({}, ("-d", "/dev/null"), "is a device", "--dev"),
    ({}, ("--dev", "/etc"), "not a device", "below /dev"),
    ({}, ("-d", f"{HOME}/.jai"), "jai's own files", "-D"),
    ({"cwd": f"{HOME}/.jai"}, (), "is masked", "-D"),
    ({"cwd": f"{HOME}/.ssh"}, (), "is masked", "-D -d ."),
    ({"cwd": "/proc/self/fd"}, (), "is the kernel's", "-D"),
    ({"cwd": "/sys/fs/cgroup/mine"}, (), "is the kernel's", "-D"),
    ({"cwd": "/sys/fs/cgroup/mine"}, ("-d", "/sys/fs/cgroup/mine"), "is the kernel's", "-D"),
    ({"cwd": "/run/user/1000"}, (), "sockets of your session", "-D"),
    ({"cwd": "/run/user/1000/systemd"}, (), "sockets of your session", "-D -d ."),
    ({}, ("--storage", HOME), "contains the home", "--storage"),
    ({}, ("--storage", "/home"), "belongs to another user", "--storage"),
    ({}, ("--storage", f"{HOME}/.bashrc"), "is not a directory", "--storage"),
    ({}, ("-m", "strict"), "strict", "-m casual"),
    ({}, ("-j", "new"), "strict", "-m bare"),
    ({}, ("--keep-fd", "9"), "not open", "open it"),
]


@pytest.mark.parametrize(("machine", "words", "reason", "hint"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_refused_says_why_and_what_helps(
    machine: dict[str, str], words: tuple[str, ...], reason: str, hint: str
) -> None:
    """A refusal is an error with the reason and a hint, and the same without the cause goes through."""
    host = FakeHost(**machine)  # type: ignore[arg-type]
    for path in ("/nowhere/x", "/proc/self", f"{HOME}/.bashrc"):
        host.add(path, "file")
    for path in ("/proc/self/fd", "/sys/fs/cgroup/mine", "/run/user/1000", "/run/user/1000/systemd"):
        host.add(path, mode=0o700)
    host.add("/dev/null", "device", owner=0)

    with pytest.raises(JaiError) as caught:
        decided(host, *words, "true")

    assert reason in caught.value.message
    assert hint in caught.value.hint
    assert decided(FakeHost(), "true").command == ("true",)  # control


def test_a_place_in_another_runtime_directory() -> None:
    """One that the variable names counts as well; what is below a shared place, or in the home, does not."""
    for runtime, mode, refused in (
        ("/srv/runtime", 0o700, True),
        ("/srv/runtime", 0o755, False),
        (HOME, 0o700, False),
    ):
        host = FakeHost(cwd=f"{runtime}/deep")
        host.env["XDG_RUNTIME_DIR"] = runtime
        host.add(runtime, mode=mode)
        host.add(f"{runtime}/deep")

        if refused:
            with pytest.raises(RefusedError, match="sockets of your session"):
                decided(host, "true")
        else:
            assert paths(decided(host, "true")) == [f"{runtime}/deep"]
        assert paths(decided(host, "-D", "-d", f"{runtime}/deep", "true")) == [f"{runtime}/deep"]


def test_a_configuration_directory_that_holds_the_home() -> None:
    """To hide it would hide the home."""
    host = FakeHost()
    host.env["JAI_CONFIG_DIR"] = HOME
    files = {path.replace(f"{HOME}/.jai", HOME): text for path, text in CONF_FILES.items()}

    with pytest.raises(RefusedError, match="configuration directory /home/ada contains the home"):
        decided(host, "--storage", f"{HOME}/.jai", "true", files={**files, **CONF_FILES})


def test_a_refusal_in_a_file_names_file_and_line() -> None:
    """A grant that a configuration file asks for is blamed on its line."""
    files = {**CONF_FILES, f"{HOME}/.jai/default.conf": b"\nconf .defaults\ndir /nowhere\n"}

    with pytest.raises(RefusedError, match=r"default\.conf:3"):
        decided(FakeHost(), "true", files=files)


def test_nocwd_lifts_the_refusal_of_the_home() -> None:
    """With -D nothing is granted and the jail starts in the home; -Dd HOME grants it all the same."""
    host = FakeHost(cwd=HOME)

    assert paths(decided(host, "-D", "true")) == []
    assert paths(decided(host, "-Dd", HOME, "true")) == [HOME]


def test_a_granted_home_hides_the_storage_and_the_masked_things() -> None:
    """Granting the whole home shows neither jai's own files nor what is masked."""
    policy = decided(FakeHost(cwd=HOME), "-Dd", HOME, "true")

    hidden = {hidden.path for hidden in policy.hidden}
    assert hidden == {f"{HOME}/.jai", f"{HOME}/.ssh", f"{HOME}/.config/gh"}
    assert policy.masks == ()


def test_what_is_covered_in_a_grant_is_watched() -> None:
    """A nested namespace could move it away; jai's own changes in it are no matter."""
    host = FakeHost(cwd=HOME)
    read_only = FakeHost(cwd=HOME)
    read_only.read_only.add(HOME)

    alone = ("--protect", "none", "-Dd", HOME, "true")
    watched = {each.path: (each.same, each.changed) for each in decided(host, *alone).protected}

    places = (f"{HOME}/.jai", f"{HOME}/.ssh", f"{HOME}/.config/gh")
    assert watched == {path: (host.things[path].same, 0) for path in places}
    assert decided(read_only, *alone).protected == ()
    assert decided(FakeHost(), "--protect", "none", "true").protected == ()


def test_a_wider_grant_does_not_lift_a_mask() -> None:
    """Granting .config leaves .config/gh covered; granting .config/gh itself is on purpose."""
    wide = decided(FakeHost(), "-d", f"{HOME}/.config", "true")
    exact = decided(FakeHost(), "-d", f"{HOME}/.config/gh", "true")

    assert Hidden(f"{HOME}/.config/gh", directory=True) in wide.hidden
    assert not exact.hidden
    assert f"{HOME}/.config/gh" in paths(exact)


def test_masks_follow_links_to_the_real_place() -> None:
    """A masked link hides the link and what it leads to, in the home or outside."""
    host = FakeHost()
    host.links[f"{HOME}/.ssh"] = "/data/keys"
    host.add("/data/keys")
    host.links[f"{HOME}/.config"] = "dotfiles/config"
    host.add(f"{HOME}/dotfiles/config/gh")

    policy = decided(host, "true")

    assert ".ssh" in policy.masks
    assert Hidden("/data/keys", directory=True) in policy.hidden
    assert "dotfiles/config/gh" in policy.masks
    assert (".config", f"{policy.home}/dotfiles/config") in policy.held_links


def test_storage_outside_the_home_is_covered_even_before_it_exists() -> None:
    """The storage is made before the command starts, so it is hidden although it is missing now."""
    host = FakeHost()

    policy = decided(host, "--storage", "/data/jails", "true")

    assert Hidden("/data/jails", directory=True) in policy.hidden


def test_the_configuration_in_a_private_place_needs_no_cover() -> None:
    """Below /tmp the host's files are not in the jail anyway."""
    host = FakeHost()
    host.env["JAI_CONFIG_DIR"] = "/tmp/jai-conf"
    host.add("/tmp/jai-conf")

    assert not decided(host, "true", files={}).hidden


def test_a_home_on_nfs_keeps_its_changes_on_a_local_disk() -> None:
    """Storage that can hold no upper layer moves to /var/tmp, is said once, and can be chosen."""
    host = FakeHost()
    host.unfit[HOME] = "NFS"

    policy = decided(host, "true")

    assert policy.layout.changes == "/var/tmp/jai-1000/default.changes"
    assert "storage" in policy.notes[0]
    host.add("/var/tmp/jai-1000", mode=0o700)
    assert decided(host, "true").notes == ()
    host.unfit["/var/tmp"] = "overlayfs"
    with pytest.raises(HostError, match="can keep what the jail changes"):
        decided(host, "true")


def test_a_mount_below_the_home_is_refused_in_casual_only() -> None:
    """The kernel lets no user uncover what a mount hides; bare mode does not look into the home."""
    host = FakeHost()
    host.mounts = (f"{HOME}/photos", f"{HOME}/music", "/mnt")

    with pytest.raises(HostError, match="/home/ada/photos") as caught:
        decided(host, "true")

    assert "-m bare" in caught.value.hint
    assert "/mnt" not in caught.value.message
    assert decided(host, "-m", "bare", "true").mode == "bare"


def test_a_read_only_mount_is_granted_read_only() -> None:
    """The kernel would refuse to make a locked read-only mount writable."""
    host = FakeHost()
    host.read_only.add(PROJECT)

    assert [grant.readonly for grant in decided(host, "true").grants] == [True]


def test_missing_directories_are_made_only_where_asked() -> None:
    """--dir! makes, --dir? ignores."""
    made = decided(FakeHost(), "--dir!", "/home/ada/new", "true")
    ignored = decided(FakeHost(), "--dir?", "/home/ada/new", "true")

    assert made.create == ("/home/ada/new",)
    assert "/home/ada/new" in paths(made)
    assert ignored.create == ()
    assert paths(ignored) == [PROJECT]


def test_a_socket_may_be_somebody_elses() -> None:
    """A socket is granted by name; its own permissions decide who may connect."""
    host = FakeHost()
    host.add("/run/docker.sock", "socket", owner=0)

    assert "/run/docker.sock" in paths(decided(host, "-d", "/run/docker.sock", "true"))


def test_a_directory_on_standard_input_is_refused() -> None:
    """Through it the command would reach the real tree."""
    host = FakeHost()
    host.directories_open = (0,)

    with pytest.raises(RefusedError, match="standard input"):
        decided(host, "true")


def test_a_tmpdir_that_is_read_only_inside_is_dropped() -> None:
    """TMPDIR on the host's tree would break every program that trusts it; one in /tmp stays."""
    host = FakeHost()
    host.env["TMPDIR"] = "/scratch"
    assert "TMPDIR" not in dict(decided(host, "true").environment)
    host.env["TMPDIR"] = "/tmp/mine"
    assert "TMPDIR" not in dict(decided(host, "true").environment)
    host.env["TMPDIR"] = "/tmp"
    assert dict(decided(host, "true").environment)["TMPDIR"] == "/tmp"
    host.env["TMPDIR"] = "/data"
    host.add("/data")
    assert dict(decided(host, "-d", "/data", "true").environment)["TMPDIR"] == "/data"
    assert "TMPDIR" not in dict(decided(host, "-r", "/data", "true").environment)
    host.env["TMPDIR"] = f"{HOME}/tmp"
    assert dict(decided(host, "true").environment)["TMPDIR"] == f"{HOME}/tmp"


def test_the_environment_is_scrubbed_and_told_who_and_where() -> None:
    """Secrets go, jai's own words and the true user come."""
    host = FakeHost()
    host.env |= {"USER": "somebody", "JAI_CONFIG_DIR": f"{HOME}/.jai"}

    environment = dict(decided(host, "true").environment)

    assert "GH_TOKEN" not in environment
    assert "JAI_CONFIG_DIR" not in environment
    assert (environment["USER"], environment["PWD"], environment["JAI_MODE"]) == ("ada", PROJECT, "casual")


def test_where_the_current_directory_is_not_in_the_jail_it_starts_in_the_home() -> None:
    """Below /tmp and, in bare mode, below the home, what is outside is not inside."""
    host = FakeHost()

    bare = decided(host, "-m", "bare", "-D", "true")
    casual = decided(host, "-D", "true")

    assert (bare.cwd, casual.cwd) == (HOME, PROJECT)
    assert "starting in /home/ada" in bare.notes[0]


def test_root_does_not_get_a_system_folder_by_standing_in_it() -> None:
    """For root everything is its own; the system is still not a project."""
    host = FakeHost(cwd="/etc", uid=0)
    for path in (HOME, f"{HOME}/.jai", "/etc"):
        host.add(path, owner=0)

    with pytest.raises(RefusedError, match="is the system's"):
        decided(host, "true")


def test_a_new_jail_remembers_the_mode_it_was_given() -> None:
    """The mode is to be written down when it was chosen and the jail has no file yet."""
    assert decided(FakeHost(), "-m", "bare", "-j", "new", "true").write_mode
    assert not decided(FakeHost(), "true").write_mode


def test_a_grant_does_not_follow_a_link_that_a_jail_could_have_made() -> None:
    """A link in the project may lead anywhere; one directly in the home is the user's word."""
    host = FakeHost()
    host.add(f"{HOME}/docs")
    host.links[f"{PROJECT}/data"] = HOME
    host.links[f"{HOME}/src"] = "docs"

    with pytest.raises(RefusedError, match="a jail could have made") as caught:
        decided(host, "-d", f"{PROJECT}/data", "true")

    assert HOME in caught.value.hint
    assert f"{HOME}/docs" in paths(decided(host, "-d", f"{HOME}/src", "true"))


def test_a_link_that_comes_and_goes_grants_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A jail that runs can swap a folder and a link; the two looks at the grant must have seen the same."""
    host = FakeHost()
    host.add(f"{HOME}/docs")
    host.add(f"{PROJECT}/data")
    real, swapped = host.real, {f"{PROJECT}/data": f"{HOME}/docs"}
    monkeypatch.setattr(host, "real", lambda path: swapped.get(path) or real(path))

    with pytest.raises(RefusedError, match="changes while jai looks"):
        decided(host, "-d", f"{PROJECT}/data", "true")

    monkeypatch.undo()
    assert f"{PROJECT}/data" in paths(decided(host, "-d", f"{PROJECT}/data", "true"))  # control


def test_a_link_below_a_folder_that_jails_write_to_is_not_trusted() -> None:
    """Whoever owns the folder it lies in: one above it could be swapped."""
    host = FakeHost()
    host.add(f"{HOME}/docs")
    host.add(f"{PROJECT}/bobs", owner=0)
    host.links[f"{PROJECT}/bobs/data"] = f"{HOME}/docs"

    with pytest.raises(RefusedError, match="a jail could have made"):
        decided(host, "-d", f"{PROJECT}/bobs/data", "true")


def test_folders_above_a_home_in_a_grant_are_pinned() -> None:
    """Renamed, they would let the next jail take a decoy for the home."""
    host = FakeHost()
    host.add("/srv")
    host.add("/srv/x/home")
    host.add("/srv/x")
    host.home = host.env["HOME"] = "/srv/x/home"
    host.add("/srv/x/home/.jai")
    files = {path.replace(HOME, host.home): text for path, text in CONF_FILES.items()}

    for mode in ("casual", "bare"):
        policy = decided(
            host, "-D", "-d", "/srv", "-m", mode, "--storage", "/srv/x/home/.jai", "true", files=files
        )
        assert "/srv/x" in policy.pinned


def test_folders_above_what_is_covered_in_a_grant_are_pinned() -> None:
    """Renaming them would show what is covered under another name in the next run."""
    host = FakeHost(cwd=f"{HOME}/.local")
    for path in (".local", ".local/share", ".local/share/keyrings"):
        host.add(f"{HOME}/{path}")

    policy = decided(host, "--mask", ".local/share/keyrings", "-r", f"{PROJECT}", "true")

    assert Hidden(f"{HOME}/.local/share/keyrings", directory=True) in policy.hidden
    assert policy.pinned == (f"{HOME}/.local/share",)
    nested = decided(FakeHost(cwd=PROJECT), "-d", PROJECT, "true")
    assert nested.pinned == ()  # control


def test_jails_own_files_do_not_live_where_jails_write() -> None:
    """A jail that can write its own configuration decides what the next one may."""
    host = FakeHost()
    for path in (f"{PROJECT}/a", f"{PROJECT}/a/jails"):
        host.add(path)

    with pytest.raises(RefusedError, match="lies in the granted directory"):
        decided(host, "--storage", f"{PROJECT}/a/jails", "true")

    assert decided(host, "-D", "--storage", f"{PROJECT}/a/jails", "true").grants == ()


def test_masks_hold_where_the_home_is_mounted_a_second_time() -> None:
    """The same files below another mount point are covered there."""
    host = FakeHost()
    host.views[HOME] = ("/mnt/disk/ada",)
    host.add("/mnt/disk/ada/.ssh")

    hidden = decided(host, "true").hidden

    assert Hidden("/mnt/disk/ada/.ssh", directory=True) in hidden
    assert Hidden("/mnt/disk/ada/.jai", directory=True) in hidden


def test_sockets_that_make_root_are_covered() -> None:
    """LXD's and Incus's sockets are not below /run, and a read-only mount does not stop connect(2)."""
    host = FakeHost()
    host.add("/var/lib/incus", owner=0)

    assert decided(host, "true").hidden == (Hidden("/var/lib/incus", directory=True),)


def test_an_empty_command_is_not_found() -> None:
    """It is what the shell would say, not a fault in jai."""
    with pytest.raises(JaiError, match="empty word") as caught:
        decided(FakeHost(), "")

    assert caught.value.status == 127


def test_strict_needs_the_helper_and_its_user() -> None:
    """Both come with the set-up; without either the hint names it."""
    host = FakeHost()
    host.set_up_strict()
    assert decided(host, "-m", "strict", "true").strict is not None
    del host.users["jai"]

    with pytest.raises(HostError, match="has not been set up") as caught:
        decided(host, "-m", "strict", "true")

    assert "--setup" in caught.value.hint


def test_root_s_first_strict_jail_makes_what_it_needs() -> None:
    """Only a plan finds nothing: it makes nothing, and says what will."""
    host = FakeHost()
    host.own_helper = "/lib/jai/helper/jai-idmap"

    with pytest.raises(HostError, match="the user jai") as caught:
        decided(host, "-m", "strict", "true")

    assert "without --plan" in caught.value.hint


def test_strict_says_what_it_can_not_write_to() -> None:
    """The helper maps one group, the user's own; what is granted read-only does not matter."""
    host = FakeHost()
    host.set_up_strict()
    host.things["/home/ada/project"].group = 60
    notes = decided(host, "-m", "strict", "true").notes
    assert [note.partition(",")[0] for note in notes] == ["/home/ada/project is of the group 60"]
    assert decided(host, "-m", "strict", "-D", "-r", "/home/ada/project", "true").notes == ()

    host.things["/home/ada/project"].group = host.account.gid

    assert decided(host, "-m", "strict", "true").notes == ()


def test_strict_leads_to_its_grants_past_closed_doors() -> None:
    """A directory that the strict id may not pass becomes one that shows only the way."""
    host = FakeHost()
    host.set_up_strict()
    host.add("/data", owner=0)
    host.add("/data/ada", mode=0o700)
    host.add("/data/ada/set")

    assert decided(host, "-m", "strict", "-d", "/data/ada/set", "true").skeletons == ("/data/ada",)
    assert decided(host, "-m", "bare", "-d", "/data/ada/set", "true").skeletons == ()


def test_scripts_are_put_together_and_bash_runs_them() -> None:
    """Each file counts once, comments alone count for nothing, and then CMD is run without bash."""
    host = FakeHost()
    host.texts = {f"{HOME}/.jai/a": "A=1\n", f"{HOME}/.jai/b": "# nothing\n\n"}
    words = ("--command", PLAIN_CODE, "--script", "b")

    plain = decided(host, *words, "make")
    coded = decided(host, *words, "--script", "a", "--script", "a", "make", "-j2")

    assert (plain.command, plain.script) == (("make",), "")
    assert coded.command == ("/bin/bash", "-c", PLAIN_CODE, "make", "-j2")
    assert coded.script.count("A=1") == 1
    assert dict(coded.environment)["JAI_SCRIPT"] == "/dev/shm/jai-script"
    with pytest.raises(RefusedError, match="can not be read"):
        decided(host, "--script", "missing", "make")
    assert decided(host, "--script?", "missing", "make").command == ("make",)


def test_other_code_always_runs_in_bash() -> None:
    """What the user wrote is run, with or without a script."""
    assert decided(FakeHost(), "--command", 'exec "$0" "$@"', "make").command[:2] == ("/bin/bash", "-c")


def test_initjail_is_a_program() -> None:
    """A file that can not be executed is refused, a missing one only without the question mark."""
    host = FakeHost()
    host.add(f"{HOME}/.jai/setup", "file", mode=0o644)

    with pytest.raises(RefusedError, match="is not a program"):
        decided(host, "--initjail", "setup", "true")

    assert decided(host, "--initjail?", "missing", "true").initjail == ""
    host.add(f"{HOME}/.jai/setup", "file", mode=0o755)
    assert decided(host, "--initjail", "setup", "true").initjail == f"{HOME}/.jai/setup"


def test_a_file_system_without_user_xattrs_keeps_no_changes(tmp_path: Path) -> None:
    """An overlay could not remove or replace a directory there: tmpfs before Linux 6.6, and procfs here."""
    host = Host(dict(os.environ))

    assert host.unfit_for_upper("/proc") == "a file system without user extended attributes"
    assert host.unfit_for_upper(str(tmp_path / "not made yet")) == ""
