"""An entry by itself: the payload that fits its hash, and a JSON form that is read strictly."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import msgpack
import pytest

from hansard_writer.proof.logged_entry import LoggedEntry, MalformedEntry

SALT = bytes(range(16))
PAYLOAD = '{"ü": "\\"𝄞\\"", "n": 123456789012345678901234567890}'
HIDDEN = hashlib.sha256(SALT + PAYLOAD.encode()).digest()
ENTRY = LoggedEntry(
    seq=7,
    producer_hash=b"\xab" * 32,
    producer_seq=5,
    created_at=1_700_000_000_000_000_001,
    event_type="step.done",
    level="info",
    actor="agent:ü",
    task_id=None,
    payload_hash=HIDDEN,
    payload=PAYLOAD,
    salt=SALT,
)
REDACTED = replace(ENTRY, payload=None, salt=None)
BARE = replace(REDACTED, payload_hash=None)


def members(**changed: Any) -> bytes:
    found = json.loads(ENTRY.to_json()) | changed
    return json.dumps({name: value for name, value in found.items() if value is not ...}).encode()


def test_its_leaf_is_of_its_columns() -> None:
    expected = msgpack.packb(
        [1, 7, b"\xab" * 32, 5, 1_700_000_000_000_000_001, "step.done", "info", "agent:ü", None,
         HIDDEN]
    )  # fmt: skip
    assert ENTRY.leaf_bytes == expected
    assert ENTRY.leaf_hash == hashlib.sha256(b"\0" + expected).digest()


def test_a_redacted_entry_has_the_same_leaf() -> None:
    assert REDACTED.leaf_bytes == ENTRY.leaf_bytes
    assert (ENTRY.is_redacted, REDACTED.is_redacted, BARE.is_redacted) == (False, True, False)


@pytest.mark.parametrize("entry", [ENTRY, REDACTED, BARE, replace(ENTRY, actor=None, task_id="")])
def test_it_is_the_same_out_of_its_json(entry: LoggedEntry) -> None:
    assert LoggedEntry.from_json(entry.to_json()) == entry


def test_its_json_can_be_read_by_anybody() -> None:
    assert json.loads(ENTRY.to_json()) == {
        "leaf_version": 1,
        "seq": 7,
        "producer_hash": "ab" * 32,
        "producer_seq": 5,
        "created_at": 1_700_000_000_000_000_001,
        "event_type": "step.done",
        "level": "info",
        "actor": "agent:ü",
        "task_id": None,
        "payload_hash": HIDDEN.hex(),
        "payload": PAYLOAD,
        "salt": SALT.hex(),
    }


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"payload": "{}"}, "payload_hash is not that"),
        ({"salt": bytes(16)}, "payload_hash is not that"),
        ({"payload_hash": bytes(32)}, "payload_hash is not that"),
        ({"payload_hash": None}, "payload_hash is not that"),
        ({"payload": None}, "there together"),
        ({"salt": None}, "there together"),
        ({"salt": SALT + b"{", "payload": PAYLOAD[1:]}, "a salt has 16 bytes"),
        ({"salt": SALT[:-1], "payload": "\x0f" + PAYLOAD}, "a salt has 16 bytes"),
    ],
)
def test_a_payload_that_is_not_the_hidden_one_is_no_entrys(
    changed: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(MalformedEntry, match=complaint):
        replace(ENTRY, **changed)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"seq": "7"}, "seq is no integer"),
        ({"seq": 7.0}, "seq is no integer"),
        ({"seq": True}, "seq is no integer"),
        ({"seq": None}, "seq is no integer"),
        ({"created_at": 1 << 63}, "created_at is no integer of 64 bits"),
        ({"leaf_version": 2}, "leaf_version is not 1"),
        ({"leaf_version": True}, "leaf_version is not 1"),
        ({"event_type": None}, "event_type is None, not text"),
        ({"actor": 5}, "actor is an int, not text"),
        ({"actor": "\ud800"}, "actor is no UTF-8"),
        ({"payload": {}}, "payload is a dict, not text"),
        ({"producer_hash": "ab" * 31}, "producer_hash is not 32 bytes"),
        ({"producer_hash": "AB" * 32}, "lower-case hex"),
        ({"producer_hash": "ab " * 32}, "lower-case hex"),
        ({"salt": "00" * 15}, "salt is not 16 bytes"),
        ({"payload_hash": "zz" * 32}, "payload_hash is not 32 bytes"),
        ({"level": ...}, "it has no level"),
        ({"payload": ...}, "it has no payload"),
        ({"leaf_version": ...}, "it has no leaf_version"),
        ({"host": "h"}, "'host' is no member"),
    ],
)
def test_a_member_that_is_wrong_is_named(changed: dict[str, Any], complaint: str) -> None:
    with pytest.raises(MalformedEntry, match=complaint):
        LoggedEntry.from_json(members(**changed))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b'{"seq": 1', "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"seq": ' + b"9" * 5_000 + b"}", "no JSON"),
        (b"[]", "a list, not an object"),
        (b"7", "an int, not an object"),
        (b'{"seq": 1, "seq": 2}', "there twice"),
        (b"{}", "it has no actor"),
    ],
)
def test_what_is_no_object_of_these_members_is_no_entry(data: bytes, complaint: str) -> None:
    with pytest.raises(MalformedEntry, match=complaint):
        LoggedEntry.from_json(data)
