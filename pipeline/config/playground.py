"""The playground: STOKER_PLAYGROUND=1 puts an imitated RunPod and an imitated cluster in the place of the real ones.

They run beside the product, on the two ports after its own, and keep what they know in STOKER_HOME/playground. No
Django here: the settings are read through `with_imitations`, so that no process of a playground knows another address.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from pipeline.config.env import Env, Refused
from pipeline.config.home import running_at

ROOT = Path(__file__).resolve().parent.parent.parent
FLAG = "STOKER_PLAYGROUND"
KEY = "playground-key"  # opens an account at both
FOLDER = "playground"
PORT_FILE = "port"
NAMES = ("runpod", "cluster")
FREE_SECONDS = 2.0
PROVIDERS = {
    "runpod": "pipeline.providers.imitated.ImitatedRunPod",
    "cluster": "pipeline.providers.imitated.ImitatedCluster",
}


def is_wanted(variables: Mapping[str, str]) -> bool:
    return Env(variables).flag(FLAG)


def with_imitations(variables: Mapping[str, str] = os.environ) -> Mapping[str, str]:
    """The variables with the addresses of the imitations in place of any others, if a playground is wanted.

    A command in another terminal belongs to the playground that runs on its folder, whether it was told so or not.
    """
    if not Env(variables).is_set(FLAG) and (port := _running_port(variables)) is not None:
        variables = {**variables, FLAG: "1", "PORT": str(port)}
    if not is_wanted(variables):
        return variables
    runpod, cluster = ports(variables)
    return {
        **variables,
        "RUNPOD_API_URL": f"http://127.0.0.1:{runpod}/v2",
        "RUNPOD_GRAPHQL_URL": f"http://127.0.0.1:{runpod}/graphql",
        "RUNPOD_IMAGE": "imitated/stoker-pod:playground",
        "GPU_CLUSTER_API_URL": f"http://127.0.0.1:{cluster}",
    }


def mark(folder: Path, port: int | None) -> None:
    """Note that a playground runs on `folder`, or with None that what runs there is none."""
    note = folder / FOLDER / PORT_FILE
    if port is None:
        note.unlink(missing_ok=True)
    else:
        note.parent.mkdir(mode=0o700, exist_ok=True)
        note.write_text(f"{port}\n", "ascii")


def _running_port(variables: Mapping[str, str]) -> int | None:
    folder = Path(variables.get("STOKER_HOME") or ROOT / ".stoker")
    try:
        port = int((folder / FOLDER / PORT_FILE).read_text("ascii"))
    except (OSError, ValueError):
        return None
    return port if running_at(folder) else None


def ports(variables: Mapping[str, str]) -> tuple[int, int]:
    """Of RunPod and the cluster. Raise Refused when there are none after the product's own."""
    port = Env(variables).integer("PORT", 8000, least=1, most=65535)
    if port > 65533:
        raise Refused(f"A playground needs the two ports after PORT, but PORT is {port}. Choose a lower one.")
    return port + 1, port + 2


def commands(variables: Mapping[str, str]) -> dict[str, list[str]]:
    """What the imitations are started with, after the name of Python; nothing where no playground is wanted.

    Raise Refused when one cannot be started.
    """
    if not is_wanted(variables):
        return {}
    if not (ROOT / "tests" / "fakes" / "runpod").is_dir():
        raise Refused(f"{FLAG} is set, but the imitations (tests/fakes) are not installed here.")
    numbers = dict(zip(NAMES, ports(variables), strict=True))
    for name, port in numbers.items():
        _refuse_taken(name, port)
    folder = Path(variables["STOKER_HOME"]) / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    made = {
        name: ["-m", f"tests.fakes.{name}", "--port", str(port), "--state", str(folder / f"{name}.json")]
        for name, port in numbers.items()
    }
    made["runpod"] += ["--pods", str(folder / "pods"), "--any-key"]
    return made


def _refuse_taken(name: str, port: int) -> None:
    """An imitation that was killed a moment ago may still be letting go of its port."""
    deadline = time.monotonic() + FREE_SECONDS
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Refused(
                        f"Port {port} on 127.0.0.1, on which the playground would imitate {name}, cannot be used: "
                        f"{error.strerror}. Choose another PORT: the two after it must be free, too."
                    ) from None
        time.sleep(0.1)
