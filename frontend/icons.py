"""Icons drawn into the page, so that they take the colour of the text and need no request of their own."""

from __future__ import annotations

import re
from pathlib import Path

from django.conf import settings
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

NAME = re.compile(r"[a-z0-9-]+")
DRAWING = re.compile(r"<svg[^>]*>(.*)</svg>", re.DOTALL)
# Every Tabler icon begins with this empty square; leaving it out saves a tenth of a page.
EMPTY_SQUARE = re.compile(r"<path stroke=\"none\"[^>]*/>")
_drawings: dict[str, str] = {}  # of this process, by icon name


def folder() -> Path | None:
    """Where the outline icons are, or None when the npm packages are not installed."""
    path = Path(settings.BASE_DIR) / "node_modules" / "@tabler" / "icons" / "icons" / "outline"
    return path if path.is_dir() else None


def drawing(name: str) -> str:
    """The paths inside the icon's svg element; empty when there is no such icon or the packages are missing.

    A page without an icon is better than no page, for instance while the packages are being renewed.
    """
    if (found := _drawings.get(name)) is not None:
        return found
    place = folder()
    if place is None or not NAME.fullmatch(name):
        return ""
    try:
        match = DRAWING.search((place / f"{name}.svg").read_text())
    except OSError:
        return ""
    if match is None:
        return ""
    return _drawings.setdefault(name, re.sub(r"\s+", " ", EMPTY_SQUARE.sub("", match.group(1))).strip())


def svg(name: str, css_class: str = "") -> SafeString:
    """An icon that screen readers skip: the text beside it says what it means."""
    # The drawing comes from an installed package, never from a user.
    return format_html(
        '<svg class="icon {}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.75" '
        'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">{}</svg>',
        css_class,
        mark_safe(drawing(name)),  # noqa: S308
    )
