"""All attacks, in the order of the page, and the page that they make."""

from pathlib import Path

from tampering.attack import Attack, By, Found, Section
from tampering.on_checkpoints import CHECKPOINTS
from tampering.on_entries import ENTRIES
from tampering.on_keys import KEYS
from tampering.on_names import NAMES, UNCOVERED
from tampering.on_permitted import REDACTION, RETENTION
from tampering.on_time import TIME
from tampering.on_tree import PRODUCERS, TREE

PAGE = Path(__file__).parents[2] / "writer" / "hansard_writer" / "TAMPERING.md"

SECTIONS = (
    ENTRIES,
    PRODUCERS,
    TREE,
    CHECKPOINTS,
    KEYS,
    TIME,
    REDACTION,
    RETENTION,
    NAMES,
    UNCOVERED,
)

NUMBERS_MAX = 5  # in a cell

_WITH = {
    By.VERIFY: "`verify`",
    By.KEY: "`--key`",
    By.CHECKPOINT: "`--checkpoint`",
}

_HEAD = """# Tampering, and what finds it

What somebody with full access to a log's files can do to it, and what finds it. Each cell is a
test: `tests/tampering` does to a log of a real writer's what the first column says, and
`hansard verify` must then say what the others do.

**Two attackers.** Both read and write every file of the directory and know how Hansard works. The
one *without the key* could not read `writer.key`, and makes a key of their own. The one *with the
key* is the log's operator, or whoever became root there: what this machine can sign, they can sign.

**Three ways of looking**, by what has to be known from elsewhere. Each attack is shown with the
least that finds it; who has more finds it too, and who has less is told that all is well.

| | what is needed | how |
|---|---|---|
| `verify` | nothing | `hansard verify` |
| `--key` | the verifier key, as `writer.pub` had it when all was well | `… --key FILE` |
| `--checkpoint` | that, and a checkpoint that left the machine | `… --key FILE --checkpoint FILE` |

So an outsider holds two small files: the verifier key, once, and a checkpoint, as often as it
matters (`hansard checkpoint --watch`). It proves all that is older than itself, against everybody;
what is newer is as trustworthy as whoever has the key.

**How to read the tables.** *Left so*: nothing is done to hide it, whoever did it. *Covered up*: the
attacker then makes all of the proof again, leaves, tree and checkpoints, and signs it as well as
they can; a dash, where that hides nothing or there is nothing to hide. Numbers are the entries that
`verify` names. *Nobody can tell*: even with key and checkpoint the verdict is as before, and why.

Who has no key can also delete the checkpoints that do not fit any more, and sign nothing. Then no
signature is wrong, and `--key` finds nothing as long as one is left; but the report says how many
entries nobody has signed. In an honest log those are the ones of the last second, if any. A
checkpoint that left the machine finds this as well.
"""


def page() -> str:
    """The page, whole."""
    return "\n".join([_HEAD, *map(_table, SECTIONS)])


def _table(section: Section) -> str:
    has_changes = any(attack.left for attack in section.attacks)
    if has_changes:
        head = ["| what is done | left so | covered up, without the key | covered up, with it |"]
        head.append("|---|---|---|---|")
    else:
        head = ["| what is done | without the key | with it |", "|---|---|---|"]
    rows = [_row(attack, has_changes) for attack in section.attacks]
    return "\n".join([f"## {section.title}", "", *head, *rows, ""])


def _row(attack: Attack, has_changes: bool) -> str:
    without_key, with_key = map(_cell, attack.covered)
    if without_key == with_key and attack.covered[0]:
        with_key = "the same"
    left = [_cell(attack.left)] if has_changes else []
    return f"| {' | '.join([attack.title, *left, without_key, with_key])} |"


def _cell(found: Found | None) -> str:
    if found is None:
        return "—"
    if found.by is By.NOTHING:
        return f"nobody can tell: {found.why}"
    why = f" ({found.why})" if found.why else ""
    more = f"; intact with {_WITH[By(found.by + 1)]}" if found.cleared else ""
    return f"{_WITH[found.by]} {found.verdict}{_numbers(found.entries)}{more}{why}"


def _numbers(entries: tuple[int, ...] | None) -> str:
    if entries is None:
        return ""
    if len(entries) > NUMBERS_MAX:  # they are in a row
        return f": {entries[0]} to {entries[-1]}"
    return ": " + ", ".join(map(str, entries))
