"""Attacks on time: histories that end earlier than they did, or go on otherwise."""

import shutil

from tampering import forging
from tampering.attack import ANOTHER_HISTORY, ANOTHER_KEY, TRUNCATED, By, Section, not_found
from tampering.attackers import Attacker
from tampering.files import Files, json_text

TIME = Section("Old copies and other histories")


def replace_database(files: Files) -> None:
    """Put the old database in the place of the new one, and open it."""
    assert files.old
    files.connection.close()
    shutil.copyfile(files.old / "log.db", files.directory / "log.db")
    files.open()


def replace_all(files: Files) -> None:
    """The same, with DIR/checkpoint as it was then."""
    assert files.old
    replace_database(files)
    shutil.copyfile(files.old / "checkpoint", files.last)


@TIME.deed("an old copy of log.db is put in its place", TRUNCATED)
def old_database(files: Files, _: Attacker) -> None:
    replace_database(files)


@TIME.deed("an old copy of the whole directory is put in its place", TRUNCATED.given(By.CHECKPOINT))
def old_directory(files: Files, _: Attacker) -> None:
    replace_all(files)


@TIME.deed(
    "all behind a checkpoint is taken away, with tree and checkpoints as they were then",
    TRUNCATED.given(By.CHECKPOINT),
)
def cut_back(files: Files, _: Attacker) -> None:
    size = files.sizes()[1]
    files.force("DELETE FROM entries WHERE seq > ?", size)
    files.execute("DELETE FROM checkpoints WHERE size > ?", size)
    files.write_tree()
    files.last.write_text(files.note(size))


@TIME.deed(
    "an old copy goes on with other events",
    ANOTHER_KEY,
    ANOTHER_HISTORY,
)
def forked(files: Files, attacker: Attacker) -> None:
    size = files.sizes()[-1]
    replace_all(files)
    while files.append("payment.made", json_text(amount=1)) < size:
        pass
    attacker.cover(files)


@TIME.deed(
    "an old copy goes on, with fewer events than there were",
    ANOTHER_KEY,
    TRUNCATED.given(By.CHECKPOINT),
)
def forked_shorter(files: Files, attacker: Attacker) -> None:
    replace_all(files)
    files.append("payment.made", json_text(amount=1))
    attacker.cover(files)


@TIME.deed(
    "events are put behind the last checkpoint, with their leaves in the tree",
    not_found("nothing has signed them yet; the next writer would: who can write can record"),
)
def appended(files: Files, _: Attacker) -> None:
    files.append("payment.made", json_text(amount=1))
    files.write_tree()


@TIME.deed(
    "an entry is edited that is newer than the outsider's checkpoint",
    ANOTHER_KEY,
    not_found("a checkpoint proves what it covers: take them often"),
)
def newest_edited(files: Files, attacker: Attacker) -> None:
    newest = files.entries()[-2]["seq"]
    files.change_payload(newest, json_text(amount=1))
    attacker.cover(files)


@TIME.deed(
    "two histories are signed, one for each who asks",
    ANOTHER_KEY,
    ANOTHER_HISTORY,
)
def split_view(files: Files, attacker: Attacker) -> None:
    """Of one size: the outsider's checkpoint is of the other one."""
    files.change_payload(100, json_text(shown_to="auditors"))
    files.write_tree()
    signer, tree = attacker.signer(files), files.tree()
    for size in files.sizes():
        text = forging.checkpoint_text(files.origin, size, tree.root(size))
        files.put_note(size, forging.signed(text, [signer]))
