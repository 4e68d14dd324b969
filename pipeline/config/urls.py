from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from frontend.views.accounts import admin_sign_in
from pipeline.config import health, prometheus

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", prometheus.metrics),
    path(f"{settings.STOKER_ADMIN_PATH}login/", admin_sign_in),
    path(settings.STOKER_ADMIN_PATH, admin.site.urls),
    path("api/training/", include("pipeline.wire.urls")),
    path("api/", include("notifications.api.urls")),
    path("api/", include("pipeline.api.urls")),  # last of /api/: it answers for every address that is none
    path("", include("datasets.urls")),
    path("", include("notifications.urls")),
    path("", include("frontend.urls")),
]
