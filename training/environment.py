"""What the program is told by its environment: read once, checked, and the secret taken out of it."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from training.contract import ENV_JOB_ID, ENV_JOB_TOKEN, ENV_METRICS_API_URL, ENV_MODELS_DIR, ENV_WORK_DIR
from training.failures import SetupError

ENV_PROCESSES = "STOKER_PROCESSES"  # how many training processes; default: one per visible GPU
ENV_LAUNCH = "STOKER_LAUNCH"  # set by the launcher for its ranks: names this launch


@dataclass(frozen=True)
class Environment:
    job_id: str
    token: str
    api_url: str  # {api_url}/{job_id}/events and so on
    work_dir: Path
    models_dir: Path | None
    rank: int
    world_size: int

    @property
    def leads(self) -> bool:
        """Only one process of a run talks to the server."""
        return self.rank == 0


def read(env: MutableMapping[str, str] = os.environ) -> Environment:
    """Read the environment. Raise SetupError with a sentence that names the variable."""
    values = {}
    for name, meaning in (
        (ENV_JOB_ID, "the id of the job"),
        (ENV_JOB_TOKEN, "the token of this attempt"),
        (ENV_METRICS_API_URL, "the address of the server's training API"),
    ):
        values[name] = env.get(name, "").strip()
        if not values[name]:
            raise SetupError(f"{name} is not set. It must hold {meaning}.")
    url = values[ENV_METRICS_API_URL].rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise SetupError(f"{ENV_METRICS_API_URL} must be an http or https address, not {url!r}.")
    work_dir = Path(env.get(ENV_WORK_DIR) or "stoker-work").resolve()
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"{ENV_WORK_DIR} ({work_dir}) cannot be made: {error.strerror}.") from error
    models = env.get(ENV_MODELS_DIR, "").strip()
    return Environment(
        job_id=values[ENV_JOB_ID],
        token=values[ENV_JOB_TOKEN],
        api_url=url,
        work_dir=work_dir,
        models_dir=Path(models).resolve() if models else None,
        rank=int(env.get("RANK", "0")),
        world_size=int(env.get("WORLD_SIZE", "1")),
    )


def hide_token(env: MutableMapping[str, str] = os.environ) -> None:
    """Take the token out of the environment, so that no library or child process can read or print it."""
    env.pop(ENV_JOB_TOKEN, None)


def prepare_libraries(work_dir: Path, offline: bool, env: MutableMapping[str, str] = os.environ) -> None:
    """Set what the libraries read when they are imported. Must run before torch and transformers are."""
    wanted = {
        "OMP_WAIT_POLICY": "passive",  # spinning threads slow a shared machine down several times
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        "HF_DATASETS_CACHE": str(work_dir / "cache"),
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "PYTHONFAULTHANDLER": "1",
    }
    if offline:
        wanted["HF_HUB_OFFLINE"] = "1"
    for name, value in wanted.items():
        env.setdefault(name, value)
