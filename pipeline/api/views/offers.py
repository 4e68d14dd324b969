"""The table of machines on the page of a new job, as one answer."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from datasets.models import Dataset
from pipeline.api.auth import person
from pipeline.api.serializers.offers import OffersRequestSerializer, OffersSerializer
from pipeline.machine_table import compare
from pipeline.market import stands
from pipeline.paces import Task
from training import hyperparameters


class OffersView(APIView):
    @extend_schema(
        summary="Every machine you can have, compared for one training",
        description=(
            "Takes the body of a new job, of which any part may be missing, and makes nothing. Providers are asked "
            "side by side; one that does not answer says so in `problem` and spoils nothing."
        ),
        request=OffersRequestSerializer,
        responses=OffersSerializer,
    )
    def post(self, request: Request) -> Response:
        given = OffersRequestSerializer(data=request.data, context={"request": request})
        given.is_valid(raise_exception=True)
        asked = given.arguments()
        preset, own = asked["preset"], asked["hyperparameters"]
        values, problems = hyperparameters.validate({**(preset.hyperparameters if preset else {}), **own})
        values = hyperparameters.defaults() | values
        tokens = _tokens(asked["dataset"])
        longest = tokens.get("max") or None
        asked_now = stands(person(request))
        found = compare(
            asked_now,
            base_model=asked["base_model"],
            values=values,
            task=_task(asked["base_model"], values, asked["dataset"], tokens.get("mean")),
            longest_row=longest,
            gpus=asked["gpu_count"],
            max_seconds=asked["max_duration"],
        )
        body = {
            "model": {"parameters": found.parameters, "guessed": found.guessed},
            "longest_row": longest,
            "problems": [{"field": f"hyperparameters.{name}", "message": text} for name, text in problems],
            "providers": asked_now,
            "offers": found.rows,
        }
        return Response(OffersSerializer(body).data)


def _tokens(dataset: Dataset | None) -> dict[str, int]:
    return (dataset.report.get("tokens") or {}) if dataset else {}


def _task(base_model: str, values: dict[str, object], dataset: Dataset | None, mean: float | None) -> Task | None:
    if dataset is None or not base_model:
        return None
    return Task(base_model, values, dataset.total_training_pairs, mean or None)
