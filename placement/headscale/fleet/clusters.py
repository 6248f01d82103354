"""Add a cluster to a fleet: its login, its addresses, its server's files, its row. The verb of `manage.py fleet add-cluster`.

Repeating it changes nothing: what a first run chose (addresses, password) is kept. The row is made in the state offline;
`cluster register` looks at the running server and lets tenants in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from django.db import transaction

from placement import derp, reshaping
from placement.headscale.fleet import config, connect, fleets, noise, prefixes, probe, roles, schema
from placement.headscale.fleet.connect import Connection
from placement.headscale.fleet.fleets import Done
from placement.models import Cluster, Fleet
from tenants.errors import MalformedRequest


class CannotAdd(Exception):
    """The wish contradicts the fleet: a malformed name, taken addresses, a cluster_id that stands for another server."""


@dataclass(frozen=True)
class Wish:
    """What the operator asks for. Empty prefixes: the next free ones. `capacity` is in devices. None: as it is, or the usual of a new cluster."""

    cluster_id: str
    region: str
    listen: str
    metrics_listen: str
    client_url: str
    folder: Path
    kind: str | None = None
    capacity: int | None = None
    service_class: str | None = None
    residency: str | None = None
    prefix_v4: str = ""
    prefix_v6: str = ""
    derp_map: config.Map | None = None
    batch_timeout: str = ""


def add(connection: Connection, fleet: Fleet, wish: Wish, *, conninfo: str) -> Done:
    """As the owner of the fleet's database. Raises: CannotAdd, prefixes.NoRoom."""
    if not re.fullmatch(r"[a-z0-9]{1,32}", wish.cluster_id):
        raise CannotAdd(f"{wish.cluster_id!r} is no cluster_id: 1 to 32 lower-case letters and digits")
    if wish.cluster_id in (probe.BYSTANDER, probe.STAND_IN):
        raise CannotAdd(f"{wish.cluster_id} is the name that `fleet check` uses for its own attempts")
    known = Cluster.objects.filter(pk=wish.cluster_id).first()
    if known and known.fleet_id != fleet.pk:
        raise CannotAdd(f"{wish.cluster_id} is a cluster of {known.fleet_id or 'its own, external'}")
    _check_shape(wish, known)
    done = Done(version=schema.version(connection))
    block_v4, block_v6 = blocks = reserve(connection, wish)
    if roles.make_server(connection, wish.cluster_id):
        done.changes.append(f"made the login {roles.login_of(wish.cluster_id)}")
    roles.admit_server(connection, wish.cluster_id)
    written = _write_files(connection, fleet, wish, blocks, conninfo)
    if written:
        done.changes.append(f"wrote {', '.join(map(str, written))}")
    if _write_row(fleet, wish, blocks, known):
        done.changes.append(f"cluster {wish.cluster_id} with {block_v4} and {block_v6}, offline until it is registered")
    return done


def _check_shape(wish: Wish, known: Cluster | None) -> None:
    """What a registered cluster stands for is changed by `cluster set`, which asks what its tenants were promised. Raises: CannotAdd."""
    try:
        reshaping.check_form(_shape(wish))
    except MalformedRequest as error:
        raise CannotAdd(str(error)) from None
    if known is not None and known.registered_at is not None:
        for name, value in _shape(wish).items():
            if (present := getattr(known, name)) != value:
                raise CannotAdd(f"the {name} of {known.pk} is {present or 'empty'}: `manage.py cluster set {known.pk}` changes that")


def _shape(wish: Wish) -> dict[str, Any]:
    told = {name: getattr(wish, name) for name in ("region", "kind", "capacity", "service_class", "residency")}
    return {name: value for name, value in told.items() if value is not None}


def reserve(connection: Connection, wish: Wish) -> tuple[str, str]:
    """The cluster's blocks: those it has, or the wished ones, or the next free ones. Raises: CannotAdd, prefixes.NoRoom."""
    with schema.acting_as_owner(connection):
        rows = [
            (str(cluster), str(prefix)) for cluster, prefix in connection.execute("select cluster_id, prefix::text from headscale.prefix")
        ]
        own = [prefix for cluster, prefix in rows if cluster == wish.cluster_id]
        taken = [prefix for cluster, prefix in rows if cluster != wish.cluster_id]
        blocks = []
        for wished, mine, next_free in (
            (wish.prefix_v4, [prefix for prefix in own if ":" not in prefix], prefixes.next_v4),
            (wish.prefix_v6, [prefix for prefix in own if ":" in prefix], prefixes.next_v6),
        ):
            if wished and (why := prefixes.conflict(wished, taken)):
                raise CannotAdd(why)
            if wished and mine and wished not in mine:
                raise CannotAdd(f"{wish.cluster_id} hands out {', '.join(mine)} already; its devices keep those addresses")
            blocks.append(mine[0] if mine else wished or next_free(taken))
        connection.cursor().executemany(
            "insert into headscale.prefix (cluster_id, prefix) values (%s, %s) on conflict do nothing",
            [(wish.cluster_id, block) for block in blocks],
        )
    return blocks[0], blocks[1]


def _write_files(connection: Connection, fleet: Fleet, wish: Wish, blocks: tuple[str, str], conninfo: str) -> list[Path]:
    plan = config.Plan(
        server_url=wish.client_url,
        listen=wish.listen,
        metrics_listen=wish.metrics_listen,
        # headscale listens for gRPC whether wanted or not: on loopback, beside the listener, where 50443 would clash with a neighbour's
        grpc_listen=f"127.0.0.1:{_grpc_port(int(wish.listen.rpartition(':')[2]))}",
        base_domain=fleet.base_domain,
        prefix_v4=blocks[0],
        prefix_v6=blocks[1],
        conninfo=_login(connection, wish, conninfo),
        batch_timeout=wish.batch_timeout,
    )
    return config.write(wish.folder, plan, noise_key=fleets.noise_key_of(fleet), derp_map=wish.derp_map or _fleet_wide_map())


def _fleet_wide_map() -> config.Map:
    """What devices are told by ACS, for the server to start without it."""
    try:
        return derp.as_headscale(derp.fleet_wide())
    except derp.BadDerpMap as error:
        raise CannotAdd(str(error)) from error


def _grpc_port(listen_port: int) -> int:
    return listen_port + 20000 if listen_port < 45000 else listen_port - 20000


def _login(connection: Connection, wish: Wish, conninfo: str) -> str:
    """The server's connection string, with the password that its file holds already or a new one where the database asks for one."""
    role = roles.login_of(wish.cluster_id)
    if not roles.wants_password(conninfo, role):
        return connect.as_role(conninfo, role)
    path = wish.folder / "config.yaml"
    password = ""
    if path.exists():
        words = yaml.safe_load(path.read_text(encoding="utf-8"))["database"]["postgres"]
        password = str(words.get("pass") or "") if words.get("user") == role else ""
    return connect.as_role(conninfo, role, password or roles.new_password(connection, role))


@transaction.atomic
def _write_row(fleet: Fleet, wish: Wish, blocks: tuple[str, str], known: Cluster | None) -> bool:
    values = {
        **_shape(wish),
        "client_url": wish.client_url,
        "admin_url": f"http://{_reachable(wish.listen)}",
        "metrics_url": f"http://{_reachable(wish.metrics_listen)}/metrics",
        "prefix_v4": blocks[0],
        "prefix_v6": blocks[1],
        "noise_public_key": noise.public_of(fleets.noise_key_of(fleet)),
    }
    if known is None:
        Cluster.objects.create(cluster_id=wish.cluster_id, fleet=fleet, state=Cluster.State.OFFLINE, **values)
        return True
    changed = {name: value for name, value in values.items() if getattr(known, name) != value}
    return bool(changed) and Cluster.objects.filter(pk=known.pk).update(**changed) == 1


def _reachable(listen: str) -> str:
    """A listener on every address is reached on loopback, until the operator says otherwise in the cluster's row."""
    host, _, port = listen.rpartition(":")
    return f"{'127.0.0.1' if host in ('', '0.0.0.0', '[::]') else host}:{port}"  # noqa: S104 - compared, not bound
