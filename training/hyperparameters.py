"""One table of every value a person can set for a run, and the check of such values. Standard library only.

The server builds its form, its API documentation and its refusals from this table; the program reads the same names.
Names are those of PEFT, Transformers and TRL wherever one of them has the value; the few others are ours
(`quantization`, `validation_split`, `held_out_samples`, `sample_max_new_tokens`, `parallelism`).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from training.conflicts import conflicts


class FieldType(StrEnum):
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    STR = "str"
    CHOICE = "choice"
    LIST_OR_STR = "list-or-str"  # a list of strings, or one string with a meaning of its own


class Group(StrEnum):
    """The sections of a form, in the order in which a person reads them."""

    TRAINING = "Training"
    LORA = "LoRA"
    DATA = "Data"
    EVALUATION = "Evaluation"
    QUANTIZATION = "Quantization"
    ADVANCED = "Advanced"


@dataclass(frozen=True)
class Hyperparameter:
    name: str
    type: FieldType
    default: Any
    group: Group
    label: str
    help: str
    minimum: float | None = None  # inclusive
    maximum: float | None = None  # inclusive
    choices: tuple[str, ...] = ()
    unit: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


SWITCH = ("auto", "true", "false")  # choices of a switch that can also be left to the program

FIELDS: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        "learning_rate", FieldType.FLOAT, 2e-4, Group.TRAINING, "Learning rate",
        "Size of the largest step. LoRA usually wants 1e-4 to 5e-4; very small models take up to 1e-3.",
        minimum=1e-8, maximum=1.0,
    ),
    Hyperparameter(
        "num_train_epochs", FieldType.FLOAT, 3.0, Group.TRAINING, "Epochs",
        "How many times the whole dataset is seen. Ignored when a maximum of steps is set.",
        minimum=0.01, maximum=1000.0, unit="epochs",
    ),
    Hyperparameter(
        "max_steps", FieldType.INT, -1, Group.TRAINING, "Maximum steps",
        "Stop after so many optimizer steps. -1 means: as many as the epochs take.",
        minimum=-1, maximum=10_000_000, unit="steps",
    ),
    Hyperparameter(
        "per_device_train_batch_size", FieldType.INT, 2, Group.TRAINING, "Batch size per GPU",
        "Rows that one GPU works on at once. The first thing to lower when memory runs out.",
        minimum=1, maximum=1024, unit="rows",
    ),
    Hyperparameter(
        "gradient_accumulation_steps", FieldType.INT, 4, Group.TRAINING, "Gradient accumulation",
        "Batches added up before one step. Batch size x accumulation x GPUs is the effective batch size.",
        minimum=1, maximum=4096, unit="batches",
    ),
    Hyperparameter(
        "lr_scheduler_type", FieldType.CHOICE, "cosine", Group.TRAINING, "Learning rate schedule",
        "How the learning rate changes after the warm-up.",
        choices=(
            "cosine", "linear", "constant", "constant_with_warmup",
            "cosine_with_restarts", "polynomial", "inverse_sqrt",
        ),
    ),
    Hyperparameter(
        "warmup_steps", FieldType.FLOAT, 0.03, Group.TRAINING, "Warm-up",
        "Steps during which the learning rate rises from zero. A value below 1 is a share of all steps.",
        minimum=0.0, maximum=1_000_000.0, unit="steps",
    ),
    Hyperparameter(
        "weight_decay", FieldType.FLOAT, 0.0, Group.TRAINING, "Weight decay",
        "Pulls weights towards zero. Often 0 for LoRA, at most 0.1.", minimum=0.0, maximum=1.0,
    ),
    Hyperparameter(
        "max_grad_norm", FieldType.FLOAT, 1.0, Group.TRAINING, "Gradient clipping",
        "Longer gradients are shortened to this norm. 0 turns clipping off.", minimum=0.0, maximum=1000.0,
    ),
    Hyperparameter(
        "optim", FieldType.CHOICE, "adamw_torch", Group.TRAINING, "Optimizer",
        "The 8-bit and paged ones save GPU memory and need bitsandbytes.",
        choices=(
            "adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit",
            "paged_adamw_32bit", "adafactor", "sgd",
        ),
    ),
    Hyperparameter(
        "seed", FieldType.INT, 42, Group.TRAINING, "Seed",
        "The same seed gives the same split of the data and the same order of rows.", minimum=0, maximum=2**31 - 1,
    ),
    Hyperparameter(
        "logging_steps", FieldType.INT, 5, Group.TRAINING, "Log every",
        "A point on the charts after so many steps.", minimum=1, maximum=100_000, unit="steps",
    ),
    Hyperparameter(
        "save_steps", FieldType.INT, 100, Group.TRAINING, "Checkpoint every",
        "A checkpoint from which the run can be resumed is stored after so many steps. 0 stores none on the way.",
        minimum=0, maximum=10_000_000, unit="steps",
    ),
    Hyperparameter(
        "save_total_limit", FieldType.INT, 2, Group.TRAINING, "Checkpoints kept on the machine",
        "Older ones are deleted from the machine's disk.", minimum=1, maximum=100,
    ),
    Hyperparameter(
        "r", FieldType.INT, 16, Group.LORA, "Rank (r)",
        "Size of the adapter: 8 for style, 16 to 64 for new behaviour. Memory and file size grow with it.",
        minimum=1, maximum=1024,
    ),
    Hyperparameter(
        "lora_alpha", FieldType.FLOAT, 32.0, Group.LORA, "Alpha",
        "Strength of the adapter; commonly twice the rank.", minimum=0.01, maximum=8192.0,
    ),
    Hyperparameter(
        "lora_dropout", FieldType.FLOAT, 0.05, Group.LORA, "Dropout",
        "Share of the adapter that is switched off at random while training; helps small datasets.",
        minimum=0.0, maximum=0.9,
    ),
    Hyperparameter(
        "target_modules", FieldType.LIST_OR_STR, "all-linear", Group.LORA, "Target modules",
        "all-linear fits every architecture. Or a list of layer names (q_proj, v_proj), or one regular expression.",
    ),
    Hyperparameter(
        "use_rslora", FieldType.BOOL, False, Group.LORA, "Rank-stabilized LoRA",
        "Scales by the square root of the rank; steadier with ranks above 32.",
    ),
    Hyperparameter(
        "use_dora", FieldType.BOOL, False, Group.LORA, "DoRA",
        "Learns size and direction apart. Slower; can help at small ranks.",
    ),
    Hyperparameter(
        "max_length", FieldType.INT, 1024, Group.DATA, "Sequence length",
        "Longer rows are cut to so many tokens. Memory grows with it.", minimum=8, maximum=1_048_576, unit="tokens",
    ),
    Hyperparameter(
        "packing", FieldType.BOOL, False, Group.DATA, "Packing",
        "Puts several short rows into one sequence; much faster when rows are short.",
    ),
    Hyperparameter(
        "assistant_only_loss", FieldType.BOOL, False, Group.DATA, "Learn from every assistant turn",
        "Off: the last answer of each conversation is learnt. On: all assistant turns; needs a model family whose chat "
        "template marks them (Qwen, Llama 3, Gemma, Phi-3 and others).",
    ),
    Hyperparameter(
        "validation_split", FieldType.FLOAT, 0.05, Group.EVALUATION, "Validation share",
        "Share of the rows, at most 500 rows, kept apart for the validation loss. Not used with a validation dataset.",
        minimum=0.0, maximum=0.5,
    ),
    Hyperparameter(
        "eval_steps", FieldType.INT, 50, Group.EVALUATION, "Evaluate every",
        "The validation loss is measured after so many steps and at the end. 0 measures only at the end.",
        minimum=0, maximum=10_000_000, unit="steps",
    ),
    Hyperparameter(
        "per_device_eval_batch_size", FieldType.INT, 2, Group.EVALUATION, "Evaluation batch size per GPU",
        "Rows that one GPU evaluates at once.", minimum=1, maximum=1024, unit="rows",
    ),
    Hyperparameter(
        "held_out_samples", FieldType.INT, 4, Group.EVALUATION, "Held-out prompts",
        "Rows never trained on; base model and adapter answer them and both answers are shown. 0 turns it off.",
        minimum=0, maximum=64,
    ),
    Hyperparameter(
        "sample_max_new_tokens", FieldType.INT, 96, Group.EVALUATION, "Longest held-out answer",
        "Answers to held-out prompts are cut after so many tokens.", minimum=1, maximum=4096, unit="tokens",
    ),
    Hyperparameter(
        "quantization", FieldType.CHOICE, "none", Group.QUANTIZATION, "Quantization",
        "Loads the base model in 8 or 4 bits to save GPU memory (4bit is QLoRA).", choices=("none", "8bit", "4bit"),
    ),
    Hyperparameter(
        "bnb_4bit_quant_type", FieldType.CHOICE, "nf4", Group.QUANTIZATION, "4-bit type",
        "nf4 suits the weights of language models.", choices=("nf4", "fp4"),
    ),
    Hyperparameter(
        "bnb_4bit_use_double_quant", FieldType.BOOL, True, Group.QUANTIZATION, "Double quantization",
        "Also compresses the scales of the 4-bit weights; saves about 0.4 bit per parameter.",
    ),
    Hyperparameter(
        "bf16", FieldType.CHOICE, "auto", Group.ADVANCED, "bfloat16",
        "Computes in 16 bits. auto uses it where the machine is fast with it.", choices=SWITCH,
    ),
    Hyperparameter(
        "activation_checkpointing", FieldType.CHOICE, "auto", Group.ADVANCED, "Activation checkpointing",
        "Saves much GPU memory for about a third more time. auto: on with a GPU, off without.", choices=SWITCH,
    ),
    Hyperparameter(
        "attn_implementation", FieldType.CHOICE, "auto", Group.ADVANCED, "Attention",
        "auto lets the library choose. flash_attention_2 needs that package in the image.",
        choices=("auto", "sdpa", "eager", "flash_attention_2"),
    ),
    Hyperparameter(
        "loss_type", FieldType.CHOICE, "nll", Group.ADVANCED, "Loss",
        "nll is the usual loss; dft (dynamic fine-tuning) forgets less.", choices=("nll", "dft"),
    ),
    Hyperparameter(
        "neftune_noise_alpha", FieldType.FLOAT, 0.0, Group.ADVANCED, "NEFTune noise",
        "Noise on the embeddings while training; 5 is common for chat. 0 turns it off.", minimum=0.0, maximum=100.0,
    ),
    Hyperparameter(
        "parallelism", FieldType.CHOICE, "ddp", Group.ADVANCED, "Several GPUs",
        "How the GPUs of one machine share the work; with one GPU it changes nothing. ddp: a whole model on each, the "
        "fastest while it fits. fsdp: each holds a part of the model, for models too large for one GPU. zero2 shares "
        "gradients and optimizer, zero3 the model as well, as fsdp does; both need DeepSpeed in the image.",
        choices=("ddp", "fsdp", "zero2", "zero3"),
    ),
)  # fmt: skip

BY_NAME: dict[str, Hyperparameter] = {field.name: field for field in FIELDS}

# Names that older versions of the libraries used, or that people often write.
FORMER_NAMES = {
    "max_seq_length": "max_length",
    "warmup_ratio": "warmup_steps",
    "gradient_checkpointing": "activation_checkpointing",
    "lora_r": "r",
    "lora_rank": "r",
    "rank": "r",
    "epochs": "num_train_epochs",
    "batch_size": "per_device_train_batch_size",
    "lr": "learning_rate",
    "load_in_4bit": "quantization",
    "load_in_8bit": "quantization",
    "lora_target_modules": "target_modules",
}


class RefusedError(Exception):
    """One value cannot be used; the text is a sentence for the person who set it."""


LAYER_NAME = re.compile(r"[A-Za-z_][\w.]*")
MAX_TEXT = 1_000


def defaults() -> dict[str, Any]:
    return {field.name: field.default for field in FIELDS}


def validate(values: Mapping[str, Any], *, complete: bool = True) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return the clean values and, for each refused one, its name and a sentence.

    The clean values hold every name of the table (defaults for those not given), or with `complete=False` only the
    given ones, which is what a preset stores. A refused value is left out, or replaced by its default.
    """
    clean: dict[str, Any] = defaults() if complete else {}
    errors: list[tuple[str, str]] = []
    if not isinstance(values, Mapping):
        return clean, [("", f"Hyperparameters are an object of names and values, not {_kind(values)}.")]
    for name, value in values.items():
        field = BY_NAME.get(name) if isinstance(name, str) else None
        if field is None:
            errors.append((str(name), _unknown(str(name))))
            continue
        try:
            clean[name] = _clean(field, value)
        except RefusedError as error:
            errors.append((name, str(error)))
    if not errors:
        errors = conflicts({**defaults(), **clean})
    return clean, errors


def _clean(field: Hyperparameter, value: Any) -> Any:
    match field.type:
        case FieldType.INT | FieldType.FLOAT:
            return _number(field, value)
        case FieldType.BOOL:
            if not isinstance(value, bool):
                raise RefusedError(f"{field.name} must be true or false, not {_kind(value)}.")
            return value
        case FieldType.CHOICE:
            return _choice(field, value)
        case FieldType.LIST_OR_STR:
            return _targets(field, value)
        case _:
            if not isinstance(value, str) or len(value) > MAX_TEXT:
                raise RefusedError(f"{field.name} must be a text of at most {MAX_TEXT} characters, not {_kind(value)}.")
            return value


def _number(field: Hyperparameter, value: Any) -> int | float:
    whole = field.type is FieldType.INT
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusedError(f"{field.name} must be {'a whole number' if whole else 'a number'}, not {_kind(value)}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise RefusedError(f"{field.name} must be a finite number, not {value}.")
    if whole and value != int(value):
        raise RefusedError(f"{field.name} must be a whole number; it is {value}.")
    low, high = field.minimum, field.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        raise RefusedError(f"{field.name} must be between {low:g} and {high:,.10g}; it is {_shown(value)}.")
    if field.name == "max_steps" and value == 0:
        raise RefusedError("max_steps must be -1 (as many as the epochs take) or at least 1; it is 0.")
    return int(value) if whole else float(value)


def _choice(field: Hyperparameter, value: Any) -> str:
    if field.choices == SWITCH and isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        raise RefusedError(f"{field.name} must be one of {', '.join(field.choices)}, not {_kind(value)}.")
    if value not in field.choices:
        raise RefusedError(f"{field.name} must be one of {', '.join(field.choices)}; it is {_shown(value)}.")
    return value


def _targets(field: Hyperparameter, value: Any) -> str | list[str]:
    """A text of names becomes a list: PEFT reads a string other than all-linear as one pattern over whole paths."""
    if isinstance(value, str):
        text = value.strip()
        if not text or len(text) > MAX_TEXT:
            raise RefusedError(
                f"{field.name} must be all-linear, layer names, or a pattern of at most {MAX_TEXT} characters."
            )
        if text == "all-linear":
            return text
        names = [part for part in re.split(r"[,\s]+", text) if part]
        if not all(LAYER_NAME.fullmatch(name) for name in names):
            try:
                re.compile(text)
            except re.error as error:
                raise RefusedError(f"{field.name} is not a valid regular expression: {error}.") from error
            return text
    elif isinstance(value, list | tuple):
        names = list(value)
    else:
        raise RefusedError(f"{field.name} must be all-linear, a list of layer names, or a pattern, not {_kind(value)}.")
    if not names or len(names) > 200:
        raise RefusedError(f"{field.name} must name between 1 and 200 layers.")
    for name in names:
        if not isinstance(name, str) or not LAYER_NAME.fullmatch(name):
            raise RefusedError(f"{field.name} must hold layer names such as q_proj; {_shown(name)} is not one.")
        if name == "lm_head":
            raise RefusedError("target_modules cannot hold lm_head: the loss uses its weight directly. Leave it out.")
    return names


def _unknown(name: str) -> str:
    close = FORMER_NAMES.get(name) or next(iter(difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0.6)), None)
    hint = f" Did you mean {close}?" if close else " The table at /api/hyperparameters/ lists all names."
    return f"{_shown(name)} is not a known hyperparameter.{hint}"


def _kind(value: Any) -> str:
    if value is None:
        return "empty"
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), type(value).__name__)


def _shown(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 10**18:
        return "a very large number"  # Python refuses to print whole numbers of more than 4300 digits.
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
