"""`manage.py placement ...`: why tenants live where they live, how full the pools are, who waits, and what would be if the fleet were another one."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from placement import explaining, ledger, nearness, pools
from placement import residency as residencies
from placement.management import telling
from placement.models import Alert, Decision
from tenants.management.verbs import VerbCommand, tenant_of


class Command(VerbCommand):
    help = "Explains placements, shows pools, queue and alerts, tries changes on paper, plans moves, and describes regions."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        explain = verbs.add_parser("explain", help="every decision about a tenant, and where it is now")
        explain.add_argument("account")
        explain.add_argument("--json", action="store_true", help="the stored documents")
        verbs.add_parser("pools", help="how full and how hot each pool is, and how much room it has")
        verbs.add_parser("queue", help="who waits for what since when, and what to provision")
        verbs.add_parser("alerts", help="what wants an operator")
        self._about_regions(verbs)
        sums = verbs.add_parser("ledger", help="check: compare each cluster's promises with its bindings; exit status 1 when they differ")
        sums.add_argument("what", choices=["check"])
        keep = verbs.add_parser("residency", help="the jurisdiction that a tenant's data must stay in")
        keep.add_argument("account")
        keep.add_argument("residency", help="an empty text: anywhere")

    def _about_regions(self, verbs: Any) -> None:
        region = verbs.add_parser("region", help="a region's title, and where its tenants may go when it is full")
        region.add_argument("name")
        region.add_argument("--title", default="")
        region.add_argument("--neighbours", default="", metavar="A,B", help="the nearest first")
        near = verbs.add_parser("near", help="devices of a network or country are near a region")
        near.add_argument("place", help="a network such as 203.0.113.0/24, or a country's two capital letters")
        near.add_argument("region")
        verbs.add_parser("unnear", help="forget what was told of a network or country").add_argument("place")
        verbs.add_parser("regions", help="every region, its neighbours, and who is near it")

    def _tell(self, lines: Any) -> None:
        for line in lines:
            self.stdout.write(line)

    def do_explain(self, *, account: str, json: bool, **_: Any) -> None:
        tenant = tenant_of(account)
        made = list(Decision.objects.of(tenant).select_related("tenant"))
        if json:
            self._tell([telling.as_json(telling.documents(tenant, made))])
            return
        self._tell(telling.home(tenant))
        for stored in made:
            self._tell(telling.decision(stored))

    def do_pools(self, **_: Any) -> None:
        self._tell(telling.standing(pools.look(now=timezone.now())))

    def do_queue(self, **_: Any) -> None:
        self._tell(telling.queue(explaining.queue()))

    def do_alerts(self, **_: Any) -> None:
        self._tell(telling.alerts(Alert.objects.filter(closed_at=None)))

    def do_region(self, *, name: str, title: str, neighbours: str, **_: Any) -> None:
        near = [part.strip() for part in neighbours.split(",") if part.strip()]
        region = nearness.describe(name, title=title, neighbours=near, **self.acted)
        self.stdout.write(f"{region.pk}: {region.title or 'no title'}, neighbours {', '.join(region.neighbours) or 'none'}")

    def do_near(self, *, place: str, region: str, **_: Any) -> None:
        nearness.learn(place, region, **self.acted)
        self.stdout.write(f"devices of {place} are near {region}")

    def do_unnear(self, *, place: str, **_: Any) -> None:
        nearness.unlearn(place, **self.acted)
        self.stdout.write(f"nothing is known of {place}")

    def do_regions(self, **_: Any) -> None:
        self._tell(telling.regions(nearness.everywhere()))

    def do_ledger(self, **_: Any) -> None:
        accounts = ledger.check()
        wrong = [account for account in accounts if not account.is_right]
        for account in wrong:
            self.stdout.write(
                f"{account.cluster_id}: {account.committed} devices and {account.tenants} tenants in the ledger, "
                f"{account.promised} and {account.bound} by its bindings"
            )
        if wrong:
            raise CommandError(f"{len(wrong)} of {len(accounts)} ledgers are off", returncode=1)
        self.stdout.write(f"{len(accounts)} ledgers agree with their bindings")

    def do_residency(self, *, account: str, residency: str, **_: Any) -> None:
        changed = residencies.change(tenant_of(account), residency, **self.acted)
        self.stdout.write(f"{account} stays under {changed.residency}" if changed.residency else f"{account} may live anywhere")
