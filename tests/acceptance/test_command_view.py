"""The command `hansard view`: how it starts and ends, whom it lets in, what it says otherwise."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import apsw
import pytest

import hansard
import viewed
from hansard_writer import running
from support import wait_until
from viewed import View


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("viewed") / "log"
    with running(directory), hansard.AuditLog(directory) as log:
        for number in range(5):
            log.record("a.b", {"n": number})
        assert log.flush(20)
    return directory


@pytest.fixture(scope="module")
def view(log: Path) -> Iterator[View]:
    with viewed.view("--dir", log) as viewing:
        yield viewing


def failed(*arguments: object) -> tuple[int, str]:
    """How the command ends when it does not serve."""
    command = [sys.executable, "-m", "hansard_writer", "view", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_its_children_end_when_it_is_killed(log: Path) -> None:
    with viewed.view("--dir", log) as view:
        view.verified()
        assert view.get("/").status == 200
        children = Path(f"/proc/{view.process.pid}/task/{view.process.pid}/children")
        pids = children.read_text().split()
        view.process.kill()
        view.process.wait()
        assert pids
        wait_until(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "its children are gone"
        )


def test_who_asks_it_to_end_as_soon_as_it_has_spoken_is_heard(log: Path) -> None:
    for asked in (signal.SIGTERM, signal.SIGINT):
        with viewed.view("--dir", log) as viewing:
            assert viewing.end(asked) == (0, "")


def test_the_token_is_on_stdout_alone(view: View) -> None:
    words = Path(f"/proc/{view.process.pid}/cmdline").read_text()
    children = Path(f"/proc/{view.process.pid}/task/{view.process.pid}/children").read_text()
    words += "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in children.split())
    assert view.token not in words
    assert len(view.token) >= 32


def test_nobody_gets_in_without_the_token(view: View) -> None:
    for path in ("/", "/entries", "/index.json", "/entry/1/proof", "/log.json", "/log/events"):
        page = view.get(path, token="wrong")
        assert page.status == 401, path
        assert "hansard view" in page.text


def test_each_answer_tells_the_browser_what_it_may_not(view: View) -> None:
    for path in ("/", "/log", "/nothing", "/index.json", "/assets/view.css"):
        headers = view.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"], path
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert headers.get_all("cache-control") == ["no-store"]
        assert headers["access-control-allow-origin"] is None


def test_a_foreign_name_that_leads_here_is_refused(view: View) -> None:
    assert view.get("/", Host="evil.example:8470").status == 400
    assert view.get("/", Host="localhost:1").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/-/settings",
        "/-/plugins.json",
        "/-/versions",
        "/-/auth-token",
        "/-/permissions",
        "/_internal",
        "/log.db",
    ],
)
def test_of_datasette_only_what_reads_the_log_is_there(view: View, path: str) -> None:
    assert view.get(path).status in (403, 404)


def test_a_query_that_takes_long_is_given_up(view: View) -> None:
    endless = "with+recursive+n(i)+as+(select+1+union+all+select+i%2B1+from+n)+select+max(i)+from+n"
    page = view.get(f"/log?sql={endless}")
    assert page.status == 400
    assert "took longer" in page.text or "time limit" in page.text.lower()


LARGE = "hex(zeroblob(500000))"


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (f"select instr({LARGE}||{LARGE}, {LARGE}||'1') as found", '"found": 0'),
        (f"select length(replace({LARGE}||{LARGE}, {LARGE}||'1', '')) as long", '"long": 2000000'),
        (f"select {LARGE} like '%'||substr({LARGE}, 1, 40000)||'1'", "pattern too complex"),
        ("select zeroblob(900000000)", "too big"),
        (f"select {LARGE} from entries a, entries b", "larger than 16 MiB"),
        (f"select {', '.join([LARGE] * 101)}", "too many columns"),
        ("select replace('abc', 'b', 'xy')||instr('aé', 'é')||instr(x'c3a9', x'a9')", "axyc22"),
    ],
)
def test_no_sql_takes_long_or_much_memory(view: View, sql: str, said: str) -> None:
    began_s = time.monotonic()
    page = view.get("/log.json?" + urlencode({"sql": sql, "_shape": "objects"}))
    assert said in page.text
    assert time.monotonic() - began_s < 5


def test_rates_end_where_they_are_asked_to(view: View) -> None:
    page = view.get("/rates.json?span=24h&until=2026-01-31T12:00:00Z")
    assert page.data["rates"]["until_ns"] == 1_769_860_800_000_000_000
    wrong = view.get("/rates.json?until=tomorrow")
    assert (wrong.status, wrong.data["error"][:19]) == (400, "until is 'tomorrow'")


def test_a_wrong_argument_is_named(view: View) -> None:
    page = view.get("/entries.json?since=yesterday")
    assert (page.status, page.data["error"][:20]) == (400, "since is 'yesterday'")
    assert view.get("/entries.json?size=100000").status == 400
    assert view.get("/entries.json?before=x").status == 400
    assert view.get("/entries.json?q=%22").status == 400


def test_a_backup_is_shown_as_its_log_and_what_was_altered_in_it(log: Path, tmp_path: Path) -> None:
    backup = tmp_path / "kept.db"
    command = [sys.executable, "-m", "hansard_writer", "backup", "--dir", log, "--to", backup]
    subprocess.run([str(each) for each in command], check=True, capture_output=True)
    connection = apsw.Connection(str(backup))
    connection.execute("DROP TRIGGER entries_are_not_updated")
    connection.execute("UPDATE entries SET actor = 'nobody' WHERE seq = 3")
    connection.close()
    before = backup.read_bytes()
    with viewed.view(backup) as view:
        shown = view.get("/index.json").data["log"]
        assert (shown["last_id"], shown["directory"]) == (5, str(backup))
        assert view.get("/entry/2.json").data["proof"]["proof"]
        assert view.get("/log.json?sql=select+count(*)+from+events").data["rows"] == [[5]]
        assert view.verified()["state"] == "bad"
        page = view.get("/").text
        assert "Altered" in page
        assert 'href="/entry/3">entry 3</a>' in page
        proof = view.get("/entry/3.json").data["proof"]
        assert proof["proof"] is None
        assert "altered" in proof["why"]
    assert backup.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["kept.db"]


def test_what_is_no_log_is_said(tmp_path: Path) -> None:
    status, said = failed("--dir", tmp_path, "--port", 0)
    assert status == 2
    assert "there is no log in" in said
    no_backup = tmp_path / "x.db"
    no_backup.write_text("nothing")
    status, said = failed(no_backup, "--port", 0)
    assert status == 1
    assert "no backup" in said


def test_a_port_that_is_taken_is_said(log: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        status, said = failed("--dir", log, "--port", other.getsockname()[1])
    assert status == 4
    assert "--port" in said


def test_a_host_that_others_reach_is_warned_of(log: Path) -> None:
    with viewed.view("--dir", log, "--host", "0.0.0.0") as view:
        assert view.url.startswith("http://127.0.0.1:")
        assert view.get("/").status == 200
        status, said = view.end(signal.SIGINT)
    assert status == 0
    assert said.startswith("Warning: 0.0.0.0 is open to other machines")


def test_an_extra_that_is_missing_is_named(log: Path) -> None:
    program = (
        "import sys; sys.modules['datasette'] = None\n"
        f"sys.argv = ['hansard', 'view', '--dir', {str(log)!r}]\n"
        "from hansard_writer.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install 'hansard[view]'" in done.stderr


def test_the_process_that_serves_never_loads_apsw() -> None:
    program = (
        "import sys, hansard_writer.cli.view, hansard_writer.viewing.serving\n"
        "print('apsw' in sys.modules, 'sqlite3' in sys.modules)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"
