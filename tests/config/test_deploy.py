"""The files for deploying: no container is built here, but what they name is there, and they agree with each other."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from configparser import ConfigParser
from typing import Any

import pytest
import yaml
from celery.bin.celery import celery
from django.conf import settings
from django.core.management import get_commands

from pipeline.config import supervisor
from pipeline.config.supervisor import ROOT
from tests.config.test_settings import documented

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("release", "web", "worker", "beat", "reconcile")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
PROCFILE = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())


def last_stage() -> str:
    return re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[-1]


def image_command() -> list[str]:
    words: list[str] = json.loads(re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[-1])
    return words


COMMANDS = {
    **{f"compose {name}": SERVICES[name].get("command") or image_command() for name in OURS},
    **{f"Procfile {name}": shlex.split(line) for name, line in PROCFILE.items()},
    "systemd": shlex.split(
        next(line for line in (DEPLOY / "stoker.service").read_text().splitlines() if line.startswith("ExecStart="))
    ),
}


@pytest.mark.parametrize("where", COMMANDS)
def test_each_command_is_one_that_there_is(where: str) -> None:
    words = COMMANDS[where]
    if "manage.py" in words:
        assert words[words.index("manage.py") + 1] in get_commands()
        assert (ROOT / "manage.py").exists()
    elif words[0] == "celery":
        assert words[1:3] == ["--app", "celery_app"]
        command = celery.commands[words[3]]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words[4:] if word.startswith("--")} <= known
    else:
        assert words[:2] == ["python", "-m"]
        assert importlib.util.find_spec(words[2]) is not None


@pytest.mark.parametrize("name", ["worker", "beat", "reconcile", "release"])
def test_containers_and_procfile_run_the_same(name: str) -> None:
    assert SERVICES[name]["command"] == shlex.split(PROCFILE[name])


def test_every_web_server_has_the_same_limits() -> None:
    limits = [word for word in supervisor.DAPHNE if word.startswith("--") or word.isdigit()]
    for where in ("compose web", "Procfile web"):
        words = COMMANDS[where]
        pairs = zip(limits, [*limits[1:], ""], strict=True)
        for option, value in pairs:
            if option.startswith("--"):
                assert option in words, f"{where}: {option}"
                if value.isdigit():
                    assert words[words.index(option) + 1] == value, f"{where}: {option}"


def test_the_procfile_is_complete() -> None:
    assert PROCFILE.keys() == {"web", "worker", "beat", "reconcile", "release"}


def test_there_are_several_of_what_may_be_several_and_one_beat() -> None:
    replicas = {name: SERVICES[name].get("deploy", {}).get("replicas", 1) for name in OURS}
    assert (replicas["web"], replicas["worker"], replicas["beat"]) == (2, 2, 1)
    for name in ("web", "worker", "beat", "reconcile"):
        assert SERVICES[name]["depends_on"] == {"release": {"condition": "service_completed_successfully"}}
    assert {"postgres", "valkey", "proxy"} <= SERVICES.keys()
    assert [name for name in SERVICES if "ports" in SERVICES[name]] == ["proxy"], "nothing else is reached from outside"


@pytest.mark.parametrize("name", OURS)
def test_our_containers_may_write_to_their_folder_alone(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["volumes"] == ["home:/var/lib/stoker"]


def test_what_containers_are_told_is_documented() -> None:
    example = (DEPLOY / "stoker.env.example").read_text()
    told = {line.partition("=")[0] for line in example.splitlines() if line and line[0] != "#"}
    told |= SERVICES["web"]["environment"].keys()
    told |= set(re.findall(r"^(?:ENV |    )(STOKER_\w+)=", DOCKERFILE, re.MULTILINE))
    assert {"STOKER_HOME", "STOKER_LOCAL_SLOTS", "DATABASE_URL", "ENCRYPTION_KEY"} <= told
    assert told <= documented()


def test_nothing_secret_is_written_down_or_gets_into_the_image() -> None:
    for line in (DEPLOY / "stoker.env.example").read_text().splitlines():
        name, _, value = line.partition("=")
        assert not (re.search("KEY|TOKEN|PASSWORD", name) and value and line[0] != "#"), line
    kept_out = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".git", ".stoker", ".env", "deploy/.env", "deploy/stoker.env", "node_modules"} <= set(kept_out)
    assert "STOKER_HOME=/tmp/home" in last_stage()
    assert "rm -rf /tmp/home" in last_stage()


def test_the_image_runs_as_nobody_and_needs_no_npm() -> None:
    stage = last_stage()
    assert re.findall(r"^USER (\w+)", stage, re.MULTILINE) == ["stoker"]
    assert "npm" not in stage
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == [
        "node:24-slim",
        "python:3.12-slim",
        "python:3.12-slim",
    ]
    assert "npm ci --omit=dev --ignore-scripts" in DOCKERFILE


def test_the_proxy_lets_the_largest_upload_through_and_little_else() -> None:
    caddy = (DEPLOY / "Caddyfile").read_text()
    largest, other = (int(size) for size in re.findall(r"max_size (\d+)MB", caddy))
    assert settings.STOKER_MAX_UPLOAD_MB < largest < 1.2 * settings.STOKER_MAX_UPLOAD_MB
    assert 2 < other <= 4
    for what in ("read_header 10s", "read_body", "idle", "respond /metrics 404", "X-Forwarded-For {remote_host}"):
        assert what in caddy
    assert caddy.count("{") == caddy.count("}")


def test_systemd_leaves_trainings_alone() -> None:
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "stoker.service")
    assert unit["Service"]["KillMode"] == "process"
    assert unit["Service"]["Restart"] == "always"
    assert unit["Service"]["User"] != "root"
