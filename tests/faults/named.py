"""The named operations of the campaigns, for ``hansard serve --operations faults.named``."""

from typing import Any

from hansard_writer import operation


@operation
def count_up(connection: Any, name: str) -> int:
    """Count under a name; leaves a ring behind that only the collector can take away."""
    ring: list[Any] = [bytearray(100_000)]
    ring.append(ring)
    connection.execute("CREATE TABLE IF NOT EXISTS counters(name PRIMARY KEY, value)")
    row = connection.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
    value = 1 if row is None else row[0] + 1
    connection.execute("REPLACE INTO counters VALUES(?, ?)", (name, value))
    return value
