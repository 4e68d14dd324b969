from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from frontend.views.accounts import admin_sign_in
from pipeline.config import health

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("admin/login/", admin_sign_in),
    path("admin/", admin.site.urls),
    path("api/training/", include("pipeline.wire.urls")),
    path("api/notifications/", include("notifications.api.urls")),
    path("api/", include("pipeline.api.urls")),  # last of /api/: it answers for every address that is none
    path("", include("datasets.urls")),
    path("", include("frontend.urls")),
]
