"""The simulator's writer: what a real server's queue and calculations would show at any moment, by the clock alone."""

from __future__ import annotations

import pytest

from acs.demo.simulator import validation
from acs.demo.simulator.meters import Writer, weight


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_writes_that_come_during_a_calculation_wait_and_share_the_next_one():
    clock, ended = Clock(), []
    writer = Writer(lambda: 2.0, ended.append, clock)
    writer.write()
    assert (writer.depth(), ended) == (1, [])
    clock.now = 0.5
    for _ in range(4):
        writer.write()
    assert (writer.depth(), writer.computed()) == (5, 0.5)
    clock.now = 3.0
    assert (writer.depth(), ended, writer.computed()) == (4, [2.0], 3.0)
    clock.now = 10.0
    assert (writer.depth(), ended, writer.computed()) == (0, [2.0, 2.0], 4.0)


def test_a_calculation_serves_a_hundred_writes_at_most_and_costs_what_it_costs_when_it_begins():
    clock, ended, costs = Clock(), [], iter([1.0, 2.0, 3.0])
    writer = Writer(lambda: next(costs), ended.append, clock)
    for _ in range(151):
        writer.write()
    assert writer.depth() == 151
    clock.now = 1.0
    assert writer.depth() == 150
    clock.now = 5.9
    assert writer.depth() == 50
    clock.now = 6.0
    assert (writer.depth(), ended) == (0, [1.0, 2.0, 3.0])


SELF = '{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]}'
LITERAL = '{"action": "accept", "src": ["a@"], "dst": ["a@:*"]}'


@pytest.mark.parametrize(
    ("rules", "cost"),
    [([], 1), ([SELF], 1), ([LITERAL] * 50, 5), ([SELF, LITERAL], 2), ([SELF, *[LITERAL] * 5], 6)],
    ids=["none", "self", "literal", "self and one", "self and five"],
)
def test_rules_cost_what_they_were_measured_to_cost(rules, cost):
    assert weight(validation.parse(f'{{"acls": [{", ".join(rules)}]}}')) == cost
