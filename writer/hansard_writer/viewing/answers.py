"""What the pages show, read from the log by apsw: one method a question. In the child process only.

Each opens the log anew and closes it, because the log may be replaced under the view, and because a
reader that stays would keep the files of a stopped writer, or a writer from starting. It changes
nothing. An answer is of values that JSON has.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from hansard import directory as layout
from hansard.errors import AuditLogError
from hansard.operations import ENV_OPERATION
from hansard.reader import LogReader
from hansard.reader.conditions import nanoseconds
from hansard.reader_connection import ReadConnection
from hansard.refusals import GOVERNANCE_REFUSAL
from hansard_writer.backups import staging
from hansard_writer.proof import check_proof, parse_inclusion_proof
from hansard_writer.proof.checkpoint import encode_root
from hansard_writer.proof.key_chain import read_key_chain
from hansard_writer.proof.keys import read_verifier_key
from hansard_writer.proof.proving import NotCovered, prove_entry
from hansard_writer.proof.signed_note import NoteError, VerifierKey
from hansard_writer.viewing import finding, rates, shown
from hansard_writer.viewing.cursors import Cursor
from hansard_writer.viewing.excerpts import words_of
from hansard_writer.viewing.finding import Asked, find

LETTERS_MAX: Final = 100  # a page
LATEST: Final = 5  # entries of a kind on the first page
OPERATION_CONDITIONS: Final = ("workflow_id", "node_id", "version_id", "operation", "status")

_NEWEST_CHECKPOINT: Final = (
    "SELECT size, origin, created_at, root FROM checkpoints ORDER BY size DESC LIMIT 1"
)
_BEFORE: Final = "SELECT max(seq) FROM entries WHERE seq < ?"
_AFTER: Final = "SELECT min(seq) FROM entries WHERE seq > ?"
_TASK_BEFORE: Final = (
    "SELECT seq FROM entries WHERE task_id = ? AND seq < ? ORDER BY seq DESC LIMIT 1"
)
_TASK_AFTER: Final = "SELECT seq FROM entries WHERE task_id = ? AND seq > ? ORDER BY seq LIMIT 1"
_TASK_TIMES: Final = (
    "SELECT (SELECT created_at FROM events WHERE task_id = ?1 ORDER BY id LIMIT 1),"
    " (SELECT created_at FROM events WHERE task_id = ?1 ORDER BY id DESC LIMIT 1),"
    " (SELECT count(*) FROM (SELECT 1 FROM entries WHERE task_id = ?1 LIMIT 10001)),"
    " (SELECT attributes FROM tasks WHERE task_id = ?1)"
)

Answer = dict[str, Any]


class Answers:
    """The questions about the log in ``directory``. A wrong argument raises `ValueError`; a log
    that cannot be read raises `hansard.AuditLogError`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        database = directory / layout.DATABASE
        self._named = database.readlink() if database.is_symlink() else directory

    @contextmanager
    def _log(self) -> Iterator[ReadConnection]:
        with closing(ReadConnection(self.directory, leaves_no_trace=True)) as log:
            yield log

    @contextmanager
    def _reader(self) -> Iterator[LogReader]:
        with LogReader(self.directory) as reader:
            yield reader

    def as_backup(self) -> None:
        """Once, before all else, where ``directory`` shows a backup: whether it is one; its own key
        becomes writer.pub there. Raises `BackupFailed`."""
        staging.require_backup((self.directory / layout.DATABASE).resolve())
        staging.contents(self.directory)

    def header(self) -> Answer:
        """Which log it is, and how far it goes."""
        with self._reader() as reader:
            extent = reader.extent()
        return {
            "directory": str(self._named),
            "log_id": extent.log_id,
            "pruned_to": extent.pruned_to,
            "last_id": extent.last_id,
            "writer_lives": layout.a_writer_lives(self.directory),
        }

    def overview(self) -> Answer:
        """What the log has, in figures, and the newest of what went wrong."""
        with self._reader() as reader, self._log() as log:
            checkpoint = log.rows(_NEWEST_CHECKPOINT)
            chain = read_key_chain(log.rows)
            failed = {"status": "failed"}
            return {
                "checkpoint": _checkpoint(*checkpoint[0]) if checkpoint else None,
                "key": str(chain.current.key) if chain else None,
                "dead_letters": reader.count_dead_letters(),
                "failed": _rows(
                    shown.operation_row,
                    find(log, Asked(ENV_OPERATION, failed, LATEST, by_time=True)),
                ),
                "refusals": _rows(
                    shown.refusal_row,
                    find(log, Asked(GOVERNANCE_REFUSAL, {}, LATEST, by_time=True)),
                ),
                "latest": _rows(shown.event_row, find(log, Asked(None, {}, LATEST))),
                "database_bytes": _size(self.directory / layout.DATABASE),
                "wal_bytes": _size(self.directory / f"{layout.DATABASE}-wal"),
            }

    def types(self) -> Answer:
        """The event types that there are, for who chooses one; what a search looks at."""
        with self._reader() as reader, self._log() as log:
            return {
                "types": finding.event_types(log)[: finding.TYPES_MAX],
                "searched": reader.searched_event_types(),
            }

    def entries(self, conditions: Mapping[str, Any], size: int, **place: Any) -> Answer:
        """A page of entries."""
        given = dict(conditions)
        event_type = given.pop("event_type", None)
        timed = event_type or given.get("since") or given.get("until")
        words = words_of(given.get("search"))
        return self._page(
            lambda event: shown.event_row(event, words), event_type, given, size, bool(timed), place
        )

    def task(self, task_id: str, size: int, **place: Any) -> Answer:
        """A page of one task's entries, and when it began and ended."""
        page = self._page(shown.event_row, None, {"task_id": task_id}, size, False, place)
        with self._log() as log:
            first, last, count, attributes = log.rows(_TASK_TIMES, task_id)[0]
        return page | {"first": first, "last": last, "count": count, "attributes": attributes}

    def operations(self, conditions: Mapping[str, Any], size: int, **place: Any) -> Answer:
        """A page of environment operations."""
        leads = any(conditions.get(each) for each in OPERATION_CONDITIONS if each != "status")
        words = words_of(conditions.get("search"))
        return self._page(
            lambda event: shown.operation_row(event, words),
            ENV_OPERATION,
            conditions,
            size,
            not leads,
            place,
        )

    def refusals(self, conditions: Mapping[str, Any], size: int, **place: Any) -> Answer:
        """A page of refusals; the agent is the actor."""
        return self._page(shown.refusal_row, GOVERNANCE_REFUSAL, conditions, size, True, place)

    def dead_letters(self, reason: str | None, returned: bool) -> Answer:
        """The newest dead letters, and how many there are of each reason."""
        with self._reader() as reader:
            found = reader.dead_letters(reason, returned=returned, limit=LETTERS_MAX)
            rows = [shown.letter_row(each) for each in found]
            return {"rows": rows, "counts": reader.count_dead_letters(returned=returned)}

    def dead_letter(self, id: int) -> Answer | None:  # noqa: A002 - the column's name
        """One, with what its bytes say of the first event."""
        with self._reader() as reader:
            letter = reader.dead_letter(id)
        if letter is None:
            return None
        first = letter.first_event
        return shown.letter_row(letter) | {
            "first": {
                name: value and value[: shown.PAYLOAD_CHARS_MAX]
                for name, value in first._asdict().items()
            },
            "frame_hex": (letter.frame or b"")[:512].hex(" ", 2),
        }

    def entry(self, seq: int) -> Answer | None:
        """One entry, and what is beside it in the log and in its task."""
        with self._reader() as reader, self._log() as log:
            event = reader.get(seq)
            beside = {
                "previous": log.rows(_BEFORE, seq)[0][0],
                "next": log.rows(_AFTER, seq)[0][0],
            }
            if event is None:
                extent = reader.extent()
                return {"entry": None, "pruned_to": extent.pruned_to, "last_id": extent.last_id}
            if event.task_id is not None:
                for name, sql in (("task_previous", _TASK_BEFORE), ("task_next", _TASK_AFTER)):
                    found = log.rows(sql, event.task_id, seq)
                    beside[name] = found[0][0] if found else None
            answer = {"entry": shown.event_facts(event), "derived": reader.derived(seq), **beside}
        if event.event_type == ENV_OPERATION:
            answer["operation"] = shown.operation_facts(event)
        return answer

    def payload(self, seq: int) -> str | None:
        """All of an entry's payload, as it was recorded."""
        with self._reader() as reader:
            event = reader.get(seq)
        return event.payload if event else None

    def proof(self, seq: int, whole: bool = False) -> Answer:
        """What `hansard prove` prints, its beginning or the ``whole`` of it, and whether it is
        right by the log's own key; or why there is none."""
        try:
            with self._log() as log:
                text = prove_entry(log, seq)
                chain = read_key_chain(log.rows)
            keys, source = self._keys(chain.keys if chain else ())
            proven, parsed = check_proof(text, keys), parse_inclusion_proof(text)
        except NotCovered as error:
            return {"proof": None, "why": str(error), "is_early": True}
        except (AuditLogError, NoteError) as error:
            return {"proof": None, "why": str(error), "is_early": False}
        checkpoint = proven.checkpoint  # type: ignore[union-attr]  # of an entry
        return {
            "proof": text if whole else text[: shown.PROOF_CHARS_MAX],
            "proof_chars": len(text),
            "size": checkpoint.size,
            "root": encode_root(checkpoint.root),
            "origin": checkpoint.origin,
            "signers": [str(key) for key in proven.signers],
            "keys_from": source,
            "note": parsed.checkpoint,
            "hashes": len(parsed.path),
        }

    def _keys(self, of_log: tuple[VerifierKey, ...]) -> tuple[list[VerifierKey], str]:
        """Whose signature counts here: the log's own, which an outsider need not believe."""
        try:
            key = read_verifier_key(self.directory / layout.PUBLIC_KEY)
        except (OSError, AuditLogError):
            return list(of_log), "the keys that the log names itself"
        return [key, *of_log], layout.PUBLIC_KEY

    def rates(
        self, seconds: float | None, until: str | None, stretches: int, event_type: str | None
    ) -> Answer:
        """Entries by type over the last ``seconds`` before ``until``, or all of the log. Without
        ``until`` it ends now, or with the newest entry where that is longer ago."""
        with self._log() as log:
            bounds = rates.ends(log)
            if bounds is None:
                return {"counts": {}, "since_ns": 0, "until_ns": 0, "width_ns": 1, "one_in": 1.0}
            first, last = bounds
            now = time.time_ns()
            end = now if seconds and now - last < seconds * 1e9 else last + 1
            if until is not None:
                end = nanoseconds(until, "until")
            start = first if seconds is None else end - int(seconds * 1e9)
            found = rates.rates(log, max(0, start), max(end, 1), stretches, event_type)
        facts = {name: getattr(found, name) for name in rates.Rates.__dataclass_fields__}
        return facts | {"first_ns": first, "last_ns": last}

    def _page(
        self,
        row: Callable[[Any], Answer],
        event_type: str | None,
        conditions: Mapping[str, Any],
        size: int,
        by_time: bool,
        place: Mapping[str, str | None],
    ) -> Answer:
        before, after = (
            Cursor.parse(each) if each else None
            for each in (place.get("before"), place.get("after"))
        )
        given = {name: value for name, value in conditions.items() if value is not None}
        asked = Asked(event_type, given, size, before, after, by_time)
        with self._log() as log:
            found = find(log, asked)
        return {
            "rows": _rows(row, found),
            "older": str(found.older) if found.older else None,
            "newer": str(found.newer) if found.newer else None,
            "by_time": found.by_time,
            "looked_to": found.looked_to,
        }


def _rows(row: Callable[[Any], Answer], found: finding.Found) -> list[Answer]:
    return [row(event) for event in found.events]


def _checkpoint(size: int, origin: str, created_at_ns: int, root: str) -> Answer:
    return {"size": size, "origin": origin, "created_at_ns": created_at_ns, "root": root}


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - a figure
    except OSError:
        return 0
