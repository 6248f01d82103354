"""Whatever comes to the bootstrap door, it is answered in order: never a 500, and what is wrong with a field is said by its name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acs.api.bootstrap import SHAPES
from placement.models import Grant
from tests import factories
from tests.api.callers import said
from tests.doors import bootstrap

pytestmark = pytest.mark.django_db
URL = "/api/v1/bootstrap"
BROKEN = {
    "no JSON": b"{",
    "trailing comma": b'{"account": "a1",}',
    "single quotes": b"{'account': 'a1'}",
    "two documents": b"{}{}",
    "an array": b"[]",
    "a text": b'"account"',
    "a number": b"1",
    "null": b"null",
    "NaN": b'{"account": NaN}',
    "Infinity": b'{"hostname": -Infinity}',
    "a huge integer": b'{"account": ' + b"9" * 9000 + b"}",
    "a huge exponent": b'{"account": 1e999999}',
    "deep arrays": b"[" * 16000,
    "deep objects": b'{"a":' * 3000 + b"1" + b"}" * 3000,
    "deep in a field": b'{"account":' + b"[" * 8000 + b"]" * 8000 + b"}",
    "bad UTF-8": b'{"account": "\xff\xfe"}',
    "a lone surrogate in UTF-8": b'{"account": "\xed\xa0\x80"}',
    "UTF-16": '{"account": "a1"}'.encode("utf-16"),
    "UTF-32": '{"account": "a1"}'.encode("utf-32"),
    "a byte order mark": b'\xef\xbb\xbf{"account": "a1"}',
    "an oversized body": b'{"account": "' + b"a" * 20000 + b'"}',
    "oversized blanks": b" " * 20000,
    "nothing but zero bytes": b"\0" * 100,
    "a field twice": b'{"account": "a1", "account": "b2"}',
    "a field twice, deep": b'{"account": {"a": 1, "a": 2}}',
    "a form": b"account=a1",
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_body_that_is_no_json_object_is_refused(what):
    for secret in (None, "acs-enrol-wrong", factories.customer().secret):
        answer = bootstrap(secret, raw=BROKEN[what])
        assert said(answer) == (400, "malformed-request")
        assert answer.json()["errors"]
    assert not Grant.objects.across_tenants().exists()


@pytest.mark.parametrize("field", SHAPES)
@pytest.mark.parametrize(
    "value", [0, 1.5, True, [], ["a"], {}, {"a": 1}, "", " ", "a b\n", "ä", "a" * 300, "\0", "\ud800", "-", "../etc", "a\r\nX: y"]
)
def test_a_value_of_another_type_or_shape_is_refused_by_name(field, value):
    if field == "os" and value in (" ", "-", "../etc"):
        return
    answer = bootstrap("acs-enrol-wrong", {field: value})
    if field == "account" and value == "-":
        assert said(answer) == (401, "bad-credential")
        return
    if value == "-" and field in ("plan", "want_region"):
        assert said(answer) == (401, "bad-credential")
        return
    assert said(answer) == (400, "malformed-request")
    assert set(answer.json()["errors"]) == {field}


def test_every_wrong_field_is_named_at_once():
    answer = bootstrap(None, {"account": 1, "os": [], "colour": "red", "": 1, "Account": "a1"})
    assert set(answer.json()["errors"]) == {"account", "os", "colour", "", "Account"}


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 129, "a\tb"])
def test_an_unusable_idempotency_key_is_refused_by_name(key):
    answer = Client().post(URL, b"{}", content_type="application/json", headers={"Idempotency-Key": key})
    assert said(answer) == (400, "malformed-request")
    assert set(answer.json()["errors"]) == {"Idempotency-Key"}


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "Bearer",
        "Bearer ",
        "bearer  ",
        "Basic YTpi",
        "Digest x",
        "Bearer \xff\xfe",
        "Bearer a b c",
        "Bearer " + "x" * 6000,
        "acs-enrol-x",
        "Bearer \0",
        "Bearer '; drop table tenants_tenant; --",
    ],
)
def test_a_garbled_authorization_is_a_bad_credential_and_says_nothing_more(header):
    answer = Client().post(URL, b"{}", content_type="application/json", headers={"Authorization": header})
    assert said(answer) == (401, "bad-credential")
    assert answer.json().keys() == {"type", "title", "status", "code"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_another_method_is_told_that_it_is_not_known(method):
    answer = Client().generic(method, URL, b"{}", content_type="application/json")
    assert answer.status_code == 405
    assert answer["Allow"] == "POST"
    if method != "HEAD":
        assert said(answer) == (405, "method-not-allowed")


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "image/png",
        "application/json; charset=utf-16",
        "/",
        "\x7f",
    ],
)
def test_the_content_type_decides_nothing_the_body_does(kind):
    assert said(Client().generic("POST", URL, b'{"account": "nobody-here"}', content_type=kind)) == (404, "unknown-account")
    assert said(Client().generic("POST", URL, b"account=a1", content_type=kind)) == (400, "malformed-request")


@pytest.mark.parametrize("accept", ["", "text/html", "*/*", "garbage", "a/b/c;;;q=x", "application/json;q=0"])
def test_no_accept_header_breaks_it(accept):
    answer = Client().generic("POST", URL, b'{"account": "nobody-here"}', content_type="application/json", headers={"Accept": accept})
    assert said(answer)[0] in (404, 406)


@pytest.mark.parametrize("length", ["-1", "x", ""])
def test_no_announced_length_breaks_it(length):
    answer = Client(raise_request_exception=False).generic("POST", URL, b"{}", content_type="application/json", CONTENT_LENGTH=length)
    assert said(answer) == (400, "malformed-request")


@pytest.mark.parametrize("request_id", ["x" * 500, "a\nb", "é" * 9, "", "{}", "short"])
def test_an_unusable_request_id_is_replaced(request_id):
    answer = Client().post(URL, b"{}", content_type="application/json", headers={"X-Request-ID": request_id})
    assert answer["X-Request-ID"] != request_id
    assert len(answer["X-Request-ID"]) == 32


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
patient = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@patient
@given(st.binary(max_size=400))
def test_no_bytes_break_it(db, settings, body):
    settings.ANONYMOUS_LIMIT = "100000/second"
    assert bootstrap(None, raw=body).status_code in (400, 404)


@patient
@given(st.dictionaries(st.sampled_from([*SHAPES, "colour"]), values, max_size=6))
def test_no_json_breaks_it(db, settings, body):
    settings.ANONYMOUS_LIMIT = "100000/second"
    answer = bootstrap(None, raw=json.dumps(body).encode())
    assert answer.status_code in (400, 404)
    said(answer)
