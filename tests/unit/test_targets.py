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


@pytest.mark.parametrize(
    "text", ["ftp://host/x", "", "host=db dbname=audit", "kafka://a", "postgresql:", "nats:/a:4222"]
)
def test_what_is_no_target_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(ConfigError, match=r"postgresql://.*nats://.*Parquet"):
        kind_of(text)


@pytest.mark.parametrize("password", ["pa@ss", "pa/ss", "pa#ss", "pa?ss", "pa@s/s"])
@pytest.mark.parametrize("scheme", ["postgresql", "nats"])
def test_a_password_that_is_not_escaped_is_refused_and_not_shown(
    scheme: str, password: str
) -> None:
    with pytest.raises(ConfigError, match="write @ as %40") as refused:
        kind_of(f"{scheme}://audit:{password}@db/audit?sslmode=require")
    assert "ss" not in str(refused.value).replace("password", "")


def test_hosts_may_be_many_and_users_have_a_domain() -> None:
    assert kind_of("postgresql://db:5432,other:5433/a?user=u@dom&sslmode=require") == "postgresql"
    assert kind_of("nats://[::1]:4222,u:p@b:4222,c") == "nats"
    with pytest.raises(ConfigError, match="a comma as %2C"):
        kind_of("nats://u:p,w@b:4222")


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
        ("postgresql://u:se,cret@db,other/a", "postgresql://u@db,other/a"),
        ("nats://secret@a:4222", "nats://a:4222"),
        ("/mnt/archive", "/mnt/archive"),
    ],
)  # fmt: skip
def test_no_password_is_shown(text: str, shown: str) -> None:
    assert without_password(text) == shown
