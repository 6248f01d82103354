"""Callers of the door: devices with a bearer key, devices that sign, and nobody, over kept connections."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import secrets
import threading
import time
import urllib.parse
from collections.abc import Callable
from datetime import UTC, datetime

from benchmarks.fleet import Fact
from tenants import signing

PATH = "/api/v1/bootstrap"
Request = tuple[str, bytes, dict[str, str]]
JSON = {"Content-Type": "application/json"}


def bearer(fact: Fact) -> Request:
    body = json.dumps({"registration_id": secrets.token_hex(8)}).encode()
    return PATH, body, JSON | {"Authorization": f"Bearer {fact.secret}"}


def signer(facts: list[Fact], devices: int) -> Callable[[Fact], Request]:
    """Devices with their keys in hand: deriving them is the factory's work. Each signs its request when it sends it."""
    keys = {
        fact.group_id: [(name, signing.derive_key(fact.group_secret, name)) for name in (secrets.token_hex(8) for _ in range(devices))]
        for fact in facts
    }
    turns = {fact.group_id: itertools.count() for fact in facts}

    def signed(fact: Fact) -> Request:
        held = keys[fact.group_id]
        name, key = held[next(turns[fact.group_id]) % len(held)]
        at = datetime.now(UTC)
        signature = signing.header(
            key, method="POST", path=PATH, at=at, nonce=secrets.token_hex(16), group=fact.group_id, registration_id=name, body=b"{}"
        )
        return PATH, b"{}", JSON | {"Authorization": signature}

    return signed


def anonymous(fact: Fact) -> Request:
    return PATH, json.dumps({"account": fact.account}).encode(), JSON


def floor(way: str) -> Callable[[Fact], Request]:
    return lambda _fact: (f"/floor/{way}", b"{}", JSON)


def load(
    url: str, facts: list[Fact], ask: Callable[[Fact], Request], seconds: float, *, clients: int = 8, rate: float = 0.0
) -> list[float]:
    """For so long, as fast as the answers come; or at a rate per second, each latency counted from when the request was due. In seconds."""
    begun, latencies, wrong = time.monotonic(), [], []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=30)
        mine, due = [], begun + (number / rate if rate else 0)
        while due - begun < seconds and time.monotonic() - begun < seconds + 10:
            if rate:
                time.sleep(max(0.0, due - time.monotonic()))
            else:
                due = time.monotonic()
            path, body, headers = ask(random.choice(facts))
            started = due if rate else time.monotonic()
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            told = answer.read()
            mine.append(time.monotonic() - started)
            if answer.status != 200:
                wrong.append((path, answer.status, told[:200]))
                return
            due += clients / rate if rate else 0
        latencies.extend(mine)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise SystemExit(f"{wrong[0][0]} answered {wrong[0][1:]}")
    return latencies
