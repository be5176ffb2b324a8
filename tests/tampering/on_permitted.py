"""Attacks in the guise of what is permitted: redaction and retention."""

from dataclasses import replace

from tampering.attack import ANOTHER_KEY, NOT_TRIED, Section, altered, in_vain, not_found
from tampering.attackers import Attacker
from tampering.files import Files, json_text
from tampering.on_entries import CHOSEN, LAST

REDACTION = Section("Redaction")
RETENTION = Section("Retention")

REDACTED = 62  # by the redacted log's own entry; the one before it is not
PRUNED_TO = 40  # of the pruned log
PRUNED = range(1, PRUNED_TO + 1)

_SAID = "the log says who, what and why, and the entry stays provable; but who can write can say it"


@REDACTION.change(
    "a payload is taken away without an entry that says so",
    altered(CHOSEN),
    in_vain(altered(CHOSEN)),
)
def unsaid(files: Files) -> None:
    files.change(CHOSEN, payload=None, salt=None)


@REDACTION.change(
    "in a redacted log one payload more is taken away",
    altered(REDACTED - 1),
    in_vain(altered(REDACTED - 1)),
    log="redacted",
)
def one_more(files: Files) -> None:
    files.change(REDACTED - 1, payload=None, salt=None)


@REDACTION.change("only a salt is taken away", altered(CHOSEN))
def salt_only(files: Files) -> None:
    files.change(CHOSEN, salt=None)


@REDACTION.change("the entry that says so is made to say more", altered(LAST + 1), log="redacted")
def widened(files: Files) -> None:
    seq = _redacting(files)
    said = files.entry(seq)["payload"]
    wide = said.replace(f"[{REDACTED},", f"[{REDACTED - 1},")
    assert wide != said
    files.change_payload(seq, wide)
    files.change(REDACTED - 1, payload=None, salt=None)


@REDACTION.change(
    "the entry that says so is emptied itself",
    altered(REDACTED, LAST + 1),
    in_vain(altered(REDACTED, LAST + 1)),
    log="redacted",
)
def emptied(files: Files) -> None:
    files.change(_redacting(files), payload=None, salt=None)


@REDACTION.change(
    "what was redacted is put back, from an old copy",
    altered(REDACTED),
    in_vain(altered(REDACTED)),
    log="redacted",
)
def put_back(files: Files) -> None:
    assert files.old
    with Files(files.old) as old:
        entry = old.entry(REDACTED)
    files.change(REDACTED, payload=entry["payload"], salt=entry["salt"])


@REDACTION.change(
    "another payload is put into a redacted entry",
    altered(REDACTED),
    in_vain(altered(REDACTED)),
    log="redacted",
)
def filled(files: Files) -> None:
    salt, payload = bytes(16), json_text(amount=1)
    files.change(REDACTED, salt=salt, payload=payload)


@REDACTION.change("the entry that says so is that of a client", altered(CHOSEN), covered=NOT_TRIED)
def said_by_a_client(files: Files) -> None:
    """Of a producer that is not the writer itself: no client may record that type."""
    _say_redacted(files, producer=1)


@REDACTION.deed(
    "a payload is taken away, and an entry of the writer's forged that says so, not yet signed",
    not_found(_SAID),
)
def said(files: Files, _: Attacker) -> None:
    _say_redacted(files, producer=0)


@REDACTION.deed("the same, and signed", ANOTHER_KEY, not_found(_SAID))
def said_and_signed(files: Files, attacker: Attacker) -> None:
    _say_redacted(files, producer=0)
    attacker.cover(files)


def _redacting(files: Files) -> int:
    """The entry that says what was redacted."""
    seq: int = files.execute("SELECT seq FROM entries WHERE event_type = 'hansard.redacted'")[0][0]
    return seq


def _say_redacted(files: Files, producer: int) -> None:
    facts = {"by": "root", "reason": "tidying up", "entries": [[CHOSEN, CHOSEN]], "asked": {}}
    files.append("hansard.redacted", json_text(**facts), producer=producer, level="warning")
    files.change(CHOSEN, payload=None, salt=None)
    files.write_tree()


# --- retention ---


@RETENTION.change(
    "the oldest entries are deleted without an entry that says so",
    altered(*PRUNED),
    in_vain(altered()),
)
def prune_unsaid(files: Files) -> None:
    files.force("DELETE FROM entries WHERE seq <= ?", PRUNED_TO)


@RETENTION.change(
    "the same, and `meta` says that they are pruned", altered(*PRUNED), covered=NOT_TRIED
)
def prune_in_meta(files: Files) -> None:
    _prune(files, PRUNED_TO)


@RETENTION.change(
    "a pruned log is pruned further than its entry says",
    altered(PRUNED_TO + 1),
    in_vain(altered()),
    log="pruned",
)
def prune_further(files: Files) -> None:
    _prune(files, PRUNED_TO + 1)


@RETENTION.change("the entry that says so is made to say more", altered(LAST + 1), log="pruned")
def prune_widened(files: Files) -> None:
    (seq,) = files.execute("SELECT seq FROM entries WHERE event_type = 'hansard.pruned'")[0]
    said = files.entry(seq)["payload"]
    wide = said.replace(f'"last":{PRUNED_TO}', f'"last":{PRUNED_TO + 1}')
    assert wide != said
    files.change_payload(seq, wide)
    _prune(files, PRUNED_TO + 1)


@RETENTION.change(
    "an entry is forged where one was pruned", altered(PRUNED_TO), covered=NOT_TRIED, log="pruned"
)
def prune_filled(files: Files) -> None:
    files.insert(**(files.entry(PRUNED_TO + 1) | {"seq": PRUNED_TO}))


@RETENTION.deed(
    "the oldest entries are deleted, and an entry of the writer's forged that says so, not signed",
    altered(),
)
def prune_said(files: Files, _: Attacker) -> None:
    _say_pruned(files)


@RETENTION.deed(
    "the same, and signed", replace(ANOTHER_KEY, looks="pruned"), not_found(_SAID, "pruned")
)
def prune_said_and_signed(files: Files, attacker: Attacker) -> None:
    _say_pruned(files, attacker)


def _prune(files: Files, last: int) -> None:
    files.force("DELETE FROM entries WHERE seq <= ?", last)
    files.execute("DELETE FROM tree WHERE level = 0 AND idx < ?", last // 16)
    files.execute("INSERT OR REPLACE INTO meta VALUES('pruned_to', ?)", last)


def _say_pruned(files: Files, attacker: Attacker | None = None) -> None:
    facts = {"by": "root", "reason": None, "first": 1, "last": PRUNED_TO, "archive": None}
    facts["before"] = "2026-01-01T00:00:00.000000Z"
    files.append("hansard.pruned", json_text(**facts), producer=0, level="warning")
    files.write_tree()
    if attacker:
        files.sign_again(attacker.signer(files))
    _prune(files, PRUNED_TO)
