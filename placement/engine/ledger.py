"""Arithmetic of promised load, in whole devices: what a cluster may promise, and what to expect of a tenant."""

from __future__ import annotations

from collections.abc import Sequence

SHARED_PERCENT = 85  # of a shared cluster's capacity may be promised; a dedicated one is its tenant's to fill
PEAKS_NEEDED = 24  # hourly peaks: before a day is over nobody knows a tenant's habits
HEAVIEST_IN_THIRDS = 12


def cap(capacity: int, kind: str) -> int:
    """How many devices a cluster may promise. Whole numbers, rounded down, so that SQL's `capacity * 85 / 100` finds the same."""
    return capacity if kind == "dedicated" else capacity * SHARED_PERCENT // 100


def p95(values: Sequence[int]) -> int:
    """The 95th percentile by nearest rank: a value that occurred. 0 of nothing."""
    return sorted(values)[-(-95 * len(values) // 100) - 1] if values else 0


def expected(plan_figure: int, hourly_peaks: Sequence[int], rules: int) -> int:
    """Devices to promise for a tenant: its plan's figure for a day, then the 95th percentile of its own hourly peaks, at the weight of its policy."""
    devices = max(1, p95(hourly_peaks)) if len(hourly_peaks) >= PEAKS_NEEDED else plan_figure
    return -(-devices * _thirds(rules) // 3)


def policy_weight(rules: int) -> float:
    """What a device of a tenant with so many policy rules of its own costs, relative to one of a tenant without: 1 + rules / 3, at most 4.

    Measured with 500 devices of 50 tenants on one headscale 0.29.2 server (one peer calculation): one literal rule per tenant 0.57-0.88 s,
    five per tenant 1.7 s. That is the form which the compiler writes as soon as some five of fifty tenants have rules of their own (0.59 s in the
    other form, and 0.12 s more for each further one). A tenant without rules costs one literal rule there; each further rule costs
    (1.7 / 0.725 - 1) / 4 = 0.34 of the first. A tenant's first own rule counts as a further one, because it is what drives the server into that form.
    The line is drawn a little beyond what was measured and no further: from nine rules on the server's own peer calculations have to speak.
    """
    return _thirds(rules) / 3


def _thirds(rules: int) -> int:
    """Whole, so that no rounding of a fraction adds a device."""
    return min(3 + max(0, rules), HEAVIEST_IN_THIRDS)
