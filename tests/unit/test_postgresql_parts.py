"""The pure parts of the PostgreSQL target: the bytes of COPY, edges, statements, errors."""

import struct
from typing import Any

import psycopg
import pytest
from psycopg import errors as sql

from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.shipping.postgresql import schema
from hansard_writer.shipping.postgresql.errors import is_of_content, translate, translated
from hansard_writer.shipping.postgresql.packed_edge import pack_edge, unpack_edge
from hansard_writer.shipping.postgresql.rows_to_copy import (
    COLUMNS,
    PIECE_ROWS,
    PLAIN_BYTES_MAX,
    CopyEncoder,
    suspects,
)
from hansard_writer.shipping.target import TargetRefused, TargetUnavailable

SALT, HASH, LEAF = b"s" * 16, b"h" * 32, b"l" * 32


def row(seq: int, payload: bytes | None, **changed: Any) -> tuple[Any, ...]:
    fields = {
        "seq": seq, "producer": 0, "producer_seq": 7, "created_at": -1, "event_type": "a.b",
        "level": "info", "actor": "ü", "task_id": None,
        "payload_hash": None if payload is None else HASH,
        "hashed": None if payload is None else SALT + payload,
    } | changed  # fmt: skip
    return tuple(fields.values())


def fields_of(data: bytes) -> list[list[bytes | None]]:
    """The manual's "Binary Format" the other way round."""
    assert data.startswith(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    at, found = 19, []
    while (count := struct.unpack_from("!h", data, at)[0]) != -1:
        at += 2
        fields: list[bytes | None] = []
        for _ in range(count):
            (size,) = struct.unpack_from("!i", data, at)
            at += 4
            fields.append(None if size == -1 else data[at : at + size])
            at += max(size, 0)
        found.append(fields)
    assert at + 2 == len(data)
    return found


def encoded(*rows: tuple[Any, ...], refused: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    pieces = CopyEncoder().encode(5, rows, LEAF * len(rows), {0: 9, 1: 10}, refused)
    return [dict(zip(COLUMNS, fields, strict=True)) for fields in fields_of(b"".join(pieces))]


def test_a_row_is_its_columns_with_the_payload_twice() -> None:
    (found,) = encoded(row(3, b'{"n":1}'))
    integers = {"origin": 5, "seq": 3, "producer": 9, "producer_seq": 7, "created_at": -1}
    assert {name: int.from_bytes(found.pop(name), signed=True) for name in integers} == integers
    assert found == {
        "leaf": LEAF, "event_type": b"a.b", "level": b"info", "actor": "ü".encode(),
        "task_id": None, "payload_hash": HASH, "salt": SALT, "payload": b'{"n":1}',
        "document": b'\1{"n":1}',
    }  # fmt: skip


def test_what_is_not_there_is_null() -> None:
    none, redacted, refused = encoded(
        row(1, None), row(2, None, payload_hash=HASH, producer=1), row(3, b"{}"), refused=(3,)
    )
    gone = ("payload", "salt", "document")
    assert [none[name] for name in (*gone, "payload_hash")] == [None] * 4
    assert [redacted[name] for name in gone] == [None] * 3
    assert redacted["payload_hash"] == HASH
    assert int.from_bytes(redacted["producer"]) == 10
    assert (refused["payload"], refused["salt"], refused["document"]) == (b"{}", SALT, None)


def test_pieces_are_one_copy() -> None:
    seqs = range(1, 2 * PIECE_ROWS + 2)
    found = encoded(*(row(seq, b"{}", task_id=f"T{seq}") for seq in seqs))
    assert [int.from_bytes(each["seq"]) for each in found] == list(seqs)
    assert found[-1]["task_id"] == b"T%d" % seqs[-1]


def test_texts_that_change_are_not_mixed_up() -> None:
    found = encoded(*(row(n, None, actor=f"a{n % 3}", level=f"l{n % 2}") for n in range(1, 9)))
    assert [each["actor"] + each["level"] for each in found] == [
        b"a%dl%d" % (n % 3, n % 2) for n in range(1, 9)
    ]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [(rb'{"a":"\u0000"}', True), (rb'{"a":"\uD800"}', True), (rb'{"a":"\udFFF"}', True),
     (rb'{"a":"\u00e4\ue000"}', False), (b"{}", False),
     (b'{"a":"' + b"x" * PLAIN_BYTES_MAX + b'"}', True)],
)  # fmt: skip
def test_the_server_is_asked_about_what_jsonb_may_refuse(payload: bytes, expected: bool) -> None:
    assert suspects([row(1, None), row(2, payload), row(3, b"{}")]) == [1] * expected


@pytest.mark.parametrize("edge", [Edge(), Edge(17, (b"a" * 32, b"b" * 32)), Edge(2**40, (b"",))])
def test_an_edge_is_the_same_behind_its_bytes(edge: Edge) -> None:
    assert unpack_edge(pack_edge(edge)) == edge


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x00", b"\x92\xa1a\x90", b"\x92\x01\x91\x01"])
def test_other_bytes_are_no_edge(data: bytes) -> None:
    with pytest.raises(ValueError, match="no edge"):
        unpack_edge(data)


def test_each_migration_is_statements_of_the_schema_alone() -> None:
    assert len(schema.MIGRATIONS) == schema.VERSION
    for statement in (*schema.VERSIONS, *schema.partitions(3), *schema.MIGRATIONS[0]):
        assert " hansard" in statement, statement
        assert not statement.rstrip().endswith(";")
    assert len(schema.partitions(16)) == 16


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (sql.DiskFull, TargetUnavailable),
        (sql.OutOfMemory, TargetUnavailable),
        (sql.TooManyConnections, TargetUnavailable),
        (sql.SerializationFailure, TargetUnavailable),
        (sql.DeadlockDetected, TargetUnavailable),
        (sql.AdminShutdown, TargetUnavailable),
        (sql.CrashShutdown, TargetUnavailable),
        (sql.CannotConnectNow, TargetUnavailable),
        (sql.QueryCanceled, TargetUnavailable),
        (sql.LockNotAvailable, TargetUnavailable),
        (sql.ReadOnlySqlTransaction, TargetUnavailable),
        (sql.IdleInTransactionSessionTimeout, TargetUnavailable),
        (sql.IoError, TargetUnavailable),
        (sql.ConnectionFailure, TargetUnavailable),
        (sql.InternalError_, TargetUnavailable),
        (psycopg.OperationalError, TargetUnavailable),
        (psycopg.InterfaceError, TargetUnavailable),
        (sql.DataCorrupted, TargetRefused),
        (sql.InsufficientPrivilege, TargetRefused),
        (sql.UndefinedTable, TargetRefused),
        (sql.UniqueViolation, TargetRefused),
        (sql.CheckViolation, TargetRefused),
        (sql.RaiseException, TargetRefused),
        (psycopg.ProgrammingError, TargetRefused),
    ],
)
def test_an_error_is_tried_again_or_ends_it(error: Any, expected: type[Exception]) -> None:
    assert type(translate(error("said"), "there")) is expected


def test_content_is_what_another_row_would_not_have() -> None:
    for error in (sql.InvalidTextRepresentation, sql.UntranslatableCharacter,
                  sql.NumericValueOutOfRange, sql.ProgramLimitExceeded,
                  sql.StatementTooComplex):  # fmt: skip
        assert is_of_content(error())
    for other in (sql.DiskFull, sql.UniqueViolation, psycopg.OperationalError):
        assert not is_of_content(other())


@pytest.mark.parametrize(
    "said",
    ['FATAL:  password authentication failed for user "u"', 'FATAL:  database "d" does not exist',
     'FATAL:  role "u" does not exist', "fe_sendauth: no password supplied",
     'FATAL:  no pg_hba.conf entry for host "h"', 'FATAL:  role "u" is not permitted to log in'],
)  # fmt: skip
def test_a_connection_that_will_never_come_about_ends_it(said: str) -> None:
    assert type(translate(psycopg.OperationalError(said), "there")) is TargetRefused


def test_an_error_is_one_line_without_its_cause_or_the_password() -> None:
    with (
        pytest.raises(TargetUnavailable) as raised,
        translated("postgresql://u@h/d", "hushhush"),
    ):
        raise psycopg.OperationalError("connection failed:\n\thushhush at h\n")
    assert str(raised.value) == "postgresql://u@h/d: connection failed: … at h"
    assert raised.value.__suppress_context__
