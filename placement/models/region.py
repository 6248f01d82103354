"""Regions as operators describe them: which lie near each other, and which networks and countries are near which region.

A region exists as soon as a cluster names it; a row here only adds what cannot be seen from clusters.
"""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Region(models.Model):
    """What operators know of a region. `neighbours` in order: where a tenant may go when the region is full."""

    name = models.SlugField(_("name"), primary_key=True, max_length=32)
    title = models.CharField(_("title"), max_length=80, blank=True)
    neighbours = ArrayField(models.SlugField(max_length=32), verbose_name=_("neighbours"), default=list, blank=True)

    class Meta:
        verbose_name = _("region")
        verbose_name_plural = _("regions")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.title or self.name


class Nearness(models.Model):
    """Devices of this network, or of this country, are near this region."""

    id = models.BigAutoField(primary_key=True)
    network = models.CharField(_("network"), max_length=43, blank=True, help_text=_("An IPv4 or IPv6 prefix, such as 203.0.113.0/24."))
    country = models.CharField(_("country"), max_length=2, blank=True, help_text=_("Two capital letters (ISO 3166-1)."))
    region = models.SlugField(_("region"), max_length=32)

    class Meta:
        verbose_name = _("nearness")
        verbose_name_plural = _("nearness")
        ordering = ["country", "network"]
        constraints = [
            models.CheckConstraint(
                condition=(Q(network="") & ~Q(country="")) | (~Q(network="") & Q(country="")), name="nearness_is_of_a_network_or_a_country"
            ),
            models.UniqueConstraint(fields=["network", "country"], name="network_or_country_is_near_one_region"),
        ]

    def __str__(self) -> str:
        return f"{self.network or self.country} -> {self.region}"
