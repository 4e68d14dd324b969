"""Who may import whom: arrows point one way, and some corners stay free of heavy or foreign things."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ["training", "datasets", "pipeline", "frontend", "notifications", "pipeline.config"]
MAY_IMPORT = {
    "training": {"training"},
    "datasets": {"training", "datasets"},
    "pipeline": {"training", "datasets", "pipeline"},
    "notifications": {"training", "datasets", "pipeline", "notifications"},
    "frontend": {"training", "datasets", "pipeline", "frontend"},
    "pipeline.config": set(LAYERS) | {"celery_app"},
}
# The server's Python has none of these, and must not need them.
TRAINER_ONLY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "bitsandbytes",
    "gguf",
    "safetensors",
    "tokenizers",
}
STANDARD_LIBRARY_ONLY = [
    "training/contract.py",
    "training/records.py",
    "training/hyperparameters.py",
    "training/conflicts.py",
    "training/pod.py",
    "pipeline/config/leash.py",
]


def layer_of(module: str) -> str | None:
    if module == "pipeline.config" or module.startswith("pipeline.config."):
        return "pipeline.config"
    top = module.partition(".")[0]
    return top if top in LAYERS or top == "celery_app" else None


def files_of(layer: str) -> Iterator[Path]:
    folder = ROOT / layer.replace(".", "/")
    for file in sorted(folder.rglob("*.py")):
        if layer_of(".".join(file.relative_to(ROOT).with_suffix("").parts)) == layer:
            yield file


def imports_of(file: Path) -> Iterator[tuple[int, str]]:
    package = file.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            for alias in node.names:
                # "from pipeline import config" reaches the submodule.
                inner = f"{module}.{alias.name}"
                yield node.lineno, inner if layer_of(inner) != layer_of(module) else module


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_one_way(layer):
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {module}"
        for file in files_of(layer)
        for line, module in imports_of(file)
        if (target := layer_of(module))
        and target not in MAY_IMPORT[layer]
        # In the training program `datasets` is Hugging Face's library: it runs without this repository's root.
        and not (layer == "training" and target == "datasets")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer != "training"])
def test_the_server_never_imports_the_trainers_libraries(layer):
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {module}"
        for file in files_of(layer)
        for line, module in imports_of(file)
        if module.partition(".")[0] in TRAINER_ONLY
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("file", STANDARD_LIBRARY_ONLY)
def test_shared_files_need_the_standard_library_only(file):
    allowed = set(sys.stdlib_module_names) | {"training"}
    wrong = {module for _, module in imports_of(ROOT / file) if module.partition(".")[0] not in allowed}
    assert not wrong


def test_providers_know_the_contract_the_program_and_their_base_only():
    """A provider says what happened outside; what that means for a job is decided elsewhere."""
    known = ("training.contract", "training.bundle", "pipeline.providers")
    wrong = []
    for file in sorted((ROOT / "pipeline/providers").rglob("*.py")):
        for line, module in imports_of(file):
            top = layer_of(module)
            if top is None or module.startswith(known) or module == "training":
                continue
            wrong.append(f"{file.relative_to(ROOT)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)
