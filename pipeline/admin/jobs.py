from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import BooleanField, Case, Value, When
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import action, display

from pipeline import invoices
from pipeline.admin.attempts import calls_table
from pipeline.admin.forcing import force_page
from pipeline.admin.parts import (
    STATUS_COLOURS,
    ShownInline,
    money,
    names_of,
    table,
)
from pipeline.budgets import change_budget
from pipeline.live.state import job_state
from pipeline.models import Attempt, CostRecord, Job, JobEvent
from pipeline.models.telemetry import METRIC_COLUMNS
from pipeline.querysets import JobQuerySet
from pipeline.services import observation, reprocessing
from pipeline.services.errors import Refusal
from pipeline.services.jobs import delete_job, request_cancel, retry_job, start_job
from pipeline.states import ACTIVE, TERMINAL
from pipeline.transitions import allocate

# What an operator may change while the job lives. The rest says what was asked for, or what has happened.
EDITABLE = ("name", "priority", "budget_limit", "max_duration", "max_attempts")
LIMITS = {"budget_limit", "max_duration"}  # changed together, under the lock that admits jobs
NEWEST_POINTS = 10
SHOWN_METRICS = ("loss", "eval_loss", "learning_rate", "grad_norm", "tokens_per_second", "gpu_memory_allocated_gb")


class AttemptInline(ShownInline):
    model = Attempt
    fields = readonly_fields = (
        "n",
        "state",
        "external_id",
        "reason",
        "price_per_hour",
        "last_seen_at",
        "gone_evidence",
    )
    ordering = ("-n",)


class EventInline(ShownInline):
    model = JobEvent
    fields = readonly_fields = ("seq", "created_at", "kind", "level", "message", "attempt", "actor")
    ordering = ("-seq",)


class CostInline(ShownInline):
    model = CostRecord
    fields = readonly_fields = ("period_start", "period_end", "seconds", "price_per_hour", "amount", "kind")
    ordering = ("-period_start",)


@admin.register(Job)
class JobAdmin(ModelAdmin):
    list_display = (
        "name", "owner", "shown_status", "current_stage", "shown_progress", "provider", "gpu_type",
        "shown_cost", "created_at", "live",
    )  # fmt: skip
    list_select_related = ("owner",)
    list_filter = (
        ("status", ChoicesDropdownFilter),
        ("reason", ChoicesDropdownFilter),
        "provider",
        ("owner", AutocompleteSelectFilter),
    )
    list_filter_submit = True
    list_per_page = 50
    search_fields = ("name", "id", "base_model", "owner__username", "attempts__external_id")
    search_help_text = "Name, id, base model, owner, or the machine's id at the provider"
    date_hierarchy = "created_at"
    raw_id_fields = ("owner", "dataset", "eval_dataset")
    actions = ("cancel", "force", "start", "retry", "resync", "reprocess", "delete_jobs")
    view_on_site = False
    actions_submit_line = ("cancel_this", "start_this", "resync_this", "reprocess_this")
    actions_detail = ("force_this",)
    inlines = (AttemptInline, EventInline, CostInline)
    readonly_fields = (
        *names_of(Job, *EDITABLE),
        "shown_cost", "shown_projection", "shown_estimate", "shown_invoice", "newest_points", "provider_calls", "live",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("name", "status", "current_stage", "stage_detail", "live", "owner", "created_at")}),
        (
            "Progress",
            {
                "fields": (
                    ("progress", "current_step", "total_steps"), ("current_epoch", "total_epochs", "eta_seconds"),
                    "newest_points",
                )
            },
        ),
        (
            "Money and limits",
            {
                "fields": (
                    ("shown_cost", "shown_projection", "shown_estimate"), ("final_cost", "shown_invoice"),
                    ("price_per_hour", "cost_limit"), *EDITABLE[1:],
                )
            },
        ),
        (
            "What was asked for",
            {
                "classes": ("collapse",),
                "fields": (
                    "base_model", "dataset", "eval_dataset", "preset",
                    ("provider", "gpu_type", "gpu_count", "cloud"), "hyperparameters", "plan",
                ),
            },
        ),
        (
            "Ending",
            {
                "fields": (
                    "reason", "error_message", "error_stack", "artifact",
                    ("desired", "stop_reason", "stop_requested_at"),
                )
            },
        ),
        (
            "Times and machinery",
            {
                "classes": ("collapse",),
                "fields": (
                    ("queued_at", "started_at", "completed_at", "updated_at"),
                    ("event_seq", "next_check_at", "lease_until"), "pruned_at", "provider_calls",
                ),
            },
        ),
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> JobQuerySet:
        # The page of a job is its owner's: to everybody else, operators too, it does not exist.
        own = Case(When(owner_id=request.user.pk, then=Value(True)), default=Value(False), output_field=BooleanField())
        return super().get_queryset(request).with_attempt().annotate(is_own=own)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Jobs are made by the form and the API, which check data, machine and limits first."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Not Django's way, which would delete a job whose machine still runs: see the action below."""
        return False

    def save_model(self, request: HttpRequest, obj: Job, form: ModelForm[Job], change: bool) -> None:
        """Write the changed fields only: the rest of the row has moved on since the page was opened."""
        changed = {name: form.cleaned_data[name] for name in form.changed_data if name in EDITABLE}
        limits: Any = {name: changed.pop(name) for name in LIMITS & changed.keys()}
        if changed:
            with transaction.atomic():
                allocate(obj.pk)  # tells open pages
                Job.objects.filter(pk=obj.pk).update(**changed)
        if limits:
            actor = request.user.get_username()
            self._do(request, obj, lambda job: change_budget(job.pk, limits, actor=actor), "limits changed.")
        for button in self.get_actions_submit_line(request, obj.pk):
            if button.action_name in request.POST:
                button.method(request, obj)

    # Columns and fields

    @display(description="Status", ordering="status", label=STATUS_COLOURS)
    def shown_status(self, job: Job) -> tuple[str, str]:
        return job.status, job.get_status_display()

    @display(description="Progress", ordering="progress")
    def shown_progress(self, job: Job) -> str:
        steps = f" ({job.current_step}/{job.total_steps})" if job.total_steps else ""
        return f"{job.progress:.0f} %{steps}"

    @display(description="Cost", ordering="current_cost")
    def shown_cost(self, job: Job) -> str:
        return money(job_state(job)["current_cost"])

    @display(description="Estimated when made")
    def shown_estimate(self, job: Job) -> str:
        return f"{money(job.estimated_cost)} ({job.estimate.get('confidence') or 'none'})"

    @display(description="At this pace")
    def shown_projection(self, job: Job) -> str:
        return money(job_state(job)["projected_cost"])

    @display(description="Invoiced, and its drift")
    def shown_invoice(self, job: Job) -> str:
        bill = invoices.compared(job)
        return "–" if bill.invoiced is None else f"{money(bill.invoiced)} ({money(bill.drift)})"

    @display(description="Page")
    def live(self, job: Job) -> SafeString | str:
        if not getattr(job, "is_own", False):
            return "–"
        return format_html(
            '<a href="{}" class="text-primary-600">{}</a>', job.get_absolute_url(), "Watch" if job.is_active else "Open"
        )

    @display(description="Newest points")
    def newest_points(self, job: Job) -> SafeString:
        names = [name for name in SHOWN_METRICS if name in METRIC_COLUMNS]
        points = job.metric_points.order_by("-step")[:NEWEST_POINTS]
        rows = [
            [point.step, *((point.nonfinite or {}).get(name, getattr(point, name)) for name in names)]
            for point in points
        ]
        return table(["step", *names], rows, "No metrics yet.")

    @display(description="Calls to the provider")
    def provider_calls(self, job: Job) -> SafeString:
        return calls_table(attempt__job=job)

    # Actions on chosen rows

    @action(description="Cancel", permissions=["change"])
    def cancel(self, request: HttpRequest, jobs: JobQuerySet) -> None:
        for job in jobs:
            self._cancel(request, job)

    @action(description="End the machine at once, without grace", permissions=["change"])
    def force(self, request: HttpRequest, jobs: JobQuerySet) -> HttpResponse | None:
        return force_page(self, request, jobs)

    @action(description="Start", permissions=["change"])
    def start(self, request: HttpRequest, jobs: JobQuerySet) -> None:
        for job in jobs:
            self._start(request, job)

    @action(description="Try again, as new jobs", permissions=["change"])
    def retry(self, request: HttpRequest, jobs: JobQuerySet) -> None:
        for job in jobs:
            self._do(request, job, lambda job: f"tried again as {retry_job(job).pk}.")

    @action(description="Look at the provider now (resync)", permissions=["change"])
    def resync(self, request: HttpRequest, jobs: JobQuerySet) -> None:
        self._resync(request, list(jobs))

    @action(description="Reprocess (ended jobs): costs, numbers, files", permissions=["change"])
    def reprocess(self, request: HttpRequest, jobs: JobQuerySet) -> None:
        for job in jobs:
            self._reprocess(request, job)

    @action(description="Delete (saved or ended jobs)", permissions=["change"])
    def delete_jobs(self, request: HttpRequest, jobs: JobQuerySet) -> None:
        for job in jobs:
            self._do(request, job, lambda job: self._delete(request, job), "deleted.")

    # Buttons on the page of one job

    @action(description="Cancel job", permissions=["is_active"])
    def cancel_this(self, request: HttpRequest, job: Job) -> None:
        self._cancel(request, job)

    @action(description="Start job", permissions=["is_saved"])
    def start_this(self, request: HttpRequest, job: Job) -> None:
        self._start(request, job)

    @action(description="Look at the provider now", permissions=["is_active"])
    def resync_this(self, request: HttpRequest, job: Job) -> None:
        self._resync(request, [job])

    @action(description="Reprocess", permissions=["has_ended"])
    def reprocess_this(self, request: HttpRequest, job: Job) -> None:
        self._reprocess(request, job)

    @action(description="End the machine without grace", permissions=["is_active"], url_path="force")
    def force_this(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        page = force_page(self, request, Job.objects.filter(pk=object_id))
        return page or HttpResponseRedirect(reverse("admin:pipeline_job_change", args=[object_id]))

    def has_is_active_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self._may_change(request, object_id, ACTIVE)

    def has_has_ended_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self._may_change(request, object_id, TERMINAL)

    def has_is_saved_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self._may_change(request, object_id, {"pending"})

    def _may_change(self, request: HttpRequest, object_id: UUID | str | None, statuses: Iterable[str]) -> bool:
        """Which buttons a page has. Unfold asks again when one was pressed, without an id: then the service decides."""
        if not self.has_change_permission(request):
            return False
        wanted = [str(status) for status in statuses]
        return object_id is None or Job.objects.filter(pk=object_id, status__in=wanted).exists()

    # What both do

    def _cancel(self, request: HttpRequest, job: Job) -> None:
        def cancel(job: Job) -> str:
            ordered = request_cancel(job.pk, actor=request.user.get_username())
            return "cancellation ordered." if ordered else "was being cancelled already."

        self._do(request, job, cancel)

    def _start(self, request: HttpRequest, job: Job) -> None:
        self._do(request, job, lambda job: start_job(job.pk, actor=request.user.get_username()), "queued.")

    def _reprocess(self, request: HttpRequest, job: Job) -> None:
        def again(job: Job) -> str:
            found = reprocessing.reprocess(job.pk, actor=request.user.get_username())
            return " ".join([*found.mended, *found.problems]) or "all of it was right."

        self._do(request, job, again)

    def _delete(self, request: HttpRequest, job: Job) -> None:
        with transaction.atomic():
            self.log_deletions(request, [job])
            delete_job(job.pk)

    def _do(self, request: HttpRequest, job: Job, what: Callable[[Job], str | None], done: str = "") -> None:
        try:
            said = what(job)
        except Refusal as refusal:
            self.message_user(request, f"{job.name}: {refusal}", messages.WARNING)
        except Job.DoesNotExist:
            self.message_user(request, f"{job.name}: was deleted meanwhile.", messages.WARNING)
        else:
            self.message_user(request, f"{job.name}: {said or done}", messages.SUCCESS)

    def _resync(self, request: HttpRequest, jobs: list[Job]) -> None:
        before = {job.pk: job.status for job in jobs}
        seen = observation.resync(before)
        after = Job.objects.in_bulk(before)
        for job in jobs:
            now = after.get(job.pk)
            if now is None or job.pk not in seen:
                self.message_user(request, f"{job.name}: has no machine to look at now.", messages.WARNING)
            else:
                change = "" if now.status == before[job.pk] else f" (was {before[job.pk]})"
                self.message_user(request, f"{job.name}: {now.get_status_display().lower()}{change}.", messages.SUCCESS)
