"""Base models to choose from: a few that train well with LoRA, and whatever lies in the models folder of this machine.

The list only helps to choose. A job may name any model of the Hugging Face Hub.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from pipeline import shapes
from pipeline.shapes import Shape

MAX_FOUND = 200
MAX_CONFIG = 1 << 20  # bytes


@dataclass(frozen=True)
class BaseModel:
    id: str
    label: str
    parameters: int | None  # None: not known
    licence: str
    note: str = ""
    gated: bool = False  # the Hub wants the licence accepted and a token
    on_this_machine: bool = False


CATALOGUE: tuple[BaseModel, ...] = (
    BaseModel(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "SmolLM2 135M Instruct",
        134_515_008,
        "Apache-2.0",
        "Trains on a CPU; for trying things out.",
    ),
    BaseModel(
        "HuggingFaceTB/SmolLM2-360M-Instruct",
        "SmolLM2 360M Instruct",
        361_821_120,
        "Apache-2.0",
        "Small enough for a CPU with patience.",
    ),
    BaseModel("HuggingFaceTB/SmolLM2-1.7B-Instruct", "SmolLM2 1.7B Instruct", 1_711_376_384, "Apache-2.0"),
    BaseModel("Qwen/Qwen2.5-0.5B-Instruct", "Qwen2.5 0.5B Instruct", 494_032_768, "Apache-2.0"),
    BaseModel("Qwen/Qwen2.5-1.5B-Instruct", "Qwen2.5 1.5B Instruct", 1_543_714_304, "Apache-2.0"),
    BaseModel("Qwen/Qwen2.5-7B-Instruct", "Qwen2.5 7B Instruct", 7_615_616_512, "Apache-2.0"),
    BaseModel("Qwen/Qwen3-0.6B", "Qwen3 0.6B", 596_049_920, "Apache-2.0"),
    BaseModel("Qwen/Qwen3-1.7B", "Qwen3 1.7B", 1_720_574_976, "Apache-2.0"),
    BaseModel("Qwen/Qwen3-4B", "Qwen3 4B", 4_022_468_096, "Apache-2.0"),
    BaseModel("Qwen/Qwen3-8B", "Qwen3 8B", 8_190_735_360, "Apache-2.0"),
    BaseModel("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "TinyLlama 1.1B Chat", 1_100_048_384, "Apache-2.0"),
    BaseModel(
        "meta-llama/Llama-3.2-1B-Instruct", "Llama 3.2 1B Instruct", 1_235_814_400, "Llama 3.2 Community", gated=True
    ),
    BaseModel(
        "meta-llama/Llama-3.2-3B-Instruct", "Llama 3.2 3B Instruct", 3_212_749_824, "Llama 3.2 Community", gated=True
    ),
    BaseModel(
        "meta-llama/Llama-3.1-8B-Instruct", "Llama 3.1 8B Instruct", 8_030_261_248, "Llama 3.1 Community", gated=True
    ),
    BaseModel("mistralai/Mistral-7B-Instruct-v0.3", "Mistral 7B Instruct v0.3", 7_248_023_552, "Apache-2.0"),
    BaseModel("google/gemma-3-1b-it", "Gemma 3 1B", 999_885_952, "Gemma terms", gated=True),
    BaseModel("microsoft/Phi-3.5-mini-instruct", "Phi-3.5 mini", 3_821_079_552, "MIT"),
)


def base_models() -> list[BaseModel]:
    """Models on this machine first (they start without a download), then the rest of the catalogue."""
    found = _found()
    known = {model.id: model for model in CATALOGUE}
    here = [
        BaseModel(**(vars(known[name]) | {"on_this_machine": True}))
        if name in known
        else BaseModel(name, name, _size(path), "", "Found in this machine's models folder.", on_this_machine=True)
        for name, path in found.items()
    ]
    return here + [model for model in CATALOGUE if model.id not in found]


def shape_of(base_model: str) -> Shape | None:
    """What is known of a model's size: listed, read from its files on this machine, or guessed from its name."""
    if known := shapes.KNOWN.get(base_model):
        return known
    path = _found().get(base_model)
    return (_configured(path) if path else None) or shapes.named(base_model)


def parameters_of(base_model: str) -> float | None:
    """How many parameters a model has, or None."""
    listed = next((model.parameters for model in CATALOGUE if model.id == base_model), None)
    shape = None if listed else shape_of(base_model)
    return float(listed) if listed else shape.parameters if shape else None


def _found() -> dict[str, Path]:
    """organisation/model of each folder that holds a model, and its config.json. What cannot be read holds none."""
    try:
        paths = sorted(settings.STOKER_MODELS_DIR.glob("*/*/config.json"))[:MAX_FOUND]
    except OSError:
        return {}
    return {f"{path.parent.parent.name}/{path.parent.name}": path for path in paths}


def _size(path: Path) -> int | None:
    shape = _configured(path)
    return int(shape.parameters) if shape else None


def _configured(path: Path) -> Shape | None:
    try:
        with path.open("rb") as file:
            config = json.loads(file.read(MAX_CONFIG))
    except (OSError, ValueError, RecursionError):
        return None
    return shapes.configured(config) if isinstance(config, dict) else None
