"""Local accounts: who can sign in, what the e-mails say, and how often somebody may try."""

from __future__ import annotations

import re

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import User
from django.core import mail
from django.test import Client

from tests import factories

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def _static_files_without_a_manifest(settings):
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}


def sign_in(client: Client, email: str, password: str, *, to: str = "/accounts/"):
    return client.post("/accounts/login/", {"login": email, "password": password, "next": to})


def test_a_person_signs_in_by_e_mail_and_goes_where_they_wanted():
    factories.person("ann@people.example", password=PASSWORD)
    wanted = "/register/hskey-authreq-" + "a" * 24
    answer = sign_in(Client(), "Ann@people.example", PASSWORD, to=wanted)
    assert (answer.status_code, answer["Location"]) == (302, wanted)
    assert User.objects.get().password.startswith("argon2")
    for strange in ("https://evil.example/", "//evil.example", "javascript:alert(1)"):
        assert sign_in(Client(), "ann@people.example", PASSWORD, to=strange)["Location"] == "/accounts/"


def test_guesses_are_limited_for_all_processes_together(redis_url):
    factories.person("ann@people.example", password=PASSWORD)
    answers = [sign_in(Client(REMOTE_ADDR=f"198.51.100.{n}"), "ann@people.example", "wrong") for n in range(12)]
    assert any("Too many failed login attempts" in answer.content.decode() or answer.status_code == 429 for answer in answers)
    assert sign_in(Client(), "ann@people.example", PASSWORD).status_code != 302, "the right one is not told from a guess now"


def test_an_account_that_does_not_exist_looks_like_a_wrong_password():
    factories.person("ann@people.example", password=PASSWORD)
    known = sign_in(Client(), "ann@people.example", "wrong").content.decode()
    unknown = sign_in(Client(), "bob@people.example", "wrong").content.decode()
    token = re.compile(r'name="csrfmiddlewaretoken" value="[^"]+"')
    assert token.sub("", known).replace("ann@", "x@") == token.sub("", unknown).replace("bob@", "x@")


def test_sign_up_is_closed_and_can_be_opened(settings):
    words = {"email": "new@people.example", "password1": PASSWORD, "password2": PASSWORD}
    assert "currently closed" in Client().get("/accounts/signup/").content.decode()
    Client().post("/accounts/signup/", words)
    assert User.objects.count() == 0
    settings.SIGNUP_OPEN = True
    client = Client()
    assert "Make an account" in client.get("/accounts/login/").content.decode()
    client.post("/accounts/signup/", words)
    assert User.objects.get().email == "new@people.example"
    assert sign_in(Client(), "new@people.example", PASSWORD)["Location"] == "/accounts/confirm-email/", "the address comes first"
    link = re.search(r"http://testserver(/accounts/confirm-email/\S+)", mail.outbox[0].body)
    assert link
    client.post(link[1])
    assert EmailAddress.objects.get().verified
    assert sign_in(Client(), "new@people.example", PASSWORD)["Location"] == "/accounts/"


def test_a_forgotten_password_is_chosen_anew_by_a_link_to_the_public_address(settings):
    settings.ALLOWED_HOSTS = ["testserver", "other.example"]
    factories.person("ann@people.example", password=PASSWORD)
    client = Client(HTTP_HOST="other.example")
    client.post("/accounts/password/reset/", {"email": "ann@people.example"})
    link = re.search(r"http://testserver(/accounts/password/reset/key/\S+)", mail.outbox[0].body)
    assert link, mail.outbox[0].body
    assert "other.example" not in link[0]
    client = Client()
    form = client.get(link[1], follow=True)
    client.post(form.redirect_chain[-1][0], {"password1": "another horse battery", "password2": "another horse battery"})
    assert sign_in(Client(), "ann@people.example", PASSWORD).status_code == 200
    assert sign_in(Client(), "ann@people.example", "another horse battery").status_code == 302
    assert "Bad Token" in Client().get(link[1], follow=True).content.decode()


def test_every_page_for_people_keeps_the_strict_policy():
    client = Client()
    client.force_login(factories.person(password=PASSWORD))
    for path in ("/accounts/", "/accounts/logout/", "/accounts/password/change/", "/accounts/email/", "/accounts/reauthenticate/"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "unsafe" not in answer["Content-Security-Policy"]
        page = answer.content.decode()
        assert ' style="' not in page, path
        assert "<style" not in page, path
        assert 'lang="en"' in page
        assert not re.search(r"<script(?![^>]*(src=|application/json))", page), path
