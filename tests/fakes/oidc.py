"""An OIDC issuer on loopback: real keys, a discovery document, a key set, and tokens of every kind that should not be believed."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

AUDIENCE = "https://acs.example.com/acme"
SUBJECT = "repo:acme/tills:ref:refs/heads/main"
KINDS: dict[str, Callable[[str], Key]] = {
    "RS": lambda kid: RSAKey.generate_key(2048, {"kid": kid}),
    "PS": lambda kid: RSAKey.generate_key(2048, {"kid": kid}),
    "ES256": lambda kid: ECKey.generate_key("P-256", {"kid": kid}),
    "ES384": lambda kid: ECKey.generate_key("P-384", {"kid": kid}),
    "Ed": lambda kid: OKPKey.generate_key("Ed25519", {"kid": kid}),
}


class Issuer:
    """`keys` are published, `tell` replaces an answer (path -> status, headers, body), `asked` are the paths that were asked for."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys: list[Key] = [self.new_key("first")]
        self.asked: list[str] = []
        self.tell: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.delay = 0.0
        self.when_asked: Callable[[str], None] = lambda _path: None
        self._serial = 0

    @staticmethod
    def new_key(kid: str, algorithm: str = "ES256") -> Key:
        return next(make for name, make in KINDS.items() if algorithm.startswith(name))(kid)

    @property
    def jwks(self) -> dict[str, Any]:
        return {"keys": [key.as_dict(private=False) for key in self.keys]}

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(path)
        time.sleep(self.delay)
        self.when_asked(path)
        if path in self.tell:
            return self.tell[path]
        documents = {
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/keys": self.jwks,
        }
        if path not in documents:
            return 404, {}, b"{}"
        return 200, {"Content-Type": "application/json"}, json.dumps(documents[path]).encode()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """What a good token says; None takes a claim away."""
        self._serial += 1
        now = int(time.time())
        said = {
            "iss": self.url, "aud": AUDIENCE, "sub": SUBJECT, "iat": now, "nbf": now, "exp": now + 300, "jti": f"t-{id(self)}-{self._serial}",
            "repository_owner": "acme", "ref_protected": "true", "run_id": str(1000 + self._serial),
        }  # fmt: skip
        return {name: value for name, value in (said | changes).items() if value is not None}

    def token(self, *, key: Key | None = None, alg: str = "ES256", header: dict[str, Any] | None = None, **changes: Any) -> str:
        """A token as this issuer makes them, except for what is named."""
        key = key or self.keys[0]
        head = {"alg": alg, "kid": key.kid, **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
        registry.max_header_length = 1 << 20
        registry.max_payload_length = 1 << 20
        return jws.serialize_compact({"typ": "JWT", **head}, json.dumps(self.claims(**changes)), key, registry=registry)


def signed_with_a_secret(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    """HS256 by hand: libraries refuse to take a public key for a secret."""
    text = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims))
    return f"{text}.{base64.urlsafe_b64encode(hmac.digest(secret, text.encode(), 'sha256')).decode().rstrip('=')}"


@contextmanager
def issuing() -> Iterator[Issuer]:
    """The issuer and its server, gone at the end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = issuer.answer(self.path)
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                return  # whoever asked has left

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield issuer
        finally:
            server.shutdown()
