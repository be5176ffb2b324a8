"""What is signed of a log, and what was verified.

Pure: facts in, findings out.
"""

from collections.abc import Iterator
from typing import Final

from hansard import directory as layout
from hansard.wording import counted
from hansard_writer.doctor import amounts
from hansard_writer.doctor.facts import Facts, LogFacts
from hansard_writer.doctor.findings import Finding, action, note, ok
from hansard_writer.proof.verifying.findings import Verdict

UNVERIFIED_AGE_S_MAX: Final = 30 * 86_400
UNSIGNED_AGE_S_MAX: Final = 60  # beside a writer, or more where checkpoints are rarer

PROOF: Final = "proof"


def check_proof(facts: Facts) -> Iterator[Finding]:
    """What is signed, and what was verified."""
    log = facts.log
    if log is None:
        return
    yield from _signed(facts, log)
    yield from _guard(facts, log)
    if log.last:
        yield from _verified(facts, log)


def _signed(facts: Facts, log: LogFacts) -> Iterator[Finding]:
    figures = facts.writer.figures or {}
    if figures.get("checkpoint_held_up_by"):
        yield action(
            PROOF,
            f"no checkpoint is handed out: {figures['checkpoint_held_up_by']}",
            "let the writer write there: see mode, owner and disk",
        )
    if log.signed is None:
        if log.last:
            yield note(
                PROOF, "nothing is signed yet", f"its writer signs: {facts.command('checkpoint')}"
            )
        return
    unsigned = log.last - log.signed
    age_s = (facts.now - log.signed_at) / amounts.SECOND
    signed = counted(log.signed, "entry", "entries")
    told = f"the newest checkpoint is of {signed}, {amounts.span(age_s)} old"
    if unsigned <= 0:
        yield ok(PROOF, f"{told}: it covers all; who keeps one elsewhere cannot be seen here")
        return
    behind = f"{told}; {counted(unsigned, 'entry', 'entries')} behind it are unsigned"
    limit = max(UNSIGNED_AGE_S_MAX, 10 * facts.settings.checkpoint_interval)
    if figures and age_s <= limit:
        yield ok(PROOF, behind)
    else:
        yield (action if figures else note)(
            PROOF, behind, f"{facts.command('checkpoint')} has its writer sign them"
        )


def _guard(facts: Facts, log: LogFacts) -> Iterator[Finding]:
    """DIR/checkpoint, by which a log that went back in time is known, and the key."""
    if facts.checkpoint is not None and facts.checkpoint > log.last:
        yield action(
            PROOF,
            f"{layout.CHECKPOINT} says that there were {facts.checkpoint:,} entries, and there are "
            f"{log.last:,}: an older copy was put back",
            f"put back what belongs together; {facts.command('serve --accept-rollback')} serves it "
            "as it is, and says so in it for ever",
        )
    if facts.checkpoint_is_odd:
        yield action(
            PROOF,
            f"{layout.CHECKPOINT} is no checkpoint: a writer refuses to start with it",
            "put it back as it was, or move it away: then nothing shows whether the log went back",
        )
    if log.signed is None:
        return
    if facts.checkpoint is None and not facts.checkpoint_is_odd:
        yield note(
            PROOF,
            f"{layout.CHECKPOINT} is missing: nothing beside the database says how far it went",
            f"its writer makes it anew: {facts.command('serve')}",
        )
    if facts.file(layout.KEY) is None:
        yield action(
            PROOF,
            f"{layout.KEY} is missing: the next writer refuses to start",
            f"put it back; if it is lost, {facts.command('serve --accept-lost-key')}",
        )


def _verified(facts: Facts, log: LogFacts) -> Iterator[Finding]:
    verified, verify = facts.verified, facts.command("verify")
    if verified and verified.verdict not in (Verdict.INTACT, Verdict.PRUNED):
        yield action(
            PROOF,
            f"the last verification ({amounts.moment(verified.verified_at)}) found it "
            f"{verified.verdict}",
            f"keep the files as evidence; {verify} says which entries",
        )
        return
    if verified and verified.size >= log.last:
        yield ok(PROOF, f"all was verified, {amounts.since(verified.verified_at, facts.now)} ago")
        return
    size = verified.size if verified else 0
    age = amounts.since(log.unverified_since, facts.now)
    told = f"the oldest unverified entry is {max(size + 1, log.first):,}, for {age}"
    when = f" (verified {amounts.since(verified.verified_at, facts.now)} ago)" if verified else ""
    is_old = facts.now - log.unverified_since > UNVERIFIED_AGE_S_MAX * amounts.SECOND
    step = f"{facts.command(f'verify --since {size}')} looks at what is new" if size else verify
    yield (action if is_old else note)(PROOF, told + when, step)
