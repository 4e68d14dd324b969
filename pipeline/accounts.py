"""Which account a job is rented in, and what is known about whether it works."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models.functions import Now

from pipeline import vault
from pipeline.models import Attempt, Credential, EventType, Job
from pipeline.providers.base import Account, AuthError, Provider, Unavailable
from pipeline.providers.registry import get_provider, provider_class
from pipeline.states import ACTIVE
from pipeline.transitions import record_event

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = logging.getLogger(__name__)


class NoAccount(AuthError):
    """The person has no account at this provider yet."""


def bound_to(credential: Credential) -> str:
    """What the secret of a credential is bound to, so that it cannot be moved to another row or person."""
    return f"pipeline_credential:{credential.pk}:{credential.owner_id}"


def open_account(credential: Credential) -> Account:
    """The account with its secret in clear. Raise Unavailable when it cannot be read: nothing follows from that."""
    try:
        secret = vault.unseal(bytes(credential.secret), bound_to(credential))
    except vault.Unopenable as error:
        raise Unavailable(f"The stored key of this account cannot be read. {error}") from error
    return Account(str(credential.pk), secret, credential.base_url, credential.options)


def credential_for(owner: User | int, provider: str) -> Credential | None:
    """The owner's credential; None where the provider needs none. Raise NoAccount when it is missing."""
    kind = provider_class(provider)
    if not kind.needs_account:
        return None
    owner_id = owner if isinstance(owner, int) else owner.pk
    credential = Credential.objects.filter(owner_id=owner_id, provider=provider).first()
    if credential is None:
        raise NoAccount(f"There is no {kind.label} key yet. Add one under Settings, then choose {kind.label} again.")
    return credential


def provider_for(owner: User | int, provider: str) -> Provider:
    """`provider` as `owner` may use it. Raise NoAccount, Unavailable or UnknownProvider."""
    return provider_with(provider, credential_for(owner, provider))


def provider_of(attempt: Attempt) -> Provider:
    """The provider and the account in which the attempt's machine is."""
    return provider_with(attempt.provider, attempt.credential)


def provider_with(provider: str, credential: Credential | None) -> Provider:
    return get_provider(provider, open_account(credential) if credential else None)


def unchanged(credential: Credential | None) -> bool:
    """Whether the row still holds the key that was read from it; if so, until the end of the transaction."""
    if credential is None:
        return True
    rows = Credential.objects.select_for_update(no_key=True).filter(pk=credential.pk, secret=credential.secret)
    return rows.values_list("pk", flat=True).first() is not None


def works(credential: Credential | None) -> None:
    """Note that the provider accepted the credential just now; jobs that were told of a problem are told of its end."""
    if credential is None or not credential.problem:
        return
    if Credential.objects.filter(pk=credential.pk).exclude(problem="").update(problem="", checked_at=Now()):
        _tell(credential, "The provider accepts the key again.", "info")


def refused(credential: Credential | None, error: AuthError) -> None:
    """Note that the provider refused the credential, and tell the jobs that live in it, once."""
    sentence = str(error)[:300]
    if credential is None or credential.problem == sentence:
        return
    if Credential.objects.filter(pk=credential.pk).exclude(problem=sentence).update(problem=sentence):
        logger.warning("credential %s: %s", credential.pk, sentence)
        message = f"{sentence} Nothing is concluded about the machine meanwhile; it is looked at again and again."
        _tell(credential, message, "error")


def _tell(credential: Credential, message: str, level: str) -> None:
    jobs = Job.objects.filter(
        attempts__credential=credential, attempts__gone_at=None, status__in=[status.value for status in ACTIVE]
    ).distinct()
    for job_id in jobs.values_list("pk", flat=True):
        with transaction.atomic():
            record_event(job_id, EventType.WARNING, message, level=level, data={"what": "credential"})
