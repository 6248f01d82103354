"""What the admin client makes of a server that refuses, cannot be reached, or falls silent; and of both generations of answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest
import stamina

from placement.errors import ClusterError, ClusterRefused, ClusterSilent, ClusterUnreachable
from placement.headscale import metrics, wire
from placement.headscale.admin import Admin
from tests.fakes.headscale_http import METRICS
from tests.fakes.wire import answering, dribbling, flooding, hanging, saying

EXPIRATION = datetime(2031, 5, 6, 7, 8, 9, 123457, tzinfo=UTC)
USER = {
    "id": "7",
    "name": "acme",
    "createdAt": "2026-11-24T00:00:44.605359793Z",
    "displayName": "",
    "email": "",
    "providerId": "",
    "provider": "",
}


@pytest.fixture(autouse=True)
def _hasty_repeats() -> Any:
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


def failure_of(reply: Callable[..., None], call: Callable[[Admin], Any], *, timeout: float = 5.0) -> tuple[ClusterError, float, int]:
    """The error, the seconds it took, and how many requests the server saw."""
    with answering(reply) as server, Admin("a", server.url, "key", timeout=timeout) as admin:
        started = time.monotonic()
        with pytest.raises(ClusterError) as error:
            call(admin)
        return error.value, time.monotonic() - started, len(server.requests)


def make_key(admin: Admin) -> Any:
    return admin.make_key(7, EXPIRATION)


def list_users(admin: Admin) -> Any:
    return admin.users()


REFUSALS = {
    "0.29": (saying(500, {"code": 13, "message": "creating user: taken", "details": []}), 500, "creating user: taken"),
    "0.29, not found": (saying(404, {"code": 5, "message": "node not found", "details": []}), 404, "node not found"),
    "0.29, bad key": (saying(401, "Unauthorized", "text/plain"), 401, "Unauthorized"),
    "0.30": (
        saying(409, {"title": "Conflict", "status": 409, "detail": "user already exists"}, "application/problem+json"),
        409,
        "user already exists",
    ),
    "0.30 with causes": (
        saying(
            500, {"title": "X", "status": 500, "detail": "making key", "errors": [{"message": "disk full"}]}, "application/problem+json"
        ),
        500,
        "making key: disk full",
    ),
    "a proxy's 403": (saying(403, "<html>no</html>", "text/html"), 403, "<html>no</html>"),
    "an empty 404": (saying(404, ""), 404, "HTTP 404"),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_no_is_a_refusal_and_never_asked_again(kind: str) -> None:
    reply, status, reason = REFUSALS[kind]
    for call in (make_key, list_users):
        error, _, requests = failure_of(reply, call)
        assert isinstance(error, ClusterRefused)
        assert (error.status, error.reason, requests) == (status, reason, 1)


SILENCES = {
    "closes at once": lambda _: None,
    "half a head": lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "half a body": lambda connection: connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"users"'),
    "not HTTP": lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "a gateway's 502": saying(502, "bad gateway", "text/plain"),
    "a gateway's 503": saying(503, {"code": 14, "message": "transport is closing", "details": []}),
    "a gateway's 504": saying(504, ""),
    "an unknown 500": saying(500, "oops", "text/plain"),
    "not JSON": saying(200, "<html>welcome</html>", "text/html"),
    "a list": saying(200, "[]"),
    "another object": saying(200, {"welcome": 1}),
    "a null": saying(200, {"users": None, "preAuthKey": None}),
    "wrong types": saying(200, {"users": [{**USER, "id": []}], "preAuthKey": {"id": True}}),
    "deeply nested": saying(200, "[" * 100_000),
    "a redirect": saying(307, "", Location="http://127.0.0.1:9/elsewhere"),
}


@pytest.mark.parametrize("kind", SILENCES)
def test_an_unusable_answer_is_silence_and_a_create_is_never_repeated(kind: str) -> None:
    error, _, requests = failure_of(SILENCES[kind], make_key)
    assert isinstance(error, ClusterSilent)
    assert requests == 1
    error, _, _ = failure_of(SILENCES[kind], list_users)
    assert isinstance(error, ClusterSilent)


def test_a_read_is_repeated_after_silence() -> None:
    _, _, requests = failure_of(SILENCES["closes at once"], list_users)
    assert requests == 3


def test_a_server_that_hangs_is_silent_after_the_timeout() -> None:
    error, seconds, requests = failure_of(hanging(5), make_key, timeout=0.4)
    assert isinstance(error, ClusterSilent)
    assert seconds < 1
    assert requests == 1


@pytest.mark.parametrize(
    "text", [b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000, b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"' + b" " * 998]
)
def test_a_server_that_dribbles_holds_nobody_past_the_timeout(text: bytes) -> None:
    for call in (make_key, list_users):
        error, seconds, _ = failure_of(dribbling(text, every=0.05), call, timeout=0.5)
        assert isinstance(error, ClusterSilent)
        assert seconds < 1


def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_ANSWER", 4_000_000)
    error, _, _ = failure_of(flooding(b"HTTP/1.1 200 OK\r\n\r\n", 500_000_000), make_key)
    assert isinstance(error, ClusterSilent)
    assert "larger than" in error.reason


def test_nobody_listening_is_unreachable() -> None:
    with answering(hanging(0)) as gone:
        url = gone.url
    for call in (make_key, list_users):
        with Admin("a", url, "key", timeout=2) as admin, pytest.raises(ClusterUnreachable):
            call(admin)
    with Admin("a", "http://no-such-host.invalid", "key", timeout=2) as admin, pytest.raises(ClusterUnreachable):
        make_key(admin)


def test_a_key_that_no_header_can_hold_is_never_sent() -> None:
    with answering(hanging(0)) as server, Admin("a", server.url, "key\r\nX-Evil: 1", timeout=2) as admin:
        with pytest.raises(ClusterUnreachable):
            make_key(admin)
        assert server.requests == []


def test_a_connection_that_the_server_closed_meanwhile_is_opened_anew() -> None:
    with answering(saying(200, {"users": [USER]})) as server, Admin("a", server.url, "key", timeout=2) as admin:
        assert [user.id for user in admin.users()] == [7]
        assert [user.id for user in admin.users()] == [7]


def test_what_is_sent_has_string_ids_and_always_an_expiration() -> None:
    reply = saying(
        200, {"preAuthKey": {"id": "3", "key": "hskey-auth-abcdefghijkl-" + "s" * 64, "reusable": False, "ephemeral": True, "used": False}}
    )
    with answering(reply) as server, Admin("a", server.url, "secret-key", timeout=2) as admin:
        key = admin.make_key(7, EXPIRATION, True)
    assert (key.prefix, key.id) == ("abcdefghijkl", 3)
    assert "s" * 64 not in repr(key)
    assert '{"user":"7","reusable":false,"ephemeral":true,"expiration":"2031-05-06T07:08:09.123457Z"}' in server.requests[0]
    assert "authorization: bearer secret-key" in server.requests[0].lower()


def test_expiring_a_node_speaks_to_both_generations_at_once() -> None:
    with answering(saying(404, "")) as server, Admin("a", server.url, "key", timeout=2) as admin, pytest.raises(ClusterRefused):
        admin.expire_node(3, EXPIRATION)
    assert "POST /api/v1/node/3/expire?expiry=2031-05-06T07%3A08%3A09.123457Z " in server.requests[0]
    assert server.requests[0].endswith('{"expiry":"2031-05-06T07:08:09.123457Z"}')


@pytest.mark.parametrize(
    "call",
    [
        lambda admin: admin.users(""),
        lambda admin: admin.make_user(""),
        lambda admin: admin.register("", "hskey-authreq-" + "a" * 24),
        lambda admin: admin.make_key(0, EXPIRATION),
        lambda admin: admin.make_key(7, EXPIRATION.replace(tzinfo=None)),
        lambda admin: admin.delete_user(-1),
    ],
)
def test_what_headscale_would_misread_is_never_sent(call: Callable[[Admin], Any]) -> None:
    with answering(hanging(0)) as server, Admin("a", server.url, "key", timeout=2) as admin:
        with pytest.raises(ValueError, match=r"needed|not an id|needs its zone"):
            call(admin)
        assert server.requests == []


def test_a_missing_policy_is_none_in_both_generations() -> None:
    old = saying(500, {"code": 2, "message": "loading ACL from database: acl policy not found", "details": []})
    new = saying(
        500,
        {"title": "X", "status": 500, "detail": "loading ACL from database", "errors": [{"message": "acl policy not found"}]},
        "application/problem+json",
    )
    for reply in (old, new):
        with answering(reply) as server, Admin("a", server.url, "key", timeout=2) as admin:
            assert admin.policy() is None


def test_an_unhealthy_server_says_so() -> None:
    with answering(saying(500, {"status": "fail"})) as server, Admin("a", server.url, "key", timeout=2) as admin:
        assert admin.health() is False


def test_metrics_that_are_somebody_elses_are_silence() -> None:
    for reply in (
        saying(200, "up 1\n", "text/plain"),
        saying(200, "{{{", "text/plain"),
        saying(200, b"\xff\xfe"),
        saying(404, ""),
        hanging(3),
    ):
        with answering(reply) as server, pytest.raises(ClusterSilent):
            metrics.fetch("a", f"{server.url}/metrics", timeout=0.5)
    with pytest.raises(ClusterUnreachable):
        metrics.fetch("a", f"{server.url}/metrics", timeout=0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("process_cpu_seconds_total", "NaN"),
        ("process_cpu_seconds_total", "+Inf"),
        ("process_cpu_seconds_total", "-1"),
        ("process_resident_memory_bytes", "NaN"),
        ("headscale_nodestore_queue_depth", "-1"),
        ('headscale_nodestore_peers_calculation_duration_seconds_bucket{le="0.1"}', "NaN"),
    ],
)
def test_numbers_that_no_server_can_mean_are_silence(name: str, value: str) -> None:
    told = "\n".join(f"{name} {value}" if line.startswith(f"{name} ") else line for line in METRICS.splitlines()) + "\n"
    assert told != METRICS
    with answering(saying(200, told, "text/plain")) as server, pytest.raises(ClusterSilent):
        metrics.fetch("a", f"{server.url}/metrics", timeout=2)
    with answering(saying(200, METRICS, "text/plain")) as server:
        assert metrics.fetch("a", f"{server.url}/metrics", timeout=2).cpu_seconds == 1.5


def test_the_p95_lies_in_its_bucket() -> None:
    assert metrics.quantile([(0.1, 0), (float("inf"), 0)], 0.95) is None
    assert metrics.quantile([(0.1, 100), (float("inf"), 100)], 0.95) == pytest.approx(0.095)
    assert metrics.quantile([(0.1, 90), (0.2, 100), (float("inf"), 100)], 0.95) == pytest.approx(0.15)
    assert metrics.quantile([(0.1, 90), (float("inf"), 100)], 0.95) == float("inf")


def clock_off(**headers: str) -> timedelta | None:
    """What is known of the clock of a server that answers with these headers."""
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, stream=httpx2.ByteStream(b'{"users": []}'), headers=headers))
    with Admin("a", "http://a.example", "key", timeout=5, transport=transport) as admin:
        admin.users()
        return admin.clock_off


@pytest.mark.parametrize("off", [0, 300, -300])
def test_the_servers_clock_is_held_against_ours(off):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=off), usegmt=True)
    assert abs(clock_off(Date=date).total_seconds() - off) < 5


def test_a_date_that_is_none_says_nothing_of_the_servers_clock():
    assert clock_off() is clock_off(Date="yesterday") is None


def test_the_metrics_tell_when_the_server_started_where_they_do():
    assert metrics.parse(METRICS).started_at is None
    assert metrics.parse(METRICS + "process_start_time_seconds 1.7e9\n").started_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    with pytest.raises(ValueError, match="year"):
        metrics.parse(METRICS + "process_start_time_seconds 1e15\n")
