"""`manage.py policies ...`: which document each cluster runs, what waits to be pushed, how documents differ, and a push now."""

from __future__ import annotations

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from placement.management.telling import table, when
from placement.models import Cluster, ClusterPolicy, PolicyPush
from placement.policies import history, pushing, writers
from tenants.management.verbs import VerbCommand

HEADS = ("cluster", "waiting", "since", "runs", "form", "rules", "estimated s", "failures", "next try", "trouble")
PUSHES = ("id", "state", "begun", "ended", "form", "rules", "estimated s", "SHA-256", "reason")
SHOWN = 50


class Command(VerbCommand):
    help = "Shows the policy that each cluster runs and the pushes that brought it there; pushes now."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb")
        parser.set_defaults(verb="status", cluster_id="")
        status = verbs.add_parser("status", help="what waits, what runs and what is wrong, a line per cluster")
        status.add_argument("cluster_id", nargs="?", default="")
        now = verbs.add_parser("now", help="compare the server's document with what it should run, and push it where they differ")
        now.add_argument("cluster_id")
        past = verbs.add_parser("history", help="the latest pushes of a cluster")
        past.add_argument("cluster_id")
        show = verbs.add_parser("show", help="a push's document")
        show.add_argument("push_id", type=int)
        diff = verbs.add_parser("diff", help="how a push's document differs from what ran before, or from another push's")
        diff.add_argument("push_id", type=int)
        diff.add_argument("other", type=int, nargs="?")

    def do_status(self, *, cluster_id: str, **_: object) -> None:
        clusters = [_cluster(cluster_id)] if cluster_id else Cluster.objects.exclude(registered_at=None).order_by("pk")
        rows = [_line(history.status(cluster)) for cluster in clusters]
        for text in table(HEADS, rows) if rows else ["No cluster is registered."]:
            self.stdout.write(text)

    def do_now(self, *, cluster_id: str, **_: object) -> None:
        cluster = _cluster(cluster_id)
        if cluster.state == Cluster.State.OFFLINE or cluster.registered_at is None:
            raise CommandError(f"{cluster_id} does not serve: `manage.py cluster register` brings it back.")
        writers.demand(cluster, **self.acted)
        done = pushing.push(cluster_id, timezone.now())
        if done is None or done.state != PolicyPush.State.STORED:
            row = ClusterPolicy.objects.get(pk=cluster_id)
            raise CommandError(row.trouble or "Another process pushes at this moment: it will do this too.")
        self.stdout.write(f"{cluster_id} runs #{done.pk} ({done.form}, {done.rules} rules).")

    def do_history(self, *, cluster_id: str, **_: object) -> None:
        rows = [
            (
                *(push.pk, push.state, when(push.started_at), when(push.finished_at) if push.finished_at else "-"),
                *(push.form, push.rules, f"{push.cost:.2f}", push.digest[:12], push.reason or "-"),
            )
            for push in history.of(_cluster(cluster_id).pk).defer("document")[:SHOWN]
        ]
        for text in table(PUSHES, rows) if rows else ["Nothing was pushed yet."]:
            self.stdout.write(text)

    def do_show(self, *, push_id: int, **_: object) -> None:
        self.stdout.write(_push(push_id).document, ending="")

    def do_diff(self, *, push_id: int, other: int | None, **_: object) -> None:
        push = _push(push_id)
        lines = history.diff(push, history.former(push) if other is None else _push(other))
        for line in lines or ["They are the same."]:
            self.stdout.write(line)


def _cluster(cluster_id: str) -> Cluster:
    cluster = Cluster.objects.select_related("fleet").filter(pk=cluster_id).first()
    if cluster is None:
        raise CommandError(f"There is no cluster {cluster_id}.")
    return cluster


def _push(push_id: int) -> PolicyPush:
    push = PolicyPush.objects.filter(pk=push_id).first()
    if push is None:
        raise CommandError(f"There is no push {push_id}: `policies history CLUSTER` shows them.")
    return push


def _line(found: history.Status) -> tuple[object, ...]:
    run = found.running
    what = (f"#{run.pk}" if found.sure else f"#{run.pk}?", run.form, run.rules, f"{run.cost:.2f}") if run else ("-", "-", "-", "-")
    since, again = (when(moment) if moment else "-" for moment in (found.waiting_since, found.try_at))
    return (found.cluster.pk, found.waiting, since, *what, found.failures, again, found.trouble or "-")
