"""Makes the schema in a database, or brings an earlier one up to date. It decides no statement."""

from typing import Any, Final

from hansard_writer.shipping.postgresql import schema
from hansard_writer.shipping.target import TargetRefused

_LOCK: Final = 0x68616E73617264  # "hansard": whoever makes or migrates the schema
_VERSION: Final = "SELECT coalesce(max(version), 0) FROM hansard.versions"


def found_version(connection: Any) -> int:
    """The version of the schema, 0 where there is none."""
    exists = connection.execute(
        "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = %s AND tablename = 'versions'",
        (schema.SCHEMA,),
    ).fetchone()
    return int(connection.execute(_VERSION).fetchone()[0]) if exists else 0


def require_known(version: int, name: str) -> None:
    """Raises `TargetRefused` for a newer schema than this."""
    if version > schema.VERSION:
        raise TargetRefused(
            f"{name} has the tables of a newer hansard (schema {version}; this one knows "
            f"{schema.VERSION}): upgrade hansard here"
        )


def make(connection: Any, name: str, partitions: int) -> None:
    """Have the newest schema there; of one that is there nothing is touched."""
    version = found_version(connection)
    require_known(version, name)
    if version == schema.VERSION:
        return
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        version = found_version(connection)  # somebody else may have been first
        require_known(version, name)
        if version == 0:
            for statement in schema.VERSIONS:
                connection.execute(statement)
        for number in range(version + 1, schema.VERSION + 1):
            for statement in schema.MIGRATIONS[number - 1]:
                connection.execute(statement)
            if number == 1:
                for statement in schema.partitions(partitions):
                    connection.execute(statement)
            connection.execute("INSERT INTO hansard.versions(version) VALUES (%s)", (number,))
