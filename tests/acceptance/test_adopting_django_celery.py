"""The few lines that a Django site or a Celery app needs, as they stand in the README's table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hansard.reader import LogReader

DJANGO = """
# settings.py
INSTALLED_APPS += ["hansard.integrations.django"]
MIDDLEWARE.insert(0, "hansard.integrations.django.middleware.AuditMiddleware")
HANSARD = {"dir": BASE_DIR / "audit", "models": ["auth.User", "shop.*"]}
"""

CELERY = """
from celery import Celery
from hansard.integrations.celery import audit

app = Celery("shop", broker="redis://localhost")
audit(app, "./audit")
"""

SETTINGS = """
from pathlib import Path
BASE_DIR = Path(__file__).parent
SECRET_KEY = "a test's"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "site.db"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "shop"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
"""

USE_DJANGO = """
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
call_command("check")
call_command("migrate", verbosity=0)
User.objects.create_user("ada", password="hunter2")
assert Client().get("/").status_code == 404
"""

USE_CELERY = """
app.conf.task_always_eager = True

@app.task
def add(a, b):
    return a + b

add.delay(1, 2)
"""


def recorded_by(directory: Path, program: str, **environment: str) -> list[tuple[str, str]]:
    """Types and payloads of what a program records, as it is run in the log's parent."""
    paths = os.pathsep.join([str(directory.parent), *sys.path])
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=directory.parent,
        env=os.environ | {"PYTHONPATH": paths} | environment,
        check=True,
        timeout=60,
    )
    with LogReader(directory) as reader:
        return [(each.event_type, each.payload or "") for each in reader.events()]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.mark.usefixtures("writer")
def test_a_django_site_needs_three_lines(directory: Path) -> None:
    (directory.parent / "settings.py").write_text(SETTINGS + DJANGO)
    (directory.parent / "urls.py").write_text("urlpatterns = []\n")
    (directory.parent / "shop").mkdir()
    (directory.parent / "shop" / "__init__.py").touch()
    (directory.parent / "shop" / "models.py").write_text(
        "from django.db import models\n\nclass Order(models.Model): ...\n"
    )
    found = recorded_by(directory, USE_DJANGO, DJANGO_SETTINGS_MODULE="settings")
    assert [event_type for event_type, _ in found] == ["model.created", "http.request"]
    assert '"password":"[masked]"' in found[0][1]


@pytest.mark.usefixtures("writer")
def test_a_celery_app_needs_one_line(directory: Path) -> None:
    found = recorded_by(directory, CELERY + USE_CELERY)
    assert [event_type for event_type, _ in found] == [
        "celery.task.started",
        "celery.task.succeeded",
    ]
