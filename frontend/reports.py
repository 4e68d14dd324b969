"""Shapes of a dataset's report for its page."""

from __future__ import annotations

from typing import Any

BAR_WIDTH = 56
BAR_GAP = 12
CHART_HEIGHT = 150


def bars(histogram: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The token histogram as rectangles of a drawing, up to its last filled bucket. None without rows."""
    filled = [i for i, bucket in enumerate(histogram) if bucket.get("rows")]
    if not filled:
        return None
    shown = histogram[: filled[-1] + 1]
    most = max(bucket["rows"] for bucket in shown)
    step = BAR_WIDTH + BAR_GAP
    drawn = []
    for i, bucket in enumerate(shown):
        height = round(CHART_HEIGHT * bucket["rows"] / most, 1)
        drawn.append(
            {
                "x": i * step,
                "middle": i * step + BAR_WIDTH / 2,
                "y": CHART_HEIGHT - max(height, 2 if bucket["rows"] else 0),
                "height": max(height, 2 if bucket["rows"] else 0),
                "rows": bucket["rows"],
                "label": f"{bucket['from']:,}–{bucket['to']:,}" if bucket["to"] else f"over {bucket['from']:,}",
            }
        )
    return {"bars": drawn, "width": len(shown) * step - BAR_GAP, "bar_width": BAR_WIDTH, "base": CHART_HEIGHT}
