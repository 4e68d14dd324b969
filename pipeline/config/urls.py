from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from pipeline.config import health

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("admin/", admin.site.urls),
    path("api/training/", include("pipeline.wire.urls")),
    path("", include("datasets.urls")),
]
