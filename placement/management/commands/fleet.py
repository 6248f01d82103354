"""`manage.py fleet init | upgrade | add-cluster | check`: the fleet database, under the owner's DATABASE_URL."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import psycopg
import yaml
from django.core.management.base import BaseCommand, CommandError

from placement.headscale.fleet import binary, check, clusters, connect, fleets, prefixes, roles
from placement.models import Cluster, Fleet


class Command(BaseCommand):
    requires_system_checks = ()
    help = "Makes, upgrades and proves the fleet database. Run it as the owner of the database."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        for verb, help_text in (
            ("init", "make roles, schema, tables and grants, as far as they are missing"),
            ("upgrade", "let the headscale binary on PATH change its tables, then add what is missing; servers stopped"),
            ("check", "prove that no cluster can read or write another's rows"),
        ):
            self._common(verbs.add_parser(verb, help=help_text))
        verbs.choices["init"].add_argument("--base-domain", default="ts.internal", help="MagicDNS domain of every device of the fleet")
        for verb in ("init", "upgrade"):
            verbs.choices[verb].add_argument(
                "--without-binary", action="store_true", help="use the shipped tables even where headscale is on PATH"
            )
        self._add_cluster(verbs.add_parser("add-cluster", help="login, addresses, server files and row of a new cluster"))

    def _common(self, parser: ArgumentParser) -> None:
        parser.add_argument("--name", default="default", help="the fleet")
        parser.add_argument("--database-url", default="", help="owner's URL of the database of a fleet that lives elsewhere; never stored")

    def _add_cluster(self, parser: ArgumentParser) -> None:
        self._common(parser)
        parser.add_argument("cluster_id")
        parser.add_argument("--region", required=True)
        parser.add_argument("--listen", required=True, metavar="HOST:PORT")
        parser.add_argument("--metrics-listen", required=True, metavar="HOST:PORT")
        parser.add_argument("--client-url", required=True, metavar="URL")
        parser.add_argument("--out", required=True, type=Path, metavar="DIR")
        parser.add_argument("--kind", choices=Cluster.Kind.values, help="shared if left out")
        parser.add_argument("--capacity", type=int, metavar="DEVICES", help="500 if left out")
        parser.add_argument("--service-class", metavar="CLASS", help="tenants whose plan names it land here; standard if left out")
        parser.add_argument("--residency", help="the jurisdiction that the server keeps its tenants' data in")
        parser.add_argument("--prefix-v4", default="")
        parser.add_argument("--prefix-v6", default="")
        parser.add_argument(
            "--derp-map", type=Path, metavar="FILE", help="the DERP map as headscale reads it; default: a single local region"
        )
        parser.add_argument(
            "--batch-timeout", default="", metavar="DURATION", help="headscale's tuning.node_store_batch_timeout, such as 20ms"
        )

    def handle(self, *args: Any, verb: str, name: str, database_url: str, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        conninfo = database_url or connect.own_database()
        try:
            with connect.connect(conninfo) as connection:
                getattr(self, "_do_" + verb.replace("-", "_"))(connection, name=name, conninfo=conninfo, own=not database_url, **options)
        except (fleets.ServersConnected, fleets.RolesTaken, binary.HeadscaleFailed, clusters.CannotAdd, prefixes.NoRoom) as error:
            raise CommandError(str(error)) from error
        except psycopg.Error as error:
            raise CommandError(f"PostgreSQL: {error}") from error

    def _do_init(
        self, connection: connect.Connection, *, name: str, conninfo: str, own: bool, base_domain: str, without_binary: bool, **_: Any
    ) -> None:
        done = fleets.init(connection, conninfo=conninfo, own=own, headscale=None if without_binary else binary.find())
        elsewhere = "" if own else self._elsewhere(connection, name, conninfo, done.made_roles)
        if fleets.write_row(name, base_domain=base_domain, version=done.version, database_url_sealed=elsewhere):
            done.changes.append(f"wrote the row of fleet {name}")
        self._tell(done)
        if own and (asked := [role for role in roles.ACS_ROLES if role in done.made_roles and roles.wants_password(conninfo, role)]):
            self.stdout.write(
                f"The database asks for passwords: give them to {', '.join(asked)} (\\password in psql), for one DATABASE_URL each."
            )

    def _elsewhere(self, connection: connect.Connection, name: str, conninfo: str, made_roles: list[str]) -> str:
        known = Fleet.objects.filter(pk=name).first()
        if known and known.database_url_sealed:
            return ""
        return fleets.seal_elsewhere(connection, name, conninfo, made_roles=made_roles)

    def _do_upgrade(self, connection: connect.Connection, *, name: str, conninfo: str, own: bool, without_binary: bool, **_: Any) -> None:
        fleet = self._fleet(name)
        done = fleets.upgrade(connection, conninfo=conninfo, own=own, headscale=None if without_binary else binary.find())
        if fleets.write_row(name, base_domain=fleet.base_domain, version=done.version):
            done.changes.append(f"wrote the row of fleet {name}")
        self._tell(done)

    def _do_check(self, connection: connect.Connection, *, name: str, conninfo: str, own: bool, **_: Any) -> None:
        found = check.check(connection, conninfo=conninfo, own=own)
        for line in found.looked_at:
            self.stdout.write(line)
        if found.broken:
            raise CommandError("\n".join([f"fleet {name} is BROKEN:", *(f"  {reason}" for reason in found.broken)]))
        self.stdout.write(f"fleet {name} is sound: no cluster can read or write another's rows")

    def _do_add_cluster(self, connection: connect.Connection, *, name: str, conninfo: str, own: bool, **options: Any) -> None:
        fleet = self._fleet(name)
        if own != fleet.is_own:
            raise CommandError(
                f"fleet {name} lives {'in this database: leave --database-url out' if fleet.is_own else 'elsewhere: give its --database-url'}"
            )
        derp_map = options["derp_map"]
        wish = clusters.Wish(
            cluster_id=options["cluster_id"],
            region=options["region"],
            listen=options["listen"],
            metrics_listen=options["metrics_listen"],
            client_url=options["client_url"],
            folder=options["out"],
            kind=options["kind"],
            capacity=options["capacity"],
            service_class=options["service_class"],
            residency=options["residency"],
            prefix_v4=options["prefix_v4"],
            prefix_v6=options["prefix_v6"],
            derp_map=yaml.safe_load(derp_map.read_text(encoding="utf-8")) if derp_map else None,
            batch_timeout=options["batch_timeout"],
        )
        self._tell(clusters.add(connection, fleet, wish, conninfo=conninfo))

    def _fleet(self, name: str) -> Fleet:
        fleet = Fleet.objects.filter(pk=name).first()
        if fleet is None:
            raise CommandError(f"there is no fleet {name}: `manage.py fleet init --name {name}` makes it")
        return fleet

    def _tell(self, done: fleets.Done) -> None:
        for change in done.changes:
            self.stdout.write(change)
        self.stdout.write(f"headscale {done.version}; " + ("done" if done.changes else "nothing to do"))
