from __future__ import annotations

from django.db import models


class ProcessBeat(models.Model):
    """The last sign of life of a background part, written through the part itself."""

    name = models.CharField(max_length=80, primary_key=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return f"{self.name} at {self.at:%Y-%m-%d %H:%M:%S}"
