"""Words that full text keeps between its pages: put right once the word is gone."""

from collections.abc import Iterator

import apsw
import pytest

from hansard.reader.search import FULL_TEXT_TABLE
from hansard_writer import full_text_separators
from hansard_writer.full_text_separators import Place, first_word, put_right

WORDS = 4_000


def word(number: int) -> str:
    return f"alike{number:05}x"


@pytest.fixture
def index() -> Iterator[apsw.Connection]:
    """An index of many words, each in one entry, that differ at their very end."""
    connection = apsw.Connection(":memory:")
    connection.execute(FULL_TEXT_TABLE)
    connection.execute("INSERT INTO full_text(full_text, rank) VALUES('secure-delete', 1)")
    rows = [(number, word(number)) for number in range(1, WORDS + 1)]
    connection.executemany("INSERT INTO full_text(rowid, text) VALUES(?, ?)", rows)
    yield connection
    connection.close()


def separators(index: apsw.Connection) -> set[str]:
    rows = index.execute("SELECT CAST(term AS BLOB) FROM full_text_idx").fetchall()
    return {bytes(term)[1:].decode() for (term,) in rows}


def delete(index: apsw.Connection, numbers: list[int]) -> None:
    rows = [(number, word(number)) for number in numbers]
    index.executemany("INSERT INTO full_text(full_text, rowid, text) VALUES('delete', ?, ?)", rows)


def put_all_right(index: apsw.Connection) -> None:
    place: Place | None = Place()
    while place is not None:
        place = put_right(index, place)


def test_a_deleted_word_is_no_separator_any_more(
    index: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_text_separators, "PIECE_PAGES_MAX", 3)
    kept = range(1, WORDS + 1, 5)
    gone = [number for number in range(1, WORDS + 1) if number not in kept]
    delete(index, gone)
    stems = {word(number)[:-1] for number in gone}
    assert any(stem[:10] in each for stem in stems for each in separators(index) if each), (
        "FTS5 has removed them itself: this shows nothing"
    )
    put_all_right(index)
    words = {word(number) for number in kept}
    for each in separators(index):
        assert any(living.startswith(each) for living in words)
    index.execute("INSERT INTO full_text(full_text) VALUES('integrity-check')")
    for number in range(1, WORDS + 1, 101):
        found = index.execute("SELECT rowid FROM full_text(?)", (word(number),)).fetchall()
        assert found == ([(number,)] if number in kept else [])


def test_what_is_right_stays_as_it_is(index: apsw.Connection) -> None:
    before, changes = separators(index), index.total_changes()
    put_all_right(index)
    assert (separators(index), index.total_changes()) == (before, changes)


def test_an_empty_index_has_nothing_to_put_right() -> None:
    connection = apsw.Connection(":memory:")
    connection.execute(FULL_TEXT_TABLE)
    assert put_right(connection, Place()) is None


@pytest.mark.parametrize("page", [b"", b"\0\0\0\4", b"\0\0\0\4\xff", b"\0\0\xff\xff" + b"x" * 20])
def test_a_page_on_which_no_word_begins_has_no_first_one(page: bytes) -> None:
    assert first_word(page) is None
