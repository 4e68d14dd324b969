"""What the pages know about datasets, presets and hyperparameters, gathered for their templates."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import F
from django.http import HttpRequest
from django.urls import reverse

from datasets.models import Dataset, DatasetQuerySet
from pipeline.models import Job, Preset
from pipeline.services.rulebook import as_given
from training.hyperparameters import BY_NAME, FIELDS, Group, defaults


def has_ready_dataset(user: Any) -> bool:
    return Dataset.objects.for_user(user).ready().exists()


def hyperparameter_groups(values: dict[str, Any]) -> list[dict[str, Any]]:
    """[{"name": "LoRA", "fields": [{"field": Hyperparameter, "value": ...}]}], in the order of the table."""
    return [
        {
            "name": group.value,
            "fields": [{"field": field, "value": values.get(field.name)} for field in FIELDS if field.group is group],
        }
        for group in Group
    ]


def changed_from_preset(job: Job) -> set[str]:
    """Names of the hyperparameters that differ from what the job's preset gives today."""
    given = {**defaults(), **(job.preset.hyperparameters if job.preset else {})}
    return {name for name, value in job.hyperparameters.items() if name in given and given[name] != value}


# What a person looks at first; everything else is behind “All settings”. The share kept apart stands with the data.
BASICS = (
    "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps",
    "max_length", "r", "lora_alpha", "quantization",
)  # fmt: skip
SPLIT = "validation_split"
MACHINE_COLUMNS = [
    {"name": "machine", "label": "Machine"},
    {"name": "fits", "label": "Memory"},
    {"name": "stock", "label": "Stock"},
    {"name": "price", "label": "Price", "right": True},
    {"name": "time", "label": "Time", "right": True},
    {"name": "total", "label": "Total", "right": True},
]


def new_job_context(request: HttpRequest) -> dict[str, Any]:
    """Everything the form shows before the browser has asked for machines and models."""
    datasets = _with_facts(Dataset.objects.for_user(request.user).without_report())
    presets = list(Preset.objects.all())
    source = _clone_source(request)
    chosen = source.preset if source else _wanted_preset(presets, request.GET.get("preset", ""))
    given = {**defaults(), **(chosen.hyperparameters if chosen else {})}
    values = {**given, **(source.hyperparameters if source else {})}
    wanted = str(source.dataset_id) if source else request.GET.get("dataset", "")
    choices = [dataset for dataset in datasets if dataset.training_ready and not dataset.validation_for_id]
    if not wanted and len(choices) == 1:
        wanted = str(choices[0].pk)
    apart = {*BASICS, SPLIT}
    groups = [
        {"name": group["name"], "fields": fields}
        for group in hyperparameter_groups(values)
        if (fields := [item for item in group["fields"] if item["field"].name not in apart])
    ]
    return {
        "datasets": datasets,
        "ready_count": sum(dataset.training_ready for dataset in datasets),
        "preset_cards": [{"preset": preset, "facts": _preset_facts(preset)} for preset in presets],
        "chosen_preset": chosen,
        "basics": [{"field": BY_NAME[name], "value": values.get(name)} for name in BASICS],
        "split": {"field": BY_NAME[SPLIT], "value": values.get(SPLIT)},
        "groups": groups,
        "more_count": sum(len(group["fields"]) for group in groups),
        "machine_columns": MACHINE_COLUMNS,
        "source": source,
        "wanted_dataset": wanted,
        "form_data": {
            "fields": [field.to_json() for field in FIELDS],
            "defaults": defaults(),
            "presets": {preset.slug: preset.hyperparameters for preset in presets},
            "datasets": {str(dataset.pk): _dataset_facts(dataset) for dataset in datasets},
            "machine": {**source.gpu_config, "fallbacks": source.gpu_fallbacks} if source else None,
            "rules": [as_given(rule) for rule in source.rules.all()] if source else None,
        },
    }


def _with_facts(datasets: DatasetQuerySet) -> list[Any]:
    """With the parts of each report that the form speaks of, and without the rest, which can be large."""
    return list(
        datasets.annotate(
            tokens=F("report__tokens"),
            duplicate_rows=F("report__duplicates__rows"),
            duplicate_share=F("report__duplicates__share"),
            overlap_rows=F("report__overlap__rows"),
        )
    )


def _dataset_facts(dataset: Any) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "rows": dataset.row_count,
        "pairs": dataset.total_training_pairs,
        "size": dataset.size_bytes,
        "url": reverse("frontend:dataset", args=[dataset.pk]),
        "validation_for": str(dataset.validation_for_id) if dataset.validation_for_id else None,
        "tokens": dataset.tokens,
        "duplicates": (
            None
            if dataset.duplicate_rows is None
            else {"rows": dataset.duplicate_rows, "share": dataset.duplicate_share or 0}
        ),
        "overlap": None if dataset.overlap_rows is None else {"rows": dataset.overlap_rows},
    }


def _preset_facts(preset: Preset) -> list[str]:
    """The values that tell presets apart, in few words."""
    values = {**defaults(), **preset.hyperparameters}
    steps, epochs = values["max_steps"], values["num_train_epochs"]
    return [
        f"{steps} steps" if steps > 0 else f"{epochs:g} epoch{'' if epochs == 1 else 's'}",
        f"rate {values['learning_rate']:.0e}".replace("e-0", "e-"),
        f"rank {values['r']}",
        f"{values['max_length']:,} tokens",
    ]


def _wanted_preset(presets: list[Preset], slug: str) -> Preset | None:
    """The one that the address names, else the default, else the first."""
    named = next((preset for preset in presets if preset.slug == slug), None)
    return named or next((preset for preset in presets if preset.is_default), presets[0] if presets else None)


def _clone_source(request: HttpRequest) -> Job | None:
    try:
        wanted = UUID(request.GET.get("clone", ""))
    except ValueError:
        return None
    return Job.objects.for_user(request.user).select_related("preset").filter(pk=wanted).first()
