"""What a playground changes for people: what pages say, the keys they find saved, and that it is left in good order."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from pipeline import accounts
from pipeline.config.env import Refused
from pipeline.config.playground import FLAG, KEY, NAMES
from pipeline.models import Attempt, Credential, MachineSighting
from pipeline.models.accounts import LIVE_SIGHTING
from pipeline.providers.base import ProviderError
from pipeline.services import credentials
from pipeline.services.errors import Conflict, InvalidInput
from pipeline.states import ATTEMPT_CLOSED

logger = logging.getLogger(__name__)
_CLOSED = [state.value for state in ATTEMPT_CLOSED]

SAYS = "Playground: RunPod and the cluster are imitated on this machine. Nothing is billed."
# The cluster's own words: types with invented prices in US dollars an hour, and memory in GB.
OPTIONS: dict[str, dict[str, Any]] = {
    "runpod": {},
    "cluster": {"idempotent": True, "gpu_types": "A100:2.50:80, H100:4.00:80"},
}


def banner(request: HttpRequest) -> dict[str, str]:
    """For templates: what every page says in a playground."""
    return {"playground": SAYS} if settings.STOKER_PLAYGROUND else {}


def badge(request: HttpRequest) -> list[str] | None:
    """For the admin's header."""
    return ["Playground: nothing is billed", "warning"] if settings.STOKER_PLAYGROUND else None


def open_for(user: User) -> int:
    """Save the key that always works for each imitation the user has no key for; how many were saved."""
    saved = 0
    have = set(Credential.objects.filter(owner=user).values_list("provider", flat=True))
    for name in NAMES:
        if name in have:
            continue
        try:
            credentials.save(user, name, secret=KEY, options=OPTIONS[name])
            saved += 1
        except (ProviderError, InvalidInput, Conflict) as error:
            logger.warning("the playground's key for %s was not saved for user %s: %s", name, user.pk, error)
    return saved


def open_for_everybody() -> int:
    return sum(open_for(user) for user in get_user_model().objects.filter(is_active=True))


def on_sign_in(sender: Any, user: User, **kwargs: Any) -> None:
    open_for(user)


def change_over() -> None:
    """Go from the real providers to a playground, or back, if this start is the first after such a change.

    Raise Refused while a machine of the other side may run: nobody would look after it. Keys of a playground are
    forgotten with it.
    """
    mark = settings.STOKER_HOME / "playground.mark"
    if mark.exists() == settings.STOKER_PLAYGROUND:
        return
    attempts = Attempt.objects.filter(provider__in=NAMES).exclude(state__in=_CLOSED)
    forgotten = _seen().exclude(attempt__isnull=False)
    if running := attempts.count() + forgotten.count():
        raise Refused(
            f"{running} rented {'machine' if running == 1 else 'machines'} may still run "
            + (
                f"at real providers, which a playground cannot see. Start without {FLAG}, let their jobs end or cancel "
                "them and end what stands on the leak board, or give the playground a folder of its own with "
                "STOKER_HOME."
                if settings.STOKER_PLAYGROUND
                else f"in this folder's playground. Start with {FLAG}=1 again, let their jobs end or cancel them, and "
                "end what stands on the leak board of the admin."
            )
        )
    if settings.STOKER_PLAYGROUND:
        mark.touch()
        return
    for credential in Credential.objects.filter(provider__in=NAMES):
        try:
            if accounts.open_account(credential).secret == KEY:
                # Seen while their attempts lived; these are over, and no sweep will come here again to say so.
                _seen().filter(credential=credential).update(gone_at=Now())
                credentials.remove(credential)
        except (ProviderError, Conflict) as error:
            logger.warning("%s was kept: %s", credential, error)
    mark.unlink()


def _seen() -> QuerySet[MachineSighting]:
    """Machines of the imitated kinds that were there when they were looked for last."""
    return MachineSighting.objects.filter(LIVE_SIGHTING, provider__in=NAMES)
