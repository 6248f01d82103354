"""`manage.py placement ...`: why tenants live where they live, how full the pools are, who waits, and what would be if the fleet were another one."""

from __future__ import annotations

from argparse import Action
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from placement import experiments, explaining, ledger, moveplans, nearness, pools
from placement import residency as residencies
from placement.management import telling
from placement.models import Alert, Decision, MovePlan
from tenants.management.verbs import VerbCommand, identifier, tenant_of

CHANGES = (
    ("add", "ID:CAPACITY[:REGION[:CLASS]]", "a new cluster"),
    ("remove", "ID", "without this cluster: its tenants look for another one"),
    ("reweight", "ID:CAPACITY", "a cluster with another capacity"),
    ("tenants", "N:PLAN[:REGION]", "so many new tenants of a plan"),
    ("lose_region", "REGION", "without the clusters of a region"),
)
MOST_TENANTS = 500_000


class InOrder(Action):
    """Changes of several kinds, in the order in which they stand on the command line."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:  # noqa: ARG002 - argparse's signature
        namespace.changes = [*namespace.changes, (self.const, values)]


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
        self._about_plans(verbs)
        keep = verbs.add_parser("residency", help="the jurisdiction that a tenant's data must stay in")
        keep.add_argument("account")
        keep.add_argument("residency", help="an empty text: anywhere")

    def _about_plans(self, verbs: Any) -> None:
        simulate = verbs.add_parser("simulate", help="what would be if the fleet were another one; nothing is written")
        for verb, words, meaning in CHANGES:
            simulate.add_argument(
                f"--{verb.replace('_', '-')}", metavar=words, action=InOrder, dest="changes", default=[], const=verb, help=meaning
            )
        simulate.add_argument("--json", action="store_true")
        rebalance = verbs.add_parser("rebalance", help="plan the moves that even out a pool")
        rebalance.add_argument("pool", metavar="REGION[/CLASS[/RESIDENCY]]")
        rebalance.add_argument(
            "--at-once", action="store_true", help="as after clusters were added: do not wait for a quarter of an hour of heat"
        )
        drain = verbs.add_parser("drain", help="plan the moves that empty clusters")
        drain.add_argument("cluster_ids", nargs="+", metavar="CLUSTER_ID")
        verbs.add_parser("plans", help="every plan of moves, a line each")
        plan = verbs.add_parser("plan", help="one plan: show it, export its document, approve or discard it")
        plan.add_argument("act", choices=["show", "export", "approve", "discard"])
        plan.add_argument("plan_id", type=identifier)

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

    def do_simulate(self, *, changes: list[tuple[str, str]], json: bool, **_: Any) -> None:
        outcome = experiments.run(changes, now=timezone.now(), most_tenants=MOST_TENANTS)
        self._tell([telling.as_json(outcome)] if json else telling.outcome(outcome))

    def do_rebalance(self, *, pool: str, at_once: bool, **_: Any) -> None:
        key = pools.key_of(pool)
        if key is None:
            raise CommandError(f"{pool!r} is no pool: REGION, REGION/CLASS or REGION/CLASS/RESIDENCY")
        self._tell(telling.plan(moveplans.make_rebalance(key, at_once=at_once, **self.acted)))

    def do_drain(self, *, cluster_ids: list[str], **_: Any) -> None:
        self._tell(telling.plan(moveplans.make_drain(cluster_ids, **self.acted)))

    def do_plans(self, **_: Any) -> None:
        self._tell(telling.plans(MovePlan.objects.all()))

    def do_plan(self, *, act: str, plan_id: UUID, **_: Any) -> None:
        plan = MovePlan.objects.filter(pk=plan_id).first()
        if plan is None:
            raise CommandError(f"There is no plan {plan_id}: `manage.py placement plans` shows them.")
        if act == "export":
            self._tell([telling.as_json(plan.document)])
            return
        if act != "show":
            plan = {"approve": moveplans.approve, "discard": moveplans.discard}[act](plan, **self.acted)
        self._tell(telling.plan(plan))

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
