"""Jai puts a jail around a command: a copy-on-write or empty home, and nothing else to lose."""
