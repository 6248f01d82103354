"""The driver against a real HAProxy: routes, refusals, restarts, drift, cuts."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from dataclasses import replace

import pytest

from placement.gateway import config
from placement.gateway.haproxy import Gateway, GatewayRefused, GatewaySilent, GatewayUnreachable
from placement.gateway.plan import Target, drift
from placement.gateway.routes import converge
from tests.gateway.conftest import DOMAIN, Backend, Haproxy, free_port, is_open

pytestmark = pytest.mark.haproxy

ACME, BOLT = f"acme.{DOMAIN}", f"bolt.{DOMAIN}"


def tell(haproxy: Haproxy, wanted: dict[str, Target | None]) -> list[str]:
    with Gateway(haproxy.socket) as gateway:
        return [change.verb for change in converge(gateway, lambda: wanted, domain=DOMAIN)]


def test_each_name_leads_to_its_own_cluster_over_tls_and_without(haproxy, backends):
    a, b = backends
    tell(haproxy, {"acme": a.target, "bolt": b.target})
    for tls in (False, True):
        for host, name in ((ACME, "a"), (BOLT, "b"), (f"{ACME.upper()}:443", "a"), (f"{BOLT}.", "b")):
            status, answer = haproxy.ask(host, tls=tls)
            assert (status, answer[-1]) == (200, name)


def test_the_wildcard_certificate_is_the_one_of_the_domain(haproxy):
    haproxy.connect(tls=True, name=ACME).close()
    with pytest.raises(ssl.SSLCertVerificationError):
        haproxy.connect(tls=True, name="acme.elsewhere.example")


def test_an_unknown_name_is_404_and_reaches_no_server(haproxy, backends):
    a, _ = backends
    tell(haproxy, {"acme": a.target})
    for host in (f"ghost.{DOMAIN}", "acme.evil.example", "acme", DOMAIN, "ready", "-", "127.0.0.1", f"x.{ACME}"):
        assert haproxy.ask(host)[0] in (404, 503), host
    assert haproxy.ask(f"ghost.{DOMAIN}")[0] == 404
    assert a.requests == []


def test_a_name_whose_server_is_missing_is_never_led_to_another_tenants(haproxy, backends):
    a, _ = backends
    tell(haproxy, {"acme": a.target})
    with Gateway(haproxy.socket) as gateway:
        gateway.add_host(BOLT, "bolt")  # a name without its server, as between two commands
    assert haproxy.ask(BOLT)[0] == 503
    assert a.requests == []


INSIDE = [
    "/api",
    "/api/v1/node",
    "/metrics",
    "/debug",
    "/debug/pprof/",
    "/swagger",
    "/swagger/v1/openapiv2.json",
    "/verify",
    "/version",
    "/derp",
]
TRICKS = [
    "//api/v1/node",
    "/%61pi/v1/node",
    "/./api/v1/node",
    "/key/../api/v1/node",
    "/register/../api/v1/node",
    "/register/..%2fapi/v1/node",
    "/register//api",
    "/auth/%2e%2e/api",
    "/API/v1/node",
    "/api;x/v1/node",
    "/key;/../api",
    "/register/\\..\\api",
    f"http://{ACME}/api/v1/node",
    f"http://{ACME}//api/v1/node",
    "*",
    "/keys",
    "/ts2021/x",
]


def test_the_inside_of_a_server_is_not_served_whatever_way_it_is_written(haproxy, backends):
    a, _ = backends
    tell(haproxy, {"acme": a.target})
    for path in INSIDE + TRICKS:
        assert haproxy.ask(ACME, path)[0] in (400, 403), path
    assert a.requests == []


def test_what_devices_and_people_need_is_served(haproxy, backends):
    a, _ = backends
    tell(haproxy, {"acme": a.target})
    for path in (
        "/key?v=113",
        "/ts2021",
        "/health",
        "/register/hskey-authreq-abc",
        "/auth/abc",
        "/oidc/callback?code=%2F..",
        "/",
        "/apple/macos",
    ):
        assert haproxy.ask(ACME, path)[0] == 200, path
    assert haproxy.ask(ACME, "/machine/ping-response?id=1", method="HEAD")[0] == 200
    assert len(a.requests) == 9


def test_a_device_cannot_tell_the_server_another_address_of_its_own(haproxy, backends):
    a, _ = backends
    tell(haproxy, {"acme": a.target})
    haproxy.ask(
        ACME, tls=True, extra="X-Forwarded-For: 9.9.9.9\r\nX-Real-IP: 9.9.9.9\r\nTrue-Client-IP: 9.9.9.9\r\nX-Forwarded-Proto: http\r\n"
    )
    head = a.requests[0].lower()
    assert "9.9.9.9" not in head
    assert "x-forwarded-for: 127.0.0.1\r\n" in head
    assert "x-forwarded-proto: https\r\n" in head


def test_after_kill_and_restart_names_are_503_until_all_routes_are_told_again(haproxy, backends):
    a, b = backends
    wanted = {"acme": a.target, "bolt": b.target}
    tell(haproxy, wanted)
    with Gateway(haproxy.socket) as gateway:
        started = gateway.started_at()
    time.sleep(1)  # HAProxy tells its start in whole seconds
    haproxy.kill()
    with pytest.raises(GatewayUnreachable):
        tell(haproxy, wanted)
    haproxy.start()
    with Gateway(haproxy.socket) as gateway:
        assert gateway.started_at() > started
    assert haproxy.ask(ACME)[0] == 503
    assert tell(haproxy, wanted) == ["add", "add", "name", "name", "ready"]
    assert haproxy.ask(ACME)[0] == haproxy.ask(BOLT, tls=True)[0] == 200
    assert tell(haproxy, wanted) == []


def test_drift_of_every_kind_is_found_and_mended(haproxy, backends):
    a, b = backends
    wanted = {"acme": a.target, "bolt": b.target}
    tell(haproxy, wanted)
    with Gateway(haproxy.socket) as gateway:
        gateway.point_server("acme", b.target)
        gateway._command("set server tenants/bolt state drain")
        gateway._command("set server tenants/bolt weight 5")
        gateway.add_server("ghost", a.target)
        gateway.add_host(f"ghost.{DOMAIN}", "ghost")
        gateway.drop_host(ACME)
        gateway.add_host(BOLT, "acme")
        assert drift(wanted, gateway.seen(), domain=DOMAIN) != []
    tell(haproxy, wanted)
    with Gateway(haproxy.socket) as gateway:
        assert drift(wanted, gateway.seen(), domain=DOMAIN) == []
    assert [haproxy.ask(host)[1][-1] for host in (ACME, BOLT)] == ["a", "b"]
    assert haproxy.ask(f"ghost.{DOMAIN}")[0] == 404


def test_a_cut_closes_one_tenants_sessions_and_no_others(haproxy, backends):
    a, _ = backends
    tell(haproxy, {"acme": a.target, "bolt": a.target})
    acme = [haproxy.upgrade(ACME, tls=tls) for tls in (False, True)]
    bolt = [haproxy.upgrade(BOLT, tls=tls) for tls in (False, True)]
    assert all(map(is_open, acme + bolt))
    with Gateway(haproxy.socket) as gateway:
        gateway.cut("acme")
    assert not any(map(is_open, acme))
    assert all(map(is_open, bolt))
    again = haproxy.upgrade(ACME)
    assert is_open(again)
    for connection in [*acme, *bolt, again]:
        connection.close()


def test_a_moved_tenant_keeps_its_sessions_until_the_cut_and_returns_on_the_new_route(haproxy, backends):
    a, b = backends
    tell(haproxy, {"acme": a.target})
    session = haproxy.upgrade(ACME)
    assert tell(haproxy, {"acme": b.target}) == ["point"]
    assert is_open(session)
    assert haproxy.ask(ACME)[1][-1] == "b"
    with Gateway(haproxy.socket) as gateway:
        gateway.cut("acme")
    assert not is_open(session)
    session.close()


def test_removing_a_server_with_open_sessions_closes_them(haproxy, backends):
    a, _ = backends
    tell(haproxy, {"acme": a.target})
    session = haproxy.upgrade(ACME)
    assert tell(haproxy, {}) == ["unname", "remove"]
    assert not is_open(session)
    assert haproxy.ask(ACME)[0] == 404
    session.close()


def test_a_thousand_routes_are_told_within_seconds(haproxy, backends):
    a, b = backends
    wanted = {f"t{number}": (a if number % 2 else b).target for number in range(1000)}
    started = time.monotonic()
    tell(haproxy, wanted)
    taken = time.monotonic() - started
    assert taken < 5
    assert [haproxy.ask(f"t{number}.{DOMAIN}")[1][-1] for number in (0, 1, 999)] == ["b", "a", "a"]
    started = time.monotonic()
    assert tell(haproxy, wanted) == []
    assert time.monotonic() - started < 1


def test_syncs_that_overlap_end_with_the_wanted_routes(haproxy, backends):
    a, _ = backends
    wanted = {f"t{number}": a.target for number in range(200)}
    failures = []

    def sync() -> None:
        try:
            tell(haproxy, dict(wanted))
        except Exception as error:  # noqa: BLE001 - collected for the assertion
            failures.append(error)

    racers = [threading.Thread(target=sync) for _ in range(3)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    tell(haproxy, wanted)
    assert tell(haproxy, wanted) == []
    assert all(isinstance(error, GatewayRefused) for error in failures), failures


def test_a_cluster_that_speaks_tls_is_reached_by_tls_under_its_own_name_alone(haproxy):
    secure = Backend("s", pem=haproxy.authority.pem)
    named = Target("127.0.0.1", secure.target.port, f"hs.{DOMAIN}")
    tell(haproxy, {"acme": named, "bolt": replace(named, tls_name="hs.elsewhere.example")})
    assert haproxy.ask(ACME)[1][-1] == "s"
    assert haproxy.ask(BOLT)[0] == 503
    assert len(secure.requests) == 1
    assert tell(haproxy, {"acme": named, "bolt": secure.target}) == ["replace"]
    secure.close()


def test_the_socket_may_be_a_host_and_port(tmp_path, backends):
    running = Haproxy(tmp_path, admin=f"127.0.0.1:{free_port()}").start()
    try:
        tell(running, {"acme": backends[0].target})
        assert running.ask(ACME)[0] == 200
    finally:
        running.kill()


def test_the_register_page_is_acss_own_when_it_has_an_address(tmp_path):
    running = Haproxy(tmp_path, acs_url="https://acs.example/").start()
    try:
        status, answer = running.ask(f"whatever.{DOMAIN}", "/register/hskey-authreq-abc?x=1")
        assert status == 302
        assert f"\r\nlocation: https://acs.example/register/hskey-authreq-abc?host=whatever.{DOMAIN}\r\n" in answer
        _, with_port = running.ask("A.example:8443", "/register/hskey-authreq-abc")
        assert "\r\nlocation: https://acs.example/register/hskey-authreq-abc?host=a.example%3A8443\r\n" in with_port
        assert running.ask(ACME, "/register/../api")[0] == 403
    finally:
        running.kill()


def test_a_foreign_haproxy_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "haproxy.cfg").write_text(
        f"global\n stats socket {tmp_path}/s level admin\ndefaults\n timeout client 1s\n timeout connect 1s\n timeout server 1s\n"
    )
    running = Haproxy.__new__(Haproxy)
    running.folder, running.socket, running.run_in = tmp_path, f"{tmp_path}/s", []
    try:
        with pytest.raises(GatewayRefused, match=r"manage\.py gateway config"):
            running.start()
    finally:
        running.kill()


def test_a_socket_that_never_answers_is_silence_within_the_timeout(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        started = time.monotonic()
        with pytest.raises(GatewaySilent), Gateway(str(tmp_path / "s"), timeout=0.3):
            pass
        assert time.monotonic() - started < 2


def test_nothing_on_the_socket_is_unreachable(tmp_path):
    for address in (str(tmp_path / "nobody"), f"127.0.0.1:{free_port()}", "nonsense"):
        with pytest.raises(GatewayUnreachable), Gateway(address):
            pass


@pytest.mark.parametrize("name", ["a b", "a;shutdown", "a\nquit", "", "a'"])
def test_a_word_that_would_begin_another_command_is_never_sent(haproxy, name):
    with Gateway(haproxy.socket) as gateway, pytest.raises(ValueError, match="cannot stand"):
        gateway.add_host(name, "acme")


def test_the_configuration_refuses_texts_that_leave_their_line():
    with pytest.raises(ValueError, match="certificate"):
        config.render(domain=DOMAIN, certificate="/c.pem\n  bind :9")
    with pytest.raises(ValueError, match=r"tenants\.map"):
        config.render(domain=DOMAIN, certificate="/c.pem", map_path="/etc/other.map")
