"""`manage.py cluster register|list|show|set|cordon|uncordon|drain|offline`: which servers serve, and how."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from placement import clusters, registration, reshaping
from placement.inspection import RegistrationRefused
from placement.models import Cluster
from tenants.errors import TenantError
from tenants.keyring import Unsealable

ACTOR = "manage.py"
UNLIMITED = "none"
STATES = {
    "cordon": "take no new tenants",
    "uncordon": "take new tenants again",
    "drain": "take no new tenants, and let its own be moved away",
    "offline": "leave it alone: no polls, no tenants; register brings it back",
}


class Command(BaseCommand):
    requires_system_checks = ()
    help = "Registers clusters, lists them and changes their states and limits. Register as the owner of the database, set as the owner or the worker."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        self._register_arguments(verbs.add_parser("register", help="check a server, give it the base policy, and let tenants land on it"))
        verbs.add_parser("list", help="every cluster, a line each")
        verbs.add_parser("show", help="all about one cluster").add_argument("cluster_id")
        self._set_arguments(verbs.add_parser("set", help="other limits, another region, service class, residency or kind"))
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
        outside.add_argument(
            "--service-class", default="", metavar="CLASS", help="tenants whose plan names it land here; standard if left out"
        )
        outside.add_argument("--residency", default="", help="the jurisdiction that the server keeps its tenants' data in")

    def _set_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("cluster_id")
        parser.add_argument("--capacity", type=int, metavar="DEVICES")
        parser.add_argument("--max-tenants", type=_limit, metavar="N", help="none: no limit")
        parser.add_argument("--max-sessions", type=_limit, metavar="DEVICES", help="devices online at once; none: as many as the capacity")
        parser.add_argument("--cores", type=float, metavar="N", help="what a CPU rate is measured against")
        parser.add_argument("--max-queue", type=int, metavar="N", help="netmap backlog at most")
        parser.add_argument("--max-peer-seconds", type=float, metavar="SECONDS", help="peer calculation at most")
        parser.add_argument("--max-memory", type=_limit, metavar="BYTES", help="none: memory is shown and not weighed")
        parser.add_argument("--region")
        parser.add_argument("--service-class", metavar="CLASS")
        parser.add_argument("--residency", help="an empty text: it keeps none")
        parser.add_argument("--kind", choices=Cluster.Kind.values)

    def handle(self, *_args: Any, verb: str, **options: Any) -> None:
        try:
            if verb in STATES:
                self._change(verb, options["cluster_id"])
            else:
                getattr(self, f"_{verb}")(**options)
        except (RegistrationRefused, TenantError) as refusal:
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

    def _set(self, *, cluster_id: str, **options: Any) -> None:
        wish = {name: None if value == UNLIMITED else value for name in reshaping.FIELDS if (value := options[name]) is not None}
        if not wish:
            raise CommandError("Say what to set: `manage.py cluster set --help` names it.")
        done = reshaping.reshape(_cluster(cluster_id), actor=ACTOR, now=timezone.now(), **wish)
        for name, (before, after) in done.changed.items():
            self.stdout.write(f"{name}: {_shown(before)} -> {_shown(after)}")
        for note in done.notes or ([] if done.changed else ["nothing changes"]):
            self.stdout.write(note)

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
            "kind": cluster.kind + (f", reserved for {cluster.reserved_for}" if cluster.reserved_for else ""),
            "class": cluster.service_class,
            "residency": cluster.residency or "none",
            "version": cluster.version or "not seen yet",
            "registered": cluster.registered_at.isoformat(timespec="seconds") if cluster.registered_at else "never",
            "for clients": cluster.client_url,
            "admin API": cluster.admin_url + ("" if cluster.admin_key_sealed else " (no key)"),
            "metrics": cluster.metrics_url,
            "prefixes": f"{cluster.prefix_v4} {cluster.prefix_v6}",
            "Noise key": cluster.noise_public_key or "not seen yet",
            "capacity": f"{cluster.capacity} devices, {cluster.committed} promised",
            "sessions": f"{cluster.max_sessions or cluster.capacity} at most",
            "load limits": f"{cluster.cores:g} cores, backlog {cluster.max_queue}, peer calculation {cluster.max_peer_seconds:g} s, memory "
            + (f"{cluster.max_memory} bytes" if cluster.max_memory else "not weighed"),
            "tenants": str(cluster.bindings.across_tenants().count()),
            "DERP map": "its own" if cluster.derp_map else "the fleet-wide one",
        }
        for name, fact in facts.items():
            self.stdout.write(f"{name:12} {fact}")

    def _change(self, verb: str, cluster_id: str) -> None:
        cluster = _cluster(cluster_id)
        getattr(clusters, verb)(cluster, actor=ACTOR, now=timezone.now())
        self.stdout.write(f"{cluster_id} is {cluster.state}")


def _limit(text: str) -> int | str:
    """For argparse: a number, or `none`, which stays a word here because None means that nothing was said."""
    return UNLIMITED if text == UNLIMITED else int(text)


def _shown(value: Any) -> str:
    return UNLIMITED if value in (None, "") else str(value)


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
