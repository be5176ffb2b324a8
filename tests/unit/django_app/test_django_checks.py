"""What is wrong with ``HANSARD`` is said at start, with the way out."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

import django_site
from hansard.integrations.django.checks import check
from hansard.integrations.django.configuration import current
from hansard.testing import MemoryLog


def told(hansard: Any) -> str:
    """What the checks say of these settings."""
    assert django_site
    with override_settings(HANSARD=hansard):
        return "\n".join(str(message.msg) for message in check())


def test_good_settings_are_silent(tmp_path: Path) -> None:
    good = {"dir": tmp_path, "models": ["shop.Order", "auth.*"], "spool_bytes": 4 << 20}
    assert told(good) == ""
    assert told(None) == ""


@pytest.mark.parametrize(
    ("hansard", "message"),
    [
        ("audit", "it must be a dict, such as HANSARD = {"),
        ({"modells": []}, "unknown key 'modells'; did you mean 'models'?"),
        ({"models": "shop.Order"}, "it must be a list of texts"),
        ({"models": ["shop.Ordr"]}, "which no installed app has; did you mean 'shop.Order'?"),
        ({"models": ["Q"]}, "write 'app.Model' or 'app.*'"),
        ({"values": "no"}, "it must be True or False"),
        ({"value_chars_max": True}, "it must be a number of characters"),
        ({"dir": 7}, "it must be a path"),
        ({"spool_bytes": 7}, "it must be at least"),
        ({"requests": {"path": True}}, "unexpected keyword argument 'path'"),
        ({"on_full": "shout"}, "it must be one of block, drop, raise"),
    ],
)
def test_what_is_wrong_is_named_with_the_way_out(hansard: Any, message: str) -> None:
    assert message in told(hansard)


def test_a_log_and_a_directory_are_one_too_many() -> None:
    with MemoryLog() as log:
        assert "leave one of them out" in told({"log": log, "dir": "x"})


def test_manage_py_says_it_and_stops() -> None:
    with (
        override_settings(HANSARD={"modells": []}),
        pytest.raises(SystemCheckError, match=r"hansard\.E001.*modells"),
    ):
        call_command("check")


def test_what_is_faulty_counts_as_not_given() -> None:
    with override_settings(HANSARD={"models": 7, "values": False}):
        assert (current().models, current().values) == ((), False)


def test_without_django_the_line_that_mends_it_is_named() -> None:
    program = "import sys; sys.modules['django'] = None; import hansard.integrations.django"
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert "needs Django: pip install 'hansard[django]'" in done.stderr
