"""The protocol of renting, tried on thousands of jobs in a world that misbehaves, with a clock of its own.

What is decided is the product's: `pipeline.decide.decide`, `pipeline.states.CONSEQUENCES`, the retry table, and
`pipeline.ownership.whose` for the sweep. The shell around it (`Server`) does what pipeline/services/submission.py,
observation.py, stopping.py, ending.py, sweeping.py and pipeline/leases.py do, step by step and under the same names,
with rows in memory instead of in PostgreSQL; test_equivalence.py plays the same histories to both and compares what
comes out.

The outside (`Cloud`) lists a new machine only after a while, loses answers, refuses, fails, and never ends a machine
that nobody ends: the watchdog on the machine is left out, so whatever is found here is the server's merit alone. A
process is a generator that yields the seconds it waits; a crash drops it, with the lease it holds.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pipeline.decide import Look, Traits, View, decide
from pipeline.ownership import Known, Whose, machine_name, whose, why_hold_back
from pipeline.providers.base import Machine, MachineState, NoCapacity, ProviderError, Refused, Unavailable
from pipeline.services.ending import RETRY_SECONDS
from pipeline.states import (
    ATTEMPT_CLOSED,
    CONSEQUENCES,
    STOPS_BY_DECISION,
    TERMINAL,
    AttemptState,
    EndReason,
    JobStatus,
)

LEASE = 60.0
BEAT = 30.0
SWEEP = 60.0
OVERLAP = 120.0  # two machines of one job at once for longer than this are a double
LEAK = 3600.0  # a machine that outlives its job by this is a leak
INSTALLATION = "sim"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TRAITS = Traits(
    runs_program=True, stop_is_graceful=False, poll_seconds=15.0, contact_seconds=600, create_is_idempotent=False
)
OBSERVED = (JobStatus.INITIALIZING, JobStatus.RUNNING, JobStatus.CANCELLING)

Process = Generator[float, None, None]


class Crash(BaseException):
    """The process died: nothing of it runs any more, and what it held stays held."""


class LeaseLost(Exception):
    pass


@dataclass
class Rates:
    """How often what goes wrong, as shares of one."""

    refused: float = 0.10
    lost: float = 0.15  # created, but the answer never came
    nothing: float = 0.03  # not created, and no answer either
    crash: float = 0.06  # at each step of a worker
    stop_timeout: float = 0.15  # half of them have worked
    look: float = 0.05
    wake: float = 0.20  # lost in the broker
    slow: float = 0.02  # calls that take almost as long as a task may
    frozen: float = 0.0  # workers that stand still in a call until long after their lease has run out
    cancelled: float = 0.15
    preempted: float = 0.08


@dataclass
class Rented:
    """One machine as it really is."""

    name: str
    id: str
    made: float
    listed_from: float
    boots: float
    ends: float  # when the program says its last word
    taken: float  # when the provider takes it away
    after: str  # what it does when the program has ended: "lingers", "exits" or "leaves"
    gone: float | None = None
    listed_until: float | None = None
    contacted: bool = False

    def state(self, now: float) -> MachineState:
        if now >= min(self.taken, self.ends if self.after == "exits" else float("inf")):
            return MachineState.EXITED
        return MachineState.RUNNING if now >= self.boots else MachineState.STARTING


@dataclass
class Attempt:
    n: int
    name: str
    created_at: float
    state: AttemptState = AttemptState.INTENT
    called: bool = False
    external_id: str = ""
    create_unknown_since: float | None = None
    first_missed_at: float | None = None
    machine_seen_at: float | None = None
    running_seen_at: float | None = None
    exited_seen_at: float | None = None
    first_contact_at: float | None = None
    last_seen_at: float | None = None
    outcome: str = ""
    outcome_reason: str = ""
    outcome_at: float | None = None
    stop_sent_at: float | None = None
    stop_alerted: bool = False
    reason: str = ""
    gone_at: float | None = None

    @property
    def is_open(self) -> bool:
        return self.state not in ATTEMPT_CLOSED


@dataclass
class Job:
    number: int
    seconds: float = 600.0  # of training
    max_attempts: int = 3
    max_duration: float = 24 * 3600
    status: JobStatus = JobStatus.QUEUED
    reason: str = ""
    wants_stop: bool = False
    stop_reason: str = ""
    stop_requested_at: float | None = None
    next_check_at: float = 0.0
    lease: object | None = None
    claimed_at: float = 0.0
    lease_until: float = 0.0
    attempts: list[Attempt] = field(default_factory=list)
    ended_at: float | None = None

    @property
    def open_attempt(self) -> Attempt | None:
        return next((a for a in self.attempts if a.is_open), None)


class Clock:
    """Runs processes in the order of their time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Process]] = []
        self._numbers = itertools.count()

    def start(self, process: Process, after: float = 0.0) -> None:
        heapq.heappush(self._queue, (self.now + after, next(self._numbers), process))

    def run(self, until: float = float("inf"), done: Callable[[], bool] = lambda: False) -> None:
        while self._queue and self._queue[0][0] <= until and not done():
            self.now, _, process = heapq.heappop(self._queue)
            try:
                pause = next(process)
            except (StopIteration, Crash):
                continue
            self.start(process, pause)


class Cloud:
    """A provider whose list lags and whose answers get lost."""

    def __init__(self, clock: Clock, rates: Rates, lag: float, chance: random.Random) -> None:
        self.clock, self.rates, self.lag, self.chance = clock, rates, lag, chance
        self.machines: dict[str, list[Rented]] = {}
        self.alive: dict[str, Rented] = {}
        self.lingering: list[Rented] = []  # gone, but perhaps still listed
        self.faults = 0
        self.training_seconds: Callable[[str], float] = lambda name: 600.0

    def fails(self, rate: float) -> bool:
        failed = self.chance.random() < rate
        self.faults += failed
        return failed

    def create(self, name: str) -> Generator[float, None, Machine]:
        yield self.chance.uniform(20, 55) if self.fails(self.rates.slow) else self.chance.uniform(0.5, 4)
        if self.fails(self.rates.frozen):
            yield self.chance.uniform(60, 150)
        roll = self.chance.random()
        if roll < self.rates.refused:
            self.faults += 1
            raise NoCapacity("None left.") if self.chance.random() < 0.8 else Refused("No such image.")
        if roll < self.rates.refused + self.rates.nothing:
            self.faults += 1
            raise Unavailable("500")
        machine = self._make(name)
        if roll < self.rates.refused + self.rates.nothing + self.rates.lost:
            self.faults += 1
            yield 28.0
            raise Unavailable("timeout")
        return self._show(machine)

    def _make(self, name: str) -> Rented:
        now, chance = self.clock.now, self.chance
        boots = now + chance.uniform(20, 300)
        ends = boots + self.training_seconds(name)
        taken = chance.uniform(now + 1, ends) if chance.random() < self.rates.preempted else float("inf")
        after = chance.choice(("lingers", "lingers", "exits", "leaves"))
        listed_from = now + chance.uniform(0, self.lag)
        machine = Rented(name, f"m{len(self.machines)}-{now:.3f}", now, listed_from, boots, ends, taken, after)
        self.machines.setdefault(name, []).append(machine)
        self.alive[machine.id] = machine
        return machine

    def _show(self, machine: Rented) -> Machine:
        return Machine(machine.name, machine.id, machine.state(self.clock.now))

    def _listed(self, machine: Rented) -> bool:
        now = self.clock.now
        return machine.listed_from <= now and (machine.listed_until is None or now < machine.listed_until)

    def settle(self) -> None:
        """What goes away by itself is gone: programs that end their machine, and half of the machines taken away."""
        for machine in list(self.alive.values()):
            self._settle(machine)

    def _settle(self, machine: Rented) -> None:
        ended = min(machine.taken, machine.ends if machine.after == "leaves" else float("inf"))
        leaves = ended is machine.ends or machine.after == "leaves"
        if machine.gone is None and leaves and self.clock.now >= ended:
            self._end(machine, ended)

    def _end(self, machine: Rented, at: float) -> None:
        machine.gone = at
        # What is gone may be listed for a while yet.
        machine.listed_until = at + self.chance.uniform(0, self.lag / 4)
        del self.alive[machine.id]
        if machine.listed_until > self.clock.now:
            self.lingering.append(machine)

    def observe(self, name: str) -> Generator[float, None, Machine | None]:
        yield self.chance.uniform(0.2, 2)
        if self.fails(self.rates.look):
            raise Unavailable("502")
        for machine in self.machines.get(name, []):
            self._settle(machine)
            if self._listed(machine):
                return self._show(machine)
        return None

    def inventory(self) -> Generator[float, None, list[Machine]]:
        yield self.chance.uniform(0.2, 2)
        if self.fails(self.rates.look):
            raise Unavailable("502")
        self.settle()
        self.lingering = [m for m in self.lingering if self._listed(m)]
        return [self._show(m) for m in (*self.alive.values(), *self.lingering) if self._listed(m)]

    def stop(self, name: str, external_id: str, force: bool) -> Generator[float, None, None]:
        """Ends every machine that the order can name: by id, else what the list shows of that name."""
        yield self.chance.uniform(0.2, 2)
        timeout = self.fails(self.rates.stop_timeout)
        if not timeout or self.chance.random() < 0.5:
            for machine in self.machines.get(name, []):
                self._settle(machine)
                if machine.gone is None and (machine.id == external_id if external_id else self._listed(machine)):
                    self._end(machine, self.clock.now)
        if timeout:
            yield 28.0
            raise Unavailable("timeout")


class Server:
    """The product's shell, with rows in memory. Each method is named after the one it follows."""

    def __init__(self, clock: Clock, cloud: Cloud, traits: Traits = TRAITS) -> None:
        self.clock, self.cloud, self.traits = clock, cloud, traits
        self.jobs: dict[int, Job] = {}
        self.active: dict[int, Job] = {}
        self.attempts: dict[str, tuple[Job, Attempt]] = {}
        self.crashes = 0
        self.held_back = 0  # looks of the sweep after which it ended nothing, because too much looked forgotten
        cloud.training_seconds = lambda name: self.attempts[name][0].seconds

    # pipeline/leases.py

    def claim(self, job: Job, *statuses: JobStatus) -> object | None:
        if job.status not in statuses or (job.lease is not None and job.lease_until >= self.clock.now):
            return None
        job.lease, job.claimed_at, job.lease_until = object(), self.clock.now, self.clock.now + LEASE
        return job.lease

    def fenced(self, job: Job, lease: object) -> None:
        if job.lease is not lease:
            raise LeaseLost

    def looking_after(self, job: Job, lease: object, work: Process) -> Process:
        try:
            yield from work
        except LeaseLost:
            pass
        except ProviderError:
            self.release(job, lease, 15.0)
        self.release(job, lease)

    def release(self, job: Job, lease: object, next_check_in: float | None = None) -> None:
        if job.lease is not lease:
            return
        if next_check_in is not None and job.status not in TERMINAL:
            planned = self.clock.now + next_check_in
            sooner = job.claimed_at < job.next_check_at < planned
            job.next_check_at = job.next_check_at if sooner else planned
        job.lease = None

    # pipeline/wake.py and the beat

    def wake(self, task: Callable[[Job], Process], job: Job, after: float = 0.0) -> None:
        if not self.cloud.fails(self.cloud.rates.wake):
            self.clock.start(task(job), after + 0.01)

    def beat(self) -> Process:
        while True:
            yield BEAT
            for job in list(self.active.values()):
                if job.next_check_at <= self.clock.now:
                    self._due(job)

    def _due(self, job: Job) -> None:
        if job.wants_stop and job.open_attempt is None:
            self.clock.start(self.stop(job))
        elif job.status == JobStatus.QUEUED:
            self.clock.start(self.submit(job))
        else:
            self.clock.start(self.poll(job))

    def step(self, place: str = "") -> None:
        """A place where the process may die; named where the product has a killpoint."""
        if self.cloud.fails(self.cloud.rates.crash):
            self.crashes += 1
            raise Crash

    # pipeline/services/submission.py

    def add(self, job: Job) -> None:
        job.next_check_at = self.clock.now
        self.jobs[job.number] = self.active[job.number] = job
        self.wake(self.submit, job)

    def submit(self, job: Job) -> Process:
        lease = self.claim(job, JobStatus.QUEUED)
        if lease is not None:
            yield from self.looking_after(job, lease, self._submit(job, lease))

    def _submit(self, job: Job, lease: object) -> Process:
        self.step()
        if job.wants_stop:
            self.wake(self.stop, job)
            return
        yield 0.01
        attempt = self._write_intent(job, lease)
        self.step("intent.after_commit")
        yield from self._create(job, lease, attempt)

    def _write_intent(self, job: Job, lease: object) -> Attempt:
        self.fenced(job, lease)
        if job.status != JobStatus.QUEUED or job.wants_stop:
            raise LeaseLost
        self.step("intent.before_commit")
        assert job.open_attempt is None, "The database would refuse a second live attempt."
        n = len(job.attempts) + 1
        attempt = Attempt(n, machine_name(INSTALLATION, f"{job.number:032x}"[20:], n), self.clock.now)
        job.attempts.append(attempt)
        self.attempts[attempt.name] = job, attempt
        job.status = JobStatus.INITIALIZING
        return attempt

    def _create(self, job: Job, lease: object, attempt: Attempt) -> Process:
        found = yield from self.cloud.observe(attempt.name)
        if found is not None:
            self.adopt(job, lease, attempt, found)
            return
        self.fenced(job, lease)
        attempt.called, attempt.create_unknown_since = True, self.clock.now
        self.step("create.before_call")
        try:
            machine = yield from self.cloud.create(attempt.name)
            self.step("create.after_call")
        except (NoCapacity, Refused) as error:
            self.fenced(job, lease)
            reason = EndReason.NO_CAPACITY if isinstance(error, NoCapacity) else EndReason.PROVIDER_ERROR
            self.close_attempt(attempt, reason, never_created=True)
            self.end_job(job, attempt, reason, may_retry=isinstance(error, NoCapacity))
        except ProviderError:
            self.fenced(job, lease)
            self.release(job, lease, 5.0)
            self.wake(self.poll, job, 5.0)
        else:
            self.adopt(job, lease, attempt, machine)

    def adopt(self, job: Job, lease: object, attempt: Attempt, machine: Machine) -> None:
        self.fenced(job, lease)
        self.step("adopt.before_event")
        if attempt.state is AttemptState.INTENT:
            attempt.state, attempt.external_id = AttemptState.LIVE, machine.external_id
            attempt.machine_seen_at = attempt.machine_seen_at or self.clock.now
            attempt.create_unknown_since = attempt.first_missed_at = None
        self.release(job, lease, self.traits.poll_seconds)
        self.wake(self.poll, job, self.traits.poll_seconds)

    # pipeline/services/observation.py

    def poll(self, job: Job) -> Process:
        attempt = job.open_attempt
        if attempt is None or job.next_check_at > self.clock.now + 0.2:
            return
        lease = self.claim(job, *OBSERVED)
        if lease is None:
            return
        self.step()
        try:
            look: Machine | Look = (yield from self.cloud.observe(attempt.name)) or Look.ABSENT
        except ProviderError:
            look = Look.FAILED
        yield from self.looking_after(job, lease, self._apply(job, attempt, lease, look))

    def _apply(self, job: Job, attempt: Attempt, lease: object, look: Machine | Look) -> Process:
        if isinstance(look, Machine) and attempt.state is AttemptState.INTENT:
            self.adopt(job, lease, attempt, look)
            raise LeaseLost
        self.fenced(job, lease)
        if not attempt.is_open:
            return
        self.hear(job, attempt)
        decision = decide(self.view_of(job, attempt), look, self.at(self.clock.now), self.traits)
        if decision.close is not None:
            self.close_attempt(attempt, decision.close.reason, never_created=decision.close.never_created)
            self.end_job(job, attempt, decision.close.reason)
        elif decision.missed:
            attempt.first_missed_at = attempt.first_missed_at or self.clock.now
        elif isinstance(look, Machine):
            attempt.first_missed_at = None
            if look.state is MachineState.RUNNING:
                attempt.running_seen_at = attempt.running_seen_at or self.clock.now
            if look.state is MachineState.EXITED:
                attempt.exited_seen_at = attempt.exited_seen_at or self.clock.now
        attempt.stop_alerted = attempt.stop_alerted or decision.alert_stop
        self.step()
        if decision.create_again:
            yield from self._create(job, lease, attempt)
        elif decision.send_stop:
            yield from self.send_stop(job, attempt, lease, force=decision.force)
        if decision.request_stop:
            self.request_stop(job, decision.request_stop)
        if decision.close is None:
            self.release(job, lease, decision.next_in)
            self.wake(self.poll, job, decision.next_in)

    # pipeline/services/stopping.py and jobs.py

    def request_stop(self, job: Job, reason: EndReason) -> None:
        by_decision = reason in STOPS_BY_DECISION
        attempt = job.attempts[-1] if job.attempts else None
        if attempt is not None and attempt.is_open:
            self.hear(job, attempt)
        if job.status in TERMINAL or job.status == JobStatus.CANCELLING or (job.wants_stop and not by_decision):
            return
        if attempt is not None and attempt.is_open and attempt.outcome == "completed":
            return
        job.wants_stop, job.stop_reason, job.stop_requested_at = True, reason.value, self.clock.now
        if by_decision:
            job.status = JobStatus.CANCELLING
        job.next_check_at = self.clock.now
        self.wake(self.stop, job)

    def stop(self, job: Job) -> Process:
        lease = self.claim(job, JobStatus.QUEUED, *OBSERVED)
        if lease is not None:
            yield from self.looking_after(job, lease, self._stop(job, lease))
        elif job.status not in TERMINAL and job.wants_stop:
            job.next_check_at = self.clock.now
            self.wake(self.poll, job, 1.0)

    def _stop(self, job: Job, lease: object) -> Process:
        self.fenced(job, lease)
        attempt, order = job.open_attempt, None
        if attempt is not None and job.wants_stop:
            self.hear(job, attempt)
            order = decide(self.view_of(job, attempt), Look.FAILED, self.at(self.clock.now), self.traits)
        self.step()
        if attempt is None:
            self.without_machine(job, lease)
        elif order is not None and order.send_stop and attempt.state is AttemptState.LIVE and not attempt.stop_sent_at:
            yield from self.send_stop(job, attempt, lease, force=False)
            self.release(job, lease, 0.5)
        self.wake(self.poll, job, 0.5)

    def send_stop(self, job: Job, attempt: Attempt, lease: object, *, force: bool) -> Process:
        self.fenced(job, lease)
        attempt.stop_sent_at = attempt.stop_sent_at or self.clock.now
        try:
            yield from self.cloud.stop(attempt.name, attempt.external_id, force)
        except ProviderError:
            return
        self.step("stop.after_call")

    def without_machine(self, job: Job, lease: object) -> None:
        self.fenced(job, lease)
        if job.wants_stop and job.open_attempt is None:
            self.end_job(job, None, EndReason(job.stop_reason), may_retry=False)
        self.release(job, lease)

    # pipeline/services/ending.py

    def close_attempt(self, attempt: Attempt, reason: EndReason, *, never_created: bool) -> None:
        if attempt.is_open:
            attempt.state = AttemptState.NEVER_CREATED if never_created else AttemptState.GONE
            attempt.reason, attempt.gone_at = reason, self.clock.now

    def end_job(self, job: Job, attempt: Attempt | None, reason: EndReason, *, may_retry: bool = True) -> None:
        consequence, used = CONSEQUENCES[reason], max(1, len(job.attempts))
        if may_retry and consequence.retryable and job.status != JobStatus.CANCELLING and used < job.max_attempts:
            delay = float(RETRY_SECONDS[min(used, len(RETRY_SECONDS)) - 1])
            job.status, job.next_check_at = JobStatus.QUEUED, self.clock.now + delay
            job.wants_stop, job.stop_reason, job.stop_requested_at = False, "", None
            self.wake(self.submit, job, delay)
            return
        job.status, job.reason, job.ended_at, job.lease = consequence.status, reason, self.clock.now, None
        self.active.pop(job.number, None)

    # pipeline/services/facts.py

    def at(self, moment: float) -> datetime:
        return EPOCH + timedelta(seconds=moment)

    def view_of(self, job: Job, attempt: Attempt) -> View:
        def at(moment: float | None) -> datetime | None:
            return None if moment is None else EPOCH + timedelta(seconds=moment)

        return View(
            state=attempt.state,
            wants_stop=job.wants_stop,
            stop_reason=job.stop_reason,
            stop_requested_at=at(job.stop_requested_at),
            stop_sent_at=at(attempt.stop_sent_at),
            attempt_created_at=self.at(attempt.created_at),
            create_unknown_since=at(attempt.create_unknown_since),
            create_called=attempt.called,
            first_missed_at=at(attempt.first_missed_at),
            machine_seen_at=at(attempt.machine_seen_at),
            running_seen_at=at(attempt.running_seen_at),
            exited_seen_at=at(attempt.exited_seen_at),
            first_contact_at=at(attempt.first_contact_at),
            last_seen_at=at(attempt.last_seen_at),
            outcome=attempt.outcome,
            outcome_reason=attempt.outcome_reason,
            outcome_at=at(attempt.outcome_at),
            max_duration=timedelta(seconds=job.max_duration),
            stop_alerted=attempt.stop_alerted,
        )

    # The wire: what the program on the machine has said until now

    def hear(self, job: Job, attempt: Attempt) -> None:
        if attempt.outcome:
            return
        for machine in self.cloud.machines.get(attempt.name, []):
            alive_until = min(self.clock.now, machine.gone or self.clock.now, machine.taken)
            if alive_until < machine.boots:
                continue
            machine.contacted = True
            if job.status == JobStatus.INITIALIZING:
                job.status = JobStatus.RUNNING
            attempt.machine_seen_at = attempt.machine_seen_at or machine.boots
            attempt.first_contact_at = attempt.first_contact_at or machine.boots
            attempt.last_seen_at = min(alive_until, machine.ends)
            told = None if job.stop_requested_at is None else max(job.stop_requested_at, machine.boots) + 20
            if alive_until >= machine.ends and (told is None or machine.ends <= told):
                attempt.outcome, attempt.outcome_at = "completed", machine.ends
            elif told is not None and alive_until >= told:
                attempt.outcome, attempt.outcome_at, machine.ends = "stopped", told, told

    # pipeline/services/sweeping.py

    def sweep(self) -> Process:
        told: set[str] = set()  # whose end the sweep has ordered before
        while True:
            yield SWEEP
            looked_at = self.at(self.clock.now)
            try:
                machines = yield from self.cloud.inventory()
            except ProviderError:
                continue
            forgotten = [m for m in machines if self._whose(m, looked_at).forgotten]
            fresh = [self._whose(m, looked_at) for m in forgotten if m.external_id not in told]
            if why_hold_back(fresh, len(machines)):
                self.held_back += 1
                continue
            for machine in forgotten:
                told.add(machine.external_id)
                yield from self._order_end(machine)

    def _whose(self, machine: Machine, looked_at: datetime) -> Whose:
        _, attempt = self.attempts[machine.name]
        closed_at = None if attempt.gone_at is None else self.at(attempt.gone_at)
        known = Known(attempt.state, attempt.external_id, closed_at)
        return whose(machine.name, machine.external_id, known, INSTALLATION, looked_at)

    def _order_end(self, machine: Machine) -> Process:
        try:
            yield from self.cloud.stop(machine.name, machine.external_id, force=True)
        except ProviderError:
            return  # it is still listed at the next look


@dataclass
class Result:
    lag: float
    jobs: int
    faults: int
    crashes: int
    machines: int
    overlapping: int  # jobs with two machines at once, however short
    doubles: int  # of these, for more than two minutes
    leaks: int
    unfinished: int
    wasted_seconds: float  # per job
    endings: dict[str, int] = field(default_factory=dict)


def simulate(
    jobs: int, lag: float, seed: int, rates: Rates | None = None, *, gap: float = 4.0, sweeps: bool = True
) -> Result:
    """Run `jobs` jobs that come one every `gap` seconds, and an hour more. The same arguments give the same result."""
    chance = random.Random(f"{seed} {lag}")
    rates = rates or Rates()
    clock = Clock()
    cloud = Cloud(clock, rates, lag, chance)
    server = Server(clock, cloud)
    clock.start(server.beat())
    if sweeps:
        clock.start(server.sweep())

    def arrive() -> Process:
        for number in range(jobs):
            job = Job(number, seconds=chance.uniform(60, 600))
            server.add(job)
            if chance.random() < rates.cancelled:
                clock.start(_cancel(server, job), chance.uniform(0, 900))
            yield gap

    clock.start(arrive())
    clock.run(jobs * gap)
    clock.run(jobs * gap + 6 * 3600, done=lambda: not server.active)
    clock.run(clock.now + LEAK)
    return _count(server, cloud, lag)


def _cancel(server: Server, job: Job) -> Process:
    server.request_stop(job, EndReason.CANCELLED_BY_USER)
    return
    yield


def _count(server: Server, cloud: Cloud, lag: float) -> Result:
    now = server.clock.now
    result = Result(lag, len(server.jobs), cloud.faults, server.crashes, 0, 0, 0, 0, len(server.active), 0.0)
    wasted = 0.0
    for job in server.jobs.values():
        machines = sorted((m for a in job.attempts for m in cloud.machines.get(a.name, [])), key=lambda m: m.made)
        result.machines += len(machines)
        spans = [(m.made, m.gone if m.gone is not None else now) for m in machines]
        overlap = max((min(a[1], b[1]) - b[0] for a, b in itertools.combinations(spans, 2)), default=0.0)
        result.overlapping += overlap > 0
        result.doubles += overlap > OVERLAP
        limit = (job.ended_at if job.ended_at is not None else now) + LEAK
        result.leaks += sum(1 for m in machines if m.gone is None or m.gone > limit)
        for machine, (made, gone) in zip(machines, spans, strict=True):
            useful_until = min(machine.ends, machine.taken, gone) if machine.contacted else made
            wasted += gone - useful_until
        result.endings[job.status] = result.endings.get(job.status, 0) + 1
    result.wasted_seconds = wasted / max(1, len(server.jobs))
    return result
