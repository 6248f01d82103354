"""`manage.py isolation ...`: audit clusters now, and what audits found. It ends with status 1 where something is open that ACS did not mean."""

from __future__ import annotations

import json

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from placement.management.telling import table, when
from placement.models import AuditFinding, Cluster
from placement.policies import auditing, findings
from placement.policies.auditing import Audit, Outcome
from tenants.management.verbs import VerbCommand

HEADS = ("id", "cluster", "kind", "about", "tenant", "times", "first", "last", "over", "repair")
SHOWN = 200
WORDS = {
    Outcome.WELL: "runs what ACS meant",
    Outcome.FOUND: "runs or holds what ACS did not mean",
    Outcome.PARTIAL: "nothing found in what could be compared",
    Outcome.AWAY: "could not be looked at",
    Outcome.SKIPPED: "does not serve",
}


class Command(VerbCommand):
    help = "Compares what servers run with what ACS meant, and shows what was found."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        audit = verbs.add_parser("audit", help="compare a cluster, or all that serve, and repair what is safe to repair")
        audit.add_argument("cluster_id", nargs="?", default="")
        listed = verbs.add_parser("findings", help="what is open, the latest first")
        listed.add_argument("--all", action="store_true", dest="past", help="what is over too")
        listed.add_argument("--cluster", default="", dest="cluster_id")
        show = verbs.add_parser("show", help="a finding with its evidence and what was done about it")
        show.add_argument("finding_id", type=int)

    def do_audit(self, *, cluster_id: str, **_: object) -> None:
        if cluster_id and not Cluster.objects.filter(pk=cluster_id).exists():
            raise CommandError(f"There is no cluster {cluster_id}.")
        audits = [auditing.audit(one, timezone.now()) for one in ([cluster_id] if cluster_id else auditing.served())]
        for done in audits:
            self._tell(done)
        if any(done.outcome not in (Outcome.WELL, Outcome.PARTIAL) for done in audits):
            raise SystemExit(1)

    def do_findings(self, *, past: bool, cluster_id: str, **_: object) -> None:
        rows = findings.of(cluster_id, past=past).select_related("tenant").defer("evidence")
        for text in table(HEADS, map(_line, rows[:SHOWN])) if rows.exists() else ["Nothing is open."]:
            self.stdout.write(text)
        if findings.of(cluster_id).exists():
            raise SystemExit(1)

    def do_show(self, *, finding_id: int, **_: object) -> None:
        found = AuditFinding.objects.across_tenants().select_related("tenant").filter(pk=finding_id).first()
        if found is None:
            raise CommandError(f"There is no finding {finding_id}: `isolation findings --all` shows them.")
        for head, cell in zip(HEADS, _line(found), strict=True):
            self.stdout.write(f"{head + ':':<10}{cell}")
        facts = dict(found.evidence)
        document = facts.pop("document", None)
        self.stdout.write(json.dumps(facts, indent=2, ensure_ascii=False, sort_keys=True))
        if document is not None:
            self.stdout.write(str(document))
        if found.over_at is None:
            raise SystemExit(1)

    def _tell(self, done: Audit) -> None:
        told = f" ({done.reason})" if done.reason else ""
        self.stdout.write(f"{done.cluster_id}: {WORDS[done.outcome]}{told}" + (f"; {done.over} over" if done.over else ""))
        if done.blind:
            self.stdout.write(f"  not compared: {', '.join(sorted(done.blind))}")
        for found in done.found:
            self.stdout.write(f"  #{found.pk} {found.get_kind_display()}: {found.subject}; {found.repair or 'nothing done about it'}")


def _line(found: AuditFinding) -> tuple[object, ...]:
    account, over = found.tenant.account if found.tenant else "-", when(found.over_at) if found.over_at else "-"
    times = (found.times, when(found.first_at), when(found.last_at), over)
    return (found.pk, found.cluster_id, found.kind, found.subject, account, *times, found.repair or "-")
