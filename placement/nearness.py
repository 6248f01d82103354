"""What operators tell of regions: which are neighbours, and which networks and countries are near which. Each verb leaves an audit event."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction
from django.utils.translation import gettext as _

from placement.models import Cluster, Nearness, Region
from tenants import audit
from tenants.errors import MalformedRequest, WrongState

NAME = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")
COUNTRY = re.compile(r"[A-Z]{2}\Z")

# the smallest network that holds the address wins over a larger one, and any network over a country
NEAR = """
select region from (
    select region, masklen(network::cidr) as width from placement_nearness where network <> '' and %(address)s::inet <<= network::cidr
    union all select region, -1 from placement_nearness where country <> '' and country = %(country)s
) told order by width desc limit 1
"""


def near(address: str, country: str) -> str:
    """The region that operators hold nearest to a device at this address, or in this country; empty when they told nothing."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        address = "0.0.0.0"  # noqa: S104 - compared: no network of the table holds it
    with connection.cursor() as cursor:
        cursor.execute(NEAR, {"address": address, "country": country})
        row = cursor.fetchone()
    return str(row[0]) if row else ""


@transaction.atomic
def describe(name: str, *, title: str, neighbours: Sequence[str], actor: str, now: datetime) -> Region:
    """A region's title, and where its tenants may go when it is full, nearest first. Raises: MalformedRequest."""
    wrong = {"name": _("letters, digits, - and _")} if not NAME.match(name) else {}
    if odd := [other for other in neighbours if not NAME.match(other) or other == name]:
        wrong["neighbours"] = _("not a neighbour: %(regions)s") % {"regions": ", ".join(odd)}
    if len(title) > 80:
        wrong["title"] = _("at most 80 characters")
    if wrong:
        raise MalformedRequest(wrong)
    region, _made = Region.objects.update_or_create(name=name, defaults={"title": title, "neighbours": list(dict.fromkeys(neighbours))})
    audit.record("region.describe", actor=actor, tenant=None, target=name, now=now, title=title, neighbours=region.neighbours)
    return region


@transaction.atomic
def learn(place: str, region: str, *, actor: str, now: datetime) -> Nearness:
    """Devices of `place`, a network or a country's two letters, are near `region`. Raises: MalformedRequest."""
    network, country = read_place(place)
    if not NAME.match(region):
        raise MalformedRequest({"region": _("letters, digits, - and _")})
    row, _made = Nearness.objects.update_or_create(network=network, country=country, defaults={"region": region})
    audit.record("region.learn", actor=actor, tenant=None, target=network or country, now=now, region=region)
    return row


@transaction.atomic
def unlearn(place: str, *, actor: str, now: datetime) -> None:
    """Raises: MalformedRequest, WrongState when nothing was told of that place."""
    network, country = read_place(place)
    if Nearness.objects.filter(network=network, country=country).delete()[0] != 1:
        raise WrongState(_("nothing was told of %(place)s") % {"place": place})
    audit.record("region.unlearn", actor=actor, tenant=None, target=network or country, now=now)


@dataclass(frozen=True)
class Place:
    """A region: its clusters, and what operators told of it."""

    name: str
    title: str
    clusters: int
    neighbours: list[str]
    near: list[str]


def everywhere() -> list[Place]:
    """Every region that a cluster or an operator names."""
    described = {region.pk: region for region in Region.objects.all()}
    counted = Counter(Cluster.objects.values_list("region", flat=True))
    near: dict[str, list[str]] = {}
    for row in Nearness.objects.all():
        near.setdefault(row.region, []).append(row.network or row.country)
    names = sorted({*described, *counted, *near})
    unknown = Region()
    return [
        Place(name, (told := described.get(name, unknown)).title, counted[name], list(told.neighbours), near.get(name, []))
        for name in names
    ]


def read_place(place: str) -> tuple[str, str]:
    """(network, country), one of them empty. Raises: MalformedRequest."""
    if COUNTRY.match(place):
        return "", place
    try:
        return str(ipaddress.ip_network(place)), ""
    except ValueError:
        raise MalformedRequest({"place": _("a network such as 203.0.113.0/24, or a country's two capital letters")}) from None
