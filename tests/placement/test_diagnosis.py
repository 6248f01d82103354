"""The stages and causes of a diagnosis, as laws over made-up facts; and what a report of a device's own side may say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placement.diagnosis import causes, reports, stages, words
from placement.diagnosis.facts import ClusterFacts, DeviceFacts, GrantFacts, Known, NetFacts, RefusalFacts
from tenants.errors import MalformedRequest

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
REFUSED = RefusalFacts("quota-exceeded", "every device slot of the tenant is taken", 3, NOW - 5 * MINUTE, NOW - MINUTE)
GRANT = GrantFacts("g", "issued", "eu1", "acs-enrol-abc…", NOW - 2 * MINUTE, NOW - 2 * MINUTE, NOW + 58 * MINUTE, None)
REDEEMED = replace(GRANT, state="redeemed", redeemed_at=NOW - MINUTE)
DEVICE = DeviceFacts("till-7", NOW - MINUTE, NOW - MINUTE, True, NOW, None, None, False, 4)
CLUSTER = ClusterFacts("eu1", "active", 0, NOW - MINUTE / 2, 30)
NET = NetFacts(NOW, udp=True, ipv6=True, hard_nat=False, port_mapping=False, dns="ok", tcp="ok", tls="ok", clock_off=0.3)
KNOWN = Known("till-7", cluster=CLUSTER)


def told(**facts):
    known = replace(KNOWN, **facts)
    at = stages.standing(known, now=NOW)
    return at, [cause.code for cause in causes.causes(known, at, now=NOW)]


@pytest.mark.parametrize(
    ("code", "cause"),
    [*causes.OUR_CODES.items(), ("something-new", "refused")],
)
def test_a_refusal_names_its_cause(code, cause):
    at, found = told(refusals=(replace(REFUSED, code=code),))
    assert (at.stage, at.stalled, found[0]) == ("asked", True, cause)


def test_a_skewed_clock_is_a_cause_of_its_own():
    refusal = replace(REFUSED, code="bad-credential", reason="the device's clock is 700 s late")
    assert told(refusals=(refusal,))[1] == ["clock"]


def test_a_grant_after_a_refusal_is_what_counts():
    at, found = told(refusals=(REFUSED,), grants=(replace(GRANT, created_at=NOW, issued_at=NOW),))
    assert (at.stage, at.stalled, found) == ("redeemed", False, [])


@pytest.mark.parametrize(
    ("facts", "stage", "expected"),
    [
        ({"grants": (GRANT,)}, "redeemed", ["unreached"]),
        ({"grants": (GRANT,), "net": NET}, "redeemed", []),
        ({"grants": (GRANT,), "net": replace(NET, dns="Name or service not known", tcp=None, tls=None)}, "redeemed", ["dns"]),
        ({"grants": (GRANT,), "net": replace(NET, tcp="timed out", tls=None)}, "redeemed", ["port-443"]),
        ({"grants": (GRANT,), "net": replace(NET, tls="self-signed certificate")}, "redeemed", ["tls"]),
        ({"grants": (GRANT,), "net": replace(NET, clock_off=-7000.0)}, "redeemed", ["clock"]),
        ({"grants": (GRANT,), "net": replace(NET, captive_portal=True)}, "redeemed", ["captive-portal"]),
        ({"grants": (GRANT,), "cluster": replace(CLUSTER, failures=3)}, "redeemed", ["cluster-down", "unreached"]),
        ({"grants": (GRANT,), "cluster": replace(CLUSTER, polled_at=NOW - 5 * MINUTE)}, "redeemed", ["cluster-down", "unreached"]),
        ({"grants": (GRANT,), "suspended": True, "net": NET}, "redeemed", ["tenant-suspended"]),
        ({"grants": (GRANT,), "enrolment": "disabled", "net": NET}, "redeemed", ["registration-refused"]),
        ({"grants": (replace(GRANT, state="expired", expires_at=NOW - MINUTE),), "net": NET}, "redeemed", ["key-expired"]),
        ({"grants": (replace(GRANT, state="unknown", issued_at=None),)}, "shown", ["server-silent"]),
        ({"grants": (replace(GRANT, state="queued", issued_at=None),)}, "shown", ["queued"]),
        ({"grants": (replace(GRANT, state="released", issued_at=None),)}, "shown", ["server-silent"]),
        ({"grants": (replace(REDEEMED, redeemed_at=NOW - 9 * MINUTE),)}, "online", []),
        ({"grants": (REDEEMED,), "devices": (replace(DEVICE, peers=0),)}, "peers", ["alone"]),
        ({"grants": (REDEEMED,), "devices": (replace(DEVICE, peers=0, tagged=True),)}, "peers", ["alone"]),
        ({"grants": (REDEEMED,), "devices": (replace(DEVICE, peers=0, others=2, tagged=True),)}, "peers", ["tagged"]),
        ({"grants": (REDEEMED,), "devices": (replace(DEVICE, peers=0, others=2),)}, "peers", ["policy"]),
        ({"grants": (REDEEMED,), "devices": (replace(DEVICE, online=False),)}, "online", ["went-offline"]),
        ({"grants": (REDEEMED,), "devices": (replace(DEVICE, login_expires_at=NOW - MINUTE),)}, "online", ["login-expired"]),
        ({"grants": (REDEEMED,), "devices": (replace(DEVICE, online=False),), "net": replace(NET, derp=False)}, "online", ["no-relay", "went-offline"]),
    ],
)  # fmt: skip
def test_a_stall_names_its_stage_and_its_likely_causes(facts, stage, expected):
    at, found = told(**facts)
    assert (at.stage, at.stalled, found) == (stage, True, expected)


def test_a_device_among_its_peers_has_reached_every_stage():
    at, found = told(refusals=(REFUSED,), grants=(REDEEMED,), devices=(DEVICE,))
    assert (at.stage, at.stalled, found) == ("", False, [])


def test_a_device_that_was_deleted_is_judged_by_its_latest_grant():
    gone = replace(DEVICE, gone_at=NOW - MINUTE, online=False)
    assert told(grants=(GRANT,), devices=(gone,))[0].stage == "redeemed"


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (NET, []),
        (replace(NET, udp=False, hard_nat=True), ["udp-blocked"]),
        (replace(NET, hard_nat=True), ["hard-nat"]),
        (replace(NET, hard_nat=True, port_mapping=True), []),
        (replace(NET, ipv6=False), ["no-ipv6"]),
        (NetFacts(NOW), []),
    ],
)
def test_what_makes_connections_slow_is_told_beside_what_stalls(net, expected):
    known = replace(KNOWN, grants=(REDEEMED,), devices=(DEVICE,), net=net)
    assert [cause.code for cause in causes.hints(known, stages.standing(known, now=NOW), now=NOW)] == expected


def test_the_timeline_is_in_order_and_ends_where_it_stands():
    known = replace(KNOWN, refusals=(REFUSED,), grants=(replace(REDEEMED, created_at=NOW - 2 * MINUTE),), devices=(DEVICE,))
    assert [step.stage for step in stages.timeline(known)] == ["asked", "granted", "shown", "asked", "redeemed", "online"]


moments = st.integers(-10_000, 0).map(lambda seconds: NOW + timedelta(seconds=seconds))
maybe = st.none() | moments
grants = st.builds(
    GrantFacts, st.just("g"), st.sampled_from(["reserved", "queued", "issued", "unknown", "redeemed", "expired", "released"]), st.just("eu1"),
    st.just("k"), moments, maybe, moments, maybe,
)  # fmt: skip
devices = st.builds(DeviceFacts, st.just("d"), moments, maybe, st.booleans(), maybe, maybe, maybe, st.booleans(), st.integers(0, 3))
refusals = st.builds(RefusalFacts, st.sampled_from([*causes.OUR_CODES, "new"]), st.just("why"), st.integers(1, 5), moments, moments)
clusters = st.builds(ClusterFacts, st.just("eu1"), st.sampled_from(["active", "offline"]), st.integers(0, 4), maybe, st.just(30.0))
nets = st.builds(
    NetFacts, moments, *[st.none() | st.booleans()] * 6, *[st.none() | st.sampled_from(["ok", "no"])] * 3, st.none() | st.floats(-1e5, 1e5)
)


known_of = st.builds(
    Known, st.just("x"), st.booleans(), st.sampled_from(["", "waiting", "enabled", "disabled"]), st.lists(refusals, max_size=3).map(tuple),
    st.lists(grants, max_size=3).map(tuple), st.lists(devices, max_size=2).map(tuple), st.none() | clusters, st.none() | nets,
)  # fmt: skip


@given(known_of)
def test_whatever_is_known_is_told_in_words(known):
    at = stages.standing(known, now=NOW)
    found = [*causes.causes(known, at, now=NOW), *causes.hints(known, at, now=NOW)]
    assert all(cause.code in words.CAUSES for cause in found)
    assert at.stage in ("", *words.STAGES)
    assert len({cause.code for cause in found}) == len(found)
    steps = stages.timeline(known)
    assert [step.at for step in steps] == sorted(step.at for step in steps)
    assert all(step.outcome in words.OUTCOMES for step in steps)
    if at.stage == "asked" and at.stalled:
        assert found


NETCHECK = {
    "Now": "2026-11-24T12:00:00Z", "UDP": True, "IPv6": False, "IPv4": True, "MappingVariesByDestIP": None, "UPnP": None, "PMP": False,
    "PCP": False, "PreferredDERP": 4, "RegionLatency": {"4": 18000000}, "GlobalV4": "203.0.113.7:41641", "CaptivePortal": None,
}  # fmt: skip


def test_of_a_netcheck_only_what_diagnosis_needs_is_kept():
    kept = reports.clean({"netcheck": NETCHECK})
    assert kept == {"udp": True, "ipv6": False, "port_mapping": False, "derp": True}
    assert "203.0.113.7" not in str(kept)


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"netcheck": {}},
        {"netcheck": []},
        {"netcheck": {"UDP": "yes"}},
        {"netcheck": {"RegionLatency": 5}},
        {"probes": {"dns": 1}},
        {"probes": {"clock_off": "now"}},
        {"probes": {"clock_off": float("inf")}},
        {"probes": {"clock_off": True}},
        {"probes": {"icmp": "ok"}},
        {"secrets": {}},
    ],
)
def test_a_report_that_says_nothing_or_nonsense_is_refused(report):
    with pytest.raises(MalformedRequest):
        reports.clean(report)


leaves = st.none() | st.booleans() | st.text(max_size=5) | st.floats()
names = st.sampled_from([*NETCHECK, "dns", "tcp", "clock_off"])
jsons = st.recursive(leaves, lambda inner: st.dictionaries(names, inner, max_size=5), max_leaves=8)


@given(st.dictionaries(st.sampled_from(["netcheck", "probes", "x"]), jsons))
def test_any_json_is_read_or_refused(report):
    try:
        kept = reports.clean(report)
    except MalformedRequest:
        return
    assert reports.facts_of(kept, NOW).at == NOW
