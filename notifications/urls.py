from __future__ import annotations

from django.urls import path

from notifications import pages

app_name = "notifications"

urlpatterns = [
    path("notifications/", pages.notification_list, name="list"),
    path("settings/notifications/", pages.settings_page, name="settings"),
]
