"""What the commands of this app share: one method per verb, the domain's errors in words, tenants by account, durations like 30m and 7d."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, ProgrammingError, connection
from django.utils import timezone

from tenants.errors import TenantError
from tenants.models import Tenant

ACTOR = "system:manage.py"
NOT_PERMITTED = "42501"  # PostgreSQL's insufficient_privilege
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class VerbCommand(BaseCommand):
    """`manage.py NAME VERB ...` calls `do_VERB(**options)`, with lines for dashes."""

    requires_system_checks = ()  # `manage.py check` does them: they load every view, half of the time that a command takes

    def handle(self, *_args: Any, verb: str, **options: Any) -> None:
        try:
            getattr(self, "do_" + verb.replace("-", "_"))(**options)
        except TenantError as error:
            raise CommandError(str(error) or "refused") from error
        except OSError as error:
            if error.filename is None:
                raise
            raise CommandError(f"{error.filename}: {error.strerror}") from error
        except ProgrammingError as error:
            if getattr(error.__cause__, "sqlstate", "") != NOT_PERMITTED:
                raise
            login = connection.settings_dict["USER"]
            raise CommandError(
                f"{login}, the login of DATABASE_URL, may not do that: README names who runs which command. {error}".strip()
            ) from error
        except (OperationalError, InterfaceError) as error:
            raise CommandError(
                f"The database went away, or does not answer; what was done until then stays done. {error}".strip()
            ) from error

    @property
    def acted(self) -> dict[str, Any]:
        return {"now": timezone.now(), "actor": ACTOR}


def tenant_of(account: str) -> Tenant:
    tenant = Tenant.objects.select_related("plan", "quota").filter(account=account).first()
    if tenant is None:
        raise CommandError(f"No tenant has the account {account!r}.")
    return tenant


def duration(text: str) -> timedelta:
    """For argparse: 90s, 30m, 12h, 7d."""
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is no duration: a number with s, m, h or d, such as 30m or 7d")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def identifier(text: str) -> UUID:
    """For argparse."""
    try:
        return UUID(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no id: `list` shows them") from None


def day(moment: datetime | None, *, otherwise: str = "never") -> str:
    return moment.isoformat(timespec="seconds") if moment else otherwise
