"""What is not entered: dead letters with a way back for each reason, and losses.

Pure: facts in, findings out.
"""

import shlex
from collections.abc import Iterator
from typing import Final

from hansard.wire import ORPHAN, UNFIT
from hansard.wording import counted
from hansard_writer.dead_letters import REDACTED
from hansard_writer.decoding import INVALID, UNDECODABLE
from hansard_writer.doctor import amounts
from hansard_writer.doctor.facts import Facts, Letters, LogFacts
from hansard_writer.doctor.findings import Finding, action, note, ok
from hansard_writer.intake import BAD_HEADER, UNKNOWN_PRODUCER

ORPHAN_AGE_S_MAX: Final = 300  # in which a task may still be registered
LOSS_AGE_S_MAX: Final = 86_400  # of a loss that is news
LETTERS_SHARE_MAX: Final = 0.9  # of dead_letters_max

LETTERS: Final = "dead letters"
LOSSES: Final = "losses"


def check_letters(facts: Facts) -> Iterator[Finding]:
    """Dead letters, by reason, and orphans, by task."""
    log = facts.log
    if log is None:
        return
    for each in log.letters:
        yield _about(facts, log, each)
    kept = sum(each.letters for each in log.letters) + log.letters_entered
    limit = facts.settings.dead_letters_max
    if log.letters_not_kept:
        find = action if kept > limit * LETTERS_SHARE_MAX else note
        yield find(
            LETTERS,
            f"{counted(log.letters_not_kept, 'letter')} found no room: only their number is known",
            f"make room: {facts.command('dlq drop --entered')}, or drop others by --reason",
        )
    elif kept > limit * LETTERS_SHARE_MAX:
        yield action(
            LETTERS,
            f"{kept:,} of {limit:,} (dead_letters_max): there is little room for more",
            f"make room: {facts.command('dlq drop --entered')}, or drop others by --reason",
        )
    if not log.letters:
        entered = f" ({log.letters_entered:,} were entered later)" if log.letters_entered else ""
        yield ok(LETTERS, f"none waits{entered}")


def _about(facts: Facts, log: LogFacts, letters: Letters) -> Finding:
    """Those of one reason."""
    age_s = (facts.now - letters.oldest_at) / amounts.SECOND
    events = f" of {counted(letters.events, 'event')}" if letters.events else ""  # not of junk
    waits = f"the oldest for {amounts.span(age_s)}"
    told = f"{letters.about}: {counted(letters.letters, 'letter')}{events}, {waits}"
    reason = shlex.quote(letters.about)
    listed = facts.command(f"dlq list --reason {reason}")
    drop = f"{facts.command(f'dlq drop --reason {reason}')} gives them up"
    replay = facts.command(f"dlq replay --reason {reason}")
    if letters.about == ORPHAN:
        tasks = ", ".join(f"{each.about} ({each.events:,})" for each in log.orphans)
        return (action if age_s > ORPHAN_AGE_S_MAX else note)(
            LETTERS,
            f"{told}; of the tasks {tasks}",
            f"register the tasks (`log.register_task(…)`), and they come in; {drop}",
        )
    if letters.about == REDACTED:
        return note(LETTERS, told, f"{drop}: nothing is left of them")
    if letters.about in (UNDECODABLE, BAD_HEADER, UNKNOWN_PRODUCER):
        return action(
            LETTERS,
            told,
            f"{listed} shows them: find who sends what is no frame of ours; {drop}",
        )
    if letters.about == UNFIT:
        return action(
            LETTERS,
            told,
            f"{listed} says what does not fit: correct it in a table, view or file of its own, "
            f"and import that; then {drop}",
        )
    why = "says which rule each breaks" if letters.about == INVALID else "says why"
    return action(LETTERS, told, f"{listed} {why}; {replay} once the reason is gone; {drop}")


def check_losses(facts: Facts) -> Iterator[Finding]:
    """What the log itself says is lost."""
    log = facts.log
    if log is None:
        return
    losses = log.losses
    if not (losses.entries or losses.dropped or losses.gone_back):
        yield ok(LOSSES, "none")
        return
    is_news = facts.now - losses.newest_at < LOSS_AGE_S_MAX * amounts.SECOND
    age = amounts.since(losses.newest_at, facts.now)
    newest = f", the newest {age} ago" if losses.entries else ""
    yield (action if losses.entries and is_news else note)(
        LOSSES,
        f"{counted(losses.entries, 'entry', 'entries')} hansard.lost{newest}: "
        f"{counted(losses.dropped, 'event')} that queues had no room for, "
        f"{losses.gone_back:,} in a log that went back",
        f"{facts.command('query --event-type hansard.lost')} says whose and why",
    )
