"""Keys hashed ahead: each is taken once, is its grant's own, and is made on the spot where there is none."""

from __future__ import annotations

import base64
import fcntl
import gc
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acs import gunicorn
from placement.headscale import ahead, hashing, keys
from tenants.keyring import Keyring
from tests import factories
from tests.conftest import ROOT, FleetCluster, service_environment, superuser
from tests.live import run_web, wait_for

RING_TEXT = f"a1:{base64.b64encode(bytes(32)).decode()}"
RING = Keyring.parse(RING_TEXT)


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> Iterator[ahead.Stock]:
    monkeypatch.setenv("ACS_KEYRING", RING_TEXT)
    made = ahead.Stock(RING, 13000)
    yield made
    made.close()
    os.close(made.reads)
    os.close(made.writes)


def taken(stock: ahead.Stock) -> tuple[uuid.UUID, bytes]:
    return wait_for(stock.take, "a key is there")


@given(grant_id=st.uuids(), cut=st.integers(0, hashing.RECORD.size - 1), flip=st.integers(0, 79))
def test_a_record_is_read_whole_or_not_at_all(grant_id: uuid.UUID, cut: int, flip: int) -> None:
    record = hashing.pack(grant_id, b"h" * 60)
    assert hashing.unpack(record) == (grant_id, b"h" * 60)
    assert hashing.unpack(record[:cut]) is None
    assert hashing.unpack(record[:flip] + bytes([record[flip] ^ 1]) + record[flip + 1 :]) is None


def test_a_hash_of_the_stock_is_that_of_its_grants_key(stock: ahead.Stock) -> None:
    stock.keep_filled()
    grant_id, hashed = taken(stock)
    assert bcrypt.checkpw(keys.derive(RING, "a1", grant_id).secret.encode(), hashed)


def test_where_pipes_have_one_size_the_stock_is_that_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(fcntl, "F_SETPIPE_SZ")  # as on macOS
    made = ahead.Stock(RING, 50)
    os.write(made.writes, hashing.pack(uuid.uuid4(), b"h" * 60))
    assert made.take() is not None
    for end in (made.reads, made.writes):
        os.close(end)


@pytest.mark.parametrize("size", [1, 50, 1000, 13000])
def test_the_stock_is_as_large_as_wished_and_not_much_larger(size: int) -> None:
    made = ahead.Stock(RING, size)
    os.set_blocking(made.writes, False)
    room = 0
    with suppress(BlockingIOError):
        while os.write(made.writes, hashing.pack(uuid.uuid4(), b"h" * 60)):
            room += 1
    for end in (made.reads, made.writes):
        os.close(end)
    assert size <= room <= 2 * size + os.sysconf("SC_PAGESIZE") // hashing.RECORD.size


def test_a_small_stock_is_filled_again_and_again(stock: ahead.Stock) -> None:
    made = fcntl.fcntl(stock.writes, fcntl.F_SETPIPE_SZ, 1) // hashing.RECORD.size
    stock.keep_filled()
    told = [taken(stock) for _ in range(3 * made)]
    assert len({grant_id for grant_id, _ in told}) == 3 * made


def test_of_a_server_without_a_stock_nobody_fills_one(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.HASHED_AHEAD = 0
    monkeypatch.setattr(ahead, "stock", None)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    for hook in (gunicorn.when_ready, partial(gunicorn.pre_fork, worker=None), gunicorn.on_exit):
        hook(server=None)
        assert ahead.stock is None


@pytest.mark.parametrize("size", ["-1", "13108"])
def test_a_stock_of_another_size_stops_the_start_and_names_the_variable(size: str) -> None:
    environment = {**os.environ, **service_environment("web"), "ACS_HASHED_AHEAD": size}
    done = subprocess.run(
        [sys.executable, "-c", "import acs.settings"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"ACS_HASHED_AHEAD is {size}: it must be from 0 to 13107" in done.stderr


def test_none_is_taken_twice_by_threads_and_processes_at_once(stock: ahead.Stock) -> None:
    reader = (
        "import os, sys, time\n"
        "from placement.headscale import hashing\n"
        "for _ in range(300):\n"
        "    while True:\n"
        "        try:\n"
        "            record = os.read(int(sys.argv[1]), hashing.RECORD.size); break\n"
        "        except BlockingIOError: time.sleep(0.001)\n"
        "    print(hashing.unpack(record)[0])\n"
    )
    stock.keep_filled()
    words = [sys.executable, "-c", reader, str(stock.reads)]
    others = [subprocess.Popen(words, pass_fds=[stock.reads], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        mine = [str(one[0]) for one in pool.map(lambda _: taken(stock), range(300))]
    theirs = [line for other in others for line in other.communicate(timeout=60)[0].split()]
    assert len({*mine, *theirs}) == 900


def test_an_empty_stock_another_ring_and_no_stock_make_a_key_on_the_spot(stock: ahead.Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    for ring, held in ((RING, stock), (Keyring({"b2": bytes(32)}), stock), (RING, None)):
        monkeypatch.setattr(ahead, "stock", held)
        fresh = ahead.take(ring)
        assert (fresh.keyring, fresh.keyring_id) == (ring, ring.current)
        assert bcrypt.checkpw(fresh.key.secret.encode(), fresh.hashed)


def test_a_key_from_the_stock_is_taken_where_it_is_of_the_ring_in_use(stock: ahead.Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "stock", stock)
    grant_id, hashed = uuid.uuid4(), b"h" * 60
    ahead.take(RING)  # whatever this thread had at hand
    os.write(stock.writes, hashing.pack(grant_id, hashed))
    fresh = ahead.take(RING)
    assert (fresh.grant_id, fresh.hashed, fresh.key) == (grant_id, hashed, keys.derive(RING, "a1", grant_id))
    assert ahead.take(RING).grant_id != grant_id


def test_what_fills_it_ends_with_its_last_reader() -> None:
    reads, writes = os.pipe()
    words = [sys.executable, "-m", "placement.headscale.hashing"]
    filling = subprocess.Popen(words, stdout=writes, env={**os.environ, "ACS_KEYRING": RING_TEXT})
    os.close(writes)
    assert len(os.read(reads, hashing.RECORD.size)) == hashing.RECORD.size
    os.close(reads)
    assert filling.wait(10) == 0


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_the_web_server_fills_it_again_after_a_kill_and_leaves_nothing(fleet_cluster: FleetCluster, tmp_path: Path) -> None:
    with run_web(tmp_path, workers=2, ACS_HASHED_AHEAD="13000") as service:
        customer = factories.customer(max_devices=10)
        [first] = wait_for(service.hashers, "the stock is being filled")
        assert os.sched_getscheduler(first) == os.SCHED_IDLE
        told = [service.bootstrap(customer.secret).auth_key for _ in range(3)]
        os.kill(first, signal.SIGKILL)
        told += [service.bootstrap(customer.secret).auth_key for _ in range(3)]
        with superuser() as admin:
            rows = admin.execute("select prefix, hash from headscale.pre_auth_keys").fetchall()
        secrets = dict(text.removeprefix("hskey-auth-").split("-", 1) for text in told)
        assert len(secrets) == 6
        assert all(bcrypt.checkpw(secrets[prefix].encode(), bytes(hashed)) for prefix, hashed in rows if prefix in secrets)
        assert set(secrets) <= {prefix for prefix, _ in rows}
        os.kill(service.workers()[0], signal.SIGKILL)
        [second] = wait_for(service.hashers, "it is filled again with the next worker")
    wait_for(lambda: not Path(f"/proc/{second}").exists(), "it ended with the server")
