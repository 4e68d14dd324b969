"""Runs a program that ends when its starter does: `leash.py PARENT_ID PROGRAM ARGUMENTS...`.

On Linux the kernel is asked to send SIGTERM when the starter dies, even by `kill -9`, and the program then takes this
process's place. Elsewhere this process stays between the two and looks after the starter. Standard library only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform != "linux":
        return watch(parent, command)
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        return watch(parent, command)
    if os.getppid() != parent:  # it died before the kernel was asked
        return 1
    os.execv(command[0], command)  # noqa: S606 - a list of words, no shell


def watch(parent: int, command: list[str]) -> int:
    child = subprocess.Popen(command, close_fds=False)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    while child.poll() is None:
        if os.getppid() != parent:
            child.terminate()
            parent = os.getppid()
        time.sleep(0.2)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
