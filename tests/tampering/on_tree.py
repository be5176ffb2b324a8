"""Attacks on the tree that the log keeps of its entries, and on the names of who recorded them."""

from tampering.attack import FORKED, NOT_TRIED, Section, altered
from tampering.files import Files, json_text
from tampering.on_entries import CHOSEN, LAST

BOBS = range(101, 171)
ROW, PLACE = divmod(CHOSEN - 1, 16)
ROWS = range(16 * ROW + 1, 16 * ROW + 17)  # the entries of that row

TREE = Section("The tree")
PRODUCERS = Section("Who recorded it")


def _flipped(row: bytes, place: int) -> bytes:
    at = 32 * place
    return row[:at] + bytes([row[at] ^ 1]) + row[at + 1 :]


@TREE.change("a leaf hash is edited", altered(CHOSEN), NOT_TRIED)
def leaf(files: Files) -> None:
    _put(files, 0, ROW, _flipped(files.row(0, ROW), PLACE))


@TREE.change("an inner node is edited", altered(*range(49, 65)), NOT_TRIED)
def inner_node(files: Files) -> None:
    _put(files, 1, 0, _flipped(files.row(1, 0), 3))


@TREE.change("the topmost node is edited", altered(*range(1, 257)), NOT_TRIED)
def top_node(files: Files) -> None:
    (level,) = files.execute("SELECT max(level) FROM tree")[0]
    _put(files, level, 0, _flipped(files.row(level, 0), 0))


@TREE.change("a row of leaf hashes is deleted", altered(*ROWS), NOT_TRIED)
def leaves_deleted(files: Files) -> None:
    files.execute("DELETE FROM tree WHERE level = 0 AND idx = ?", ROW)


@TREE.change("all inner nodes are deleted", altered(), NOT_TRIED)
def nodes_deleted(files: Files) -> None:
    files.execute("DELETE FROM tree WHERE level > 0")


@TREE.change("the whole tree is deleted", altered(*range(1, LAST + 1)), NOT_TRIED)
def tree_deleted(files: Files) -> None:
    files.execute("DELETE FROM tree")


@TREE.change("the last row is cut short", altered(LAST), NOT_TRIED)
def row_cut(files: Files) -> None:
    (idx,) = files.execute("SELECT max(idx) FROM tree WHERE level = 0")[0]
    _put(files, 0, idx, files.row(0, idx)[:-32])


@TREE.change("the tree is given leaves of entries that there are not", altered(), NOT_TRIED)
def leaves_more(files: Files) -> None:
    (idx,) = files.execute("SELECT max(idx) FROM tree WHERE level = 0")[0]
    _put(files, 0, idx, files.row(0, idx) + bytes(32))


@TREE.change("a row is added where no tree has one", altered(), NOT_TRIED)
def row_added(files: Files) -> None:
    files.execute("INSERT INTO tree(level, idx, hashes) VALUES(9, 0, ?)", bytes(32))


@TREE.change("a row is stored as text, past STRICT", altered(), NOT_TRIED)
def row_as_text(files: Files) -> None:
    with files.without_types("tree"):
        _put(files, 0, ROW, files.row(0, ROW).hex())


@TREE.change("a row is given a name for its number, past STRICT", altered(), NOT_TRIED)
def row_named(files: Files) -> None:
    with files.without_types("tree"):
        files.execute("INSERT INTO tree(level, idx, hashes) VALUES(0, 'last', ?)", bytes(32))


@TREE.change("a payload is edited, and its leaf hash with it", altered(*ROWS))
def payload_and_leaf(files: Files) -> None:
    files.change_payload(CHOSEN, json_text(amount=1))
    files.write_leaves()


@TREE.change("a payload is edited, and the whole tree made again", FORKED)
def payload_and_tree(files: Files) -> None:
    files.change_payload(CHOSEN, json_text(amount=1))
    files.write_tree()


def _put(files: Files, level: int, idx: int, hashes: bytes | str) -> None:
    files.execute("UPDATE tree SET hashes = ? WHERE level = ? AND idx = ?", hashes, level, idx)


# --- producers ---


@PRODUCERS.change("a producer's hash is edited", altered(*BOBS))
def producer_hash(files: Files) -> None:
    files.execute("UPDATE producers SET producer_hash = ? WHERE id = 2", bytes(32))


@PRODUCERS.change("a producer's hash is stored as text, past STRICT", altered(*BOBS), NOT_TRIED)
def hash_as_text(files: Files) -> None:
    with files.without_types("producers"):
        files.execute("UPDATE producers SET producer_hash = 'bob' WHERE id = 2")


@PRODUCERS.change("two producers' hashes are exchanged", altered(*range(1, 171)))
def hashes_exchanged(files: Files) -> None:
    hashes = dict(files.execute("SELECT id, producer_hash FROM producers"))
    for producer, value in ((1, bytes(32)), (2, hashes[1]), (1, hashes[2])):
        files.execute("UPDATE producers SET producer_hash = ? WHERE id = ?", value, producer)


@PRODUCERS.change("a producer's row is deleted", altered(*BOBS), NOT_TRIED)
def producer_deleted(files: Files) -> None:
    files.execute("DELETE FROM producers WHERE id = 2")


@PRODUCERS.change("all of a producer's entries are given to another", altered(*BOBS))
def producer_merged(files: Files) -> None:
    files.force("UPDATE entries SET producer = 1 WHERE producer = 2")
