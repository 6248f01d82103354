"""`ssh`: who may open a shell where, as whom. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

from django.utils.translation import gettext as _

from tenants.policies.document import MEMBER, SELF, TAGGED, SshRule
from tenants.policies.hujson import shortened
from tenants.policies.parts import Field, Part, Refusal, record
from tenants.policies.words import SHELL_DESTINATION, SHELL_SOURCE, words

SECONDS = {"ns": Decimal("1e-9"), "us": Decimal("1e-6"), "ms": Decimal("1e-3"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ns|us|ms|s|m|h)){1,6}\Z")
PIECE = re.compile(r"([0-9.]+)([a-z]+)")
SHORTEST_PERIOD, LONGEST_PERIOD = 60, 168 * 3600  # seconds
LOGIN = re.compile(r"[!-~](?: *[!-~]){0,63}\Z")
LONGEST_LOGIN = 64
VARIABLE = re.compile(r"[A-Za-z0-9_*?]{1,100}\Z")


def shell(part: Part) -> SshRule:
    """An entry of `ssh`. Raises Refusal."""
    entry = record(part, FIELDS, {})
    src, dst, action, period = entry.get("src", ()), entry.get("dst", ()), entry.get("action", ""), entry.get("checkPeriod", "")
    if period and action == "accept":
        part.fault(_("checkPeriod belongs to the action check."))
    if any(word.text == TAGGED or word.text.startswith("tag:") for word in src):
        for word in dst:
            if word.text in (SELF, MEMBER):
                part.fault(_("Tagged devices cannot open shells on devices of people: %(name)s.") % {"name": word.text}, word.place)
    return SshRule(part.path, part.place, action, src, dst, entry.get("users", ()), period, entry.get("acceptEnv", ()))


def action(part: Part) -> str:
    """`accept` or `check`. Raises Refusal."""
    if (written := part.text()) not in ("accept", "check"):
        raise Refusal(_("The action “%(action)s” does not exist: write accept or check.") % {"action": shortened(written)})
    return written


def logins(part: Part) -> tuple[str, ...]:
    """`users`: at least one. Raises Refusal."""
    if not part.require(list):
        raise Refusal(_("The users whose shells are opened are missing."))
    return part.each(login)


def login(part: Part) -> str:
    """A user of the destination's system. Raises Refusal."""
    name = part.text()
    if name.startswith("localpart:"):
        raise Refusal(
            _("localpart: is not supported: all devices of a tenant are one user to the server, who has no e-mail address of a member.")
        )
    if name == "*" or len(name) > LONGEST_LOGIN or not LOGIN.match(name):
        raise Refusal(
            _("“%(name)s” is no user: write a login of at most %(longest)d printable ASCII characters.")
            % {"name": shortened(name), "longest": LONGEST_LOGIN}
        )
    return name


def period(part: Part) -> str:
    """`checkPeriod` as it was written: `always`, or a duration in Go's words. Raises Refusal."""
    text = part.require(str)
    if text == "always":
        return text
    if not DURATION.match(text):
        raise Refusal(_("“%(period)s” is no duration: write always, or one such as 30m or 12h.") % {"period": shortened(text)})
    seconds = sum((Decimal(number) * SECONDS[unit] for number, unit in PIECE.findall(text)), Decimal(0))
    if not SHORTEST_PERIOD <= seconds <= LONGEST_PERIOD:
        raise Refusal(_("A checkPeriod is from 1m to 168h, not %(period)s.") % {"period": text})
    return text


def variable(part: Part) -> str:
    """A name of `acceptEnv`, or a pattern of names. Raises Refusal."""
    if not VARIABLE.match(name := part.require(str)):
        raise Refusal(_("“%(name)s” is no variable: write letters, digits, _, * and ?.") % {"name": shortened(name)})
    return name


FIELDS = {
    "action": Field(action, needed=True),
    "src": Field(words(SHELL_SOURCE), needed=True),
    "dst": Field(words(SHELL_DESTINATION), needed=True),
    "users": Field(logins, needed=True),
    "checkPeriod": Field(period),
    "acceptEnv": Field(lambda part: part.each(variable)),
}
