"""What ``hansard import --help`` says: its rules, and each preset by what it says of itself."""

import textwrap
from collections.abc import Mapping
from typing import Final

from hansard_writer import importing

_COLUMNS: Final = 80

_TEXT: Final = """Enter what others have written, each line, record or row once.

    Without --preset or --sqlite: the lines of JSON Lines files, plain or gzip. A payload is the
    line's own text. A line that is no JSON object, or that the options find no type or time in, is
    reported as FILE:LINE on stderr and left out; the exit code is then 1.

    Nothing is masked, whatever mask_fields says: what others have written is entered to the letter.

    A PATH is a name, or names and list indexes with dots between: kind, user.id, items.0.sku. A
    backslash makes a dot part of a name. A time is ISO 8601 (without a zone: UTC), or a number of
    seconds, ms, µs or ns since 1970; actors and task ids are text or numbers.

    The key of a line is the content hash of its file and its line number. So the same command
    enters only what is missing, after an interruption or by mistake; a file under another name is
    the same file, and a file that has grown is another one. The options are no part of the key:
    what is in the log stays as it is.

    With --preset, the files hold records of another system, one a line, or whole documents with a
    list of them (Records, items, or a list). Type, time, level, actor and task are where that
    system has them; the payload is the record's own text; the other options go before the preset.
    A record is known by its own id (of AWS, Kubernetes, GitHub) whatever file it is in, else by
    its file's content and its place there.

    \b
{records}

    With --sqlite OLD.db --table TABLE, the rows of a table, which is only read, and may be in use.
    Tables called as a predecessor's are mapped by themselves, others by --map or --preset:

    \b
{tables}

    A column that is mapped as payload holds a JSON object, whose text is kept; columns that are
    not mapped are added to it where they are not NULL and it has no such name. At its end the
    payload says which row it was: "imported_from": {{"source": …, "table": …, "key": …}}. Without
    created_at the time is that of the import.

    A row is known by its key, the table's primary key (else its rowid), within the source: the name
    of OLD.db without its directory, or what --source says. A copy elsewhere is the same source;
    two databases with one file name need a --source each. What was entered is not looked at again,
    so later changes and deletions of old rows change nothing in the log.

    Rows and records that do not fit are counted by cause and kept as dead letters (`hansard dlq
    list --reason unfit`), with exit code 1, and are not tried again under their key: look with
    --dry-run first, or correct them in a table or view of their own, and import that (`--preset
    task_audits --map key=audit_id`). For what it has, the log keeps a ledger: entries import.rows,
    one for up to two thousand rows. They are as old as the import, and keep what is behind them: it
    is pruned by age as if it had been recorded then.

    \b
    Predecessors' tables:
      hansard import --sqlite old.db --table task_audits
      hansard import --sqlite old.db --table audit_entries --map event_type=kind \\
          --map payload=body --map created_at=ts --map task_id=job
      hansard import --sqlite chain.db --table signed_events --map event_type=event_type \\
          --map actor=agent_id --map created_at=timestamp --map key=sequence
    (of the last, prev_hash and signature stay in the payload)
    """


def _listed(presets: Mapping[str, importing.RecordPreset | importing.TablePreset]) -> str:
    return "\n".join(
        textwrap.fill(
            each.about,
            _COLUMNS,
            initial_indent=f"    {name:17} ",
            subsequent_indent=" " * 22,
        )
        for name, each in presets.items()
    )


HELP: Final = _TEXT.format(records=_listed(importing.RECORDS), tables=_listed(importing.TABLES))
