"""What one statement tells about a device that asks: its credential, its tenant, where that lives, and what it was promised before.

The tenant and its binding are read FOR SHARE: a suspension or a move, which take the rows FOR UPDATE, waits for admissions
under way and is seen by all that follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection


@dataclass(frozen=True)
class Promise:
    """A grant as a repeated request finds it."""

    grant_id: UUID
    enrolment_key_id: UUID
    digest: bytes
    state: str
    slot_id: UUID
    cluster_id: str
    keyring_id: str
    key_id: int | None
    created_at: datetime
    expires_at: datetime
    answer_sealed: str
    tags: tuple[str, ...]

    @classmethod
    def read(cls, row: dict[str, Any], alias: str) -> Promise | None:
        if row[f"{alias}_id"] is None:
            return None
        return cls(
            grant_id=row[f"{alias}_id"],
            enrolment_key_id=row[f"{alias}_enrolment_key_id"],
            digest=bytes(row[f"{alias}_request_digest"]),
            state=row[f"{alias}_state"],
            slot_id=row[f"{alias}_slot_id"],
            cluster_id=row[f"{alias}_cluster_id"],
            keyring_id=row[f"{alias}_keyring_id"],
            key_id=row[f"{alias}_key_id"],
            created_at=row[f"{alias}_created_at"],
            expires_at=row[f"{alias}_expires_at"],
            answer_sealed=row[f"{alias}_answer_sealed"],
            tags=tuple(row[f"{alias}_tags"]),
        )


@dataclass(frozen=True)
class Standing:
    """A valid credential's holder, whose tenant is placed. What a device's own enrolment says has won over its credential's settings.

    `full`: the credential's devices are as many as it may have; `enrolment_state` is empty where nobody has heard of the registration id yet;
    `tags` are the tenant's own words;
    `machines`: how many devices on the server have the slot; `proves`: the credential proves the names of its devices; `proven`: such a one has asked for
    the slot before.
    """

    enrolment_key_id: UUID
    ephemeral: bool
    tags: list[str]
    key_lifetime: timedelta
    re_enrolment: str
    approval: bool
    full: bool
    enrolment_state: str
    machines: int
    proves: bool
    tenant_id: UUID
    account: str
    tenant_state: str
    restricted: bool
    cluster_id: str
    cluster_state: str
    client_url: str
    headscale_user_id: int
    fleet_name: str | None
    fleet_is_own: bool
    slot_id: UUID | None
    proven: bool
    repeated: Promise | None
    live: Promise | None

    @property
    def has_device(self) -> bool:
        return self.machines > 0


PROMISED = (
    "id",
    "enrolment_key_id",
    "request_digest",
    "state",
    "slot_id",
    "cluster_id",
    "keyring_id",
    "key_id",
    "created_at",
    "expires_at",
    "answer_sealed",
    "tags",
)


def _columns(alias: str) -> str:
    return ", ".join(f"{alias}.{column} as {alias}_{column}" for column in PROMISED)


STANDING = f"""
select k.id as enrolment_key_id, coalesce(e.ephemeral, k.ephemeral) as ephemeral, coalesce(e.tags, k.tags) as tags, coalesce(e.key_lifetime, k.key_lifetime) as key_lifetime,
    coalesce(nullif(e.re_enrolment, ''), k.re_enrolment) as re_enrolment, k.approval, coalesce(k.devices >= k.max_devices, false) as full,
    coalesce(e.state, '') as enrolment_state,
    (select count(*) from placement_device d where d.slot_id = s.id and d.gone_at is null) as machines, k.kind <> 'bearer' as proves,
    t.id as tenant_id, t.account, t.state as tenant_state, t.restricted_at is not null as restricted,
    b.cluster_id, c.state as cluster_state, b.headscale_user_id, c.client_url, c.fleet_id as fleet_name, coalesce(f.database_url_sealed = '', false) as fleet_is_own,
    s.id as slot_id, coalesce(s.proven, false) as proven, {_columns("repeated")}, {_columns("live")}
from tenants_enrolmentkey k
join tenants_tenant t on t.id = k.tenant_id
join placement_binding b on b.tenant_id = t.id
join placement_cluster c on c.cluster_id = b.cluster_id
left join placement_fleet f on f.name = c.fleet_id
left join tenants_enrolment e on e.tenant_id = t.id and e.registration_id = %(registration_id)s
left join placement_grant repeated on repeated.enrolment_key_id = k.id and repeated.idempotency_key = %(idempotency_key)s
left join placement_slot s on s.tenant_id = t.id and s.registration_id = %(registration_id)s and s.released_at is null
left join placement_grant live on live.slot_id = s.id and live.state in ('queued', 'reserved', 'issued', 'unknown')
where k.digest = %(digest)s and k.revoked_at is null and (k.expires_at is null or k.expires_at > %(now)s)
  and (%(account)s = '' or t.account = %(account)s)
for share of t, b
"""  # noqa: S608 - the column names are this page's own


_names: list[str] = []


def _columns_of(cursor: Any) -> list[str]:
    """The statement's columns, read once: they are always the same, and there are forty."""
    if not _names:
        _names[:] = [column.name for column in cursor.description]
    return _names


def look_up(*, digest: bytes, account: str, idempotency_key: str | None, registration_id: str | None, now: datetime) -> Standing | None:
    """Who presents this secret, if it is valid now, fits the account and its tenant is placed. Must run inside a transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            STANDING,
            {"digest": digest, "account": account, "idempotency_key": idempotency_key, "registration_id": registration_id, "now": now},
        )
        rows = cursor.fetchall()
        if not rows:
            return None
        row = dict(zip(_columns_of(cursor), rows[0], strict=True))
    facts = {name: value for name, value in row.items() if not name.startswith(("repeated_", "live_"))}
    return Standing(**facts, repeated=Promise.read(row, "repeated"), live=Promise.read(row, "live"))


def promise_of(grant_id: UUID) -> Promise | None:
    """One grant, as a repeated request finds it."""
    with connection.cursor() as cursor:
        cursor.execute(f"select {_columns('g')} from placement_grant g where g.id = %s", [grant_id])  # noqa: S608 - the column names are this page's own
        rows = cursor.fetchall()
        names = [column.name for column in cursor.description]
    return Promise.read(dict(zip(names, rows[0], strict=True)), "g") if rows else None


@dataclass(frozen=True)
class Home:
    """Where an account lives; `cluster_id` is None before its first device."""

    cluster_id: str | None
    client_url: str


HOME = """
select b.cluster_id, coalesce(c.client_url, '') from tenants_tenant t
left join placement_binding b on b.tenant_id = t.id left join placement_cluster c on c.cluster_id = b.cluster_id
where t.account = %(account)s and t.state <> 'closed'
"""


def home_of(account: str) -> Home | None:
    """None where no tenant has this account, or a closed one had it."""
    with connection.cursor() as cursor:
        cursor.execute(HOME, {"account": account})
        row = cursor.fetchone()
    return Home(*row) if row else None
