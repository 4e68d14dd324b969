"""Which model, on what device, in which number format, with which adapter. The libraries find the layers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.failures import RunError

MODEL_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")

# For base models without a chat template. No new tokens: the end-of-text token of the tokenizer ends an answer.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ 'assistant:\\n' }}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ message['role'] + ':\\n' + message['content'] + '\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant:\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Numbers:
    """How the machine computes."""

    on_gpu: bool
    bf16: bool
    fp16: bool

    @property
    def weights(self) -> str:
        """On a GPU the frozen weights are kept in 16 bits; on a CPU autocast over 32-bit weights is the fast way."""
        if not self.on_gpu:
            return "float32"
        return "bfloat16" if self.bf16 else "float16" if self.fp16 else "float32"


def locate(base_model: str, models_dir: Path | None) -> tuple[str, bool]:
    """Return (what the libraries load, whether it is a folder here). Raise RunError for a name that is none."""
    if not MODEL_NAME.fullmatch(base_model) or ".." in base_model:
        raise RunError(f"{base_model[:100]!r} is not a model name such as org/name.")
    if models_dir is not None:
        folder = models_dir / base_model
        if (folder / "config.json").is_file():
            return str(folder), True
    return base_model, False


def numbers(wanted: str) -> Numbers:
    """`wanted` is auto, true or false (the hyperparameter bf16)."""
    import torch

    if torch.cuda.is_available():
        bf16 = wanted != "false" and torch.cuda.is_bf16_supported()
        return Numbers(on_gpu=True, bf16=bf16, fp16=not bf16 and wanted != "false")
    return Numbers(on_gpu=False, bf16=wanted == "true" or (wanted == "auto" and _cpu_is_fast_in_bf16()), fp16=False)


def _cpu_is_fast_in_bf16() -> bool:
    """Other processors emulate bfloat16, many times slower. The small product tells whether it works at all."""
    import torch

    try:
        flags = set(re.findall(r"\b(?:avx512_bf16|amx_bf16|bf16)\b", Path("/proc/cpuinfo").read_text("utf-8")))
        if not flags:
            return False
        x = torch.ones(32, 32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return bool(torch.isfinite(x @ x).all())
    except (OSError, RuntimeError):
        return False


def quantization(values: dict[str, Any], bf16: bool, fp16: bool) -> Any:
    """A BitsAndBytesConfig, or None."""
    import torch
    from transformers import BitsAndBytesConfig

    if values["quantization"] == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    if values["quantization"] == "4bit":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=values["bnb_4bit_quant_type"],
            bnb_4bit_use_double_quant=values["bnb_4bit_use_double_quant"],
            bnb_4bit_compute_dtype=torch.bfloat16 if bf16 else torch.float16 if fp16 else torch.float32,
        )
    return None


def adapter(values: dict[str, Any], task_type: str | None = "CAUSAL_LM") -> Any:
    """A LoraConfig."""
    from peft import LoraConfig

    return LoraConfig(
        task_type=task_type,
        r=values["r"],
        lora_alpha=values["lora_alpha"],
        lora_dropout=values["lora_dropout"],
        target_modules=values["target_modules"],
        use_dora=values["use_dora"],
        use_rslora=values["use_rslora"],
    )


def load_kwargs(values: dict[str, Any], how: Numbers) -> dict[str, Any]:
    kwargs: dict[str, Any] = {"dtype": how.weights}
    if values["attn_implementation"] != "auto":
        kwargs["attn_implementation"] = values["attn_implementation"]
    return kwargs


def tokenizer(source: str, chat: bool) -> Any:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(source)
    if loaded.pad_token is None:
        loaded.pad_token = loaded.eos_token
    if chat and not loaded.chat_template:
        loaded.chat_template = PLAIN_TEMPLATE
    return loaded


def explain_loading(base_model: str, error: Exception) -> RunError:
    """The libraries' own texts run over many lines and name internals; the first sentence is what helps."""
    first = str(error).strip().split("\n")[0][:300]
    return RunError(
        f"The base model {base_model} could not be loaded: {first} "
        "Check its name, and that HF_TOKEN is set when it is gated."
    )
