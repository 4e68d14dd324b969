"""The pages on which an operator orders an end without grace, or closes an attempt whose provider is gone."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextareaWidget

from pipeline.models import Attempt, Job
from pipeline.querysets import JobQuerySet
from pipeline.services import forcing
from pipeline.services.errors import Refusal

SURE = "sure"


def force_page(model_admin: ModelAdmin, request: HttpRequest, jobs: JobQuerySet) -> HttpResponse | None:
    """Ask whether the operator is sure; once they are, order the ends, say what came of each, and return None."""
    if request.POST.get(SURE):
        for job in jobs:
            _force(model_admin, request, job)
        return None
    context = model_admin.admin_site.each_context(request) | {
        "title": "End machines without grace?",
        "opts": Job._meta,
        "jobs": jobs.select_related("owner").with_attempt(),
        "sure": SURE,
    }
    return TemplateResponse(request, "admin/pipeline/force.html", context)


def _force(model_admin: ModelAdmin, request: HttpRequest, job: Job) -> None:
    try:
        ordered = forcing.end_at_once(job.pk, actor=request.user.get_username())
    except (Refusal, Job.DoesNotExist) as refusal:
        model_admin.message_user(request, f"{job.name}: {refusal}", messages.WARNING)
    else:
        said = "its end without grace is ordered." if ordered else "that was ordered before; it is repeated."
        model_admin.message_user(request, f"{job.name}: {said}", messages.SUCCESS)


class WordForm(forms.Form):
    """The operator's statement that a machine is gone, in their own words."""

    evidence = forms.CharField(
        label="How you know that the machine is gone",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Where you looked, when, and what you saw. It is kept under your name.",
    )


def close_page(model_admin: ModelAdmin, request: HttpRequest, attempt: Attempt) -> HttpResponse:
    form = WordForm(request.POST or None)
    page = reverse("admin:pipeline_attempt_change", args=[attempt.pk])
    if request.method == "POST" and form.is_valid():
        try:
            forcing.close_on_word(attempt, form.cleaned_data["evidence"], actor=request.user.get_username())
        except Refusal as refusal:
            form.add_error(None, str(refusal))
        else:
            model_admin.message_user(request, f"{attempt.name}: closed on your word.", messages.SUCCESS)
            return HttpResponseRedirect(page)
    context: dict[str, Any] = model_admin.admin_site.each_context(request) | {
        "title": "Close it on your word?",
        "opts": Attempt._meta,
        "attempt": attempt,
        "back": page,
        "form": form,
    }
    return TemplateResponse(request, "admin/pipeline/close.html", context)
