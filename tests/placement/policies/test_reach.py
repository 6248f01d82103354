"""Who reaches what: read from the statements, the same however it is asked, and told in words."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placement.policies import advice, matrix, proof, spans, trials
from placement.policies.explaining import explain
from placement.policies.facts import PeeringFact
from tenants.errors import MalformedRequest
from tenants.policies.document import INTERNET, Service, Word
from tests.placement.policies.networks import device, reach, tenant

TAGS = ["web", "db", "router"]
SSH, HTTPS = Service("tcp", 22, 22), Service("tcp", 443, 443)


def policy(**parts):
    return json.dumps({"tagOwners": {f"tag:{tag}": ["autogroup:admin"] for tag in TAGS}, **parts})


def acl(src, *dst):
    return {"action": "accept", "src": list(src), "dst": list(dst)}


def small(text):
    laptop, phone = device("laptop", person="ann@x.example"), device("phone", person="bob@x.example")
    webs = [device(f"web-{n}", "web") for n in range(3)]
    router = device("router-1", "router", routes=["10.1.0.0/16"], exit=True)
    return reach(tenant(text, [laptop, phone, *webs, device("db-1", "db"), router], members=["ann@x.example", "bob@x.example"]))


# ---- laws ------------------------------------------------------------------------------------------------------------

names = st.sampled_from(
    ["*", "autogroup:member", "autogroup:tagged", "tag:web", "tag:db", "laptop-0", "laptop-1", "group:few", "10.1.0.0/24", "10.2.0.0/16"]
)
somewhere = st.one_of(names, st.sampled_from(["autogroup:internet", "10.1.2.3/32"]))
ports = st.sampled_from(["*", "22", "80,443", "8000-9000"])


@st.composite
def policies(draw):
    rules = draw(
        st.lists(
            st.tuples(st.lists(names, min_size=1, max_size=2), st.lists(st.tuples(somewhere, ports), min_size=1, max_size=2)), max_size=4
        )
    )
    return policy(
        groups={"group:few": ["laptop-0", "ann@x.example"]}, acls=[acl(src, *(f"{to}:{port}" for to, port in dst)) for src, dst in rules]
    )


DEVICES = [
    *(device(f"laptop-{n}", person="ann@x.example" if n < 2 else "") for n in range(4)),
    *(device(f"web-{n}", "web") for n in range(3)),
    device("both", "web", "db"),
    device("router-1", "router", routes=["10.1.0.0/16"], exit=True),
]


def of(text):
    return reach(tenant(text, DEVICES, members=["ann@x.example"]))


def every_pair(table):
    return {(one, other): table.of(row, column) for row in table.rows for column in table.columns
            for one in table.classes[row].keys for other in table.classes[column].keys if one != other}  # fmt: skip


@settings(max_examples=60)
@given(policies())
def test_the_table_says_of_every_pair_what_the_pair_says_itself(text):
    found = of(text)
    table = matrix.matrix(found)
    pairs = every_pair(table)
    assert pairs.keys() == {(one, other) for one in found.sources for other in found.destinations if one != other}
    assert {pair: found.services(*pair) for pair in pairs} == pairs
    keys = [key for alike in table.classes for key in alike.keys]
    assert sorted(keys) == sorted(found.sources.keys() | found.destinations.keys()), "everything stands in one class"


@settings(max_examples=60)
@given(policies(), policies())
def test_what_is_lost_and_gained_leads_from_the_one_to_the_other(before, after):
    one, two = of(before), of(after)
    found, back = matrix.difference(one, two), matrix.difference(two, one)
    gained = {(src, dst): each.services for each in found.gained for src in each.src.keys for dst in each.dst.keys}
    lost = {(src, dst): each.services for each in found.lost for src in each.src.keys for dst in each.dst.keys}
    for src in one.devices:
        for dst in one.devices:
            if src != dst:
                kept = spans.minus(one.services(src, dst), lost.get((src, dst), ()))
                assert spans.joined((*kept, *gained.get((src, dst), ()))) == two.services(src, dst)
    pairs = lambda changes: {(src, dst, each.services) for each in changes for src in each.src.keys for dst in each.dst.keys}  # noqa: E731
    assert pairs(found.gained) == pairs(back.lost)
    assert not matrix.difference(one, of(before))


@settings(max_examples=60)
@given(policies(), st.sampled_from([Service(), SSH, HTTPS, Service("", 80, 80), Service("icmp")]))
def test_why_names_a_rule_exactly_where_the_service_passes(text, service):
    found = of(text)
    for src in found.sources:
        for dst in found.destinations:
            why = found.why(src, dst, service)
            assert (why is not None) == spans.covers(found.services(src, dst), service)
            assert why is None or (found.has_source(why, src) and found.has_destination(why, dst))
            if src != dst:
                told = explain(found, src, dst, service)
                assert told.admitted == (why is not None)
                assert bool(told.rules) == told.admitted


# ---- what people ask -------------------------------------------------------------------------------------------------


def test_a_thousand_devices_are_a_table_of_a_few_lines():
    laptops, webs = [device(f"l-{n}") for n in range(700)], [device(f"w-{n}", "web") for n in range(300)]
    found = reach(tenant(policy(acls=[acl(["autogroup:member"], "tag:web:443")]), [*laptops, *webs]))
    table = matrix.matrix(found)
    assert [(alike.word, len(alike.points)) for alike in table.classes] == [("autogroup:member", 700), ("tag:web", 300)]
    assert {pair: [str(one) for one in services] for pair, services in table.cells.items()} == {(0, 1): ["443"]}


def test_without_a_policy_every_device_reaches_every_other():
    found = reach(tenant("", [device("one"), device("two")]))
    assert found.services("acme-one", "acme-two") == (Service(),)
    told = explain(found, "one", "two")
    assert (told.admitted, [rule.path for rule in told.rules]) == (True, ["default"])


def test_the_rule_that_admits_is_named_with_its_line():
    found = small(policy(acls=[acl(["tag:db"], "*:*"), acl(["ann@x.example"], "tag:web:22,443")]))
    told = explain(found, "laptop", "tag:web", SSH)
    assert (told.admitted, [rule.path for rule in told.rules]) == (True, ["acls[1]"])
    assert told.rules[0].place.line == 1


def test_the_absence_that_denies_is_told_with_the_rules_that_come_near():
    found = small(policy(acls=[acl(["ann@x.example"], "tag:web:443"), acl(["tag:web"], "tag:db:5432")]))
    for src, dst, service, reason, source, destination in (
        ("laptop", "web-0", SSH, "other-services", [], []),
        ("laptop", "db-1", None, "not-joined", ["acls[0]"], ["acls[1]"]),
        ("phone", "web-0", None, "no-rule-names-source", [], ["acls[0]"]),
        ("laptop", "phone", None, "no-rule-names-destination", ["acls[0]"], []),
        ("phone", "phone", None, "itself", [], []),
        ("phone", "laptop", None, "no-rule-names-either", [], []),
    ):
        told = explain(found, src, dst, service)
        assert told.reason == reason, (src, dst)
        assert told.admitted == (reason == "itself")
        assert [rule.path for rule in told.from_source] == source
        assert [rule.path for rule in told.to_destination] == destination
        assert told.meaning
    assert [rule.path for rule in explain(found, "laptop", "web-0", SSH).near] == ["acls[0]"]


def test_a_word_of_several_devices_reaches_only_where_all_of_them_do():
    found = small(policy(acls=[acl(["ann@x.example"], "tag:web:443")]))
    told = explain(found, "autogroup:member", "tag:web", HTTPS)
    assert (told.admitted, told.src) == (False, "phone")


def test_what_means_nothing_is_refused_and_a_neighbours_device_means_nothing():
    strange = device("secret-box", account="bolt")
    found = reach(tenant("", [device("one")]), tenant("", [strange], account="bolt"))
    for word in ("secret-box", str(strange.addresses[0].network_address), "bolt-secret-box", "", "nonsense"):
        with pytest.raises(MalformedRequest) as refusal:
            explain(found, "one", word)
        assert refusal.value.errors.keys() == {"dst"}


def test_prefixes_and_the_internet_are_reached_like_devices():
    found = small(policy(hosts={"lan": "10.1.7.0/24"}, acls=[acl(["ann@x.example"], "lan:443"), acl(["phone"], "autogroup:internet:*")]))
    assert explain(found, "laptop", "10.1.7.9", HTTPS).admitted
    assert explain(found, "laptop", "lan", HTTPS).admitted
    assert not explain(found, "laptop", "10.1.0.0/16", HTTPS).admitted
    assert explain(found, "phone", INTERNET).admitted
    assert not explain(found, "laptop", INTERNET).admitted
    table = matrix.matrix(found)
    labels = {label for column in table.columns for label in table.classes[column].labels}
    assert {"10.1.7.0/24", "10.1.0.0/16", INTERNET} <= labels
    with pytest.raises(MalformedRequest):
        explain(found, "laptop", "10.9.0.0/16")


# ---- peerings --------------------------------------------------------------------------------------------------------


def test_of_a_peering_each_side_sees_the_others_words_and_no_device_of_it():
    ours, theirs = [device("ours-1"), device("ours-2")], [device("printer-9", "print", account="bolt"), device("hidden", account="bolt")]
    shared = PeeringFact("p1", "bolt", "acme", (Word("autogroup:member"),), (Word("tag:print"),), (Service("tcp", 631, 631),))
    bolts = json.dumps({"tagOwners": {"tag:print": ["autogroup:admin"]}})
    both = (tenant("", ours), tenant(bolts, theirs, account="bolt"))
    guest, host = reach(*both, peerings=[shared]), reach(*both, of="bolt", peerings=[shared])
    assert [str(one) for one in guest.services("acme-ours-1", "peering:p1")] == ["tcp:631"]
    assert guest.services("acme-ours-2", "peering:p1") == guest.services("acme-ours-1", "peering:p1")
    assert guest.services("peering:p1", "acme-ours-1") == ()
    assert guest.destinations["peering:p1"].label == "bolt: tag:print"
    assert host.sources["peering:p1"].label == "acme: autogroup:member"
    assert [str(one) for one in host.services("peering:p1", "bolt-printer-9")] == ["tcp:631"]
    seen = json.dumps([[alike.labels for alike in matrix.matrix(view).classes] for view in (guest,)])
    assert "printer-9" not in seen
    assert "hidden" not in seen
    assert "ours" not in str([alike.labels for alike in matrix.matrix(host).classes])
    assert explain(guest, "ours-1", "peering:p1").rules[0].path == "peering p1"


# ---- tests of the policy itself, and advice --------------------------------------------------------------------------


def test_own_tests_pass_fail_with_their_place_or_prove_nothing():
    tests = [
        {"src": "laptop", "accept": ["tag:web:443"], "deny": ["tag:web:22", "phone:22"]},
        {"src": "phone", "accept": ["tag:web:443"]},
        {"src": "autogroup:member", "deny": ["tag:web:443"]},
        {"src": "tag:idle", "accept": ["tag:web:443"]},
        {"src": "laptop", "deny": ["tag:idle:1"]},
    ]
    owners = {"tagOwners": {f"tag:{tag}": [] for tag in (*TAGS, "idle")}}
    found = trials.attempt(small(policy(acls=[acl(["ann@x.example"], "tag:web:443")], tests=tests, **owners)))
    assert found.passed == 3
    assert [fault.path for fault in found.failed] == ["tests[1].accept[0]", "tests[2].deny[0]"]
    assert "laptop reaches tag:web:443" in found.failed[1].reason
    assert [fault.path for fault in found.unproven] == ["tests[3].src", "tests[4].deny[0]"]


def test_advice_names_what_a_policy_says_in_vain():
    text = policy(
        groups={"group:idle": ["laptop"], "group:used": ["phone"]},
        tagOwners={"tag:web": [], "tag:db": [], "tag:router": [], "tag:none": ["group:used"]},
        acls=[acl(["*"], "10.77.0.0/16:*"), acl(["tag:none"], "tag:web:80"), acl(["laptop"], "10.1.9.0/24:*")],
    )
    found = small(text)
    told = {(one.code, one.path) for one in advice.advise(found.tenant, found.statements)}
    assert told == {
        ("idle-rule", "acls[0]"), ("unrouted-prefix", "acls[0].dst[0]"), ("idle-rule", "acls[1]"),
        ("idle-tag", 'tagOwners["tag:none"]'), ("unused-group", 'groups["group:idle"]'),
    }  # fmt: skip


def test_many_rules_and_many_tests_of_devices_that_all_differ_take_seconds():
    """What took minutes of a web process, asked by a token that only reads."""
    devices = [device(f"t-{n}") for n in range(40)]
    rules = [acl(["*"], f"*:{2 * port + 1}") for port in range(300)] + [acl([f"t-{n}"], f"t-{n * 7 % 40}:{2 * n + 2}") for n in range(40)]
    starts = range(1000, 4000, 180)
    tests = [{"src": "*", "deny": [f"autogroup:member:{port}" for port in range(first, first + 180)]} for first in starts]
    found = reach(tenant(policy(acls=rules, tests=tests), devices))
    begun = time.process_time()
    assert len(matrix.matrix(found).cells) > 100
    assert trials.attempt(found).passed == 17 * 180
    assert len(proof.own(found.tenant, "literal")) == proof.MOST_OWN
    assert time.process_time() - begun < 30


def test_words_of_a_thousand_devices_are_explained_and_tried_at_once():
    devices = [device(f"t-{n}", "web" if n % 2 else "db") for n in range(1000)]
    tests = [{"src": "tag:web", "accept": [f"tag:db:{port}"], "deny": [f"tag:web:{port}"]} for port in range(5000, 5100)]
    found = reach(tenant(policy(acls=[acl(["tag:web"], "tag:db:5000-6000")], tests=tests), devices))
    assert trials.attempt(found).passed == 200
    assert explain(found, "tag:web", "tag:db", Service("tcp", 5000, 5000)).admitted
    assert not explain(found, "*", "*").admitted
