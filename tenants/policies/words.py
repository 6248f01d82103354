"""Which names may stand where: one table, and the readers of words that follow from it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from tenants.policies import names
from tenants.policies.document import EVERYONE, INTERNET, MEMBER, SELF, TAGGED, Word
from tenants.policies.hujson import shortened
from tenants.policies.names import ADDRESS, ADMIN, DEVICE, EMAIL, GROUP, HOST, OWNER, PREFIX, TAG
from tenants.policies.parts import Part, Reading, Refusal, Sentence

Reasons = Mapping[str, Sentence]
ROLE = gettext_lazy("Roles own tags only: write autogroup:member, a group or e-mail addresses.")
ONE_USER = gettext_lazy(
    "All devices of a tenant are one user to the server, so its SSH rules cannot tell members apart: write autogroup:member or tags."
)
SSH_PLACES = gettext_lazy("SSH rules lead to tags, autogroup:self, autogroup:member or autogroup:tagged.")
NO_TARGET = gettext_lazy(
    "The devices that get attributes are named by *, autogroup:member, autogroup:tagged, groups, tags, people, hosts, devices or addresses."
)
SOURCE_ONLY: Reasons = {
    SELF: gettext_lazy("autogroup:self is a destination only."),
    INTERNET: gettext_lazy("autogroup:internet is a destination only."),
    ADMIN: ROLE,
    OWNER: ROLE,
}


@dataclass(frozen=True)
class Position:
    """The kinds of names that may stand somewhere; why another kind may not, where there is more to say than `otherwise`."""

    kinds: frozenset[str]
    otherwise: Sentence
    reasons: Reasons = field(default_factory=dict)


ANYBODY = frozenset({EVERYONE, MEMBER, TAGGED, GROUP, TAG, EMAIL, ADDRESS, PREFIX, HOST, DEVICE})
SOURCE = Position(ANYBODY, "", SOURCE_ONLY)
DESTINATION = Position(ANYBODY | {SELF, INTERNET}, ROLE)
IN_GROUP = Position(frozenset({EMAIL, DEVICE}), gettext_lazy("Members of a group are e-mail addresses and names of devices only."))
TAG_OWNER = Position(
    frozenset({GROUP, EMAIL, TAG, MEMBER, ADMIN, OWNER}),
    gettext_lazy("Owners of a tag are groups, e-mail addresses, tags, autogroup:member, autogroup:admin or autogroup:owner."),
)
APPROVER = Position(
    frozenset({TAG, GROUP, EMAIL, MEMBER, TAGGED, DEVICE}),
    gettext_lazy("Approved are devices of tags, groups, e-mail addresses, autogroup:member, autogroup:tagged, and devices by name."),
)
SHELL_SOURCE = Position(
    frozenset({MEMBER, TAGGED, TAG}),
    gettext_lazy("SSH rules come from autogroup:member, autogroup:tagged or tags."),
    {GROUP: ONE_USER, EMAIL: ONE_USER},
)
SHELL_DESTINATION = Position(frozenset({TAG, SELF, MEMBER, TAGGED}), SSH_PLACES, {EMAIL: ONE_USER, GROUP: ONE_USER})
VIA = Position(frozenset({TAG}), gettext_lazy("Traffic goes by routers of tags: write tag:NAME."))
TARGET = Position(ANYBODY, NO_TARGET)
TRIED = Position(
    ANYBODY - {EVERYONE, PREFIX},
    gettext_lazy("A test tries one destination: a name or an address."),
    {INTERNET: gettext_lazy("autogroup:internet cannot be tested: exit nodes pass by the rules.")},
)


def words(position: Position) -> Callable[[Part], tuple[Word, ...]]:
    """A reader of lists of words that may stand there."""
    return lambda part: part.each(lambda item: word(item, position))


def word(part: Part, position: Position) -> Word:
    """The word that a text is. Raises Refusal."""
    return named(part, part.text(), position)


def named(part: Part, text: str, position: Position) -> Word:
    """The word that a piece of the part's text is. Raises Refusal."""
    kind, kept = names.classify(text)
    if kind == DEVICE and kept in part.reading.hosts:
        kind = HOST
    if kind not in position.kinds:
        raise Refusal(_("“%(name)s” cannot stand here.") % {"name": shortened(text)} + f" {position.reasons.get(kind, position.otherwise)}")
    _defined(kind, kept, part.reading)
    return Word(kept, part.place, part.path)


def _defined(kind: str, name: str, reading: Reading) -> None:
    if kind == GROUP and name not in reading.groups:
        raise Refusal(_("“%(name)s” is not defined in groups.") % {"name": name})
    if kind == TAG and name not in reading.tags:
        raise Refusal(_("“%(name)s” is not defined in tagOwners.") % {"name": name})
