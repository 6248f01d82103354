"""The simulator's two HTTP listeners: the server's (admin API, /health, /version, /key, the devices' door) and the metrics'."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from acs.demo.simulator import IMITATES, api, debugging, filters, keys, protocol
from acs.demo.simulator.config import Config
from acs.demo.simulator.joining import Device, Door
from acs.demo.simulator.meters import Meters
from acs.demo.simulator.nodes import Node, Nodes, random_key
from acs.demo.simulator.peers import NetMaps
from acs.demo.simulator.protocol import INVALID, Refusal, Words
from acs.demo.simulator.redeeming import JoinRefused
from acs.demo.simulator.state import State
from acs.demo.simulator.store import Failure, Store

log = logging.getLogger("simulator")

MAX_REQUEST = 4 * 1024 * 1024  # bytes
NOISE_SINCE = 39  # the capability version from which clients speak Noise


@dataclass(frozen=True)
class Call:
    """A request; `caller`: the address that it came from."""

    method: str
    target: str
    headers: Message
    body: bytes
    caller: str


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    media_type: str


class Simulator:
    """One server: its state, loaded at its making, and its listeners, open after `start`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.store = Store(config.database)
        self.nodes = Nodes(self.store, config)
        self.door = Door(self.nodes, config)
        document = None if config.policy_in_database else config.policy_path.read_text() if config.policy_path else ""
        self.state = State(self.store, self.nodes, self.door, policy_file=document)
        self.meters = Meters(lambda: len(self.nodes.by_id), lambda: self.state.policy)
        self.nodes.written = self.meters.written
        self.noise_key = keys.noise_public_key(config.noise_key)
        self._listeners: list[ThreadingHTTPServer] = []

    def start(self) -> None:
        self._listen(self.config.listen, self.answer)
        if self.config.metrics_listen:
            self._listen(self.config.metrics_listen, self._answer_metrics)

    def stop(self) -> None:
        for listener in self._listeners:
            listener.shutdown()
            listener.server_close()
        self.door.close()
        self.store.close()

    def _listen(self, address: tuple[str, int], answer: Callable[..., Answer]) -> None:
        handler = type("Handler", (_Handler,), {"answer": staticmethod(answer)})
        listener = _Listener(address, handler)
        threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        self._listeners.append(listener)

    def answer(self, call: Call) -> Answer:
        parts = urlsplit(call.target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        try:
            if parts.path.startswith("/api/"):
                return self._answer_admin(call, parts.path, query)
            if parts.path.startswith("/simulator/"):
                return _json(self._answer_device(call.method, parts.path.removeprefix("/simulator/"), Words(_object(call.body))))
            return self._answer_public(call.method, parts.path, query)
        except JoinRefused as error:
            return _json({"error": str(error)}, 401)
        except Refusal as refusal:
            return _json({"code": refusal.code, "message": str(refusal), "details": []}, refusal.status)
        except Failure as error:
            log.warning("the database failed: %s", error)
            return _json({"code": protocol.UNKNOWN, "message": str(error), "details": []}, 500)

    def _answer_admin(self, call: Call, path: str, query: dict[str, str]) -> Answer:
        start, _, key = call.headers.get("Authorization", "").partition(" ")
        if start != "Bearer" or not keys.is_admin(self.store, key):
            return Answer(401, b"Unauthorized", "text/plain; charset=utf-8")
        if "%2f" in path.lower():
            raise Refusal("Not Found", protocol.NOT_FOUND)
        return _json(api.call(self.state, call.method, unquote(path), Words(dict(query)), lambda: Words(_object(call.body))))

    def _answer_public(self, method: str, path: str, query: dict[str, str]) -> Answer:
        if method not in ("GET", "HEAD"):
            return _text(405, "")
        if path == "/version":
            return _json({"version": IMITATES, "commit": "simulator", "buildTime": "unknown", "go": {}, "dirty": False})
        if path == "/health":
            return self._health()
        if path == "/key":
            return self._key(query.get("v", ""))
        waiting = re.fullmatch(r"/register/(hskey-authreq-[A-Za-z0-9_-]{24})", path)
        if waiting:
            return _text(200, f"A device waits: register {waiting[1]}") if self.door.is_waiting(waiting[1]) else _text(410, "expired")
        return Answer(200, b"<!DOCTYPE html>", "text/html; charset=utf-8") if path == "/" else _text(404, "404 page not found\n")

    def _health(self) -> Answer:
        media_type = "application/health+json; charset=utf-8"
        try:
            self.store.one("SELECT 1 AS one")
        except Failure:
            return Answer(500, b'{"status":"fail"}\n', media_type)
        return Answer(200, b'{"status":"pass"}\n', media_type)

    def _key(self, version: str) -> Answer:
        if not re.fullmatch(r"-?\d+", version):
            return _text(400, "invalid capability version\n" if version else "capability version must be set\n")
        if int(version) < NOISE_SINCE:
            return _text(200, "")
        return _json({"legacyPublicKey": "mkey:" + "0" * 64, "publicKey": self.noise_key})

    def _answer_device(self, method: str, call: str, words: Words) -> dict[str, Any]:
        if method != "POST":
            raise Refusal("Not Found", protocol.NOT_FOUND)
        if call == "join":
            joined = self.door.join(_device(words), words.text("auth_key"))
            self.state.approve_routes([joined])
            return {"node": protocol.node(joined)}
        if call == "login":
            auth_id = self.door.ask(_device(words))
            return {"authId": auth_id, "url": f"{self.config.server_url}/register/{auth_id}"}
        node = self.nodes.with_node_key(words.text("node_key"))
        if node is None:
            raise Refusal("node not found", protocol.NOT_FOUND)
        if call == "online":
            self.door.connect(node)
        elif call == "offline":
            self.door.disconnect(node)
        elif call == "leave":
            self.door.log_out(node)
        elif call == "netmap":
            return self._netmap(node)
        elif call != "node":
            raise Refusal("Not Found", protocol.NOT_FOUND)
        return {"node": protocol.node(node)}

    def _netmap(self, node: Node) -> dict[str, Any]:
        view = NetMaps(self.state.world(), self.nodes.primaries).view(node)
        peers = [{"name": peer.node.name, "addresses": peer.node.addresses, "routes": peer.routes} for peer in view.peers]
        return {"peers": peers, "filter": filters.document(view.filter)}

    def _answer_metrics(self, call: Call) -> Answer:
        path = urlsplit(call.target).path
        if path != "/metrics":
            return Answer(*debugging.page(self.state, path, call.headers, call.caller))
        return Answer(200, self.meters.text(), "text/plain; version=0.0.4; charset=utf-8")


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the standard library's signature
        log.debug("a connection broke: %s", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One connection; `answer` belongs to the listener's class."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 120
    answer: Callable[..., Answer]

    def _serve(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > MAX_REQUEST or self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            return self._send(_text(413, "the request is too large"))
        try:
            answer = self.answer(Call(self.command, self.path, self.headers, self.rfile.read(int(length)), str(self.client_address[0])))
        except Exception:
            log.exception("%s %s failed", self.command, self.path)
            answer = _json({"code": 13, "message": "internal error of the simulator", "details": []}, 500)
        return self._send(answer)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _serve  # noqa: N815 - the standard library's names

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.media_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        log.debug(format, *args)


def _device(words: Words) -> Device:
    host = {"OS": words.text("os") or "simulated", "RoutableIPs": words.texts("routes"), "RequestTags": words.texts("tags")}
    return Device(
        machine_key=words.text("machine_key") or random_key("mkey"),
        node_key=words.text("node_key") or random_key("nodekey"),
        hostname=words.text("hostname"),
        host={name: value for name, value in host.items() if value},
    )


def _object(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        words = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"proto: syntax error: {error}", INVALID) from error
    if not isinstance(words, dict):
        raise Refusal("proto: syntax error: unexpected token", INVALID)
    return words


def _json(words: dict[str, Any], status: int = 200) -> Answer:
    return Answer(status, json.dumps(words, separators=(",", ":")).encode(), "application/json")


def _text(status: int, text: str) -> Answer:
    return Answer(status, text.encode(), "text/plain; charset=utf-8")
