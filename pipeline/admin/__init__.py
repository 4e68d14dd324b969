"""The operators' view of everything. What the system writes is shown and not edited; what operators do goes through
the same services as the API, so that no rule has a back door here."""

from pipeline.admin import (
    attempts,
    credentials,
    jobs,
    machines,
    money,
    operations,
    people,
    presets,
    rules,
    schedules,
    telemetry,
    tokens,
)

__all__ = [
    "attempts",
    "credentials",
    "jobs",
    "machines",
    "money",
    "operations",
    "people",
    "presets",
    "rules",
    "schedules",
    "telemetry",
    "tokens",
]
