"""`/metrics` in the text format of Prometheus. Everything is read from PostgreSQL, so any web process may answer."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from ipaddress import ip_address

from django.conf import settings
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from notifications.models import Delivery
from pipeline import overview
from pipeline.config import broker, deliveries
from pipeline.config.checks import LOCAL_HOSTS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Sample = tuple[Mapping[str, str], float | int | Decimal]


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """For whoever has the token of STOKER_METRICS_TOKEN; without that setting, for this machine alone."""
    if not _may_read(request):
        raise Http404
    try:
        text = "".join(f"{line}\n" for line in lines(timezone.now()))
    except DatabaseError:
        return HttpResponse("# The database does not answer.\n", content_type=CONTENT_TYPE, status=503)
    return HttpResponse(text, content_type=CONTENT_TYPE)


def _may_read(request: HttpRequest) -> bool:
    token: str = settings.STOKER_METRICS_TOKEN
    if token:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
    # A proxy on this machine comes from here, too, with the requests of everybody.
    direct = "X-Forwarded-For" not in request.headers and "Forwarded" not in request.headers
    host = request.get_host().rpartition(":")[0] or request.get_host()
    return direct and host.strip("[]") in LOCAL_HOSTS and _is_loopback(request.META.get("REMOTE_ADDR", ""))


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def lines(now: datetime) -> Iterator[str]:
    queue, rented = overview.queue(now), overview.rented()
    days = overview.spent_by_day(now, 31)
    month = f"{now:%Y-%m}"
    written = overview.rows_written()
    families: list[tuple[str, str, str, Iterable[Sample]]] = [
        (
            "jobs", "gauge", "Jobs by status.",
            [({"status": status.value}, number) for status, number in overview.job_counts().items()],
        ),
        (
            "queue_oldest_seconds", "gauge", "Age of the job that is longest in an active status.",
            [({"status": one.status.value}, _seconds(now, one.oldest)) for one in queue],
        ),
        (
            "machines", "gauge", "Machines that exist now, of jobs and forgotten.",
            [
                ({"provider": one.provider, "kind": kind}, number)
                for one in rented
                for kind, number in (("job", one.machines), ("forgotten", one.forgotten))
            ],
        ),
        (
            "machines_usd_per_hour", "gauge", "What the machines that exist now cost in an hour.",
            [({"provider": one.provider}, one.price_per_hour) for one in rented],
        ),
        (
            "spent_usd", "gauge", "Metered today and in this month (UTC), without what is simulated.",
            [
                ({"span": "today"}, sum(row.amount for row in days if row.key == str(now.date()))),
                ({"span": "month"}, sum(row.amount for row in days if row.key.startswith(month))),
            ],
        ),
        (
            "failed_jobs_last_day", "gauge", "Jobs that failed within 24 hours, by reason.",
            [({"reason": one.reason.value}, one.day) for one in overview.failures(now)],
        ),
        (
            "provider_calls_last_hour", "gauge", "Calls that may have changed something outside, by outcome.",
            [({"op": op, "outcome": what}, n) for (op, what), n in sorted(overview.calls_last_hour(now).items())],
        ),
        ("metric_points_total", "counter", "Metric points written.", [({}, written["points"])]),
        ("log_lines_total", "counter", "Log lines written.", [({}, written["lines"])]),
        ("deliveries", "gauge", "Notifications on their way to destinations, by state.", _deliveries()),
        (
            "process_beat_age_seconds", "gauge", "Seconds since the last sign of life of a background part.",
            [({"process": one.name}, _seconds(now, one.at)) for one in overview.lives(now) if one.at],
        ),
        (
            "credentials_with_problems", "gauge", "Accounts of people whose keys do not work now.",
            [({}, overview.troubled_credentials().count())],
        ),
        ("broker_up", "gauge", "Whether Redis answers. Nothing is lost when it does not.", [({}, broker.answers())]),
    ]  # fmt: skip
    for name, kind, text, samples in families:
        yield f"# HELP stoker_{name} {text}"
        yield f"# TYPE stoker_{name} {kind}"
        for labels, value in samples:
            yield f"stoker_{name}{_shown(labels)} {_number(value)}"


def _deliveries() -> list[Sample]:
    counts = deliveries.counts()
    return [({"state": state.value}, counts[state]) for state in Delivery.State if state in counts]


def _seconds(now: datetime, at: datetime | None) -> float:
    return max((now - at).total_seconds(), 0.0) if at else 0.0


def _shown(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float | int | Decimal) -> str:
    return repr(float(value)) if isinstance(value, float | Decimal) else str(int(value))
