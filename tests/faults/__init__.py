"""Faults, made for real: each campaign makes one kind in numbers, and accounts for every event.

A campaign is a module with a title and a function ``run(size, seed, say)``: it makes at least
``size`` faults, raises `AssertionError` with what it takes to make a bad one again, and returns
the rows of the page. The tests run each in small; ``scripts/faults`` runs them in full and writes
``tests/FAULTS.md``.
"""
