"""A person with a device in one hand and a browser in the other: signing in, choosing, confirming, and every page that says no."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from acs.demo.simulator import device as simulated
from placement.models import Device
from tenants import lifecycle, members
from tests import factories
from tests.browser.conftest import Operator, sitting_down
from tests.cluster_servers import serve_cluster
from tests.live import LiveService
from tests.servers import Server

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes, pytest.mark.browser]
PASSWORD = "correct horse battery"


@pytest.fixture
def server(django_db_setup: None, tmp_path: Path) -> Iterator[Server]:
    with serve_cluster(tmp_path / "server", real=False) as (_, running):
        yield running


class Person(Operator):
    """The same browser, before ACS's own pages for people. Pages that refuse have the status of their refusal."""

    def goes(self, path: str, status: int = 200) -> None:
        answer = self.page.goto(self.url + path)
        assert answer.status == status, f"{path}: {answer.status}"

    def logs_in(self, name: str) -> None:
        self.page.get_by_label("Email").fill(name)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.presses("Sign in")

    def presses(self, words: str) -> None:
        with self.page.expect_navigation():
            self.page.locator("main").get_by_role("button", name=words, exact=True).click()

    def follows(self, words: str) -> None:
        with self.page.expect_navigation():
            self.page.locator("main").get_by_role("link", name=re.compile(words)).click()

    @property
    def sees(self) -> str:
        return str(self.page.locator("main").inner_text())


@pytest.fixture
def somebody(service: LiveService, chromium: Any) -> Iterator[Person]:
    """Not signed in. The test fails if the browser had anything to complain about but the statuses of refusals."""
    with sitting_down(chromium, Person, service.url) as person:
        yield person
    assert [line for line in person.complaints if "the server responded with a status of" not in line] == []


def test_from_the_address_on_the_device_to_the_device_in_the_network(server, somebody):
    ann = somebody
    acme = factories.tenant("acme-inc", max_devices=3)
    bolt = factories.tenant("bolt")
    person = factories.person("ann@people.example", of=acme, password=PASSWORD)
    members.add(bolt, person, "owner", now=timezone.now(), actor="system:tests")
    auth_id = simulated.ask_to_log_in(server.url, "laptop-of-ann")
    ann.goes(f"/register/{auth_id}?host={server.url.removeprefix('http://')}")
    assert "Sign in to add the device" in ann.sees
    ann.shows("login-sign-in")
    ann.page.get_by_label("Email").fill("ann@people.example")
    ann.page.get_by_label("Password").fill("wrong")
    ann.presses("Sign in")
    assert "not correct" in ann.sees
    ann.shows("login-wrong")
    ann.logs_in("ann@people.example")
    assert "Which network" in ann.sees
    ann.shows("login-choose")
    ann.follows("acme-inc")
    assert "Only confirm what you have just started yourself." in ann.sees
    assert "0 of 3 taken" in ann.sees
    ann.shows("login-confirm")
    ann.presses("Add the device")
    assert "laptop-of-ann" in ann.sees
    ann.shows("login-done")
    assert Device.objects.of(acme).get().brought_by == person
    assert ann.page.locator("html").get_attribute("lang") == "en"

    ann.page.keyboard.press("Tab")
    assert ann.page.evaluate("document.activeElement.className") == "skip", "the keyboard comes to the content first"
    ann.goes("/accounts/")
    assert "acme-inc" in ann.sees
    ann.shows("login-home")
    ann.goes("/accounts/logout/")
    ann.presses("Sign Out")
    ann.goes("/accounts/password/reset/")
    ann.shows("login-forgotten")
    ann.goes("/accounts/signup/")
    assert "currently closed" in ann.sees
    ann.shows("login-signup-closed")


def test_a_new_person_chooses_a_password_by_the_link_that_an_operator_gave(service, somebody):
    from tests.conftest import manage

    factories.tenant("acme-inc")
    told = manage("member", "add", "acme-inc", "bob@people.example", "--new", "--role", "owner", role="web")
    link = told.stdout.strip()
    assert link.startswith("http://testserver/accounts/password/reset/key/")
    somebody.goes(link.removeprefix("http://testserver"))
    somebody.shows("login-new-password")
    for field in somebody.page.locator("main input[type=password]").all():
        field.fill(PASSWORD)
    somebody.presses("Change Password")
    somebody.goes("/accounts/login/")
    somebody.logs_in("bob@people.example")
    assert "owner" in somebody.sees


def test_every_refusal_looks_like_one_and_says_what_to_do(server, somebody):
    ann = somebody
    acme = factories.tenant("acme-inc", max_devices=1)
    factories.person("ann@people.example", of=acme, password=PASSWORD)
    never = "hskey-authreq-" + "a" * 24
    ann.goes("/register/hskey-authreq-short", 400)
    ann.shows("login-malformed")
    ann.goes("/accounts/login/")
    ann.logs_in("ann@people.example")
    ann.goes(f"/register/{never}")
    ann.presses("Add the device")
    assert "no longer waiting" in ann.sees
    ann.shows("login-expired")
    auth_id = simulated.ask_to_log_in(server.url, "first")
    ann.goes(f"/register/{auth_id}")
    ann.presses("Add the device")
    ann.goes(f"/register/{simulated.ask_to_log_in(server.url, 'second')}", 403)
    assert "Every device slot is taken" in ann.sees
    ann.shows("login-full")
    lifecycle.suspend(acme, now=timezone.now(), actor="system:tests")
    ann.goes(f"/register/{never}", 403)
    ann.shows("login-suspended")
    with ann.page.expect_navigation():
        ann.page.get_by_role("button", name="简体中文").click()
    assert ann.page.locator("html").get_attribute("lang") == "zh-hans"
