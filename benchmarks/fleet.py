"""A fleet of one cluster with many tenants, for benchmarks of the door: each with a bearer key and an enrolment group, and already placed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass

from benchmarks.services import ROOT, Services, add_cluster


@dataclass(frozen=True)
class Fact:
    """What the door's callers, and the floor, need of one tenant."""

    account: str
    tenant_id: str
    cluster_id: str
    headscale_user_id: int
    secret: str
    digest: str
    key_id: str
    group_id: str
    group_digest: str
    group_secret: str

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def build(made: Services, *, tenants: int, quota: int) -> list[Fact]:
    add_cluster(made)
    words = [sys.executable, "-m", "benchmarks.fleet", str(tenants), str(quota)]
    done = subprocess.run(words, cwd=ROOT, env=made.environment("web"), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return [Fact(**fact) for fact in json.loads(done.stdout.strip().splitlines()[-1])]


def _build(tenants: int, quota: int) -> list[dict[str, object]]:
    """In a process of its own, under the web role, through the verbs."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "acs.settings"
    import django

    django.setup()
    from django.utils import timezone

    from placement import bindings
    from placement.engine.regions import Wish
    from tenants import credentials, groups, lifecycle, plans

    acted = {"now": timezone.now(), "actor": "system:benchmarks"}
    plan = plans.create(name="bench", title="Bench", max_devices=quota, expected_devices=5, regions=[], default_region="eu", **acted)
    made = []
    for number in range(tenants):
        tenant = lifecycle.create(account=f"tenant-{number}", plan=plan, title="Bench", **acted)
        binding = bindings.settle(tenant, wish=Wish(), now=timezone.now())
        key, secret = credentials.issue(tenant, **acted)
        group, both = groups.make(tenant, "devices", **acted)
        made.append(
            Fact(
                account=tenant.account,
                tenant_id=str(tenant.pk),
                cluster_id=binding.cluster_id,
                headscale_user_id=binding.headscale_user_id,
                secret=secret,
                digest=bytes(key.digest).hex(),
                key_id=str(key.pk),
                group_id=str(group.pk),
                group_digest=bytes(group.key.digest).hex(),
                group_secret=both.primary,
            ).as_dict()
        )
    return made


if __name__ == "__main__":
    print(json.dumps(_build(int(sys.argv[1]), int(sys.argv[2]))))
