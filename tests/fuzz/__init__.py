"""Fuzzing: what files of strangers may hold. `python -m tests.fuzz TARGET --seconds N`; see `targets`."""
