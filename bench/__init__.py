"""Measurements: what jai costs, beside others that do the same work, in one run.

`make bench` (bench/run.py) measures behind the wall, prints tables and the budgets, and draws the two plots
of the README.  pytest runs the tests, but pytest-benchmark does not take the times: it runs one subject after
the other, from its own process.  Here a machine's moods must hit all alike, so the commands of a table take
turns, shuffled anew in each round, as whole processes of an ordinary account (measure.py).
"""
