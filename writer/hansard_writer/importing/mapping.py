"""Which columns of an old table are which fields of an event: the preset's, and what is given.

It asks the database for the table, and reads no row.
"""

from collections.abc import Mapping
from typing import Final

from hansard.events import check_event_type
from hansard_writer.importing.keyed import TableSource
from hansard_writer.importing.old_database import BadMap, OldDatabase
from hansard_writer.importing.presets import TABLES
from hansard_writer.importing.rows import FIELDS, RowReading

KEY: Final = "key"


def mapped(
    database: OldDatabase,
    table_name: str,
    *,
    source: str,
    preset_name: str | None,
    given: Mapping[str, str],
    event_type: str | None,
) -> TableSource:
    """A table with its columns mapped: by the preset of that name, or by that of the table's own
    name, and ``given``, which goes before it: field to column, or to columns with commas for
    ``key``. Raises `BadMap` and `UnreadableDatabase`."""
    unknown = [name for name in given if name not in (*FIELDS, KEY)]
    if unknown:
        raise BadMap(f"{unknown[0]} is no field: map {', '.join((*FIELDS, KEY))} to columns")
    key = tuple(given[KEY].split(",")) if KEY in given else ()
    table = database.table(table_name, key)
    columns = {column.casefold(): column for column in table.columns}
    preset = TABLES.get(preset_name or table.name.casefold())
    fields: dict[str, str] = {}
    if preset:
        missing = [each for each in sorted(preset.required) if each not in columns]
        missing = [each for each in missing if each not in given]
        if missing and (preset_name or not given):
            raise BadMap(
                f"{table.name} of {database.path} has no column {missing[0]}, which "
                f"{preset_name or table.name} has: name its columns with --map FIELD=COLUMN; it "
                f"has {', '.join(table.columns)}"
            )
        fields = {
            name: columns[column]
            for name, column in preset.columns.items()
            if name != KEY and column in columns
        }
    for name, column in given.items():
        for each in column.split(",") if name == KEY else [column]:
            if each.casefold() not in columns:
                raise BadMap(
                    f"{table.name} of {database.path} has no column {each}; it has "
                    f"{', '.join(table.columns)}"
                )
        if name != KEY:
            fields[name] = columns[column.casefold()]
    event_type = event_type or (preset.event_type if preset else None)
    if event_type is None and "event_type" not in fields:
        raise BadMap("Say --event-type TYPE, or which column says it with --map event_type=COLUMN")
    if event_type is not None:
        check_event_type(event_type)
    reading = RowReading(
        source=source,
        table=table.name,
        columns=table.columns,
        key=table.key,
        fields=fields,
        event_type=event_type,
        are_operations=bool(preset and preset.event_type),
    )
    return TableSource(database, table, reading)
