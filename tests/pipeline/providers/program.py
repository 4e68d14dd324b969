"""A stand-in for the training program that starts in milliseconds. The first word says how it behaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

WORK = Path(os.environ["STOKER_WORK_DIR"])


def put(name: str, text: str) -> None:
    draft = WORK / f".{name}"
    draft.write_text(text)
    draft.rename(WORK / name)


def stay() -> None:
    put("ready", str(os.getpid()))
    while True:
        signal.pause()


def main(mode: str, *words: str) -> None:
    print(f"started {os.getpid()}", flush=True)
    match mode:
        case "obey":
            # Blocked and waited for: a handler that runs just before pause() would leave the pause for ever.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            put("ready", str(os.getpid()))
            signal.sigwait([signal.SIGTERM])
            put("checkpoint", "saved")
            sys.exit(75)
        case "ignore":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            stay()
        case "count":  # how often SIGTERM comes
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            put("ready", str(os.getpid()))
            for times in range(1, 100):
                signal.sigwait([signal.SIGTERM])
                put("terms", "x" * times)
        case "die":  # of a signal, without the default handlers in the way
            os.kill(os.getpid(), int(words[0]))
            signal.pause()
        case "exit":
            sys.exit(int(words[0]))
        case "print":
            print("\n".join(words), flush=True)
            print("token is", os.environ["JOB_TOKEN"], flush=True)
        case "environment":
            put("environment", json.dumps(dict(os.environ)))
            put("cwd", os.getcwd())
        case "family" | "orphan":  # a child in a session of its own, which keeps neither our lock nor our group
            child = subprocess.Popen([sys.executable, "-S", __file__, "ignore"], start_new_session=True)
            put("child", str(child.pid))
            if mode == "family":
                stay()
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
