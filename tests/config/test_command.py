"""What a person who types a command reads when it is refused, and what a program gets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from pipeline.config.command import PlainCommand
from pipeline.config.demo import Told
from pipeline.models import Job


class Refusing(PlainCommand):
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        raise CommandError("Not today. Try tomorrow.", returncode=3)


def test_a_person_reads_the_sentence_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        Refusing().run_from_argv(["manage.py", "refuse"])
    assert left.value.code == 3
    assert capsys.readouterr().err == "Not today. Try tomorrow.\n"


def test_a_program_gets_the_exception() -> None:
    with pytest.raises(CommandError, match="Not today"):
        call_command(Refusing())


def test_whoever_asks_for_the_traceback_gets_it() -> None:
    with pytest.raises(CommandError, match="Not today"):
        Refusing().run_from_argv(["manage.py", "refuse", "--traceback"])


def seen(*moments: tuple[str, str, int]) -> list[bool]:
    told = Told()
    looks = [SimpleNamespace(current_stage=stage, stage_detail=detail, current_step=n) for stage, detail, n in moments]
    return [told.is_news(cast(Job, look)) for look in looks]


def test_the_demo_tells_each_doing_once_and_every_fifth_step() -> None:
    assert seen(
        ("preparing", "Loading the model", 0),
        ("preparing", "Loading the model", 0),
        ("training", "", 1),
        ("training", "", 5),
        ("training", "", 6),
        ("evaluating", "", 10),
        ("training", "", 11),
        ("evaluating", "", 12),
        ("training", "", 16),
    ) == [True, False, True, False, True, True, False, False, True]


def test_another_attempt_of_the_demo_is_told_from_its_beginning() -> None:
    assert seen(("training", "", 7), ("preparing", "", 0), ("training", "", 1)) == [True, True, True]
