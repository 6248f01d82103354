"""`manage.py stock ...`: keys minted ahead for external clusters, and who queues for one."""

from __future__ import annotations

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from placement import alerts, mintings, refill
from placement.management.telling import table, when
from placement.models import Alert, Cluster
from tenants.management.verbs import VerbCommand

HEADS = (
    "cluster",
    "ready",
    "wanted",
    "unsettled",
    "queued",
    "oldest in queue",
    "seconds a key",
    "refill, keys/s",
    "last refill",
    "stock lasts until",
)


class Command(VerbCommand):
    help = "Shows the stock of keys of each external cluster and the queue for it; refills one now."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb")
        parser.set_defaults(verb="list")
        verbs.add_parser("list", help="ready, wanted and queued per external cluster, how fast it mints, who waits longest")
        now = verbs.add_parser("refill", help="mint for the queue and the stock of a cluster, as the worker does every few seconds")
        now.add_argument("cluster_id")
        now.add_argument("--seconds", type=float, default=refill.LONGEST, help="how long at most")
        seen = verbs.add_parser("acknowledge", help="close the alerts about stocked keys that were used without leave")
        seen.add_argument("cluster_id")

    def do_list(self, **_: object) -> None:
        rows = [
            (
                *(line.cluster_id, line.ready, line.wanted, line.unsettled, line.queued, when(line.oldest) if line.oldest else "-"),
                *(f"{line.seconds:.3f}", f"{line.rate:.1f}", when(line.ran_at), when(line.ends) if line.ends else "-"),
            )
            for line in mintings.lines(now=timezone.now())
        ]
        for text in table(HEADS, rows) if rows else ["There is no external cluster: only those need a stock."]:
            self.stdout.write(text)

    def do_refill(self, *, cluster_id: str, seconds: float, **_: object) -> None:
        if not Cluster.objects.filter(pk=cluster_id, fleet=None).exists():
            raise CommandError(f"{cluster_id} is no external cluster.")
        more = refill.refill(cluster_id, seconds=seconds)
        self.stdout.write("There is more to do." if more else "Nothing is left to do, or not now: see `stock list` and the log.")

    def do_acknowledge(self, *, cluster_id: str, **_: object) -> None:
        told = Alert.objects.filter(kind=Alert.Kind.STOCK_USED, subject__startswith=f"{cluster_id}/", closed_at=None)
        closed = sum(alerts.over(Alert.Kind.STOCK_USED, subject, now=timezone.now()) for subject in told.values_list("subject", flat=True))
        self.stdout.write(f"{closed} alerts closed.")
