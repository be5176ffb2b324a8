"""The ledger of a source: which of its rows or records a log has, kept in that log as entries.

Before a chunk is entered it is *claimed*: an entry `import.rows` lists the keys of its items, in
order. The chunk's producer has an id that is made of this claim, so each number of it means one
item for ever, whoever sends it. What lies behind the watermark of a claim that nobody works on any
more is given up by an entry `import.resumed` under the next number, and claimed anew.

Reading needs no writer; claims and what gives them up go through one.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgpack
import orjson

from hansard import directory as layout
from hansard import wire
from hansard.errors import AckTimeout, WriterUnavailable
from hansard.reader_connection import ReadConnection
from hansard.source import Source
from hansard_writer.importing.appending import append, appending
from hansard_writer.importing.fields import Place
from hansard_writer.importing.known_keys import KnownKeys, runs
from hansard_writer.importing.rows import shown

CLAIM: Final = "import.rows"
RESUMED: Final = "import.resumed"
ATTEMPTS_MAX: Final = 5  # while what somebody before us has sent still arrives
ANSWER_S: Final = 1.0
KEY_BYTES_MAX: Final = 200  # of JSON
MARKS_MAX: Final = 20  # first rows by which a source is known again

_LEDGER_ID: Final = b"hansard import ledger\0"
_CHUNK_ID: Final = b"hansard import rows\0"
_PRODUCER: Final = "SELECT id, watermark, crc FROM producers WHERE producer_hash = ?"
_RUNS: Final = (
    "SELECT first_producer_seq, count, first_seq FROM runs WHERE producer = ?"
    " ORDER BY first_producer_seq"
)
_PAYLOADS: Final = "SELECT id, payload FROM events WHERE id >= ? AND id < ?"
_CHUNK: Final = """
    SELECT p.watermark, p.crc, (
        SELECT e.event_type FROM runs AS r JOIN entries AS e
        ON e.seq = r.first_seq + p.watermark - r.first_producer_seq AND e.producer = p.id
        WHERE r.producer = p.id AND r.first_producer_seq <= p.watermark
        ORDER BY r.first_producer_seq DESC LIMIT 1
    ) FROM producers AS p WHERE producer_hash = ?
"""


class Forgotten(Exception):
    """The log no longer says which rows it has of a source. Says what to do."""


class Keyed(NamedTuple):
    """A row or record of a source: its key, what people call its place, and itself."""

    key: Any
    place: Place
    row: Any


class Claimed(NamedTuple):
    """A chunk that is claimed: rows in order, and the place of each."""

    producer_id: bytes
    places: Sequence[Place]
    rows: Sequence[Any]

    @property
    def first_place(self) -> Place:
        return self.places[0]

    @property
    def items(self) -> "zip[tuple[Place, Any]]":
        """Each row with its key."""
        return zip(self.places, self.rows, strict=True)

    @property
    def size(self) -> int:
        return len(self.rows)


class _Unfinished(NamedTuple):
    claim: int
    source: Source  # where its producer stands


class Ledger:
    """What the log in ``directory`` has of one collection (a table, a preset, a file) of a source.

    `read` before all else. One process at a time may change a ledger.
    """

    def __init__(self, directory: Path, source: str, collection: str) -> None:
        self._directory = directory
        self._names = {"source": source, "table": collection}
        named = b"%b\0%b" % (source.encode(), collection.encode())
        self.id = hashlib.sha256(_LEDGER_ID + named).digest()[: wire.PRODUCER_ID_BYTES]
        self._forget()

    def __contains__(self, key: Any) -> bool:
        if key in self._known:
            return True
        return self._taken_up_to is not None and type(key) is int and key <= self._taken_up_to

    @property
    def is_new(self) -> bool:
        """Whether the log has nothing of it."""
        return not self._source.watermark

    def read(self) -> None:
        """Look at what the log has now; nothing, where there is none. Raises `Forgotten`."""
        self._forget()
        if not (self._directory / layout.DATABASE).exists():
            return
        connection = ReadConnection(self._directory)
        try:
            self._read(connection)
        finally:
            connection.close()

    def recognises(self, identity_of: Callable[[Any], str | None]) -> bool:
        """Whether it may be the source that was claimed: of the first rows of the claims, as far
        as they are still there, at least one is what it was."""
        seen = [
            (was, now) for key, was in self._marks if was and (now := identity_of(key)) is not None
        ]
        return not seen or any(was == now for was, now in seen)

    def take_over(self, wait: Callable[[], None]) -> None:
        """Give up what earlier imports have claimed and not entered, so that it can be claimed
        anew. ``wait`` is called while no writer answers; it raises when that is enough."""
        for _ in range(ATTEMPTS_MAX):
            if not self._unfinished:
                return
            for each in self._unfinished:
                gone = {**self._names, "claim": each.claim, "rows": each.source.watermark}
                self._append(each.source, [(RESUMED, orjson.dumps(gone))], wait)
            self.read()
        raise Forgotten(
            f"what an earlier import of {self._names['source']} has sent still arrives: run the "
            "same command again"
        )

    def claim(
        self,
        chunks: Sequence[Sequence[Keyed]],
        mark_of: Callable[[Any], str],
        wait: Callable[[], None],
    ) -> list[Claimed]:
        """Claim chunks, none of whose keys it has; what to enter. ``mark_of`` is what `recognises`
        goes by, of a row. ``wait`` as in `take_over`."""
        left, claimed = list(chunks), list[Claimed]()
        for _ in range(ATTEMPTS_MAX):
            texts, highest = [], self._highest
            for number, chunk in enumerate(left, self._source.watermark + 1):
                keys = [each.key for each in chunk]
                texts.append(self._claim_text(number, keys, mark_of(chunk[0].row), highest))
                highest = _highest(keys, highest)
            entered = self._enter_claims(texts, wait)
            for text, chunk in zip(texts, left, strict=True):
                if text in entered:
                    self._known.add(each.key for each in chunk)
                    claimed.append(self._claimed(text, chunk))
            left = [chunk for text, chunk in zip(texts, left, strict=True) if text not in entered]
            if not left:
                return claimed
        raise Forgotten(
            f"another import of {self._names['source']} is at work: run the same command again"
        )

    # --- inside ---

    def _forget(self) -> None:
        self._known = KnownKeys()
        self._source = Source(self.id)
        self._marks: list[tuple[Any, str]] = []
        self._unfinished: list[_Unfinished] = []
        self._taken_up_to: int | None = None
        self._highest: int | None = None

    def _read(self, connection: ReadConnection) -> None:
        claims = self._claims_behind(connection, 0)
        for number, text in claims:
            self._read_claim(connection, number, text)
        missing = self._source.watermark - len(claims)
        if missing:
            self._take_as_known(missing, json.loads(claims[0][1]) if claims else {})

    def _enter_claims(self, texts: Sequence[bytes], wait: Callable[[], None]) -> set[bytes]:
        """Enter claims; those that the log has now, others' among them."""
        before = self._source.watermark
        self._append(self._source, [(CLAIM, text) for text in texts], wait)
        connection = ReadConnection(self._directory)
        try:
            claims = {text for _, text in self._claims_behind(connection, before)}
        finally:
            connection.close()
        for text in claims:
            self._highest = _highest(_keys_of(json.loads(text)), self._highest)
        return claims

    def _claims_behind(self, connection: ReadConnection, number: int) -> list[tuple[int, bytes]]:
        """The claims that can be read behind a number; and note how far the log is."""
        rows = connection.rows(_PRODUCER, wire.producer_hash(self.id))
        if not rows:
            return []
        producer, watermark, crc = rows[0]
        self._source = Source(self.id, watermark, crc)
        return [
            (first + id_ - seq, payload.encode())
            for first, count, seq in connection.rows(_RUNS, producer)
            if first + count > number
            for id_, payload in connection.rows(_PAYLOADS, seq, seq + count)
            if payload is not None and first + id_ - seq > number
        ]

    def _read_claim(self, connection: ReadConnection, number: int, text: bytes) -> None:
        claim = json.loads(text)
        keys = _keys_of(claim)
        if len(self._marks) < MARKS_MAX:
            self._marks.append((keys[0], claim["first_row"]))
        self._highest = _highest(keys, self._highest)
        producer_id = _chunk_id(self.id, text)
        chunk = connection.rows(_CHUNK, wire.producer_hash(producer_id))
        done, crc, last_type = chunk[0] if chunk else (0, 0, None)
        if last_type == RESUMED:
            self._known.add(keys[: done - 1])
            return
        self._known.add(keys[:done])
        if done < len(keys):
            self._unfinished.append(_Unfinished(number, Source(producer_id, done, crc)))

    def _take_as_known(self, missing: int, first_left: Mapping[str, Any]) -> None:
        """Claims were pruned. Numbered rows up to where the first one that is left began were in
        them; with other keys nobody can say."""
        before = first_left.get("highest_before")
        if before is None or first_left["claim"] <= missing or "keys" in first_left:
            name = self._names["source"]
            raise Forgotten(
                f"the log no longer says which rows of {name} it has: {missing:,} of its entries "
                f"{CLAIM} were pruned or redacted; to enter all rows anew, give the source another "
                "name with --source"
            )
        self._taken_up_to = before

    def _claim_text(
        self, number: int, keys: Sequence[Any], mark: str, highest: int | None
    ) -> bytes:
        others: set[Any] = set()
        numbers = runs(keys, others)
        listed = {"keys": [shown(key) for key in keys]} if others else {"runs": numbers}
        facts = {"claim": number, **listed, "first_row": mark, "highest_before": highest}
        text: bytes = orjson.dumps({**self._names, **facts})
        return text

    def _claimed(self, text: bytes, chunk: Sequence[Keyed]) -> Claimed:
        places, rows = [each.place for each in chunk], [each.row for each in chunk]
        return Claimed(_chunk_id(self.id, text), places, rows)

    def _append(
        self, source: Source, entries: Sequence[tuple[str, bytes]], wait: Callable[[], None]
    ) -> None:
        now_ns = time.time_ns()
        with appending(self._directory, source) as log:
            for event_type, text in entries:  # these the setting event_types need not allow
                event = (wire.KIND_EVENT, now_ns, event_type, "info", None, None, text.decode())
                append(log, msgpack.packb(event))
            while True:
                try:
                    log.flush(ANSWER_S)
                    return
                except (AckTimeout, WriterUnavailable):
                    wait()


def known_as(key: Any) -> Any:
    """A key as a ledger has it: one that is long by its hash, so that a claim is an event."""
    if type(key) is int:
        return key
    text = orjson.dumps(shown(key))
    return key if len(text) <= KEY_BYTES_MAX else f"sha256:{hashlib.sha256(text).hexdigest()}"


def _keys_of(claim: dict[str, Any]) -> list[Any]:
    if "runs" in claim:
        return [key for first, last in claim["runs"] for key in range(first, last + 1)]
    return [_key(each) for each in claim["keys"]]


def _key(shown_key: Any) -> Any:
    """What `shown` has made JSON of."""
    if isinstance(shown_key, list):
        return tuple(map(_key, shown_key))
    if isinstance(shown_key, dict):
        return bytes.fromhex(shown_key["hex"])
    return shown_key


def _highest(keys: Sequence[Any], before: int | None) -> int | None:
    whole = [key for key in keys if type(key) is int]
    return max(whole if before is None else [*whole, before], default=None)


def _chunk_id(ledger_id: bytes, claim_text: bytes) -> bytes:
    return hashlib.sha256(_CHUNK_ID + ledger_id + claim_text).digest()[: wire.PRODUCER_ID_BYTES]
