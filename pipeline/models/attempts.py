from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q

from pipeline.states import ATTEMPT_CLOSED, AttemptState, EndReason


class Attempt(models.Model):
    """One rental of one machine for a job. The row is committed before the provider is asked for anything."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    job = models.ForeignKey("pipeline.Job", on_delete=models.CASCADE, related_name="attempts")
    n = models.PositiveSmallIntegerField(help_text="1 for the first attempt of a job.")
    name = models.CharField(max_length=63, unique=True, help_text="The machine's name at the provider, chosen by us.")
    provider = models.CharField(max_length=32)
    # The account it is rented in; null where the provider has only one, the installation's. Kept while it may run.
    credential = models.ForeignKey(
        "pipeline.Credential", on_delete=models.PROTECT, null=True, blank=True, related_name="attempts"
    )
    gpu_type = models.CharField(max_length=120, blank=True, help_text="What the provider gave, where it tells.")
    state = models.CharField(max_length=16, choices=AttemptState.choices, default=AttemptState.INTENT)
    external_id = models.CharField(max_length=200, blank=True)
    price_per_hour = models.DecimalField(max_digits=12, decimal_places=6, default=0)

    # Kept after the end, so that a late call of an ended attempt can be told from a wrong token.
    token_hash = models.CharField(max_length=64, unique=True, null=True, blank=True, editable=False)
    # Where others can read a machine's environment, it holds this token, good for one exchange (pipeline.bootstrap).
    bootstrap_hash = models.CharField(max_length=64, unique=True, null=True, blank=True, editable=False)
    bootstrap_until = models.DateTimeField(null=True, blank=True, editable=False)
    bootstrap_nonce = models.CharField(max_length=64, blank=True, editable=False, help_text="Hash of who exchanged it.")
    created_at = models.DateTimeField(auto_now_add=True)
    # Set when the provider was asked and the answer was not understood: nobody knows whether a machine exists.
    create_unknown_since = models.DateTimeField(null=True, blank=True)
    machine_seen_at = models.DateTimeField(
        null=True, blank=True, help_text="First time the provider showed the machine."
    )
    running_seen_at = models.DateTimeField(
        null=True, blank=True, help_text="First time the provider said that it runs."
    )
    exited_seen_at = models.DateTimeField(
        null=True, blank=True, help_text="First time it had ended by itself and was still there."
    )
    list_misses = models.PositiveSmallIntegerField(
        default=0, help_text="Looks in a row that worked and did not show it."
    )
    first_missed_at = models.DateTimeField(null=True, blank=True)
    first_contact_at = models.DateTimeField(null=True, blank=True)
    last_seen_at = models.DateTimeField(null=True, blank=True, help_text="Last call of the program, by our clock.")
    acked_n = models.PositiveBigIntegerField(default=0, help_text="All event lines up to this number are stored.")

    reported_step = models.BigIntegerField(default=0, help_text="Last step stored from a provider's own reports.")

    # What the program said last, believed only together with evidence that the machine is gone.
    outcome = models.CharField(max_length=16, blank=True)
    outcome_reason = models.CharField(max_length=32, blank=True)
    outcome_at = models.DateTimeField(null=True, blank=True)

    stop_sent_at = models.DateTimeField(null=True, blank=True)
    stop_acknowledged_at = models.DateTimeField(
        null=True, blank=True, help_text="First time the provider said yes to a stop order. Not evidence by itself."
    )
    stop_alerted_at = models.DateTimeField(null=True, blank=True, editable=False)
    forced_by = models.CharField(
        max_length=150, blank=True, help_text="User name of the operator who ordered its end without grace."
    )
    metered_until = models.DateTimeField(null=True, blank=True)
    invoiced = models.DecimalField(
        max_digits=14,
        decimal_places=6,
        null=True,
        blank=True,
        help_text="What the provider charged so far, US dollars.",
    )
    invoice_checked_at = models.DateTimeField(null=True, blank=True)
    invoice_settled = models.BooleanField(default=False, help_text="Asked often enough: the invoice is final.")
    reason = models.CharField(max_length=32, blank=True, choices=EndReason.choices)
    exit_code = models.IntegerField(null=True, blank=True)
    error_message = models.TextField(blank=True)
    error_stack = models.TextField(blank=True)
    gone_at = models.DateTimeField(null=True, blank=True)
    gone_evidence = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["job", "n"]
        constraints = [
            models.UniqueConstraint(fields=["job", "n"], name="attempt_number_once"),
            # The database itself refuses a second machine for a job.
            models.UniqueConstraint(
                fields=["job"],
                condition=~Q(state__in=[s.value for s in sorted(ATTEMPT_CLOSED)]),
                name="attempt_one_live",
            ),
            models.CheckConstraint(condition=Q(state__in=AttemptState.values), name="attempt_state_known"),
            models.CheckConstraint(
                condition=~Q(state=AttemptState.GONE)
                | (Q(gone_at__isnull=False) & ~Q(gone_evidence="") & ~Q(reason="")),
                name="attempt_gone_has_evidence",
            ),
        ]
        indexes = [
            models.Index(
                fields=["provider"],
                condition=~Q(state__in=[s.value for s in sorted(ATTEMPT_CLOSED)]),
                name="attempt_open_by_provider",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_open(self) -> bool:
        return self.state not in ATTEMPT_CLOSED


class CallOutcome(models.TextChoices):
    PENDING = "pending", "No answer yet"
    OK = "ok", "Done"
    DEFINITE_NO = "definite_no", "Refused, nothing changed"
    UNKNOWN = "unknown", "Answer lost or not understood"


class ProviderCall(models.Model):
    """Every call that may change something outside: written before it is made, completed after. The audit trail."""

    id = models.BigAutoField(primary_key=True)
    attempt = models.ForeignKey(Attempt, on_delete=models.CASCADE, null=True, blank=True, related_name="calls")
    # Machines that belong to no attempt are ended too.
    sighting = models.ForeignKey(
        "pipeline.MachineSighting", on_delete=models.CASCADE, null=True, blank=True, related_name="calls"
    )
    actor = models.CharField(
        max_length=150, blank=True, help_text="User name of the person who ordered it, if one did."
    )
    op = models.CharField(max_length=16)  # create | stop
    outcome = models.CharField(max_length=16, choices=CallOutcome.choices, default=CallOutcome.PENDING)
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    request_id = models.CharField(max_length=120, blank=True)
    detail = models.TextField(blank=True)
    started_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(op__in=["create", "stop"]), name="call_op_known"),
            models.CheckConstraint(condition=Q(outcome__in=CallOutcome.values), name="call_outcome_known"),
            models.CheckConstraint(
                condition=Q(attempt__isnull=False) | Q(sighting__isnull=False), name="call_about_a_machine"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.op} {self.attempt_id}: {self.outcome}"
