"""Measurements: what jai costs, beside others that do the same work, in one run."""
