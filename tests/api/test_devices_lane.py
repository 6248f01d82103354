"""Devices are answered without what only pages need, and with everything else."""

from __future__ import annotations

import pytest
from django.test import Client

from acs import admission
from tests import factories
from tests.doors import bootstrap

BOOTSTRAP = "/api/v1/bootstrap"
pytestmark = pytest.mark.django_db


def test_an_answer_has_no_cookie_and_the_headers_that_every_answer_has(fleet_cluster):
    answer = bootstrap(factories.customer().secret)
    assert answer.status_code == 200
    assert not answer.cookies
    told = {name: answer[name] for name in ("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Content-Language")}
    assert told == {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Content-Language": "en",
    }
    assert int(answer["Content-Length"]) == len(answer.content)
    assert answer["X-Request-ID"]


def test_it_speaks_the_callers_language(fleet_cluster):
    headers = {"Accept-Language": "zh-hans", "Authorization": f"Bearer {factories.customer().secret}"}
    answer = Client().post(BOOTSTRAP, {}, content_type="application/json", headers=headers)
    assert answer["Content-Language"] == "zh-hans"
    assert not answer.json()["note"].isascii()


def test_a_host_that_is_not_ours_is_refused(settings):
    settings.ALLOWED_HOSTS = ["acs.example.com"]
    answer = Client().post(BOOTSTRAP, {}, content_type="application/json", headers={"Host": "elsewhere.example.net"})
    assert answer.status_code == 400


def test_what_nobody_foresaw_is_a_500_that_tells_nothing(monkeypatch):
    def stumble(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(admission, "bootstrap", stumble)
    answer = Client(raise_request_exception=False).post(BOOTSTRAP, {}, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert b"secret" not in answer.content


def test_any_other_method_is_refused_as_everywhere():
    answer = Client().get(BOOTSTRAP)
    assert (answer.status_code, answer.json()["code"]) == (405, "method-not-allowed")
