"""Fill the current directory with what a user's home is like, and another with what is watched outside of it.

It runs by itself as the account whose trees they are: standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys


def write(path: str, content: str = "", mode: int = 0o644) -> None:
    """Make a file with all its parents."""
    if os.path.dirname(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(content or f"# the content of {path!a}\n")
    os.chmod(path, mode)


def home(masked: list[str]) -> None:
    """A developer's home of some 200 entries."""
    os.chmod(".", 0o750)
    for path in masked:
        directory = "." not in os.path.basename(path).lstrip(".") and not path.endswith(
            ("history", ".netrc", ".git-credentials", ".npmrc", ".pypirc", ".vault-token")
        )
        write(f"{path}/secret" if directory else path, f"secret of {path}\n", 0o600)
    write(".ssh/id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\nnot a key\n", 0o600)
    write(".ssh/authorized_keys", "ssh-ed25519 AAAA ada@example.org\n", 0o600)
    os.chmod(".ssh", 0o700)
    for name in (".bashrc", ".profile", ".zshenv", ".vimrc", ".tmux.conf", "notes.txt", "TODO.md"):
        write(name)
    write(".gitconfig", "[user]\n\tname = Ada\n\temail = ada@example.org\n[init]\n\tdefaultBranch = main\n")
    write(".config/autostart/agent.desktop", "[Desktop Entry]\n")
    write(".config/systemd/user/backup.service", "[Service]\n")
    write(".local/bin/deploy", "#!/bin/sh\necho deploy\n", 0o755)
    for year in (2019, 2020, 2021, 2022):
        for number in range(20):
            write(f"Photos/{year}/IMG_{number:04}.jpg", f"JPEG {year} {number}\n" * 20)
    for number in range(30):
        write(f"Documents/letters/letter {number}.txt")
    for name in (
        "Grüße.txt",
        "日本語",
        " leading and trailing ",
        "-rf",
        "*",
        "new\nline",
        os.fsdecode(b"caf\xe9"),
    ):
        write(f"odd/{name}")
    odd_files()
    repository("src/tool")
    write("project/README.md", "# project\n")
    write("project/src/main.c", "int main(void) { return 0; }\n")


def odd_files() -> None:
    """Links, modes, attributes, holes and special files."""
    os.symlink("notes.txt", "link to notes")
    os.symlink("/nonexistent/target", "dangling")
    os.symlink("loop", "loop")
    os.symlink("../..", "Documents/up")
    os.link("notes.txt", "Documents/notes, hard")
    write("modes/readonly", mode=0o444)
    write("modes/nothing", mode=0)
    write("modes/program", "#!/bin/sh\n", mode=0o755)
    os.makedirs(
        "modes/closed"
    )  # empty: removing what lies in it would fail for its owner, and hide a jail's failure
    os.chmod("modes/closed", 0)
    os.makedirs("modes/sticky")
    os.chmod("modes/sticky", 0o1777)
    with open("sparse.img", "wb") as file:
        file.write(b"head")
        file.truncate(1 << 20)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    with contextlib.suppress(OSError):  # not every file system has them; where it has, they are watched
        os.setxattr("notes.txt", "user.comment", b"mine")
        os.setxattr("Photos", "user.album", b"all")
    if shutil.which("setfacl"):
        subprocess.run(["setfacl", "-m", "u:65534:r", "TODO.md"], check=False, stderr=subprocess.DEVNULL)


def repository(path: str) -> None:
    """A git project with a history and uncommitted work."""
    write(f"{path}/tool.py", "print('tool')\n")
    if shutil.which("git"):
        git = [
            "git",
            "-C",
            path,
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=a@b",
            "-c",
            "init.defaultBranch=main",
        ]
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
            subprocess.run([*git, *words], check=True)
    write(f"{path}/tool.py", "print('tool, with uncommitted work')\n")
    write(f"{path}/untracked.txt")


def watched() -> None:
    """Files of the same user outside the home, some of which the world may write."""
    write("file", "watched\n")
    write("private", "for the user's eyes\n", 0o600)
    write("open to all", mode=0o666)
    write("data/table.csv", "1,2,3\n" * 100)
    os.makedirs("drop box")
    os.chmod("drop box", 0o1777)
    write("drop box/canary")
    os.symlink("file", "link")


def age() -> None:
    """Give everything an old, odd time, so that any touch shows."""
    for folder, dirs, files in os.walk(".", topdown=False):
        for number, name in enumerate(sorted([*dirs, *files])):
            moment = 1_500_000_000_123_456_789 + number * 1_000_000_007
            os.utime(os.path.join(folder, name), ns=(moment, moment), follow_symlinks=False)
    os.utime(".", ns=(1_500_000_000_000_000_001, 1_500_000_000_000_000_001))


home(json.loads(sys.argv[1]))
age()
os.chdir(sys.argv[2])
watched()
age()
