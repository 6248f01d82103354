"""The columns of operators' lists, for templates."""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from placement import pictures
from placement.engine.facts import ClusterFacts
from placement.explaining import percent
from placement.models import Cluster
from placement.pools import Member
from tenants import columns

register = template.Library()
register.simple_tag(columns.meter)
register.simple_tag(columns.badge)
register.filter("ago", columns.ago)
register.filter("percent", percent)


@register.simple_tag
def cluster_state(cluster: ClusterFacts) -> SafeString:
    """A cluster's state, and what else keeps it from taking tenants."""
    words = [columns.badge(cluster.state, Cluster.State(cluster.state).label)]
    if cluster.breaker_open:
        words.append(columns.badge("breaker", _("breaker open")))
    if cluster.is_stale:
        words.append(columns.badge("suspect", _("load unknown")))
    return format_html(" ".join(["{}"] * len(words)), *words)


@register.simple_tag
def colour(member: Member) -> str:
    """The name of the colour that a cluster has in the pictures."""
    return pictures.colour_of(member.utilisation, takes=member.takes)
