"""Jobs as the API takes and shows them. The live fields come from `pipeline.live.state`, as everywhere."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from datasets.models import Dataset
from pipeline.api.schema import HYPERPARAMETERS
from pipeline.api.serializers.rules import RuleGivenSerializer
from pipeline.api.serializers.strict import StrictSerializer, one_line
from pipeline.api.serializers.telemetry import CostRecordSerializer, PointSerializer
from pipeline.invoices import compared
from pipeline.live.state import job_state
from pipeline.models import Artifact, ArtifactKind, ArtifactState, Attempt, Job, Preset
from pipeline.services.rulebook import MOST_RULES
from pipeline.states import AttemptState, JobStatus
from pipeline.texts import reason_text

BIG = 2**31 - 1


class FallbackSerializer(StrictSerializer):
    type = serializers.CharField(max_length=120, help_text="Another of the provider's offers.")
    cloud = serializers.CharField(max_length=32, allow_blank=True, required=False, help_text="Left out: as above.")


class GpuConfigSerializer(StrictSerializer):
    set_by_server = frozenset({"price_per_hour"})

    provider = serializers.CharField(max_length=32, default="local", help_text="A name of /api/providers/.")
    type = serializers.CharField(
        max_length=120, allow_blank=True, default="", help_text="One of the provider's offers; blank takes the first."
    )
    count = serializers.IntegerField(min_value=1, max_value=64, default=1)
    cloud = serializers.CharField(max_length=32, allow_blank=True, default="")
    fallbacks = serializers.ListField(
        child=FallbackSerializer(),
        max_length=10,
        default=list,
        help_text="Taken in this order when there is none of `type`.",
    )


class RetryPolicySerializer(StrictSerializer):
    max_attempts = serializers.IntegerField(
        min_value=1, max_value=20, default=3, help_text="Attempts in all, when a cause that may pass ends one."
    )


@extend_schema_field(HYPERPARAMETERS)
class HyperparametersField(serializers.DictField):
    """Checked by `create_job` against the table, which knows better sentences than a field."""


class JobCreateSerializer(StrictSerializer):
    name = serializers.CharField(max_length=120, validators=[one_line])
    dataset = serializers.UUIDField(
        help_text="A dataset of yours that passed its check.",
        error_messages={"null": "Choose a dataset.", "required": "Choose a dataset."},
    )
    eval_dataset = serializers.UUIDField(
        allow_null=True, default=None, help_text="Marked as validation set of `dataset`."
    )
    base_model = serializers.CharField(max_length=200, help_text="organisation/model, as on the Hugging Face Hub.")
    preset = serializers.SlugField(
        max_length=50, allow_null=True, required=False, help_text="Left out: the default preset. null: none."
    )
    hyperparameters = HyperparametersField(
        default=dict, help_text="Replace values of the preset, name by name. See /api/hyperparameters/."
    )
    gpu_config = GpuConfigSerializer(default=dict)
    budget_limit = serializers.DecimalField(
        max_digits=12,
        decimal_places=2,
        min_value=Decimal("0.01"),
        allow_null=True,
        default=None,
        help_text="US dollars; null: none.",
    )
    max_duration = serializers.IntegerField(
        min_value=60, max_value=14 * 24 * 3600, default=24 * 3600, help_text="Seconds of running time."
    )
    priority = serializers.IntegerField(
        min_value=-100, max_value=100, default=0, help_text="Higher is submitted first."
    )
    retry_policy = RetryPolicySerializer(default=dict)
    resume_from = serializers.UUIDField(
        allow_null=True, default=None, help_text="A stored checkpoint of a job of yours, with which this one begins."
    )
    rules = serializers.ListField(
        child=RuleGivenSerializer(),
        allow_null=True,
        default=None,
        max_length=MOST_RULES,
        help_text="null: your default rules and those of the preset. An empty list: none.",
    )
    start = serializers.BooleanField(default=False, help_text="Queue the job at once instead of only saving it.")

    def validate_dataset(self, value: Any) -> Dataset:
        return self._own(value)

    def validate_eval_dataset(self, value: Any) -> Dataset | None:
        return None if value is None else self._own(value)

    def validate_resume_from(self, value: Any) -> Artifact | None:
        return None if value is None else own_checkpoint(self.context["request"].user, value)

    def validate_preset(self, value: str | None) -> Preset | None:
        if value is None:
            return None
        preset = Preset.objects.filter(slug=value).first()
        if preset is None:
            slugs = ", ".join(Preset.objects.values_list("slug", flat=True))
            raise serializers.ValidationError(f"There is no such preset. Choose one of: {slugs}.", "does_not_exist")
        return preset

    def arguments(self) -> dict[str, Any]:
        """The validated body as keyword arguments of `create_job`."""
        given = dict(self.validated_data)
        gpu = GpuConfigSerializer().run_validation({}) | given.pop("gpu_config")
        retry = RetryPolicySerializer().run_validation({}) | given.pop("retry_policy")
        if "preset" not in given:
            given["preset"] = Preset.objects.filter(is_default=True).first()
        return given | {
            "provider": gpu["provider"],
            "gpu_type": gpu["type"],
            "gpu_count": gpu["count"],
            "cloud": gpu["cloud"],
            "gpu_fallbacks": gpu["fallbacks"],
            "max_attempts": retry["max_attempts"],
        }

    def _own(self, pk: Any) -> Dataset:
        dataset = Dataset.objects.for_user(self.context["request"].user).filter(pk=pk).first()
        if dataset is None:
            raise serializers.ValidationError("There is no such dataset.", "does_not_exist")
        return dataset


def own_checkpoint(user: Any, pk: UUID, **of: Any) -> Artifact:
    """The stored checkpoint of one of the user's jobs. Raise ValidationError when there is none."""
    checkpoints = Artifact.objects.filter(kind=ArtifactKind.CHECKPOINT, state=ArtifactState.STORED, **of)
    found = checkpoints.filter(pk=pk, job__in=Job.objects.for_user(user)).select_related("job").first()
    if found is None:
        raise serializers.ValidationError("There is no such checkpoint.", "does_not_exist")
    return found


class ResumeSerializer(StrictSerializer):
    """Needs `job` in its context."""

    checkpoint = serializers.UUIDField(
        allow_null=True, default=None, help_text="A stored checkpoint of this job; null: the newest."
    )

    def validate_checkpoint(self, value: Any) -> Artifact | None:
        job = self.context["job"]
        return None if value is None else own_checkpoint(job.owner, value, job=job)


class JobLimitsSerializer(StrictSerializer):
    """What may be changed while a job lives. What is left out stays as it is."""

    budget_limit = serializers.DecimalField(
        max_digits=12, decimal_places=2, min_value=Decimal("0.01"), allow_null=True, required=False,
        help_text="US dollars; null: none.",
    )  # fmt: skip
    max_duration = serializers.IntegerField(
        min_value=60, max_value=14 * 24 * 3600, required=False, help_text="Seconds of running time."
    )


class JobSerializer(serializers.Serializer):
    """The live fields of a job. `current_cost` runs on between two readings of the meter."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    url = serializers.CharField(help_text="The job's page, as a path.")
    status = serializers.ChoiceField(JobStatus.choices)
    status_label = serializers.CharField()
    current_stage = serializers.CharField()
    stage_label = serializers.CharField()
    provider = serializers.CharField()
    simulated = serializers.BooleanField(help_text="Nothing is really trained.")
    gpu_type = serializers.CharField()
    base_model = serializers.CharField()
    progress = serializers.FloatField(help_text="0 to 100")
    current_epoch = serializers.FloatField()
    total_epochs = serializers.FloatField(allow_null=True)
    current_step = serializers.IntegerField()
    total_steps = serializers.IntegerField(allow_null=True)
    current_metrics = serializers.DictField(child=serializers.JSONField(), help_text="The newest value of each metric.")
    current_cost = serializers.FloatField(allow_null=True, help_text="US dollars, as all money here.")
    estimated_cost = serializers.FloatField(allow_null=True, help_text="In all, as said when the job was made.")
    projected_cost = serializers.FloatField(allow_null=True, help_text="In all, at the present pace.")
    final_cost = serializers.FloatField(allow_null=True)
    budget_limit = serializers.FloatField(allow_null=True)
    cost_limit = serializers.FloatField(allow_null=True, help_text="What it holds and is stopped at; null: no limit.")
    price_per_hour = serializers.FloatField(allow_null=True)
    currency = serializers.CharField()
    eta_seconds = serializers.FloatField(allow_null=True)
    max_duration = serializers.IntegerField(help_text="Seconds")
    created_at = serializers.DateTimeField()
    queued_at = serializers.DateTimeField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    completed_at = serializers.DateTimeField(allow_null=True)
    updated_at = serializers.DateTimeField()
    last_seen_at = serializers.DateTimeField(allow_null=True, help_text="Last call of the training program.")
    reason = serializers.CharField(help_text="Why the job ended; blank before.")
    reason_text = serializers.CharField()
    stop_reason = serializers.CharField()
    error_message = serializers.CharField()
    error_stack = serializers.CharField()
    attempt = serializers.IntegerField(allow_null=True, help_text="Number of the latest attempt.")
    max_attempts = serializers.IntegerField()
    external_job_id = serializers.CharField(help_text="The provider's id of the machine.")
    artifact_id = serializers.UUIDField(allow_null=True, help_text="The stored adapter.")
    event_seq = serializers.IntegerField(help_text="Number of the last stored change.")
    can_start = serializers.BooleanField()
    can_cancel = serializers.BooleanField()
    can_retry = serializers.BooleanField()
    can_resume = serializers.BooleanField(help_text="It ended early and left a stored checkpoint.")
    can_save = serializers.BooleanField(help_text="It can be asked for a checkpoint now.")
    server_time = serializers.DateTimeField()

    def to_representation(self, instance: Job) -> dict[str, Any]:
        return job_state(instance)


class NamedDatasetSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    row_count = serializers.IntegerField()


class AttemptSerializer(serializers.Serializer):
    n = serializers.IntegerField()
    name = serializers.CharField(help_text="The machine's name at the provider.")
    provider = serializers.CharField()
    state = serializers.ChoiceField(AttemptState.choices)
    external_id = serializers.CharField()
    price_per_hour = serializers.FloatField()
    created_at = serializers.DateTimeField()
    machine_seen_at = serializers.DateTimeField(allow_null=True)
    first_contact_at = serializers.DateTimeField(allow_null=True)
    last_seen_at = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField()
    reason_text = serializers.SerializerMethodField()
    exit_code = serializers.IntegerField(allow_null=True)
    error_message = serializers.CharField()
    gone_at = serializers.DateTimeField(allow_null=True)
    gone_evidence = serializers.CharField(help_text="How we know that the machine is gone.")

    def get_reason_text(self, attempt: Attempt) -> str:
        return reason_text(attempt.reason, attempt.provider)


class ConfigurationSerializer(serializers.Serializer):
    """What the job was made with."""

    dataset = NamedDatasetSerializer()
    eval_dataset = NamedDatasetSerializer(allow_null=True)
    base_model = serializers.CharField()
    preset = serializers.SlugField(source="preset.slug", allow_null=True)
    hyperparameters = HyperparametersField()
    gpu_config = serializers.SerializerMethodField()
    budget_limit = serializers.FloatField(allow_null=True)
    max_duration = serializers.IntegerField()
    priority = serializers.IntegerField()
    retry_policy = serializers.SerializerMethodField()
    resume_from = serializers.UUIDField(
        source="resume_from_id", allow_null=True, help_text="The checkpoint it began with."
    )
    plan = serializers.DictField(help_text="What the program said it would do before it trained.")

    @extend_schema_field(
        {
            "type": "object",
            "properties": {
                "provider": {"type": "string"},
                "type": {"type": "string"},
                "count": {"type": "integer"},
                "cloud": {"type": "string"},
                "fallbacks": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"type": {"type": "string"}, "cloud": {"type": "string"}},
                    },
                },
                "price_per_hour": {"type": "number", "description": "Of the whole machine, when the job was made."},
            },
        }
    )
    def get_gpu_config(self, job: Job) -> dict[str, Any]:
        return job.gpu_config | {"price_per_hour": float(job.price_per_hour), "fallbacks": job.gpu_fallbacks}

    @extend_schema_field({"type": "object", "properties": {"max_attempts": {"type": "integer"}}})
    def get_retry_policy(self, job: Job) -> dict[str, int]:
        return {"max_attempts": job.max_attempts}


class CostSerializer(serializers.Serializer):
    """Estimated, metered and invoiced, kept apart. `drift` is invoiced minus metered, of machines that have a bill."""

    estimate = serializers.DictField(help_text="As said when the job was made: hours, total, confidence, basis.")
    metered = serializers.FloatField()
    invoiced = serializers.FloatField(allow_null=True)
    drift = serializers.FloatField(allow_null=True)
    settled = serializers.BooleanField(help_text="The provider's bill is complete.")


class JobDetailSerializer(JobSerializer):
    """The live fields, and beside them what the job was made with and what it left so far."""

    configuration = ConfigurationSerializer()
    attempts = AttemptSerializer(many=True)
    cost = CostSerializer()
    metrics = PointSerializer(many=True, help_text="The newest 200 points, oldest first; /metrics/ has all of them.")
    cost_records = CostRecordSerializer(many=True, help_text="The newest 200, oldest first; /costs/ has all of them.")

    NEWEST = 200

    def to_representation(self, instance: Job) -> dict[str, Any]:
        points = list(instance.metric_points.order_by("-step")[: self.NEWEST])
        records = list(instance.cost_records.order_by("-period_start", "-id")[: self.NEWEST])
        return job_state(instance) | {
            "configuration": ConfigurationSerializer(instance).data,
            "attempts": AttemptSerializer(instance.attempts.order_by("n"), many=True).data,
            "cost": CostSerializer(vars(compared(instance)) | {"estimate": instance.estimate}).data,
            "metrics": PointSerializer(points[::-1], many=True).data,
            "cost_records": CostRecordSerializer(records[::-1], many=True).data,
        }
