"""What limits have been spent while Valkey is away."""

from __future__ import annotations

from django.db import models


class LimitWindow(models.Model):
    """How often a limit was hit in its present window. An unlogged table (migrations/0006): after a crash every window begins anew."""

    key = models.CharField(max_length=200, primary_key=True)
    hits = models.PositiveIntegerField()
    ends_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.key
