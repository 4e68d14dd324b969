"""How much memory of a GPU a training takes, reckoned before anything is rented. Pure arithmetic, good to about 15 %.

    (weights + what is kept for each trained parameter + activations + logits) x 1.1 + 0.8 GB

The weights follow the quantization; bitsandbytes leaves embeddings in 16 bits. Activations are counted as in
Korthikanti et al. 2022 (arXiv 2205.05198) without the attention matrix, which today's kernels never store.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pipeline.shapes import Shape

GB = 1e9
LOST = 1.1  # fragmentation
CONTEXT = 0.8  # GB that the driver and the libraries take
FITS, MIGHT_FIT = 0.9, 1.1  # of a GPU's memory: the estimate errs by about as much
# Bytes for each trained parameter: the value and its gradient in 32 bits, and what the optimizer remembers.
_TRAINED = {"adamw_8bit": 10, "paged_adamw_8bit": 10, "adafactor": 8, "sgd": 8}
_ADAM = 16


class Fit(StrEnum):
    YES = "yes"
    TIGHT = "tight"
    NO = "no"
    UNKNOWN = "unknown"


def needed(
    shape: Shape,
    values: Mapping[str, Any],
    *,
    gpus: int = 1,
    on_cpu: bool = False,
    longest_row: int | None = None,
    chunked_loss: bool = True,
) -> float:
    """GB on each of `gpus`. `values` are complete hyperparameters.

    No batch is longer than the `longest_row` of the data, when that is known and rows are not packed. Without a
    `chunked_loss` the logits of a whole batch are there at once; the training program never has them so.
    """
    length = values["max_length"]
    if longest_row and not values["packing"]:
        length = min(length, longest_row)
    tokens = values["per_device_train_batch_size"] * length
    sharing = values["parallelism"] if gpus > 1 else "ddp"
    weights = _weights(shape, values, on_cpu) / (gpus if sharing in ("fsdp", "zero3") else 1)
    state = trained_parameters(shape, values) * _TRAINED.get(values["optim"], _ADAM) / (gpus if sharing != "ddp" else 1)
    logits = 0 if chunked_loss else 10 * tokens * shape.vocabulary
    total = weights + state + tokens * shape.hidden * _kept_of_a_token(shape, values, on_cpu) + logits
    return total * LOST / GB + CONTEXT


def fit(need: float | None, memory_gb: float | None) -> Fit:
    if need is None or not memory_gb:
        return Fit.UNKNOWN
    if need <= memory_gb * FITS:
        return Fit.YES
    return Fit.TIGHT if need <= memory_gb * MIGHT_FIT else Fit.NO


def trained_parameters(shape: Shape, values: Mapping[str, Any]) -> float:
    """Of the adapter: two narrow matrices at each layer it sits on. A pattern counts as all layers."""
    targets, layers = values["target_modules"], shape.linear()
    chosen = layers
    if isinstance(targets, list) and set(targets) <= layers.keys():
        chosen = {name: layers[name] for name in targets}
    return float(shape.layers * values["r"] * sum(inward + outward for inward, outward in chosen.values()))


def _weights(shape: Shape, values: Mapping[str, Any], on_cpu: bool) -> float:
    """In bytes. Where a CPU computes in 16 bits is known only there, so the larger size is counted."""
    whole = 4 if on_cpu and values["bf16"] != "true" else 2
    if values["quantization"] == "none":
        return shape.parameters * whole
    small = 1.0 if values["quantization"] == "8bit" else 0.516 if values["bnb_4bit_use_double_quant"] else 0.5625
    kept = min(shape.embeddings, shape.parameters)
    return kept * whole + (shape.parameters - kept) * small


def _kept_of_a_token(shape: Shape, values: Mapping[str, Any], on_cpu: bool) -> int:
    """Bytes for each token and each of the hidden numbers: every layer's input, and one layer computed again."""
    switch = values["activation_checkpointing"]
    computed_again = switch == "true" or (switch == "auto" and not on_cpu)
    return 2 * shape.layers + 34 if computed_again else 34 * shape.layers
