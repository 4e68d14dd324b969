import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.test import override_settings

from pipeline.config import settings as module
from pipeline.config.supervisor import ROOT
from tests.conftest import OUTSIDE

DOCS = (ROOT / "docs" / "settings.md").read_text()
SOURCES = [*Path(ROOT, "pipeline/config").rglob("*.py"), ROOT / "celery_app.py"]


def documented() -> set[str]:
    rows = [line for line in DOCS.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", row.split("|")[1])}


def test_every_variable_that_is_read_is_documented():
    read = {
        name for source in SOURCES for name in re.findall(r"env\.\w+\(\s*\"([A-Z][A-Z0-9_]+)\"", source.read_text())
    }
    assert module.env.names <= read
    assert read <= documented()


def test_every_documented_variable_is_read_somewhere():
    everything = "".join(source.read_text() for source in SOURCES)
    everything += (ROOT / "Makefile").read_text() + (ROOT / "tests/conftest.py").read_text()
    assert {name for name in documented() if name not in everything} == set()


def test_nothing_carries_state_but_ids():
    assert settings.CELERY_ACCEPT_CONTENT == ["json"]
    assert settings.CELERY_RESULT_BACKEND is None
    assert not hasattr(settings, "CELERY_BEAT_SCHEDULE")
    assert settings.CELERY_TASK_SOFT_TIME_LIMIT < settings.CELERY_TASK_TIME_LIMIT
    assert settings.CELERY_BROKER_TRANSPORT_OPTIONS["socket_timeout"] > 1  # longer than one blocking pop


def test_the_broker_the_hints_and_the_cache_use_databases_of_their_own():
    addresses = {settings.CELERY_BROKER_URL, settings.STOKER_HINTS_URL, settings.CACHES["default"]["LOCATION"]}
    assert {re.search(r"(\d)$", address).group(1) for address in addresses} == {"0", "1", "2"}


def found(tags=None, **changes) -> set[str]:
    with override_settings(**changes):
        return {message.id for message in run_checks(tags=tags)}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ALLOWED_HOSTS": ["*"], "STOKER_PUBLIC_URL": "https://stoker.example.org"}, "stoker.E001"),
        ({"DEBUG": True, "STOKER_PUBLIC_URL": "https://stoker.example.org"}, "stoker.E002"),
        ({"STOKER_HOME": Path("/nowhere/at/all")}, "stoker.E003"),
        ({"STOKER_TRAINER_PYTHON": Path("/nowhere/python")}, "stoker.W004"),
        ({"BASE_DIR": Path("/nowhere")}, "stoker.W005"),
        ({"STOKER_PUBLIC_URL": "https://stoker.example.org"}, "stoker.W008"),
    ],
)
def test_checks_find_what_is_wrong(changes, code):
    assert code in found(**changes)
    assert code not in found()


def test_a_machine_that_trains_nothing_needs_no_trainer():
    changes = {"STOKER_TRAINER_PYTHON": Path("/nowhere/python"), "STOKER_LOCAL_SLOTS": 0}
    assert "stoker.W004" not in found(**changes)


def test_production_settings_pass_the_deployment_checks(tmp_path):
    environment = {
        **OUTSIDE,
        "STOKER_HOME": str(tmp_path),
        "STOKER_PUBLIC_URL": "https://stoker.example.org",
        "STOKER_TRUST_PROXY": "1",
        "DATABASE_URL": "postgresql://stoker@db.example.org/stoker",
        "REDIS_URL": "rediss://redis.example.org",
        "STOKER_TRAINER_PYTHON": sys.executable,
        "STOKER_STORAGE": "s3",
        "ENCRYPTION_KEY": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    }
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path)  # keys were generated there, not beside the code
