"""How often one may knock: per address, credential and account, exactly, told in headers, and held by the database while Valkey is away."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import redis
from django.db import connection
from django.utils import timezone

from acs import tasks, throttle
from acs.throttle import Hit
from tenants import windows
from tenants.errors import TooManyRequests
from tenants.models import LimitWindow, Nonce
from tests import factories
from tests.doors import bootstrap

pytestmark = pytest.mark.django_db
ABOUT = re.compile(r'"(?P<name>[a-z-]+)";r=(?P<remaining>\d+);t=(?P<reset>\d+)')


@pytest.fixture
def without_valkey(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    throttle.forget_servers()
    yield
    throttle.forget_servers()


def codes(secret, times, body=None) -> list[str]:
    return [bootstrap(secret, body or {}).json().get("code", "ok") for _ in range(times)]


def test_anonymous_callers_are_limited_by_address(settings):
    settings.ANONYMOUS_LIMIT = "3/minute"
    assert codes(None, 4, {"account": "nobody-here"}) == ["unknown-account"] * 3 + ["too-many-requests"]
    assert 0 < int(bootstrap(None, {"account": "nobody-here"})["Retry-After"]) <= 60


def test_a_credential_that_is_worth_nothing_counts_against_its_address(settings):
    settings.BAD_CREDENTIAL_LIMIT = "3/minute"
    assert codes("acs-enrol-nothing", 4) == ["bad-credential"] * 3 + ["too-many-requests"]


def test_each_answer_tells_what_is_left_and_the_last_one_when_to_come_back(fleet_cluster, settings):
    settings.CREDENTIAL_LIMIT = "3/minute"
    customer = factories.customer()
    answers = [bootstrap(customer.secret) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert {answer["RateLimit-Policy"] for answer in answers} == {'"credential";q=3;w=60'}
    left = [ABOUT.fullmatch(answer["RateLimit"]) for answer in answers]
    assert [int(found["remaining"]) for found in left] == [2, 1, 0, 0]
    assert answers[3]["Retry-After"] == left[3]["reset"]
    assert 50 < int(left[3]["reset"]) <= 60


@pytest.mark.parametrize("name", ["account", "address"])
def test_an_accounts_and_an_addresss_own_limit_counts_over_all_its_credentials(fleet_cluster, settings, name):
    setattr(settings, f"{name.upper()}_LIMIT", "3/minute")
    customer = factories.customer()
    _key, other = factories.enrolment_key(customer.tenant)
    answers = [bootstrap(secret) for secret in (customer.secret, other, customer.secret, other)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert f'"{name}";r=0;' in answers[3]["RateLimit"]
    if name == "account":
        assert bootstrap(factories.customer().secret).status_code == 200
    else:
        assert bootstrap(factories.customer().secret).status_code == 429


def test_the_window_moves_and_no_boundary_lets_twice_as_many_through(settings):
    """Hits late in one second and early in the next count together."""
    settings.CREDENTIAL_LIMIT = "5/second"
    allowed = []
    deadline = timezone.now() + timedelta(seconds=2.2)
    while timezone.now() < deadline:
        try:
            throttle.spend([], Hit("credential", "moving"))
            allowed.append(timezone.now())
        except TooManyRequests:
            pass
    for first, sixth in zip(allowed, allowed[5:], strict=False):
        assert sixth - first > timedelta(seconds=0.95)
    assert 10 <= len(allowed) <= 15


def test_many_at_once_get_exactly_as_many_as_the_limit_says(settings):
    settings.CREDENTIAL_LIMIT = "50/minute"
    assert sum(at_once(200)) == 50


@pytest.mark.django_db(transaction=True)
def test_without_valkey_the_database_counts_as_exactly(settings, without_valkey):
    settings.CREDENTIAL_LIMIT = "50/minute"
    assert sum(at_once(200)) == 50
    assert LimitWindow.objects.get().hits >= 50


def at_once(times: int) -> list[bool]:
    def knock(_: int) -> bool:
        try:
            throttle.spend([], Hit("credential", "many"))
        except TooManyRequests:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(knock, range(times)))


def test_a_valkey_that_was_started_anew_between_two_requests_is_told_the_script_and_counts_on(settings):
    """Its scripts are gone, and so are the connections to it, of which each thread keeps one."""
    settings.CREDENTIAL_LIMIT = "4/minute"
    throttle.spend([], Hit("credential", "kept"))
    valkey = redis.Redis.from_url(settings.REDIS_URL)
    valkey.script_flush()
    throttle.spend([], Hit("credential", "kept"))
    for lost_script in (False, True):
        throttle._line.connection.send_command("CLIENT", "ID")
        valkey.client_kill_filter(_id=throttle._line.connection.read_response())
        if lost_script:
            valkey.script_flush()
        throttle.spend([], Hit("credential", "kept"))
    with pytest.raises(TooManyRequests):
        throttle.spend([], Hit("credential", "kept"))
    assert not LimitWindow.objects.exists()


def test_without_valkey_devices_are_admitted_and_told_what_is_left(fleet_cluster, settings, without_valkey):
    settings.CREDENTIAL_LIMIT = "2/minute"
    customer = factories.customer()
    answers = [bootstrap(customer.secret) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [ABOUT.fullmatch(answer["RateLimit"])["remaining"] for answer in answers] == ["1", "0", "0"]
    assert 0 < int(answers[2]["Retry-After"]) <= 60


def test_a_window_in_the_database_ends_and_begins_anew():
    storage = windows.PostgresStorage()
    assert [storage.incr("one", 60), storage.incr("one", 60), storage.incr("other", 60)] == [1, 2, 1]
    LimitWindow.objects.filter(key="one").update(ends_at=timezone.now() - timedelta(seconds=1))
    assert storage.get("one") == 0
    assert storage.incr("one", 60) == 1


def test_what_is_over_is_forgotten():
    key = factories.customer().key
    for ends_at, name in ((timezone.now() - timedelta(seconds=1), "old"), (timezone.now() + timedelta(minutes=1), "new")):
        LimitWindow.objects.create(key=name, hits=1, ends_at=ends_at)
        Nonce.objects.create(key=key, nonce=name, expires_at=ends_at)
    tasks.forget_spent()
    assert [window.key for window in LimitWindow.objects.all()] == ["new"]
    assert [nonce.nonce for nonce in Nonce.objects.all()] == ["new"]


def test_a_valkey_that_was_restarted_is_taught_anew(settings):
    settings.CREDENTIAL_LIMIT = "2/minute"
    throttle.spend([], Hit("credential", "taught"))
    throttle._shared().storage.get_connection().script_flush()
    throttle.spend([], Hit("credential", "taught"))
    with pytest.raises(TooManyRequests):
        throttle.spend([], Hit("credential", "taught"))


@pytest.mark.parametrize(
    ("addresses", "last"),
    [
        (["2001:db8:7::1", "2001:db8:7::2", "2001:db8:7:0:ffff::3"], "too-many-requests"),
        (["2001:db8:7::1", "2001:db8:8::1", "2001:db8:9::1"], "bad-credential"),
        (["::ffff:192.0.2.1", "::ffff:192.0.2.2", "::ffff:192.0.2.3"], "bad-credential"),
    ],
)
def test_the_addresses_of_one_ipv6_network_are_one_caller(settings, addresses, last):
    settings.BAD_CREDENTIAL_LIMIT, settings.TRUSTED_PROXIES = "2/minute", 1
    told = [bootstrap("acs-enrol-nothing", **{"X-Forwarded-For": address}).json()["code"] for address in addresses]
    assert told == ["bad-credential", "bad-credential", last]
