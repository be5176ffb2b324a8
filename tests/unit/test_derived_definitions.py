"""What a derived field may be, as hansard.toml declares it."""

from pathlib import Path
from typing import Any

import pytest

from hansard.errors import ConfigError
from hansard.settings import load_settings
from hansard_writer.derived.definitions import (
    BUILT_IN,
    FIELDS_MAX,
    DerivedField,
    declared,
    read_declared,
)


def test_the_fields_of_the_supervisors_events_are_built_in(tmp_path: Path) -> None:
    assert read_declared(tmp_path) == BUILT_IN
    assert [field.name for field in BUILT_IN] == ["source_event_ts", "supervisor_processed_at"]
    assert all(field.concerns("V2_SUPERVISOR_DECISION") for field in BUILT_IN)
    assert not any(field.concerns("supervisor.decision") for field in BUILT_IN)


def test_a_log_declares_its_own_beside_them(tmp_path: Path) -> None:
    (tmp_path / "hansard.toml").write_text(
        'actor = "a"\n[derived.total]\npaths = ["order.total", "total"]\ntype = "real"\n'
        'event_types = ["order.*"]\n[derived.customer]\n'
    )
    assert read_declared(tmp_path)[2:] == (
        DerivedField("total", ("order.total", "total"), "real", ("order.*",)),
        DerivedField("customer", ("customer",), "text", ("*",)),
    )
    assert load_settings(tmp_path, environment={}).actor == "a"


def test_a_built_in_field_may_be_drawn_from_elsewhere() -> None:
    fields = declared({"source_event_ts": {"paths": ["at"], "type": "timestamp"}}, "here")
    assert [field.name for field in fields] == ["source_event_ts", "supervisor_processed_at"]
    assert fields[0].paths == ("at",)


def test_a_definition_survives_the_database() -> None:
    field = DerivedField("n", (r"a\.b", "c.0"), "integer", ("x", "y.*"))
    assert DerivedField.from_definition("n", field.definition) == field


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"1st": {}}, "a name is a letter"),
        ({"n": {"type": "date"}}, "text, integer, real, boolean, timestamp"),
        ({"n": {"type": 1}}, "it must be of"),
        ({"n": {"path": "a"}}, "it takes paths, type and event_types"),
        ({"n": {"paths": []}}, "name 1 to 16"),
        ({"n": {"paths": ["a..b"]}}, "is no path"),
        ({"n": {"paths": [1]}}, "a list of strings"),
        ({"n": {"event_types": []}}, "for all"),
        ({"n": {"event_types": ["a b"]}}, "a pattern is of"),
        ({"n": "a"}, "is no section"),
        ({"source_event_ts": {"type": "text"}}, "its type must be timestamp"),
        ("n", "is no section"),
        ({f"n{i}": {} for i in range(FIELDS_MAX)}, "at most 64"),
    ],
)
def test_what_is_declared_wrongly_is_refused_with_the_rule(section: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        declared(section, "in hansard.toml")
