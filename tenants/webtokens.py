"""Signed JSON Web Tokens: read, their signature verified, the public keys of their issuers sorted. The one page that knows joserfc.

What a token's header says of keys (`jwk`, `jku`, `x5u`, `x5c`) is never looked at: a token is signed with a key that its issuer publishes, or it is nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import warnings
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import Key, import_key

ALGORITHMS = {"RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "ES256": "EC", "ES384": "EC", "EdDSA": "OKP"}
SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\Z")
LONGEST = 8192  # characters; a web server takes no longer header
MOST_KEYS = 100
RSA_BITS = range(2048, 8193)  # shorter ones are weak, longer ones slow
PUBLIC = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
DESCRIBED = ("kty", "kid", "use", "alg")
NUMBER = re.compile(r"[A-Za-z0-9_-]{1,1400}={0,2}\Z")  # of up to 8192 bits; also the name of a curve
NOBODYS = [  # keys whose private parts nobody has: what a signature is checked against where there is no issuer to ask for one
    {"kty": "EC", "crv": "P-256", "x": "eCtok6qejBoz-eD8gcdMKZ6BgsiZo0iWlHc8N8I8kIA", "y": "y9EVwGwwBBHdy-16ljC3RVpvcEYf6UlyDhNqtbd1DqY"},
    {"kty": "OKP", "crv": "Ed25519", "x": "tsx6dedMSKIjM6sINufIbeVDhD1odzbtUVigs_SMS78"},
    {
        "kty": "RSA",
        "e": "AQAB",
        "n": (
            "u_neiK2-qOYoQLps0mb5_SBCHmFSHWuXJv7HkOy_HiOvUfEwPnxDc0Py8QelzvqFhYfahNZDyTM8Ne-qzlYaSbGo2ggqYX0ujBIzQUv8cFt3QYvWLhScntqM"
            "1kLOKFayBDyyLJNiYOboAuWZYc_fgmwhmuWDts0pUW1GzDpM2QW53yEV-jvru-8sWRCdZf_c46Y72StlMISko86Gu3RlxUFpq4DeeyyTz1H0H0jUOqWB47nj"
            "w2NW73FzTNBm_V-DBXGJz4RjKPmqQxTlrtT_xfSo7puZZln8xw47WvR6xNMCuV2_PBFimeeUjb3IcldWE7QJSuImGPUYMeCgPkxttQ"
        ),
    },
]
warnings.filterwarnings("ignore", message="EdDSA", category=SecurityWarning)  # issuers use the name, deprecated or not


class Unusable(Exception):
    """Not a token, or not keys; the text says why."""


class NoSuchKey(Unusable):
    """No key of the set can have signed the token: perhaps there are newer ones."""


@dataclass(frozen=True, repr=False)
class WebToken:
    """What a token says; nothing of it is proven until `verify` has passed.

    `digest`: SHA-256 of what is signed. Unlike the whole text nobody can change it, for a signature may have several forms.
    """

    text: str
    header: dict[str, Any]
    claims: dict[str, Any]
    digest: bytes

    @property
    def algorithm(self) -> str:
        return str(self.header.get("alg"))


def is_one(text: str) -> bool:
    """Whether it has a token's shape."""
    return SHAPE.match(text) is not None


def read(text: str) -> WebToken:
    """Raises: Unusable."""
    if len(text) > LONGEST:
        raise Unusable(f"longer than {LONGEST} characters")
    if not is_one(text):
        raise Unusable("not three parts of base64url")
    header, claims = (_object(part, name) for part, name in zip(text.split(".")[:2], ("header", "payload"), strict=True))
    if "crit" in header or "b64" in header:
        raise Unusable("its header asks for extensions (crit)")
    if not isinstance(header.get("kid", ""), str):
        raise Unusable("its kid is no text")
    return WebToken(text, header, claims, hashlib.sha256(text.rpartition(".")[0].encode()).digest())


def check_algorithm(token: WebToken) -> str:
    """Raises: Unusable."""
    if token.algorithm not in ALGORITHMS:
        raise Unusable(f"the algorithm {token.algorithm[:20]!r} is not accepted")
    return token.algorithm


def verify(token: WebToken, jwks: dict[str, Any]) -> str:
    """That the token is signed with a key of the set; tells which. Raises: NoSuchKey, Unusable."""
    kind = ALGORITHMS[check_algorithm(token)]
    kid = token.header.get("kid")
    able = [key for key in jwks["keys"] if key["kty"] == kind and key.get("alg", token.algorithm) == token.algorithm]
    tried = [key for key in able if key.get("kid") == kid] if kid is not None else able
    if not tried:
        raise NoSuchKey(f"the issuer has no key {kid[:80]!r} for {token.algorithm}" if kid is not None else f"no key for {token.algorithm}")
    if any(_is_by(token, key) for key in tried):
        return f"{token.algorithm}, key {kid or 'without a name'}"
    if kid is None:
        raise NoSuchKey("no key of the issuer fits the signature")
    raise Unusable("the signature is wrong")


def verify_in_vain(token: WebToken) -> None:
    """Takes as long as `verify` and comes to nothing: so that nobody learns by the clock whose tokens are believed."""
    for key in NOBODYS:
        if key["kty"] == ALGORITHMS.get(token.algorithm):
            _is_by(token, key)


def _is_by(token: WebToken, key: dict[str, Any]) -> bool:
    registry = jws.JWSRegistry(algorithms=[token.algorithm], strict_check_header=False)
    registry.max_header_length = registry.max_payload_length = registry.max_signature_length = LONGEST
    try:
        jws.deserialize_compact(token.text, _imported(key), registry=registry)
    except (JoseError, ValueError, TypeError):
        return False
    return True


def public_keys(document: Any) -> dict[str, Any]:
    """The keys of a JWK set that may sign tokens, their public parts alone. Raises: Unusable when it is no set, or holds private or shared keys."""
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or len(keys) > MOST_KEYS or not all(isinstance(key, dict) for key in keys):
        raise Unusable(_('not a JWK set: {"keys": [...]}'))
    if any("d" in key or key.get("kty") == "oct" for key in keys):
        raise Unusable(_("it holds a private or shared key, which must not be published"))
    return {"keys": [public for key in keys if (public := _public(key))]}


def _public(key: dict[str, Any]) -> dict[str, Any] | None:
    """None for a key that signs no tokens of ours, or whose fields are of no use: the others of its set still count."""
    kind, alg = str(key.get("kty")), key.get("alg")
    fitting = [name for name, of in ALGORITHMS.items() if of == kind and alg in (None, name)]
    operations, kid = key.get("key_ops", ["verify"]), key.get("kid", "")
    told = [
        key.get("use", "sig") == "sig",
        isinstance(operations, list) and "verify" in operations,
        isinstance(kid, str) and kid.isprintable(),
    ]
    numbers = [str(key.get(name)) for name in PUBLIC.get(kind, ())]
    if not fitting or not all(told) or not all(NUMBER.match(number) for number in numbers):
        return None
    public = {name: key[name] for name in (*DESCRIBED, *PUBLIC[kind]) if name in key}
    try:
        weak = kind == "RSA" and int.from_bytes(_bytes(public["n"])).bit_length() not in RSA_BITS
        return None if weak or not _imported(public) else public
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _imported(key: dict[str, Any]) -> Key:
    """With its public part read: a set may hold anything."""
    made = import_key(dict(key))
    made.get_op_key("verify")
    return made


def _object(part: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(_bytes(part).decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Unusable(f"its {name} cannot be read") from None
    if not isinstance(found, dict):
        raise Unusable(f"its {name} is no object")
    return found


def _bytes(text: str) -> bytes:
    text = text.rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(fields := dict(pairs)) != len(pairs):
        raise ValueError("a name stands twice")
    return fields


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
