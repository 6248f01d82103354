"""`ssh`: who may open a shell where, as whom. Pure."""

from __future__ import annotations

import re

from django.utils.translation import gettext as _

from tenants.policies.document import MEMBER, SELF, TAGGED, SshRule
from tenants.policies.hujson import shortened
from tenants.policies.parts import Field, Part, Refusal, record
from tenants.policies.words import SHELL_DESTINATION, SHELL_SOURCE, words

LOGIN = re.compile(r"[!-~](?: *[!-~]){0,63}\Z")
LONGEST_LOGIN = 64
VARIABLE = re.compile(r"[A-Za-z0-9_*?]{1,100}\Z")


def shell(part: Part) -> SshRule:
    """An entry of `ssh`. Raises Refusal."""
    entry = record(part, FIELDS, {})
    src, dst, action = entry.get("src", ()), entry.get("dst", ()), entry.get("action", "")
    if any(word.text == TAGGED or word.text.startswith("tag:") for word in src):
        for word in dst:
            if word.text in (SELF, MEMBER):
                part.fault(_("Tagged devices cannot open shells on devices of people: %(name)s.") % {"name": word.text}, word.place)
    return SshRule(part.path, part.place, action, src, dst, entry.get("users", ()), entry.get("acceptEnv", ()))


def no_checks() -> str:
    """Why a shell cannot wait for its person: the server would hold the session until somebody approves it there, and nobody does."""
    return _("Shells that a person has to confirm (check, checkPeriod) are not supported: nobody could confirm them here.")


def action(part: Part) -> str:
    """`accept`. Raises Refusal."""
    if (written := part.text()) == "check":
        raise Refusal(no_checks())
    if written != "accept":
        raise Refusal(_("The action “%(action)s” does not exist: write accept.") % {"action": shortened(written)})
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


def period(_part: Part) -> str:
    """`checkPeriod`. Raises Refusal."""
    raise Refusal(no_checks())


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
