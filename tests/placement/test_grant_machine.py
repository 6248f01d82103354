"""The laws of quota and grants hold whatever is asked, redeemed, deleted, revoked and observed, in whatever order, with kills and at once.

`ACS_EXAMPLES=50` looks fifty times as long, and elsewhere every time.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from tests.conftest import FleetCluster
from tests.fakes.fleet_server import FleetServer, serving
from tests.live import together
from tests.placement.grant_world import KINDS, Request, World, killed_at

pytestmark = pytest.mark.django_db(transaction=True)
TIMES = int(os.environ.get("ACS_EXAMPLES", "0"))
credentials = st.sampled_from(["first", "second"])
kinds = st.sampled_from(sorted(KINDS))
registrations = st.sampled_from(["r1", "r2"])
machines = st.sampled_from(["m1", "m2"])
picks = st.integers(0, 5)
requests = st.builds(
    Request, credentials, st.none() | registrations | registrations, st.none() | st.sampled_from(["k1", "k2"]), st.sampled_from(["", "h"])
)
decisions = st.one_of(
    st.tuples(st.sampled_from(["suspend", "resume", "resume", "resume"])),
    st.tuples(st.just("revoke"), credentials),
    st.tuples(st.just("limit"), st.integers(1, 4)),
    st.tuples(st.just("limit"), st.integers(1, 4)),
    st.tuples(
        st.just("enrol"), registrations, st.sampled_from(["enabled", "enabled", "disabled"]), st.sampled_from(["", "new", "keep", "never"])
    ),
)
asking = st.tuples(st.just("ask"), requests)
waiting = st.tuples(st.just("wait"), st.sampled_from([95, 400]))
joining = st.tuples(st.just("join"), picks, machines)
acts = st.one_of(
    *[asking, asking, joining, joining, decisions],
    st.tuples(st.just("delete"), picks),
    st.tuples(st.just("record"), picks),
    st.tuples(st.sampled_from(["consume", "poll", "sweep"])),
)


class GrantMachine(RuleBasedStateMachine):
    """Steps of devices, servers, people and the sweeper."""

    cluster: FleetCluster
    server: FleetServer

    @initialize(
        limit=st.integers(1, 3),
        lifetime=st.sampled_from([timedelta(minutes=2), timedelta(minutes=10)]),
        kinds=st.tuples(st.just("plain") | kinds, kinds),
    )
    def begin(self, limit: int, lifetime: timedelta, kinds: tuple[str, str]) -> None:
        self.world = World(self.cluster, self.server, limit=limit, lifetime=lifetime, kinds=kinds)

    @rule(asked=requests)
    def ask(self, asked: Request) -> None:
        self.world.ask_and_judge(asked)

    @rule(asked=requests, point=st.integers(1, 16), after=st.booleans())
    def ask_and_die(self, asked: Request, point: int, after: bool) -> None:
        self.world.ask_and_die(asked, point, after=after)

    @rule(pick=picks, machine=machines)
    def join(self, pick: int, machine: str) -> None:
        self.world.join(pick, machine)

    @rule(asked=requests, machine=machines)
    def ask_and_join(self, asked: Request, machine: str) -> None:
        self.world.ask_and_judge(asked)
        self.world.join(0, machine)

    @rule(pick=picks, by_acs=st.booleans())
    def go(self, pick: int, by_acs: bool) -> None:
        self.world.delete(pick) if by_acs else self.world.leave(pick)

    @rule(pick=picks)
    def go_online_or_offline(self, pick: int) -> None:
        self.world.toggle(pick)

    @rule()
    def consume(self) -> None:
        self.world.consume()

    @rule()
    def poll(self) -> None:
        self.world.poll()

    @rule()
    def look(self) -> None:
        self.world.look()

    @rule(pick=picks, machine=machines)
    def look_late(self, pick: int, machine: str) -> None:
        self.world.look_late(pick, machine)

    @rule(some=st.lists(asking | joining | joining | waiting | st.just(("consume",)), min_size=1, max_size=4))
    def poll_slowly(self, some: list[tuple[Any, ...]]) -> None:
        """Things happen between the two halves of a poll."""
        self.world.look()
        for verb, *words in some:
            if verb == "ask":
                self.world.ask_and_judge(*words)
            else:
                getattr(self.world, verb)(*words)
        self.world.record(-1)

    @precondition(lambda self: self.world.looks)
    @rule(pick=picks)
    def record(self, pick: int) -> None:
        self.world.record(pick)

    @rule()
    def sweep(self) -> None:
        self.world.sweep()

    @rule()
    def dawdle(self) -> None:
        self.world.dawdle()

    @precondition(lambda self: self.world.moment)
    @rule()
    def sweep_slowly(self) -> None:
        self.world.sweep_slowly()

    @precondition(lambda self: self.world.moment)
    @rule(asked=requests)
    def ask_slowly(self, asked: Request) -> None:
        self.world.ask_slowly(asked)

    @rule(act=acts, point=st.integers(1, 30), after=st.booleans())
    def die_while(self, act: tuple[Any, ...], point: int, after: bool) -> None:
        """Whatever is done dies somewhere in the middle."""
        verb, *words = act
        if verb == "ask":
            self.world.ask_and_die(words[0], point, after=after)
            return
        with killed_at(point, after=after):
            getattr(self.world, verb)(*words)

    @rule(decision=decisions)
    def decide(self, decision: tuple[Any, ...]) -> None:
        verb, *words = decision
        getattr(self.world, verb)(*words)

    @rule(seconds=st.sampled_from([95, 400, 25 * 3600]))
    def pass_time(self, seconds: int) -> None:
        self.world.pass_time(timedelta(seconds=seconds))

    @rule(some=st.lists(acts, min_size=2, max_size=3))
    def at_once(self, some: list[tuple[Any, ...]]) -> None:
        for verb, *words in some:
            if verb == "ask" and words[0].idempotency_key:
                self.world.doubt(words[0])
        answers = together([lambda verb=verb, words=words: getattr(self.world, verb)(*words) for verb, *words in some])
        for (verb, *words), answer in zip(some, answers, strict=True):
            if verb == "ask":
                assert answer[0] < 500, f"{words}: {answer}"

    @rule(asked=requests, times=st.integers(2, 4))
    def the_same_at_once(self, asked: Request, times: int) -> None:
        """One device that asks several times at once is one device, and hears one key."""
        if asked.idempotency_key:
            self.world.doubt(asked)
        right = self.world.expected(asked)
        answers = together([lambda: self.world.ask(asked)] * times)
        assert all(status < 500 for status, _, _ in answers), answers
        if asked.registration_id or asked.idempotency_key:
            assert len(set(answers)) == 1, f"{asked}: {answers} where {right} was due"

    @invariant()
    def laws_hold(self) -> None:
        broken = self.world.laws()
        assert not broken, "\n".join(broken)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.world.come_to_rest()
                self.laws_hold()
            finally:
                self.world.close()
                for node_id in self.server.node_ids():
                    self.server.forget(node_id)


@pytest.fixture
def served(fleet_cluster, transactional_db, settings):
    """The cluster, its server, and limits that no test of speed reaches."""
    for name in ("ANONYMOUS", "ADDRESS", "CREDENTIAL", "ACCOUNT", "BAD_CREDENTIAL"):
        setattr(settings, f"{name}_LIMIT", "1000000/second")
    with serving(fleet_cluster, capacity=1_000_000) as server:
        GrantMachine.cluster, GrantMachine.server = fleet_cluster, server
        yield server


def test_the_laws_of_quota_and_grants_hold_whatever_happens(served):
    run_state_machine_as_test(
        GrantMachine,
        settings=settings(
            max_examples=40 * max(TIMES, 1),
            stateful_step_count=60 if TIMES else 40,
            derandomize=not TIMES,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
            phases=(Phase.generate,),  # what happens at once is not the same twice: nothing to shrink
        ),
    )


@pytest.fixture
def world(served):
    """A world at its beginning, where one device has asked."""
    made = World(GrantMachine.cluster, served, limit=2, lifetime=timedelta(minutes=2), kinds=("plain", "plain"))
    made.ask_and_judge(Request("first", "r1", None, ""))
    yield made
    made.close()


def test_a_key_that_is_used_between_the_halves_of_a_poll_is_not_taken_for_expired(world):
    world.look()
    world.join(0, "m1")
    world.wait(400)
    world.record(0)
    assert world.laws() == []
    world.come_to_rest()


def test_a_machine_that_joins_after_the_nodes_were_listed_keeps_its_slot(world):
    world.look_late(0, "m1")
    world.record(0)
    assert world.laws() == []
    world.come_to_rest()
