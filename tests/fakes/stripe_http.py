"""Stripe's API as far as checkouts go, over HTTP: the library is pointed at it. It signs its messages as Stripe does."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

SECRET = "whsec_only-in-tests"
PATH = "/v1/checkout/sessions"


class FakeStripe:
    """`fails`: the status of every answer from now on, 0 for none at all. `asked`: what came, as (method, path)."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}
        self.by_key: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.fails: int | None = None
        self.url = ""

    def make(self, wish: dict[str, str], key: str) -> dict[str, Any]:
        if key not in self.by_key:
            number = len(self.sessions) + 1
            amount = int(wish["line_items[0][price_data][unit_amount]"])
            self.by_key[key] = f"cs_{number}"
            self.sessions[f"cs_{number}"] = {
                "id": f"cs_{number}",
                "object": "checkout.session",
                "url": f"https://checkout.stripe.example/cs_{number}",
                "metadata": {"invoice": wish["metadata[invoice]"]},
                "payment_intent": None,
                "payment_status": "unpaid",
                "amount_total": amount,
                "currency": wish["line_items[0][price_data][currency]"],
                "created": int(time.time()),
                "expires_at": int(time.time()) + 86400,
            }
        return self.sessions[self.by_key[key]]

    def pay(self, session_id: str, **changes: Any) -> None:
        """Somebody pays there."""
        self.sessions[session_id] |= {"payment_status": "paid", "payment_intent": f"pi_{session_id}", **changes}

    def message(
        self, session_id: str, *, event: str = "evt_1", kind: str = "checkout.session.completed", secret: str = SECRET, age: int = 0
    ) -> tuple[bytes, str]:
        """A message's body and its signature."""
        told = {"id": event, "object": "event", "type": kind, "created": int(time.time()), "data": {"object": {"id": session_id}}}
        body = json.dumps(told, indent=2).encode()
        at = int(time.time()) - age
        digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        return body, f"t={at},v1={digest}"

    def answer(self, method: str, address: str, fields: dict[str, str], key: str) -> tuple[int, dict[str, Any]]:
        path = urlsplit(address).path
        self.asked.append((method, path))
        if self.fails:
            return self.fails, {"error": {"type": "api_error" if self.fails >= 500 else "invalid_request_error", "message": "not now"}}
        if (method, path) == ("POST", PATH):
            return 200, self.make(fields, key)
        if path == PATH:
            newest = list(reversed(self.sessions.values()))
            return 200, {"object": "list", "data": newest, "has_more": False, "url": PATH}
        found = self.sessions.get(path.removeprefix(f"{PATH}/"))
        return (200, found) if found else (404, {"error": {"type": "invalid_request_error", "message": "No such checkout.session"}})


@contextmanager
def serving() -> Iterator[FakeStripe]:
    fake = FakeStripe()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._do()

        def do_POST(self) -> None:
            self._do()

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            if fake.fails == 0:
                self.close_connection = True
                return
            status, told = fake.answer(self.command, self.path, dict(parse_qsl(body)), self.headers.get("Idempotency-Key", ""))
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
