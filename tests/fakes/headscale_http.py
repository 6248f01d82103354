"""The few answers of a headscale server that registration asks for, over real HTTP, each of them changeable.

The simulator imitates a server; this one misbehaves on demand.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "hskey-api-" + "a" * 12 + "-" + "b" * 64
NOISE = "mkey:" + "ab" * 32
METRICS = """process_cpu_seconds_total 1.5
process_resident_memory_bytes 4e+07
headscale_nodestore_queue_depth 0
headscale_nodestore_nodes 0
# TYPE headscale_nodestore_peers_calculation_duration_seconds histogram
headscale_nodestore_peers_calculation_duration_seconds_bucket{le="0.1"} 1
headscale_nodestore_peers_calculation_duration_seconds_bucket{le="+Inf"} 1
headscale_nodestore_peers_calculation_duration_seconds_sum 0.01
headscale_nodestore_peers_calculation_duration_seconds_count 1
"""


class FakeHeadscale:
    """A server in good order; change its fields to spoil it."""

    def __init__(self) -> None:
        self.version = "v0.29.2"
        self.health = "pass"
        self.noise_key = NOISE
        self.key = KEY
        self.policy: str | None = None
        self.file_mode = False
        self.rejects_policies = ""
        self.metrics = METRICS
        self.nodes: list[dict[str, Any]] = []
        self.puts: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(*fake._open(self.path.partition("?")[0]) or self._locked(None))

            def do_PUT(self) -> None:
                self._answer(*self._locked(self._body()))

            def do_POST(self) -> None:
                self._answer(*self._locked(self._body()))

            def _locked(self, body: dict[str, Any] | None) -> tuple[int, Any]:
                if self.headers["Authorization"] != f"Bearer {fake.key}":
                    return 401, "Unauthorized"
                return fake._api(self.command, self.path.partition("?")[0], body or {})

            def _body(self) -> dict[str, Any]:
                return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

            def _answer(self, status: int, answer: Any) -> None:
                body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words: Any) -> None:
                pass

        return Handler

    def _open(self, path: str) -> tuple[int, Any] | None:
        match path:
            case "/version":
                return 200, {"version": self.version}
            case "/health":
                return (200 if self.health == "pass" else 500), {"status": self.health}
            case "/key":
                return 200, {"publicKey": self.noise_key}
            case "/metrics":
                return 200, self.metrics
        return None

    def _api(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        match method, path:
            case "GET", "/api/v1/policy":
                return self._read_policy()
            case "PUT", "/api/v1/policy":
                return self._store_policy(body["policy"])
            case "POST", "/api/v1/policy/check":
                return _error(400, self.rejects_policies) if self.rejects_policies else (200, {})
            case "GET", "/api/v1/node":
                return 200, {"nodes": self.nodes}
        return _error(404, "Not Found")

    def _read_policy(self) -> tuple[int, Any]:
        if self.policy is not None:
            return 200, self._policy()
        return _error(
            500, 'reading policy from path "": no such file' if self.file_mode else "loading ACL from database: acl policy not found"
        )

    def _store_policy(self, document: str) -> tuple[int, Any]:
        if self.file_mode:
            return _error(500, "update is disabled for modes other than 'database'")
        self.policy = document
        self.puts.append(document)
        return 200, self._policy()

    def _policy(self) -> dict[str, Any]:
        return {"policy": self.policy, "updatedAt": None if self.file_mode else "2026-11-01T10:00:00Z"}

    @contextmanager
    def running(self) -> Iterator[FakeHeadscale]:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _error(status: int, message: str) -> tuple[int, Any]:
    return status, {"code": 2, "message": message, "details": []}
