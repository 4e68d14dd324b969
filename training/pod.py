"""What a rented machine runs: it fetches the training program, runs it once, and orders the end of its own machine.

The environment of a rented machine can be read by others, so the token in it is good for one exchange only; the token
the program works with exists in the program's environment alone. A host starts a container again whenever its process
ends, and bills all the while. So this process does not end by itself: when there is nothing more to do it asks for the
machine's end, again and again, and a second start trains nothing.

Standard library only. It runs as a file, in an image with nothing but the libraries of the training.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

if not __package__:  # started as a file: the folder above is the one to import from
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from training import environment, links
from training.client import Client, Kind, NoRedirect, backoff, pause
from training.contract import ENV_JOB_TOKEN, ENV_MAX_SECONDS, ENV_POD_API_URL, UNTIL_FILE
from training.environment import Environment
from training.failures import RunError, SetupError, StopRequested
from training.redact import Redactor
from training.watchdog import GRACE_SECONDS, LAST_NET_SECONDS

# Put there by RunPod: which machine this is, and a key that is good for it alone.
ENV_POD_ID, ENV_POD_KEY = "RUNPOD_POD_ID", "RUNPOD_API_KEY"
DEFAULT_API_URL = "https://api.runpod.io/v2"
# For tests, which do not wait for minutes.
ENV_CONTACT_SECONDS = "STOKER_POD_CONTACT_SECONDS"
ENV_AGAIN_SECONDS = "STOKER_POD_AGAIN_SECONDS"

CONTACT_SECONDS = 1200.0  # how long the server may be away before the training has begun
AGAIN_SECONDS = 60.0  # between two orders to end this machine
# The program keeps its time limit itself; past this much more it is ended from outside, at once.
OVERTIME_SECONDS = GRACE_SECONDS + LAST_NET_SECONDS
USER_AGENT = "stoker-pod/0.1"  # without one of its own, the guard in front of the API refuses the call


class NotToTrain(Exception):
    """There is nothing to do on this machine; the message says why."""


@dataclass(frozen=True)
class Grant:
    """What the exchange gave."""

    token: str
    program_url: str
    program_sha256: str
    seconds: float


class Pod:
    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._redact = Redactor([variables.get(ENV_JOB_TOKEN, ""), variables.get(ENV_POD_KEY, "")])
        self._told_to_end = False  # set by the signal handler, which must not take a lock
        self._program: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Train, then ask for the end of this machine. Returns only when the process is told to end (SIGTERM)."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        try:
            code = self._train()
            self._say(f"The program ended with exit code {code}.")
        except StopRequested:
            self._say("Told to end before the training began.")
        except (NotToTrain, SetupError, RunError, OSError) as error:
            self._say(str(error))
        if not self._told_to_end:
            self._leave()
        # Whoever ended the container may start it again: then it finds that it has trained.
        return 0

    def _train(self) -> int:
        env = environment.read(dict(self._variables))
        folder = env.work_dir / "pod"
        folder.mkdir(exist_ok=True)
        began = folder / "began"
        if began.exists():
            raise NotToTrain("This machine has trained before and was started again; it does not train twice.")
        program, grant = self._prepare(env, folder)
        began.touch()
        return self._run_program(program, env, grant)

    # Before the training

    def _prepare(self, env: Environment, folder: Path) -> tuple[Path, Grant]:
        end = time.monotonic() + _seconds(self._variables.get(ENV_CONTACT_SECONDS), CONTACT_SECONDS)
        waits = backoff(2.0, 60.0)
        while True:
            grant = self._exchange(env, folder, end)
            try:
                return self._fetch(grant, folder / "training.pyz"), grant
            except RunError:
                if time.monotonic() >= end:
                    raise
                # Perhaps the server was replaced meanwhile, and its program with it: then it names another digest.
                pause(next(waits), self._gives_up)

    def _fetch(self, grant: Grant, target: Path) -> Path:
        link = (grant.program_url, grant.program_sha256)
        return links.fetch("the program", lambda: link, target, self._gives_up, self._say)

    def _exchange(self, env: Environment, folder: Path, end: float) -> Grant:
        """Ask until the server answers. Raise NotToTrain when it will not have this machine."""
        client = Client(env.api_url, env.job_id, env.token)
        waits, nonce = backoff(), _nonce(folder)
        while True:
            answer = client.post("bootstrap", {"nonce": nonce})
            if answer.kind is Kind.OK:
                return self._grant(answer.body)
            if answer.kind is not Kind.LATER:
                raise NotToTrain(f"The server will not have this machine: {answer.said}")
            if time.monotonic() >= end:
                raise NotToTrain(f"The server could not be reached for too long: {answer.said}.")
            if self._told_to_end:
                raise StopRequested("Told to end.")
            pause(answer.retry_after if answer.retry_after is not None else next(waits), self._gives_up)

    def _grant(self, answer: Mapping[str, object]) -> Grant:
        token, program, seconds = answer.get("token"), answer.get("program"), answer.get("seconds")
        program = program if isinstance(program, dict) else {}
        url, sha256 = program.get("url"), program.get("sha256")
        if not (isinstance(token, str) and isinstance(url, str) and isinstance(sha256, str) and url and token):
            raise NotToTrain("The server's answer holds no token or no program.")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 10**8:
            raise NotToTrain("The server's answer does not say how long this machine may train.")
        # Written down when the machine was asked for, and never exceeded.
        most = _seconds(self._variables.get(ENV_MAX_SECONDS), float(seconds))
        return Grant(token, url, sha256, min(float(seconds), most))

    # The training

    def _run_program(self, program: Path, env: Environment, grant: Grant) -> int:
        kept = {name: value for name, value in self._variables.items() if name != ENV_POD_KEY}
        self._program = subprocess.Popen(
            [sys.executable, str(program)],
            env=kept | {ENV_JOB_TOKEN: grant.token},
            cwd=env.work_dir,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        if self._told_to_end:  # while it was being started
            self._pass_on(signal.SIGTERM)
        allowed = grant.seconds + OVERTIME_SECONDS
        try:
            while True:
                try:
                    return self._program.wait(allowed)
                except subprocess.TimeoutExpired:
                    allowed = _until(env.work_dir / UNTIL_FILE) + OVERTIME_SECONDS - time.time()
                    if allowed <= 0:
                        self._say("The program did not keep its time limit and is ended.")
                        self._kill()
                        return self._program.wait()
        finally:
            self._kill()  # what it may have left behind

    def _on_sigterm(self, number: int, frame: object) -> None:
        self._told_to_end = True
        self._pass_on(signal.SIGTERM)

    def _pass_on(self, number: signal.Signals) -> None:
        if self._program is not None and self._program.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._program.pid, number)

    def _kill(self) -> None:
        """End the program and all that it started."""
        assert self._program is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._program.pid, signal.SIGKILL)

    def _gives_up(self) -> bool:
        return self._told_to_end

    # After the training

    def _leave(self) -> None:
        """Ask for the end of this machine until it comes, or until the process is told to end."""
        pod_id, key = self._variables.get(ENV_POD_ID, ""), self._variables.get(ENV_POD_KEY, "")
        if not pod_id or not key:
            self._say(f"{ENV_POD_ID} or {ENV_POD_KEY} is not set, so this machine cannot end itself.")
            while not self._told_to_end:
                pause(AGAIN_SECONDS, self._gives_up)
            return
        api = (self._variables.get(ENV_POD_API_URL) or DEFAULT_API_URL).rstrip("/")
        again = _seconds(self._variables.get(ENV_AGAIN_SECONDS), AGAIN_SECONDS)
        while not self._told_to_end:
            came_of_it = _delete(f"{api}/pods/{quote(pod_id, safe='')}", key)
            self._say(f"Asked for the end of this machine: {came_of_it}.")
            pause(again, self._gives_up)

    def _say(self, text: str) -> None:
        print(self._redact(f"stoker pod: {text}"), flush=True)


def _delete(url: str, key: str) -> str:
    """Order the end of a machine; what came of it, in a few words."""
    headers = {"Authorization": f"Bearer {key}", "User-Agent": USER_AGENT}
    request = urllib.request.Request(url, headers=headers, method="DELETE")  # noqa: S310 - the operator's address
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=30.0) as response:
            return f"answered {response.status}"
    except urllib.error.HTTPError as error:
        error.close()
        return f"answered {error.code}"
    except (OSError, HTTPException, ValueError) as error:
        return f"no answer ({type(error).__name__})"


def _until(file: Path) -> float:
    """Until when the program may run, by its own note of a limit that was raised; 0 without one."""
    try:
        return float(file.read_text("ascii"))
    except (OSError, ValueError):
        return 0.0


def _nonce(folder: Path) -> str:
    """A random text that stays the same when the container is started again, so that a lost answer can be asked for."""
    file = folder / "nonce"
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        draft = folder / "nonce.draft"
        draft.write_text(secrets.token_urlsafe(32), "utf-8")
        draft.replace(file)
        return file.read_text("utf-8")


def _seconds(text: str | None, default: float) -> float:
    try:
        seconds = float(text or "")
    except ValueError:
        return default
    return seconds if 0 < seconds < 10**8 else default


def main() -> NoReturn:
    sys.exit(Pod(dict(os.environ)).run())


if __name__ == "__main__":
    main()
