from __future__ import annotations

from typing import Any

from django.core import checks

from frontend.icons import folder


@checks.register()
def icons_are_installed(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Pages read their icons from the npm packages; without them they work, but look bare and draw no charts."""
    if folder() is not None:
        return []
    return [
        checks.Warning(
            "The browser libraries are not installed: icons, styles and charts are missing from the pages.",
            hint="Run `npm ci` in the folder that holds package.json.",
            id="frontend.W001",
        )
    ]
