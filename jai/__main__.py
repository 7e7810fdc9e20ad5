"""Lets `python -m jai` run the command."""

from jai.cli import main

main()
