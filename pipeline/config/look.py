"""How the operators' site looks and what stands first in its navigation; the rest of it are the models."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse_lazy


def _item(title: str, icon: str, page: str, permission: str = "") -> dict[str, Any]:
    def allowed(request: HttpRequest) -> bool:
        return not permission or request.user.has_perm(permission)

    return {"title": title, "icon": icon, "link": reverse_lazy(f"admin:{page}"), "permission": allowed}


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Stoker",
    "SITE_HEADER": "Stoker",
    "SITE_SYMBOL": "local_fire_department",
    "SITE_URL": "/jobs/",
    "ENVIRONMENT": "pipeline.config.playground_accounts.badge",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "/favicon.svg"}],
    # The accent of the pages: 600 is what stands on white, 500 what stands on dark ground.
    "COLORS": {
        "primary": {
            "50": "oklch(98% .016 73.7)",
            "100": "oklch(95.4% .038 75.2)",
            "200": "oklch(90.1% .076 70.7)",
            "300": "oklch(83.7% .128 66.3)",
            "400": "oklch(78% .15 58)",
            "500": "oklch(73.5% .17 50)",
            "600": "oklch(55.3% .195 38.4)",
            "700": "oklch(47% .157 37.3)",
            "800": "oklch(40.8% .123 38.2)",
            "900": "oklch(35% .1 38)",
            "950": "oklch(26.6% .079 36.3)",
        },
    },
    "SIDEBAR": {
        "show_all_applications": True,
        "navigation": [
            {
                "title": "Operating",
                "items": [
                    _item("Dashboard", "monitoring", "index"),
                    _item("Jobs", "local_fire_department", "pipeline_job_changelist", "pipeline.view_job"),
                    _item(
                        "Machines", "dns", "pipeline_machinesighting_changelist", "pipeline.view_machinesighting"
                    ),
                    _item("Spending", "payments", "pipeline_costrecord_spending", "pipeline.view_costrecord"),
                    _item(
                        "Deliveries",
                        "outgoing_mail",
                        "notifications_delivery_changelist",
                        "notifications.view_delivery",
                    ),
                    _item(
                        "Schedules", "schedule", "django_celery_beat_periodictask_changelist",
                        "django_celery_beat.view_periodictask",
                    ),
                    _item("Audit trail", "history", "audit_trail", "admin.view_logentry"),
                ],
            }
        ],
    },
}  # fmt: skip
