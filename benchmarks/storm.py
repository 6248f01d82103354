"""Devices of many tenants arrive at once, with retries and duplicates, while workers are killed: every device gets one slot, no key is lost or shared, quotas hold.

10,000 devices of 200 tenants; a tenth of the tenants have room for 40 of their 50. One worker is killed (kill -9) for every hundred devices served. A device
asks until it is admitted or told that the quota is full, as a real one would: after the seconds that Retry-After names, or a moment after a broken connection.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import bcrypt
import psycopg

from benchmarks import fleet
from benchmarks.admission import megabytes, workers
from benchmarks.fleet import Fact
from benchmarks.report import Report, arguments
from benchmarks.services import ROOT, Services, services
from placement.headscale.fleet.binary import free_ports
from tenants import signing

DEVICES_EACH, FULL_AT = 50, 40
CLIENTS, WORKERS = 48, 4
PATIENCE = 600.0
PATH = "/api/v1/bootstrap"


@dataclass
class Device:
    """One device, what it asks with, and every key that it was told, by whichever of its requests."""

    fact: Fact
    name: str
    signs: bool
    key: str = ""
    idempotency_key: str = ""
    told: list[str] = field(default_factory=list)
    refused: bool = False
    tries: int = 0


def main() -> None:
    options = arguments(__doc__ or "")
    report = Report(options.json)
    tenants = 20 if options.quick else 200
    with services() as made:
        facts = fleet.build(made, tenants=tenants, quota=DEVICES_EACH)
        shrink(made, facts[::10])
        devices = [device(fact, number) for fact in facts for number in range(DEVICES_EACH)]
        random.shuffle(devices)
        with serve(made) as (process, url):
            begun = time.monotonic()
            kills = storm(process, url, devices)
            seconds = time.monotonic() - begun
            memory = [megabytes(pid) for pid in workers(process.pid)]
        tell(report, made, devices, seconds=seconds, kills=kills)
    report.add("memory of the largest web worker at the end", max(memory), "MB")
    report.close()


def device(fact: Fact, number: int) -> Device:
    name, signs = f"device-{number}", number % 4 == 0
    key = signing.derive_key(fact.group_secret, name) if signs else ""
    return Device(fact, name, signs, key, secrets.token_hex(8) if number % 2 else "")


def shrink(made: Services, facts: list[Fact]) -> None:
    with psycopg.connect(made.postgres.url("acs", "acs_owner")) as connection:
        connection.execute('update tenants_quota set "limit" = %s where tenant_id = any(%s)', [FULL_AT, [fact.tenant_id for fact in facts]])


# ---- the storm -------------------------------------------------------------------------------------------------------


def storm(process: subprocess.Popen[bytes], url: str, devices: list[Device]) -> int:
    """Returns how many workers were killed."""
    arrivals: queue.SimpleQueue[Device] = queue.SimpleQueue()
    for one in devices:
        arrivals.put(one)
        if random.random() < 0.2:
            arrivals.put(one)
    kills, over = [0], threading.Event()
    killer = threading.Thread(target=kill_workers, args=(process, devices, kills, over))
    threads = [threading.Thread(target=client, args=(url, arrivals)) for _ in range(CLIENTS)]
    for thread in (killer, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    killer.join()
    return kills[0]


def kill_workers(process: subprocess.Popen[bytes], devices: list[Device], kills: list[int], over: threading.Event) -> None:
    while not over.wait(0.05):
        served = sum(bool(one.told or one.refused) for one in devices)
        if kills[0] < served // 100:
            serving = workers(process.pid)
            if len(serving) >= 2:  # some are being started again
                with suppress(ProcessLookupError):
                    os.kill(random.choice(serving), signal.SIGKILL)
                    kills[0] += 1


def client(url: str, arrivals: queue.SimpleQueue[Device]) -> None:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=20)
    while True:
        try:
            one = arrivals.get_nowait()
        except queue.Empty:
            return
        persist(connection, one)


def persist(connection: http.client.HTTPConnection, one: Device) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        one.tries += 1
        body, headers = request(one)
        try:
            connection.request("POST", PATH, body, headers)
            answer = connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            connection.close()
            time.sleep(random.uniform(0.02, 0.3))
            continue
        if answer.status == 200:
            one.told.append(told["auth_key"])
            return
        if told.get("code") == "quota-exceeded":
            one.refused = True
            return
        if answer.status not in (429, 503):
            raise SystemExit(f"{one.name}: {answer.status} {told}")
        time.sleep(min(2.0, float(answer.headers.get("Retry-After", "1"))) * random.uniform(0.5, 1.0))
    raise SystemExit(f"{one.name} was not served within {PATIENCE} s")


def request(one: Device) -> tuple[bytes, dict[str, str]]:
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": one.idempotency_key} if one.idempotency_key else {})
    if not one.signs:
        body = json.dumps({"registration_id": one.name}).encode()
        return body, headers | {"Authorization": f"Bearer {one.fact.secret}"}
    signed = signing.header(
        one.key, method="POST", path=PATH, at=datetime.now(UTC), nonce=secrets.token_hex(16), group=one.fact.group_id,
        registration_id=one.name, body=b"{}",
    )  # fmt: skip
    return b"{}", headers | {"Authorization": signed}


# ---- what is left afterwards -----------------------------------------------------------------------------------------


def tell(report: Report, made: Services, devices: list[Device], *, seconds: float, kills: int) -> None:
    report.add("devices", len(devices), "count")
    report.add("time to serve all", seconds, "s")
    report.add("devices served a second", len(devices) / seconds, "per second")
    report.add("requests sent", sum(one.tries for one in devices), "count")
    report.add("workers killed", kills, "count", at_least=0.9 * (len(devices) // 100))
    admitted = {(one.fact.tenant_id, one.name): one for one in devices if one.told}
    with psycopg.connect(made.postgres.url("acs", "postgres")) as connection:
        slots = connection.execute("select tenant_id::text, registration_id, id from placement_slot where released_at is null").fetchall()
        live = connection.execute(
            "select s.tenant_id::text, s.registration_id, k.prefix, k.hash, k.expiration > now() and not k.used from placement_grant g"
            " join placement_slot s on s.id = g.slot_id join headscale.pre_auth_keys k on k.id = g.key_id and k.cluster_id = g.cluster_id"
            " where g.state = 'issued'"
        ).fetchall()
        quotas = connection.execute('select tenant_id::text, used, "limit" from tenants_quota').fetchall()
        unkept = connection.execute(
            "select count(*) from headscale.pre_auth_keys k where expiration > now()"
            " and not exists (select 1 from placement_grant g where g.key_id = k.id and g.cluster_id = k.cluster_id and g.state = 'issued')"
        ).fetchone()
    held = [(tenant, name) for tenant, name, _ in slots]
    report.add("devices with more than one slot", len(held) - len(set(held)), "count", at_most=0)
    report.add("admitted devices without a slot", len(admitted.keys() - set(held)), "count", at_most=0)
    report.add("slots of devices that were told no key", len(set(held) - admitted.keys()), "count", at_most=0)
    report.add(
        "devices that are neither admitted nor refused", sum(not one.told and not one.refused for one in devices), "count", at_most=0
    )
    owners: dict[str, set[tuple[str, str]]] = {}
    for who, one in admitted.items():
        for key in one.told:
            owners.setdefault(key, set()).add(who)
    report.add("keys told to two devices", sum(len(whose) > 1 for whose in owners.values()), "count", at_most=0)
    good = {(tenant, name): (prefix, bytes(hashed), usable) for tenant, name, prefix, hashed, usable in live}
    report.add(
        "admitted devices whose last key is not live",
        sum(not fits(one, good.get(who)) for who, one in admitted.items()),
        "count",
        at_most=0,
    )
    sample = random.sample(list(admitted.items()), min(300, len(admitted)))
    wrong = sum(not bcrypt.checkpw(one.told[-1].rsplit("-", 1)[1].encode(), good[who][1]) for who, one in sample)
    report.add("of 300 keys tried against the server's hash: wrong", wrong, "count", at_most=0)
    report.add("live keys that belong to no grant", unkept[0] if unkept else 0, "count", at_most=0)
    count: dict[str, int] = {}
    for tenant, _ in held:
        count[tenant] = count.get(tenant, 0) + 1
    report.add("quotas that are not exact", sum(used != count.get(tenant, 0) for tenant, used, _ in quotas), "count", at_most=0)
    report.add("quotas passed, or not filled", sum(used != min(DEVICES_EACH, most) for _, used, most in quotas), "count", at_most=0)


def fits(one: Device, live: tuple[str, bytes, bool] | None) -> bool:
    """Whether the key that the device was told last is the one that its slot holds."""
    return live is not None and live[2] and one.told[-1].split("-")[2] == live[0]


class serve:  # noqa: N801 - reads as a verb in `with serve(...)`
    """The service's own gunicorn; a killed worker is started again by it."""

    def __init__(self, made: Services) -> None:
        self.port = free_ports(1)[0]
        command = [sys.executable, "-m", "gunicorn", "acs.wsgi:application", "--bind", f"127.0.0.1:{self.port}", "--workers", str(WORKERS)]
        command += ["--worker-class", "gthread", "--threads", "4", "--no-control-socket", "--log-level", "critical"]
        environment = {**made.environment("web"), "ACS_WEB_THREADS": "4"}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self) -> tuple[subprocess.Popen[bytes], str]:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/healthz", headers={"Host": "localhost"})
                if connection.getresponse().status == 200:
                    return self.process, f"http://127.0.0.1:{self.port}"
            time.sleep(0.1)
        raise SystemExit("gunicorn did not come up")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)


if __name__ == "__main__":
    main()
