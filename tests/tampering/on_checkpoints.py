"""Attacks on the signed checkpoints of a log."""

from tampering import forging
from tampering.attack import FORKED, TRUNCATED, By, Found, Section, altered, not_found
from tampering.attackers import Attacker, WithKey
from tampering.files import Files, json_text
from tampering.forging import Signer, new_signer
from tampering.on_entries import CHOSEN

CHECKPOINTS = Section("Checkpoints")
deed = CHECKPOINTS.deed


def _middle(files: Files) -> int:
    """The size of a checkpoint that is neither the first nor the last."""
    sizes = files.sizes()
    return sizes[len(sizes) // 2]


def _signer(files: Files, attacker: Attacker) -> Signer:
    """The log's key, or one in its name that is not; writer.pub stays as it is."""
    return files.own_signer if isinstance(attacker, WithKey) else new_signer(files.origin)


@deed("a root is edited", altered())
def root(files: Files, _: Attacker) -> None:
    size = _middle(files)
    _, _, signatures = files.note(size).partition("\n\n")
    other = forging.checkpoint_text(files.origin, size, bytes(32))
    files.put_note(size, f"{other}\n{signatures}")


@deed("a root is edited, and signed", altered(), FORKED)
def root_signed(files: Files, attacker: Attacker) -> None:
    size = _middle(files)
    text = forging.checkpoint_text(files.origin, size, bytes(32))
    files.put_note(size, forging.signed(text, [_signer(files, attacker)]))


@deed("a size is edited", altered())
def size_edited(files: Files, _: Attacker) -> None:
    size = _middle(files)
    files.put_note(size, files.note(size).replace(f"\n{size}\n", f"\n{size - 1}\n"))


@deed("an origin is edited", altered())
def origin(files: Files, _: Attacker) -> None:
    size = _middle(files)
    note = files.note(size).replace("hansard/", "hansard/another/", 1)
    files.put_note(size, note)


@deed("a signature is edited", altered())
def signature(files: Files, _: Attacker) -> None:
    size = _middle(files)
    note = files.note(size)
    at = len(note) - 20
    files.put_note(size, note[:at] + ("A" if note[at] != "A" else "B") + note[at + 1 :])


@deed("a signature is taken away", altered())
def unsigned(files: Files, _: Attacker) -> None:
    size = _middle(files)
    files.put_note(size, files.note(size).partition("\n\n")[0] + "\n\n")


@deed("two notes are exchanged", altered())
def notes_exchanged(files: Files, _: Attacker) -> None:
    first, second = files.sizes()[1:3]
    one, two = files.note(first), files.note(second)
    files.put_note(first, two)
    files.put_note(second, one)


@deed("a note is put under another size", altered())
def note_copied(files: Files, _: Attacker) -> None:
    files.put_note(_middle(files), files.note(files.sizes()[0]))


@deed("DIR/checkpoint is edited", altered())
def last_edited(files: Files, _: Attacker) -> None:
    files.last.write_text(files.last.read_text().replace("\n", "\n1", 1))


@deed(
    "one checkpoint is deleted",
    not_found("no entry is less proved: the later ones cover what it covered"),
)
def one_deleted(files: Files, _: Attacker) -> None:
    files.execute("DELETE FROM checkpoints WHERE size = ?", _middle(files))


@deed("the last checkpoint is deleted", altered())
def last_deleted(files: Files, _: Attacker) -> None:
    files.execute("DELETE FROM checkpoints WHERE size = (SELECT max(size) FROM checkpoints)")


@deed(
    "all checkpoints are deleted, DIR/checkpoint too",
    Found(By.KEY, "altered", cleared=True, why="a log without any is one that was never signed"),
)
def all_deleted(files: Files, _: Attacker) -> None:
    files.execute("DELETE FROM checkpoints")
    files.remove("checkpoint")


@deed("DIR/checkpoint is deleted", not_found("the database has it too"))
def last_removed(files: Files, _: Attacker) -> None:
    files.remove("checkpoint")


@deed("DIR/verified is deleted", not_found("it is only what the last verification said"))
def verified_removed(files: Files, _: Attacker) -> None:
    files.remove("verified")


@deed(
    "a line of somebody else's is added to the signatures",
    not_found("anybody may sign what they have seen: signatures of unknown keys count for nothing"),
)
def cosigned(files: Files, _: Attacker) -> None:
    size = _middle(files)
    note = files.note(size)
    text = note.partition("\n\n")[0] + "\n"
    line = forging.signed(text, [new_signer("witness.example/w")]).partition("\n\n")[2]
    files.put_note(size, note + line)


@deed("the time of a checkpoint is edited", not_found("a checkpoint signs no time"))
def created_at(files: Files, _: Attacker) -> None:
    files.execute("UPDATE checkpoints SET created_at = 0 WHERE size = ?", _middle(files))


@deed("a checkpoint is added that is beyond the end", altered(), TRUNCATED)
def beyond(files: Files, attacker: Attacker) -> None:
    size = files.tree().size + 100
    text = forging.checkpoint_text(files.origin, size, bytes(32))
    files.add_note(size, forging.signed(text, [_signer(files, attacker)]), 0)


@deed("a note is overwritten with what is none", altered())
def no_note(files: Files, _: Attacker) -> None:
    files.put_note(_middle(files), "nothing to see here\n")


@deed(
    "an entry is edited, the tree made again, and the checkpoints deleted that cover the entry",
    Found(
        By.CHECKPOINT, "forked", why="before that, `verify` says how many entries nobody has signed"
    ),
)
def cut_back(files: Files, _: Attacker) -> None:
    files.change_payload(CHOSEN, json_text(amount=1))
    files.write_tree()
    files.execute("DELETE FROM checkpoints WHERE size >= ?", CHOSEN)
    files.last.write_text(files.note(files.sizes()[-1]))
