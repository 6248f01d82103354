"""Who may do what with ACS's own tables, in the schema `public`. Applied by `fleet init` and `fleet upgrade`, after migrations.

Web and worker share the everyday tables; whatever is not so is named here. A lock (FOR UPDATE, FOR SHARE) needs the right to update
one column: where a role only locks, that is the one harmless column it gets.
"""

from __future__ import annotations

import re

from psycopg import sql

from placement.headscale.fleet.connect import Connection

FULL = "select, insert, update, delete"
APPEND = "select, insert"
READ = "select"
NONE = ""

Rights = tuple[str, str, str]  # of acs_web, acs_worker, acs_mover
EVERYDAY: Rights = (FULL, FULL, READ)
RIGHTS: dict[str, Rights] = {
    # the audit is appended to, never changed
    "tenants_auditevent": (APPEND, APPEND, APPEND),
    "tenants_auditseal": (APPEND, APPEND, APPEND),
    "tenants_auditchain": ("select, insert, update", "select, insert, update", "select, insert, update"),
    # clusters: made by the owner's commands, observed by the worker; the door counts what it promised
    "placement_fleet": (READ, "select, update (headscale_version)", READ),
    "placement_cluster": (
        "select, update (committed), update (tenants), update (reserved_for_id), update (state)",
        "select, update",
        "select, update (committed), update (tenants)",
    ),
    "placement_topology": (READ, READ, READ),  # a trigger writes it
    "placement_heat": (READ, FULL, READ),
    "placement_tenanthour": (READ, FULL, READ),
    "placement_pollrun": (READ, APPEND, READ),  # evidence
    "placement_loadsample": (READ, FULL, READ),
    "placement_sighting": (NONE, "select, insert, delete", NONE),
    # who lives where: the door binds once, only a move rebinds
    "placement_binding": (
        "select, insert, update (expected_load)",
        "select, update (expected_load), update (rules), update (headscale_user_id), delete",
        "select, update",
    ),
    "placement_stay": ("select, insert", "select, insert, update (until), update (changed_at)", "select, insert, update"),
    "placement_slot": (FULL, FULL, "select, update"),
    "placement_grant": (FULL, FULL, "select, update"),
    "placement_device": (FULL, FULL, "select, update"),
    "tenants_quota": (FULL, FULL, "select, update"),
    "tenants_tenant": (FULL, FULL, "select, update (title)"),
    # credentials
    "tenants_enrolmentkey": (FULL, "select, update, delete", NONE),
    "tenants_enrolmentgroup": (FULL, READ, NONE),
    "tenants_nonce": (APPEND, "select, delete", NONE),
    "tenants_limitwindow": (FULL, FULL, NONE),
    "tenants_apitoken": (FULL, "select, update, delete", NONE),
    "tenants_trustpolicy": (FULL, "select, delete", NONE),
    "tenants_issuerkeys": ("select, insert, update", "select, insert, update", NONE),
    "tenants_spenttoken": ("select, insert, delete", "select, delete", NONE),  # a used token never becomes another one
    # policies: the door stores versions and asks for pushes, the worker pushes and audits
    "tenants_policyversion": (APPEND, READ, READ),  # what was ever in force stays readable
    "tenants_networkpolicy": ("select, insert, update", "select, update", READ),
    "tenants_peering": ("select, insert, update", "select, update, delete", READ),  # what ended is forgotten in time; the audit keeps it
    "placement_clusterpolicy": ("select, insert, update", "select, insert, update", "select, insert, update"),
    "placement_policypush": (READ, FULL, READ),
    "placement_auditfinding": ("select, update", FULL, READ),
    "placement_route": (FULL, FULL, "select, update"),
    # billing: what is sold is the operators'; the worker settles what was agreed; ledgers are appended to
    "billing_planversion": (FULL, READ, NONE),
    "billing_pricecomponent": (FULL, READ, NONE),
    "billing_taxrate": (FULL, READ, NONE),
    "billing_coupon": ("select, insert, update", READ, NONE),
    "billing_redemption": (APPEND, READ, NONE),
    "billing_override": (FULL, READ, NONE),
    "billing_billingaccount": ("select, insert, update", "select, update (language)", NONE),  # it locks the row of a ledger
    "billing_creditentry": (APPEND, APPEND, NONE),
    # invoices: whoever finalises numbers them; triggers keep what is finalised
    "billing_invoice": (FULL, FULL, NONE),
    "billing_invoiceline": (FULL, FULL, NONE),
    "billing_numberseries": ("select, insert, update", "select, insert, update", NONE),
    "billing_closedperiod": ("select, insert, update", "select, insert, update", NONE),
    # payments: what banks said stays, what was paid is appended to
    "billing_paymentreference": (APPEND, APPEND, NONE),
    "billing_statement": (APPEND, APPEND, NONE),
    "billing_statemententry": ("select, insert, update (state), update (reason)", "select, insert, update (state), update (reason)", NONE),
    "billing_payment": (APPEND, APPEND, NONE),
    "billing_paymentlink": ("select, insert, update (ended_at)", "select, update (ended_at)", NONE),
    "billing_providerevent": ("select, insert, update", "select, update", NONE),
    "billing_dunningcase": (FULL, FULL, NONE),
    "billing_quotawarning": (READ, FULL, NONE),
    # metering: the worker counts, nobody changes what was counted
    "billing_meter": (READ, "select, insert, update", READ),
    "billing_opensession": (READ, FULL, READ),
    "billing_session": (READ, APPEND, READ),
    "billing_coverage": (READ, APPEND, READ),
    "billing_sample": (NONE, "select, insert, delete", NONE),
    "billing_deviceday": (READ, FULL, READ),
    "billing_usagehour": (READ, FULL, READ),
    "billing_dirtyday": ("select, insert, update", FULL, READ),
    "billing_correction": (APPEND, APPEND, READ),
    "billing_retraction": (APPEND, APPEND, READ),
    # people, their accounts and addresses
    "tenants_membership": (FULL, READ, NONE),
    "account_emailaddress": (FULL, READ, NONE),
    "account_emailconfirmation": (FULL, NONE, NONE),
    # Django's own
    "auth_user": (FULL, READ, NONE),
    "auth_group": (FULL, READ, NONE),
    "auth_permission": (READ, READ, NONE),
    "auth_user_groups": (FULL, READ, NONE),
    "auth_user_user_permissions": (FULL, READ, NONE),
    "auth_group_permissions": (FULL, READ, NONE),
    "django_session": (FULL, "select, delete", NONE),
    "django_admin_log": ("select, insert, delete", NONE, NONE),
    "django_content_type": (READ, READ, READ),
    "django_migrations": (READ, READ, READ),
}
MOVES: Rights = (FULL, FULL, FULL)
MONTH = re.compile(r"(billing|placement)_\w+_[0-9]{4}_[0-9]{2}")  # a partition: reached through its table alone
CALLS = {  # functions of the owner's that act with its rights; nobody else may call them
    "billing_make_months(date, date)": ("acs_worker",),
    "billing_drop_months(text, date)": ("acs_worker",),
    "placement_make_months(date, date)": ("acs_worker",),
    "placement_drop_months(date)": ("acs_worker",),
}
ROLES = ("acs_web", "acs_worker", "acs_mover")


def rights_on(table: str) -> dict[str, str]:
    """The rights of each of ACS's roles on one table, in PostgreSQL's words; an empty text is none."""
    if MONTH.fullmatch(table):
        return dict.fromkeys(ROLES, NONE)
    rights = RIGHTS.get(table) or (MOVES if table.startswith("placement_move") else EVERYDAY)
    return dict(zip(ROLES, rights, strict=True))


def tables(connection: Connection) -> list[str]:
    rows = connection.execute(
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') order by 1"
    )
    return [str(row[0]) for row in rows]


def apply(connection: Connection) -> None:
    """Grant exactly that, on every table there is now. Repeatable."""
    with connection.transaction():
        for table in tables(connection):
            name = sql.Identifier("public", table)
            for role, rights in rights_on(table).items():
                connection.execute(sql.SQL("revoke all on {} from {}").format(name, sql.Identifier(role)))
                if rights:
                    connection.execute(sql.SQL("grant {} on {} to {}").format(sql.SQL(rights), name, sql.Identifier(role)))
        for function, roles in CALLS.items():
            for role in roles:
                connection.execute(sql.SQL("grant execute on function public.{} to {}").format(sql.SQL(function), sql.Identifier(role)))


def parsed(rights: str) -> frozenset[str]:
    """`select, update (a)` as a set, in the words of `read`."""
    return frozenset(word.strip() for word in rights.split(",") if word.strip())


def read(connection: Connection) -> dict[tuple[str, str], frozenset[str]]:
    """What is granted on the tables of `public` to anybody but their owner: (table, role) -> rights."""
    rows = connection.execute(
        """select c.relname::text, coalesce(r.rolname::text, 'public'), lower(x.privilege_type) from pg_class c, aclexplode(c.relacl) x
             left join pg_roles r on r.oid = x.grantee
             where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and x.grantee <> c.relowner
           union all
           select c.relname::text, coalesce(r.rolname::text, 'public'), format('%s (%s)', lower(x.privilege_type), a.attname)
             from pg_class c join pg_attribute a on a.attrelid = c.oid, aclexplode(a.attacl) x left join pg_roles r on r.oid = x.grantee
             where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and x.grantee <> c.relowner"""
    )
    found: dict[tuple[str, str], set[str]] = {}
    for table, role, right in rows:
        found.setdefault((table, role), set()).add(right)
    return {key: frozenset(rights) for key, rights in found.items()}
