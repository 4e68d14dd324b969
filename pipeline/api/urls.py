"""The addresses below /api/. Notifications and the wire bring their own."""

from __future__ import annotations

from django.urls import path, re_path
from rest_framework.routers import SimpleRouter

from pipeline.api.live_views import LiveView, MetricsView
from pipeline.api.views import docs, history, many, money, rules, telemetry
from pipeline.api.views.access import MeView, TokenViewSet
from pipeline.api.views.catalogue import BaseModelsView, HyperparametersView, PresetViewSet, ProvidersView
from pipeline.api.views.credentials import CredentialViewSet
from pipeline.api.views.datasets import RepeatableDatasets
from pipeline.api.views.deployments import DeploymentViewSet
from pipeline.api.views.jobs import JobViewSet
from pipeline.api.views.logs import LogPlacesView, LogsView
from pipeline.api.views.offers import OffersView

JOB = "jobs/<uuid:job_id>/"

router = SimpleRouter()
router.register("datasets", RepeatableDatasets, basename="dataset")

urlpatterns = [
    *router.urls,
    path("jobs/", JobViewSet.as_view({"get": "list", "post": "create"}), name="api-jobs"),
    path("jobs.csv", many.JobsCsvView.as_view(), name="api-jobs-csv"),
    path("jobs/cancel/", many.CancelManyView.as_view(), name="api-jobs-cancel"),
    path("jobs/compare/", many.CompareView.as_view(), name="api-jobs-compare"),
    path(JOB, JobViewSet.as_view({"get": "retrieve", "patch": "limits", "delete": "destroy"}), name="api-job"),
    path(f"{JOB}start/", JobViewSet.as_view({"post": "start"}), name="api-job-start"),
    path(f"{JOB}cancel/", JobViewSet.as_view({"post": "cancel"}), name="api-job-cancel"),
    path(f"{JOB}retry/", JobViewSet.as_view({"post": "retry"}), name="api-job-retry"),
    path(f"{JOB}resume/", JobViewSet.as_view({"post": "resume"}), name="api-job-resume"),
    path(f"{JOB}checkpoint/", JobViewSet.as_view({"post": "checkpoint"}), name="api-job-checkpoint"),
    path(f"{JOB}live/", LiveView.as_view(), name="api-job-live"),
    path(f"{JOB}metrics/", MetricsView.as_view(), name="api-job-metrics"),
    path(f"{JOB}metrics.csv", telemetry.MetricsCsvView.as_view(), name="api-job-metrics-csv"),
    path(f"{JOB}metrics.json", telemetry.MetricsJsonView.as_view(), name="api-job-metrics-json"),
    path(f"{JOB}events/", telemetry.EventsView.as_view(), name="api-job-events"),
    path(f"{JOB}events.csv", telemetry.EventsCsvView.as_view(), name="api-job-events-csv"),
    path(f"{JOB}events.json", telemetry.EventsJsonView.as_view(), name="api-job-events-json"),
    path(f"{JOB}logs/", LogsView.as_view(), name="api-job-logs"),
    path(f"{JOB}logs/places/", LogPlacesView.as_view(), name="api-job-log-places"),
    path(f"{JOB}attempts/", history.AttemptsView.as_view(), name="api-job-attempts"),
    path(f"{JOB}situation/", history.SituationView.as_view(), name="api-job-situation"),
    path(f"{JOB}samples/", telemetry.SamplesView.as_view(), name="api-job-samples"),
    path(f"{JOB}artifacts/", telemetry.ArtifactsView.as_view(), name="api-job-artifacts"),
    path(f"{JOB}costs/", telemetry.CostsView.as_view(), name="api-job-costs"),
    path(
        "artifacts/<uuid:artifact_id>/download/", telemetry.ArtifactDownloadView.as_view(), name="api-artifact-download"
    ),
    path(f"{JOB}rules/", rules.JobRulesView.as_view(), name="api-job-rules"),
    path("rules/", rules.RuleViewSet.as_view({"get": "list", "post": "create"}), name="api-rules"),
    path("rules/kinds/", rules.RuleKindsView.as_view(), name="api-rule-kinds"),
    path("rules/check/", rules.RuleCheckView.as_view(), name="api-rule-check"),
    path("rules/for-new-job/", rules.NewJobRulesView.as_view(), name="api-rules-for-new-job"),
    path(
        "rules/<uuid:rule_id>/",
        rules.RuleViewSet.as_view({"get": "retrieve", "patch": "change", "delete": "destroy"}),
        name="api-rule",
    ),
    path("rules/<uuid:rule_id>/arm/", rules.RuleViewSet.as_view({"post": "arm"}), name="api-rule-arm"),
    path("deployments/", DeploymentViewSet.as_view({"post": "start"}), name="api-deployments"),
    path("deployments/<uuid:job_id>/", DeploymentViewSet.as_view({"get": "retrieve"}), name="api-deployment"),
    path("deployments/<uuid:job_id>/stop/", DeploymentViewSet.as_view({"post": "stop"}), name="api-deployment-stop"),
    path("presets/", PresetViewSet.as_view({"get": "list"}), name="api-presets"),
    path("presets/<slug:slug>/", PresetViewSet.as_view({"get": "retrieve"}), name="api-preset"),
    path("base-models/", BaseModelsView.as_view(), name="api-base-models"),
    path("hyperparameters/", HyperparametersView.as_view(), name="api-hyperparameters"),
    path("providers/", ProvidersView.as_view(), name="api-providers"),
    path("offers/", OffersView.as_view(), name="api-offers"),
    path("spending/", money.SpendingView.as_view(), name="api-spending"),
    path("spending.csv", money.SpendingCsvView.as_view(), name="api-spending-csv"),
    path("budget/", money.BudgetView.as_view(), name="api-budget"),
    path("estimates/", money.EstimatesView.as_view(), name="api-estimates"),
    path("tokens/", TokenViewSet.as_view({"get": "list", "post": "create"}), name="api-tokens"),
    path("tokens/<uuid:token_id>/", TokenViewSet.as_view({"delete": "destroy"}), name="api-token"),
    path("credentials/", CredentialViewSet.as_view({"get": "list"}), name="api-credentials"),
    path(
        "credentials/<slug:provider>/",
        CredentialViewSet.as_view({"put": "save", "delete": "destroy"}),
        name="api-credential",
    ),
    path(
        "credentials/<slug:provider>/check/",
        CredentialViewSet.as_view({"post": "check"}),
        name="api-credential-check",
    ),
    path("me/", MeView.as_view(), name="api-me"),
    path("schema/", docs.SchemaView.as_view(), name="api-schema"),
    path("docs/", docs.DocsView.as_view(), name="api-docs"),
    re_path(r"^(?P<rest>.*)$", docs.UnknownAddressView.as_view(), name="api-unknown"),
]
