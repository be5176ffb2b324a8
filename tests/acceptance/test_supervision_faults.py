"""`hansard serve --supervise` where more goes wrong than a writer that is killed."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from acceptance.conftest import Script
from hansard import AckTimeout, AuditLog, WriterUnavailable
from hansard import directory as layout
from supervised import SERVE, SUPERVISES, Start, children_of, is_gone
from support import assert_log_is_sound, count_entries, held_lock, wait_until

# Gives up after two restarts, and sees whether the writer hangs each half second.
IMPATIENT = """
import functools, sys
from hansard_writer import supervisor
from hansard_writer.cli import main
supervisor.Restarts = functools.partial(supervisor.Restarts, 2)
supervisor.LOOK_INTERVAL_S = 0.5
main(["serve", *sys.argv[1:]], prog_name="hansard")
"""
COMMAND = "from hansard_writer.cli import main; main()"
FROM_ANYWHERE = (sys.executable, "-P", "-c", COMMAND, "serve")
IMPATIENT_SERVE = (sys.executable, "-c", IMPATIENT)


# --- a writer that ends as nobody asked it to ---

LEAVES = """
import os
from hansard_writer import operation

@operation
def leave(connection, status):
    os._exit(status)
"""


def test_a_writer_that_ends_with_0_in_an_operation_has_crashed(
    directory: Path, tmp_path: Path, start: Start
) -> None:
    (tmp_path / "leaves.py").write_text(LEAVES)
    supervised = start("--operations", "leaves", cwd=tmp_path)
    writer = supervised.next_writer()
    with AuditLog(directory, best_effort=False) as log:
        with pytest.raises((WriterUnavailable, AckTimeout)):
            log.call("leave", 0)
        assert supervised.next_writer() != writer
        assert log.record("still.here", sync=True).status == "committed"
    assert supervised.says("ended with exit status 0, which nobody had asked for: starts again")
    supervised.signal(signal.SIGTERM)
    assert supervised.end()[0] == 0


def test_a_program_that_only_ever_ends_with_0_is_given_up(run_script: Script) -> None:
    out, err = run_script(SUPERVISES, sys.executable, "-c", "").communicate(timeout=30)
    assert out == ""
    assert err.count("the writer started") == 3
    assert re.search(r"GaveUp: .*ended with exit status 0, which nobody had asked for", err)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_writer_that_was_asked_by_itself_to_end_before_it_could_listen_is_not_started_again(
    run_script: Script, number: int
) -> None:
    ends = f"import os; os.kill(os.getpid(), {number})"
    out, err = run_script(SUPERVISES, sys.executable, "-c", ends).communicate(timeout=30)
    assert (out, err.count("the writer started")) == ("0\n", 1)


# --- a writer that dies at every start ---


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_last_message_says_why_the_writer_could_not_start(
    tmp_path: Path, start: Start, log_format: str
) -> None:
    (tmp_path / "apsw.py").write_text("raise RuntimeError('half\\ninstalled')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    supervised = start("--log-format", log_format, serve=IMPATIENT_SERVE, env=environment)
    status, out, err = supervised.end()
    assert (status, out) == (1, "")
    last = err.splitlines()[-1]
    if log_format == "json":
        lines = [json.loads(line) for line in err.splitlines()]
        assert "half" in lines[1]["traceback"]
        assert lines[-1]["level"] == "error"
        last = f"Error: {lines[-1]['message']}"
    assert re.fullmatch(
        r"Error: the writer \(pid \d+\) ended with exit status 1 "
        r"\(RuntimeError: half installed\), after 2 restarts within 60 s: .*",
        last,
    )


# --- a writer that hangs ---


def test_a_writer_that_is_stopped_for_long_is_ended_and_started_again(
    directory: Path, start: Start
) -> None:
    supervised = start(serve=IMPATIENT_SERVE)
    writer = supervised.next_writer()
    with AuditLog(directory, ack_timeout=30) as log:
        log.record("before.it", sync=True)
        os.kill(writer, signal.SIGSTOP)
        log.record("during.it")
        supervised.says(rf"the writer \(pid {writer}\) hangs: ending it")
        supervised.says(r"ended with SIGABRT, for it had not moved for 3 s: starts again")
        supervised.next_writer()
        assert log.flush(30)
    assert count_entries(directory) == 2
    assert_log_is_sound(directory)


def test_a_writer_that_hangs_leaves_a_traceback(directory: Path, start: Start) -> None:
    supervised = start()
    os.kill(supervised.next_writer(), signal.SIGABRT)
    supervised.says("Fatal Python error: Aborted")
    supervised.says(r'File ".*hansard_writer/process.py", line \d+ in serve')


WAITS_TO_BE_LOADED = """
import pathlib, time
while not pathlib.Path("go").exists():
    time.sleep(60)
"""


def test_a_writer_that_waits_while_it_starts_is_not_taken_for_hung(
    directory: Path, tmp_path: Path, start: Start
) -> None:
    """It has no loop yet to come round."""
    (tmp_path / "waits.py").write_text(WAITS_TO_BE_LOADED)
    supervised = start("--operations", "waits", cwd=tmp_path, serve=IMPATIENT_SERVE)
    writer = wait_until(lambda: children_of(supervised.pid), "the writer is there")
    looks = voluntary_switches(supervised.pid)
    wait_until(lambda: voluntary_switches(supervised.pid) > looks + 10, "it was looked at")
    assert children_of(supervised.pid) == writer
    supervised.signal(signal.SIGTERM)
    assert "hangs" not in supervised.end()[2]


def test_a_writer_with_nothing_to_do_is_never_taken_for_hung(start: Start) -> None:
    """It moves once a second: twice as long as six of these looks take."""
    supervised = start(serve=IMPATIENT_SERVE)
    writer = supervised.next_writer()
    began = voluntary_switches(writer)
    wait_until(lambda: voluntary_switches(writer) > began + 5, "it has gone round some times")
    supervised.signal(signal.SIGTERM)
    assert "hangs" not in supervised.end()[2]


def voluntary_switches(pid: int) -> int:
    """How often the process has gone to sleep."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)
    assert found
    return int(found[1])


# --- a supervisor that is stopped, or killed at a bad moment ---


def test_a_supervisor_that_was_stopped_finds_out_what_it_has_missed(
    directory: Path, start: Start
) -> None:
    supervised = start()
    writer = supervised.next_writer()
    with AuditLog(directory, ack_timeout=30) as log:
        supervised.signal(signal.SIGSTOP)
        assert log.record("writer.goes.on", sync=True).status == "committed"
        os.kill(writer, signal.SIGKILL)
        wait_until(lambda: is_gone(writer), "the writer is gone")
        log.record("nobody.serves")
        supervised.signal(signal.SIGCONT)
        assert supervised.next_writer() != writer
        assert log.flush(30)
    assert count_entries(directory) == 2


def test_asked_to_stop_just_as_the_writer_is_killed_it_ends_with_0(start: Start) -> None:
    supervised = start()
    writer = supervised.next_writer()
    supervised.signal(signal.SIGSTOP)
    os.kill(writer, signal.SIGKILL)
    wait_until(lambda: is_gone(writer), "the writer is gone")
    supervised.signal(signal.SIGTERM)
    supervised.signal(signal.SIGCONT)
    status, out, err = supervised.end()  # whichever of the two signals it sees first
    assert (status, out) == (0, "")
    assert f"(pid {writer}) ended with SIGKILL" in err


def test_a_writer_whose_supervisor_is_killed_while_it_starts_ends(
    directory: Path, start: Start
) -> None:
    supervised = start()
    writer = int(wait_until(lambda: children_of(supervised.pid), "the writer is being started"))
    supervised.signal(signal.SIGKILL)
    wait_until(lambda: is_gone(writer), "the writer is gone")
    assert not layout.a_writer_lives(directory)


def test_a_supervisor_that_is_started_at_once_after_its_kill_waits_for_the_old_writer(
    directory: Path, start: Start
) -> None:
    before = start()
    old = before.next_writer()
    os.kill(old, signal.SIGSTOP)  # it takes its time
    before.signal(signal.SIGKILL)
    after = start()
    after.says(rf"waiting for another writer \(pid {old}\) of .* to end")
    os.kill(old, signal.SIGCONT)
    new = after.next_writer()
    assert layout.read_lock_file(directory)["pid"] == new
    wait_until(lambda: is_gone(old), "the old one is gone")
    after.signal(signal.SIGTERM)
    status, _, err = after.end()
    assert (status, "starts again" in err) == (0, False)


def test_while_it_waits_for_another_writer_it_can_be_stopped(directory: Path, start: Start) -> None:
    with held_lock(directory):
        supervised = start()
        supervised.says("waiting for another writer")
        supervised.signal(signal.SIGTERM)
        assert supervised.end()[0] == 0


# --- streams ---


@pytest.mark.parametrize("how", [">&-", ">/dev/full"])
def test_a_stdout_that_is_closed_or_full_keeps_no_supervised_writer_away(
    directory: Path, start: Start, how: str
) -> None:
    shell = ("bash", "-c", f'exec "$0" "$@" {how}', *SERVE)
    supervised = start(serve=shell, stdout=subprocess.DEVNULL)
    supervised.says("stdout cannot be written to: .* serving on")
    with AuditLog(directory) as log:
        assert log.record("a.b", sync=True).status == "committed"
    supervised.signal(signal.SIGTERM)
    status, _, err = supervised.end()
    assert (status, "starts again" in err) == (0, False)


def test_what_lies_in_the_working_directory_is_nobodys_module(
    directory: Path, tmp_path: Path, start: Start
) -> None:
    """Named operations are found there, behind everything that is installed."""
    (tmp_path / "click.py").write_text("raise SystemExit(9)")
    (tmp_path / "leaves.py").write_text(LEAVES)
    supervised = start("--operations", "leaves", cwd=tmp_path, serve=FROM_ANYWHERE)
    supervised.next_writer()
    supervised.signal(signal.SIGTERM)
    assert supervised.end()[0] == 0
