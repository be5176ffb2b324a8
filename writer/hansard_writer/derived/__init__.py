"""Derived fields: values drawn out of payloads, kept beside the entries for fast queries.

No proof covers them, because they can be drawn again from what it covers. `definitions` says what a
field is, `extraction` draws it; `deriving` does so for what is entered, `filling` keeps what was
drawn from earlier entries.
"""
