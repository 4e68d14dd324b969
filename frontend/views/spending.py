from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from frontend.job_filters import day
from pipeline import holds
from pipeline.costs import simulated_providers
from pipeline.spending import By, Row, Span, simulated_total, spending, total

MOST_JOBS = 100
LONGEST_BY_DAY = 124  # days; longer spans are drawn a month a bar


@login_required
@never_cache
@require_GET
def spending_page(request: HttpRequest) -> HttpResponse:
    """The whole page, or with the header X-Fragment only how this month stands. ?from= and ?to= choose other days."""
    owner_id = request.user.pk
    assert owner_id is not None
    month = holds.month_of(owner_id)
    if request.headers.get("X-Fragment"):
        return render(request, "frontend/spending/month.html", _month(month))
    ranges = _ranges(timezone.now().astimezone(UTC).date())
    first, last = day(request.GET.get("from")), day(request.GET.get("to"))
    span = Span(first or ranges[0][1].first, last or ranges[0][1].last)
    reversed_ = span.first > span.last
    if reversed_:
        span = Span(span.last, span.first)
    days = spending(span, By.DAY_PROVIDER, owner_id)
    jobs = spending(span, By.JOB, owner_id, limit=MOST_JOBS + 1)
    context = _month(month) | {
        "span": span,
        "ranges": [(label, one, one == span) for label, one in ranges],
        "custom": all(one != span for _, one in ranges),
        "reversed": reversed_,
        "total": total(days),
        "simulated": simulated_total(days),
        "providers": spending(span, By.PROVIDER, owner_id),
        "jobs": jobs[:MOST_JOBS],
        "more_jobs": len(jobs) > MOST_JOBS,
        "simulated_providers": simulated_providers(),
        "chart": chart(days, span),
        "days": [row for row in days if row.amount],
    }
    return render(request, "frontend/spending.html", context)


def _month(month: holds.Month) -> dict[str, Any]:
    """The month, and its bar in per cent of the limit, or of what is spent and held where that is more."""
    whole = max(month.limit or Decimal(0), month.spent + month.held)
    share = (lambda amount: float(100 * amount / whole)) if whole else (lambda amount: 0.0)
    return {
        "month": month,
        "bar": {"spent": share(month.spent), "held": share(month.held), "held_from": share(month.spent)},
        "used_up": month.limit is not None and month.spent >= month.limit,
        "too_fast": month.limit is not None and month.limit > month.spent and month.projected > month.limit,
    }


def _ranges(today: date) -> list[tuple[str, Span]]:
    this_month = Span.this_month()
    end = this_month.first - timedelta(days=1)
    return [
        ("This month", this_month),
        ("Last month", Span(end.replace(day=1), end)),
        ("Last 90 days", Span(today - timedelta(days=89), today)),
    ]


def chart(rows: Sequence[Row], span: Span) -> dict[str, Any]:
    """{"unit", "days": [...], "providers": [{"name", "amounts"}]}: a bar a day, or a month of a long span, no gaps.

    Real money only: what is simulated would hide it.
    """
    by_month = (span.last - span.first).days >= LONGEST_BY_DAY
    bars = [str(one) for one in (_months(span) if by_month else _days(span))]
    sums: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for row in rows:
        if row.amount:
            sums[row.label][f"{row.key[:7]}-01" if by_month else row.key] += row.amount
    return {
        "unit": "month" if by_month else "day",
        "days": bars,
        "providers": [
            {"name": name, "amounts": [float(amounts.get(bar, 0)) for bar in bars]}
            for name, amounts in sorted(sums.items())
        ],
    }


def _days(span: Span) -> Iterator[date]:
    for number in range((span.last - span.first).days + 1):
        yield span.first + timedelta(days=number)


def _months(span: Span) -> Iterator[date]:
    first = span.first.replace(day=1)
    while first <= span.last:
        yield first
        first = (first + timedelta(days=32)).replace(day=1)
