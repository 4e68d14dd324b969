"""The tables of the job core. One file a subject; import from here."""

from pipeline.models.access import ApiToken
from pipeline.models.artifacts import Artifact, ArtifactKind, ArtifactState
from pipeline.models.attempts import Attempt, CallOutcome, ProviderCall
from pipeline.models.jobs import Job
from pipeline.models.money import CostRecord
from pipeline.models.operations import ProcessBeat
from pipeline.models.presets import Preset
from pipeline.models.telemetry import EventType, JobEvent, LogLine, MetricPoint, Sample

__all__ = [
    "ApiToken",
    "Artifact",
    "ArtifactKind",
    "ArtifactState",
    "Attempt",
    "CallOutcome",
    "CostRecord",
    "EventType",
    "Job",
    "JobEvent",
    "LogLine",
    "MetricPoint",
    "Preset",
    "ProcessBeat",
    "ProviderCall",
    "Sample",
]
