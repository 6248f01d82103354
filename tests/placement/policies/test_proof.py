"""What a server is asked of a document: tenants' own tests by address, and that tenants do not reach each other."""

from __future__ import annotations

import json

import pytest

from placement.errors import ClusterRefused
from placement.policies import proof, proving
from placement.policies.compiling import compile_cluster, tenants_of
from placement.policies.facts import ClusterFact, DeviceFact, PeeringFact, TenantFact
from placement.policies.proof import Question
from placement.policies.proving import NotProven
from tenants.policies.document import ALL_SERVICES, Word
from tests.placement.policies.places import device, tenant
from tests.servers import run_headscale, run_simulator

WEB = """{"tagOwners": {"tag:web": [], "tag:db": []}, "acls": [{"action": "accept", "src": ["tag:web"], "dst": ["tag:db:5432"]}], "tests": [%s]}"""


def cluster(*tenants: TenantFact, peerings: tuple[PeeringFact, ...] = ()) -> ClusterFact:
    return ClusterFact("c", tenants, peerings)


def own(fact: TenantFact) -> list[Question]:
    alone = cluster(fact)
    return proof.own(tenants_of(alone)[fact.account], compile_cluster(alone).form)


def web(*tests: dict[str, object], devices: tuple[DeviceFact, ...] | None = None) -> TenantFact:
    there = (device("w1", "web"), device("w2", "web"), device("d1", "db")) if devices is None else devices
    return tenant("acme", WEB % ", ".join(map(json.dumps, tests)), *there)


def test_a_test_is_asked_of_each_device_that_its_source_stands_for():
    fact = web({"src": "tag:web", "accept": ["tag:db:5432"], "deny": ["tag:db:22"], "proto": "tcp"})
    w1, w2, d1 = (one.addresses[0].network_address for one in fact.devices)
    assert [(one.src, one.dst, one.reached, one.protocol) for one in own(fact)] == [
        *((str(w), f"{d1}:5432", True, "tcp") for w in (w1, w2)),
        *((str(w), f"{d1}:22", False, "tcp") for w in (w1, w2)),
    ]


def test_one_of_several_destinations_is_enough_and_none_may_be_reached_that_must_not():
    fact = web({"src": "tag:db", "accept": ["tag:web:80"], "deny": ["tag:web:22"]})
    w1, w2, d1 = (one.addresses[0].network_address for one in fact.devices)
    assert [(one.src, one.dst) for one in own(fact)] == [(str(d1), "tag:acme--web:80"), (str(d1), f"{w1}:22"), (str(d1), f"{w2}:22")]


def test_a_test_of_what_has_no_device_is_left_out():
    assert own(web({"src": "tag:web", "accept": ["tag:db:5432"]}, devices=(device("w1", "web"),))) == []


def test_a_device_without_ipv4_is_asked_about_by_its_ipv6_in_brackets():
    fact = web({"src": "tag:web", "accept": ["tag:db:5432"]}, devices=(device("w", "web"), device("d", "db", ipv4=False)))
    assert [one.dst for one in own(fact)] == [f"[{fact.devices[1].addresses[0].network_address}]:5432"]


def test_a_plain_tenant_in_the_form_that_tests_do_not_see_is_asked_nothing():
    assert own(tenant("acme", """{"tests": [{"src": "a", "accept": ["b:22"]}]}""", device("a"), device("b"))) == []


def test_a_word_of_many_devices_and_a_tenant_of_many_tests_are_capped():
    fact = web({"src": "tag:web", "deny": ["tag:db:22"]}, devices=(*(device(f"w{n}", "web") for n in range(40)), device("d", "db")))
    assert len(own(fact)) == proof.MOST_OF_A_WORD
    many = [{"src": "tag:web", "deny": [f"tag:db:{port}" for port in range(1, 200)]}]
    assert len(own(web(*many, devices=tuple(device(f"x{n}", "web" if n % 2 else "db") for n in range(20))))) == proof.MOST_OWN


# ---- tenants among each other --------------------------------------------------------------------------------------------


def joined(questions: list[Question]) -> set[tuple[str, ...]]:
    return {one.accounts for one in questions}


def test_a_tenant_is_held_against_all_others_in_both_directions_and_both_families():
    fact = cluster(tenant("acme", "", device("a")), tenant("bolt", "", device("b")), tenant("cord", "", device("c")), tenant("dell", ""))
    asked = proof.denials(fact, {"acme"}, turn=0)
    assert joined(asked) == {("acme", "bolt"), ("bolt", "acme"), ("acme", "cord"), ("cord", "acme")}
    assert all(not one.reached for one in asked)
    assert {"[" in one.dst for one in asked} == {True, False}
    assert {int(one.dst.rpartition(":")[2]) for one in asked} >= {22, 80, 443}


def test_each_distinct_set_of_tags_has_its_representative_and_ports_that_documents_open_are_tried():
    fact = cluster(web(), tenant("bolt", "", device("b")))
    asked = proof.denials(fact, {"bolt"}, turn=3)
    web1, _, database = (str(one.addresses[0].network_address) for one in fact.tenants[0].devices)
    sources = {one.src for one in asked if one.accounts == ("acme", "bolt") and "[" not in one.dst}
    assert sources == {web1, database}
    assert 5432 in {int(one.dst.rpartition(":")[2]) for one in asked}


def test_what_a_peering_allows_is_not_denied_and_the_way_back_is():
    peering = PeeringFact("1", "acme", "bolt", (Word("*"),), (Word("*"),), ALL_SERVICES)
    fact = cluster(tenant("acme", "", device("a")), tenant("bolt", "", device("b")), peerings=(peering,))
    assert joined(proof.denials(fact, {"acme", "bolt"}, turn=0)) == {("acme", "bolt")}


def test_of_many_tenants_a_bounded_number_is_asked_and_by_and_by_all_pairs_come_up():
    fact = cluster(*(tenant(f"t{n:02}", "", device(f"d{n}")) for n in range(30)))
    accounts = {one.account for one in fact.tenants}
    seen, turns = set(), 0
    while len(seen) < 30 * 29:
        asked = proof.denials(fact, accounts, turn=turns, most=400)
        assert len(asked) <= 400
        seen |= joined(asked)
        turns += 1
    assert turns < 60
    assert proof.denials(fact, accounts, turn=7) == proof.denials(fact, accounts, turn=7)
    assert len(proof.denials(fact, accounts, turn=7)) <= proof.MOST_DENIALS


# ---- on the wire -----------------------------------------------------------------------------------------------------------


def test_questions_are_split_below_the_limit_of_a_body():
    text = "x" * 50_000
    questions = [Question(f"100.64.{n // 250}.{n % 250}", "100.65.0.1:22", False, ("a", "b")) for n in range(5_000)]
    batches = list(proof.batches(text, questions, body=200_000))
    assert [one for batch in batches for one in batch] == questions
    assert all(len(json.dumps({"policy": proof.with_tests(text, batch)})) <= 200_000 for batch in batches)
    assert list(proof.batches(text, [])) == [[]]


def test_the_failed_ones_are_found_in_the_servers_words():
    one, other = Question("100.64.0.1", "100.64.0.2:22", True, ("a",), "tcp"), Question("100.64.0.1", "[fd7a::2]:80", False, ("a", "b"))
    said = "test(s) failed:\n100.64.0.1 -> 100.64.0.2:22 (tcp): expected ALLOWED, got DENIED\n100.64.0.1 -> [fd7a::2]:80: expected DENIED, got ALLOWED"
    assert proof.failed(said, [one, other]) == [one, other]
    assert proof.failed("parsing policy: nonsense", [one, other]) == []


# ---- a server's answers ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["simulated", pytest.param("real", marks=pytest.mark.headscale)])
def server(request, tmp_path_factory):
    start = run_headscale if request.param == "real" else run_simulator
    with start(tmp_path_factory.mktemp(request.param)) as running:
        yield running


NAMED = """{"acls": [{"action": "accept", "src": ["w1", "w2"], "dst": ["d1:5432"]}], "tests": [%s]}"""


def named(*tests: dict[str, object]) -> TenantFact:
    """The same by names, so that a server without devices knows all of it."""
    return tenant("acme", NAMED % ", ".join(map(json.dumps, tests)), device("w1"), device("w2"), device("d1"))


def prove(server, fact: ClusterFact, *about: str) -> None:
    with server.admin() as admin:
        proving.prove_by(admin, compile_cluster(fact), fact, about=about, turn=1)


def test_a_server_takes_the_questions_and_says_whose_tests_fail(server):
    stranger = tenant("bolt", "", device("b"), device("b2"))
    prove(server, cluster(named({"src": "w1", "accept": ["d1:5432"], "deny": ["d1:22", "w2:22"]}), stranger), "acme")
    with pytest.raises(NotProven) as found:
        prove(server, cluster(named({"src": "w1", "accept": ["d1:22"]}), stranger), "acme", "bolt")
    assert found.value.account == "acme"
    assert ":22, and does not" in found.value.reason


def test_tests_of_others_are_not_held_against_a_tenant(server):
    fact = cluster(named({"src": "w1", "accept": ["d1:22"]}), tenant("bolt", "", device("b")))
    prove(server, fact, "bolt")
    with server.admin() as admin:
        assert list(proving.broken(admin, compile_cluster(fact), fact, {"acme", "bolt"})) == ["acme"]


def test_devices_of_two_tenants_with_one_address_are_noticed(server):
    one = named()
    twin = DeviceFact("twin", "twin", addresses=one.devices[2].addresses)
    fact = cluster(tenant("acme", NAMED % "", *one.devices), TenantFact("bolt", devices=(twin,)))
    with pytest.raises(NotProven, match="two networks") as found, server.admin() as admin:
        proving.prove_by(admin, compile_cluster(fact), fact, about={"bolt"})
    assert found.value.account == "acme"
    assert str(twin.addresses[0].network_address) not in found.value.reason


class Picky:
    """A server that refuses what holds a certain word."""

    def __init__(self, word: str, status: int = 400) -> None:
        self.word, self.status, self.asked = word, status, 0

    def check_policy(self, text: str) -> None:
        self.asked += 1
        if self.word in text:
            raise ClusterRefused("c", f"parsing policy: {self.word} is nothing", status=self.status)


def test_whose_document_a_server_refuses_is_found_by_halving():
    text = """{"grants": [{"src": ["*"], "dst": ["*"], "app": {"example.com/%s": [{}]}}]}"""
    fact = cluster(*(tenant(f"t{n:02}", text % f"n{n}n", device(f"x{n}"), device(f"y{n}")) for n in range(32)))
    picky = Picky("example.com/n17n")
    with pytest.raises(NotProven, match="n17n is nothing") as found:
        proving.prove_by(picky, compile_cluster(fact), fact, about={one.account for one in fact.tenants})
    assert found.value.account == "t17"
    assert picky.asked < 12


def test_what_nobodys_document_is_to_blame_for_names_nobody():
    fact = cluster(tenant("acme", "", device("a")))
    with pytest.raises(NotProven) as found:
        proving.prove_by(Picky("acls"), compile_cluster(fact), fact, about=())
    assert (found.value.account, "acls is nothing" in found.value.reason) == ("", True)


def test_a_server_that_will_not_be_asked_blames_nobody():
    fact = cluster(tenant("acme", "", device("a")))
    with pytest.raises(ClusterRefused):
        proving.prove_by(Picky("acls", status=401), compile_cluster(fact), fact, about=())
