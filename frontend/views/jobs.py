from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from frontend import catalogue, job_filters
from frontend.job_filters import Filters
from pipeline.invoices import compared
from pipeline.live.state import job_state
from pipeline.models import ArtifactState, Job
from pipeline.situation import situation
from pipeline.states import ACTIVE, JobStatus

PAGE_SIZE = 20

# What a chip above the list shows: its name in the address, its label, and the statuses behind it.
FILTERS: tuple[tuple[str, str, frozenset[str]], ...] = (
    ("", "All", frozenset(JobStatus.values)),
    ("active", "Active", frozenset(s.value for s in ACTIVE)),
    ("pending", "Saved", frozenset({JobStatus.PENDING.value})),
    ("completed", "Completed", frozenset({JobStatus.COMPLETED.value})),
    ("failed", "Failed", frozenset({JobStatus.FAILED.value})),
    ("cancelled", "Cancelled", frozenset({JobStatus.CANCELLED.value})),
)
SORTS = {
    "-created_at": "Newest first",
    "created_at": "Oldest first",
    "name": "Name",
    "-current_cost": "Cost, highest first",
    "-progress": "Progress, furthest first",
}


@login_required
@never_cache
@require_GET
def job_list(request: HttpRequest) -> HttpResponse:
    """The whole page, or with the header X-Fragment only the list, as fetched when filters or jobs change."""
    status = request.GET.get("status", "")
    chosen = next((filter_ for filter_ in FILTERS if filter_[0] == status), FILTERS[0])
    sort = request.GET.get("sort", "")
    sort = sort if sort in SORTS else "-created_at"
    filters = Filters.of(request)
    mine = Job.objects.for_user(request.user)
    found = filters.apply(mine)
    jobs = found.filter(status__in=chosen[2]).with_attempt().order_by(sort, "pk")
    page = Paginator(jobs, PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "chips": _chips(found, chosen[0]),
        "status": chosen[0],
        "status_word": chosen[1].lower(),
        "filters": filters,
        "choices": job_filters.choices(request.user),
        "sort": sort,
        "sorts": SORTS.items(),
        "page": page,
        "jobs": [job_state(job) for job in page],
        "csv_query": filters.api_query(chosen[2] if chosen[0] else (), sort),
        "has_any": bool(page.paginator.count) or mine.exists(),
    }
    if not context["has_any"]:
        context["has_dataset"] = catalogue.has_ready_dataset(request.user)
    name = "job_list_fragment" if request.headers.get("X-Fragment") else "jobs"
    return render(request, f"frontend/{name}.html", context)


def _chips(jobs: QuerySet[Job], chosen: str) -> list[dict[str, Any]]:
    counts = dict(jobs.order_by().values_list("status").annotate(n=Count("pk")))
    return [
        {"name": name, "label": label, "n": sum(counts.get(one, 0) for one in statuses), "current": name == chosen}
        for name, label, statuses in FILTERS
    ]


@login_required
@never_cache
@require_GET
def new_job(request: HttpRequest) -> HttpResponse:
    """?dataset=<id> chooses one, ?clone=<job id> takes over everything a job was made with."""
    return render(request, "frontend/new_job.html", catalogue.new_job_context(request))


@login_required
@never_cache
@require_GET
def job_page(request: HttpRequest, job_id: UUID) -> HttpResponse:
    job = get_object_or_404(
        Job.objects.for_user(request.user).with_attempt().select_related("dataset", "eval_dataset", "preset"), pk=job_id
    )
    state = job_state(job)
    context = {
        "job": state,
        "record": job,
        "groups": catalogue.hyperparameter_groups(job.hyperparameters),
        "bill": compared(job),
        "changed": catalogue.changed_from_preset(job),
        "situation": [asdict(note) for note in situation(job)],
        "stored_files": job.artifacts.filter(state=ArtifactState.STORED).count(),
    }
    return render(request, "frontend/job.html", context)
