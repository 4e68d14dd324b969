from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import models

from training import hyperparameters


class Preset(models.Model):
    """A named set of hyperparameters. What a preset does not name keeps the training program's default."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=80, unique=True)
    description = models.CharField(max_length=300, blank=True)
    hyperparameters = models.JSONField(default=dict, blank=True)
    position = models.PositiveSmallIntegerField(default=0)
    is_default = models.BooleanField(default=False)

    class Meta:
        ordering = ["position", "name"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"], condition=models.Q(is_default=True), name="preset_one_default"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        _, errors = hyperparameters.validate(self.hyperparameters)
        if errors:
            raise ValidationError({"hyperparameters": [f"{name}: {sentence}" for name, sentence in errors]})
