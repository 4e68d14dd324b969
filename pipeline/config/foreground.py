"""Running a stack in a terminal: what Ctrl-C does, and how lines are shown."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.config.supervisor import Stack

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
COLOURS = {"setup": 32, "web": 36, "worker": 33, "beat": 35, "reconcile": 34, "runpod": 34, "cluster": 34}


@contextmanager
def stopped_in_the_end(stack: Stack) -> Iterator[None]:
    """Ctrl-C, SIGTERM or a closed terminal raise KeyboardInterrupt inside; the stack is stopped in any case.

    A second signal while it stops makes it kill what has not ended yet.
    """

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    def hurry(number: int, frame: object) -> None:
        stack.hurry()

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number in SIGNALS:
            signal.signal(number, hurry)
        stack.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def show(name: str, line: str) -> None:
    label = f"{name:>9} |"
    if sys.stdout.isatty():
        label = f"\033[{COLOURS.get(name.partition('-')[0], 37)}m{label}\033[0m"
    print(label, line, flush=True)
