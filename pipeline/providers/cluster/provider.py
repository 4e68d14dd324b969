"""The `cluster` provider: any HTTP cluster that speaks the contract in docs/cluster.md.

The cluster runs a program of its own and is asked how far it is. It has no list of its jobs, so only the id in its
answer to a submission leads to one; what is done when that answer is lost stands in `pipeline.decide`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pipeline.providers.base import (
    Account,
    AuthError,
    CreateRequest,
    Machine,
    MachineRef,
    MachineState,
    NotSent,
    Offer,
    Refused,
    Report,
    Unavailable,
    YesOrNo,
)
from pipeline.providers.cluster import answers
from pipeline.providers.cluster.client import Client, external_id_of
from pipeline.providers.cluster.gpus import MAX_GPUS, ClusterGpu, gpus_of
from pipeline.providers.files import check_name

LOOK_SECONDS = 10.0  # after this no further job is asked about in one look


class ClusterProvider:
    """A look asks about one job after the other, over one connection."""

    name: ClassVar[str] = "cluster"
    label: ClassVar[str] = "GPU cluster"
    simulated: ClassVar[bool] = False
    runs_program: ClassVar[bool] = False
    stop_is_graceful: ClassVar[bool] = True
    has_slots: ClassVar[bool] = False
    poll_seconds: ClassVar[float] = 10.0
    provision_seconds: ClassVar[int] = 24 * 3600  # it may have a queue; the link to the data is good for as long
    contact_seconds: ClassVar[int] = 600
    needs_account: ClassVar[bool] = True
    takes_base_url: ClassVar[bool] = True
    finds_by_name: ClassVar[bool] = False
    environment_is_public: ClassVar[bool] = False
    account_options: ClassVar[Mapping[str, str]] = {
        "idempotent": YesOrNo(
            "Yes, when the cluster makes one job of several submissions with the same job_id. Then a "
            "submission whose answer was lost is repeated; otherwise an operator must say what became of it."
        ),
        "gpu_types": "The GPU types it has, with their price in US dollars per hour, and if you like their memory in "
        "GB: A100:2.50, H100:4.00:80. The cluster itself tells neither.",
    }

    def __init__(self, account: Account | None = None) -> None:
        self._account = account

    @property
    def create_is_idempotent(self) -> bool:
        return self._options.get("idempotent") is True

    def offers(self) -> Sequence[Offer]:
        return [
            Offer(
                provider=self.name,
                type=gpu.type,
                label=gpu.type if gpu.type != "gpu" else "A GPU of the cluster",
                price_per_hour=gpu.price_per_hour,
                memory_gb=gpu.memory_gb,
                max_count=MAX_GPUS,
                note=(
                    "Price as entered in the account; the cluster tells none."
                    if gpu.price_per_hour
                    else "The cluster tells no price. Enter types and prices in the account to have costs counted."
                ),
            )
            for gpu in self._gpus()
        ]

    def free_slots(self) -> int | None:
        return None

    def check_account(self) -> str:
        """The cluster's host. It has no call to check a key with, so it is asked about a job that cannot exist."""
        self._gpus()
        with self._client() as client:
            client.status("stoker-checks-this-key")
            return urlsplit(client.base_url).hostname or ""

    def create(self, request: CreateRequest) -> Machine:
        check_name(request.name)
        types = [gpu.type for gpu in self._gpus()]
        if request.gpu_type not in types:
            raise Refused(f"The cluster has no GPU “{request.gpu_type}”. Choose one of: {', '.join(types)}.")
        if not 1 <= request.gpu_count <= MAX_GPUS:
            raise Refused(f"Ask for 1 to {MAX_GPUS} GPUs; {request.gpu_count} were asked for.")
        with self._client() as client:
            answer = client.submit(
                request.name,
                {
                    "job_id": request.name,
                    "dataset_url": request.dataset_url,
                    "hyperparameters": {**request.hyperparameters, "base_model": request.base_model},
                    "gpu_config": {"type": request.gpu_type, "count": request.gpu_count},
                    "callback_url": request.callback_url,
                },
            )
        ref = MachineRef(request.name, external_id_of(answer))
        # The id is all that must be in the answer to a submission.
        return answers.machine_of(ref, {"status": "accepted", **answer, "job_id": request.name})

    def observe(self, refs: Sequence[MachineRef]) -> Mapping[str, Machine]:
        known = [ref for ref in refs if ref.external_id]
        if not known:
            return {}
        random.shuffle(known)  # so that in a long row nobody is always the last
        with self._client() as client:
            return _look(client, known)

    def stop(self, ref: MachineRef, *, force: bool = False) -> None:
        if not ref.external_id:
            raise Unavailable("The cluster's id of this job is not known, so it cannot be cancelled yet.")
        with self._client() as client:
            client.cancel(ref.external_id)

    def inventory(self) -> Sequence[Machine]:
        return []  # the contract has no list

    @staticmethod
    def called_id(body: Mapping[str, Any]) -> str:
        try:
            return external_id_of(body)
        except Unavailable:
            return ""

    @staticmethod
    def report_of(body: Mapping[str, Any], after_step: int) -> Report:
        return answers.report_of(body, after_step)

    @property
    def _options(self) -> Mapping[str, Any]:
        return self._account.options if self._account else {}

    def _gpus(self) -> list[ClusterGpu]:
        return gpus_of(str(self._options.get("gpu_types") or ""))

    @contextmanager
    def _client(self) -> Iterator[Client]:
        if self._account is None:
            raise AuthError("The cluster needs a key. Add one under Settings.")
        client = Client(self._account.base_url, self._account.secret)
        try:
            yield client
        finally:
            client.close()


def _look(client: Client, refs: Sequence[MachineRef]) -> dict[str, Machine]:
    """What the cluster says about each; of those it said nothing usable about, or that no time was left for, UNKNOWN.

    Raise what went wrong when it said nothing about any of them.
    """
    seen: dict[str, Machine] = {}
    problem, until, answered = None, time.monotonic() + LOOK_SECONDS, False
    for ref in refs:
        if time.monotonic() >= until:
            seen[ref.name] = _unknown(ref, "There was no time left to ask about it.")
            continue
        try:
            answer = client.status(ref.external_id)
        except NotSent:
            raise
        except Unavailable as error:
            problem, seen[ref.name] = error, _unknown(ref, str(error))
            if error.status == 429:
                until = 0.0
            continue
        answered = True
        if answer is not None:
            seen[ref.name] = answers.machine_of(ref, answer)
        elif ref.end_expected:
            detail = "The cluster had accepted the cancellation and no longer knows the job."
            seen[ref.name] = Machine(ref.name, ref.external_id, MachineState.GONE, detail=detail)
    if problem is not None and not answered:
        raise problem
    return seen


def _unknown(ref: MachineRef, detail: str) -> Machine:
    return Machine(ref.name, ref.external_id, MachineState.UNKNOWN, detail=detail)
