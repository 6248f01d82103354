"""A small world for the laws of quota and grants: one tenant, its credentials, a server and machines; and the laws themselves, read from the rows.

Time passes by ageing the rows, so that the database, the server and the service keep one clock. A kill is an exception that nobody catches, at a
statement or a commit of a request, after which the connection is gone: what a killed process leaves is what its database had committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
import time_machine
from django.db import connection
from django.utils import timezone
from psycopg.rows import dict_row

from acs import poll as polling
from acs.poll import Observation
from acs.sweep import sweep
from placement import device_verbs, events
from placement.models import Cluster, Device, Fleet, Watch
from tenants import credentials, enrolments, lifecycle, plans
from tenants.errors import TenantError
from tenants.models import EnrolmentKey, Plan, Tenant
from tests import factories
from tests.conftest import FleetCluster, url_as
from tests.doors import bootstrap
from tests.fakes.fleet_server import FleetServer
from tests.servers import JoinRefused

AGEING = {
    "placement_slot": ("taken_at", "released_at"),
    "placement_grant": ("created_at", "expires_at", "issued_at", "redeemed_at", "settled_at"),
    "placement_device": ("joined_at", "seen_at", "last_seen", "gone_at", "first_online_at"),
    "placement_echo": ("created_at",),
    "placement_watch": ("attempted_at", "complete_at"),
    "tenants_enrolmentkey": ("created_at", "expires_at", "revoked_at"),
    "headscale.pre_auth_keys": ("created_at", "expiration"),
    "headscale.nodes": ("created_at", "last_seen"),
}
CLEARED = (
    "placement_echo", "placement_device", "placement_grant", "placement_slot", "placement_binding", "tenants_enrolment", "tenants_enrolmentkey",
    "tenants_quota", "placement_decision", "tenants_tenant", "placement_watch", "placement_pollrun", "headscale.nodes", "headscale.pre_auth_keys",
    "headscale.users", "headscale.event",
)  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two uses": {"max_uses": 2},
    "one device": {"max_devices": 1},
    "one device twice": {"max_uses": 2, "max_devices": 1},
    "keeps": {"re_enrolment": "keep"},
    "once": {"re_enrolment": "never"},
    "approved": {"approval": True},
}
WHO = "system:tests"
PATIENCE = timedelta(minutes=2)  # longer than any process is slow


class Killed(BaseException):
    """The process is dead here."""


@contextmanager
def killed_at(point: int, *, after: bool) -> Iterator[None]:
    """Dies before or after the so manieth statement or commit of this thread. Nothing happens where there are fewer."""
    count = 0

    def act(run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count < point:
            return run(*args, **kwargs)
        if count == point and after:
            run(*args, **kwargs)
        elif connection.connection is not None:  # what is not committed never happened
            connection.connection.rollback()
        raise Killed

    commit = connection._commit
    connection._commit = lambda: act(commit)  # type: ignore[method-assign]
    try:
        with connection.execute_wrapper(act):
            yield
    except Killed:
        connection._commit = commit  # type: ignore[method-assign]
        connection.close()
    finally:
        connection._commit = commit  # type: ignore[method-assign]


@dataclass(frozen=True)
class Request:
    """What a device asks, and with which of the tenant's credentials."""

    credential: str
    registration_id: str | None
    idempotency_key: str | None
    hostname: str

    @property
    def body(self) -> dict[str, str]:
        words = {"registration_id": self.registration_id, "hostname": self.hostname}
        return {name: value for name, value in words.items() if value}


@dataclass
class Told:
    """What was answered under an idempotency key."""

    body: dict[str, str]
    auth_key: str
    age: timedelta = timedelta()


class Expected(dict[str, Any]):
    """The answers that are right: `any` of (status, code), and the key where it is known."""


class World:
    """One tenant on one cluster."""

    def __init__(self, cluster: FleetCluster, server: FleetServer, *, limit: int, lifetime: timedelta, kinds: tuple[str, str]) -> None:
        self.cluster_id, self.server = cluster.cluster_id, server
        self.sql = psycopg.connect(url_as("postgres"), autocommit=True, row_factory=dict_row)
        self.sql.execute("set session_replication_role = replica")
        self.tenant = factories.tenant(max_devices=limit)
        named = {"first": KINDS[kinds[0]], "second": KINDS[kinds[1]]}
        made = {name: factories.enrolment_key(self.tenant, key_lifetime=lifetime, **fields) for name, fields in named.items()}
        self.keys = {name: key for name, (key, _) in made.items()}
        self.secrets = {name: secret for name, (_, secret) in made.items()}
        self.told: dict[tuple[str, str], Told] = {}
        self.in_doubt: set[tuple[str, str]] = set()
        self.handed: list[str] = []
        self.looks: list[Observation] = []
        self.moment: datetime | None = None  # when a slow process began what it has not done yet

    def close(self) -> None:
        connection.close()
        self.sql.execute("; ".join(f"delete from {table}" for table in CLEARED).encode())
        self.sql.close()

    # What is

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        return self.sql.execute(query.encode(), values).fetchall()

    def one(self, query: str, *values: Any) -> dict[str, Any]:
        return (self.rows(query, *values) or [{}])[0]

    @property
    def cluster(self) -> Cluster:
        return Cluster.objects.select_related("fleet").get(pk=self.cluster_id)

    def of_credential(self, name: str) -> EnrolmentKey:
        return EnrolmentKey.objects.of(self.tenant).select_related("tenant").get(pk=self.keys[name].pk)

    def expected(self, asked: Request) -> Expected:  # noqa: PLR0911 - one line per answer
        """The right answer as the rows stand, told in this page's own words."""
        key = self.one("select * from tenants_enrolmentkey where id = %s", self.keys[asked.credential].pk)
        tenant = self.one("select state from tenants_tenant where id = %s", self.tenant.pk)
        own = self.one(
            "select * from tenants_enrolment where tenant_id = %s and registration_id = %s", self.tenant.pk, asked.registration_id
        )
        if key["revoked_at"]:
            return Expected(any={(401, "bad-credential")})
        if tenant["state"] != "active":
            return Expected(any={(403, "tenant-suspended")})
        if own.get("state") == "disabled":
            return Expected(any={(403, "registration-refused")})
        if key["approval"] and own.get("state") != "enabled":
            return Expected(any={(202, "approval-pending") if asked.registration_id else (400, "malformed-request")})
        if asked.idempotency_key:
            name = (asked.credential, asked.idempotency_key)
            if name in self.in_doubt:
                return Expected(any={(200, ""), (200, "enrolled"), (422, "idempotency-mismatch")} | self._refusals(asked, key, own))
            if (told := self.told.get(name)) and told.age < timedelta(hours=24):
                same = told.body == asked.body
                return Expected(any={(200, "")}, key=told.auth_key) if same else Expected(any={(422, "idempotency-mismatch")})
        return self._expected_anew(asked, key, own)

    def _slot(self, asked: Request) -> dict[str, Any]:
        return self.one(
            "select * from placement_slot where tenant_id = %s and registration_id = %s and released_at is null",
            self.tenant.pk,
            asked.registration_id,
        )

    def _expected_anew(self, asked: Request, key: dict[str, Any], own: dict[str, Any]) -> Expected:
        slot = self._slot(asked)
        live = self.one(
            "select *, extract(epoch from expires_at - clock_timestamp()) as left from placement_grant where slot_id = %s and state = 'issued'",
            slot.get("id"),
        )
        if live and live["enrolment_key_id"] == key["id"]:
            if abs(live["left"] - 60) < 5:
                return Expected()
            if live["left"] > 60:
                return Expected(any={(200, "")}, prefix=live["key_prefix"])
        there = slot and self.one("select 1 from placement_device where slot_id = %s and gone_at is null", slot["id"])
        re_enrolment = own.get("re_enrolment") or key["re_enrolment"]
        if there and re_enrolment == "keep":
            return Expected(any={(200, "enrolled")})
        refusals = self._refusals(asked, key, own)
        return Expected(any=refusals or {(200, "")}, fresh=not refusals)

    def _refusals(self, asked: Request, key: dict[str, Any], own: dict[str, Any]) -> set[tuple[int, str]]:
        slot = self._slot(asked)
        quota = self.one("select * from tenants_quota where tenant_id = %s", self.tenant.pk)
        refusals: set[tuple[int, str]] = set()
        if (own.get("re_enrolment") or key["re_enrolment"]) == "never" and asked.registration_id:
            was = self.one(
                "select 1 from placement_slot s where s.tenant_id = %s and s.registration_id = %s and (exists (select 1 from placement_grant g"
                " where g.slot_id = s.id and g.state = 'redeemed') or s.released_at is null and exists (select 1 from placement_device d"
                " where d.slot_id = s.id and d.gone_at is null))",
                self.tenant.pk,
                asked.registration_id,
            )
            if was:
                return {(403, "registration-refused")}
        if key["max_uses"] is not None and key["uses"] >= key["max_uses"]:
            refusals.add((401, "bad-credential"))
        if not slot and key["max_devices"] is not None and key["devices"] >= key["max_devices"]:
            refusals.add((403, "quota-exceeded"))
        if not slot and quota["used"] >= quota["limit"]:
            refusals.add((403, "quota-exceeded"))
        machines = slot and self.one("select count(*) from placement_device where slot_id = %s and gone_at is null", slot["id"])["count"]
        if machines and quota["used"] + machines - 1 > quota["limit"]:
            refusals.add((403, "quota-exceeded"))
        return refusals

    # What devices, servers and people do

    def ask(self, asked: Request) -> tuple[int, str, str]:
        """Status, code (or `enrolled`) and key."""
        answer = bootstrap(self.secrets[asked.credential], asked.body, idempotency_key=asked.idempotency_key or "")
        body = answer.json()
        auth_key = body.get("auth_key", "")
        if auth_key and auth_key not in self.handed:
            self.handed.append(auth_key)
        return answer.status_code, "enrolled" if body.get("auth_mode") == "enrolled" else body.get("code", ""), auth_key

    def ask_and_judge(self, asked: Request) -> None:
        right, before = self.expected(asked), set(self.handed)
        status, code, auth_key = self.ask(asked)
        if right.get("any"):
            assert (status, code) in right["any"], f"{asked}: {(status, code)} where {right} was due"
        if right.get("key"):
            assert auth_key == right["key"], f"{asked}: another key than this idempotency key was answered with"
        if right.get("prefix"):
            assert auth_key[11:23] == right["prefix"], f"{asked}: another key than the live one of the slot"
        if right.get("fresh"):
            assert auth_key not in before, f"{asked}: a key that was handed out before"
        if auth_key and asked.idempotency_key:
            name = (asked.credential, asked.idempotency_key)
            held = self.told.get(name)
            if held is None or held.age >= timedelta(hours=24) or name in self.in_doubt:
                self.told[name] = Told(asked.body, auth_key)
            self.in_doubt.discard(name)

    def ask_and_die(self, asked: Request, point: int, *, after: bool) -> None:
        if asked.idempotency_key:
            self.doubt(asked)
        with killed_at(point, after=after):
            self.ask(asked)

    def doubt(self, asked: Request) -> None:
        """Nobody heard the answer: this idempotency key may have been used, or not."""
        name = (asked.credential, asked.idempotency_key or "")
        told = self.told.get(name)
        if told is None or told.age >= timedelta(hours=24):
            self.told.pop(name, None)
            self.in_doubt.add(name)

    def join(self, pick: int, machine: str) -> None:
        if self.handed:
            with suppress(JoinRefused):
                self.server.join(self.handed[-1 - pick % len(self.handed)], machine)

    def leave(self, pick: int) -> None:
        if nodes := self.server.node_ids():
            self.server.forget(nodes[pick % len(nodes)])

    def delete(self, pick: int) -> None:
        present = list(Device.objects.of(self.tenant).filter(gone_at=None).order_by("joined_at", "pk"))
        if present:
            device_verbs.delete(present[pick % len(present)], now=timezone.now(), actor=WHO)

    def toggle(self, pick: int) -> None:
        if nodes := self.server.node_ids():
            self.server.online ^= {nodes[pick % len(nodes)]}

    def consume(self) -> None:
        events.consume(Fleet.objects.get(pk="default"))

    def poll(self) -> None:
        Watch.objects.filter(pk=self.cluster_id).update(attempted_at=None)
        polling.poll(self.cluster_id, now=timezone.now())

    def look(self) -> None:
        """The first half of a poll; others do things before its second half."""
        self.looks.append(polling.look(self.cluster, started_at=timezone.now()))

    def look_late(self, pick: int, machine: str) -> None:
        """A machine joins after the nodes were listed and before the keys are read."""
        self.server.meanwhile = lambda: self.join(pick, machine)
        self.look()

    def wait(self, seconds: int) -> None:
        self.pass_time(timedelta(seconds=seconds))

    def record(self, pick: int) -> None:
        if self.looks:
            seen = self.looks.pop(pick % len(self.looks))
            Watch.objects.get_or_create(cluster_id=self.cluster_id)
            polling.record(self.cluster, seen, seconds=0.0, now=timezone.now())

    def sweep(self) -> None:
        sweep(self.cluster_id, now=timezone.now())

    def dawdle(self) -> None:
        """A process begins something and is slow about it."""
        self.moment = timezone.now()

    def sweep_slowly(self) -> None:
        if self.moment:
            sweep(self.cluster_id, now=self.moment)

    def ask_slowly(self, asked: Request) -> None:
        if self.moment:
            if asked.idempotency_key:
                self.doubt(asked)
            with time_machine.travel(self.moment, tick=False):
                assert self.ask(asked)[0] < 500

    def revoke(self, credential: str) -> None:
        with self.allowing():
            credentials.revoke(self.of_credential(credential), now=timezone.now(), actor=WHO)

    def suspend(self) -> None:
        with self.allowing():
            lifecycle.suspend(self.tenant, now=timezone.now(), actor=WHO)

    def resume(self) -> None:
        with self.allowing():
            lifecycle.resume(self.tenant, now=timezone.now(), actor=WHO)

    def limit(self, devices: int) -> None:
        plans.change(Plan.objects.get(tenants=self.tenant), max_devices=devices, now=timezone.now(), actor=WHO)

    def enrol(self, registration_id: str, state: str, re_enrolment: str) -> None:
        tenant = Tenant.objects.get(pk=self.tenant.pk)
        enrolments.put(tenant, registration_id, state=state, now=timezone.now(), actor=WHO, re_enrolment=re_enrolment)

    @contextmanager
    def allowing(self) -> Iterator[None]:
        """What is done already is refused."""
        with suppress(TenantError):
            yield

    def pass_time(self, span: timedelta) -> None:
        for table, columns in AGEING.items():
            shifted = ", ".join(f"{column} = {column} - %s" for column in columns)
            self.sql.execute(f"update {table} set {shifted}".encode(), [span] * len(columns))
        self.looks = [aged(seen, span) for seen in self.looks]
        for told in self.told.values():
            told.age += span
        if self.moment:
            self.moment = self.moment - span if span < PATIENCE else None

    # The laws

    def laws(self) -> list[str]:
        """Every law that does not hold, with what breaks it."""
        return [f"{law}: {broken}" for law, query in LAWS.items() if (broken := self.rows(query))]

    def come_to_rest(self) -> None:
        """Whatever was under way ends: every event is heard, every key expires, two complete polls follow."""
        self.pass_time(timedelta(hours=25))
        self.consume()
        self.looks.clear()
        for _ in range(3):
            self.look()
            self.record(0)
        left = self.rows(AT_REST)
        assert not left, f"at rest a slot is held by nothing: {left}"
        open_grants = self.rows("select id, state from placement_grant where settled_at is null")
        assert not open_grants, f"at rest a grant is not settled: {open_grants}"
        devices_there = {row["node_id"] for row in self.rows("select node_id from placement_device where gone_at is null")}
        assert devices_there == set(self.server.node_ids())


def aged(seen: Observation, span: timedelta) -> Observation:
    nodes = [replace(node, joined_at=node.joined_at - span, last_seen=node.last_seen and node.last_seen - span) for node in seen.nodes]
    keys = {key_id: replace(fact, expiration=fact.expiration and fact.expiration - span) for key_id, fact in seen.keys.items()}
    return replace(seen, started_at=seen.started_at - span, nodes=nodes, keys=keys)


USABLE = "not k.used and k.expiration > clock_timestamp()"
LAWS = {
    "the quota counts the taken slots": (
        "select q.used, count(s.id) from tenants_quota q left join placement_slot s on s.tenant_id = q.tenant_id and s.released_at is null"
        " group by q.tenant_id, q.used having q.used <> count(s.id)"
    ),
    "a credential counts the devices it let in": (
        "select k.id, k.devices, count(s.id) from tenants_enrolmentkey k left join placement_slot s on s.enrolment_key_id = k.id and s.released_at is null"
        " group by k.id having k.devices <> count(s.id) or k.devices > k.max_devices"
    ),
    "a credential counts its uses": (
        "select k.id, k.uses, count(g.id) from tenants_enrolmentkey k left join placement_grant g on g.enrolment_key_id = k.id"
        " and (g.settled_at is null or g.state = 'redeemed') group by k.id having k.uses <> count(g.id) or k.uses > k.max_uses"
    ),
    "a slot has one live grant": (
        "select slot_id from placement_grant where state in ('reserved', 'issued', 'unknown') group by slot_id having count(*) > 1"
    ),
    "a registration id has one slot": (
        "select registration_id from placement_slot where released_at is null and registration_id is not null"
        " group by tenant_id, registration_id having count(*) > 1"
    ),
    "a slot has one usable key": (
        f"select g.slot_id from placement_grant g join headscale.pre_auth_keys k on k.id = g.key_id where {USABLE} group by g.slot_id having count(*) > 1"
    ),
    "keys and grants belong to each other": (
        "select g.id, k.id as key_id from placement_grant g full join headscale.pre_auth_keys k on k.id = g.key_id and k.prefix = g.key_prefix"
        " where g.id is null or k.id is null"
    ),
    "a grant is redeemed only by its used key": (
        "select g.id from placement_grant g join headscale.pre_auth_keys k on k.id = g.key_id where g.state = 'redeemed' and not k.used"
    ),
    "no slot is released and no use given back while a key may be used": (
        "select g.id, g.state, s.released_at, g.settled_at from placement_grant g join placement_slot s on s.id = g.slot_id"
        f" join headscale.pre_auth_keys k on k.id = g.key_id where {USABLE} and (s.released_at is not null or g.settled_at is not null)"
    ),
    "a used key is never taken for unused": (
        "select g.id, g.state from placement_grant g join headscale.pre_auth_keys k on k.id = g.key_id"
        " where k.used and g.settled_at is not null and g.state <> 'redeemed'"
    ),
    "a device has a slot": (
        "select d.id from placement_device d left join placement_slot s on s.id = d.slot_id and s.released_at is null"
        " where d.gone_at is null and s.id is null"
    ),
    "a device that came with a grant is no unexpected one": (
        "select d.id from placement_device d where d.unexpected = 'no-grant' and d.grant_id is null"
    ),
    "a machine that joined has a slot before it is observed": (
        "select n.id, g.state, s.released_at from headscale.nodes n join placement_grant g on g.key_id = n.auth_key_id join placement_slot s on s.id = g.slot_id"
        " where s.released_at is not null and not exists (select 1 from placement_device d join placement_slot own on own.id = d.slot_id"
        " where d.node_id = n.id and d.gone_at is null and own.released_at is null)"
    ),
}
AT_REST = (
    "select s.id, s.registration_id from placement_slot s where s.released_at is null and not exists"
    " (select 1 from placement_device d where d.slot_id = s.id and d.gone_at is null)"
)
