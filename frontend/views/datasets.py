from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from datasets.models import Dataset
from frontend.reports import bars
from frontend.views.search import search_text

PAGE_SIZE = 25
SHOWN_JOBS = 10


@login_required
@never_cache
@require_GET
def dataset_list(request: HttpRequest) -> HttpResponse:
    text = search_text(request)
    mine = Dataset.objects.for_user(request.user).without_report().select_related("validation_for")
    found = mine.filter(name__icontains=text) if text else mine
    page = Paginator(found.annotate(job_count=Count("jobs")).order_by("-created_at", "id"), PAGE_SIZE)
    context = {"page": page.get_page(request.GET.get("page")), "q": text, "has_any": bool(text) or bool(page.count)}
    return render(request, "frontend/datasets.html", context)


@login_required
@never_cache
@require_GET
def upload(request: HttpRequest) -> HttpResponse:
    mine = Dataset.objects.for_user(request.user).without_report().filter(validation_for=None)
    context = {"training_sets": mine, "wanted": request.GET.get("validation_for", "")}
    return render(request, "frontend/upload.html", context)


@login_required
@never_cache
@require_GET
def dataset_page(request: HttpRequest, dataset_id: UUID) -> HttpResponse:
    """The whole page, or with the header X-Fragment only what changes while the file is checked."""
    dataset = get_object_or_404(Dataset.objects.for_user(request.user).select_related("validation_for"), pk=dataset_id)
    report = dataset.report if not dataset.is_being_checked else {}
    context = {
        "dataset": dataset,
        "report": report,
        "histogram": bars((report.get("tokens") or {}).get("histogram") or []),
        "jobs": dataset.jobs.order_by("-created_at")[:SHOWN_JOBS],
        "validation_sets": dataset.validation_sets.without_report(),
    }
    name = "dataset_fragment" if request.headers.get("X-Fragment") else "dataset"
    return render(request, f"frontend/{name}.html", context)
