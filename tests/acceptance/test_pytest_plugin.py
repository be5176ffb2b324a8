"""The pytest plugin, in a real pytest of its own; one test finds it by its entry point."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]
NEVER_LOADED = {"hansard", "apsw", "zmq", "orjson", "msgpack", "cryptography", "click"}
ALONE = ("-p", "hansard_writer.pytest_plugin", "-p", "no:cacheprovider", "-W", "error")


@pytest.fixture(autouse=True)
def others_plugins_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """To load those of all that is installed takes longer than the tests."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    path = [ROOT / "client", ROOT / "writer"]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, path)))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hansard on the path of subprocesses, with the entry points that pyproject.toml names."""
    metadata = tmp_path / "site" / "hansard-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    lines = [f"{name} = {place}" for name, place in points["pytest11"].items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines]) + "\n")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: hansard\nVersion: 0.1.0\n")
    path = [metadata.parent, ROOT / "client", ROOT / "writer"]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, path)))
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")


@pytest.mark.usefixtures("installed")
def test_a_run_that_asks_for_nothing_loads_nothing_of_hansard(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text(
        "import json, pathlib, sys\n"
        "def test_plain(pytestconfig):\n"
        "    assert pytestconfig.pluginmanager.get_plugin('hansard') is not None\n"
        "    names = sorted({name.partition('.')[0] for name in sys.modules})\n"
        "    pathlib.Path('seen').write_text(json.dumps(names))\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_plain.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout
    seen = set(json.loads((tmp_path / "seen").read_text()))
    assert "hansard_writer" in seen
    assert not seen & NEVER_LOADED


def test_a_log_in_memory_is_what_the_code_under_test_records_to(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        app="""
        import logging
        from hansard.integrations.logging import AuditHandler

        def finish(log, task_id):
            log.record("task.done", {"status": "success"}, task_id=task_id)

        def configure():
            logger = logging.getLogger("app")
            logger.addHandler(AuditHandler())
            return logger
        """,
        test_app="""
        import pytest
        import app

        def test_it_is_recorded(audit_log):
            app.finish(audit_log, "T1")
            assert audit_log.recorded("task.done", task_id="T1", status="success")

        def test_each_test_has_its_own(audit_log):
            assert not audit_log.entries

        def test_an_integration_finds_it(audit_log):
            app.configure().warning("low")
            assert audit_log.recorded("log.app", message="low")

        @pytest.mark.audit_log(actor="user:7", calls={"double": lambda n: n * 2})
        def test_a_mark_sets_it(audit_log):
            audit_log.record("a.b")
            assert audit_log.recorded("a.b", actor="user:7")
            assert audit_log.call("double", 4) == 8
        """,
    )
    pytester.runpytest_subprocess(*ALONE, "--strict-markers").assert_outcomes(passed=4)


def test_a_failed_assertion_shows_what_there_is(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_fails(audit_log):
            audit_log.record("task.done", {"status": "failed"}, task_id="T1", actor="user:7")
            assert audit_log.recorded("task.done", task_id="T1", status="success")
        """
    )
    result = pytester.runpytest_subprocess(*ALONE)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*none of 1; nearest: #1 'task.done' task_id='T1', status='failed'*",
            "*Audit log*",
            '#1 info task.done actor=user:7 task_id=T1 {"status":"failed"}',
        ]
    )


WITH_A_WRITER = """
    import os, subprocess, sys
    from pathlib import Path
    import pytest
    import hansard

    def record_elsewhere(task_id):
        program = f"import hansard; hansard.AuditLog().record('task.done', task_id={task_id!r})"
        subprocess.run([sys.executable, "-c", program], check=True)

    def note(writer):
        with open(os.environ["NOTES"], "a") as notes:
            notes.write(f"{writer.directory.parent} {writer.pid}\\n")

    def test_a_worker_process_is_found(hansard_writer):
        note(hansard_writer)
        record_elsewhere("T1")
        assert hansard_writer.recorded("task.done", task_id="T1")
        assert not hansard_writer.recorded("task.done", task_id="T2", within=0)

    @pytest.mark.hansard_writer(enforce_tasks=True)
    def test_a_mark_sets_it(hansard_writer):
        note(hansard_writer)
        log = hansard_writer.log
        assert log.record("a.b", task_id="T1", sync=True).status == "orphaned"
        log.register_task("T1")
        assert len(hansard_writer.entries) == 2
        assert [each.event_type for each in hansard_writer.reader().events()][1] == "a.b"

    def test_events_wait_while_it_is_away(hansard_writer):
        note(hansard_writer)
        hansard_writer.stop()
        log = hansard.AuditLog()
        log.record("a.b")
        assert not hansard_writer.recorded("a.b", within=0)
        hansard_writer.start()
        assert hansard_writer.recorded("a.b")

    def test_one_that_fails_leaves_nothing(hansard_writer):
        note(hansard_writer)
        hansard_writer.log.record("a.b")
        assert False
"""


def test_a_real_writer_is_each_tests_own_and_leaves_nothing(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    pytester.makepyfile(WITH_A_WRITER)
    xdist = ("-p", "xdist.plugin", "-n", "2")
    pytester.runpytest_subprocess(*ALONE, *xdist).assert_outcomes(passed=3, failed=1)
    notes = [line.split() for line in (tmp_path / "notes").read_text().splitlines()]
    assert len({directory for directory, _ in notes}) == 4
    for directory, pid in notes:
        assert not Path(directory).exists()
        assert not Path(f"/proc/{pid}").exists()


def test_a_writer_that_does_not_start_says_why(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.hansard_writer(operations=["not_there"])
        def test_never_begins(hansard_writer):
            pass

        @pytest.mark.hansard_writer(batch_sizes=7)
        def test_neither(hansard_writer):
            pass
        """
    )
    result = pytester.runpytest_subprocess(*ALONE)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*AuditLogError*did not start*", "*not_there*"])
    result.stdout.fnmatch_lines(["*ConfigError: unknown setting 'batch_sizes'*"])


def test_a_session_may_share_one(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest
        from hansard_writer.temporary_writer import temporary_writer

        @pytest.fixture(scope="session")
        def hansard_writer():
            with temporary_writer() as writer, pytest.MonkeyPatch.context() as patch:
                patch.setenv("HANSARD_DIR", str(writer.directory))
                yield writer
        """
    )
    pytester.makepyfile(
        """
        import hansard

        def test_one(hansard_writer):
            hansard.AuditLog().record("a.one")
            assert hansard_writer.recorded("a.one")

        def test_two(hansard_writer):
            assert hansard_writer.recorded("a.one", within=0)
        """
    )
    pytester.runpytest_subprocess(*ALONE).assert_outcomes(passed=2)
