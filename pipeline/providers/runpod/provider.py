"""RunPod as a provider: one account, whose pods are the machines.

RunPod knows no idempotency key, lets names repeat and may show a new pod late, so the answer to a request for a pod can
be lost for good. Only what RunPod surely turned down is followed by another request; everything else by looking.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.conf import settings

from pipeline.providers.base import (
    Account,
    AuthError,
    Balance,
    CreateRequest,
    Machine,
    MachineRef,
    MachineState,
    NoCapacity,
    NotSent,
    Offer,
    ProviderError,
    Refused,
    Unavailable,
)
from pipeline.providers.runpod import catalog, pods
from pipeline.providers.runpod.client import Client, Listing
from pipeline.providers.runpod.errors import NotAllowed
from training import contract

logger = logging.getLogger(__name__)

SINGLE_LOOKS = 20  # machines missing from the list that are asked for one by one in one look
SINGLE_LOOKS_SECONDS = 15.0
WALK_SECONDS = 20.0  # after this long no further kind of machine is tried in one request
# A pod this old that the list does not show means that the list is incomplete, not that the pod is new.
SHOWN_BY_THEN = timedelta(minutes=5)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104 - names to recognise, not to bind


class RunPodProvider:
    name: ClassVar[str] = "runpod"
    label: ClassVar[str] = "RunPod"
    simulated: ClassVar[bool] = False
    runs_program: ClassVar[bool] = True
    stop_is_graceful: ClassVar[bool] = False
    poll_seconds: ClassVar[float] = 15.0
    has_slots: ClassVar[bool] = False
    provision_seconds: ClassVar[int] = 1200  # a fresh host pulls the image first
    contact_seconds: ClassVar[int] = 600
    needs_account: ClassVar[bool] = True
    finds_by_name: ClassVar[bool] = True
    environment_is_public: ClassVar[bool] = True
    takes_fallbacks: ClassVar[bool] = True
    account_options: ClassVar[Mapping[str, str]] = {}
    takes_base_url: ClassVar[bool] = False

    def __init__(self, account: Account | None = None) -> None:
        if account is None:
            raise AuthError("RunPod needs an API key. Save one under Settings.")
        self._account = f"{settings.RUNPOD_API_URL} {account.id}"
        self._client = Client(account.secret)

    @property
    def create_is_idempotent(self) -> bool:
        return False

    # The account

    def check_account(self) -> str:
        self._client.check()
        return ""

    def balance(self) -> Balance | None:
        try:
            money = self._client.money()
        except ProviderError as error:
            logger.info("the balance of a RunPod account could not be told: %s", error)
            return None
        left, spent = pods.amount(money.get("clientBalance"), least=Decimal(-1_000_000)), money.get("currentSpendPerHr")
        return None if left is None else Balance(left, pods.amount(spent) or Decimal(0))

    def billed(self, external_id: str, since: datetime) -> Decimal | None:
        charges = [pods.amount(row.get("totalAmount")) for row in self._client.charges(external_id, since)]
        told = [charge for charge in charges if charge is not None]
        return sum(told, Decimal(0)) if told else None

    # Machines

    def offers(self) -> Sequence[Offer]:
        return catalog.offers(catalog.catalog(self._client, self._account), self.name, _not_ready())

    def free_slots(self) -> int | None:
        return None

    def create(self, request: CreateRequest) -> Machine:
        _check(request)
        try:
            found = self._named(request.name)
            kinds = catalog.catalog(self._client, self._account)
        except Unavailable as error:
            # Nothing was asked for yet, so the same request can be made again.
            raise NotSent(
                str(error), status=error.status, request_id=error.request_id, retry_after=error.retry_after
            ) from error
        if found:
            return pods.machine(pods.oldest(found), request.name)
        return self._first_that_is_free(request, kinds)

    def _first_that_is_free(self, request: CreateRequest, kinds: catalog.Catalog) -> Machine:
        """Walk through what the person allows; only a sure no leads to the next."""
        end, problems = time.monotonic() + WALK_SECONDS, list[ProviderError]()
        for gpu_type, cloud in dict.fromkeys([(request.gpu_type, request.cloud), *request.fallbacks]):
            if problems and time.monotonic() > end:
                break
            try:
                kind = _fitting(kinds.get((gpu_type, cloud or catalog.SECURE)), gpu_type, request)
                made = pods.machine(self._client.create_pod(_body(request, kind)), request.name)
                return replace(made, gpu_type=made.gpu_type or kind.type, cloud=made.cloud or kind.cloud)
            except (NoCapacity, NotAllowed) as error:
                problems.append(error)
        waiting = [problem for problem in problems if isinstance(problem, NoCapacity)]
        raise waiting[0] if waiting else problems[0]

    def observe(self, refs: Sequence[MachineRef]) -> Mapping[str, Machine]:
        if not refs:
            return {}
        listing = self._client.pods()
        by_id = {pod["id"]: pod for pod in listing.pods}
        by_name = _by_name(listing)
        seen: dict[str, Machine] = {}
        missing: list[MachineRef] = []
        for ref in refs:
            # Under the name there may be a second pod: it is shown when the known one is missing, so that the name
            # counts as gone only when nothing bears it any more.
            living = [pod for pod in by_name[ref.name] if not (ref.external_id and pods.is_over(pod))]
            pod = by_id.get(ref.external_id) or (pods.oldest(living) if living else None)
            if pod is not None:
                seen[ref.name] = pods.machine(pod, ref.name)
            else:
                missing.append(ref)
        found, complete = self._one_by_one([ref for ref in missing if ref.external_id])
        if not (complete and listing.readable) and any(not ref.external_id for ref in missing):
            raise Unavailable("RunPod's list of pods is incomplete, so nothing is concluded from it.")
        return seen | found

    def _one_by_one(self, refs: list[MachineRef]) -> tuple[dict[str, Machine], bool]:
        """Ask for machines that the list does not show, and say whether it seems complete nevertheless.

        What RunPod says does not exist is left out. What could not be asked is unknown.
        """
        found: dict[str, Machine] = {}
        complete, end = True, time.monotonic() + SINGLE_LOOKS_SECONDS
        # Chance decides who waits for the next look, so that nobody always does.
        order = sorted(refs, key=lambda ref: (not ref.end_expected, random.random()))  # noqa: S311
        for number, ref in enumerate(order):
            if number >= SINGLE_LOOKS or time.monotonic() > end:
                found[ref.name] = _unknown(ref, "It is missing from RunPod's list and was not asked for in this look.")
                continue
            try:
                pod = self._client.pod(ref.external_id)
            except Unavailable as error:
                found[ref.name] = _unknown(ref, f"It is missing from RunPod's list. {error}")
                continue
            if pod is not None:
                found[ref.name] = pods.machine(pod, ref.name)
                made = pods.created_at(pod)
                complete = complete and made is not None and datetime.now(UTC) - made < SHOWN_BY_THEN
            elif ref.end_expected:
                evidence = "RunPod accepted the order to delete it, says that it does not exist, and lists it no more."
                found[ref.name] = Machine(ref.name, ref.external_id, MachineState.GONE, detail=evidence)
        return found, complete

    def stop(self, ref: MachineRef, *, force: bool = False) -> None:
        """Delete the pod; RunPod has no gentler order that leaves nothing to pay for."""
        if ref.external_id and self._client.delete_pod(ref.external_id):
            return
        named = [] if ref.id_only else [pod for pod in self._named(ref.name) if not pods.is_over(pod)]
        taken = [self._client.delete_pod(pod["id"]) for pod in named]
        if ref.external_id and not any(taken):
            # Not a yes: a new pod can be hidden from all calls for a minute or two.
            raise Unavailable("RunPod shows no such machine, so nothing could be deleted; it is looked for again.")

    def inventory(self) -> Sequence[Machine]:
        prefix = f"stoker-{settings.STOKER_INSTALLATION}-"
        listing = self._client.pods()
        if not listing.readable:
            raise Unavailable("RunPod's list of pods could not be read completely.")
        ours = [pod for pod in listing.pods if pods.name_of(pod).startswith(prefix) and not pods.is_over(pod)]
        return [pods.machine(pod) for pod in ours]

    def _named(self, name: str) -> list[dict[str, Any]]:
        listing = self._client.pods()
        found = _by_name(listing)[name]
        if not found and not listing.readable:
            raise Unavailable("RunPod's list of pods could not be read completely.")
        return found


def _by_name(listing: Listing) -> defaultdict[str, list[dict[str, Any]]]:
    named: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for pod in listing.pods:
        named[pods.name_of(pod)].append(pod)
    return named


def _unknown(ref: MachineRef, detail: str) -> Machine:
    return Machine(ref.name, ref.external_id, MachineState.UNKNOWN, detail=detail)


def _check(request: CreateRequest) -> None:
    """Raise Refused for what can never work, whatever RunPod says."""
    if problem := _not_ready():
        raise Refused(problem)
    if not _NAME.fullmatch(request.name):
        raise Refused(f"“{request.name[:80]}” cannot be the name of a machine: letters, digits and dashes only.")
    if request.gpu_count < 1:
        raise Refused("At least one GPU is needed.")
    if _inside(request.environment.get(contract.ENV_METRICS_API_URL, "")):
        raise Refused(_UNREACHABLE)


_UNREACHABLE = (
    "A rented machine cannot call this server, because its address is known on this machine only. Set STOKER_PUBLIC_URL"
    " to an address that can be reached from the internet."
)


def _not_ready() -> str:
    """What this installation lacks before anything can be rented here; "" for nothing."""
    if not settings.RUNPOD_IMAGE:
        return "An operator must set RUNPOD_IMAGE to the image that machines start with; docs/runpod.md says how."
    return _UNREACHABLE if _inside(settings.STOKER_PUBLIC_URL) else ""


def _inside(url: str) -> bool:
    """Whether a rented machine cannot reach an address. An imitation of RunPod beside us can."""
    return urlsplit(url).hostname in _LOOPBACK and urlsplit(settings.RUNPOD_API_URL).hostname not in _LOOPBACK


def _fitting(kind: catalog.Kind | None, gpu_type: str, request: CreateRequest) -> catalog.Kind:
    """Raise NotAllowed when this kind cannot be what was asked for."""
    if kind is None:
        raise NotAllowed(f"RunPod does not offer {gpu_type[:80] or 'a machine without a GPU'} there.")
    if request.gpu_count > kind.max_count:
        raise NotAllowed(f"RunPod offers at most {kind.max_count} of {kind.label} in one machine.")
    price, limit = kind.price * request.gpu_count, request.max_price_per_hour
    if limit is not None and price > limit:
        raise NotAllowed(f"{kind.label} costs ${price.normalize():f} an hour, more than the ${limit:f} allowed.")
    return kind


def _body(request: CreateRequest, kind: catalog.Kind) -> dict[str, Any]:
    """What the image does is fixed in the image: nothing a person chose becomes part of a command."""
    drivers = {"minCudaVersion": settings.RUNPOD_MIN_CUDA_VERSION} if settings.RUNPOD_MIN_CUDA_VERSION else {}
    return {
        "name": request.name,
        "image": settings.RUNPOD_IMAGE,
        "cloud": kind.cloud,
        "gpu": {"id": kind.type, "count": request.gpu_count} | drivers,
        "disk": settings.RUNPOD_DISK_GB,
        "env": {
            **request.environment,
            contract.ENV_MAX_SECONDS: str(request.max_seconds),
            contract.ENV_POD_API_URL: settings.RUNPOD_API_URL,
            contract.ENV_GPU_COUNT: str(request.gpu_count),
            contract.ENV_INSTALLATION: settings.STOKER_INSTALLATION,
            contract.ENV_ATTEMPT: request.name,
        },
    }
