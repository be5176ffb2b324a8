"""Which target a text names, and what others may see of it."""

from pathlib import Path

import pytest

from hansard import ConfigError
from hansard_writer.shipping.targets import kind_of, path_of, without_password


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("postgresql://audit@db/audit", "postgresql"),
        ("postgres:///audit?host=/run/postgresql", "postgresql"),
        ("nats://a:4222,b:4222", "nats"),
        ("tls://a:4222", "nats"),
        ("/mnt/archive", "parquet"),
        ("archive", "parquet"),
        ("file:///mnt/archive", "parquet"),
    ],
)
def test_a_target_is_known_by_its_beginning(text: str, kind: str) -> None:
    assert kind_of(text) == kind


@pytest.mark.parametrize("text", ["ftp://host/x", "", "host=db dbname=audit", "kafka://a"])
def test_what_is_no_target_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(ConfigError, match=r"postgresql://.*nats://.*Parquet"):
        kind_of(text)


def test_a_directory_is_named_as_a_path_or_as_a_url() -> None:
    assert path_of("/mnt/archive") == path_of("file:///mnt/archive") == Path("/mnt/archive")
    assert path_of("file:///mnt/two%20words") == Path("/mnt/two words")
    assert path_of("archive") == Path.cwd() / "archive"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://audit:secret@db/audit", "postgresql://audit@db/audit"),
        ("postgresql://db/a?user=u&password=secret&sslmode=require",
         "postgresql://db/a?user=u&sslmode=require"),
        ("postgresql://db/a?sslpassword=secret", "postgresql://db/a"),
        ("nats://u:secret@a:4222,u:secret@b:4222", "nats://u@a:4222,u@b:4222"),
        ("nats://secret@a:4222", "nats://a:4222"),
        ("/mnt/archive", "/mnt/archive"),
    ],
)  # fmt: skip
def test_no_password_is_shown(text: str, shown: str) -> None:
    assert without_password(text) == shown
