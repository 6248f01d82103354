"""Likely causes of a stall, most telling first: one small function per rule, one ordered list that names them all.

What the device's own side reported counts for its network; what ACS saw counts for everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from placement.diagnosis.facts import Known, NetFacts
from placement.diagnosis.stages import ASKED, ONLINE, PEERS, REDEEMED, SHOWN, Standing

FRESH = timedelta(days=1)  # an older report says little about today's network
CLOCK_TOLERANCE = 60.0  # seconds: TLS certificates and signatures bear more, and a clock that is a minute off is not kept at all
OFF = "the device's clock is"  # how tenants/errors.py, SkewedClock begins
OUR_CODES = {  # what a refusal says by itself
    "quota-exceeded": "quota",
    "tenant-suspended": "tenant-suspended",
    "payment-overdue": "payment-overdue",
    "registration-refused": "registration-refused",
    "approval-pending": "approval",
    "too-many-requests": "approval-full",  # a full queue alone: floods are not written down
    "region-not-in-plan": "region",
    "no-cluster-available": "no-cluster",
    "cluster-error": "cluster-down",
    "cluster-busy": "cluster-down",
    "bad-credential": "credential",
    "idempotency-mismatch": "idempotency",
    "malformed-request": "request",
}


@dataclass(frozen=True)
class Cause:
    """`code` is stable and has its words in words.py; `detail` is the evidence. `certain`: ACS saw it; else it is likely."""

    code: str
    detail: str = ""
    certain: bool = False


@dataclass(frozen=True)
class Case:
    """What a rule looks at."""

    known: Known
    at: Standing
    now: datetime

    @property
    def net(self) -> NetFacts | None:
        return self.known.net


Rule = Callable[[Case], Cause | None]


def refused_by_code(case: Case) -> Cause | None:
    if case.at.stage != ASKED or not case.at.stalled:
        return None
    reason = max(case.known.refusals, key=lambda refusal: refusal.last_at).reason
    if case.at.code == "bad-credential" and reason.startswith(OFF):
        return Cause("clock", reason, certain=True)
    return Cause(OUR_CODES.get(case.at.code, "refused"), reason, certain=True)


def suspended(case: Case) -> Cause | None:
    return Cause("tenant-suspended", certain=True) if case.known.suspended and case.at.code != "tenant-suspended" else None


def disabled(case: Case) -> Cause | None:
    disabled_now = case.known.enrolment == "disabled" and case.at.stage in (ASKED, REDEEMED) and case.at.code != "registration-refused"
    return Cause("registration-refused", certain=True) if disabled_now else None


def cluster_down(case: Case) -> Cause | None:
    cluster = case.known.cluster
    if cluster is None or case.at.stage not in (SHOWN, REDEEMED, ONLINE, PEERS):
        return None
    late = cluster.polled_at is not None and (case.now - cluster.polled_at).total_seconds() > 5 * cluster.poll_seconds
    if cluster.state == "offline" or cluster.failures >= 2 or late:
        return Cause("cluster-down", cluster.cluster_id, certain=True)
    return None


def queued(case: Case) -> Cause | None:
    return Cause("queued", certain=True) if case.at.code == "queued" else None


def server_silent(case: Case) -> Cause | None:
    silent = case.at.stage == SHOWN and case.at.stalled and case.at.code != "queued"
    return Cause("server-silent", certain=True) if silent else None


def key_expired(case: Case) -> Cause | None:
    return Cause("key-expired", certain=True) if case.at.code == "key-expired" else None


def login_expired(case: Case) -> Cause | None:
    return Cause("login-expired", certain=True) if case.at.code == "login-expired" else None


def clock(case: Case) -> Cause | None:
    if case.net is None or case.net.clock_off is None or abs(case.net.clock_off) <= CLOCK_TOLERANCE:
        return None
    return Cause("clock", f"{case.net.clock_off:+.0f} s")


def captive_portal(case: Case) -> Cause | None:
    return Cause("captive-portal") if case.net and case.net.captive_portal else None


def dns(case: Case) -> Cause | None:
    return Cause("dns", case.net.dns) if case.net and case.net.dns not in (None, "ok") else None


def port_443(case: Case) -> Cause | None:
    return Cause("port-443", case.net.tcp) if case.net and case.net.tcp not in (None, "ok") else None


def tls(case: Case) -> Cause | None:
    return Cause("tls", case.net.tls) if case.net and case.net.tls not in (None, "ok") else None


def no_relay(case: Case) -> Cause | None:
    return Cause("no-relay") if case.net and case.net.derp is False and case.at.stage in (ONLINE, PEERS) else None


def went_offline(case: Case) -> Cause | None:
    return Cause("went-offline", certain=True) if case.at.code == "went-offline" else None


def alone(case: Case) -> Cause | None:
    return Cause(case.at.code, certain=True) if case.at.stage == PEERS and case.at.code in ("alone", "tagged", "policy") else None


def unreached(case: Case) -> Cause | None:
    """Nothing of the device's own side is known: what there is to look at."""
    fresh = case.net is not None and case.now - case.net.at <= FRESH
    return Cause("unreached") if case.at.stage == REDEEMED and not fresh else None


STALL: tuple[Rule, ...] = (
    refused_by_code,
    suspended,
    disabled,
    cluster_down,
    queued,
    server_silent,
    login_expired,
    clock,
    captive_portal,
    dns,
    port_443,
    tls,
    no_relay,
    went_offline,
    key_expired,
    alone,
    unreached,
)


def udp_blocked(case: Case) -> Cause | None:
    return Cause("udp-blocked") if case.net and case.net.udp is False else None


def hard_nat(case: Case) -> Cause | None:
    return Cause("hard-nat") if case.net and case.net.udp and case.net.hard_nat and not case.net.port_mapping else None


def no_ipv6(case: Case) -> Cause | None:
    return Cause("no-ipv6") if case.net and case.net.ipv6 is False else None


SLOW: tuple[Rule, ...] = (udp_blocked, hard_nat, no_ipv6)  # no stall: what keeps a device that is in its network from direct connections


def causes(known: Known, at: Standing, *, now: datetime) -> Iterator[Cause]:
    """Why it stalls; nothing where it does not."""
    if at.stalled:
        yield from _found(STALL, Case(known, at, now))


def hints(known: Known, at: Standing, *, now: datetime) -> Iterator[Cause]:
    """What will make its connections go through relays."""
    yield from _found(SLOW, Case(known, at, now))


def _found(rules: tuple[Rule, ...], case: Case) -> Iterator[Cause]:
    yield from (cause for rule in rules if (cause := rule(case)) is not None)
