"""The pinned JSON Schema of OCSF's class API Activity, and what of an event breaks it."""

import functools
import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema

SCHEMA = Path(__file__).parent / "data" / "ocsf" / "api_activity-1.8.0.json.gz"
INTEGERS = {"sequence", "pid", "code", "port"}  # 32 bits, which JSON Schema cannot say


@functools.cache
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(gzip.decompress(SCHEMA.read_bytes()))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def violations(event: dict[str, Any]) -> list[str]:
    """Where the event is none of the class, and why."""
    found = [f"{error.json_path}: {error.message}" for error in validator().iter_errors(event)]
    mapped = {name: value for name, value in event.items() if name != "unmapped"}
    return [*found, *(f"{name} has over 32 bits" for name in _beyond_32_bits(mapped))]


def _beyond_32_bits(value: Any, name: str = "") -> list[str]:
    if isinstance(value, dict):
        return [each for key, below in value.items() for each in _beyond_32_bits(below, key)]
    is_beyond = name in INTEGERS and not -(2**31) <= value < 2**31
    return [name] if is_beyond else []
