from __future__ import annotations

from urllib.parse import quote
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from frontend import comparing
from pipeline.models import Job


@login_required
@never_cache
@require_GET
def compare(request: HttpRequest) -> HttpResponse:
    """?ids=<job id>,<job id>,...: two to eight of one's own jobs. &add=<job id> leads to the page with it."""
    asked = [part.strip() for part in request.GET.get("ids", "").split(",") if part.strip()]
    if request.GET.get("add"):
        longer = ",".join(dict.fromkeys([*asked, request.GET["add"]]))
        return HttpResponseRedirect(f"{reverse('frontend:compare')}?ids={quote(longer, safe=',')}")
    try:
        ids = list(dict.fromkeys(UUID(one) for one in asked))
    except ValueError:
        raise Http404 from None
    shown = ids[: comparing.MOST]
    found = {
        job.pk: job
        for job in Job.objects.for_user(request.user)
        .filter(pk__in=ids)
        .with_attempt()
        .select_related("dataset", "eval_dataset", "preset")
    }
    if len(found) < len(ids):
        raise Http404
    context = comparing.context([found[job_id] for job_id in shown])
    context |= {
        "left_out": len(ids) - len(shown),
        "most": comparing.MOST,
        "others": comparing.others(request.user, ids),
    }
    return render(request, "frontend/compare.html", context)
