"""Turns a model in a GGUF file into an ordinary Hugging Face folder. Run with the trainer's Python; needs no network.

    python import_gguf.py MODEL.gguf FOLDER

Weights are written in bfloat16. The folder must not exist; it appears only when the model in it has been loaded again.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"


def convert(source: Path, target: Path) -> int:
    """Write `target` and return the number of parameters."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
    loaded = AutoModelForCausalLM.from_pretrained(str(source.parent), gguf_file=source.name, dtype=torch.float32)

    # What comes from a GGUF file counts as quantized and cannot be saved: its weights go into a fresh model.
    config = loaded.config.to_dict()
    config.pop("quantization_config", None)
    model = type(loaded)(type(loaded.config).from_dict(config))
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    model.to(torch.bfloat16).save_pretrained(part)
    tokenizer.save_pretrained(part)
    again = AutoModelForCausalLM.from_pretrained(part, dtype=torch.bfloat16)
    os.replace(part, target)
    return int(again.num_parameters())


if __name__ == "__main__":
    parameters = convert(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
    print(f"{parameters:,} parameters")
