"""What the page that compares jobs shows beside their curves: results, and where their configurations differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from frontend import show
from frontend.templatetags.stoker import setting
from pipeline.live.state import job_state
from pipeline.models import Job
from pipeline.side_by_side import metric_names, results
from training.hyperparameters import FIELDS, Group

MOST = 8
LETTERS = "ABCDEFGH"
OTHERS = 50  # how many further jobs are offered
CHARTED = ("loss", "eval_loss")  # always
# Numbers that only count upwards, stand on the x axis, or come once, at the end.
NOT_CHARTED = frozenset(
    {
        "epoch", "step", "progress", "elapsed_seconds", "remaining_seconds", "num_tokens", "num_input_tokens_seen",
        "total_flos", "train_loss",
    }
)  # fmt: skip
_ENDINGS = ("_runtime", "_steps_per_second", "_samples_per_second", "_num_tokens")


@dataclass(frozen=True)
class Row:
    label: str
    values: list[str]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


def context(jobs: Sequence[Job]) -> dict[str, Any]:
    """For jobs from `with_attempt()`, with their datasets and presets, in the order of the page's address."""
    came = results(jobs)
    ids = [str(job.pk) for job in jobs]
    columns = [
        {
            **job_state(job),
            "letter": LETTERS[index],
            "slot": index + 1,
            "results": asdict(came[job.pk]),
            "without": ",".join(one for one in ids if one != str(job.pk)),
        }
        for index, job in enumerate(jobs)
    ]
    names = [name for name in metric_names(jobs) if _is_charted(name)]
    shown = ("id", "name", "status", "current_stage", "letter", "slot", "event_seq")
    return {
        "columns": columns,
        "groups": _configuration(jobs),
        "ids": ",".join(ids),
        "names": names,
        "page_data": {"jobs": [{name: column[name] for name in shown} for column in columns], "names": names},
        "full": len(jobs) >= MOST,
    }


def others(user: Any, taken: Sequence[UUID]) -> list[Job]:
    """The newest jobs that could be added: started, and not on the page."""
    found = Job.objects.for_user(user).filter(started_at__isnull=False).exclude(pk__in=taken)
    return list(found.order_by("-created_at").only("pk", "name", "base_model", "created_at")[:OTHERS])


def _is_charted(name: str) -> bool:
    return name not in CHARTED and name not in NOT_CHARTED and not name.endswith(_ENDINGS)


def _configuration(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """[{"name", "rows", "differs"}]: what each job was made with, a row a value."""
    groups = [
        ("What and where", _made_with(jobs)),
        *(
            (
                group.value,
                [
                    Row(field.label, [setting(job.hyperparameters.get(field.name)) for job in jobs])
                    for field in FIELDS
                    if field.group is group
                ],
            )
            for group in Group
        ),
    ]
    return [{"name": name, "rows": rows, "differs": any(row.differs for row in rows)} for name, rows in groups]


def _made_with(jobs: Sequence[Job]) -> list[Row]:
    def row(label: str, value: Any) -> Row:
        return Row(label, [str(value(job)) for job in jobs])

    return [
        row("Base model", lambda job: job.base_model),
        row("Dataset", lambda job: job.dataset.name),
        row("Validation set", lambda job: job.eval_dataset.name if job.eval_dataset else show.MISSING),
        row("Preset", lambda job: job.preset.name if job.preset else "none"),
        row("Begins at a checkpoint", lambda job: "yes" if job.resume_from_id else "no"),
        row("Provider", lambda job: job.provider),
        row("Machine", lambda job: f"{job.gpu_type} × {job.gpu_count}" if job.gpu_count > 1 else job.gpu_type),
        row("Cloud", lambda job: job.cloud or show.MISSING),
        row("Price per hour", lambda job: show.money(job.price_per_hour)),
        row("Budget", lambda job: show.money(job.budget_limit) if job.budget_limit is not None else "none"),
        row("Maximum duration", lambda job: show.duration(job.max_duration)),
        row("Attempts at most", lambda job: job.max_attempts),
    ]
