"""People's accounts at providers, and every machine that was ever seen there."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

LIVE_SIGHTING = Q(gone_at=None)


class CredentialQuerySet(models.QuerySet["Credential"]):
    def for_user(self, user: Any) -> CredentialQuerySet:
        """A person's own credentials. Everyone else's do not exist for them."""
        if not getattr(user, "is_authenticated", False):
            return self.none()
        return self.filter(owner_id=user.pk)


class Credential(models.Model):
    """What opens a person's account at a provider. The secret is stored encrypted and never shown again."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="credentials")
    provider = models.CharField(max_length=32)
    # pipeline.vault: version, key id, nonce and ciphertext, bound to this row and its owner.
    secret = models.BinaryField(editable=False)
    hint = models.CharField(max_length=12, blank=True, editable=False, help_text="The last characters of the secret.")
    base_url = models.URLField(blank=True, help_text="Where the account is; blank: the provider's own address.")
    options = models.JSONField(default=dict, blank=True)
    account_name = models.CharField(max_length=120, blank=True, help_text="What the provider calls the account.")

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    checked_at = models.DateTimeField(null=True, blank=True, help_text="Last time the provider accepted it.")
    problem = models.CharField(max_length=300, blank=True, help_text="Why it does not work now, as a sentence.")
    balance = models.DecimalField(max_digits=12, decimal_places=4, null=True, blank=True, help_text="US dollars left")
    spend_per_hour = models.DecimalField(max_digits=12, decimal_places=4, null=True, blank=True)
    balance_at = models.DateTimeField(null=True, blank=True)

    objects = CredentialQuerySet.as_manager()

    class Meta:
        ordering = ["owner", "provider"]
        constraints = [
            models.UniqueConstraint(fields=["owner", "provider"], name="credential_one_per_provider"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} (…{self.hint})"


class MachineSighting(models.Model):
    """One machine at a provider that bears our prefix, as the sweep saw it. What is not gone may be burning money."""

    class Verdict(models.TextChoices):
        OWNED = "owned", "Belongs to an attempt"
        ORPHAN = "orphan", "Belongs to nobody"
        STRANGE = "strange", "Bears our prefix, but no name we give"  # shown, never ended by itself

    id = models.BigAutoField(primary_key=True)
    provider = models.CharField(max_length=32)
    credential = models.ForeignKey(
        Credential, on_delete=models.PROTECT, null=True, blank=True, related_name="sightings"
    )
    name = models.CharField(max_length=200)
    external_id = models.CharField(max_length=200)
    attempt = models.ForeignKey(
        "pipeline.Attempt", on_delete=models.SET_NULL, null=True, blank=True, related_name="sightings"
    )
    verdict = models.CharField(max_length=8, choices=Verdict.choices)
    state = models.CharField(max_length=16, help_text="In the provider's terms, as in the last look.")
    price_per_hour = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    created_at = models.DateTimeField(null=True, blank=True, help_text="When the provider says it was made.")
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    missing_since = models.DateTimeField(null=True, blank=True, help_text="First of the looks in a row without it.")
    stop_sent_at = models.DateTimeField(null=True, blank=True, help_text="When the sweep first ordered its end.")
    stop_problem = models.CharField(max_length=300, blank=True)
    held_back = models.BooleanField(
        default=False, help_text="Too many at once look forgotten: a person must confirm before any is ended."
    )
    gone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "machine"
        ordering = ["-first_seen_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "credential", "external_id"], nulls_distinct=False, name="sighting_once_per_machine"
            ),
            models.CheckConstraint(
                condition=Q(verdict__in=["owned", "orphan", "strange"]), name="sighting_verdict_known"
            ),
        ]
        indexes = [
            models.Index(fields=["provider", "credential"], condition=LIVE_SIGHTING, name="sighting_live"),
        ]

    def __str__(self) -> str:
        return self.name


class AccountLook(models.Model):
    """The last look of the sweep at an account: whether it worked, and who is looking now."""

    id = models.BigAutoField(primary_key=True)
    provider = models.CharField(max_length=32)
    credential = models.ForeignKey(
        Credential, on_delete=models.CASCADE, null=True, blank=True, related_name="looks",
        help_text="Blank where the provider has one account, the installation's.",
    )  # fmt: skip
    tried_at = models.DateTimeField(null=True, blank=True)
    worked_at = models.DateTimeField(null=True, blank=True, help_text="Start of the last look that worked.")
    problem = models.CharField(max_length=300, blank=True, help_text="Why the last look did not work.")
    held_back = models.CharField(max_length=300, blank=True, help_text="Why nothing is ended here for now.")
    claim_token = models.UUIDField(null=True, blank=True, editable=False)
    claimed_until = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["provider", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "credential"], nulls_distinct=False, name="look_once_per_account"
            )
        ]

    def __str__(self) -> str:
        return f"{self.provider} ({self.credential})" if self.credential_id else self.provider
