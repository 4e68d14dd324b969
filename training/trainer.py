"""The trainer of TRL, told what the hyperparameters say."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from training import families, parallel
from training import model as models
from training.data import Prepared
from training.failures import InvalidDataError


def arguments(
    values: dict[str, Any], how: models.Numbers, kind: parallel.Parallelism, out: Path, has_validation: bool
) -> Any:
    """An SFTConfig. It must be made before the model is loaded: ZeRO-3 shares out weights while they are read."""
    from trl import SFTConfig

    switch = values["activation_checkpointing"]
    checkpointing = how.on_gpu if switch == "auto" else switch == "true"
    evaluates = has_validation and values["eval_steps"] > 0
    return SFTConfig(
        output_dir=str(out),
        learning_rate=values["learning_rate"],
        num_train_epochs=values["num_train_epochs"],
        max_steps=values["max_steps"],
        per_device_train_batch_size=values["per_device_train_batch_size"],
        per_device_eval_batch_size=values["per_device_eval_batch_size"],
        gradient_accumulation_steps=values["gradient_accumulation_steps"],
        lr_scheduler_type=values["lr_scheduler_type"],
        warmup_steps=values["warmup_steps"],
        weight_decay=values["weight_decay"],
        max_grad_norm=values["max_grad_norm"],
        optim=values["optim"],
        seed=values["seed"],
        max_length=values["max_length"],
        packing=values["packing"],
        assistant_only_loss=values["assistant_only_loss"],
        loss_type=values["loss_type"],
        neftune_noise_alpha=values["neftune_noise_alpha"] or None,
        logging_steps=values["logging_steps"],
        logging_first_step=True,
        logging_nan_inf_filter=False,  # a loss of NaN is the thing a person must see
        save_strategy="steps" if values["save_steps"] else "no",
        save_steps=values["save_steps"] or 500,
        save_total_limit=values["save_total_limit"],
        eval_strategy="steps" if evaluates else "no",
        eval_steps=values["eval_steps"] if evaluates else None,
        use_cpu=not how.on_gpu,
        bf16=how.bf16,
        fp16=how.fp16,
        **parallel.arguments(kind, checkpointing),
        dataloader_pin_memory=how.on_gpu,
        include_num_input_tokens_seen="no",
        report_to="none",
        disable_tqdm=True,
        model_init_kwargs=models.load_kwargs(values, how),
    )


def build(
    source: str,
    base_model: str,
    values: dict[str, Any],
    how: models.Numbers,
    kind: parallel.Parallelism,
    data: Prepared,
    out: Path,
    cache: Path,
) -> Any:
    """A trainer with model, adapter and tokenized data."""
    from transformers import PrinterCallback
    from trl import SFTTrainer

    train, validation = _rows(data.train, cache), _rows(data.validation, cache) if data.validation else None
    args = arguments(values, how, kind, out, validation is not None)
    try:
        family = families.family(source)
        tokenizer = models.tokenizer(source, data.chat and family is families.Family.CAUSAL)
    except (OSError, ValueError) as error:
        raise models.explain_loading(base_model, error) from error
    try:
        if family is families.Family.CAUSAL:
            trainer = SFTTrainer(
                model=source,
                args=args,
                train_dataset=train,
                eval_dataset=validation,
                processing_class=tokenizer,
                peft_config=models.adapter(values),
                quantization_config=models.quantization(values, how.bf16, how.fp16),
            )
        else:
            trainer = families.build(family, source, values, args, (train, validation), tokenizer)
    except OSError as error:
        raise models.explain_loading(base_model, error) from error
    if len(trainer.train_dataset) == 0:
        raise InvalidDataError(
            f"After cutting rows to max_length = {values['max_length']} tokens no row has an answer left to learn. "
            "Raise max_length or shorten the prompts."
        )
    trainer.remove_callback(PrinterCallback)  # it prints every record, which the reporter already carries
    return trainer


def counts(trainer: Any, data: Prepared) -> dict[str, int]:
    trainable, total = trainer.model.get_nb_trainable_parameters()
    return {
        "trainable_parameters": int(trainable),
        "total_parameters": int(total),
        "train_rows": data.train_rows,
        "eval_rows": data.validation_rows,
    }


def rows_per_step(trainer: Any) -> int:
    args = trainer.args
    return int(args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size)


def _rows(path: Path, cache: Path) -> Any:
    # By name, because the server's own package of that name stands beside this one in the repository.
    library = importlib.import_module("datasets")
    return library.load_dataset("json", data_files=str(path), split="train", cache_dir=str(cache))
