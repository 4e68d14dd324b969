"""Clients in processes of their own that begin together, and what the server's processes cost meanwhile."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import BrokenBarrierError
from typing import Any

import psutil

READY_SECONDS = 60
Ready = Callable[[], None]
Call = tuple[Callable[..., Any], tuple[Any, ...]]  # a function of this package, and its arguments after `ready`

# Forked from a server without threads: this process has some, the supervisor's among them.
_context = multiprocessing.get_context("forkserver")


def prepare() -> None:
    """Start the server that forks the clients, with everything they import already loaded."""
    _context.set_forkserver_preload(["benchmarks.ingest", "benchmarks.live"])


class Together:
    """Runs each call in a process of its own: `function(ready, *arguments)`. All return from `ready()` together.

    Used as a context: inside it the clients are at work, and `results` waits for what they return.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = calls
        self._barrier = _context.Barrier(len(calls) + 1)
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []

    def __enter__(self) -> Together:
        for function, arguments in self._calls:
            ours, theirs = _context.Pipe(duplex=False)
            process = _context.Process(target=_run, args=(function, arguments, self._barrier, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        try:
            self._barrier.wait(READY_SECONDS)
        except BrokenBarrierError:
            try:
                self.results(5)
                raise
            finally:
                self.__exit__()
        return self

    def results(self, timeout: float) -> list[Any]:
        """What the calls returned, in their order. Raises RuntimeError with the traceback of one that failed."""
        deadline = time.monotonic() + timeout
        answers = [pipe.recv() if pipe.poll(max(deadline - time.monotonic(), 0)) else None for pipe in self._pipes]
        failures = [failure for failure, _ in filter(None, answers) if failure]
        if failures:  # the others may only have waited for the one that failed
            raise RuntimeError("A client failed:\n" + min(failures, key=lambda text: "BrokenBarrierError" in text))
        if None in answers:
            raise RuntimeError(f"A client did not end within {timeout:g} s.")
        return [result for _, result in filter(None, answers)]

    def __exit__(self, *exception: object) -> None:
        for process in self._processes:
            process.join(5)
            if process.is_alive():
                process.kill()
        for pipe in self._pipes:
            pipe.close()


def _run(function: Callable[..., Any], arguments: tuple[Any, ...], barrier: Any, pipe: Connection) -> None:
    try:
        pipe.send(("", function(lambda: barrier.wait(READY_SECONDS), *arguments)))
    except BaseException:  # noqa: BLE001 - it is told in the process that waits for the result
        barrier.abort()
        pipe.send((traceback.format_exc(), None))


def cpu_seconds(pids: Sequence[int]) -> float:
    """Processor time that these processes and their descendants have used so far, the ended ones included."""
    total = 0.0
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    used = process.cpu_times()
                    total += used.user + used.system + used.children_user + used.children_system
    return total
