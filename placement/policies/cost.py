"""What a document costs its server: the seconds of one peer calculation, which every registration, rename and policy change pays. Pure.

Fitted to headscale 0.29.2 with 500 devices of 50 tenants on two cores (benchmarks/policy.py measures both forms again): a calculation compares every
pair of devices, with the rules of all (`literal`), or with rules that each device has of its own as soon as one rule needs that (`self`, and `via`).
"""

from __future__ import annotations

from dataclasses import dataclass

PAIR = 1.4e-6  # seconds per pair of devices and nothing else
PAIR_AND_RULE = 2.2e-8
OWN_PAIR = 5.2e-7  # the same where every device has rules of its own
OWN_PAIR_AND_RULE = 4.8e-7


@dataclass(frozen=True)
class Load:
    """`devices` of the server; `rules` that it compiles; `own` whether every device gets rules of its own."""

    devices: int
    rules: int
    own: bool

    @property
    def seconds(self) -> float:
        """One peer calculation."""
        pairs = self.devices**2
        if self.own:
            return pairs * (OWN_PAIR + OWN_PAIR_AND_RULE * max(0, self.rules - 1))
        return pairs * (PAIR + PAIR_AND_RULE * self.rules)
