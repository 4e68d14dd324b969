"""The whole product but for its processes, before an imitated RunPod: real services, real rows, real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Min
from django.test import Client

from pipeline import budgets, clock
from pipeline.models import AccountLook, Attempt, Credential, Job
from pipeline.services import credentials, observation, stopping, submission, sweeping
from tests.chaos import border, invariants
from tests.factories import make_dataset, make_job, make_user
from tests.fakes.runpod import FakeRunPod, Pod

KEY = "rpa_CHAOSACCOUNTKEY0123456789ABCDEFGHIJKLMN"
GPU = "NVIDIA RTX A4000"
PRICE = Decimal("0.25")
TASKS: tuple[Callable[[], object], ...] = (
    submission.submit_due, stopping.stop_due, observation.poll_due, lambda: sweeping.sweep_due(), budgets.enforce_due,
)  # fmt: skip


class World:
    def __init__(self, fake: FakeRunPod, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake, self.monkeypatch = fake, monkeypatch
        self.owner = make_user()
        self.credential: Credential = credentials.save(self.owner, "runpod", secret=KEY)
        self.dataset = make_dataset(self.owner)
        self.endings: dict[object, tuple[str, str]] = {}
        self.fake._calls.clear()

    def start(self, **fields: Any) -> Job:
        """A job, queued; no task has seen it."""
        values = {"provider": "runpod", "gpu_type": GPU, "cloud": "SECURE", "dataset": self.dataset, "start": True}
        return make_job(self.owner, **(values | fields))

    def rented(self, **fields: Any) -> tuple[Job, Attempt, Pod]:
        """A job whose machine runs and whose program has called."""
        job = self.start(**fields)
        self.live(20)
        attempt = job.attempts.get()
        (pod,) = self.pods(job)
        self.program(job).metrics(1)
        return self.fresh(job), attempt, pod

    # Time

    def round(self) -> None:
        """What beat has done each half minute, with nobody woken in between."""
        for task in TASKS:
            task()

    def travel(self, seconds: float) -> None:
        """Time passes on both sides: what is stored moves into the past, here and there."""
        border.travel(seconds)
        with self.fake.world.lock:
            for pod in self.fake.world.pods.values():
                _age(pod, seconds)
            for fault in self.fake.faults:
                if fault.until is not None:
                    fault.until -= seconds
        self.fake.world.tick()

    def live(self, seconds: float, *, step: float = 0.0) -> None:
        """Rounds until `seconds` have passed: every `step`, else whenever something is due."""
        passed = 0.0
        while passed < seconds:
            self.round()
            pause = min(step or self._pause(), seconds - passed)
            self.travel(pause)
            passed += pause
        self.round()
        invariants.always(self.endings)

    def until(self, what: Callable[[], object], *, within: float) -> float:
        """Live until `what` is true; return the seconds it took."""
        passed = 0.0
        while not what():
            assert passed < within, f"not within {within:g} s: {self.told()}"
            self.round()
            pause = self._pause()
            self.travel(pause)
            passed += pause
        invariants.always(self.endings)
        return passed

    def _pause(self) -> float:
        """Seconds until something is due, and no more than a beat takes to come round."""
        soonest = Job.objects.active().aggregate(at=Min("next_check_at"))["at"]
        if soonest is None:
            return 20.0
        return min(max((soonest - clock.now()).total_seconds() + 0.01, 1.0), 20.0)

    def told(self) -> str:
        """Where everything stands, for whoever reads why a test failed."""
        jobs = [f"{j.status}/{j.current_stage}" for j in Job.objects.all()]
        attempts = [f"{a.name[-3:]} {a.state} {a.reason}" for a in Attempt.objects.all()]
        calls = [f"{call.operation} {call.status}" for call in self.fake.calls()[-6:]]
        return f"{jobs}, {attempts}, {len(self.fake.pods())} pods, last calls {calls}"

    def dies_at(self, place: str, task: Callable[[], object]) -> None:
        assert border.dies_at(place, task, self.monkeypatch), f"no process came to {place}"

    # Machines and programs

    def pods(self, job: Job) -> list[Pod]:
        return self.fake.pods(f"stoker-*-{job.pk.hex[:12]}-a*")

    def created(self, job: Job) -> int:
        """Pods that were ever made for a job."""
        return len(self.fake.pods(f"stoker-*-{job.pk.hex[:12]}-a*", ended=True))

    def posts(self) -> int:
        return len(self.fake.calls("create"))

    def program(self, job: Job) -> Program:
        return Program(job, self.pods(job)[-1])

    def at_rest(self, within: float = 900) -> None:
        """Everything comes to its end by itself, and nothing is left outside."""
        self.until(lambda: not Job.objects.active().exists() and not self.fake.pods("stoker-*"), within=within)
        assert not AccountLook.objects.exclude(held_back="").exists()
        invariants.at_rest(pod.name for pod in self.fake.pods("stoker-*"))
        invariants.always(self.endings)

    def fresh(self, job: Job) -> Job:
        job.refresh_from_db()
        return job


class Program:
    """A training program on a pod: it has what the pod's environment holds, and speaks the wire."""

    def __init__(self, job: Job, pod: Pod) -> None:
        self.job, self.pod = job, pod
        self.first_token: str = pod.body["env"]["JOB_TOKEN"]
        answer = self.send("bootstrap", {"nonce": f"{pod.id}-of-this-machine-alone"}, token=self.first_token)
        assert answer.status_code == 200, answer.content
        self.token: str = answer.json()["token"]
        self.n = 0

    def send(self, path: str, body: Any, *, token: str = "") -> Any:
        return Client().post(
            f"/api/training/jobs/{self.job.pk}/{path}",
            data=json.dumps(body),
            content_type="application/json",
            headers={"Authorization": f"Bearer {token or self.token}"},
        )

    def metrics(self, *steps: int, n: int | None = None) -> Any:
        """Event lines, numbered on from what was sent before (or from `n`); the answer as a document."""
        first = self.n + 1 if n is None else n
        lines = [
            {"n": first + index, "t": 1.7e9, "kind": "metric", "data": {"step": step, "loss": 1 / step}}
            for index, step in enumerate(steps)
        ]
        answer = self.send("events", {"events": lines})
        assert answer.status_code == 200, answer.content
        self.n = max(self.n, first + len(steps) - 1)
        return answer.json()

    def finish(self, outcome: str, reason: str = "") -> Any:
        return self.send("finish", {"outcome": outcome, "last_n": self.n, "reason": reason})


def _age(pod: Pod, seconds: float) -> None:
    for name in ("created_at", "booting_since", "container_since", "stopped_at", "ended_at"):
        if getattr(pod, name) is not None:
            setattr(pod, name, getattr(pod, name) - seconds)
    pod.rates = [(since - seconds, price) for since, price in pod.rates]
    pod.events = [(at - seconds, line) for at, line in pod.events]
    for timer in pod.timers:
        timer["at"] -= seconds
