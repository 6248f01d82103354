"""Experiments on paper: what the engine would make of a changed fleet."""

from __future__ import annotations

import json
import uuid

import pytest

from placement.engine.facts import ClusterFacts, Newcomer
from placement.engine.whatif import AddCluster, AddTenants, Guest, LoseRegion, RemoveCluster, Reweight, UnknownCluster, experiment


def fleet(count=4, per=10, **fields):
    clusters = [ClusterFacts(f"c{n}", committed=5 * per, tenants=per, **fields) for n in range(count)]
    guests = [Guest(Newcomer(str(uuid.UUID(int=n)), 5), f"c{n % count}", ("eu", "us")) for n in range(count * per)]
    return clusters, guests


def outcome(clusters, guests, *changes):
    return experiment(clusters, guests, changes).as_document()


def test_the_same_experiment_has_the_same_outcome_and_leaves_its_input_alone():
    clusters, guests = fleet()
    before = (list(clusters), list(guests))
    add = AddTenants("team", 50, Newcomer("", 5), ("eu",))
    assert outcome(clusters, guests, add) == outcome(clusters, guests, add)
    assert (clusters, guests) == before
    json.dumps(outcome(clusters, guests, add))


def test_tenants_are_added_evenly_and_counted_where_they_land():
    clusters, guests = fleet()
    told = outcome(clusters, guests, AddTenants("team", 100, Newcomer("", 5), ("eu",)))
    assert sum(landed["tenants"] for landed in told["landed"].values()) == 100
    [pool] = told["pools"]
    assert pool["after"]["mean"] > pool["before"]["mean"]
    assert pool["after"]["ratio"] < 1.1


def test_what_finds_no_room_is_refused_with_the_rules_that_said_no():
    clusters, guests = fleet(count=1)
    told = outcome(clusters, guests, AddTenants("huge", 3, Newcomer("", 400), ("eu",)))
    assert told["refused"] == {"huge": 3}
    assert told["rules"] == {"has_room_for": 3}


def test_an_added_cluster_takes_its_share():
    clusters, guests = fleet()
    told = outcome(clusters, guests, AddCluster(ClusterFacts("new", capacity=1000)), AddTenants("team", 100, Newcomer("", 5), ("eu",)))
    assert told["landed"]["new"]["tenants"] > 25


def test_a_lost_region_is_taken_in_by_the_others_as_far_as_residency_and_room_allow():
    clusters, guests = fleet()
    clusters.append(ClusterFacts("u0", region="us", capacity=100))
    told = outcome(clusters, guests, LoseRegion("eu"))
    assert told["moved"] == 17  # 85 of a hundred devices
    assert told["homeless"] == 23
    assert told["rules"]["has_room_for"] == 23
    bound = [Guest(Newcomer(str(uuid.UUID(int=1)), 5, residency="de"), "c0", ("eu", "us"))]
    assert outcome(clusters, bound, LoseRegion("eu"))["homeless"] == 1


def test_a_removed_clusters_tenants_move_in_with_the_others():
    clusters, guests = fleet()
    told = outcome(clusters, guests, RemoveCluster("c0"))
    assert (told["moved"], told["homeless"]) == (10, 0)
    assert told["pools"][0]["after"]["clusters"] == 3


def test_a_tenant_whose_cluster_goes_twice_is_one_tenant_where_it_is_at_last():
    clusters = [ClusterFacts(name, capacity=200) for name in "abc"]
    guests = [Guest(Newcomer(str(uuid.UUID(int=n)), 5), "a", ("eu",)) for n in range(6)]
    told = outcome(clusters, guests, RemoveCluster("a"), RemoveCluster("b"))
    assert (told["moved"], told["homeless"], told["landed"]) == (6, 0, {"c": {"tenants": 6, "devices": 30}})
    told = outcome(clusters, guests, RemoveCluster("a"), RemoveCluster("b"), RemoveCluster("c"))
    assert (told["moved"], told["homeless"], told["landed"]) == (0, 6, {})
    again = outcome(clusters[:1], guests, RemoveCluster("a"), AddCluster(clusters[0]), RemoveCluster("a"))
    assert again["homeless"] == 6


def test_groups_of_one_name_are_different_tenants():
    clusters, guests = fleet()
    one, two = (AddTenants("team", count, Newcomer("", 5), ("eu",)) for count in (60, 30))
    assert outcome(clusters, guests, two, two) == outcome(clusters, guests, one)


def test_a_resized_cluster_is_weighed_by_its_new_capacity():
    clusters, guests = fleet(count=2)
    told = outcome(clusters, guests, Reweight("c0", 5000), AddTenants("team", 60, Newcomer("", 5), ("eu",)))
    assert told["landed"]["c0"]["tenants"] > 40


def test_changes_that_name_what_is_not_there_are_refused():
    clusters, guests = fleet()
    for change in (RemoveCluster("zz"), Reweight("zz", 1), AddCluster(ClusterFacts("c0"))):
        with pytest.raises(UnknownCluster):
            experiment(clusters, guests, [change])


def test_a_dedicated_tenant_gets_a_cluster_to_itself():
    clusters, guests = fleet()
    clusters.append(ClusterFacts("own", kind="dedicated"))
    told = outcome(clusters, guests, AddTenants("enterprise", 2, Newcomer("", 50, kind="dedicated"), ("eu",)))
    assert told["landed"] == {"own": {"tenants": 1, "devices": 50}}
    assert told["refused"] == {"enterprise": 1}
