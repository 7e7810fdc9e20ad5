"""What jai says about itself: --help, --version, --print-defaults."""

from __future__ import annotations

import sys

from jai.defaults import DEFAULTS
from jai.options import help_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jai.argv import Invocation

VERSION = "0.1.0"

TAIL = """
Configuration: ~/.jai (or $JAI_CONFIG_DIR); every option but the last group is a line of it.
Exit status: the command's own; 125 jai failed, 126 CMD can not be executed, 127 CMD not found.
"""


def print_help(_invocation: Invocation) -> int:
    """Print the options table."""
    sys.stdout.write(help_text() + TAIL)
    return 0


def print_version(_invocation: Invocation) -> int:
    """Print the version."""
    sys.stdout.write(f"jai {VERSION}\n")
    return 0


def print_defaults(_invocation: Invocation) -> int:
    """Print the built-in `.defaults`."""
    sys.stdout.write(DEFAULTS)
    return 0
