"""What operators type to mend and to tidy: `reprocess_jobs`, `prune_metrics`, `second_factor`; and the bar above it."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django_otp.plugins.otp_totp.models import TOTPDevice

from pipeline.config.progress import CLEAR, bar, with_bar
from pipeline.models import Job
from tests.factories import make_running_job, make_user
from tests.pipeline.api.conftest import fill
from tests.pipeline.conftest import world

__all__ = ["world"]
pytestmark = pytest.mark.django_db


def run(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out, stderr=out)
    return out.getvalue()


@pytest.fixture
def ended(owner: Any, world: Any) -> Job:
    job, *_ = make_running_job(owner.user)
    fill(job)
    ago = Now() - timedelta(days=2)
    Job.objects.filter(pk=job.pk).update(status="failed", reason="vanished", completed_at=ago, final_cost=1)
    return job


def test_reprocessing_says_what_it_mends_and_mends_it(ended: Job) -> None:
    said = run("reprocess_jobs", "--dry-run")
    assert f"{ended.pk}  {ended.name}: Its cost was $0.000000; its records say $0.060000." in said
    assert "1 job looked at, 1 would be mended, 0 with files that are not right." in said
    assert "1 mended" in run("reprocess_jobs", str(ended.pk))
    assert "0 mended" in run("reprocess_jobs", "--status", "failed", "--older-than", "60")
    assert Job.objects.get().events.get(data__what="reprocessed").actor == "manage.py reprocess_jobs"


def test_reprocessing_takes_what_was_chosen(ended: Job, owner: Any) -> None:
    live, *_ = make_running_job(owner.user)
    assert "1 job left out: not ended, or not as chosen." in run("reprocess_jobs", str(live.pk))
    assert "0 jobs looked at" in run("reprocess_jobs", "--status", "completed")
    assert "0 jobs looked at" in run("reprocess_jobs", "--older-than", str(3 * 24 * 60))
    with pytest.raises(CommandError, match="There is no such job"):
        run("reprocess_jobs", str(uuid4()))


def test_files_that_are_not_right_make_it_fail(ended: Job, capsys: Any) -> None:
    ended.artifacts.update(path="nowhere")
    with pytest.raises(SystemExit):
        run("reprocess_jobs")


def test_pruning_says_what_goes(ended: Job, settings: Any) -> None:
    with pytest.raises(CommandError, match="--older-than DAYS"):
        run("prune_metrics")
    assert "0 jobs: 0 steps and 0 log lines would be removed." in run("prune_metrics", "--older-than", "3", "--dry-run")
    settings.STOKER_KEEP_METRICS_DAYS = 1
    assert "1 job: 0 steps and 3 log lines would be removed." in run("prune_metrics", "--dry-run")
    assert "1 job: 0 steps and 3 log lines removed." in run("prune_metrics")
    assert "0 jobs" in run("prune_metrics")


def test_an_operator_gets_one_app(owner: Any) -> None:
    make_user("olga", is_staff=True)
    address = run("second_factor", "olga").strip()
    assert address.startswith("otpauth://totp/Stoker%3Aolga?secret=")
    with pytest.raises(CommandError, match="has an app already"):
        run("second_factor", "olga")
    assert run("second_factor", "olga", "--replace").strip() != address
    assert TOTPDevice.objects.count() == 1
    assert "olga has no app any more." in run("second_factor", "olga", "--remove")
    assert "olga had none." in run("second_factor", "olga", "--remove")
    assert "is no operator yet" in run("second_factor", "owner")
    with pytest.raises(CommandError, match="nobody called"):
        run("second_factor", "nobody")


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_is_drawn_on_a_terminal_and_cleared() -> None:
    terminal = Terminal()
    assert list(with_bar(["a", "b"], "jobs", terminal)) == ["a", "b"]
    assert bar(0, 2, "jobs") in terminal.getvalue()
    assert terminal.getvalue().endswith(CLEAR)
    piped = StringIO()
    assert list(with_bar(["a", "b"], "jobs", piped)) == ["a", "b"]
    assert piped.getvalue() == ""


def test_the_bar_is_cleared_when_the_work_breaks_off() -> None:
    terminal = Terminal()
    for _ in with_bar(range(3), "jobs", terminal):
        break
    assert terminal.getvalue().endswith(CLEAR)


@pytest.mark.parametrize(("done", "of", "full"), [(0, 10, 0), (5, 10, 15), (10, 10, 30), (0, 0, 0)])
def test_the_bar_is_as_long_as_the_work(done: int, of: int, full: int) -> None:
    assert bar(done, of, "jobs").count("█") == full
