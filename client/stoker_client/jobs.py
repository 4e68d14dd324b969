from __future__ import annotations

import builtins
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Unpack

from stoker_client.errors import StillWaiting, StokerError
from stoker_client.listing import every
from stoker_client.shapes import Artifact, Event, Frame, Job, LogLine, NewJob, Series
from stoker_client.transport import Transport

Progress = Callable[[int, int], None]  # bytes received, bytes in all
PAGE = 1000
LOOK_EVERY = 1.0  # seconds


class Jobs:
    def __init__(self, transport: Transport, pause: Callable[[float], None]) -> None:
        self._transport, self._pause = transport, pause

    def create(self, *, key: str | None = None, **job: Unpack[NewJob]) -> Job:
        """Make a job; with `start=True` it begins at once. Raise Refused with everything that is wrong with it.

        The same `key` given again, within 24 hours, makes no second job; each call has a key of its own by itself.
        """
        return Job.of(self._transport.create("/api/jobs/", key=key, json=job))

    def list(self, *, limit: int | None = None, **filters: Any) -> list[Job]:
        """The newest first. `filters` as in the API: status ("running,queued"), search, provider, dataset, ordering."""
        given = {name: value for name, value in filters.items() if value not in (None, "")}
        return [Job.of(row) for row in every(self._transport, "/api/jobs/", limit, most=200, **given)]

    def get(self, job_id: str) -> Job:
        """With its configuration, attempts, cost and newest points in `data`."""
        return Job.of(self._transport.get(f"/api/jobs/{job_id}/"))

    def start(self, job_id: str) -> Job:
        return Job.of(self._transport.post(f"/api/jobs/{job_id}/start/", again=False))

    def cancel(self, job_id: str) -> Job:
        """Order the end of a job: `cancelling` until its machine was seen to be gone. Asking again is harmless."""
        return Job.of(self._transport.post(f"/api/jobs/{job_id}/cancel/"))

    def retry(self, job_id: str, *, key: str | None = None) -> Job:
        """Try an ended job again, as a new job."""
        return Job.of(self._transport.create(f"/api/jobs/{job_id}/retry/", key=key))

    def resume(self, job_id: str, checkpoint: str | None = None, *, key: str | None = None) -> Job:
        """Go on with an ended job at a checkpoint it left, the newest one by itself, as a new job."""
        body = {"checkpoint": checkpoint}
        return Job.of(self._transport.create(f"/api/jobs/{job_id}/resume/", key=key, json=body))

    def save(self, job_id: str) -> Job:
        """Ask a running job for a checkpoint without stopping it."""
        return Job.of(self._transport.post(f"/api/jobs/{job_id}/checkpoint/"))

    def delete(self, job_id: str) -> None:
        self._transport.request("DELETE", f"/api/jobs/{job_id}/")

    def logs(self, job_id: str, *, after: tuple[int, int] | None = (1, 0), q: str = "") -> Iterator[LogLine]:
        """All lines after a position (attempt, n), oldest first; with `after=None` only the newest 500."""
        path = f"/api/jobs/{job_id}/logs/"
        if after is None:
            yield from map(LogLine.of, self._transport.get(path, q=q or None)["results"])
            return
        place: dict[str, int] | None = {"after_attempt": after[0], "after_n": after[1]}
        while place:
            answer = self._transport.get(path, limit=PAGE, q=q or None, **place)
            yield from map(LogLine.of, answer["results"])
            place = answer["next"]

    def events(self, job_id: str, *, after: int = 0) -> Iterator[Event]:
        """What happened after a number, oldest first."""
        place: int | None = after
        while place is not None:
            answer = self._transport.get(f"/api/jobs/{job_id}/events/", after=place, limit=PAGE)
            yield from map(Event.of, answer["results"])
            place = answer["next_after"]

    def metrics(self, job_id: str, *, points: int = 1500, names: str = "") -> Series:
        """The curves, thinned to so many points each; names parted by commas choose some of them."""
        answer = self._transport.get(f"/api/jobs/{job_id}/metrics/", points=points, names=names or None)
        curves = {name: (curve["step"], curve["value"]) for name, curve in answer["series"].items()}
        return Series(answer["seq"], curves)

    def metrics_file(self, job_id: str, to: str | Path, *, progress: Progress | None = None) -> Path:
        """Every point with all its digits, as CSV or, when the name ends with .json, as JSON."""
        to = Path(to)
        kind = "json" if to.suffix == ".json" else "csv"
        return self._fetch(f"/api/jobs/{job_id}/metrics.{kind}", to, progress)

    def artifacts(self, job_id: str) -> builtins.list[Artifact]:
        """Adapter, checkpoints and what else the job left, the newest first."""
        return [Artifact.of(row) for row in self._transport.get(f"/api/jobs/{job_id}/artifacts/")]

    def download(
        self,
        job_id: str,
        to: str | Path = ".",
        *,
        artifact: str | None = None,
        progress: Progress | None = None,
    ) -> Path:
        """Fetch a stored file, the adapter by itself, into a folder or under a name. Its SHA-256 is checked."""
        chosen = _choose(self.artifacts(job_id), artifact)
        to = Path(to)
        target = to / chosen.name if to.is_dir() else to
        return self._fetch(f"/api/artifacts/{chosen.id}/download/", target, progress, chosen.sha256)

    def wait(self, job_id: str, *, timeout: float | None = None, every: float = LOOK_EVERY) -> Job:
        """The job when it has ended, however it did. Raise StillWaiting after `timeout` seconds; the job goes on."""
        end = None if timeout is None else time.monotonic() + timeout
        while not (job := self.get(job_id)).has_ended:
            if end is not None and time.monotonic() >= end:
                raise StillWaiting(f"“{job.name}” has not ended within {timeout:g} seconds. It goes on.")
            self._pause(every)
        return job

    def follow(self, job_id: str, *, after: int = 0, every: float = LOOK_EVERY) -> Iterator[Frame]:
        """All that happens to a job after a number, until it has ended and everything was told.

        Nothing is missed or told twice, whatever happened to the connection meanwhile: each frame begins where the one
        before it ended. Raise Unreachable when patience is at its end; go on after the last frame's `seq`.
        """
        while True:
            answer = self._transport.get(f"/api/jobs/{job_id}/live/", after=after)
            frame = Frame(
                answer["seq"],
                Job.of(answer["job"]),
                answer["metrics"],
                [Event.of(one) for one in answer["events"]],
                [LogLine.of(one) for one in answer["logs"]],
            )
            after = frame.seq
            yield frame
            if answer["more"]:
                continue
            if frame.job.has_ended:
                return
            self._pause(every)

    def _fetch(self, path: str, target: Path, progress: Progress | None, sha256: str = "") -> Path:
        """Under its name only when it is complete: a part of a file is never taken for the whole."""
        part = target.with_name(target.name + ".part")
        digest = hashlib.sha256()
        try:
            with self._transport.download(path) as response, part.open("wb") as file:
                size = int(response.headers.get("Content-Length", 0))
                for chunk in response.iter_bytes(1 << 16):
                    file.write(chunk)
                    digest.update(chunk)
                    if progress is not None:
                        progress(file.tell(), size)
            if sha256 and digest.hexdigest() != sha256:
                raise StokerError(f"“{target.name}” did not arrive as it was stored. Fetch it again.")
            part.replace(target)
        except OSError as error:
            raise StokerError(f"“{target}” cannot be written: {error.strerror or error}.") from error
        finally:
            part.unlink(missing_ok=True)
        return target


def _choose(artifacts: list[Artifact], wanted: str | None) -> Artifact:
    stored = [one for one in artifacts if one.state == "stored"]
    if wanted is None:
        stored = [one for one in stored if one.kind == "adapter"]
    else:
        stored = [one for one in stored if wanted in (one.kind, one.name) or one.id.startswith(wanted)]
    if not stored:
        there = ", ".join(f"{one.name} ({one.state})" for one in artifacts) or "none"
        raise StokerError(f"This job has no stored file “{wanted or 'adapter'}”. Its files: {there}.")
    return stored[0]
