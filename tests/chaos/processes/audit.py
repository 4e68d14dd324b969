"""Looks through a product's database after chaos and prints what it found as one line of JSON.

`python -m tests.chaos.processes.audit CANARY`, with the environment of the product. Counts are of things that must not
be; `costs` is for the caller, who knows the provider's bill.
"""

from __future__ import annotations

import json
import sys

import django

django.setup()

from django.db import connection  # noqa: E402

from pipeline.models import Attempt, Credential, Job, MetricPoint  # noqa: E402
from pipeline.states import ATTEMPT_CLOSED, TERMINAL, AttemptState  # noqa: E402
from tests.chaos import invariants  # noqa: E402
from tests.chaos.processes.pod import STEPS  # noqa: E402


def metrics() -> tuple[int, int]:
    """Points that were acknowledged and are not there, and points that are there twice."""
    lost = doubled = 0
    for job in Job.objects.filter(provider="runpod"):
        steps = list(MetricPoint.objects.filter(job=job).values_list("step", flat=True))
        # The light program numbers nothing but its steps, so what was acknowledged is the highest step.
        acked = max(job.attempts.values_list("acked_n", flat=True), default=0)
        promised = STEPS if job.status == "completed" else acked
        lost += len(set(range(1, promised + 1)) - set(steps))
        doubled += len(steps) - len(set(steps))
    return lost, doubled


def rows_with(secret: str) -> int:
    """Rows of any table in which the secret stands, in text or as bytes."""
    found = 0
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(
                f'SELECT count(*) FROM "{table}" AS row WHERE row::text LIKE %s OR row::text LIKE %s',
                [f"%{secret}%", f"%{secret.encode().hex()}%"],
            )
            found += cursor.fetchone()[0]
    return found


def main(canary: str) -> None:
    lost, doubled = metrics()
    problems = []
    try:
        invariants.always({})
    except AssertionError as error:
        problems.append(str(error).partition("\n")[0])
    closed = [state.value for state in ATTEMPT_CLOSED]
    print(
        json.dumps(
            {
                "jobs": Job.objects.count(),
                "unfinished": Job.objects.exclude(status__in=[s.value for s in TERMINAL]).count(),
                "open_attempts": Attempt.objects.exclude(state__in=closed).count(),
                "without_evidence": Attempt.objects.filter(state=AttemptState.GONE, gone_evidence="").count(),
                "attempts": Attempt.objects.count(),
                "endings": sorted(Job.objects.values_list("status", "reason")),
                "lost": lost,
                "doubled": doubled,
                "secrets": rows_with(canary),
                "sealed": Credential.objects.count(),
                "problems": problems,
                "costs": {
                    str(job.pk.hex[:12]): [float(job.current_cost), float(job.budget_limit or 0)]
                    for job in Job.objects.filter(provider="runpod")
                },
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
