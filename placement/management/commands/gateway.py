"""`manage.py gateway config|check|sync|cut`: the gateways in front of the fleet."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from placement.gateway import config, routes
from placement.gateway.haproxy import GatewayError
from placement.gateway.plan import Change
from tenants.models import Tenant


class Command(BaseCommand):
    requires_system_checks = ()
    help = "Render the gateway's configuration, compare and restore its routes, cut a tenant's connections."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        render = verbs.add_parser("config", help="print haproxy.cfg")
        render.add_argument("--certificate", required=True, help="PEM file with the wildcard certificate and its key")
        render.add_argument("--domain", default=settings.TENANT_DOMAIN)
        render.add_argument("--map", default="/etc/haproxy/tenants.map", help="must exist, empty, when HAProxy starts")
        render.add_argument("--socket", default="/run/haproxy/acs.sock mode 660", help="a path with its mode, or ipv4@HOST:PORT")
        render.add_argument("--http", default=":80")
        render.add_argument("--https", default=":443")
        render.add_argument("--cluster-ca", default="@system-ca", help="a file clusters-ca.pem that vouches for clusters which speak TLS")
        render.add_argument(
            "--acs-url", default=settings.PUBLIC_URL, help="where people approve devices; empty leaves /register/ to the servers"
        )
        verbs.add_parser("check", help="name every route that is not as the bindings say; exit status 1 if there is one")
        verbs.add_parser("sync", help="tell every route again, mend and remove what is wrong")
        cut = verbs.add_parser("cut", help="close the open connections of one tenant; its devices come back by themselves")
        cut.add_argument("account")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['verb']}")(options)
        except GatewayError as error:
            raise CommandError(str(error)) from error

    def _config(self, options: dict[str, Any]) -> None:
        if not options["domain"]:
            raise CommandError("Name the tenants' domain with --domain, or set ACS_TENANT_DOMAIN.")
        try:
            text = config.render(
                domain=options["domain"],
                certificate=options["certificate"],
                map_path=options["map"],
                socket=options["socket"],
                http_bind=options["http"],
                https_bind=options["https"],
                cluster_ca=options["cluster_ca"],
                acs_url=options["acs_url"],
            )
        except ValueError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(text, ending="")

    def _check(self, _options: dict[str, Any]) -> None:
        _need_gateways()
        found = routes.check()
        self._tell(found)
        if any(found.values()):
            raise CommandError("The routes have drifted; `manage.py gateway sync` mends them.", returncode=1)

    def _sync(self, _options: dict[str, Any]) -> None:
        _need_gateways()
        self._tell(routes.sync())

    def _cut(self, options: dict[str, Any]) -> None:
        _need_gateways()
        tenant = Tenant.objects.filter(account=options["account"]).first()
        if tenant is None:
            raise CommandError(f"No tenant has the account {options['account']!r}.")
        routes.disconnect(tenant, actor="manage.py", now=timezone.now())
        self.stdout.write(f"The connections of {tenant.account} are closed.")

    def _tell(self, changes: dict[str, list[Change]]) -> None:
        for gateway, made in changes.items():
            self.stdout.write(f"{gateway}: " + (f"{len(made)} routes differed" if made else "as the bindings say"))
            for change in made:
                self.stdout.write(f"  {change.verb}: {change.why}")


def _need_gateways() -> None:
    if not settings.GATEWAY_SOCKETS:
        raise CommandError("ACS_GATEWAY_SOCKETS is not set: no gateway is in use.")
