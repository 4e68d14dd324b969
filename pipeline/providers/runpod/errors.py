"""What an answer of RunPod that is no success means, in the words of `pipeline.providers.base`."""

from __future__ import annotations

import re
from typing import TypeVar

from pipeline.providers.base import AuthError, NoCapacity, NoFunds, NotSent, ProviderError, Refused, Unavailable
from pipeline.providers.runpod.answers import Answer

E = TypeVar("E", bound=ProviderError)

# Only the text of a 400 tells a machine that is not free just now from a request that is wrong.
_NO_CAPACITY = re.compile(
    r"instances? (currently )?available|have the resources|different machine|supply.?constraint|capacity|out of stock",
    re.IGNORECASE,
)
_NO_FUNDS = re.compile(r"insufficient.?(balance|funds|credit)|not enough (balance|funds|credit)", re.IGNORECASE)


class NotAllowed(Refused):
    """This account may not have this kind of machine; perhaps another kind."""


def of_create(answer: Answer) -> ProviderError:
    """Why nothing was created, as far as the answer tells; Unavailable where it does not."""
    match answer.status:
        case 400 if _NO_FUNDS.search(answer.said):
            return _no_funds(answer)
        case 400 if _NO_CAPACITY.search(answer.said):
            return _error(NoCapacity, answer, "RunPod has no such machine free now")
        case 403 if answer.is_json:
            return _error(NotAllowed, answer, "RunPod does not let this account rent that machine")
        case 400 | 404 | 413 | 422:
            return _error(Refused, answer, "RunPod refused the request for a machine")
        case 429:
            # Turned away before it was looked at, so nothing was asked for.
            return _error(NotSent, answer, "RunPod asks for fewer calls and takes none just now")
    return of_other(answer)


def of_other(answer: Answer) -> ProviderError:
    """The same for every call that creates nothing."""
    match answer.status:
        case 401:
            return _error(AuthError, answer, "RunPod does not accept the API key; save a valid one under Settings")
        case 402:
            return _no_funds(answer)
        case 403 if answer.is_json:
            return _error(AuthError, answer, "The API key may not do this at RunPod; it needs to read and write pods")
        case 403:
            # The guard in front of the API, not the API: the call did not get through.
            return _error(NotSent, answer, "Something in front of RunPod's API blocked the call")
        case 404:
            return _error(Unavailable, answer, "RunPod's API is not at this address or does not know the thing")
        case 409 | 423:
            return _error(Unavailable, answer, "RunPod does not allow that in the machine's present state")
        case 429:
            return _error(Unavailable, answer, "RunPod asks for fewer calls and answers none just now")
    return _error(Unavailable, answer, f"RunPod answered {answer.status}, from which nothing can be concluded")


def garbled(answer: Answer, what: str) -> Unavailable:
    """A success whose content is of no use."""
    message = f"RunPod's answer {what} could not be understood."
    return Unavailable(message, status=answer.status, request_id=answer.request_id)


def _no_funds(answer: Answer) -> NoFunds:
    return _error(NoFunds, answer, "The RunPod account has too little money left; add credit in RunPod's console")


def _error(kind: type[E], answer: Answer, sentence: str) -> E:
    return kind(
        f"{sentence}: {answer.said}" if answer.said else f"{sentence}.",
        status=answer.status,
        request_id=answer.request_id,
        retry_after=answer.retry_after,
    )
