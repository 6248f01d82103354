"""`manage.py usage show|drill|correct|corrections|undo|coverage|rebuild`: who used what, how it came together, and what does not count."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from billing.metering import corrections, coverage, partitions, rolling, usage
from billing.metering.errors import EvidenceGone, MeteringError, SumsGone
from billing.models import Correction
from placement.management.telling import table, when
from placement.models import Cluster, Device
from tenants.management.verbs import VerbCommand, identifier, tenant_of
from tenants.models import Tenant

DAY = timedelta(days=1)
SHOWN = 200  # devices of a day, corrections


def month(text: str) -> datetime:
    """For argparse: 2026-06."""
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no month, such as 2026-06") from None


def day(text: str) -> date:
    """For argparse: 2026-06-11."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no day, such as 2026-06-11") from None


def moment(text: str) -> datetime:
    """For argparse: 2026-06-11T08:00Z."""
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        told = None
    if told is None or told.tzinfo is None:
        raise ArgumentTypeError(f"{text!r} is no moment with its zone, such as 2026-06-11T08:00Z")
    return told.astimezone(UTC)


class Command(VerbCommand):
    help = "Shows what tenants used and how it came together; says what was counted wrongly."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        show = verbs.add_parser("show", help="a tenant's month: devices, time online, by cluster and by day")
        show.add_argument("account")
        show.add_argument("--month", type=month, help="such as 2026-06; else the present one, up to now")
        drill = verbs.add_parser("drill", help="a tenant's day: its devices, or one device's sessions and the polls behind them")
        drill.add_argument("account")
        drill.add_argument("day", type=day)
        drill.add_argument("device", type=identifier, nargs="?")
        correct = verbs.add_parser("correct", help="nothing of a cluster, a tenant or a device counts in that range of time")
        whose = correct.add_mutually_exclusive_group()
        whose.add_argument("--tenant", metavar="ACCOUNT", default="", help="wherever it lived")
        whose.add_argument("--device", metavar="ID", type=identifier)
        correct.add_argument("cluster", nargs="?", default="")
        correct.add_argument("since", metavar="from", type=moment)
        correct.add_argument("until", metavar="to", type=moment)
        correct.add_argument("reason")
        undo = verbs.add_parser("undo", help="take a correction back: its time counts again")
        undo.add_argument("correction", type=int)
        undo.add_argument("reason")
        verbs.add_parser("corrections", help="what does not count, the newest first").add_argument("account", nargs="?")
        watched = verbs.add_parser("coverage", help="how long each cluster was watched on a day, and when it was not")
        watched.add_argument("day", type=day)
        rebuild = verbs.add_parser("rebuild", help="make sums again, from the sessions: those that wait for it, or days of a cluster")
        rebuild.add_argument("cluster", nargs="?", default="")
        rebuild.add_argument("first", type=day, nargs="?")
        rebuild.add_argument("last", type=day, nargs="?")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        try:
            super().handle(*args, verb=verb, **options)
        except MeteringError as error:
            raise CommandError(str(error)) from error

    def do_show(self, *, account: str, month: datetime | None, **_: Any) -> None:
        tenant, now = tenant_of(account), timezone.now()
        start = month or now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        end = min((start + 31 * DAY).replace(day=1), now)
        if start >= end:
            raise CommandError(f"{start:%Y-%m} has not begun.")
        used = usage.used(tenant, start, end)
        lines = [
            f"{tenant.account}, {when(start)} to {when(end)}",
            f"  devices seen online: {used.active_devices}",
            f"  time online: {used.device_seconds} s ({used.device_seconds / 3600:.2f} h)",
            *(f"  on {cluster_id}: {seconds} s" for cluster_id, seconds in used.seconds_by_cluster.items()),
            *(
                f"  had {cluster_id} to itself from {when(since)} to {when(until) if until else 'now'}"
                for cluster_id, since, until in used.dedicated
            ),
        ]
        series = usage.daily(tenant, start, end)
        if series:
            lines += table(("day", "devices", "seconds"), [(row.day, row.active_devices, row.device_seconds) for row in series])
        self._say(lines)

    def do_drill(self, *, account: str, day: date, device: UUID | None, **_: Any) -> None:
        tenant = tenant_of(account)
        self._say(_sessions(tenant, device, day) if device else _devices(tenant, day))

    def do_correct(self, *, since: datetime, until: datetime, reason: str, **options: Any) -> None:
        of, named = _named(**options)
        made = corrections.exclude(of, since, until, reason=reason, **self.acted)
        told = f"nothing of {named} counts from {when(made.since)} to {when(made.until)}"
        self._say([f"correction {made.pk}: {told}; the next roll-up makes its sums again"])

    def do_undo(self, *, correction: int, reason: str, **_: Any) -> None:
        found = Correction.objects.across_tenants().filter(pk=correction).first()
        if found is None:
            raise CommandError(f"There is no correction {correction}: `usage corrections` lists them.")
        corrections.take_back(found, reason=reason, **self.acted)
        self._say([f"correction {correction} is taken back; the next roll-up makes its sums again"])

    def do_corrections(self, *, account: str | None, **_: Any) -> None:
        rows = Correction.objects.of(tenant_of(account)) if account else Correction.objects.across_tenants()
        made = list(rows.select_related("tenant", "retraction").order_by("-pk")[:SHOWN])
        shown = [
            (row.pk, _whose(row), when(row.since), when(row.until), "taken back" if hasattr(row, "retraction") else "holds", row.reason)
            for row in made
        ]
        self._say(table(("", "of", "from", "to", "", "reason"), shown) if shown else ["no correction"])

    def do_coverage(self, *, day: date, **_: Any) -> None:
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        found = coverage.watched(start, start + DAY)
        self._say(table(("cluster", "seconds watched", "polls"), [(one.cluster_id, one.seconds, one.polls) for one in found]))
        for one in found:
            gaps = coverage.gaps(one.cluster_id, start, start + DAY)
            self._say(f"{one.cluster_id} was not watched from {when(ended)} to {when(began)}" for ended, began in gaps)

    def do_rebuild(self, *, cluster: str, first: date | None, last: date | None, **_: Any) -> None:
        if cluster:
            _cluster(cluster)
        if first is not None:
            rolling.again(cluster, first, last or first)
        self._say([f"{rolling.roll(now=timezone.now(), cluster_id=cluster)} days were rebuilt"])

    def _say(self, lines: Any) -> None:
        for line in lines:
            self.stdout.write(line)


def _cluster(cluster_id: str) -> Cluster:
    found = Cluster.objects.filter(pk=cluster_id).first()
    if found is None:
        raise CommandError(f"There is no cluster {cluster_id!r}.")
    return found


def _named(*, cluster: str, tenant: str, device: UUID | None, **_: Any) -> tuple[Cluster | Tenant | Device, str]:
    """What a correction is of, and its name."""
    if bool(cluster) + bool(tenant) + bool(device) != 1:
        raise CommandError("Name a cluster, --tenant or --device: one of them.")
    if not device:
        return (tenant_of(tenant), tenant) if tenant else (_cluster(cluster), cluster)
    found = Device.objects.across_tenants().filter(pk=device).first()
    if found is None:
        raise CommandError(f"There is no device {device}.")
    return found, str(device)


def _whose(made: Correction) -> str:
    return str(made.cluster_id or made.device_id or (made.tenant and made.tenant.account))


def _devices(tenant: Tenant, day: date) -> Iterator[str]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    if day < (horizon := partitions.horizon_of_sums(now=timezone.now())):
        raise SumsGone(horizon)
    rows = list(usage.by_device(tenant, start, start + DAY)[: SHOWN + 1])
    names = dict(Device.objects.of(tenant).filter(pk__in=[row["device_id"] for row in rows]).values_list("pk", "name"))
    shown = [(row["device_id"], names.get(row["device_id"], "-"), row["device_seconds"]) for row in rows[:SHOWN]]
    yield from table(("device", "name", "seconds"), shown) if shown else ["no device was seen online that day"]
    if len(rows) > SHOWN:
        yield "and more: the API has them all"


def _sessions(tenant: Tenant, device: UUID, day: date) -> Iterator[str]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    shown = usage.sessions_of(tenant, device, start, start + DAY)
    if not shown and day < (horizon := partitions.horizon(now=timezone.now())):
        raise EvidenceGone(horizon)
    if not shown:
        yield "the device was not seen online that day"
    for part in shown:
        ended = f"{when(part.ended)}, {part.reason}" if part.reason else f"{when(part.ended)} so far"
        said = f", the server last saw it {when(part.last_seen)}" if part.last_seen else ""
        yield f"{part.cluster_id} node {part.node_id}: {when(part.began)} to {ended}{said}; {part.billed} s count"
        for run in usage.polls_behind(part).iterator():
            yield f"  poll {run.pk} {when(run.started_at)} {run.outcome}, {run.online} of {run.nodes} online"
