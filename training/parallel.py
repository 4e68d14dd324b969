"""Several processes: each with a whole copy of the model (DDP), or with a share of it (FSDP, DeepSpeed's ZeRO)."""

from __future__ import annotations

import importlib.util
from enum import StrEnum
from typing import Any

from training.failures import RunError

DEEPSPEED = "deepspeed==0.19.8"


class Parallelism(StrEnum):
    """The choices of the hyperparameter of that name."""

    DDP = "ddp"
    FSDP = "fsdp"
    ZERO2 = "zero2"
    ZERO3 = "zero3"

    @property
    def shares_weights(self) -> bool:
        """No process can compute alone: whatever runs the model must be called by all of them."""
        return self in (Parallelism.FSDP, Parallelism.ZERO3)

    @property
    def places_late(self) -> bool:
        """The model gets to its GPU, in whole or in part, only when the training begins."""
        return self is not Parallelism.DDP

    @property
    def is_deepspeed(self) -> bool:
        return self in (Parallelism.ZERO2, Parallelism.ZERO3)


def chosen(wanted: str, processes: int) -> Parallelism:
    """What the run uses. One process has nobody to share with, and Accelerate refuses to try."""
    return Parallelism(wanted) if processes > 1 else Parallelism.DDP


def require(kind: Parallelism) -> None:
    """Raise RunError when a library that this kind needs is missing; called before anything large is loaded."""
    if kind.is_deepspeed and importlib.util.find_spec("deepspeed") is None:
        raise RunError(
            f"parallelism = {kind} needs DeepSpeed, which is not installed on this machine. Install it beside torch "
            f"in the environment of the training program (pip install {DEEPSPEED}), or choose ddp or fsdp."
        )


def arguments(kind: Parallelism, checkpointing: bool) -> dict[str, Any]:
    """What TrainingArguments are told. `checkpointing`: activations are computed again instead of kept."""
    if kind is Parallelism.FSDP:
        # FSDP's own checkpointing: that of the arguments would gather all weights a second time going back.
        return {
            "fsdp": True,
            "fsdp_config": {
                "version": 2,
                "reshard_after_forward": True,
                "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
                "state_dict_type": "FULL_STATE_DICT",
                "activation_checkpointing": checkpointing,
            },
            "activation_checkpointing": False,
        }
    if kind.is_deepspeed:
        found: dict[str, Any] = {"deepspeed": deepspeed_config(kind), "activation_checkpointing": checkpointing}
        if kind is Parallelism.ZERO3 and checkpointing:
            # The other way compares shapes of what it computes again, and shared-out weights have changed theirs.
            found["activation_checkpointing_kwargs"] = {"use_reentrant": True}
        return found
    return {"activation_checkpointing": checkpointing, "ddp_find_unused_parameters": False}


def deepspeed_config(kind: Parallelism) -> dict[str, Any]:
    """What "auto" stands for comes from the training arguments and from the size of the model."""
    zero: dict[str, Any] = {
        "stage": 3 if kind is Parallelism.ZERO3 else 2,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_bucket_size": "auto",
    }
    if kind is Parallelism.ZERO3:
        zero |= {
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    return {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "zero_optimization": zero,
    }


def agree(wanted: int) -> int:
    """The strongest wish of all processes. Each must ask, and none goes on before the last one has."""
    import torch

    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return wanted
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    flag = torch.tensor([wanted], device=device)
    distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
    return int(flag.item())
