from django.urls import path

from pipeline.wire import views

# Under /api/training/. See docs/lifecycle.md for the conversation these make up.
urlpatterns = [
    path("program", views.program, name="training-program"),
    path("jobs/<uuid:job_id>/bootstrap", views.exchange, name="training-bootstrap"),
    path("jobs/<uuid:job_id>/spec", views.spec, name="training-spec"),
    path("jobs/<uuid:job_id>/metrics", views.metrics, name="training-metrics"),
    path("jobs/<uuid:job_id>/events", views.events, name="training-events"),
    path("jobs/<uuid:job_id>/artifacts", views.artifacts, name="training-artifacts"),
    path("jobs/<uuid:job_id>/artifacts/<uuid:artifact_id>/complete", views.complete_artifact, name="training-artifact"),
    path("callbacks/<str:token>", views.callback, name="training-callback"),
    path("jobs/<uuid:job_id>/finish", views.finish, name="training-finish"),
]
