"""A job seen as what is rented for it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import serializers

from pipeline.api.serializers.strict import StrictSerializer
from pipeline.models import Job
from pipeline.services.deployments import summary
from pipeline.states import JobStatus


class DeploySerializer(StrictSerializer):
    job = serializers.UUIDField(help_text="A saved job of yours.")

    def validate_job(self, value: UUID) -> Job:
        job = Job.objects.for_user(self.context["request"].user).filter(pk=value).first()
        if job is None:
            raise serializers.ValidationError("There is no such job.", "does_not_exist")
        return job


class MachineSerializer(serializers.Serializer):
    attempt = serializers.IntegerField()
    name = serializers.CharField()
    external_id = serializers.CharField(help_text="The provider's id; blank until it is known.")
    gpu_type = serializers.CharField()
    state = serializers.CharField(
        help_text="As last seen; `asked_for`, `gone` or `never_created` when it is not there."
    )
    state_seen_at = serializers.DateTimeField(allow_null=True)
    price_per_hour = serializers.FloatField(help_text="US dollars, as all money here.")
    cost = serializers.FloatField(help_text="So far")
    since = serializers.DateTimeField(allow_null=True, help_text="First time it was seen.")
    until = serializers.DateTimeField(allow_null=True, help_text="When it was gone; null while it is there.")
    uptime_seconds = serializers.FloatField()
    forgotten = serializers.BooleanField(help_text="Nobody asked for it or waits for it any more: it is being ended.")


class DeploymentSerializer(serializers.Serializer):
    job = serializers.UUIDField()
    provider = serializers.CharField()
    status = serializers.ChoiceField(JobStatus.choices)
    gpu_type = serializers.CharField(help_text="What was asked for; each machine tells what was given.")
    gpu_count = serializers.IntegerField()
    cloud = serializers.CharField()
    cost = serializers.FloatField(help_text="Of all its machines so far.")
    machines = MachineSerializer(many=True, help_text="Newest first.")

    def to_representation(self, instance: Job) -> dict[str, Any]:
        data: dict[str, Any] = super().to_representation(summary(instance))
        return data
