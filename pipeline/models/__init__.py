"""The tables of the job core. One file a subject; import from here."""

from pipeline.models.access import ApiToken
from pipeline.models.accounts import AccountLook, Credential, MachineSighting
from pipeline.models.artifacts import Artifact, ArtifactKind, ArtifactState
from pipeline.models.attempts import Attempt, CallOutcome, ProviderCall
from pipeline.models.jobs import Job
from pipeline.models.money import Budget, CostRecord
from pipeline.models.operations import ProcessBeat
from pipeline.models.presets import Preset
from pipeline.models.requests import AnsweredRequest, Count
from pipeline.models.rules import Rule
from pipeline.models.telemetry import EventType, JobEvent, LogLine, MetricPoint, Sample

__all__ = [
    "AccountLook",
    "AnsweredRequest",
    "ApiToken",
    "Artifact",
    "ArtifactKind",
    "ArtifactState",
    "Attempt",
    "Budget",
    "CallOutcome",
    "CostRecord",
    "Count",
    "Credential",
    "EventType",
    "Job",
    "JobEvent",
    "LogLine",
    "MachineSighting",
    "MetricPoint",
    "Preset",
    "ProcessBeat",
    "ProviderCall",
    "Rule",
    "Sample",
]
