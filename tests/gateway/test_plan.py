"""What a gateway should have against what it has, without any gateway."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from placement.gateway.plan import READY_HOST, READY_VALUE, Change, Seen, Server, Target, drift, host_of

DOMAIN = "t.example"
A, B = Target("127.0.0.1", 1), Target("127.0.0.1", 2)
READY = (READY_HOST, READY_VALUE)


def verbs(changes: list[Change]) -> list[str]:
    return [change.verb for change in changes]


def test_a_blank_gateway_is_told_every_route_and_then_declared_ready():
    changes = drift({"acme": A, "bolt": B}, Seen(), domain=DOMAIN)
    assert verbs(changes) == ["add", "add", "name", "name", "ready"]
    assert {change.host for change in changes if change.verb == "name"} == {"acme.t.example", "bolt.t.example"}


def test_a_gateway_as_the_bindings_say_has_no_drift():
    seen = Seen({"acme": Server("127.0.0.1", 1)}, (READY, ("acme.t.example", "acme")))
    assert drift({"acme": A}, seen, domain=DOMAIN) == []


def test_a_moved_tenant_is_pointed_and_keeps_its_server():
    seen = Seen({"acme": Server("127.0.0.1", 1)}, (READY, ("acme.t.example", "acme")))
    assert verbs(drift({"acme": B}, seen, domain=DOMAIN)) == ["point"]


def test_a_server_changes_its_use_of_tls_by_being_replaced():
    seen = Seen({"acme": Server("127.0.0.1", 1)}, (READY, ("acme.t.example", "acme")))
    assert verbs(drift({"acme": Target("127.0.0.1", 1, "hs.example")}, seen, domain=DOMAIN)) == ["replace"]


def test_strangers_lose_their_names_before_their_servers():
    seen = Seen({"ghost": Server("10.0.0.1", 1)}, (READY, ("ghost.t.example", "ghost")))
    assert verbs(drift({}, seen, domain=DOMAIN)) == ["unname", "remove"]


def test_a_name_that_leads_to_another_tenant_or_stands_twice_is_taken_away_first():
    servers = {"acme": Server("127.0.0.1", 1), "bolt": Server("127.0.0.1", 2)}
    crossed = Seen(servers, (READY, ("acme.t.example", "bolt"), ("bolt.t.example", "bolt"), ("bolt.t.example", "bolt")))
    assert verbs(drift({"acme": A, "bolt": B}, crossed, domain=DOMAIN)) == ["unname", "unname", "name", "name"]


def test_a_disabled_server_is_enabled():
    seen = Seen({"acme": Server("127.0.0.1", 1, serving=False)}, (READY, ("acme.t.example", "acme")))
    assert verbs(drift({"acme": A}, seen, domain=DOMAIN)) == ["enable"]


def test_a_tenant_whose_cluster_does_not_resolve_keeps_what_it_has():
    seen = Seen({"acme": Server("127.0.0.1", 1)}, (READY, ("acme.t.example", "acme")))
    assert drift({"acme": None}, seen, domain=DOMAIN) == []
    assert drift({"acme": None}, Seen({}, (READY,)), domain=DOMAIN) == []


def test_publishing_one_tenant_leaves_the_others_and_the_ready_mark_alone():
    seen = Seen({"bolt": Server("127.0.0.1", 9)}, (("bolt.t.example", "bolt"),)).of("acme", "acme.t.example")
    assert verbs(drift({"acme": A}, seen, domain=DOMAIN, whole=False)) == ["add", "name"]


def test_a_domain_with_a_port_makes_names_without_one():
    assert host_of("acme", "T.example:8443") == "acme.t.example"


accounts = st.sampled_from(["acme", "bolt", "coil"])
targets = st.builds(Target, st.just("127.0.0.1"), st.integers(1, 3), st.sampled_from(["", "hs.example"]))
servers = st.builds(Server, st.just("127.0.0.1"), st.integers(1, 3), st.booleans(), st.booleans())
hosts = st.sampled_from(["acme.t.example", "bolt.t.example", "coil.t.example", "ready", "x"])


@given(st.dictionaries(accounts, targets), st.dictionaries(accounts, servers), st.lists(st.tuples(hosts, accounts | st.just(READY_VALUE))))
def test_carrying_out_the_drift_leaves_none(wanted, had, pairs):
    held, names = dict(had), [pair for pair in pairs if (pair[0] == READY_HOST) == (pair[1] == READY_VALUE)]
    for change in drift(wanted, Seen(had, tuple(names)), domain=DOMAIN):
        match change.verb:
            case "unname":
                names = [pair for pair in names if pair[0] != change.host]
            case "remove":
                assert change.account not in dict(names).values() or change.account in wanted
                del held[change.account]
            case "add" | "replace" | "point":
                held[change.account] = Server(change.target.address, change.target.port, bool(change.target.tls_name))
            case "enable":
                server = held[change.account]
                held[change.account] = Server(server.address, server.port, server.tls)
            case "name":
                names.append((change.host, change.account))
            case "ready":
                names.append(READY)
    assert drift(wanted, Seen(held, tuple(names)), domain=DOMAIN) == []
    assert {name: server.port for name, server in held.items()} == {name: target.port for name, target in wanted.items()}
