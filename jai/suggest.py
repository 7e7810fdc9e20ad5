"""Hints for a misspelt option.  Cold: imported only once something is wrong."""

from __future__ import annotations

import difflib

from jai.options import BY_NAME, COMMAND_LINE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def nearest(word: str, names: Iterable[str]) -> str:
    """Say which of the names was most likely meant by the word; empty if none is near."""
    known = list(names)
    if len(word) > 1:
        longer = [name for name in known if name.startswith(word)]
        if len(longer) == 1:
            return longer[0]
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.6)), "")


def option_hint(word: str, where: str) -> str:
    """Give the hint for a word that is no option at this place; the word may have dashes and a suffix."""
    names = [name for name, option in BY_NAME.items() if where in option.where]
    dashes = "--" if where == COMMAND_LINE else ""
    found = nearest(word.lstrip("-").rstrip("!?"), names)
    if found:
        return f"did you mean {dashes}{found}?"
    return "jai --help lists the options"
