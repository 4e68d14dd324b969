"""What the pages know about datasets, presets and hyperparameters, gathered for their templates."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest

from datasets.models import Dataset
from pipeline.models import Job, Preset
from training.hyperparameters import FIELDS, Group, defaults


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


def new_job_context(request: HttpRequest) -> dict[str, Any]:
    """Everything the form shows before the browser has asked for offers and models."""
    datasets = list(Dataset.objects.for_user(request.user).without_report())
    presets = list(Preset.objects.all())
    source = _clone_source(request)
    default = next((preset for preset in presets if preset.is_default), presets[0] if presets else None)
    chosen = source.preset if source else default
    given = {**defaults(), **(chosen.hyperparameters if chosen else {})}
    values = {**given, **(source.hyperparameters if source else {})}
    wanted = str(source.dataset_id) if source else request.GET.get("dataset", "")
    choices = [dataset for dataset in datasets if dataset.training_ready and not dataset.validation_for_id]
    if not wanted and len(choices) == 1:
        wanted = str(choices[0].pk)
    return {
        "datasets": datasets,
        "ready_count": sum(dataset.training_ready for dataset in datasets),
        "presets": presets,
        "chosen_preset": chosen,
        "groups": hyperparameter_groups(values),
        "source": source,
        "wanted_dataset": wanted,
        "form_data": {
            "fields": [field.to_json() for field in FIELDS],
            "defaults": defaults(),
            "presets": {preset.slug: preset.hyperparameters for preset in presets},
            "datasets": {str(dataset.pk): _dataset_facts(dataset) for dataset in datasets},
            "machine": source.gpu_config if source else None,
        },
    }


def _dataset_facts(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "rows": dataset.row_count,
        "pairs": dataset.total_training_pairs,
        "validation_for": str(dataset.validation_for_id) if dataset.validation_for_id else None,
    }


def _clone_source(request: HttpRequest) -> Job | None:
    try:
        wanted = UUID(request.GET.get("clone", ""))
    except ValueError:
        return None
    return Job.objects.for_user(request.user).select_related("preset").filter(pk=wanted).first()
