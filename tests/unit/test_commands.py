"""Commands of operations: what is captured, what fails them, and how they are ended.

Each by `Operation.run` and by its asyncio twin.
"""
# ruff: noqa: PT012 - a block and what happens in it are one statement to whoever reads them

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hansard import InvalidEvent
from hansard.operations import Operation
from recorder import WHERE, Recorder
from support import wait_until


@pytest.fixture
def log(directory: Path) -> Iterator[Recorder]:
    log = Recorder(directory, spool_bytes=2 << 20)
    yield log
    log.close(0)


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_a_command_is_captured_whole(log: Recorder) -> None:
    with log.operation("run", **WHERE) as op:
        done = op.run(python("import sys; print('out'); print('err', file=sys.stderr)"))
    assert isinstance(done, subprocess.CompletedProcess)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")
    told = log.only()
    assert (told["status"], told["exit_code"]) == ("success", 0)
    assert (told["stdout"], told["stderr"]) == ("out\n", "err\n")
    assert (op.stdout, op.stderr, op.exit_code) == ("out\n", "err\n", 0)


def test_a_command_that_fails_makes_it_failed_and_raises_only_if_asked_to(log: Recorder) -> None:
    with log.operation("run", **WHERE) as op:
        assert op.run(["sh", "-c", "echo no >&2; exit 2"]).returncode == 2
        assert op.status == "failed"
    with (
        pytest.raises(subprocess.CalledProcessError) as raised,
        log.operation("run", **WHERE) as op,
    ):
        op.run(["sh", "-c", "echo no >&2; exit 2"], check=True)
    assert (raised.value.returncode, raised.value.stderr) == (2, "no\n")
    quiet, loud = (payload for _, _, payload in log.told)
    assert quiet["metadata"] == {"error": "exit status 2"}
    assert loud["metadata"]["error"].startswith("CalledProcessError: Command")
    for told in (quiet, loud):
        assert (told["status"], told["exit_code"], told["stderr"]) == ("failed", 2, "no\n")


def test_a_later_exception_keeps_exit_code_and_output(log: Recorder) -> None:
    with pytest.raises(ValueError, match="later"), log.operation("run", **WHERE) as op:
        op.run(["sh", "-c", "echo out; exit 4"])
        raise ValueError("later")
    told = log.only()
    assert (told["stdout"], told["exit_code"]) == ("out\n", 4)
    assert told["metadata"]["error"] == "ValueError: later"


def test_a_command_that_was_killed_says_by_what(log: Recorder) -> None:
    with log.operation("run", **WHERE) as op:
        op.run(["sh", "-c", "kill -9 $$"])
    assert (log.only()["exit_code"], log.only()["metadata"]) == (-9, {"error": "killed by SIGKILL"})


def test_several_commands_follow_one_another(log: Recorder) -> None:
    with log.operation("run", **WHERE) as op:
        for script in ("echo 1", "echo 2; exit 2", "echo 3; exit 3", "echo 4"):
            op.run(["sh", "-c", script])
    told = log.only()
    assert (told["stdout"], told["exit_code"]) == ("1\n2\n3\n4\n", 2)
    assert told["metadata"] == {"error": "exit status 2"}


def test_an_explicit_success_outweighs_a_command_that_failed(log: Recorder) -> None:
    with log.operation("run", **WHERE) as op:
        op.run(["sh", "-c", "exit 1"])  # such as grep, that found nothing
        op.success()
    told = log.only()
    assert (told["status"], told["exit_code"], told["metadata"]) == ("success", 1, {})


def run_one(op: Operation, twin: bool, argv: Any, **options: Any) -> Any:
    """By `run`, or by its twin on a loop of its own."""
    return asyncio.run(op.arun(argv, **options)) if twin else op.run(argv, **options)


@pytest.mark.parametrize("twin", [False, True])
def test_a_command_that_takes_too_long_is_ended_and_what_it_said_is_kept(
    log: Recorder, twin: bool
) -> None:
    program = "import time; print('so far', flush=True); time.sleep(60)"
    with pytest.raises(subprocess.TimeoutExpired), log.operation("run", **WHERE) as op:
        run_one(op, twin, python(program), timeout=1.5)
    told = log.only()
    assert (told["status"], told["stdout"], told["exit_code"]) == ("failed", "so far\n", -9)
    assert told["metadata"]["error"].startswith("TimeoutExpired: Command")


@pytest.mark.parametrize("twin", [False, True])
def test_a_timeout_that_the_block_catches_is_a_failure_all_the_same(
    log: Recorder, twin: bool
) -> None:
    with log.operation("run", **WHERE) as op, pytest.raises(subprocess.TimeoutExpired):
        run_one(op, twin, ["sleep", "60"], timeout=0.05)
    assert log.only()["status"] == "failed"


@pytest.mark.parametrize("twin", [False, True])
def test_a_command_that_is_not_there_makes_it_failed(log: Recorder, twin: bool) -> None:
    with pytest.raises(FileNotFoundError), log.operation("run", **WHERE) as op:
        run_one(op, twin, ["true"])
        run_one(op, twin, ["no-such-command-at-all"])
    told = log.only()
    assert (told["status"], told["exit_code"]) == ("failed", None)
    assert told["metadata"]["error"].startswith("FileNotFoundError")


@pytest.mark.parametrize("twin", [False, True])
def test_a_command_gets_input_directory_and_environment(
    log: Recorder, tmp_path: Path, twin: bool
) -> None:
    program = "import os, sys; print(sys.stdin.read(), os.getcwd(), os.environ['WORD'])"
    environment = {**os.environ, "WORD": "w"}
    with log.operation("run", **WHERE) as op:
        done = run_one(op, twin, python(program), input="in é", cwd=tmp_path, env=environment)
        assert done.stdout == f"in é {tmp_path} w\n"
        large = b"x" * 1_000_000
        assert run_one(op, twin, ["cat"], input=large).stdout == large.decode()
        assert run_one(op, twin, ["true"], input=large).returncode == 0, "it need not read it"


@pytest.fixture
def typed() -> Iterator[None]:
    """Somebody has typed something into this process."""
    kept, (there, here) = os.dup(0), os.pipe()
    os.write(here, b"not for commands")
    os.close(here)
    os.dup2(there, 0)
    os.close(there)
    yield
    os.dup2(kept, 0)
    os.close(kept)


@pytest.mark.usefixtures("typed")
@pytest.mark.parametrize("twin", [False, True])
def test_a_command_does_not_read_what_is_typed(log: Recorder, twin: bool) -> None:
    with log.operation("run", **WHERE) as op:
        assert run_one(op, twin, ["cat"]).stdout == ""


@pytest.mark.parametrize("twin", [False, True])
def test_output_that_is_no_utf_8_is_kept_visibly(log: Recorder, twin: bool) -> None:
    with log.operation("run", **WHERE) as op:
        program = "import sys; sys.stdout.buffer.write(b'caf\\xe9')"
        assert run_one(op, twin, python(program)).stdout == "caf\\xe9"
    assert log.only()["stdout"] == "caf\\xe9"


@pytest.mark.parametrize("twin", [False, True])
@pytest.mark.parametrize("argv", ["uv add numpy", b"ls", None, {"a"}])
def test_what_is_no_list_of_words_is_refused_with_the_way_out(
    log: Recorder, argv: Any, twin: bool
) -> None:
    op = log.start_operation("run", **WHERE)
    with pytest.raises(InvalidEvent, match=r"argv is .*: it must be a list.*\['sh', '-c'"):
        run_one(op, twin, argv)


@pytest.mark.parametrize("argv", [[], (), ""])
def test_an_argv_without_a_program_is_called_empty(log: Recorder, argv: Any) -> None:
    rule = r"argv is empty: it must name a program, such as \['uv', 'add', 'numpy'\]"
    with pytest.raises(InvalidEvent, match=rule):
        log.start_operation("run", **WHERE).run(argv)


def test_long_output_is_cut_to_the_setting_and_says_so(directory: Path) -> None:
    with Recorder(directory, output_bytes_max=100) as log:
        with log.operation("run", **WHERE) as op:
            done = op.run(python("print('x' * 10_000)"))
        told = log.only()
    assert len(done.stdout) == 10_001, "the caller gets all of it"
    assert told["stdout"].startswith("x" * 50 + "\n[9,901 of 10,001 bytes left out")
    assert told["stdout_bytes"] == 10_001
    assert "stderr_bytes" not in told


def test_an_interruption_ends_the_command_and_keeps_its_output(log: Recorder) -> None:
    program = "import time; print('so far', flush=True); time.sleep(60)"
    op = log.operation("run", **WHERE)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGUSR1))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), op:
            timer.start()
            op.run(python(program))
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    told = log.only()
    assert (told["stdout"], told["exit_code"]) == ("so far\n", -9)
    assert told["metadata"] == {"error": "KeyboardInterrupt"}


def test_a_cancellation_ends_the_command_and_keeps_its_output(
    log: Recorder, tmp_path: Path
) -> None:
    mark = tmp_path / "pid"
    program = (
        "import os, pathlib, sys, time; print('so far', flush=True);"
        "pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)"
    )

    async def work() -> None:
        async with log.operation("run", **WHERE) as op:
            await op.arun([*python(program), str(mark)])

    async def main() -> None:
        task = asyncio.create_task(work())
        started = lambda: mark.exists() and mark.read_text()  # noqa: E731
        await asyncio.to_thread(wait_until, started, "the command has started")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    told = log.only()
    assert (told["stdout"], told["status"]) == ("so far\n", "failed")
    assert told["metadata"] == {"error": "CancelledError"}
    wait_until(lambda: not Path(f"/proc/{mark.read_text()}").exists(), "the command has ended")


@pytest.mark.parametrize("twin", [False, True])
def test_a_killed_commands_own_child_does_not_hold_it_up(log: Recorder, twin: bool) -> None:
    with pytest.raises(subprocess.TimeoutExpired), log.operation("run", **WHERE) as op:
        run_one(op, twin, ["sh", "-c", "echo so far; sleep 30 & sleep 30"], timeout=0.5)
    told = log.only()
    assert told["stdout"] == "so far\n"
    assert told["duration_ms"] < 20_000


def test_nothing_of_it_is_said_at_a_quiet_end(
    log: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "hansard"), log.operation("sync", **WHERE):
        pass
    assert caplog.text == ""
