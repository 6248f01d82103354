"""More devices than an external server can mint keys for, with real processes: each gets exactly one key, in its turn, whatever is killed meanwhile."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from acs.poll import poll
from acs.sweep import sweep
from placement import bindings, mintings, refill, stock
from placement.engine.regions import Wish
from placement.models import Binding, Cluster, Grant, Slot, StockedKey, Watch
from tests import factories
from tests.cluster_servers import serve_external
from tests.fakes.minter import Minter, external_of, full_lanes
from tests.live import LiveService, race, run, run_web, wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]
DEVICES, AHEAD = 60, 20
AT_A_TIME = 3  # keys that are made at once: two lanes and the refill; whose is asked for first is chance
WEB = {"workers": 4, "threads": 16}


@dataclass
class Device:
    """A device that asks until it is let in, and comes back when it is told to."""

    name: str
    keys: set[str] = field(default_factory=set)
    busy: list[int] = field(default_factory=list)  # the Retry-After of each 503
    refused: str = ""
    stands_since: datetime | None = None  # in the queue, at the latest

    def join(self, service: LiveService, secret: str, *, patience: float = 120.0) -> Device:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            answer = service.bootstrap(secret, registration_id=self.name)
            if answer.status == 200:
                self.keys.add(answer.auth_key)
                return self
            if answer.status == 403:
                self.refused = answer.code
                return self
            if answer.status == 503:
                self.busy.append(int(answer.headers["retry-after"]))
                assert answer.code == "cluster-busy", answer.body
                self.stands_since = self.stands_since or timezone.now()
            else:
                assert answer.status == 0, answer  # the worker that had it was killed
            time.sleep(min(self.busy[-1] if answer.status else 0.2, 5))
        raise AssertionError(f"{self.name} was never let in: {self.busy}")


@contextmanager
def workers(folder: Path) -> Iterator[int]:
    """Celery with its beat, as the worker's role: the refill, the polls, the sweeps."""
    command = [sys.executable, "-m", "celery", "-A", "acs.celery", "worker", "-B", "-s", str(folder / "beat"), "--concurrency", "3"]
    with run(command, folder / "worker.log", role="worker") as process:
        yield process.pid


def resident(home: str, *, most: int) -> factories.Customer:
    customer = factories.customer(max_devices=most)
    bindings.settle(customer.tenant, wish=Wish("eu"), now=timezone.now())
    assert Binding.objects.of(customer.tenant).get().cluster_id == home
    return customer


def put_by(home: str, customer: factories.Customer, number: int) -> None:
    cluster, user_id = Cluster.objects.get(pk=home), Binding.objects.of(customer.tenant).get().headscale_user_id
    for _ in range(number):
        stock.mint_one(cluster, customer.tenant.pk, ephemeral=False, headscale_user_id=user_id, now=timezone.now())


def settle(home: str) -> None:
    """Two looks of the poll with a sweep after each, as they come a few minutes later."""
    for minutes in (3, 4):
        Watch.objects.filter(pk=home).update(attempted_at=None)
        poll(home, now=timezone.now() + timedelta(minutes=minutes))
        sweep(home, now=timezone.now())


def held(customer: factories.Customer) -> tuple[int, int, int]:
    """Quota used, slots taken, grants that count."""
    slots = Slot.objects.of(customer.tenant).filter(released_at=None).count()
    return customer.quota().used, slots, Grant.objects.of(customer.tenant).filter(state="issued").count()


@dataclass(frozen=True)
class Order:
    """How the keys of the queue came, compared with `created_at`.

    A grant is dated when its request came and has its place when it is committed, under load seconds later; nobody can be overtaken in a queue in
    which he does not stand yet. `overtaken` and `jumped` count pairs whose earlier one had been told of its place before the later one's key was
    asked for: of the one that was overtaken most, and of the one that overtook most. `displaced`: places between arrival and key, of all.
    """

    overtaken: int
    jumped: int
    displaced: int

    @classmethod
    def of(cls, customer: factories.Customer, devices: list[Device]) -> Order:
        stands = {device.name: device.stands_since for device in devices}
        minted = Grant.objects.of(customer.tenant).filter(minting_at__isnull=False, stocked_key=None, state="issued")
        rows = list(minted.order_by("created_at").values_list("slot__registration_id", "minting_at", "key_id"))
        victims, jumpers = Counter(), Counter()
        for turn, (name, _, key_id) in enumerate(rows):
            for other, asked, their_key_id in rows[turn + 1 :]:
                if their_key_id < key_id and (since := stands[name]) and since < asked:
                    victims[name] += 1
                    jumpers[other] += 1
        came = [key_id for *_, key_id in rows]
        displaced = max((abs(came.index(key_id) - turn) for turn, key_id in enumerate(sorted(came))), default=0)
        return cls(max(victims.values(), default=0), max(jumpers.values(), default=0), displaced)


@contextmanager
def slow_fake(folder: Path) -> Iterator[tuple[str, object]]:
    with Minter().running() as minter:
        home = external_of(minter)
        yield home, minter


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.headscale)])
def test_a_burst_beyond_the_stock_ends_with_one_key_for_each_device_in_the_order_of_arrival(real, tmp_path, django_db_setup):
    with ExitStack() as stack:
        home, server = stack.enter_context(serve_external(tmp_path / "x", real=True) if real else slow_fake(tmp_path))
        customer, bystander = resident(home, most=DEVICES), resident(home, most=5)
        put_by(home, customer, AHEAD)
        put_by(home, bystander, 1)
        if not real:
            server.seconds = 0.12
        service = stack.enter_context(run_web(tmp_path, **WEB))
        stack.enter_context(workers(tmp_path))
        begun = time.monotonic()
        devices = race(DEVICES, lambda n: Device(f"till-{n}").join(service, customer.secret))
        took = time.monotonic() - begun
        keys = [key for device in devices for key in device.keys]
        assert (len(keys), len(set(keys))) == (DEVICES, DEVICES)
        assert held(customer) == (DEVICES, DEVICES, DEVICES)
        assert StockedKey.objects.of(customer.tenant).filter(state="taken").count() == AHEAD
        assert StockedKey.objects.of(bystander.tenant).filter(state="ready").count() == 1, "it is somebody else's"
        waits = [wait for device in devices for wait in device.busy]
        assert waits
        assert all(1 <= wait <= 300 for wait in waits)
        order = Order.of(customer, devices)
        print(order)
        assert max(order.overtaken, order.jumped) <= AT_A_TIME
        assert Device("one-more").join(service, customer.secret).refused == "quota-exceeded"
        again = service.bootstrap(customer.secret, registration_id="till-0")
        assert again.auth_key in devices[0].keys
        [line] = mintings.lines(now=timezone.now())
        print(f"{DEVICES} devices, {AHEAD} keys ahead, {line.seconds * 1000:.0f} ms a key: {took:.1f} s, {len(waits)} times 503")
        if real:
            with server.admin() as admin:
                told = {key.id for key in admin.keys() if key.expiration > timezone.now()}
        else:
            told = server.live()
        ahead = StockedKey.objects.across_tenants().filter(cluster=home, state="ready").values_list("key_id", flat=True)
        granted = Grant.objects.across_tenants().filter(cluster=home, state="issued").values_list("key_id", flat=True)
        assert told == set(ahead) | set(granted), "no key on the server that nobody has"


def test_kills_in_the_middle_of_a_storm_lose_no_place_and_leak_no_key(tmp_path, django_db_setup):
    with slow_fake(tmp_path) as (home, minter), run_web(tmp_path, workers=8, threads=4) as service:
        customer = resident(home, most=30)
        put_by(home, customer, 5)
        minter.seconds = 0.1
        with ExitStack() as stack:
            celery = stack.enter_context(workers(tmp_path))

            def murder() -> None:
                for _ in range(4):
                    time.sleep(1.0)
                    alive = wait_for(service.workers, "a worker is there to be killed")  # gunicorn has not always replaced the last one yet
                    with suppress(ProcessLookupError):
                        os.kill(random.choice(alive), signal.SIGKILL)
                listed = Path(f"/proc/{celery}/task/{celery}/children")
                children = wait_for(lambda: listed.read_text().split(), "Celery has its processes", log=tmp_path / "worker.log")
                with suppress(ProcessLookupError):
                    os.kill(int(random.choice(children)), signal.SIGKILL)

            def act(number: int) -> Device | None:
                # a request that died after its promise is settled two minutes later: those devices are counted below
                try:
                    return murder() if number == 30 else Device(f"till-{number}").join(service, customer.secret, patience=40)
                except AssertionError:
                    return None

            race(31, act)
        minter.seconds = 0.0
        settle(home)
        devices = race(30, lambda n: Device(f"till-{n}").join(service, customer.secret))
        keys = [key for device in devices for key in device.keys]
        assert len(set(keys)) == 30
        refill.refill(home, seconds=5)
        settle(home)
        ahead = StockedKey.objects.across_tenants().filter(cluster=home, state="ready").values_list("key_id", flat=True)
        granted = Grant.objects.of(customer.tenant).filter(state="issued").values_list("key_id", flat=True)
        assert minter.live() == set(ahead) | set(granted)
        assert held(customer) == (30, 30, 30)


def test_everything_restarted_with_devices_queued_serves_them_in_their_order(tmp_path, django_db_setup):
    with slow_fake(tmp_path) as (home, minter):
        customer = resident(home, most=12)
        names = [f"till-{n}" for n in range(12)]
        with full_lanes(home), run_web(tmp_path, **WEB) as service:
            for name in names:
                assert service.bootstrap(customer.secret, registration_id=name).status == 503
        waiting = Grant.objects.of(customer.tenant).filter(state="queued").order_by("created_at")
        assert list(waiting.values_list("slot__registration_id", flat=True)) == names
        with run_web(tmp_path, **WEB) as service, workers(tmp_path):
            wait_for(lambda: not waiting.exists(), "the refill has served them all", seconds=40)
            told = [service.bootstrap(customer.secret, registration_id=name).auth_key for name in names]
        assert told == [minter.secret_of(number) for number in range(1, 13)]
        assert held(customer) == (12, 12, 12)
