"""What any server tells about itself, and whom it believes."""

from __future__ import annotations

import re

import httpx2
import pytest

from placement.errors import ClusterRefused
from placement.headscale import metrics
from placement.headscale.admin import Admin
from tests.servers import Server, insert_admin_key


def test_it_reports_a_version_that_acs_supports(admin: Admin) -> None:
    assert admin.version() == "0.29.2"


def test_it_is_healthy(admin: Admin, server: Server) -> None:
    assert admin.health() is True
    assert httpx2.get(f"{server.url}/health").json() == {"status": "pass"}


def test_it_tells_its_noise_key_to_clients_that_speak_noise(admin: Admin, server: Server) -> None:
    from placement.headscale.fleet import noise

    assert admin.noise_public_key() == noise.public_of((server.folder / "noise_private.key").read_text())
    assert httpx2.get(f"{server.url}/key", params={"v": "10"}).content == b""
    assert httpx2.get(f"{server.url}/key").status_code == 400
    assert httpx2.get(f"{server.url}/key", params={"v": "x"}).status_code == 400


@pytest.mark.parametrize("key", ["wrong", "hskey-api-aaaaaaaaaaaa-" + "a" * 64, "abcdefg.secret"])
def test_a_wrong_admin_key_is_refused_in_plain_text(server: Server, key: str) -> None:
    with Admin("tested", server.url, key, timeout=5) as stranger, pytest.raises(ClusterRefused) as refusal:
        stranger.users()
    assert (refusal.value.status, refusal.value.reason) == (401, "Unauthorized")


def test_a_right_prefix_with_a_wrong_secret_is_refused(server: Server) -> None:
    wrong = server.api_key[:-4] + "0000"
    with Admin("tested", server.url, wrong, timeout=5) as stranger, pytest.raises(ClusterRefused) as refusal:
        stranger.users()
    assert refusal.value.status == 401


def test_an_admin_key_that_was_inserted_into_the_table_works_at_once(server: Server) -> None:
    with Admin("tested", server.url, insert_admin_key(server.database), timeout=5) as inserted:
        assert isinstance(inserted.users(), list)


def test_an_unknown_call_is_not_found_and_a_wrong_method_not_allowed(server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.api_key}"}
    unknown = httpx2.get(f"{server.url}/api/v1/nonsense", headers=headers)
    assert (unknown.status_code, unknown.json()) == (404, {"code": 5, "message": "Not Found", "details": []})
    wrong = httpx2.put(f"{server.url}/api/v1/user", headers=headers)
    assert (wrong.status_code, wrong.json()) == (501, {"code": 12, "message": "Method Not Allowed", "details": []})


def test_a_broken_body_and_a_wrong_type_are_the_callers_fault(server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.api_key}"}
    for body in ("{", '{"name": 3}', '["name"]'):
        answer = httpx2.post(f"{server.url}/api/v1/user", headers=headers, content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, 3), body


def test_its_metrics_have_the_names_that_acs_reads(server: Server) -> None:
    reading = metrics.fetch("tested", server.metrics_url, timeout=5)
    assert reading.cpu_seconds > 0
    assert reading.memory_bytes > 1_000_000
    assert (reading.queue_depth, reading.nodes) >= (0, 0)
    bounds = [bound for bound, _ in reading.peer_calculation_buckets]
    assert bounds == [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, float("inf")]
    names = set(re.findall(r"^(\w+)", httpx2.get(server.metrics_url).text, re.MULTILINE))
    assert {"go_goroutines", "headscale_nodestore_batch_duration_seconds_bucket", "headscale_nodestore_operations_total"} <= names
