"""Many devices at once, against several real web processes."""

from __future__ import annotations

from collections import Counter

import pytest

from placement.models import Binding, Grant, Slot
from tests import factories
from tests.conftest import superuser
from tests.live import race, run_web

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]


def keys(cluster_id: str) -> int:
    with superuser() as connection:
        return connection.execute("select count(*) from headscale.pre_auth_keys where cluster_id = %s", [cluster_id]).fetchone()[0]


def test_sixty_four_devices_race_for_ten_slots_and_exactly_ten_get_in(fleet_cluster, tmp_path):
    customer = factories.customer(max_devices=10)
    with run_web(tmp_path) as service:
        answers = race(64, lambda n: service.bootstrap(customer.secret, registration_id=f"device-{n}"))
    assert Counter(answer.status for answer in answers) == {200: 10, 403: 54}, [
        answer.body for answer in answers if answer.status not in (200, 403)
    ]
    assert customer.quota().used == 10
    assert keys(fleet_cluster.cluster_id) == 10
    assert Grant.objects.of(customer.tenant).count() == Slot.objects.of(customer.tenant).count() == 10


def test_the_same_idempotency_key_at_once_and_later_is_one_device(fleet_cluster, tmp_path):
    customer = factories.customer(max_devices=1)
    with run_web(tmp_path) as service:
        answers = race(16, lambda _: service.bootstrap(customer.secret, idempotency_key="once"))
        answers.append(service.bootstrap(customer.secret, idempotency_key="once"))
    assert Counter(answer.status for answer in answers) == {200: 17}, [answer.body for answer in answers if answer.status != 200]
    assert len({answer.auth_key for answer in answers}) == 1
    assert customer.quota().used == 1
    assert keys(fleet_cluster.cluster_id) == 1


def test_one_registration_asking_sixteen_times_at_once_takes_one_slot(fleet_cluster, tmp_path):
    customer = factories.customer(max_devices=1)
    with run_web(tmp_path) as service:
        answers = race(16, lambda _: service.bootstrap(customer.secret, registration_id="till-7"))
    assert Counter(answer.status for answer in answers) == {200: 16}, [answer.body for answer in answers if answer.status != 200]
    assert len({answer.auth_key for answer in answers}) == 1
    assert customer.quota().used == 1


def test_first_contacts_at_once_make_one_binding_and_never_pass_the_capacity(fleet_clusters, tmp_path):
    clusters = [fleet_clusters(capacity=12) for _ in range(2)]
    customers = [factories.customer(max_devices=50, plan_fields={"expected_devices": 5}) for _ in range(5)]
    with run_web(tmp_path) as service:
        answers = race(40, lambda n: service.bootstrap(customers[n % 5].secret))
    placed = [customer for customer in customers if Binding.objects.of(customer.tenant).exists()]
    assert len(placed) == 4  # two of five devices each fit into 12
    assert Counter(answer.status for answer in answers) == {200: 32, 503: 8}, [answer.body for answer in answers if answer.status != 200]
    assert sorted(cluster.row.committed for cluster in clusters) == [10, 10]
    for customer in placed:
        assert customer.quota().used == 8
