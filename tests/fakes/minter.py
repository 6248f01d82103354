"""An external server whose only trouble is that a key takes time: the users and keys of headscale's admin API, over real HTTP, slow on demand.

Like a server of one core it mints one key after the other (`seconds` each). `mode`: `ok`; `silent` makes the key and hangs up; `refuse` says no, as it does for the user `refused`;
`lost` makes nothing and hangs up.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.utils.dateparse import parse_datetime

KEY = "hskey-api-" + "a" * 12 + "-" + "b" * 64


class HangUp(Exception):
    """No answer at all."""


class Minter:
    """The server. `made`: when each mint began, in order; `most_at_once`: how many mints it was ever asked for at a time."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.mode, self.refused = seconds, "ok", ""
        self.users: list[str] = []
        self.keys: dict[int, dict[str, Any]] = {}
        self.made: list[float] = []
        self.asked_now = self.most_at_once = self.last = 0
        self._core, self._lock = threading.Lock(), threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def live(self) -> set[int]:
        """Keys that would let a device in now."""
        return {number for number, key in self.keys.items() if not key["used"] and parse_datetime(key["expiration"]) > datetime.now(UTC)}

    def secret_of(self, number: int) -> str:
        return f"hskey-auth-{number:012d}-{'s' * 64}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        minter = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                words = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                try:
                    status, told = minter.call(self.command, parts.path.removeprefix("/api/v1"), {**query, **words})
                except HangUp:
                    self.close_connection = True
                    return
                body = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the library's names

            def log_message(self, *words: Any) -> None:
                pass

        return Handler

    def call(self, method: str, path: str, words: dict[str, Any]) -> tuple[int, Any]:  # noqa: PLR0911 - one line per call of the API
        match method, path:
            case "GET", "/user":
                return 200, {"users": [self._user(name) for name in self.users if name == words.get("name", name)]}
            case "POST", "/user":
                self.users.append(words["name"])
                return 200, {"user": self._user(words["name"])}
            case "POST", "/preauthkey":
                return self._mint(words)
            case "GET", "/preauthkey":
                return 200, {"preAuthKeys": list(self.keys.values())}
            case "POST", "/preauthkey/expire":
                self.keys[int(words["id"])]["expiration"] = datetime.now(UTC).isoformat()
                return 200, {}
            case "DELETE", "/preauthkey":
                self.keys.pop(int(words["id"]), None)
                return 200, {}
            case "GET", "/node":
                return 200, {"nodes": []}
        return 404, {"code": 5, "message": "Not Found", "details": []}

    def _mint(self, words: dict[str, Any]) -> tuple[int, Any]:
        with self._lock:
            self.asked_now += 1
            self.most_at_once = max(self.most_at_once, self.asked_now)
            self.made.append(time.monotonic())
        try:
            with self._core:
                time.sleep(self.seconds)
        finally:
            with self._lock:
                self.asked_now -= 1
        if self.mode == "refuse" or self.users[int(words["user"]) - 1] == self.refused:
            return 500, {"code": 2, "message": "failed to create preauthkey", "details": []}
        if self.mode == "lost":
            raise HangUp
        with self._lock:
            self.last += 1
            number = self.last
            user = self._user(self.users[int(words["user"]) - 1])
            masked = {
                "id": str(number), "key": f"hskey-auth-{number:012d}-***", "user": user, "reusable": False, "ephemeral": words["ephemeral"],
                "used": False, "expiration": words["expiration"], "createdAt": datetime.now(UTC).isoformat(), "aclTags": words.get("aclTags", []),
            }  # fmt: skip
            self.keys[number] = masked
        if self.mode == "silent":
            raise HangUp
        return 200, {"preAuthKey": masked | {"key": self.secret_of(number)}}

    def _user(self, name: str) -> dict[str, Any]:
        return {"id": str(self.users.index(name) + 1), "name": name, "createdAt": "2026-01-01T00:00:00Z"}

    @contextmanager
    def running(self) -> Iterator[Minter]:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


@contextmanager
def full_lanes(cluster_id: str, number: int = 2) -> Iterator[None]:
    """As if so many requests of other processes were minting there."""
    import psycopg

    from placement import lanes
    from tests.conftest import url_as

    with psycopg.connect(url_as("acs_tests"), autocommit=True) as other:
        for lane in range(number):
            other.execute("select pg_advisory_lock(%s::int, %s::int)", [lanes.REQUESTS + lane, lanes.number_of(cluster_id)])
        yield


def external_of(minter: Minter) -> str:
    """An active external cluster at that server: its cluster_id."""
    from placement import clusters
    from tests.conftest import fresh_cluster_id, make_fleet_cluster

    cluster_id = fresh_cluster_id()
    make_fleet_cluster(cluster_id, fleet_id=None, admin_url=minter.url, admin_key_sealed=clusters.seal_key(cluster_id, KEY))
    return cluster_id
