"""Apart from `apps`: the module of an application may hold one configuration, and this is another one's."""

from __future__ import annotations

from django.contrib.admin.apps import AdminConfig


class OperatorsAdmin(AdminConfig):
    """Django's admin, on a site of our own."""

    default_site = "pipeline.config.adminsite.OperatorsSite"
