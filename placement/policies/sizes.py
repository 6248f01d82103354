"""How much of its server's document each tenant takes, and how much it may. Pure.

A server takes documents of 4 MiB (headscale 0.29, gRPC's default). A few words of a tenant can be many names in there, and more with each device that
joins: without a bound one tenant fills the document, and no change of anybody's reaches the server any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from django.utils.translation import gettext as _

from placement.errors import ClusterRefused

MOST = 1_000_000  # characters of one tenant
LARGE = 100_000  # who takes less is never to blame for a document that is too large
AROUND = 4  # characters around a name
REFUSED = 413  # 0.30; 0.29 says with 429 that a message is "larger than max"


def of_entries(entries: Iterable[Mapping[str, Any]]) -> int:
    """About as many characters as these entries of a document have."""
    return sum(len(name) + AROUND for entry in entries for part in entry.values() if isinstance(part, list) for name in part)


def of_bridges(bridges: Iterable[tuple[str, str, Mapping[str, Any]]]) -> Counter[str]:
    """The same of grants between two tenants (guest, host): each side counts as the tenant's that has named it."""
    found: Counter[str] = Counter()
    for guest, host, grant in bridges:
        found[guest] += of_entries([{"src": grant["src"]}])
        found[host] += of_entries([{name: part for name, part in grant.items() if name != "src"}])
    return found


def over(sizes: Mapping[str, int]) -> frozenset[str]:
    """Who takes more than a tenant may."""
    return frozenset(account for account, size in sizes.items() if size > MOST)


def blamed(sizes: Mapping[str, int], about: Collection[str]) -> str:
    """Whose policy is left out of a document that is too large: one of `about`, whose version is new, if it is large, else the largest. Empty: nobody's."""
    large = {account: size for account, size in sizes.items() if size > LARGE}
    fresh = {account: size for account, size in large.items() if account in about}
    chosen = fresh or large
    return max(sorted(chosen), key=chosen.__getitem__) if chosen else ""


def is_about(refusal: ClusterRefused) -> bool:
    """Whether a server says that the document is too large."""
    return refusal.status == REFUSED or "larger than max" in refusal.reason


def too_much() -> str:
    """For the tenant."""
    return _(
        "The policy says too much for its server: with all devices and tags that its words stand for, it is too long. Use tags, and fewer rules."
    )
