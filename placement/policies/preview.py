"""What a text would change before anybody stores it: who would reach what, what that is more and less than now, what it says in vain, what it costs."""

from __future__ import annotations

from dataclasses import dataclass

from placement.policies import advice, matrix, trials
from placement.policies.advice import Advice
from placement.policies.compiling import Compiled
from placement.policies.matrix import Difference, Matrix
from placement.policies.reach import Reach
from placement.policies.storing import looked_up, world_of
from placement.policies.trials import Trial
from tenants.models import Tenant


@dataclass(frozen=True)
class Cost:
    """Seconds of one peer calculation of the tenant's server, and the form of its document (self or literal), before and after; empty where it has none."""

    form: str
    seconds: float
    form_now: str
    seconds_now: float
    rules: int


@dataclass(frozen=True)
class Preview:
    after: Reach
    matrix: Matrix
    difference: Difference
    warnings: tuple[Advice, ...]
    tests: Trial
    cost: Cost | None


def preview(tenant: Tenant, text: str) -> Preview:
    """No server is asked and nothing is stored. Raises: PolicyRefused with all faults; WrongState for a closed tenant."""
    looked_up(tenant, text)
    now, then = world_of(tenant), world_of(tenant, text)
    return Preview(
        then.reach,
        matrix.matrix(then.reach),
        matrix.difference(now.reach, then.reach),
        advice.advise(then.reach.tenant, then.reach.statements),
        trials.attempt(then.reach),
        _cost(now.compiled, then.compiled, tenant.account) if then.cluster is not None else None,
    )


def _cost(now: Compiled, then: Compiled, account: str) -> Cost:
    return Cost(then.form, then.seconds, now.form, now.seconds, then.rules.get(account, 0))
