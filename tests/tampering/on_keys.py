"""Attacks on the keys that sign a log: replaced, succeeded, declared lost."""

from tampering import forging
from tampering.attack import ANOTHER_KEY, By, Found, Section, altered, not_found
from tampering.attackers import Attacker, WithKey
from tampering.files import Files, json_text
from tampering.forging import Signer, new_signer
from tampering.on_entries import CHOSEN
from tampering.on_time import replace_all

KEYS = Section("Keys")
deed = KEYS.deed


@deed("writer.pub is deleted", Found(By.VERIFY, "altered", cleared=True))
def public_removed(files: Files, _: Attacker) -> None:
    files.remove("writer.pub")


@deed("writer.pub names another key", Found(By.VERIFY, "altered", cleared=True))
def public_replaced(files: Files, _: Attacker) -> None:
    files.publish(new_signer(files.origin))


@deed(
    "all checkpoints are signed again with another key, which writer.pub names",
    ANOTHER_KEY,
)
def signed_again(files: Files, _: Attacker) -> None:
    other = new_signer(files.origin)
    files.publish(other)
    files.sign_again(other)


@deed(
    "an entry is forged that gives the log another key",
    altered(),
    not_found("whoever has the key can name its successor"),
)
def rotation_forged(files: Files, attacker: Attacker) -> None:
    other = new_signer(files.origin)
    signers = [files.own_signer, other] if isinstance(attacker, WithKey) else [other]
    _succeed(files, other, signers, "hansard.key", reason="rotated")


@deed("an entry is forged that says that the key was lost", ANOTHER_KEY)
def loss_forged(files: Files, _: Attacker) -> None:
    other = new_signer(f"{files.origin}/9")
    _succeed(files, other, [other], "hansard.key", reason="lost")


@deed(
    "an old copy goes on behind an entry that says that the log went back in time",
    ANOTHER_KEY,
)
def rollback_forged(files: Files, attacker: Attacker) -> None:
    size = files.tree().size
    replace_all(files)
    while files.append("payment.made", json_text(amount=1)) < size:
        pass
    origin = f"{files.origin}/9"
    has_key = isinstance(attacker, WithKey)
    other = Signer(origin, files.own_signer.key) if has_key else new_signer(origin)
    facts = {"checkpoint_size": size, "checkpoint_root": "", "entries": size - 1}
    _succeed(files, other, [other], "hansard.rollback", **facts)


@deed(
    "the retired key's signature is taken from the first checkpoint behind a rotation",
    altered(),
    log="rotated",
)
def endorsement_removed(files: Files, _: Attacker) -> None:
    (size,) = [each for each in files.sizes() if files.note(each).count("\n— ") == 2]
    text, _empty, lines = files.note(size).partition("\n\n")
    own = files.own_signer.verifier_key.split("+")[1]
    kept = [line for line in lines.splitlines() if forging.key_id_of(line).hex() == own]
    assert len(kept) == 1
    files.put_note(size, f"{text}\n\n{kept[0]}\n")


@deed(
    "history before a rotation is rewritten by who has the newer key only, with a forged older one",
    ANOTHER_KEY,
    log="rotated",
)
def before_rotation(files: Files, attacker: Attacker) -> None:
    (seq,) = files.execute("SELECT seq FROM entries WHERE event_type = 'hansard.key'")[0]
    older, newer = new_signer(files.origin), attacker.signer(files)
    facts = {"reason": "rotated", "retired": older.verifier_key, "verifier_key": newer.verifier_key}
    files.change_payload(CHOSEN, json_text(amount=1))
    files.change_payload(seq, json_text(**facts))
    files.write_tree()
    files.sign_again(newer)
    tree = files.tree()
    first_behind = min(size for size in files.sizes() if size >= seq)
    for size in [size for size in files.sizes() if size <= first_behind]:
        text = forging.checkpoint_text(files.origin, size, tree.root(size))
        signers = [older, newer] if size == first_behind else [older]
        files.put_note(size, forging.signed(text, signers))


def _succeed(
    files: Files, to: Signer, signers: list[Signer], event_type: str, **facts: object
) -> None:
    """An entry that names another key, and a checkpoint that covers it."""
    facts |= {"retired": files.public, "verifier_key": to.verifier_key}
    size = files.append(event_type, json_text(**facts), producer=0, level="warning")
    files.write_tree()
    text = forging.checkpoint_text(to.name, size, files.tree().root(size))
    files.add_note(size, forging.signed(text, signers), files.entry(size)["created_at"])
    files.last.write_text(files.note(size))
    files.publish(to)
    files.execute("INSERT OR REPLACE INTO meta VALUES('origin', ?)", to.name)
