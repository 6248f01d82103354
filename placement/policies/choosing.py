"""Which document a cluster shall run now: every tenant's current version, or, of one that the server would not take, the version that it ran before.

So one tenant's policy never keeps another's from the server. Who has no version that the server takes reaches nothing until there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog
from django.utils.translation import gettext as _

from placement.headscale.admin import Admin
from placement.policies import proving, sizes
from placement.policies.compiling import Compiled, compile_cluster
from placement.policies.facts import ClusterFact, silenced
from placement.policies.gathering import Gathered, gather
from placement.policies.proving import NotProven
from tenants.models import NetworkPolicy

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Chosen:
    """A document and what is in it. `versions`: whose version is in it, by account; `fresh`: of those, who has another one than the server took last.

    `trouble`: of whom it is not the current one and why, or whose tests do not hold any more.
    """

    compiled: Compiled
    fact: ClusterFact
    gathered: Gathered
    versions: dict[str, int]
    fresh: frozenset[str]
    trouble: dict[str, str]


@dataclass
class Fallback:
    """Of whom the former version counts, of whom none, and why."""

    former: set[str] = field(default_factory=set)
    nothing: set[str] = field(default_factory=set)
    trouble: dict[str, str] = field(default_factory=dict)

    def blame(self, account: str, reason: str, chosen: Chosen) -> None:
        (self.former if account in chosen.fresh else self.nothing).add(account)
        self.trouble.setdefault(account, reason)


def choose(cluster_id: str, admin: Admin, *, running: str, turn: int, go_on: Callable[[], None]) -> Chosen:
    """The document that the server shall run, proven unless it is `running` (a digest) and no tenant has another version than its server took.

    `go_on` is called between questions to the server, and may raise to stop. Raises: NotProven, where no tenant alone is to blame; ClusterError.
    """
    fallback = Fallback()
    while True:
        chosen = _compile(cluster_id, fallback)
        if chosen.compiled.too_large:
            for account in sorted(chosen.compiled.too_large):
                log.warning("policy_too_large", cluster_id=cluster_id, account=account)
                fallback.blame(account, sizes.too_much(), chosen)
            go_on()
            continue
        if chosen.compiled.digest == running and not chosen.fresh:
            return chosen
        try:
            proving.prove_by(admin, chosen.compiled, chosen.fact, about=chosen.fresh, turn=turn, go_on=go_on)
        except NotProven as refusal:
            if not refusal.account or refusal.account in fallback.nothing:
                raise
            log.warning("policy_not_proven", cluster_id=cluster_id, account=refusal.account, reason=refusal.reason)
            fallback.blame(refusal.account, refusal.reason, chosen)
            go_on()
            continue
        settled = {tenant.account for tenant in chosen.fact.tenants} - chosen.fresh - chosen.trouble.keys()
        broken = proving.broken(admin, chosen.compiled, chosen.fact, settled, go_on=go_on)
        return replace(chosen, trouble={**broken, **chosen.trouble})


def _compile(cluster_id: str, fallback: Fallback) -> Chosen:
    gathered = gather(cluster_id, as_running=fallback.former)
    unreadable = {account: why for account, why in gathered.unreadable.items() if account not in fallback.former}
    if unreadable:
        for account, why in unreadable.items():
            fallback.former.add(account)
            fallback.trouble.setdefault(account, _("It cannot be read: %(reason)s") % {"reason": why})
        gathered = gather(cluster_id, as_running=fallback.former)
    fact = silenced(gathered.fact, fallback.nothing)
    without = fallback.nothing | gathered.unreadable.keys()
    versions = {account: number for account, number in gathered.versions.items() if account not in without}
    fresh = frozenset(_fresh(versions) - fallback.former)
    return Chosen(compile_cluster(fact), fact, gathered, versions, fresh, dict(fallback.trouble))


def _fresh(versions: Mapping[str, int]) -> set[str]:
    rows = NetworkPolicy.objects.across_tenants().filter(tenant__account__in=versions).values_list("tenant__account", "running__number")
    took = dict(rows)
    return {account for account, number in versions.items() if took.get(account) != number}
