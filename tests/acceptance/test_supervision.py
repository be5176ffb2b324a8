"""`hansard serve --supervise`: the writer or its supervisor is killed, and nothing is lost."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from acceptance.conftest import Script
from hansard import AuditLog
from hansard import directory as layout
from hansard_writer import supervisor
from hansard_writer.cli import serve
from supervised import SUPERVISES, Start, children_of, is_gone
from support import assert_log_is_sound, count_entries, query, wait_until

# --- the writer is killed ---

RECORDS = """
import sys, time
from hansard import AuditLog

log = AuditLog(sys.argv[1])
for number in range(3_000):
    log.record("load.event", {"worker": int(sys.argv[2]), "number": number})
    if number % 100 == 0:
        print(number, flush=True)
    if number % 10 == 0:
        time.sleep(0.002)
assert log.flush(30)
print("all", log.statistics()["appended"], flush=True)
"""


def test_events_go_on_when_the_writer_is_killed_again_and_again_and_none_is_lost_or_doubled(
    directory: Path, start: Start, run_script: Script
) -> None:
    supervised = start()
    writer = supervised.next_writer()
    workers = [run_script(RECORDS, directory, number) for number in range(3)]
    for worker in workers:
        assert worker.stdout
        assert worker.stdout.readline() == "0\n"
    for kill in range(3):
        wanted = 500 * (kill + 1)
        wait_until(lambda: count_entries(directory) >= wanted, f"{wanted} events are entered")  # noqa: B023
        os.kill(writer, signal.SIGKILL)
        before, writer = writer, supervised.next_writer()
        assert writer != before
    for worker in workers:
        out, err = worker.communicate(timeout=60)
        assert out.endswith("all 3000\n"), err
    assert supervised.stats()["supervised_restarts"] == 3
    entered = query(
        directory,
        "SELECT payload ->> 'worker', payload ->> 'number' FROM events "
        "WHERE event_type = 'load.event' ORDER BY id",
    )
    assert sorted(entered) == [(worker, number) for worker in range(3) for number in range(3_000)]
    assert_log_is_sound(directory)


def test_each_restart_is_logged_with_pid_signal_and_delay(start: Start) -> None:
    supervised = start("--log-format", "json")
    writer = supervised.next_writer()
    os.kill(writer, signal.SIGKILL)
    supervised.next_writer()
    os.kill(supervised.pid, signal.SIGTERM)
    status, _, err = supervised.end()
    assert status == 0
    messages = [json.loads(line)["message"] for line in err.splitlines()]
    assert f"the writer started, pid {writer}" in messages
    assert (
        f"the writer (pid {writer}) ended with SIGKILL: starts again in 0.1 s, restart 1"
        in messages
    )


def test_a_writer_that_was_asked_to_end_by_itself_is_not_started_again(start: Start) -> None:
    supervised = start()
    os.kill(supervised.next_writer(), signal.SIGTERM)
    status, out, _ = supervised.end()
    assert (status, out) == (0, "")


# --- the supervisor is killed ---


def test_a_writer_whose_supervisor_was_killed_ends_cleanly_and_leaves_the_lock(
    directory: Path, start: Start, run_script: Script
) -> None:
    supervised = start()
    writer = supervised.next_writer()
    with AuditLog(directory) as log:
        log.record("task.created", sync=True)
        os.kill(supervised.pid, signal.SIGKILL)
        wait_until(lambda: is_gone(writer), "the writer has ended")
        assert not layout.a_writer_lives(directory)
        assert not (directory / "log.db-wal").exists(), "it has closed the database"
        log.record("task.done")
        next_one = start()
        next_one.next_writer()
        assert log.flush(20)
    _, _, err = supervised.end()
    assert "who started this writer is gone" in err
    assert "stopped by SIGTERM" in err
    assert count_entries(directory) == 2


# --- it is asked to stop ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_stop_is_passed_on_and_both_end_with_0(
    directory: Path, start: Start, number: signal.Signals
) -> None:
    supervised = start()
    writer = supervised.next_writer()
    os.kill(supervised.pid, number)
    status, out, err = supervised.end()
    assert (status, out) == (0, "")
    assert f"stopped by {number.name}" in err
    assert is_gone(writer)
    assert not layout.a_writer_lives(directory)


def test_ctrl_c_reaches_both_and_both_end_with_0(start: Start) -> None:
    supervised = start()
    writer = supervised.next_writer()
    os.killpg(supervised.pid, signal.SIGINT)
    assert supervised.end()[0] == 0
    assert is_gone(writer)


def test_a_writer_that_is_stopped_ends_too(start: Start) -> None:
    supervised = start()
    writer = supervised.next_writer()
    os.kill(writer, signal.SIGSTOP)
    os.kill(supervised.pid, signal.SIGTERM)
    status, _, err = supervised.end()
    assert status == 0
    assert "stopped by SIGTERM" in err
    assert is_gone(writer)


def test_asked_to_stop_before_the_writer_listens_both_end_with_0(
    directory: Path, start: Start
) -> None:
    supervised = start()
    wait_until(lambda: children_of(supervised.pid), "the writer is being started")
    os.kill(supervised.pid, signal.SIGTERM)
    assert supervised.end()[0] == 0
    assert not layout.a_writer_lives(directory)


def test_a_writer_that_does_not_obey_is_killed(run_script: Script) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('deaf', flush=True); time.sleep(60)"
    )
    program = "from hansard_writer import supervisor\nsupervisor.STOP_S = 0.2\n" + SUPERVISES
    script = run_script(program, sys.executable, "-c", deaf)
    assert script.stdout
    assert script.stdout.readline() == "deaf\n"
    script.send_signal(signal.SIGTERM)
    out, err = script.communicate(timeout=30)
    assert out == f"{128 + signal.SIGKILL}\n"
    assert "did not stop in 0.2 s: killing it" in err


# --- what another start would not change ---


def test_a_directory_that_cannot_be_served_is_not_tried_again(
    directory: Path, start: Start
) -> None:
    directory.mkdir()
    (directory / "hansard.toml").write_text("spool_bytes = 1\n")
    status, out, err = start().end()
    assert (status, out) == (2, "")
    assert err.count("Error: ") == 1
    assert "ended with exit status 2 (" in err
    assert "starts again" not in err


def test_a_log_that_is_refused_is_not_tried_again(directory: Path, start: Start) -> None:
    directory.mkdir()
    (directory / "log.db-wal").write_bytes(b"of a log that is missing")
    status, out, err = start().end()
    assert (status, out) == (1, "")
    assert "log.db is missing" in err
    assert "starts again" not in err


def test_a_writer_that_finds_the_directory_taken_is_not_started_again(run_script: Script) -> None:
    out, err = run_script(SUPERVISES, sys.executable, "-c", "exit(4)").communicate(timeout=30)
    assert (out, "starts again" in err) == ("4\n", False)


# --- a writer that cannot live ---

GIVES_UP_SOON = """
import functools
from hansard_writer import supervisor
from hansard_writer.cli import main
supervisor.Restarts = functools.partial(supervisor.Restarts, 2)
main(["serve", "--supervise"], prog_name="hansard")
"""


def test_a_writer_that_dies_at_every_start_is_given_up_with_the_reason(
    tmp_path: Path, directory: Path
) -> None:
    (tmp_path / "apsw.py").write_text("import os; os.kill(os.getpid(), 11)\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "HANSARD_DIR": str(directory)}
    done = subprocess.run(
        [sys.executable, "-c", GIVES_UP_SOON],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("the writer started") == 3
    assert "starts again in 0.1 s, restart 1" in done.stderr
    assert "starts again in 0.2 s, restart 2" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(
        r"Error: the writer \(pid \d+\) ended with SIGSEGV, after 2 restarts within 60 s: .*", last
    )


def test_a_writer_that_cannot_even_be_started_is_given_up_with_the_reason(
    run_script: Script,
) -> None:
    _, err = run_script(SUPERVISES, "/nowhere/hansard").communicate(timeout=30)
    assert "GaveUp: the writer could not be started: No such file or directory" in err


def test_the_writer_learns_how_often_it_was_restarted(run_script: Script) -> None:
    script = "import sys; sys.exit(7 if sys.argv[2] != '2' else 4)"
    out, err = run_script(SUPERVISES, sys.executable, "-c", script).communicate(timeout=30)
    assert out == "4\n", err
    assert err.count("ended with exit status 7") == 2


def test_the_help_says_the_limit() -> None:
    assert supervisor.WINDOW_S == 60
    assert f"after\n    {supervisor.RESTARTS_MAX} restarts within a minute" in str(
        serve.command.help
    )


# --- what the supervisor is made of ---


def test_the_supervisor_loads_neither_the_database_nor_what_serves(
    directory: Path, start: Start
) -> None:
    supervised = start()
    supervised.next_writer()
    mapped = Path(f"/proc/{supervised.pid}/maps").read_text()
    assert "apsw" not in mapped
    names = [str(each.readlink()) for each in Path(f"/proc/{supervised.pid}/fd").iterdir()]
    assert not [name for name in names if str(directory) in name]
    assert len([name for name in names if name.startswith("socket:")]) == 1, "the lifeline"
