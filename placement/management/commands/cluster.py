"""`manage.py cluster register|list|show|cordon|uncordon|drain|offline`: which servers serve, and how."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from placement import clusters, registration
from placement.inspection import RegistrationRefused
from placement.models import Cluster
from tenants.errors import WrongState
from tenants.keyring import Unsealable

ACTOR = "manage.py"
STATES = {
    "cordon": "take no new tenants",
    "uncordon": "take new tenants again",
    "drain": "take no new tenants, and let its own be moved away",
    "offline": "leave it alone: no polls, no tenants; register brings it back",
}


class Command(BaseCommand):
    help = "Registers clusters, lists them and changes their states. Register as the owner of the database."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        self._register_arguments(verbs.add_parser("register", help="check a server, give it the base policy, and let tenants land on it"))
        verbs.add_parser("list", help="every cluster, a line each")
        verbs.add_parser("show", help="all about one cluster").add_argument("cluster_id")
        for verb, meaning in STATES.items():
            verbs.add_parser(verb, help=meaning).add_argument("cluster_id")

    def _register_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("cluster_id")
        parser.add_argument("--cordoned", action="store_true", help="let no tenant land on it yet")
        parser.add_argument("--replace-policy", action="store_true", help="give up a policy that ACS did not write")
        parser.add_argument("--new-admin-key", action="store_true", help="of a fleet's cluster: insert another admin key")
        outside = parser.add_argument_group("a server outside of every fleet; needed once")
        outside.add_argument("--external", action="store_true")
        outside.add_argument("--region", default="")
        outside.add_argument("--admin-url", default="", metavar="URL")
        outside.add_argument("--admin-key-file", default="", metavar="FILE", help="holds the admin API key; - reads it from standard input")
        outside.add_argument("--client-url", default="", metavar="URL", help="the server's own server_url")
        outside.add_argument("--metrics-url", default="", metavar="URL", help="http://HOST:PORT/metrics")
        outside.add_argument("--prefix-v4", default="")
        outside.add_argument("--prefix-v6", default="")
        outside.add_argument("--capacity", type=int, metavar="DEVICES")
        outside.add_argument("--kind", default="", choices=["", *Cluster.Kind.values])

    def handle(self, *_args: Any, verb: str, **options: Any) -> None:
        try:
            if verb in STATES:
                self._change(verb, options["cluster_id"])
            else:
                getattr(self, f"_{verb}")(**options)
        except (RegistrationRefused, WrongState) as refusal:
            raise CommandError(str(refusal)) from refusal
        except Unsealable as error:
            raise CommandError(f"The admin key does not open ({error}): ACS_KEYRING lacks the key it was sealed under.") from error

    def _register(self, *, cluster_id: str, external: bool, admin_key_file: str, **options: Any) -> None:
        told = {name: options[name] for name in vars(registration.External()) if name != "admin_key"}
        if not external and (admin_key_file or any(value not in ("", None) for value in told.values())):
            raise CommandError("Addresses, prefixes and keys are told of external clusters only: add --external, or leave them out.")
        done = registration.register(
            cluster_id,
            external=registration.External(admin_key=_secret(admin_key_file), **told) if external else None,
            actor=ACTOR,
            now=timezone.now(),
            cordoned=options["cordoned"],
            replace_policy=options["replace_policy"],
            new_admin_key=options["new_admin_key"],
        )
        self.stdout.write(f"{cluster_id} is {done.cluster.state}: headscale {done.version}, policy {done.policy}")

    def _list(self, **_options: Any) -> None:
        rows = Cluster.objects.order_by("cluster_id")
        for cluster in rows:
            fleet = f"fleet {cluster.fleet_id}" if cluster.fleet_id else "external"
            room = f"{cluster.committed}/{cluster.capacity} devices promised"
            self.stdout.write(
                f"{cluster.cluster_id}  {cluster.state}  {cluster.region}  {cluster.kind}  {fleet}  {cluster.tenants} tenants  {room}"
            )
        if not rows:
            self.stdout.write("no clusters")

    def _show(self, *, cluster_id: str, **_options: Any) -> None:
        cluster = _cluster(cluster_id)
        facts = {
            "state": cluster.state,
            "fleet": cluster.fleet_id or "none: external",
            "region": cluster.region,
            "class": cluster.kind,
            "version": cluster.version or "not seen yet",
            "registered": cluster.registered_at.isoformat(timespec="seconds") if cluster.registered_at else "never",
            "for clients": cluster.client_url,
            "admin API": cluster.admin_url + ("" if cluster.admin_key_sealed else " (no key)"),
            "metrics": cluster.metrics_url,
            "prefixes": f"{cluster.prefix_v4} {cluster.prefix_v6}",
            "Noise key": cluster.noise_public_key or "not seen yet",
            "capacity": f"{cluster.capacity} devices, {cluster.committed} promised",
            "tenants": str(cluster.bindings.across_tenants().count()),
            "DERP map": "its own" if cluster.derp_map else "the fleet-wide one",
        }
        for name, fact in facts.items():
            self.stdout.write(f"{name:12} {fact}")

    def _change(self, verb: str, cluster_id: str) -> None:
        cluster = _cluster(cluster_id)
        getattr(clusters, verb)(cluster, actor=ACTOR, now=timezone.now())
        self.stdout.write(f"{cluster_id} is {cluster.state}")


def _cluster(cluster_id: str) -> Cluster:
    cluster = Cluster.objects.filter(pk=cluster_id).first()
    if cluster is None:
        raise CommandError(f"There is no cluster {cluster_id}.")
    return cluster


def _secret(path: str) -> str:
    """The key in a file: on the command line every user of the host could read it."""
    if not path:
        return ""
    try:
        secret = (sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"The admin key cannot be read from {path}: {error}") from error
    if not secret or any(sign.isspace() for sign in secret):
        raise CommandError(f"{path} holds no admin key: one line, as `headscale apikeys create` prints it.")
    return secret
