"""Runs a program for each imitated pod whose container ought to run, as a container host does.

The program gets the pod's environment and a key of the pod's own. When it exits it is started again, and the pod is
billed meanwhile. When the pod is stopped or ended it gets SIGTERM, and SIGKILL after the pod's grace. A program whose
host process was killed is found again by its process id and start time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pipeline.providers.local.environment import program_environment
from tests.fakes.runpod.pod import Pod
from tests.fakes.runpod.world import World
from training.contract import ENV_METRICS_API_URL, ENV_POD_API_URL

RESTART_PAUSE = 1.0  # seconds of ours between the end of a container and its next start
POD_ID = "RUNPOD_POD_ID"
UNREACHABLE = "http://127.0.0.1:9/cut-off"
NICE = 5


@dataclass
class Container:
    id: str  # of the pod
    process: psutil.Process
    popen: subprocess.Popen[bytes] | None  # None: started by an earlier process of the host
    started: float  # imitated time
    kill_at: float | None = None  # monotonic time of SIGKILL, once SIGTERM was sent

    def exit_code(self) -> int | None:
        """None while it runs; -1000 when it has ended and nobody knows how."""
        if self.popen is not None:
            return self.popen.poll()
        with contextlib.suppress(psutil.NoSuchProcess):
            if self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE:
                return None
        return -1000

    def ask_to_end(self) -> None:
        """To the main process alone, as a container host does."""
        with contextlib.suppress(psutil.Error):
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """The main process, and all that it started, in whatever session: nothing outlives a container."""
        for victim in [self.process, *_members(self.id)]:
            with contextlib.suppress(psutil.Error):
                victim.kill()


class Host:
    """`command` is what every container runs, whatever its image is called."""

    def __init__(self, command: Sequence[str], folder: Path, models_dir: Path) -> None:
        self.command = list(command)
        self.folder = folder
        self.models_dir = models_dir
        self.api_url = ""  # where a program finds the API that it would otherwise look for in the real world
        self._containers: dict[str, Container] = {}
        self._start_next: dict[str, float] = {}

    def adopt(self, world: World) -> None:
        """Find the programs that an earlier process of this host left running."""
        for id_, known in world.extra.get("containers", {}).items():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(known["pid"])
                if abs(process.create_time() - known["create_time"]) < 0.1:
                    self._containers[id_] = Container(id_, process, None, known["started"])

    def tick(self, world: World) -> None:
        """Start, start again and end what ought to be. Returns at once."""
        with world.lock:
            now = world.clock.now()
            for pod in world.pods.values():
                container = self._containers.get(pod.id)
                if container is not None:
                    self._look(world, pod, container, now)
                elif pod.traits.get("foreign"):
                    continue
                elif pod.container_runs(now) and time.monotonic() >= self._start_next.get(pod.id, 0):
                    self._start(world, pod, now)

    def running(self) -> int:
        return len(self._containers)

    def output(self, pod: Pod, tail: int) -> list[str]:
        """The last lines its program printed. Nothing once the container is removed."""
        if pod.over:
            return []
        try:
            text = (self._place(pod) / "output.log").read_text("utf-8", "replace")
        except FileNotFoundError:
            return []
        return text.splitlines()[-tail:] if tail else []

    def kill(self) -> None:
        """End every program now, and wait for it."""
        for container in self._containers.values():
            container.kill()
        for container in self._containers.values():
            if container.popen is not None:
                container.popen.wait()
        self._containers.clear()

    def _look(self, world: World, pod: Pod, container: Container, now: float) -> None:
        code = container.exit_code()
        if code is not None:
            self._ended(world, pod, container, code, now)
        elif not pod.container_runs(now):
            self._end(container, pod.grace)
        elif (loop := pod.traits.get("restart_loop")) and now - container.started >= loop["seconds"]:
            done = loop.get("done", 0)
            if loop["loops"] is None or done < loop["loops"]:
                loop["done"] = done + 1
                container.kill()

    def _end(self, container: Container, grace: float) -> None:
        if container.kill_at is None:
            container.kill_at = time.monotonic() + grace
            if grace > 0:
                container.ask_to_end()
        if time.monotonic() >= container.kill_at:
            container.kill()

    def _ended(self, world: World, pod: Pod, container: Container, code: int, now: float) -> None:
        container.kill()  # what it left behind dies with it
        del self._containers[pod.id]
        self._remember(world)
        pod.note(now, f"container ended ({'exit code ' + str(code) if code != -1000 else 'nobody saw how'})")
        if pod.container_runs(now):
            pod.restarts += 1
            pod.container_since = now
            self._start_next[pod.id] = time.monotonic() + RESTART_PAUSE
        if pod.over or pod.stopped_at is not None or pod.traits.get("wiped_disk"):
            shutil.rmtree(self._place(pod) / "disk", ignore_errors=True)
        world.save()

    def _start(self, world: World, pod: Pod, now: float) -> None:
        disk = self._place(pod) / "disk"
        disk.mkdir(parents=True, exist_ok=True)
        with open(self._place(pod) / "output.log", "ab") as output:
            popen = subprocess.Popen(
                self.command, cwd=disk, env=self._environment(pod, disk), stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        process = psutil.Process(popen.pid)
        with contextlib.suppress(psutil.Error, OSError):
            process.nice(NICE)  # pages stay quick while a CPU trains
        self._containers[pod.id] = Container(pod.id, process, popen, now)
        pod.container_since = now
        pod.note(now, "start container")
        self._remember(world)
        world.save()

    def _environment(self, pod: Pod, disk: Path) -> dict[str, str]:
        asked: dict[str, str] = {ENV_POD_API_URL: self.api_url} | pod.body.get("env", {})
        if pod.traits.get("cut_off") and ENV_METRICS_API_URL in asked:
            asked[ENV_METRICS_API_URL] = UNREACHABLE
        injected = {
            POD_ID: pod.id,
            "RUNPOD_API_KEY": pod.key,
            "RUNPOD_DC_ID": pod.place,
            "RUNPOD_POD_HOSTNAME": f"{pod.id}-imitated",
            "RUNPOD_GPU_COUNT": str(pod.count),
            "RUNPOD_CPU_COUNT": str(9 * pod.count),
        }
        return program_environment(os.environ, asked | injected, work_dir=disk, models_dir=self.models_dir)

    def _place(self, pod: Pod) -> Path:
        return self.folder / pod.id

    def _remember(self, world: World) -> None:
        known: dict[str, Any] = {}
        for id_, container in self._containers.items():
            with contextlib.suppress(psutil.Error):
                created = container.process.create_time()
                known[id_] = {"pid": container.process.pid, "create_time": created, "started": container.started}
        world.extra["containers"] = known


def _members(id_: str) -> list[psutil.Process]:
    """Every process that was born in the container of this pod."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(POD_ID) == id_:
                found.append(process)
    return found
