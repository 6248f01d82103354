"""What an account may be called. The name is used four ways at once, and each narrows it:

a DNS label (`<account>.<domain>`), a headscale user (two characters or more, a letter first), the prefix of the tenant's tags
(`tag:<account>--<name>`: so no `--` inside), and the first word of an address a person types (so lower case).
"""

from __future__ import annotations

import re

from django.utils.translation import gettext as _

from tenants.errors import InvalidAccount

LONGEST = 40
SHAPE = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?\Z")
# names that would shadow the service's own hosts, or headscale's own words
RESERVED = frozenset(
    [
        "admin",
        "api",
        "acs",
        "app",
        "auth",
        "autogroup",
        "billing",
        "console",
        "dashboard",
        "derp",
        "docs",
        "gateway",
        "headscale",
        "help",
        "localhost",
        "login",
        "mail",
        "metrics",
        "ns",
        "ns1",
        "ns2",
        "register",
        "root",
        "static",
        "status",
        "support",
        "tagged-devices",
        "test",
        "www",
    ]
)


def check(account: str) -> str:
    """The account as it stands. Raises: InvalidAccount, with the rule that it breaks."""
    if not 2 <= len(account) <= LONGEST:
        raise InvalidAccount(_("an account has 2 to %(longest)d characters") % {"longest": LONGEST})
    if "--" in account:
        raise InvalidAccount(_("an account has no two hyphens in a row: tags use them as a separator"))
    if not SHAPE.match(account):
        raise InvalidAccount(
            _("an account has lower case letters a-z, digits and hyphens, begins with a letter and ends with a letter or digit")
        )
    if account in RESERVED:
        raise InvalidAccount(_("the name %(name)s is reserved") % {"name": account})
    return account
