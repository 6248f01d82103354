"""Reading tokens and sets of keys: whatever comes, it is a token, or keys, or Unusable with a reason, and nothing else."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants import webtokens
from tenants.webtokens import NoSuchKey, Unusable
from tests.fakes.oidc import Issuer

ISSUER = Issuer("https://issuer.example")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(["kty", "kid", "alg", "use", "key_ops", "crv", "x", "y", "n", "e", "x5c", "k"])
VALUES = (
    st.sampled_from(
        ["EC", "RSA", "OKP", "P-256", "Ed25519", "X25519", "secp256k1", "ES256", "RS256", "HS256", "none", "sig", "AQAB", "", "x" * 2000]
    )
    | JSON
)
KEYS = st.dictionaries(FIELDS, VALUES, max_size=8)


def part(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


@given(st.text(max_size=60) | st.from_regex(webtokens.SHAPE))
def test_any_text_is_a_token_or_unusable(text):
    try:
        token = webtokens.read(text)
    except Unusable:
        return
    assert isinstance(token.claims, dict)


@given(
    header=JSON | st.dictionaries(st.sampled_from(["alg", "kid", "typ", "jwk", "jku", "x5u", "x5c", "b64", "crit"]), VALUES),
    claims=JSON,
    signature=st.binary(max_size=70),
)
def test_any_header_and_claims_are_a_token_or_unusable_and_never_verified(header, claims, signature):
    try:
        token = webtokens.read(f"{part(header)}.{part(claims)}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}")
    except Unusable:
        return
    with pytest.raises(Unusable):
        webtokens.verify(token, webtokens.public_keys(ISSUER.jwks))


@given(st.lists(KEYS, max_size=4) | JSON)
def test_any_set_of_keys_is_sorted_or_unusable_and_verifies_nothing(keys):
    try:
        sorted_out = webtokens.public_keys({"keys": keys})
    except Unusable:
        return
    assert all(set(key) <= {"kty", "kid", "use", "alg", "crv", "x", "y", "n", "e"} for key in sorted_out["keys"])
    for header in ({}, {"kid": None}, {"kid": "", "alg": "ES256"}):
        with pytest.raises(Unusable):
            webtokens.verify(webtokens.read(ISSUER.token(header=header)), sorted_out)


def test_a_strange_key_does_not_spoil_its_set():
    strange = [
        {"kty": "EC", "key_ops": 5},
        {"kty": 5},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "n": "x" * 200_000, "e": "AQAB"},
        {},
        {"kty": "EC", "alg": []},
    ]
    assert webtokens.public_keys({"keys": [*strange, *ISSUER.jwks["keys"]]}) == ISSUER.jwks
    weak = {"kty": "RSA", "kid": "weak", "n": base64.urlsafe_b64encode(b"\xff" * 128).decode().rstrip("="), "e": "AQAB"}
    assert webtokens.public_keys({"keys": [weak]}) == {"keys": []}


@pytest.mark.parametrize("curve", ["X25519", "P-521", "secp256k1"])
def test_keys_of_other_curves_verify_nothing(curve):
    from joserfc.jwk import ECKey, OKPKey

    key = (OKPKey if curve.startswith("X") else ECKey).generate_key(curve, {"kid": "first"})
    keys = webtokens.public_keys({"keys": [key.as_dict(private=False)]})
    for alg in ("ES256", "ES384", "EdDSA"):
        token = webtokens.read(f"{part({'alg': alg, 'kid': 'first'})}.{part({})}.{'A' * 86}")
        with pytest.raises(Unusable):
            webtokens.verify(token, keys)


def test_a_key_that_is_not_there_is_told_from_a_signature_that_is_wrong():
    keys = webtokens.public_keys(ISSUER.jwks)
    assert webtokens.verify(webtokens.read(ISSUER.token()), keys) == "ES256, key first"
    with pytest.raises(NoSuchKey):
        webtokens.verify(webtokens.read(ISSUER.token(header={"kid": "other"})), keys)
    with pytest.raises(Unusable) as wrong:
        webtokens.verify(webtokens.read(ISSUER.token(key=ISSUER.new_key("first"))), keys)
    assert not isinstance(wrong.value, NoSuchKey)
