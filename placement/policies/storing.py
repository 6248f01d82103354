"""A tenant's text becomes its policy: read, looked up, tried, proven on the tenant's server, and only then stored. Nothing is stored by half.

The server is asked outside of the transaction. What changes between the question and the commit is met again when the cluster's document is pushed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import transaction
from django.utils.translation import gettext as _

from placement.errors import PolicyNotProven
from placement.models import Binding, Cluster
from placement.policies import proving, resolving, sizes, trials, wishes
from placement.policies.compiling import Compiled, compile_cluster
from placement.policies.facts import ClusterFact, TenantFact, silenced
from placement.policies.gathering import NOBODY, fact_of, gather
from placement.policies.reach import Reach, reach_of
from tenants import netpolicy
from tenants.errors import WrongState
from tenants.models import PolicyVersion, Tenant
from tenants.policies.document import NOTHING_WRITTEN, Document, Fault, Place, PolicyRefused

log = structlog.get_logger(__name__)

# characters of one tenant's part: a server takes a document of 4 MiB for all of its tenants (placement/policies/proof.py)
MOST_COMPILED = 500_000
MOST_RULES = 500  # that the server makes of one tenant's policy: with 500 devices each costs it 5 ms at every change
MOST_SECONDS = 5.0  # of one peer calculation: a policy that makes its server slower than this is for the operators to place elsewhere


@dataclass(frozen=True)
class World:
    """The tenant among those that share its cluster, compiled. `cluster` None: it lives nowhere yet."""

    cluster: Cluster | None
    fact: ClusterFact
    compiled: Compiled
    reach: Reach


@dataclass(frozen=True)
class Verdict:
    """A text that may be stored. `proven_on`: the cluster that was asked, empty for a tenant that lives nowhere. `unproven`: tests without devices."""

    document: Document
    compiled: Compiled
    checked_at: datetime
    proven_on: str
    passed: int
    unproven: tuple[Fault, ...]


@dataclass(frozen=True)
class Stored:
    version: PolicyVersion
    verdict: Verdict


def check(tenant: Tenant, text: str, now: datetime) -> Verdict:
    """Whether the text may become the tenant's policy; nothing is stored.

    Raises: PolicyRefused with all faults; PolicyNotProven when a test fails or the server's check does; WrongState for a closed tenant; ClusterError
    when its server does not answer.
    """
    document = looked_up(tenant, text)
    world = world_of(tenant, text)
    _fits(tenant, world)
    tried = trials.attempt(world.reach)
    if tried.failed:
        raise PolicyNotProven(_("The policy's own tests fail."), tried.failed)
    if world.cluster is not None:
        _prove(tenant, world.cluster, world)
    return Verdict(document, world.compiled, now, world.cluster.cluster_id if world.cluster else "", tried.passed, tried.unproven)


def store(
    tenant: Tenant, text: str, *, expected: int | None, actor: str, now: datetime, note: str = "", restores: int | None = None
) -> Stored:
    """Check the text, make it the version that counts, and ask for a push. Raises: what `check` and `netpolicy.put` raise."""
    netpolicy.check_expected(tenant, expected)
    verdict = check(tenant, text, now)
    with transaction.atomic():
        version = netpolicy.put(tenant, text, expected=expected, actor=actor, now=now, note=note, restores=restores)
        wishes.touch_of(tenant, now=now)
    return Stored(version, verdict)


def roll_back(tenant: Tenant, *, expected: int | None, actor: str, now: datetime, to_number: int | None = None, note: str = "") -> Stored:
    """Store the text of an earlier version again, as a new version that says which it restores. Without a number the one before the current one.

    0 is what was before the first version, the default policy. The world may have changed, so it is checked like any other text.
    Raises: WrongState where there is nothing to go back to; what `store` raises.
    """
    seen = netpolicy.current(tenant)
    if seen is None:
        raise WrongState(_("no version was ever stored"))
    netpolicy.check_expected(tenant, expected)
    number = seen.number - 1 if to_number is None else to_number
    earlier = netpolicy.version(tenant, number)
    if (earlier is None and number != 0) or number == seen.number:
        raise WrongState(_("there is no earlier version %(number)d") % {"number": number})
    text = earlier.text if earlier else ""
    return store(tenant, text, expected=seen.number, actor=actor, now=now, note=note, restores=number)


def looked_up(tenant: Tenant, text: str) -> Document:
    """The text read, its words looked up among what the tenant has. Raises: PolicyRefused; WrongState for a closed tenant."""
    if tenant.state == Tenant.State.CLOSED:
        raise WrongState(_("the tenant is closed"))
    fact = fact_of(tenant, text)
    if fact.document is not NOTHING_WRITTEN and (faults := resolving.faults(fact, fact.document)):
        raise PolicyRefused(faults)
    return fact.document


def world_of(tenant: Tenant, text: str | None = None) -> World:
    """The tenant's cluster as it is, or as it would be with this text in place of the tenant's stored one. Raises: PolicyRefused, where it is too large."""
    binding = Binding.objects.of(tenant).select_related("cluster").first()
    if binding is None:
        cluster = ClusterFact("", (_alone(tenant, text),))
    else:
        cluster = gather(binding.cluster_id, instead=None if text is None else {tenant.account: text}).fact
        if cluster.tenant(tenant.account) is None:  # closed, and nothing of it is left
            cluster = ClusterFact(cluster.cluster_id, (*cluster.tenants, TenantFact(tenant.account)), cluster.peerings)
    compiled = compile_cluster(cluster)
    if text is not None and tenant.account in compiled.too_large:
        raise PolicyRefused((Fault(sizes.too_much(), Place()),))
    return World(binding.cluster if binding else None, cluster, compiled, reach_of(compiled, cluster, tenant.account))


def _alone(tenant: Tenant, text: str | None) -> TenantFact:
    """A stored text that no reader takes any more lets nobody reach anybody, as on a cluster."""
    try:
        return fact_of(tenant, text)
    except PolicyRefused:
        if text is not None:
            raise
        return TenantFact(tenant.account, NOBODY)


def _fits(tenant: Tenant, world: World) -> None:
    """What a tenant's words come to, device by device. Raises: PolicyNotProven."""
    alone = tuple(fact for fact in world.fact.tenants if fact.account == tenant.account)
    length = len(compile_cluster(ClusterFact(world.fact.cluster_id, alone)).text)
    if length > MOST_COMPILED:
        words = {"length": length, "most": MOST_COMPILED}
        raise PolicyNotProven(
            _(
                "Spelt out for its devices the policy has %(length)d characters; at most %(most)d are allowed. Name tags in place of devices."
            )
            % words
        )
    rules = world.compiled.rules.get(tenant.account, 0)
    if rules > MOST_RULES:
        raise PolicyNotProven(
            _("The policy comes to %(rules)d rules on its server; at most %(most)d are allowed. Join those that say alike.")
            % {"rules": rules, "most": MOST_RULES}
        )
    if world.compiled.seconds > MOST_SECONDS and world.compiled.seconds > 1.2 * world_of(tenant).compiled.seconds:
        raise PolicyNotProven(
            _(
                "The policy would make its server too slow beside those of others. Use fewer rules, none with via, or ask the operators for another cluster."
            )
        )


def _prove(tenant: Tenant, cluster: Cluster, world: World) -> None:
    """What others have written keeps nobody from a policy: whoever else is to blame is left out, as the next push would."""
    fact, compiled, without = world.fact, world.compiled, set[str]()
    while True:
        try:
            proving.prove(cluster, compiled, fact, about={tenant.account})
        except proving.NotProven as error:
            told = {"about": error.account, "reason": error.reason}
            log.warning("policy_not_proven", tenant=tenant.account, cluster_id=cluster.cluster_id, **told)
            own = error.account == tenant.account
            if own or not error.account or error.account in without:
                reason = error.reason if own else _("The server does not hold the tenants apart with it; the operators can see why.")
                raise PolicyNotProven(reason, evidence=error.reason) from error
            without.add(error.account)
            fact = silenced(fact, without)
            compiled = compile_cluster(fact)
        else:
            return
