"""Who may try to sign in to the operators' site, and how often."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from django.test import Client

pytestmark = pytest.mark.django_db
PASSWORD = "only-in-tests-1"


@pytest.fixture(autouse=True)
def _few(settings: Any, redis_url: str, operator: Any) -> None:
    settings.ADMIN_LOGIN_LIMIT = "3/5 minutes"


def attempt(name: str, password: str = "", *, address: str = "198.51.100.7") -> Any:
    return Client(REMOTE_ADDR=address).post("/admin/login/", {"username": name, "password": password or "a guess", "next": "/admin/"})


def test_an_address_is_stopped_whatever_names_it_tries():
    assert [attempt(f"name-{number}").status_code for number in range(4)] == [200, 200, 200, 429]
    assert attempt("olga", PASSWORD).status_code == 429
    assert attempt("olga", PASSWORD, address="198.51.100.8").status_code == 302


def test_a_name_is_guarded_from_whatever_address_and_in_whatever_writing_it_is_tried():
    names = ["olga", "\uff4flga", " olga ", "OLGA"]
    answers = [attempt(name, address=f"198.51.100.{number}") for number, name in enumerate(names)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert attempt("olga", PASSWORD, address="203.0.113.1").status_code == 429, "the right one is not told from a guess now"
    assert attempt("peter", address="203.0.113.1").status_code == 200


def test_the_page_says_what_to_do_and_the_log_does_not_say_what_was_typed():
    with structlog.testing.capture_logs() as logs:
        answer = [attempt("hunter2") for _ in range(4)][-1]
    assert "Too many attempts" in answer.content.decode()
    assert 200 < int(answer["Retry-After"]) <= 300
    [line] = [line for line in logs if line["event"] == "admin_login_limited"]
    assert line["address"] == "198.51.100.7"
    assert "hunter2" not in str(logs)


def test_looking_at_the_page_is_no_attempt_and_signing_in_works_within_the_limit():
    assert [Client().get("/admin/login/").status_code for _ in range(9)] == [200] * 9
    answer = attempt("olga", PASSWORD)
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
