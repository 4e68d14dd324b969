import pytest
from django.conf import settings
from django.core.management import call_command
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, PeriodicTask, SolarSchedule

from pipeline.config.schedules import seed


@pytest.mark.django_db
def test_migrating_puts_every_schedule_into_the_database_as_an_interval():
    rows = {row.task: row for row in PeriodicTask.objects.select_related("interval")}
    assert set(rows) == {task for task, _ in settings.STOKER_SCHEDULES.values()}
    for task, seconds in settings.STOKER_SCHEDULES.values():
        assert (rows[task].interval.every, rows[task].interval.period) == (seconds, "seconds")
        assert rows[task].expire_seconds == seconds
        assert rows[task].enabled


@pytest.mark.django_db
def test_no_schedule_goes_by_the_clock_on_the_wall():
    assert not CrontabSchedule.objects.exists()
    assert not SolarSchedule.objects.exists()
    assert not ClockedSchedule.objects.exists()


# Beat closes and opens connections as it likes, which a test inside a transaction does not survive.
@pytest.mark.django_db(transaction=True)
def test_beat_itself_adds_nothing(celery_app_of_the_product):
    from django_celery_beat.schedulers import DatabaseScheduler

    before = set(PeriodicTask.objects.values_list("name", flat=True))
    scheduler = DatabaseScheduler(app=celery_app_of_the_product, lazy=True)
    scheduler.setup_schedule()
    assert set(PeriodicTask.objects.values_list("name", flat=True)) == before
    assert not CrontabSchedule.objects.exists()


@pytest.fixture
def celery_app_of_the_product():
    from celery_app import app

    return app


@pytest.mark.django_db
def test_an_operators_changes_survive_the_next_start():
    row = PeriodicTask.objects.get(task="pipeline.tasks.poll_due")
    row.name, row.enabled, row.expire_seconds = "Follow jobs, slower", False, 7
    row.save()
    call_command("prepare")
    row.refresh_from_db()
    assert (row.name, row.enabled, row.expire_seconds) == ("Follow jobs, slower", False, 7)
    assert PeriodicTask.objects.filter(task="pipeline.tasks.poll_due").count() == 1


@pytest.mark.django_db
def test_what_is_missing_is_added_alone():
    PeriodicTask.objects.filter(task="pipeline.tasks.submit_due").delete()
    assert seed() == ["Submit queued jobs"]
    assert seed() == []


def test_every_scheduled_task_exists(celery_app_of_the_product):
    celery_app_of_the_product.loader.import_default_modules()
    assert {task for task, _ in settings.STOKER_SCHEDULES.values()} <= set(celery_app_of_the_product.tasks)
