"""Services as sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from placement.policies import spans
from tenants.policies.document import Service

ports = st.integers(0, 12).map(lambda n: n * 5000)
services = st.lists(
    st.builds(lambda protocol, a, b: Service(protocol, min(a, b), max(a, b)), st.sampled_from(["", "tcp", "udp", "sctp"]), ports, ports),
    max_size=6,
).map(tuple)
PORTS = sorted({n * 5000 + d for n in range(13) for d in (-1, 0, 1)} - {-1})


def meant(those):
    return {
        (protocol, port)
        for one in those
        for protocol in ((one.protocol,) if one.protocol else spans.USUAL)
        for port in PORTS
        if one.first <= port <= one.last
    }


@given(services)
def test_joining_changes_words_and_nothing_else(some):
    again = spans.joined(some)
    assert meant(again) == meant(some)
    assert spans.joined(again) == again
    assert spans.joined(reversed(some)) == again


@given(services, services)
def test_a_difference_and_what_it_was_taken_from_make_the_whole(some, others):
    left = spans.minus(some, others)
    assert meant(left) == meant(some) - meant(others)
    assert spans.joined((*left, *some)) == spans.joined(some)


@given(services, services)
def test_covered_is_what_leaves_nothing_over(some, others):
    assert spans.covers(some, Service("tcp", 5000, 10000)) == (not spans.minus([Service("tcp", 5000, 10000)], some))


def test_neighbours_become_one_span_and_ports_keep_their_protocol():
    assert [str(one) for one in spans.joined([Service("tcp", 80, 80), Service("tcp", 81, 90), Service("", 443, 443)])] == [
        "443",
        "tcp:80-90",
    ]
    assert [str(one) for one in spans.minus([Service()], [Service("tcp", 22, 22)])][:1] != ["*"]
    assert spans.covers([Service("", 443, 443)], Service("icmp")), "who may reach a port may ping"
    assert not spans.covers([Service("tcp", 443, 443)], Service("", 443, 443))
