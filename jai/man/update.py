r"""Brings the option lists of the manual pages up to date with the table of options: `make man`.

Between `.\" OPTIONS …` and `.\" END` each option has its heading and its first sentence from the table;
what follows `.\" by hand` is kept.  A new option gets its place and its heading; a removed one goes.
"""
# ruff: noqa: INP001 - run by `make man`, never imported

from __future__ import annotations

import os
import re
import sys
import textwrap

from jai.options import CONF_FILE, EVERYWHERE, JAIL_FILE, OPTIONS, Option

FILES = "in files"
VERBS = "verbs"
WIDTH = 78
PAGES = ("jai.1", "jai.conf.5")
LIST = re.compile(r'^(\.\\" OPTIONS ([^\n]*)\n)(.*?)(?=^\.\\" END$)', re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r'^\.\\" option (\S+)\n.*?^\.\\" by hand\n(.*?)(?=^\.\\" option |\Z)', LIST.flags)


def updated(page: str) -> str:
    """Give a page with its lists of options as the table has them now."""
    return LIST.sub(lambda found: found[1] + _list(found[2], dict(BLOCK.findall(found[3]))), page)


def _list(kind: str, by_hand: dict[str, str]) -> str:
    parts = []
    for option in OPTIONS:
        if _is_listed(kind, option):
            heading = conf_heading(option) if kind == FILES else heading_of(option)
            text = textwrap.wrap(sentence(kind, option), WIDTH, break_on_hyphens=False)
            lines = (f'.\\" option {option.name}', ".TP", heading, *text, *_facts(kind, option))
            parts += ["\n".join(lines), '\n.\\" by hand\n', by_hand.get(option.name, "")]
    return "".join(parts)


def _is_listed(kind: str, option: Option) -> bool:
    if kind == FILES:
        return CONF_FILE in option.where
    return option.verb is (kind == VERBS)


def heading_of(option: Option) -> str:
    """Give the forms of an option as the command line has them."""
    short = f"\\fB\\-{option.short}\\fR, " if option.short else ""
    return f"{short}{_bold('--' + option.name)}{_suffixes(option)} {_value(option)}".rstrip()


def conf_heading(option: Option) -> str:
    """Give the forms of an option as a file has them."""
    return f"{_bold(option.name)}{_suffixes(option)} {_value(option)}".rstrip()


def sentence(kind: str, option: Option) -> str:
    """Give the help of an option as a sentence, with options written as they are there."""
    text = option.help
    if not text.split()[0].endswith(","):  # else a list of names
        text = text[0].upper() + text[1:]
    dashes = r"(?<!\w)--(?=\w)" if kind == FILES else r"(?!)"
    text = re.sub(r"(?<!\w)--?[a-zA-Z][a-z-]*", lambda found: _bold(re.sub(dashes, "", found[0])), text)
    return re.sub(r"\b[A-Z]{3,}\b", lambda found: f"\\fI{found[0]}\\fR", text) + "."


def _facts(kind: str, option: Option) -> list[str]:
    """Give what holds for an option in files, as far as the table knows it."""
    if kind != FILES:
        return []
    facts = []
    if option.expands:
        facts.append("Variables are expanded.")
    if JAIL_FILE not in option.where and set(option.where) < set(EVERYWHERE):
        facts += ["Not allowed in a", ".I .jail", "file, nor in a file that it includes."]
    return facts


def _bold(text: str) -> str:
    return "\\fB" + text.replace("-", "\\-") + "\\fR"


def _suffixes(option: Option) -> str:
    return f"[{'|'.join(map(_bold, option.suffixes))}]" if option.suffixes else ""


def _value(option: Option) -> str:
    return "|".join(map(_bold, option.choices)) or (option.value and f"\\fI{option.value}\\fR")


def main() -> None:
    """Write what has changed, and say what that is."""
    folder = os.path.dirname(os.path.abspath(__file__))
    for name in PAGES:
        path = os.path.join(folder, name)
        with open(path, encoding="utf-8") as file:
            before = file.read()
        after = updated(before)
        if after != before:
            with open(path, "w", encoding="utf-8") as file:
                file.write(after)
        sys.stdout.write(f"{'updated' if after != before else 'current'} {os.path.relpath(path)}\n")


if __name__ == "__main__":
    main()
