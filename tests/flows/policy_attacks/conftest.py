"""The servers of these attacks: one of each kind for the whole folder.

What needs Django is imported late: pytest reads this file before there are settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.flows.policy_attacks.attacked import Home, Shore

REAL = [pytest.mark.headscale, pytest.mark.tailscale]


@pytest.fixture(scope="package", params=["simulator", pytest.param("headscale", marks=REAL)])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[Home]:
    from tests.flows.policy_attacks import attacked

    with attacked.home(tmp_path_factory.mktemp(request.param), request.param) as made:
        yield made


@pytest.fixture
def shore(home: Home, db: None) -> Iterator[Shore]:
    from tests.flows.policy_attacks import attacked

    with attacked.shore(home) as made:
        made.write("bolt", groups={"group:ops": ["gate"]}, hosts={"safe": "10.2.0.9"}, tagOwners={"tag:db": []})
        yield made
