"""People's keys at providers: saved after the provider accepted them, replaced, checked again, removed."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from typing import Any, cast

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now

from pipeline import accounts, balances, vault
from pipeline.models import Attempt, Credential, MachineSighting, ProviderCall
from pipeline.models.accounts import LIVE_SIGHTING
from pipeline.providers import outside
from pipeline.providers.base import (
    Account,
    AuthError,
    ChecksAccount,
    MachineRef,
    Provider,
    ProviderError,
    Unavailable,
    YesOrNo,
)
from pipeline.providers.registry import get_provider, provider_class, provider_names
from pipeline.services.errors import Conflict, FieldError, InvalidInput
from pipeline.states import ATTEMPT_CLOSED

logger = logging.getLogger(__name__)

SHORTEST, LONGEST = 8, 500
HINT_LENGTH = 4
MAX_ADDRESS, MAX_OPTION = 200, 1000
_CLOSED = [state.value for state in ATTEMPT_CLOSED]


def with_accounts() -> dict[str, type[Provider]]:
    """The installed providers that a person's key opens, by name."""
    return {name: kind for name in provider_names() if (kind := provider_class(name)).needs_account}


def save(
    owner: User, provider: str, *, secret: str, base_url: str = "", options: Mapping[str, Any] | None = None
) -> Credential:
    """Keep the owner's key for a provider, in place of an earlier one, once the provider has accepted it.

    The whole is given each time, with the secret: it never goes to an address its owner did not name along with it.
    Raise InvalidInput, UnknownProvider, Unavailable (it could not be checked) or Conflict (machines run in the present
    account, and this key opens another). Then nothing has changed.
    """
    kind = provider_class(provider)
    secret, base_url, options = secret.strip(), base_url.strip().rstrip("/"), dict(options or {})
    if errors := _errors(kind, secret, base_url, options):
        raise InvalidInput(errors)
    before = Credential.objects.filter(owner_id=owner.pk, provider=provider).first()
    account = Account(str(uuid.uuid4()), secret, base_url, options)
    opened = get_provider(provider, account)
    name = _check(opened)
    same = before is None or _opens_the_same(before, account, name, opened)
    with transaction.atomic():
        # The owner's row makes those wait who save a first key at the same time.
        get_user_model().objects.select_for_update().get(pk=owner.pk)
        credential = Credential.objects.select_for_update().filter(owner_id=owner.pk, provider=provider).first()
        if credential is None:
            credential = Credential(owner_id=owner.pk, provider=provider)
        elif not same and _in_use(credential):
            raise Conflict(
                f"Machines still run in the present account at {kind.label}, and this key opens another one. "
                "Cancel their jobs or wait until they have ended; then save the key again.",
                code="other_account",
            )
        credential.secret = vault.seal(secret, accounts.bound_to(credential))
        credential.hint = secret[-min(HINT_LENGTH, len(secret) // 4) :]
        credential.base_url, credential.options, credential.account_name = base_url, options, name
        credential.checked_at = Now()
        credential.balance = credential.spend_per_hour = credential.balance_at = None
        credential.save()
    return _accepted(credential)


def check_again(credential: Credential) -> Credential:
    """Ask the provider whether it still accepts the key, and keep the answer. Raise Unavailable when it gave none."""
    try:
        name = _check(accounts.provider_with(credential.provider, credential))
    except InvalidInput as error:
        accounts.refused(credential, AuthError(str(error)))
        return Credential.objects.get(pk=credential.pk)
    Credential.objects.filter(pk=credential.pk, secret=credential.secret).update(account_name=name, checked_at=Now())
    return _accepted(credential)


def remove(credential: Credential) -> None:
    """Forget the key. Raise Conflict while something may still run in its account: only the key can end that."""
    with transaction.atomic():
        locked = Credential.objects.select_for_update().get(pk=credential.pk)
        if _in_use(locked):
            label = provider_class(locked.provider).label
            raise Conflict(
                f"Machines may still run in this account at {label}, and only its key can end them. "
                "Cancel their jobs, wait until they have ended, and remove the key then.",
                code="in_use",
            )
        Attempt.objects.filter(credential=locked).update(credential=None)
        _detach_sightings(locked)
        locked.delete()


def _errors(kind: type[Provider], secret: str, base_url: str, options: Mapping[str, Any]) -> list[FieldError]:
    if not kind.needs_account:
        return [FieldError("provider", f"{kind.label} needs no key: choose it for a job as it is.", "no_account")]
    takes = cast(type[ChecksAccount], kind)
    errors = _secret_errors(secret)
    if base_url and not takes.takes_base_url:
        errors.append(FieldError("base_url", f"{kind.label} has one address of its own. Leave this out."))
    elif base_url:
        errors += _address_errors(base_url)
    known = takes.account_options
    for name, value in options.items():
        if name not in known:
            names = f"It has: {', '.join(known)}." if known else "It has none."
            errors.append(FieldError("options", f"{kind.label} has no option “{name[:60]}”. {names}", "unknown"))
        elif isinstance(known[name], YesOrNo) and not isinstance(value, bool):
            errors.append(FieldError(f"options.{name}", "This must be true or false."))
        elif not isinstance(known[name], YesOrNo) and not _is_one_line(value):
            errors.append(FieldError(f"options.{name}", f"This must be one line of at most {MAX_OPTION} characters."))
    return errors


def _secret_errors(secret: str) -> list[FieldError]:
    if not secret:
        return [FieldError("secret", "Paste the key.", "required")]
    if any(not "!" <= character <= "~" for character in secret):
        sentence = "The key holds a space, a line break or a character no key has. Copy it again, the key alone."
        return [FieldError("secret", sentence)]
    if not SHORTEST <= len(secret) <= LONGEST:
        return [FieldError("secret", f"A key has {SHORTEST} to {LONGEST} characters; this has {len(secret)}.")]
    return []


def _address_errors(base_url: str) -> list[FieldError]:
    if len(base_url) > MAX_ADDRESS:
        return [FieldError("base_url", f"The address must have at most {MAX_ADDRESS} characters.")]
    if "?" in base_url or "#" in base_url:
        return [FieldError("base_url", "Leave out what begins with ? or #: other parts are added to the address.")]
    try:
        outside.check_url(base_url)
    except outside.BadAddress as error:
        return [FieldError("base_url", str(error))]
    return []


def _is_one_line(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_OPTION and value.isprintable()


def _check(provider: Provider) -> str:
    """What the provider calls the account that the key opens. Raise InvalidInput, or Unavailable."""
    try:
        name = cast(ChecksAccount, provider).check_account()
    except Unavailable as error:
        raise Unavailable(
            f"The key could not be checked. {error}", status=error.status, retry_after=error.retry_after
        ) from error
    except ProviderError as error:
        field = "secret" if isinstance(error, AuthError) else ""
        raise InvalidInput([FieldError(field, str(error), "refused")]) from error
    except Exception as error:  # a mistake of the provider's part of the program says nothing about the key
        logger.exception("a key for %s could not be checked", provider.name)
        raise Unavailable(f"The key could not be checked: {provider.label} gave an answer nobody foresaw.") from error
    return name[:120]


def _opens_the_same(before: Credential, account: Account, name: str, opened: Provider) -> bool:
    """Whether a new key surely opens the account of the old one. Otherwise machines there would be out of reach."""
    if before.base_url != account.base_url:
        return False
    if name == before.account_name and (name or account.base_url):
        return True
    attempts = before.attempts.exclude(state__in=_CLOSED).exclude(external_id="")
    sightings = before.sightings.filter(LIVE_SIGHTING)
    refs = [MachineRef(*one) for rows in (attempts, sightings) for one in rows.values_list("name", "external_id")]
    return bool(refs and opened.observe(refs))


def _in_use(credential: Credential) -> bool:
    """Whether a machine may exist in the account."""
    return (
        credential.attempts.exclude(state__in=_CLOSED).exists() or credential.sightings.filter(LIVE_SIGHTING).exists()
    )


def _detach_sightings(credential: Credential) -> None:
    """Keep what was once seen in the account, and the orders that ended it. The same machine may have been seen before
    under a key that was removed: then its history goes on there."""
    for sighting in MachineSighting.objects.filter(credential=credential):
        earlier = MachineSighting.objects.filter(
            provider=sighting.provider, credential=None, external_id=sighting.external_id
        ).first()
        if earlier is None:
            MachineSighting.objects.filter(pk=sighting.pk).update(credential=None)
        else:
            ProviderCall.objects.filter(sighting=sighting).update(sighting=earlier)
            sighting.delete()


def _accepted(credential: Credential) -> Credential:
    """The row as it is now that the provider has accepted its key, with what is left in the account where it tells."""
    fresh = Credential.objects.get(pk=credential.pk)
    accounts.works(fresh)
    balances.look(fresh)
    fresh.refresh_from_db()
    return fresh
