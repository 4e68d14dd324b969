from __future__ import annotations

import uuid
from typing import Any, Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q

from pipeline import rule_kinds
from pipeline.rule_kinds import RuleAction, RuleKind


class RuleQuerySet(models.QuerySet["Rule"]):
    def for_user(self, user: Any) -> Self:
        """A person's own: their defaults and those of their jobs. Presets' rules are everybody's and nobody's."""
        if not getattr(user, "is_authenticated", False):
            return self.none()
        return self.filter(owner=user)

    def defaults_of(self, user: Any) -> Self:
        return self.for_user(user).filter(job=None)


class Rule(models.Model):
    """When this happens to a job, do that. A job has rules of its own, copied when it is made.

    Copied from: a preset's rules, which have no owner, and its owner's defaults, which have no job.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="rules"
    )
    job = models.ForeignKey("pipeline.Job", on_delete=models.CASCADE, null=True, blank=True, related_name="rules")
    preset = models.ForeignKey("pipeline.Preset", on_delete=models.CASCADE, null=True, blank=True, related_name="rules")
    built_in = models.BooleanField(
        default=False, editable=False, help_text="Everybody has it; it is switched off instead of deleted."
    )

    kind = models.CharField(max_length=32, choices=RuleKind.choices)
    parameters = models.JSONField(default=dict, blank=True, help_text="Complete, as its kind has them.")
    action = models.CharField(max_length=16, choices=RuleAction.choices, default=RuleAction.NOTIFY)
    enabled = models.BooleanField(default=True)
    # Counts changes by people. Whoever changes an older version than there is would undo somebody's change unseen.
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    # What follows is about one job and written by `pipeline.services.ruling`. A rule looks at what comes after this
    # number of its job's sequence: the one at which it was made, changed, or armed again.
    armed_seq = models.PositiveBigIntegerField(default=0, editable=False)
    checked_seq = models.PositiveBigIntegerField(default=0, editable=False)
    checked_attempt = models.PositiveSmallIntegerField(default=0, editable=False)
    checked_step = models.PositiveBigIntegerField(default=0, editable=False)
    checked_at = models.DateTimeField(null=True, blank=True, editable=False)
    standing_since = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Since when the job has been at the same step."
    )
    waiting = models.BooleanField(default=False, editable=False, help_text="Nothing can be concluded yet.")
    saw = models.CharField(max_length=300, blank=True, editable=False)
    fired_at = models.DateTimeField(null=True, blank=True, editable=False)
    fired_step = models.PositiveBigIntegerField(null=True, blank=True, editable=False)

    objects = RuleQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=RuleKind.values), name="rule_kind_known"),
            models.CheckConstraint(condition=Q(action__in=RuleAction.values), name="rule_action_known"),
            models.CheckConstraint(
                condition=Q(owner__isnull=False, preset=None) | Q(owner=None, job=None, preset__isnull=False),
                name="rule_of_one",
            ),
            models.UniqueConstraint(
                fields=["owner", "kind"], condition=Q(built_in=True, job=None), name="rule_built_in_once"
            ),
        ]
        indexes = [
            models.Index(fields=["owner"], condition=Q(job=None), name="rule_defaults"),
            # The periodic look asks: which rules of live jobs may still fire?
            models.Index(fields=["job"], condition=Q(enabled=True, fired_at=None), name="rule_armed"),
        ]

    def __str__(self) -> str:
        return self.sentence

    def clean(self) -> None:
        if self.kind not in RuleKind.values:
            return
        values, errors = rule_kinds.validate(RuleKind(self.kind), self.parameters)
        if errors:
            raise ValidationError({"parameters": [f"{name}: {text}" if name else text for name, text in errors]})
        self.parameters = values

    @property
    def sentence(self) -> str:
        return rule_kinds.sentence(RuleKind(self.kind), self.parameters, RuleAction(self.action))
