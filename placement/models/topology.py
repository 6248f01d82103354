"""The version of the fleet's membership: it changes with every cluster that comes, goes or changes its pool or weight.

A trigger on placement_cluster writes it and notifies `acs_topology` (migrations/0006_topology.py); processes that hold rings compare it.
"""

from __future__ import annotations

from django.db import models


class Topology(models.Model):
    """The one row. Versions never return, also not after a restore or a truncation: they come from a sequence."""

    id = models.PositiveSmallIntegerField(primary_key=True)
    version = models.BigIntegerField()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="topology_is_one_row")]

    def __str__(self) -> str:
        return str(self.version)
