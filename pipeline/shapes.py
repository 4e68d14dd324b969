"""How large models are: what of their architecture decides how much memory and time they take.

Known for the models of the catalogue and for every model whose config.json is on this machine; else guessed from the
size that a model's name tells (“…-7B”), or not known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

_NAMED = re.compile(r"(?<![\w.])(\d{1,3}(?:\.\d{1,3})?)([BM])(?![a-z0-9])", re.IGNORECASE)
_TRUSTED = 1 << 20  # no number of a config.json that decides a size is larger


@dataclass(frozen=True)
class Shape:
    """A decoder with gated feed-forward layers, as nearly all language models of today are."""

    parameters: float
    layers: int
    hidden: int
    inner: int  # of the feed-forward part
    queries: int  # width of all query heads
    keys: int  # width of all key heads, and of all value heads
    vocabulary: int
    tied: bool  # input and output embeddings are one matrix
    guessed: bool = False  # only the number of parameters is known, and that from the name

    @property
    def embeddings(self) -> float:
        return float(self.vocabulary * self.hidden * (1 if self.tied else 2))

    def linear(self) -> dict[str, tuple[int, int]]:
        """The layers an adapter can sit on: name, width in, width out. Each is there once in every layer."""
        return {
            "q_proj": (self.hidden, self.queries),
            "k_proj": (self.hidden, self.keys),
            "v_proj": (self.hidden, self.keys),
            "o_proj": (self.queries, self.hidden),
            "gate_proj": (self.hidden, self.inner),
            "up_proj": (self.hidden, self.inner),
            "down_proj": (self.inner, self.hidden),
        }


def _shape(
    layers: int, hidden: int, inner: int, keys: int, vocabulary: int, *, queries: int = 0, tied: bool = False
) -> Shape:
    bare = Shape(0, layers, hidden, inner, queries or hidden, keys, vocabulary, tied)
    return replace(bare, parameters=bare.embeddings + layers * sum(a * b for a, b in bare.linear().values()))


KNOWN: dict[str, Shape] = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": _shape(30, 576, 1536, 192, 49152, tied=True),
    "HuggingFaceTB/SmolLM2-360M-Instruct": _shape(32, 960, 2560, 320, 49152, tied=True),
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": _shape(24, 2048, 8192, 2048, 49152, tied=True),
    "Qwen/Qwen2.5-0.5B-Instruct": _shape(24, 896, 4864, 128, 151936, tied=True),
    "Qwen/Qwen2.5-1.5B-Instruct": _shape(28, 1536, 8960, 256, 151936, tied=True),
    "Qwen/Qwen2.5-7B-Instruct": _shape(28, 3584, 18944, 512, 152064),
    "Qwen/Qwen3-0.6B": _shape(28, 1024, 3072, 1024, 151936, queries=2048, tied=True),
    "Qwen/Qwen3-1.7B": _shape(28, 2048, 6144, 1024, 151936, tied=True),
    "Qwen/Qwen3-4B": _shape(36, 2560, 9728, 1024, 151936, queries=4096, tied=True),
    "Qwen/Qwen3-8B": _shape(36, 4096, 12288, 1024, 151936),
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": _shape(22, 2048, 5632, 256, 32000),
    "meta-llama/Llama-3.2-1B-Instruct": _shape(16, 2048, 8192, 512, 128256, tied=True),
    "meta-llama/Llama-3.2-3B-Instruct": _shape(28, 3072, 8192, 1024, 128256, tied=True),
    "meta-llama/Llama-3.1-8B-Instruct": _shape(32, 4096, 14336, 1024, 128256),
    "mistralai/Mistral-7B-Instruct-v0.3": _shape(32, 4096, 14336, 1024, 32768),
    "google/gemma-3-1b-it": _shape(26, 1152, 6912, 256, 262144, queries=1024, tied=True),
    "microsoft/Phi-3.5-mini-instruct": _shape(32, 3072, 8192, 3072, 32064),
}

# What a model of a size that is known from its name alone is taken to look like: the one nearest in size.
_USUAL = (
    *KNOWN.values(),
    _shape(32, 4096, 11008, 4096, 32000),  # 7B, of the first Llamas
    _shape(40, 5120, 13824, 5120, 32000),  # 13B
    _shape(64, 5120, 27648, 1024, 152064),  # 32B
    _shape(80, 8192, 28672, 1024, 128256),  # 70B
    _shape(126, 16384, 53248, 1024, 128256),  # 405B
)


def named(base_model: str) -> Shape | None:
    """From the size in a model's name; None where there is none, or several experts (“8x7b”)."""
    found = _NAMED.search(base_model)
    if not found or (parameters := float(found[1]) * (1e9 if found[2].upper() == "B" else 1e6)) <= 0:
        return None
    nearest = min(_USUAL, key=lambda shape: abs(math.log(shape.parameters / parameters)))
    return replace(nearest, parameters=parameters, guessed=True)


def configured(config: Mapping[str, Any]) -> Shape | None:
    """From a model's config.json; None where it says too little, or describes another architecture."""
    inner = config.get("text_config")
    text = inner if isinstance(inner, Mapping) else config

    def number(name: str, default: int = 0) -> int:
        value = text.get(name, default)
        return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _TRUSTED else default

    layers, hidden = number("num_hidden_layers"), number("hidden_size")
    wide, words, heads = number("intermediate_size"), number("vocab_size"), number("num_attention_heads")
    if not (layers and hidden and wide and words and heads) or "num_local_experts" in text or "num_experts" in text:
        return None
    head = number("head_dim", hidden // heads)
    keys = number("num_key_value_heads", heads) * head
    tied = text.get("tie_word_embeddings", False) is True
    return _shape(layers, hidden, wide, keys, words, queries=heads * head, tied=tied)
