"""Which kind of model a name stands for, and how the kinds that TRL does not train are trained.

Causal models (Llama, Qwen, Gemma, GPT ...) go to TRL's SFTTrainer. Encoder-decoder models (T5, BART) learn completions
from prompts, encoders (BERT) learn to fill in masked words of the same texts, both with the Trainer of Transformers.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from training import model as models
from training.failures import InvalidDataError

MASKED_SHARE = 0.15  # of the words of a text, as BERT was trained


class Family(StrEnum):
    CAUSAL = "CAUSAL_LM"
    SEQ2SEQ = "SEQ_2_SEQ_LM"
    MASKED = "MASKED_LM"


def family(source: str) -> Family:
    """Read the model's own description; raises what the libraries raise when there is none."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(source)
    if config.is_encoder_decoder:
        return Family.SEQ2SEQ
    names = config.architectures or []
    if any(name.endswith("ForMaskedLM") for name in names):
        return Family.MASKED
    return Family.CAUSAL


def build(kind: Family, source: str, values: dict[str, Any], args: Any, rows: tuple[Any, Any], tokenizer: Any) -> Any:
    """A trainer for an encoder-decoder or an encoder. `rows` are those to train on and to validate (or None)."""
    import transformers
    from peft import get_peft_model, prepare_model_for_kbit_training

    seq2seq = kind is Family.SEQ2SEQ
    loader = transformers.AutoModelForSeq2SeqLM if seq2seq else transformers.AutoModelForMaskedLM
    kwargs = dict(args.model_init_kwargs)
    if (quantization := models.quantization(values, args.bf16, args.fp16)) is not None:
        kwargs["quantization_config"] = quantization
    model = loader.from_pretrained(source, **kwargs)
    if quantization is not None:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=args.activation_checkpointing)
    # PEFT has no task type for filling in words; without one it adapts the layers and leaves the calls as they are.
    # ZeRO-3 wants one number format: an adapter in 32 bits beside weights in 16 fails at its first step.
    zero3 = args.deepspeed_plugin is not None and args.deepspeed_plugin.zero_stage == 3
    config = models.adapter(values, kind.value if seq2seq else None)
    model = get_peft_model(model, config, autocast_adapter_dtype=not zero3)
    if args.activation_checkpointing:
        model.enable_input_require_grads()
    convert = _seq2seq_rows if seq2seq else _masked_rows
    train, validation = (None if part is None else convert(part, tokenizer, values["max_length"]) for part in rows)
    if seq2seq:
        collator = transformers.DataCollatorForSeq2Seq(tokenizer, model=model)
    else:
        collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED_SHARE)
    args.label_names = ["labels"]  # an adapted model hides them, and without them there is no validation loss
    args.include_num_input_tokens_seen = "non_padding"
    return transformers.Trainer(
        model=model,
        args=args,
        train_dataset=train,
        eval_dataset=validation,
        processing_class=tokenizer,
        data_collator=collator,
    )


def as_text(part: Any) -> str:
    """A prompt or completion as one text: these models have no chat template."""
    if isinstance(part, str):
        return part
    if len(part) == 1:
        return str(part[0]["content"])
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in part)


def _seq2seq_rows(rows: Any, tokenizer: Any, max_length: int) -> Any:
    def convert(row: dict[str, Any]) -> dict[str, Any]:
        if "messages" in row:
            prompt, completion = row["messages"][:-1], row["messages"][-1:]
        else:
            prompt, completion = row["prompt"], row["completion"]
        return dict(
            tokenizer(
                as_text(prompt),
                text_target=as_text(completion),
                max_length=max_length,
                truncation=True,
            )
        )

    if "text" in rows.column_names:
        raise InvalidDataError(
            "An encoder-decoder model learns answers to prompts, and rows of plain text have none. "
            "Use chat, instruction or prompt/completion rows."
        )
    return rows.map(convert, remove_columns=rows.column_names, desc="Tokenizing")


def _masked_rows(rows: Any, tokenizer: Any, max_length: int) -> Any:
    def convert(row: dict[str, Any]) -> dict[str, Any]:
        parts = [row[name] for name in ("messages", "prompt", "completion", "text") if row.get(name)]
        text = "\n".join(as_text(part) for part in parts)
        return dict(tokenizer(text, max_length=max_length, truncation=True))

    return rows.map(convert, remove_columns=rows.column_names, desc="Tokenizing")
