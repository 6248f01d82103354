"""docker/ read as files: what an engine would refuse, or would run under the wrong login, shows without one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docker/compose.yml").read_text(encoding="utf-8")


@pytest.fixture
def services() -> dict[str, Any]:
    return yaml.safe_load(TEXT)["services"]


def test_every_variable_of_the_compose_file_has_a_default_or_stands_in_the_example() -> None:
    example = set(re.findall(r"^([A-Z_]+)=", (ROOT / "docker/example.env").read_text(encoding="utf-8"), re.MULTILINE))
    needed = set(re.findall(r"(?<!\$)\$\{([A-Z_]+):\?", TEXT))
    assert needed
    assert needed - example == set()


def test_every_process_logs_in_under_its_own_role(services: dict[str, Any]) -> None:
    roles = {
        "prepare": "acs_owner",
        "register": "acs_owner",
        "web": "acs_web",
        "worker": "acs_worker",
        "beat": "acs_worker",
        "events": "acs_worker",
    }
    logins = {
        name: re.match(r"postgresql://(\w+):", service["environment"]["DATABASE_URL"])
        for name, service in services.items()
        if name in roles
    }
    assert {name: login[1] for name, login in logins.items() if login} == roles
    assert all(name in roles for name, service in services.items() if service["image"] == "acs")


def test_services_volumes_and_networks_that_are_named_exist(services: dict[str, Any]) -> None:
    document = yaml.safe_load(TEXT)
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        assert set(service["networks"]) <= set(document["networks"])
        sources = {volume.split(":")[0] for volume in service.get("volumes", [])}
        assert {source for source in sources if not source.startswith(".")} <= set(document["volumes"])
        assert all((ROOT / "docker" / source).exists() for source in sources if source.endswith(".sh"))


def test_only_acs_reaches_the_gateways_runtime_socket(services: dict[str, Any]) -> None:
    assert {name for name, service in services.items() if "control" in service["networks"]} == {"web", "worker", "gateway"}


def test_headscale_servers_run_the_shipped_version_as_the_user_who_owns_their_files(services: dict[str, Any]) -> None:
    from placement.headscale.fleet import schema

    servers = [service for name, service in services.items() if name.startswith("headscale-")]
    user = re.search(r"^USER (\S+)", (ROOT / "docker/Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert user
    assert {(server["image"], server["user"]) for server in servers} == {
        (f"headscale/headscale:{schema.SHIPPED_VERSION.lstrip('v')}", user[1])
    }


def test_the_image_copies_only_what_is_there() -> None:
    copied = re.findall(r"^COPY (?!--from)(\S+)", (ROOT / "docker/Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    kept_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source not in kept_out


def test_what_billing_may_be_told_is_read_by_every_process_and_settings_know_it(services: dict[str, Any]) -> None:
    text = (ROOT / "docker/example.billing.env").read_text(encoding="utf-8")
    told = re.findall(r"^#?(ACS_[A-Z_]+)=", text, re.MULTILINE)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert told
    assert [name for name in told if f"`{name}`" not in readme] == []
    assert json.loads(re.findall(r"^ACS_SELLER='(.*)'$", text, re.MULTILINE)[0])["tax_id"]
    assert all(service["env_file"][0]["path"] == "billing.env" for service in services.values() if service["image"] == "acs")
