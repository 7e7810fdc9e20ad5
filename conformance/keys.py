"""Types at a bash on a terminal of its own, and tells what the terminal has shown.

Stdlib only and self-contained: it is run by the account that is judged.  Its words are a folder and JSON,
[[WHAT, VALUE…], …]: ["type", TEXT] presses keys; ["see", TEXT] waits for what appears, and tells all that has
come since the last text that was waited for; ["size", ROWS, COLUMNS] resizes the window.  The answer is JSON
too: {"seen": [TEXT, …], "missing": the text that did not appear}.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

SHELL = ("bash", "--norc", "--noprofile", "--noediting", "-i")
PROMPT = "@ready@ "
DEADLINE = 45  # seconds for all of it: an emulated machine is slow
ROWS, COLUMNS = 24, 80


class Terminal:
    """The shell's terminal, and what it has shown that nobody has waited for yet."""

    def __init__(self, descriptor: int) -> None:
        """Take the master's descriptor."""
        self.descriptor = descriptor
        self.shown = ""
        self.deadline = time.monotonic() + DEADLINE

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.descriptor, text.encode())

    def size(self, rows: int, columns: int) -> None:
        """Resize the window."""
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def see(self, text: str) -> str | None:
        """Wait for a text; give what came before it, None if it does not appear."""
        while text not in self.shown:
            left = self.deadline - time.monotonic()
            if left <= 0 or not select.select([self.descriptor], [], [], left)[0]:
                return None
            try:
                data = os.read(self.descriptor, 4096)
            except OSError:  # the shell has ended
                data = b""
            if not data:
                return None
            self.shown += data.decode(errors="replace")
        before, _, self.shown = self.shown.partition(text)
        return before


def dialogue(terminal: Terminal, acts: list[list[str]]) -> dict[str, object]:
    """Do one thing after the other, until something does not appear."""
    seen: list[str] = []
    for what, *values in [["see", PROMPT], *acts]:
        if what == "type":
            terminal.type(*values)
        elif what == "size":
            terminal.size(*map(int, values))
        else:
            before = terminal.see(*values)
            if before is None:
                return {"seen": [*seen, terminal.shown], "missing": values[0]}
            seen.append(before)
    return {"seen": seen, "missing": ""}


def main(folder: str, acts: str) -> None:
    """Start the shell in a folder, type, and tell."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe(SHELL[0], SHELL, {**os.environ, "PS1": PROMPT, "HISTFILE": "", "TERM": "xterm"})
    terminal = Terminal(descriptor)
    terminal.size(ROWS, COLUMNS)
    try:
        print(json.dumps(dialogue(terminal, json.loads(acts))))
    finally:
        os.kill(pid, signal.SIGHUP)
        os.close(descriptor)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
