"""A fleet with something in every list of the operators' pages."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from billing import concessions, holds, invoicing
from billing.models import (
    ClosedPeriod,
    Correction,
    DunningCase,
    Invoice,
    Meter,
    PaymentLink,
    ProviderEvent,
    QuotaWarning,
    Retraction,
    UsageHour,
)
from billing.payments import importing, ledger
from billing.payments.received import Received
from billing.payments.references import reference_of
from billing.rating.cycles import month_of
from placement import bindings, policy, pollruns, stays
from placement.engine.regions import Wish
from placement.errors import NoClusterAvailable
from placement.models import (
    Alert,
    AuditFinding,
    Binding,
    ClusterPolicy,
    Device,
    DeviceLogin,
    Grant,
    Heat,
    LoadSample,
    Minting,
    MovePlan,
    Nearness,
    NetReport,
    PolicyPush,
    Refusal,
    Region,
    Route,
    Slot,
    StockedKey,
    TenantHour,
    Waiting,
    Watch,
)
from placement.policies import peerings
from tenants import audit, enrolments, groups, netpolicy, tokens, trust
from tenants.models import Membership
from tests import factories
from tests.billing import sold
from tests.billing.invoices.conftest import SELLER
from tests.billing.payments.paid import IBAN, camt, entry


def fill(clusters, *, tenants: int, first: int = 0) -> None:
    """Each tenant with a binding, a key, a token, a member, and a slot with its grant and device; each cluster watched."""
    now = timezone.now()
    for cluster in clusters:
        Watch.objects.update_or_create(cluster=cluster.row, defaults={"complete_at": now, "attempted_at": now, "nodes": 3})
    for n in range(first, first + tenants):
        cluster = clusters[n % len(clusters)].row
        customer = factories.customer()
        tenant = customer.tenant
        tokens.issue(tenant, scopes=["auth_keys"], now=now, lifetime=timedelta(days=1), actor="system:tests")
        groups.make(tenant, f"tills-{n}", now=now, actor="system:tests")
        trust.make(tenant, f"ci-{n}", issuer="https://issuer.example", audience="acs", subject="repo:*:main", now=now, actor="system:tests")
        enrolments.put(tenant, f"till-{n}", state="disabled", reason="stolen", now=now, actor="system:tests")
        netpolicy.put(tenant, f"// till-{n}\n{{}}", expected=0, note=f"till-{n}", now=now, actor="system:tests")
        person = User.objects.create(username=f"person-{n}")
        Membership.objects.create(tenant=tenant, user=person, role="owner")
        Binding.objects.create(tenant=tenant, cluster=cluster, headscale_user_id=n + 1, expected_load=5, reason="the emptiest")
        stays.begin(tenant, cluster.pk, at=now)
        slot = Slot.objects.create(tenant=tenant, registration_id=f"till-{n}", taken_at=now)
        grant = Grant.objects.create(
            tenant=tenant, cluster=cluster, slot=slot, enrolment_key=customer.key, state="redeemed", request_digest=b"x" * 32, hostname=f"till-{n}",
            keyring_id="t1", key_prefix=f"prefix{n}", key_id=n + 1, created_at=now, expires_at=now + timedelta(hours=1), redeemed_at=now,
        )  # fmt: skip
        device = Device.objects.create(
            tenant=tenant, cluster=cluster, node_id=n + 1, slot=slot, grant=grant, machine_key=f"mkey:{n}", node_key=f"nodekey:{n}",
            ipv4=f"100.64.0.{n + 1}", hostname=f"till-{n}", name=f"till-{n}", online=n % 2 == 0, joined_at=now, seen_at=now,
            brought_by=person,
        )  # fmt: skip
        Route.objects.create(tenant=tenant, device=device, cluster=cluster, prefix=f"10.{n}.0.0/16", created_at=now)
        DeviceLogin.objects.create(
            auth_digest=str(n).encode(), tenant=tenant, cluster=cluster, user=person, slot=slot, device=device, state="registered", node_id=n + 1,
            claimed_at=now, settled_at=now,
        )  # fmt: skip
        Minting.objects.get_or_create(cluster=cluster, defaults={"seconds": 0.12, "minted": 3})
        StockedKey.objects.across_tenants().create(
            tenant=tenant, cluster=cluster, state="ready", key_id=1000 + n, secret_sealed="t1.sealed-away", created_at=now,
            ready_at=now, expires_at=now + timedelta(hours=1, microseconds=n),
        )  # fmt: skip
        pollruns.write(cluster.pk, started_at=now, seconds=0.1, outcome="ok", nodes=3, online=2)
        LoadSample.objects.create(
            cluster=cluster, at=now, sessions=2, cpu_seconds=1, memory_bytes=2**26, queue_depth=0, peer_calculations=1
        )
        peerings.offer(
            tenant, factories.tenant().account, dst=["*"], services=["*"], description=f"till-{n}", now=now, actor="system:tests"
        )
        engine_rows(cluster, n, now)
        billing_rows(n, now)
        metering_rows(cluster, tenant, n, now)
    audit.seal_all()


def billing_rows(n: int, now) -> None:
    """A subscriber with everything that one may have."""
    told = {"now": now, "actor": "system:tests"}
    subscriber = sold.subscriber(sold.version(of=factories.plan(name=f"till-{n}")), now=now)
    concessions.make_coupon(f"till-{n}", percent=Decimal(5), **told)
    concessions.redeem(subscriber, f"till-{n}", **told)
    concessions.override(subscriber, max_devices=7, until=None, **told)
    concessions.credit(subscriber, 500, reason=f"till-{n}", **told)
    paid = paid_rows(n, now)
    DunningCase.objects.create(tenant=subscriber, invoice=paid, opened_at=now, changed_at=now)
    holds.hold(subscriber, until=now + timedelta(days=9), reason=f"till-{n}", **told)
    QuotaWarning.objects.create(tenant=subscriber, level="near", used=8, limit=10, since=now)
    invoicing.draft(subscriber.subscription, month_of(now), now=now)
    ClosedPeriod.objects.create(subscription=subscriber.subscription, period_start=now, outcome="refused", detail=f"till-{n}", at=now)


def paid_rows(n: int, now) -> Invoice:
    """An invoice that a transfer and a card have paid too much of."""
    told = {"now": now, "actor": "system:tests"}
    payer = sold.subscriber(sold.version(of=factories.plan(name=f"till-payer-{n}")), now=now)
    with transaction.atomic(), override_settings(SELLER=SELLER, BANK_ACCOUNTS=[IBAN]):
        made = invoicing.issue(invoicing.draft(payer.subscription, month_of(now), now=now), **told)
        importing.from_camt(camt(entry("9999.00", f"till-{n} {reference_of(made)}", reference=f"till-{n}")), name=f"till-{n}", **told)
    ledger.enter(made, Received("stripe", f"till-{n}", 100, "EUR", now), **told)
    PaymentLink.objects.create(
        tenant=payer, invoice=made, session_id=f"till-{n}", url="https://pay.example", amount=1, currency="EUR", made_at=now, expires_at=now
    )
    ProviderEvent.objects.create(pk=f"till-{n}", kind="checkout.session.completed", object_id="cs_1", said_at=now, received_at=now)
    return made


def metering_rows(cluster, tenant, n: int, now) -> None:
    """A cluster that is counted, an hour of use, a correction."""
    Meter.objects.get_or_create(cluster=cluster, defaults={"last_ok": now})
    UsageHour.objects.create(tenant=tenant, cluster=cluster, hour=now.replace(minute=0, second=0, microsecond=0), seconds=60)
    Correction.objects.create(
        cluster=cluster, since=now - timedelta(hours=1), until=now, reason=f"till-{n}", made_by="system:tests", made_at=now
    )
    of_one = Correction.objects.create(
        tenant=tenant, since=now - timedelta(hours=1), until=now, reason=f"till-{n}", made_by="system:tests", made_at=now
    )
    Retraction.objects.create(correction=of_one, reason=f"till-{n}", made_by="system:tests", made_at=now)


def engine_rows(cluster, n: int, now) -> None:
    """What the placement engine leaves: a decision, a place in the queue, a plan, heat, an alert, a region."""
    with suppress(NoClusterAvailable):
        bindings.settle(factories.tenant(), wish=Wish(), now=now)
    wished = factories.tenant()
    Waiting.objects.create(
        tenant=wished, want="room", since=now, asked_at=now, regions=["eu"], service_class="standard", load=5, why="full"
    )
    MovePlan.objects.create(
        kind="drain", subject=f"till-{n}", made_at=now, made_by="system:tests", moves=1,
        document={
            "kind": "drain", "moves": [{"tenant_id": str(wished.pk), "source": "a", "target": "b", "load": 5}], "load": 5, "least": 5,
            "stays": [{"tenant_id": str(wished.pk), "cluster_id": "a", "why": "has_room_for"}],
            "before": {"mean": 0.5, "highest": 0.6, "ratio": 1.2}, "after": {"mean": 0.5, "highest": 0.5, "ratio": 1.0},
        },
    )  # fmt: skip
    NetReport.objects.create(tenant=wished, registration_id=f"till-{n}", at=now, by="system:tests", told={"udp": False})
    Refusal.objects.create(
        tenant=wished, account=wished.account, registration_id=f"till-{n}", code="quota-exceeded", first_at=now, last_at=now
    )
    push = PolicyPush.objects.create(
        cluster=cluster, fence=n, state="stored", started_at=now, finished_at=now, document=policy.base(), digest=f"till-{n}", form="self",
    )  # fmt: skip
    ClusterPolicy.objects.update_or_create(cluster=cluster, defaults={"running": push, "wanted": n + 1, "wanted_at": now})
    Heat.objects.get_or_create(cluster=cluster, defaults={"at": now, "measured": 0.4})
    TenantHour.objects.create(tenant=wished, hour=now, peak=3)
    AuditFinding.objects.create(
        cluster=cluster,
        kind="policy-foreign",
        subject=f"till-{n}",
        tenant=wished,
        first_at=now,
        last_at=now,
        evidence={"document": "// <b>mine</b>"},
    )
    Alert.objects.create(kind="no-room", subject=f"till-{n}", opened_at=now, last_at=now, facts={"region": "eu"})
    Region.objects.create(name=f"region-{n}", title="Till", neighbours=["us"])
    Nearness.objects.create(network=f"10.{n}.0.0/16", region="eu")
