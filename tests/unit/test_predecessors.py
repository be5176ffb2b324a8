"""The table of what came before: no row without a test, no test that is not there."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
TABLE = (TESTS / "PREDECESSORS.md").read_text()
SECTIONS = [
    "P1: task audits over a single-writer thread",
    "P2: a write-behind audit service",
    "P3: environment operations",
    "P4: a deferred log of refusals",
    "P5: scripts for the store",
    "Task audits",
    "Named operations",
    "Write-behind",
    "Environment operations",
    "Governance refusals",
    "Reading back",
]
WITHOUT_TESTS = ["Measured"]
TEST_ID = re.compile(r"`((?:unit|integration|acceptance)/test_\w+\.py)::(test_\w+)`")

Row = tuple[str, ...]


def sections() -> dict[str, list[Row]]:
    """The rows of each section's table, without its head."""
    found: dict[str, list[Row]] = {}
    for section in re.split(r"^## ", TABLE, flags=re.MULTILINE)[1:]:
        title, *lines = section.splitlines()
        rows = [
            tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            for line in lines
            if line.startswith("|")
        ]
        assert len(rows[1]) == 2, f"{title} has no table of two columns"
        assert set("".join(rows[1])) == {"-"}, f"{title} has no table of two columns"
        found[title] = rows[2:]
    return found


def functions_of(file: str) -> list[str]:
    """The test functions that pytest finds in a file, by their names."""
    tree = ast.parse((TESTS / file).read_text())
    found = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [each.name for each in tree.body if isinstance(each, found)]


def test_there_is_a_table_for_each_predecessor_and_each_section() -> None:
    assert list(sections()) == SECTIONS + WITHOUT_TESTS


@pytest.mark.parametrize("title", SECTIONS + WITHOUT_TESTS)
def test_no_cell_is_empty_and_no_row_is_said_twice(title: str) -> None:
    rows = sections()[title]
    assert rows
    for row in rows:
        assert len(row) == 2, row
        assert all(row), row
    firsts = [row[0] for row in rows]
    assert len(firsts) == len(set(firsts))


@pytest.mark.parametrize("title", SECTIONS)
def test_each_row_is_shown_by_tests_and_by_nothing_else(title: str) -> None:
    for row, shown_by in sections()[title]:
        assert TEST_ID.search(shown_by), f"{row!r} has no test"
        assert not TEST_ID.sub("", shown_by).replace("<br>", "").strip(), f"{row!r}: {shown_by}"


def test_each_test_that_is_named_exists() -> None:
    named: dict[str, set[str]] = {}
    for file, function in TEST_ID.findall(TABLE):
        named.setdefault(file, set()).add(function)
    assert sum(map(len, named.values())) > 200
    for file, functions in named.items():
        assert (TESTS / file).is_file(), f"{file} is not there"
        there = functions_of(file)
        assert sorted(functions - set(there)) == [], f"not in {file}"
        assert len(there) == len(set(there)), f"{file} has two functions of one name"
