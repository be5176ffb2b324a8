"""The bench: load for a log, what it cost, and what it is held against in the same run."""
