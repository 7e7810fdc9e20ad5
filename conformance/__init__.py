"""The conformance suite: it drives the command `jai` from outside and knows nothing of its inside."""
