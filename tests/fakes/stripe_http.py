"""Stripe's API as far as checkouts, their charges, refunds and disputes go, over HTTP: the library is pointed at it. It signs its messages as Stripe does."""

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
OBJECTS = {"/v1/charges": "charges", "/v1/refunds": "refunds", "/v1/disputes": "disputes", PATH: "sessions"}


class FakeStripe:
    """`fails`: the status of every answer from now on, 0 for none at all. `asked`: what came, as (method, path)."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}
        self.refunds: dict[str, dict[str, Any]] = {}
        self.disputes: dict[str, dict[str, Any]] = {}
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
                "client_reference_id": wish["client_reference_id"],
                "payment_intent": None,
                "payment_status": "unpaid",
                "amount_total": amount,
                "currency": wish["line_items[0][price_data][currency]"],
                "created": int(time.time()),
                "expires_at": int(time.time()) + 86400,
            }
        return self.sessions[self.by_key[key]]

    def pay(self, session_id: str, **changes: Any) -> str:
        """Somebody pays there: Stripe's id of the money."""
        self.sessions[session_id] |= {"payment_status": "paid", "payment_intent": f"pi_{session_id}", **changes}
        return str(self.sessions[session_id]["payment_intent"])

    def refund(self, payment: str, amount: int, *, status: str = "succeeded", currency: str = "eur", age: int = 0) -> str:
        """So much of the money goes back: the refund's id."""
        found = f"re_{len(self.refunds) + 1}"
        facts = {"amount": amount, "currency": currency, "status": status, "charge": charge_of(payment), "payment_intent": payment}
        self.refunds[found] = {"id": found, "object": "refund", "created": int(time.time()) - age, **facts}
        return found

    def dispute(self, payment: str, amount: int, *, status: str = "needs_response", withdrawn: bool = True, age: int = 0) -> str:
        """The payer disputes the payment; of an inquiry nothing is withdrawn."""
        found = f"du_{len(self.disputes) + 1}"
        facts = {"amount": amount, "currency": "eur", "status": status, "charge": charge_of(payment), "payment_intent": payment}
        moved = [{"id": f"txn_{found}", "object": "balance_transaction", "amount": -amount, "fee": 2000, "type": "adjustment"}]
        self.disputes[found] = {
            "id": found,
            "object": "dispute",
            "created": int(time.time()) - age,
            "balance_transactions": moved if withdrawn else [],
            "is_charge_refundable": not withdrawn,
            **facts,
        }
        return found

    def win(self, dispute_id: str) -> None:
        """The dispute is closed, and its money reinstated."""
        held = self.disputes[dispute_id]
        held["status"] = "won"
        back = {"id": f"txn_{dispute_id}_back", "object": "balance_transaction", "amount": held["amount"], "fee": 0, "type": "adjustment"}
        held["balance_transactions"] = [*held["balance_transactions"], back]

    def message(
        self, object_id: str, *, event: str = "evt_1", kind: str = "checkout.session.completed", secret: str = SECRET, age: int = 0
    ) -> tuple[bytes, str]:
        """A message's body and its signature."""
        told = {"id": event, "object": "event", "type": kind, "created": int(time.time()), "data": {"object": {"id": object_id}}}
        body = json.dumps(told, indent=2).encode()
        at = int(time.time()) - age
        digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        return body, f"t={at},v1={digest}"

    @property
    def charges(self) -> dict[str, dict[str, Any]]:
        """One for each payment of a page."""
        paid = (one for one in self.sessions.values() if one["payment_intent"])
        return {charge_of(one["payment_intent"]): self.charge(one) for one in paid}

    def charge(self, session: dict[str, Any]) -> dict[str, Any]:
        payment = session["payment_intent"]
        back = sum(
            one["amount"] for one in self.refunds.values() if one["payment_intent"] == payment and one["status"] in ("succeeded", "pending")
        )
        return {
            "id": charge_of(payment),
            "object": "charge",
            "payment_intent": payment,
            "amount": session["amount_total"],
            "amount_refunded": back,
            "refunded": back == session["amount_total"],
            "disputed": any(one["payment_intent"] == payment for one in self.disputes.values()),
            "currency": session["currency"],
            "created": session["created"],
        }

    def told(self, one: dict[str, Any], fields: dict[str, str]) -> dict[str, Any]:
        """As it is answered: what the caller wants in full is."""
        full = any(name.startswith("expand") and "payment_intent.latest_charge" in value for name, value in fields.items())
        if one["object"] != "checkout.session" or not full or not one["payment_intent"]:
            return one
        return {**one, "payment_intent": {"id": one["payment_intent"], "object": "payment_intent", "latest_charge": self.charge(one)}}

    def listed(self, path: str, fields: dict[str, str]) -> dict[str, Any]:
        """Newest first, page after page."""
        rows = list(reversed(getattr(self, OBJECTS[path]).values()))
        wanted = [
            one
            for one in rows
            if fields.get("payment_intent", one["payment_intent"]) == one["payment_intent"]
            and one["created"] >= int(fields.get("created[gte]", "0"))
        ]
        ids = [one["id"] for one in wanted]
        start = ids.index(fields["starting_after"]) + 1 if "starting_after" in fields else 0
        page = wanted[start : start + int(fields.get("limit", "10"))]
        more = start + len(page) < len(wanted)
        return {"object": "list", "data": [self.told(one, fields) for one in page], "has_more": more, "url": path}

    def answer(self, method: str, address: str, fields: dict[str, str], key: str) -> tuple[int, dict[str, Any]]:
        path = urlsplit(address).path
        fields = {**fields, **dict(parse_qsl(urlsplit(address).query))}
        self.asked.append((method, path))
        if self.fails:
            return self.fails, {"error": {"type": "api_error" if self.fails >= 500 else "invalid_request_error", "message": "not now"}}
        if (method, path) == ("POST", PATH):
            return 200, self.make(fields, key)
        if path in OBJECTS:
            return 200, self.listed(path, fields)
        folder, _slash, name = path.rpartition("/")
        found = getattr(self, OBJECTS[folder]).get(name) if folder in OBJECTS else None
        refused = {"error": {"type": "invalid_request_error", "message": f"No such object: '{name}'"}}
        return (200, self.told(found, fields)) if found else (404, refused)


def charge_of(payment: str) -> str:
    return payment.replace("pi_", "ch_")


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
