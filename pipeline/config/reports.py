"""What Django's error pages may show. They appear only with DEBUG on, and even then hold no secret."""

from __future__ import annotations

from collections.abc import ItemsView
from typing import Any

from django.http import HttpRequest
from django.utils.safestring import SafeString, mark_safe
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

from pipeline.config.logs import redact


class DiscreetReporter(ExceptionReporter):
    """Django hides settings by their names; addresses in others can hold passwords, and texts of errors tokens."""

    def get_traceback_html(self) -> SafeString:
        return mark_safe(redact(super().get_traceback_html()))  # noqa: S308 - only blots were added

    def get_traceback_text(self) -> SafeString:
        return mark_safe(redact(super().get_traceback_text()))  # noqa: S308


class DiscreetFilter(SafeExceptionReporterFilter):
    def is_active(self, request: HttpRequest | None) -> bool:
        return True

    def get_traceback_frame_variables(self, request: HttpRequest | None, tb_frame: Any) -> ItemsView[str, Any]:
        """None: any variable on the way to an error may hold a key in clear, whatever its name."""
        return {}.items()
