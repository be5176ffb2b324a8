"""Redaction: payloads go, from everything that the log's directory holds; entries stay."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest

from frames import Chain, event, parts
from hansard import wire
from hansard.reader import LogReader
from hansard_writer import full_text_separators, redacting, wiping
from hansard_writer.disk import LOOK_S
from hansard_writer.redacting import REDACTED
from hansard_writer.retries import RETRY_S
from stepped import TURN_S, Killed, Log, Worker, encode, leave_as_after_a_kill, write_lock_taken

ORPHANS = {"enforce_tasks": True}


def question(**changed: Any) -> wire.Redact:
    """A request to redact."""
    asked = wire.Redact(None, None, None, "a password", "ann@host", 0, 0, dry_run=False)
    return asked._replace(**changed)


def redact(log: Log, *seqs: int, **changed: Any) -> dict[str, int]:
    """Redact to the end, but wipe nothing; the counts that are not 0."""
    if seqs:
        changed["ranges"] = redacting.ranges_of(seqs)
    asked, counts = question(**changed), dict.fromkeys(wire.Redacted._fields[:5], 0)
    while True:
        piece = wire.redacted_of(log.ask(asked))
        for name in counts:
            counts[name] += getattr(piece, name)
        if piece.is_last:
            return {name: count for name, count in counts.items() if count}
        asked = asked._replace(after_seq=piece.last_seq, after_letter=piece.last_letter)


def wipe(log: Log) -> list[str]:
    """Wipe until it is done, or held up; by what."""
    while True:
        wiped = wire.wiped_of(log.ask(wire.Wipe()))
        if wiped.is_done or wiped.held_up_by:
            return list(wiped.held_up_by)


def secret() -> str:
    """One that is nowhere else, and begins like no other."""
    return "q" + secrets.token_hex(12)


def operation(secret: str, **changed: Any) -> bytes:
    """A failed operation with a secret in every place that is indexed."""
    facts = {
        "workflow_id": "wf",
        "node_id": f"node {secret}",
        "version_id": f"version {secret}",
        "operation": f"op {secret}",
        "status": "failed",
        "stdout": "",
        "stderr": f"cannot log in with {secret}",
        "exit_code": 1,
        "duration_ms": 1.5,
        "metadata": {"error": f"no such user: {secret}"},
    }
    return encode({**facts, **changed}, event_type="env.operation", level="error")


def assert_gone(directory: Path, *secrets: str) -> None:
    """No file of the log holds any of them."""
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            for each in secrets:
                assert each.encode() not in data, f"{each} is in {path.name}"


def assert_there(directory: Path, secret: str) -> None:
    assert any(
        secret.encode() in path.read_bytes() for path in directory.rglob("*") if path.is_file()
    )


def record(log: Log, *events: bytes, name: str = "r") -> list[int]:
    """Events of one worker, committed; their ids."""
    worker = next((each for each in log.workers if each.name == name), None) or log.worker(name)
    for each in events:
        worker.producer.append(each)
    log.settle()
    last = log.query("SELECT max(seq) FROM entries")[0][0]
    return list(range(last - len(events) + 1, last + 1))


def settle_alone(log: Log, worker: Worker) -> None:
    """All events of one worker are committed, while the others do nothing."""
    while worker.producer.has_work:
        worker.send()
        log.step()
        worker.hear()
        log.pass_time(TURN_S)


def index_all(log: Log) -> None:
    """Time passes, and full text looks at everything."""
    while log.statistics()["full_text_tail"]:
        log.pass_time(1)
        log.step()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redacting, "ENTRIES_PER_PIECE_MAX", 3)
    monkeypatch.setattr(wiping, "PIECE_PAGES_MAX", 8)
    monkeypatch.setattr(full_text_separators, "PIECE_PAGES_MAX", 2)


@pytest.fixture
def orphans(directory: Path) -> Iterator[Log]:
    """Served by a writer that enters events of registered tasks only."""
    log = Log(directory, **ORPHANS).start_writer()
    yield log
    log.close()


# --- what goes, and what stays ---


def test_payload_and_salt_go_and_everything_that_was_signed_stays(log: Log) -> None:
    (seq,) = record(log, encode({"password": "hunter2"}, task_id="T1", actor="ann"))
    columns = "seq, producer, producer_seq, created_at, event_type, level, actor, task_id"
    signed = f"SELECT {columns}, payload_hash FROM entries WHERE seq = ?"
    tree = "SELECT * FROM tree WHERE level = 0 AND idx = 0"
    before, leaf = log.query(signed, seq), log.query(tree)[0][2][:32]
    assert redact(log, seq) == {"entries": 1}
    assert log.query(signed, seq) == before
    assert log.query(tree)[0][2][:32] == leaf
    assert log.query("SELECT payload, salt FROM entries WHERE seq = ?", seq) == [(None, None)]
    assert log.query("SELECT count(*) FROM meta WHERE key = 'unlocked'") == [(0,)]


def test_an_entry_says_who_took_what_out_and_why(log: Log) -> None:
    seqs = record(log, *(encode({"n": n}) for n in range(8)))
    redact(log, seqs[0], *seqs[3:8])
    asked = {"seq": [[seqs[0], seqs[0]], [seqs[3], seqs[7]]]}
    facts = {"by": "ann@host", "reason": "a password", "asked": asked}
    assert log.entries(REDACTED) == [
        {**facts, "entries": [[seqs[0], seqs[0]], [seqs[3], seqs[4]]]},
        {**facts, "entries": [[seqs[5], seqs[7]]]},
    ]
    rows = log.query("SELECT level, actor, producer FROM entries WHERE event_type = ?", REDACTED)
    assert set(rows) == {("warning", "hansard", 0)}


def test_what_has_nothing_to_redact_is_passed_over_and_counted(log: Log) -> None:
    seqs = record(log, encode({"n": 1}), encode(None), encode({"n": 2}))  # type: ignore[arg-type]
    assert redact(log, seqs[0]) == {"entries": 1}
    own = log.query("SELECT seq FROM entries WHERE event_type = ?", REDACTED)[0][0]
    found = redact(log, *seqs, own, own + 99)
    assert found == {"entries": 1, "before": 1, "empty": 1, "own": 1}
    assert redact(log, *seqs, own) == {"before": 2, "empty": 1, "own": 1}
    assert len(log.entries(REDACTED)) == 2, "nothing was redacted, so nothing is said"


def test_a_dry_run_changes_nothing(log: Log) -> None:
    seqs = record(log, encode({"n": 1}), encode({"n": 2}))
    assert redact(log, *seqs, dry_run=True) == {"entries": 2}
    assert log.entries(REDACTED) == []
    assert log.query("SELECT count(payload) FROM entries") == [(2,)]


def test_a_workflow_is_its_operations_and_a_task_all_its_entries(log: Log) -> None:
    ours = record(log, *(operation(f"s{n}", node_id=f"n{n % 2}") for n in range(7)))
    others = record(log, operation("x", workflow_id="other"), encode({"workflow_id": "wf"}))
    assert redact(log, workflow_id="wf") == {"entries": 7}
    gone = "SELECT seq FROM entries WHERE payload IS NULL ORDER BY seq"
    assert [seq for (seq,) in log.query(gone)] == ours
    assert redact(log, workflow_id="wf") == {"before": 7}, "as the log itself says"
    tasks = record(log, *(encode({"n": n}, task_id="T1") for n in range(4)))
    assert redact(log, task_id="T1") == {"entries": 4}
    assert [seq for (seq,) in log.query(gone)] == ours + tasks
    assert others
    assert redact(log, task_id="T1") == {"before": 4}


def test_attributes_of_a_task_go_with_the_registration_that_gave_them(log: Log) -> None:
    worker = log.worker("r")
    worker.register("T1", title="old")
    worker.register("T1", title="new")
    worker.register("T2", title="other")
    log.settle()
    attributes = "SELECT attributes FROM tasks ORDER BY task_id"
    assert redact(log, 2) == {"entries": 1}
    assert log.query(attributes) == [('{"title":"old"}',), ('{"title":"other"}',)]
    assert redact(log, 1) == {"entries": 1}
    assert log.query(attributes) == [(None,), ('{"title":"other"}',)]


def test_reader_tells_a_redacted_entry_from_an_empty_one(log: Log) -> None:
    seqs = record(log, encode({"n": 1}), encode(None), encode({"n": 2}))  # type: ignore[arg-type]
    redact(log, seqs[0])
    with LogReader(log.directory) as reader:
        first, empty, full = (reader.get(seq) for seq in seqs)
    assert first is not None
    assert empty is not None
    assert full is not None
    assert [(each.payload, each.redacted) for each in (first, empty, full)] == [
        (None, True),
        (None, False),
        ('{"n":2}', False),
    ]
    assert first.data is None


def test_a_redacted_entry_is_found_by_its_key_as_before(log: Log) -> None:
    (seq,) = record(log, encode({"n": 1}))
    redact(log, seq)
    key = wire.Lookup(log.workers[0].producer.hash, 1)
    assert wire.LookupReply(*log.ask(key))[:3] == ("committed", seq, "step.done")


# --- no byte of it ---


def test_no_file_holds_a_secret_wherever_it_was(log: Log) -> None:
    plain, large, indexed = secret(), secret(), secret()
    seqs = record(
        log,
        encode({"password": plain}),
        encode({"text": large * 5_000}),
        operation(indexed),
        encode({"kept": "as it was"}),
    )
    index_all(log)
    assert redact(log, *seqs[:3]) == {"entries": 3}
    assert wipe(log) == []
    assert_gone(log.directory, plain, large, indexed)
    assert_there(log.directory, "as it was")
    with LogReader(log.directory) as reader:
        assert list(reader.search(indexed)) == []
        assert list(reader.search("user")) == []


def test_copies_that_balanced_trees_left_behind_go_too(log: Log) -> None:
    random = Random(7)
    hidden = [f"q{random.getrandbits(96):024x}" for _ in range(1_200)]
    seqs: list[int] = []
    for start in range(0, 1_200, 100):
        seqs += record(log, *map(operation, hidden[start : start + 100]))
    index_all(log)
    chosen = [index for index in range(1_200) if index % 4]
    for part in (1, 2, 3):  # trees shrink, and pages are joined
        redact(log, *seqs[part::4])
    assert log.store is not None
    assert log.store.handle.checkpoint_truncate()
    database = (log.directory / "log.db").read_bytes()
    left = [index for index in chosen if hidden[index].encode() in database]
    assert left, "SQLite overwrote them all: this shows nothing"
    assert wipe(log) == []
    record(log, *(operation("later", node_id=f"n{n}") for n in range(300)))
    log.pass_time(5)
    log.step()
    assert_gone(log.directory, *(hidden[index] for index in chosen))
    assert log.query("PRAGMA integrity_check") == [("ok",)]
    check = "INSERT INTO full_text(full_text) VALUES('integrity-check')"
    assert log.store.connection.execute(check).fetchall() == []
    with LogReader(log.directory) as reader:
        assert [each.id for each in reader.search(hidden[0])] == [seqs[0]]


def test_what_is_recorded_between_two_pieces_brings_nothing_back(log: Log) -> None:
    hidden = [secret() for _ in range(600)]
    seqs = record(log, *map(operation, hidden))
    index_all(log)
    redact(log, *seqs[::3])
    while not (wiped := wire.wiped_of(log.ask(wire.Wipe()))).is_done:
        assert not wiped.held_up_by
        record(log, *(operation(secret()) for _ in range(2)))
    log.pass_time(5)
    log.step()
    assert_gone(log.directory, *hidden[::3])


@pytest.mark.parametrize("lag", ["behind", "in the middle", "indexed"])
def test_full_text_is_right_however_far_behind_it_was(log: Log, lag: str) -> None:
    hidden = secret()
    first = record(log, operation("one"))
    if lag != "behind":
        index_all(log)
    (seq,) = record(log, operation(hidden))
    if lag == "indexed":
        index_all(log)
    assert redact(log, seq) == {"entries": 1}
    assert wipe(log) == []
    index_all(log)
    assert_gone(log.directory, hidden)
    with LogReader(log.directory) as reader:
        assert [each.id for each in reader.search("cannot")] == first


def test_an_index_that_is_damaged_stops_no_redaction(log: Log) -> None:
    hidden = secret()
    (seq,) = record(log, operation(hidden))
    index_all(log)
    assert log.store is not None
    log.store.connection.execute("DELETE FROM full_text_data WHERE id > 10")
    assert redact(log, seq) == {"entries": 1}
    assert wipe(log) == []
    assert_gone(log.directory, hidden)


# --- dead letters ---


def test_orphans_of_a_task_go_with_it_and_wait_no_more(orphans: Log) -> None:
    hidden, kept = secret(), secret()
    worker = orphans.worker("r")
    worker.record_together(encode({"p": hidden}, task_id="T1"), encode({"q": hidden}, task_id="T1"))
    worker.producer.append(encode({"p": kept}, task_id="T2"))
    orphans.settle()
    assert redact(orphans, task_id="T1", dry_run=True) == {"letters": 1}
    assert redact(orphans, task_id="T1") == {"letters": 1}
    assert orphans.dead_letters() == [(1, 2, "redacted"), (3, 1, "orphan")]
    figures = orphans.statistics()
    assert (figures["dead_lettered"], figures["orphaned"]) == (3, 1)
    frames = orphans.query("SELECT sum(length(frame)) FROM dead_letters")[0][0]
    assert figures["dead_letter_bytes"] == frames
    worker.register("T1")
    orphans.settle()
    assert orphans.query("SELECT count(*) FROM entries WHERE payload LIKE '%q%'") == [(0,)]
    assert wire.replayed_of(orphans.ask(wire.Replay(0, None, None, dry_run=False)))[:3] == (0, 1, 1)
    assert wipe(orphans) == []
    assert_gone(orphans.directory, hidden)
    assert_there(orphans.directory, kept)
    assert orphans.entries(REDACTED)[0]["letters"] == [1]


def test_an_orphan_that_has_returned_is_an_entry_like_others(orphans: Log) -> None:
    hidden = secret()
    worker = orphans.worker("r")
    worker.producer.append(encode({"p": hidden}, task_id="T1"))
    orphans.settle()
    worker.register("T1", title=hidden)
    orphans.settle()
    assert redact(orphans, task_id="T1") == {"entries": 2}
    assert wipe(orphans) == []
    assert_gone(orphans.directory, hidden)


def test_letters_that_cannot_be_decoded_go_by_what_their_bytes_mention(log: Log) -> None:
    chain = Chain()
    log.link.requests.append(([b"x", b""], wire.pack_request(chain.hello())))
    log.step()
    whole = chain.frame(event('{"workflow_id":"wf7","p":"hunter2"}'), b"\xc1")
    log.link.frames.append(parts(whole))
    log.turn()
    log.turn()
    assert [reason for _, _, reason in log.dead_letters()] == ["undecodable"]
    assert redact(log, workflow_id="wf8") == {}
    assert redact(log, workflow_id="wf7") == {"letters": 1}
    assert wipe(log) == []
    assert_gone(log.directory, "hunter2")


def test_a_letter_of_nobodys_goes_with_the_entry_whose_bytes_it_has(log: Log) -> None:
    hidden = secret()
    chain = Chain()
    frame = chain.frame(event(json.dumps({"p": hidden})))
    log.link.frames.append(parts(frame))  # to a writer that does not know its producer
    log.turn()
    log.link.requests.append(([b"x", b""], wire.pack_request(chain.hello())))
    log.step()
    log.link.frames.append(parts(frame))
    log.turn()
    assert [reason for _, _, reason in log.dead_letters()] == ["unknown_producer"]
    assert redact(log, 1) == {"entries": 1, "letters": 1}
    assert wipe(log) == []
    assert_gone(log.directory, hidden)


# --- exactly once ---


def test_a_twins_event_that_is_redacted_does_not_come_back_under_its_name(log: Log) -> None:
    hidden = secret()
    event = encode({"p": hidden})
    first, second = log.twins_of_one_image([event])
    first.record(1)
    settle_alone(log, first)
    redact(log, 1)
    second.record(1)
    log.settle()
    assert log.query("SELECT count(*) FROM entries WHERE producer > 0") == [(3,)]
    assert wipe(log) == []
    assert_gone(log.directory, hidden)


def test_an_old_spool_of_a_power_cut_brings_nothing_back(log: Log) -> None:
    hidden = secret()
    worker = log.worker("w")
    worker.producer.append(encode({"p": hidden}))
    assert worker.spool is not None
    old = worker.spool.read_bytes()
    worker.record(2)
    log.settle()
    redact(log, 1)
    spool = worker.spool
    worker.kill()
    spool.write_bytes(old)  # its pages are what the kernel got to
    log.recorded.clear()
    log.settle()
    assert log.query("SELECT count(*) FROM entries WHERE producer > 0") == [(3,)]
    assert wipe(log) == []
    assert_gone(log.directory, hidden)


def test_a_redacted_orphan_of_a_twin_does_not_come_back(orphans: Log) -> None:
    hidden = secret()
    event = encode({"p": hidden}, task_id="T1")
    first, second = orphans.twins_of_one_image([event])
    first.register("T2")
    settle_alone(orphans, first)
    assert redact(orphans, task_id="T1") == {"letters": 1}
    first.register("T1")
    settle_alone(orphans, first)
    second.register("T3")
    orphans.settle()
    assert orphans.query("SELECT count(*) FROM dead_letters") == [(1,)]
    assert wipe(orphans) == []
    assert_gone(orphans.directory, hidden)


# --- what is in the way ---


def test_a_reader_holds_the_wiping_up_and_is_named(log: Log) -> None:
    hidden = secret()
    (seq,) = record(log, encode({"p": hidden}))
    reader = apsw.Connection(str(log.directory / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM entries").fetchall()
    redact(log, seq)
    (why,) = wipe(log)
    assert "a read transaction keeps" in why
    assert_there(log.directory, hidden)
    reader.close()
    assert wipe(log) == []
    assert_gone(log.directory, hidden)


def test_a_backup_of_a_migration_holds_the_wiping_up_and_is_named(log: Log) -> None:
    backup = log.directory / "log.db.before-v4-20260102T030405.000006Z"
    backup.write_bytes(b"what the log held then")
    record(log, event())
    redact(log, 1)
    assert wipe(log) == [
        f"{backup} is a backup from before a migration, and holds what the log held then: remove it"
    ]
    backup.unlink()
    assert wipe(log) == []


def test_a_worker_that_has_not_heard_of_the_commit_holds_it_up(log: Log) -> None:
    hidden = secret()
    worker = log.worker("w")
    worker.producer.append(encode({"p": hidden}))
    while log.statistics()["entries"] == 0:  # it is entered, and no answer arrives
        worker.send()
        log.step()
        log.pass_time(TURN_S)
        if not worker.transmission.welcomed:
            worker.hear()
    redact(log, 1)
    (why,) = wipe(log)
    assert str(worker.spool) in why
    assert "has not heard yet" in why
    log.settle()
    assert wipe(log) == []
    assert_gone(log.directory, hidden)


@pytest.mark.parametrize(
    ("name", "says"),
    [("old.damaged", "remove it"), ("foreign.spool", "belongs to another log")],
)
def test_a_spool_set_aside_holds_it_up_until_it_is_removed(log: Log, name: str, says: str) -> None:
    hidden = secret()
    worker = log.worker("w")
    worker.producer.append(encode({"p": hidden}))
    assert worker.spool is not None
    if name.startswith("foreign"):
        worker.producer._store.note(log_id=b"another log's id")
    aside = log.spools / name
    content = worker.spool.read_bytes()
    if name.startswith("foreign"):
        assert log.store is not None
        worker.producer._store.note(log_id=log.store.log_id)
    log.settle()
    aside.write_bytes(content)
    redact(log, 1)
    (why,) = wipe(log)
    assert str(aside) in why
    assert says in why
    aside.unlink()
    assert wipe(log) == []
    assert_gone(log.directory, hidden)


def test_a_file_of_which_nobody_can_tell_what_it_is_holds_it_up(log: Log) -> None:
    (seq,) = record(log, encode({"p": 1}))
    (log.spools / "x.damaged").write_bytes(b"x" * 5_000)
    redact(log, seq)
    (why,) = wipe(log)
    assert "nobody can tell" in why


# --- beside the log's work ---


def test_what_is_uncommitted_is_committed_first(log: Log) -> None:
    record(log, encode({"n": 0}))
    worker = log.workers[0]
    worker.producer.append(encode({"n": 1}))
    worker.send()
    assert redact(log, 1, 2) == {"entries": 2}


def test_a_foreign_lock_is_waited_for_by_asking_again(log: Log) -> None:
    (seq,) = record(log, encode({"n": 1}))
    with write_lock_taken(log.directory), pytest.raises(wire.WireError, match=r"try again$"):
        redact(log, seq)
    log.pass_time(RETRY_S)
    assert redact(log, seq) == {"entries": 1}
    with write_lock_taken(log.directory), pytest.raises(wire.WireError, match=r"try again$"):
        wipe(log)
    log.pass_time(RETRY_S)
    assert wipe(log) == []


def test_on_a_full_disk_it_says_so(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    (seq,) = record(log, encode({"n": 1}))
    monkeypatch.setattr(log.writer._disk, "reason", "the disk of it is full: make room on it")
    log.pass_time(LOOK_S / 2)
    for asked in (question(ranges=[[seq, seq]]), wire.Wipe()):
        with pytest.raises(wire.WireError, match="suspended: the disk of it is full"):
            log.ask(asked)


def test_a_writer_killed_between_two_pieces_goes_on_when_it_is_repeated(log: Log) -> None:
    hidden = [secret() for _ in range(5)]
    seqs = record(log, *(encode({"p": each}) for each in hidden))
    piece = wire.redacted_of(log.ask(question(ranges=[[seqs[0], seqs[-1]]])))
    assert (piece.entries, piece.is_last) == (3, False)
    log.restart_writer()
    assert redact(log, *seqs) == {"before": 3, "entries": 2}
    log.restart_writer()
    assert redact(log, *seqs) == {"before": 5}
    assert wipe(log) == []
    assert_gone(log.directory, *hidden)
    ranges = [each["entries"] for each in log.entries(REDACTED)]
    assert ranges == [[[seqs[0], seqs[2]]], [[seqs[3], seqs[4]]]]


def test_a_piece_is_there_wholly_or_not_at_all(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    (seq,) = record(log, operation("hunter2"))
    index_all(log)

    def killed(*_: Any) -> None:
        raise Killed

    assert log.store is not None
    monkeypatch.setattr(log.store.letters, "committed", killed)
    monkeypatch.setattr("hansard_writer.own_entries.OwnEntries.enter", killed)
    with pytest.raises(Killed):
        redact(log, seq)
    monkeypatch.undo()
    leave_as_after_a_kill(log.store)
    log.store = None
    log.start_writer()
    assert log.query("SELECT payload IS NOT NULL FROM entries WHERE seq = ?", seq) == [(1,)]
    with LogReader(log.directory) as reader:
        assert [each.id for each in reader.search("cannot")] == [seq]
