"""A part of a document while it is read: its value, its path, and the faults found so far. Pure.

A reader is a function of one Part that gives what the part means or raises Refusal. Whoever reads several parts takes the refusals down and goes on, so that a
person sees all of them at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from tenants.policies.document import Fault, Place
from tenants.policies.hujson import Node, shortened

Sentence = Any  # a str, or what gettext_lazy will make one in the reader's language
T = TypeVar("T")
WORDS_OF_A_LIST = 200
PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{0,39}\Z")
KINDS: Mapping[type, Sentence] = {
    type(None): "null",
    bool: gettext_lazy("true or false"),
    int: gettext_lazy("a number"),
    float: gettext_lazy("a number"),
    str: gettext_lazy("a text"),
    list: gettext_lazy("a list"),
    dict: gettext_lazy("an object"),
}


class Refusal(Exception):
    """Why a part cannot be used, as a sentence for whoever wrote it. Its place is the part's unless `place` says better."""

    def __init__(self, reason: Sentence, place: Place | None = None) -> None:
        super().__init__(str(reason))
        self.reason = str(reason)
        self.place = place


@dataclass
class Reading:
    """What a document defines, by its names, and its faults. `networks`: the hosts that are more than one address."""

    groups: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    faults: list[Fault] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """A value of the document where it stands."""

    node: Node
    path: str
    reading: Reading

    @property
    def place(self) -> Place:
        return self.node.place

    def attempt(self, read: Callable[[Part], T]) -> T | None:
        """What `read` makes of this part; None and a fault where it refuses."""
        try:
            return read(self)
        except Refusal as refusal:
            self.fault(refusal.reason, refusal.place)
            return None

    def fault(self, reason: Sentence, place: Place | None = None) -> None:
        """Takes a fault down; the reading goes on."""
        self.reading.faults.append(Fault(str(reason), place or self.place, self.path))

    def require(self, kind: type[T]) -> T:
        """The value, if it is of that kind. Raises Refusal."""
        if type(self.node.value) is not kind:
            raise Refusal(_("Expected is %(wanted)s, not %(found)s.") % {"wanted": KINDS[kind], "found": KINDS[type(self.node.value)]})
        return self.node.value

    def text(self) -> str:
        """A text without the blanks around it, which headscale and Tailscale overlook too. Raises Refusal."""
        return self.require(str).strip(" ")

    def items(self, most: int = WORDS_OF_A_LIST) -> Iterator[Part]:
        """The entries of a list. Raises Refusal, for one of more than `most` entries too."""
        nodes: list[Node] = self.require(list)
        self.bounded(len(nodes), most)
        for number, node in enumerate(nodes):
            yield Part(node, f"{self.path}[{number}]", self.reading)

    def members(self, most: int = WORDS_OF_A_LIST) -> Iterator[tuple[str, Part]]:
        """The members of an object with their names. Raises Refusal, for one of more than `most` members too."""
        nodes: dict[str, Node] = self.require(dict)
        self.bounded(len(nodes), most)
        for name, node in nodes.items():
            yield name, Part(node, below(self.path, name), self.reading)

    def bounded(self, length: int, most: int) -> None:
        if length > most:
            raise Refusal(_("There are %(length)d entries here; at most %(most)d are allowed.") % {"length": length, "most": most})

    def each(self, read: Callable[[Part], T], most: int = WORDS_OF_A_LIST) -> tuple[T, ...]:
        """All entries of a list as `read` understands them, without those that it refuses. Raises Refusal."""
        return tuple(value for item in self.items(most) if (value := item.attempt(read)) is not None)


@dataclass(frozen=True)
class Field:
    """A field that an object may have, and must if it is `needed`."""

    read: Callable[[Part], Any]
    needed: bool = False


def below(path: str, name: str) -> str:
    """The path of a member: `acls[0].src`, `groups["group:dev"]`."""
    if PLAIN_NAME.match(name):
        return f"{path}.{name}" if path else name
    return f'{path}["{shortened(name)}"]'


def record(part: Part, fields: Mapping[str, Field], refused: Mapping[str, Sentence], overlooked: str = "") -> dict[str, Any]:
    """An object of known fields, by their names in `fields`; what it lacks or what was refused is not in the answer. Raises Refusal.

    Names match whatever their case, as in headscale. `refused`: names in lower case with the reason. Names that begin with `overlooked` are no fault.
    """
    known = {name.lower(): name for name in fields}
    found: dict[str, Any] = {}
    seen: dict[str, Place] = {}
    for written, member in part.members():
        name, place = written.lower() if written.isascii() else written, member.node.key or member.place
        if overlooked and written.startswith(overlooked):
            continue
        if name in seen:
            member.fault(_("“%(name)s” stands here for the second time.") % {"name": shortened(written)}, place)
        elif name in refused:
            member.fault(refused[name], place)
        elif name not in known:
            reason = _("There is no field “%(name)s” here. Known are: %(known)s.")
            member.fault(reason % {"name": shortened(written), "known": ", ".join(fields)}, place)
        elif (value := member.attempt(fields[known[name]].read)) is not None:
            found[known[name]] = value
        seen[name] = place
    for name, wish in fields.items():
        if wish.needed and name.lower() not in seen:
            part.fault(_("The field “%(name)s” is missing.") % {"name": name})
    return found
