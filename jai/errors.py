"""What jai says when it can not do what was asked.

Libraries raise; only `cli.main` prints and exits.  A message is at most three lines: what failed in
the user's words, the operation and the kernel's answer, one hint that mends it.
"""

from __future__ import annotations

FILE_SIZE_HINT = "ulimit -f says how large a file may be here: ulimit -f unlimited"

EXIT_JAI = 125
EXIT_CANNOT_EXECUTE = 126
EXIT_NOT_FOUND = 127


class JaiError(Exception):
    """Jai itself failed.

    `message` says what failed, `detail` the operation and the kernel's answer, `hint` what mends it.
    `status` is the exit status the process ends with.
    """

    status = EXIT_JAI

    def __init__(self, message: str, *, detail: str = "", hint: str = "", status: int = EXIT_JAI) -> None:
        """Keep the three lines and the exit status."""
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint
        self.status = status

    def lines(self) -> list[str]:
        """Give the one to three lines for standard error."""
        found = [f"jai: {self.message}"]
        if self.detail:
            found.append(f"  {self.detail}")
        if self.hint:
            found.append(f"  hint: {self.hint}")
        return [printable(line) for line in found]


class UsageError(JaiError):
    """The command line is wrong."""


class ConfError(JaiError):
    """A configuration file is wrong; the message starts with FILE:LINE."""


class HostError(JaiError):
    """This machine lacks something jai needs."""


class RefusedError(JaiError):
    """Jai could, but will not: a rule of the policy says no."""


class StepError(JaiError):
    """The kernel refused a step of the plan."""


def printable(text: str) -> str:
    """Make text safe for a terminal: control characters and undecodable bytes become escapes."""
    return "".join(
        char
        if char.isprintable()
        else char.encode("unicode_escape", "surrogateescape").decode("ascii", "replace")
        for char in text
    )
