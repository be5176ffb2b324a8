"""A log as static files: what a stranger finds there is the log that was signed, and complete."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import rfc6962
from frames import event
from hansard.reader_connection import ReadConnection
from hansard_writer.cli import main
from hansard_writer.proof import open_checkpoint
from hansard_writer.proof.tile_export import Exported, ExportFailed, export_tiles
from provable import ProvableLog


@pytest.fixture
def log(directory: Path) -> Iterator[ProvableLog]:
    log = ProvableLog(directory)
    yield log
    log.close()


@pytest.fixture
def reading(log: ProvableLog) -> Iterator[ReadConnection]:
    connection = ReadConnection(log.directory)
    yield connection
    connection.close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "site"


# --- a stranger, who has the specification and the key ---


def path_of(level: int | str, number: int, width: int) -> str:
    """<L>/<N>[.p/<W>]"""
    groups = [f"{number % 1_000:03}"]
    while number := number // 1_000:
        groups.insert(0, f"x{number % 1_000:03}")
    return f"tile/{level}/{'/'.join(groups)}" + ("" if width == 256 else f".p/{width}")


def expected_files(size: int) -> dict[str, tuple[int, int, int]]:
    """By path, level, number and width of each tile that must be served."""
    files = {}
    level = 0
    while nodes := size // 256**level:
        for number in range(-(-nodes // 256)):
            width = min(256, nodes - number * 256)
            files[path_of(level, number, width)] = level, number, width
        level += 1
    return files


def read_bundle(content: bytes) -> list[bytes]:
    entries = []
    while content:
        length = int.from_bytes(content[:2], "big")
        assert len(content) >= 2 + length, "a bundle ends within an entry"
        entries.append(content[2 : 2 + length])
        content = content[2 + length :]
    return entries


def checked(place: Path, log: ProvableLog, minimum: int = 0) -> int:
    """The size of the log that is served, all of which was looked at. Without what was pruned it
    cannot be rebuilt; then the tiles are held against the log's own tree."""
    checkpoint = open_checkpoint((place / "checkpoint").read_bytes(), log.keys)
    entries: list[bytes] = []
    for number in range(minimum // 256, -(-checkpoint.size // 256)):
        width = min(256, checkpoint.size - number * 256)
        found = read_bundle((place / path_of("entries", number, width)).read_bytes())
        assert len(found) == width
        entries += found
    leaves = [rfc6962.leaf(entry) for entry in entries]
    tree = rfc6962.Tree([bytes(32)] * minimum + leaves)
    if not minimum:
        assert tree.root(checkpoint.size) == checkpoint.root
    for path, (level, number, width) in expected_files(checkpoint.size).items():
        if (number + 1) * 256 ** (level + 1) <= minimum:
            continue
        content, wide = (place / path).read_bytes(), 256**level
        assert len(content) == width * 32
        for offset in range(width):
            start = (number * 256 + offset) * wide
            if start >= minimum:
                hashed = tree.mth(start, start + wide)
                assert content[offset * 32 : (offset + 1) * 32] == hashed
    return checkpoint.size


def files(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}


def all_of(size: int) -> set[str]:
    tiles = expected_files(size)
    bundles = {path_of("entries", *tile[1:]) for tile in tiles.values() if tile[0] == 0}
    return {"checkpoint", *tiles, *bundles}


# --- ---


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 700])
def test_the_log_can_be_rebuilt_from_the_files_alone(
    log: ProvableLog, reading: ReadConnection, place: Path, size: int
) -> None:
    log.enter(count=size) if size else None
    exported = export_tiles(reading, log.sign(), place)
    assert checked(place, log) == size
    assert files(place) == all_of(size)
    assert exported == Exported(size, size, len(all_of(size)), 0)


def test_a_log_of_70_000_entries_has_the_files_of_the_specifications_example(
    log: ProvableLog, reading: ReadConnection, place: Path
) -> None:
    log.enter(count=65_536)
    told: list[int] = []
    export_tiles(reading, log.sign(), place, told.append)
    log.enter(count=70_000 - 65_536)
    export_tiles(reading, log.sign(), place, told.append)
    assert told == [*range(256, 70_000, 256), 70_000]
    assert checked(place, log) == 70_000
    assert files(place) == all_of(70_000)
    assert {"tile/0/272", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1",
            "tile/entries/273.p/112"} <= files(place)  # fmt: skip


def test_the_entries_are_the_leaves_of_the_log(
    log: ProvableLog, reading: ReadConnection, place: Path
) -> None:
    log.enter(event('{"ü":1}'), event(None, actor=None))
    export_tiles(reading, log.sign(), place)
    found = read_bundle((place / "tile/entries/000.p/2").read_bytes())
    assert [rfc6962.leaf(entry) for entry in found] == [log.tree.node(0, 0), log.tree.node(0, 1)]


def test_an_export_goes_on_and_rewrites_nothing_that_is_full(
    log: ProvableLog, reading: ReadConnection, place: Path
) -> None:
    log.enter(count=600)
    export_tiles(reading, log.sign(), place)
    full = [place / path for path in files(place) if ".p/" not in path and "tile" in path]
    before = {path: path.stat().st_ino for path in full}
    log.enter(count=500)
    exported = export_tiles(reading, log.sign(), place)
    assert exported.new_entries == 500
    assert {path: path.stat().st_ino for path in full} == before
    assert checked(place, log) == 1_100
    kept = {"tile/1/000.p/2"}  # of the checkpoint before: its full tile is not there yet
    assert files(place) == all_of(1_100) | kept
    again = export_tiles(reading, log.note(), place)
    assert (again.new_entries, again.files) == (0, 0)


def test_an_export_that_was_interrupted_is_brought_to_its_end(
    log: ProvableLog, reading: ReadConnection, place: Path
) -> None:
    log.enter(count=600)
    note = log.sign()

    def interrupt(entries: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_tiles(reading, note, place, interrupt)
    assert not (place / "checkpoint").exists(), "it comes last"
    (place / "tile/0").mkdir(parents=True, exist_ok=True)
    (place / "tile/0/001").write_bytes(b"torn")
    export_tiles(reading, note, place)
    assert checked(place, log) == 600
    assert files(place) == all_of(600)


def test_the_command_says_what_it_has_written(
    log: ProvableLog, place: Path, tmp_path: Path
) -> None:
    log.enter(count=600)
    log.sign()
    log.prune(100)
    log.enter(count=1)

    def run(*arguments: object) -> Result:
        command = ["checkpoint", "--dir", log.directory, *arguments]
        return CliRunner().invoke(main, list(map(str, command)))

    done = run("--export", place)
    assert (done.exit_code, done.stdout) == (0, "")
    behind, written = done.stderr.splitlines()
    assert "1 entry is behind the last checkpoint" in behind
    assert written == (
        f"{place}: 600 entries, 600 of them new; 7 files written; entries themselves from 257 on, "
        "for pruning"
    )
    assert run("--export", place, "--watch", place).exit_code == 2
    before = sorted(log.directory.iterdir())
    for option in ("--export", "--watch"):
        done = run(option, log.directory / ".")
        assert done.exit_code == 2
        assert f"{option} names the log's own directory" in done.stderr
    assert sorted(log.directory.iterdir()) == before
    (tmp_path / "file").touch()
    done = run("--export", tmp_path / "file" / "site")
    assert done.exit_code == 1
    assert "cannot write to" in done.stderr


def test_a_redacted_entry_is_exported_as_before(
    log: ProvableLog, reading: ReadConnection, place: Path, tmp_path: Path
) -> None:
    log.enter(event('{"secret":"hunter2"}'), event("{}"))
    note = log.sign()
    export_tiles(reading, note, place)
    log.redact(1)
    export_tiles(reading, note, tmp_path / "other")
    bundle = "tile/entries/000.p/2"
    assert (place / bundle).read_bytes() == (tmp_path / "other" / bundle).read_bytes()


@pytest.mark.parametrize(("pruned", "minimum"), [(100, 256), (256, 256), (300, 512), (700, 700)])
def test_of_a_pruned_log_all_is_there_from_the_minimum_index_on(
    log: ProvableLog, reading: ReadConnection, place: Path, pruned: int, minimum: int
) -> None:
    log.enter(count=700)
    log.sign()
    log.prune(pruned)
    exported = export_tiles(reading, log.note(), place)
    assert exported.minimum_index == minimum
    if minimum < 700:
        assert checked(place, log, minimum) == 700
    assert ("tile/0/000" in files(place)) == (pruned < 256)
    assert "tile/entries/000" not in files(place)


def test_what_was_exported_before_it_was_pruned_stays(
    log: ProvableLog, reading: ReadConnection, place: Path
) -> None:
    log.enter(count=600)
    export_tiles(reading, log.sign(), place)
    log.prune(590)
    log.enter(count=200)
    export_tiles(reading, log.sign(), place)
    assert {"tile/0/000", "tile/entries/000", "tile/0/002", "tile/entries/003.p/32"} <= files(place)


def test_an_export_of_another_log_is_not_gone_on_with(
    log: ProvableLog, reading: ReadConnection, place: Path, tmp_path: Path
) -> None:
    other = ProvableLog(tmp_path / "other")
    other.enter(count=5)
    connection = ReadConnection(other.directory)
    export_tiles(connection, other.sign(), place)
    before = {path: (place / path).read_bytes() for path in files(place)}
    log.enter(count=300)
    with pytest.raises(ExportFailed, match=r"has 5 entries of 'hansard/.*name an empty directory"):
        export_tiles(reading, log.sign(), place)
    other.enter(count=500)
    export_tiles(connection, other.sign(), place)
    with pytest.raises(ExportFailed, match=r"has 505 entries"):
        export_tiles(reading, log.note(), place)
    (place / "checkpoint").write_bytes(b"x")
    with pytest.raises(ExportFailed, match="is no checkpoint"):
        export_tiles(reading, log.note(), place)
    assert before.keys() - files(place) == {"tile/0/000.p/5", "tile/entries/000.p/5"}
    connection.close()
    other.close()


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("UPDATE entries SET actor = 'x' WHERE seq = 3", "entries 1 to 256 are gone, or altered"),
        ("UPDATE entries SET actor = CAST(x'ff' AS TEXT) WHERE seq = 3", "entries 1 to 256"),
        ("DELETE FROM entries WHERE seq = 300", "entries 257 to 300 are gone"),
        ("UPDATE tree SET hashes = zeroblob(512) WHERE level = 0 AND idx = 3", "tile/0/000"),
        ("DELETE FROM tree WHERE level = 0 AND idx = 3", "tile/0/000"),
        ("DELETE FROM tree WHERE level = 2", "tile/0/000 are gone"),
        ("UPDATE tree SET hashes = zeroblob(32) WHERE level = 2", "tile/0/000 are gone"),
    ],
)
def test_what_is_not_what_was_signed_is_not_exported(
    log: ProvableLog, reading: ReadConnection, place: Path, statement: str, complaint: str
) -> None:
    log.enter(count=300)
    note = log.sign()
    log.change(statement)
    with pytest.raises(ExportFailed, match=f"{complaint}.*see `hansard verify`"):
        export_tiles(reading, note, place)
    assert not (place / "checkpoint").exists()


def test_a_checkpoint_of_another_history_is_not_exported(
    log: ProvableLog, reading: ReadConnection, place: Path
) -> None:
    log.enter(count=300)
    log.sign()
    with pytest.raises(ExportFailed, match="the log's tree is not the one that was signed"):
        export_tiles(reading, log.note(root=bytes(32)), place)
    assert not (place / "checkpoint").exists()
