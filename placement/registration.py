"""Registering a cluster: look at the running server, give it the base policy, and only then let tenants land on it.

Nothing of a refused registration stays but, for a cluster of a fleet, the admin key that ACS gave itself. Registering again looks again: what
is already registered keeps its state and its policy, and is refused in the same words when something has changed for the worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection, transaction

from placement import clusters, inspection, policy, reshaping
from placement.errors import ClusterError
from placement.headscale.admin import Admin
from placement.headscale.fleet import admin_keys, connect, fleets, noise, roles
from placement.inspection import RegistrationRefused
from placement.models import Binding, Cluster
from placement.policies import pushing, writers
from tenants import audit

ADMIN_KEY_LIFETIME = timedelta(days=3650)  # ACS's own key; `--new-admin-key` replaces it

TOLD = (
    *("region", "kind", "capacity", "service_class", "residency", "client_url", "admin_url", "metrics_url", "prefix_v4", "prefix_v6"),
    "admin_key_sealed",
)


class UnknownCluster(RegistrationRefused):
    """Nobody has added such a cluster, or it is not of the kind that was said."""


class BadAddress(RegistrationRefused):
    """An address of the server is no http or https URL, or is another cluster's."""


@dataclass(frozen=True)
class External:
    """What an operator tells of a server outside of every fleet. Empty texts keep what the row holds already; `capacity` is in devices."""

    region: str = ""
    admin_url: str = ""
    admin_key: str = ""
    client_url: str = ""
    metrics_url: str = ""
    prefix_v4: str = ""
    prefix_v6: str = ""
    capacity: int | None = None
    kind: str = ""
    service_class: str = ""
    residency: str = ""


@dataclass(frozen=True)
class Registration:
    """What was found and done. `policy` is stored, replaced or kept."""

    cluster: Cluster
    version: str
    policy: str


def register(
    cluster_id: str,
    *,
    external: External | None,
    actor: str,
    now: datetime,
    cordoned: bool = False,
    replace_policy: bool = False,
    new_admin_key: bool = False,
) -> Registration:
    """Check the server and let it serve: an offline cluster becomes active, or cordoned; a serving one keeps its state.

    `external` is None for a cluster of a fleet. `replace_policy` gives up a policy that ACS did not write.
    Raises: RegistrationRefused, by what is wrong (placement/inspection.py and above), MalformedRequest, and WrongState where a tenant that lives on
        the cluster was promised something else than `external` says.
    """
    cluster = _candidate(cluster_id, external)
    _check_addresses(cluster)
    inspection.check_prefixes(cluster.prefix_v4, cluster.prefix_v6, _prefixes_of_others(cluster_id))
    if not cluster.is_external and (new_admin_key or not cluster.admin_key_sealed):
        _give_admin_key(cluster)
    with clusters.admin_of(cluster) as admin:
        facts = _look(cluster, admin)
        inspection.check_metrics(cluster_id, cluster.metrics_url, timeout=settings.CLUSTER_TIMEOUT)
        done = _settle_policy(cluster, admin, replace_policy=replace_policy, now=now)
    registered = _admit(cluster, facts, done, cordoned=cordoned, actor=actor, now=now)
    return Registration(registered, facts.version, done)


def _candidate(cluster_id: str, external: External | None) -> Cluster:
    """The row as it stands, or with what the operator tells of it; nothing is saved. Raises: UnknownCluster."""
    known = Cluster.objects.select_related("fleet").filter(pk=cluster_id).first()
    if external is None:
        if known is None:
            raise UnknownCluster(
                f"There is no cluster {cluster_id}: `manage.py fleet add-cluster {cluster_id}` adds one to a fleet, `--external` registers a "
                "server that has its own database."
            )
        return known
    if known is not None and not known.is_external:
        raise UnknownCluster(f"{cluster_id} is a cluster of the fleet {known.fleet_id}: register it without --external.")
    cluster = known or Cluster(cluster_id=cluster_id)
    given = {name: value for name, value in vars(external).items() if value not in ("", None) and name != "admin_key"}
    reshaping.check_form({name: value for name, value in given.items() if name in reshaping.FIELDS})
    if known is not None:
        reshaping.check_promises(known, given)
    for name, value in given.items():
        setattr(cluster, name, value)
    if external.admin_key:
        cluster.admin_key_sealed = clusters.seal_key(cluster_id, external.admin_key)
    missing = [
        name for name in ("region", "admin_url", "client_url", "metrics_url", "prefix_v4", "prefix_v6") if not getattr(cluster, name)
    ]
    if not cluster.admin_key_sealed:
        missing.append("admin_key_file")
    if missing:
        raise UnknownCluster(f"{cluster_id} is new here; give also " + ", ".join("--" + name.replace("_", "-") for name in missing) + ".")
    return cluster


def _check_addresses(cluster: Cluster) -> None:
    """Raises: BadAddress."""
    for name in ("client_url", "admin_url", "metrics_url"):
        url = urlsplit(getattr(cluster, name))
        if url.scheme not in ("http", "https") or not url.hostname:
            raise BadAddress(f"The {name} {getattr(cluster, name)!r} is no address: write it as http://HOST:PORT or https://HOST.")
    twin = (
        Cluster.objects.exclude(pk=cluster.pk)
        .filter(admin_url__in=[cluster.admin_url.rstrip("/"), cluster.admin_url.rstrip("/") + "/"])
        .first()
    )
    if twin is not None:
        raise BadAddress(f"The server at {cluster.admin_url} is the cluster {twin.cluster_id} already.")


def _prefixes_of_others(cluster_id: str) -> list[tuple[str, str]]:
    rows = Cluster.objects.exclude(pk=cluster_id).values_list("cluster_id", "prefix_v4", "prefix_v6")
    return [(other, prefix) for other, v4, v6 in rows for prefix in (v4, v6)]


def _give_admin_key(cluster: Cluster) -> None:
    """ACS gives itself a key to a server of a fleet: inserted into the fleet's database, sealed on the row."""
    fleet = cluster.fleet
    if fleet is None:
        raise ValueError(f"{cluster.cluster_id} is external: its key comes from its operator")
    with transaction.atomic():
        if fleet.is_own:
            with connection.cursor() as cursor:
                cursor.execute("select pg_has_role(current_user, %s, 'member')", [roles.SCHEMA_OWNER])
                if cursor.fetchone()[0]:
                    cursor.execute(f"set local role {roles.SCHEMA_OWNER}")
                key = admin_keys.insert(cursor, cluster.cluster_id, lifetime=ADMIN_KEY_LIFETIME)
                cursor.execute("reset role")
        else:
            with connect.connect(connect.conninfo_of(fleet, "acs_worker")) as link:
                key = admin_keys.insert(link, cluster.cluster_id, lifetime=ADMIN_KEY_LIFETIME)
        cluster.admin_key_sealed = clusters.seal_key(cluster.cluster_id, key)
        Cluster.objects.filter(pk=cluster.pk).update(admin_key_sealed=cluster.admin_key_sealed)


@dataclass(frozen=True)
class Facts:
    """What the server told of itself."""

    version: str
    noise_public_key: str


def _look(cluster: Cluster, admin: Admin) -> Facts:
    """Raises: NoAnswer, UnsupportedVersion, Unhealthy, OtherNoiseKey, UnusablePrefix, AdminKeyRefused, PolicyNotInDatabase."""
    fleet = cluster.fleet
    try:
        version, noise_key = admin.version(), admin.noise_public_key()
    except ClusterError as error:
        raise inspection.silent(error) from error
    inspection.check_version(version, fleet_version=fleet.headscale_version if fleet else "")
    inspection.check_health(admin)
    expected = noise.public_of(fleets.noise_key_of(fleet)) if fleet and fleet.noise_key_sealed else cluster.noise_public_key
    inspection.check_noise_key(noise_key, expected, of_fleet=fleet is not None)
    inspection.read_policy(admin)  # the admin key is accepted, and the policy is not a file
    if cluster.is_external and cluster.registered_at is None:  # later, devices that moved here bring addresses of other clusters
        try:
            inspection.check_addresses(admin.nodes(), cluster.prefix_v4, cluster.prefix_v6)
        except ClusterError as error:
            raise inspection.silent(error) from error
    return Facts(version, noise_key)


def _settle_policy(cluster: Cluster, admin: Admin, *, replace_policy: bool, now: datetime) -> str:
    """Store the base policy or, where tenants live here under none of ours, what they wish for.

    Raises: ForeignPolicy, PolicyRejected, PolicyNotInDatabase, NoAnswer.
    """
    present = inspection.read_policy(admin)
    if present is not None and not policy.is_ours(present.document) and not replace_policy:
        raise inspection.ForeignPolicy(
            "The server has a policy that ACS did not write. ACS owns a cluster's whole policy, for its tenants' sake: keep a copy of it "
            "(`headscale policy get`) and register with --replace-policy."
        )
    has_tenants = Binding.objects.across_tenants().filter(cluster_id=cluster.pk).exists()
    is_base = present is not None and present.document == policy.base()
    if present is not None and policy.is_ours(present.document) and has_tenants and not is_base:
        return "kept"
    if has_tenants and (compiled := _push(cluster, now)) is not None:
        return "kept" if present is not None and present.document == compiled else "stored" if present is None else "replaced"
    if is_base:
        return "kept"
    inspection.store_policy(admin, policy.base())  # keeps tenants apart; what else they wish for is pushed as soon as it can be
    return "stored" if present is None else "replaced"


def _push(cluster: Cluster, now: datetime) -> str | None:
    """The server lost what its tenants wish for, or never had it: the document that it runs now, unless it cannot be brought there at once."""
    writers.distrust(cluster.pk, now=now)
    done = pushing.write(cluster, now)
    return done.document if done is not None and done.state == done.State.STORED else None


@transaction.atomic
def _admit(cluster: Cluster, facts: Facts, done: str, *, cordoned: bool, actor: str, now: datetime) -> Cluster:
    """Write what was found. Registrations wait for each other here, and prefixes are compared again. Raises: UnusablePrefix."""
    states = dict(Cluster.objects.select_for_update(of=("self",)).order_by("pk").values_list("pk", "state"))
    inspection.check_prefixes(cluster.prefix_v4, cluster.prefix_v6, _prefixes_of_others(cluster.pk))
    cluster.state = Cluster.State(states.get(cluster.pk, Cluster.State.OFFLINE))
    if cluster.state == Cluster.State.OFFLINE:
        cluster.state = Cluster.State.CORDONED if cordoned else Cluster.State.ACTIVE
    cluster.version, cluster.noise_public_key = facts.version, facts.noise_public_key
    cluster.registered_at = cluster.registered_at or now
    if cluster.pk in states:  # never the ledger, which bindings raise meanwhile
        cluster.save(update_fields=["state", "version", "noise_public_key", "registered_at", *(TOLD if cluster.is_external else ())])
    else:
        cluster.save(force_insert=True)
    audit.record(
        "cluster.register", actor=actor, tenant=None, target=cluster.pk, now=now, state=cluster.state, version=facts.version, policy=done
    )
    return cluster
