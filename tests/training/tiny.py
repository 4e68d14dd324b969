"""Makes the tiny models of the tests: random weights, two layers, and a tokenizer trained on our rows.

A Llama (`tiny`), a T5 (`tiny-t5`) and a BERT (`tiny-bert`), side by side in one folder.

Run with the trainer's Python: `python tiny.py FOLDER`. Takes seconds, nearly all of it imports; needs no network.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

VOCABULARY, HIDDEN, LAYERS, HEADS = 384, 64, 2, 4
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def rows(count: int = 60) -> Iterator[dict[str, object]]:
    """Chat rows whose answer is a small JSON object, always the same ones."""
    dice = random.Random(7)
    for _ in range(count):
        colour, number = dice.choice(["red", "green", "blue"]), dice.randint(1, 99)
        answer = json.dumps({"name": "paint", "arguments": {"colour": colour, "times": number}})
        yield {
            "messages": [
                {"role": "system", "content": "Answer with one JSON function call."},
                {"role": "user", "content": f"Paint it {colour}, {number} times."},
                {"role": "assistant", "content": answer},
            ]
        }


def jsonl(count: int = 60) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows(count)).encode()


def build(target: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        T5Config,
        T5ForConditionalGeneration,
        set_seed,
    )

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>", "<|mask|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((json.dumps(row) for row in rows()), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        mask_token="<|mask|>",
        model_max_length=1024,
    )
    set_seed(0)
    config = LlamaConfig(
        vocab_size=len(wrapped),
        hidden_size=HIDDEN,
        intermediate_size=HIDDEN * 3,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=wrapped.eos_token_id,
        pad_token_id=wrapped.pad_token_id,
    )
    t5 = T5Config(
        vocab_size=len(wrapped),
        d_model=HIDDEN,
        d_kv=HIDDEN // HEADS,
        d_ff=HIDDEN * 3,
        num_layers=LAYERS,
        num_heads=HEADS,
        decoder_start_token_id=wrapped.pad_token_id,
        eos_token_id=wrapped.eos_token_id,
        pad_token_id=wrapped.pad_token_id,
    )
    bert = BertConfig(
        vocab_size=len(wrapped),
        hidden_size=HIDDEN,
        intermediate_size=HIDDEN * 3,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        pad_token_id=wrapped.pad_token_id,
    )
    others = {"tiny-t5": T5ForConditionalGeneration(t5), "tiny-bert": BertForMaskedLM(bert)}
    part = target.with_name(f"{target.name}.{os.getpid()}")
    for name, other in others.items():
        other.save_pretrained(part / name)
        wrapped.save_pretrained(part / name)
    wrapped.chat_template = TEMPLATE
    LlamaForCausalLM(config).save_pretrained(part / "tiny")
    wrapped.save_pretrained(part / "tiny")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, target)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
