"""HuJSON, which is JSON with comments and trailing commas, read to values that know their places. Pure.

Every sign is looked at a bounded number of times, and nesting is bounded: no document makes this slow or deep. What a person cannot see in a text, or would
see in another order, is refused: who reviews a policy reads what the server reads.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from tenants.policies.document import Fault, Place, PolicyRefused

LONGEST = 250_000  # characters of a document
DEEPEST = 32  # lists and objects inside each other
LONGEST_NUMBER = 40  # digits and signs: longer ones are a mistake, and slow to read
BYTE_ORDER_MARK = "\ufeff"

BLANK = re.compile(r"[ \t\r\n]*")
STRING = re.compile(r'"((?:[^"\\\n]|\\[^\n])*+)("?)')  # possessive: nothing is ever tried twice
LITERAL = re.compile(r"[^\s,:\[\]{}\"/]++")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?\Z")
SPECIAL = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|[^ -~]")
ESCAPED = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
CONSTANTS = {"true": True, "false": False, "null": None}
# controls, line ends that few programs show as such, what turns the direction of writing, and halves of pairs
UNSEEN = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]|\r(?!\n)")
UNUSABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # general categories of Unicode


@dataclass(frozen=True, slots=True)
class Node:
    """A value with its place. `value` is None, a bool, int, float, str, a list of Nodes or a dict of them; `key` where its name in an object stands."""

    value: Any
    place: Place
    key: Place | None = None

    def plain(self) -> Any:
        """The value as json.loads would give it."""
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        return self.value


def parse(text: str) -> Node:
    """The one value of a document. Raises PolicyRefused with the first fault."""
    if len(text) > LONGEST:
        reason = _("The policy has %(length)d characters; at most %(longest)d are allowed.") % {"length": len(text), "longest": LONGEST}
        raise PolicyRefused((Fault(reason, Place()),))
    return _Reader(text.removeprefix(BYTE_ORDER_MARK)).document()


def described(sign: str) -> str:
    """A character for somebody who cannot tell it from its look-alike: `U+0430 CYRILLIC SMALL LETTER A`."""
    return f"U+{ord(sign):04X} {unicodedata.name(sign, '')}".rstrip()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines = [0, *(end.end() for end in re.finditer("\n", text))]

    def document(self) -> Node:
        if unseen := UNSEEN.search(self.text):
            raise self.fault(_("The character %(sign)s is not allowed in a policy.") % {"sign": described(unseen[0])}, unseen.start())
        self.gap()
        if self.at == len(self.text):
            raise self.fault(_("The policy is empty. A policy is an object: write at least {}."), 0)
        root = self.value(0)
        self.gap()
        if self.at < len(self.text):
            raise self.fault(_("The policy ends before this: nothing may follow its closing sign."), self.at)
        return root

    def place(self, at: int) -> Place:
        line = bisect_right(self.lines, at)
        return Place(line, at - self.lines[line - 1] + 1)

    def fault(self, reason: str, at: int) -> PolicyRefused:
        return PolicyRefused((Fault(reason, self.place(at)),))

    def unexpected(self, wanted: str) -> PolicyRefused:
        if self.at == len(self.text):
            return self.fault(_("The policy ends where %(wanted)s is expected.") % {"wanted": wanted}, self.at)
        found = self.text[self.at]
        shown = found if " " < found <= "~" else described(found)
        return self.fault(_("Expected is %(wanted)s, not %(found)s.") % {"wanted": wanted, "found": shown}, self.at)

    def gap(self) -> None:
        """Past blanks and comments."""
        while blank := BLANK.match(self.text, self.at):
            self.at = blank.end()
            opening = self.text[self.at : self.at + 2]
            if opening == "//":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif opening == "/*":
                end = self.text.find("*/", self.at + 2)
                if end < 0:
                    raise self.fault(_("This comment is never closed: */ is missing."), self.at)
                self.at = end + 2
            else:
                return

    def take(self, sign: str) -> bool:
        found = self.text.startswith(sign, self.at)
        self.at += found
        return found

    def value(self, depth: int, key: Place | None = None) -> Node:
        place = self.place(self.at)
        match self.text[self.at : self.at + 1]:
            case "{":
                return Node(self.object(depth + 1), place, key)
            case "[":
                return Node([self.value(depth + 1) for _entry in self.entries("]", depth + 1)], place, key)
            case '"':
                return Node(self.string(), place, key)
            case _:
                return Node(self.literal(), place, key)

    def entries(self, closing: str, depth: int) -> Iterator[None]:
        """Stands at each entry of a list or object in turn, at last behind the closing sign."""
        opened = self.at
        if depth > DEEPEST:
            raise self.fault(_("Lists and objects are nested deeper than %(deepest)d here.") % {"deepest": DEEPEST}, opened)
        self.at += 1
        self.gap()
        while self.at < len(self.text):
            if self.take(closing):
                return
            yield
            self.gap()
            if self.take(","):
                self.gap()
            elif self.at < len(self.text) and not self.text.startswith(closing, self.at):
                raise self.unexpected(_("a comma or %(closing)s") % {"closing": closing})
        raise self.fault(_("This is never closed: %(closing)s is missing.") % {"closing": closing}, opened)

    def object(self, depth: int) -> dict[str, Node]:
        members: dict[str, Node] = {}
        for _entry in self.entries("}", depth):
            if not self.text.startswith('"', self.at):
                raise self.unexpected(_("a name in double quotes"))
            start = self.at
            name = self.string()
            if (first := members.get(name)) is not None and first.key is not None:
                reason = _("The name “%(name)s” stands here for the second time; the first is in line %(line)d.")
                raise self.fault(reason % {"name": shortened(name), "line": first.key.line}, start)
            self.gap()
            if not self.take(":"):
                raise self.unexpected(_("a colon"))
            self.gap()
            members[name] = self.value(depth, self.place(start))
        return members

    def string(self) -> str:
        start = self.at + 1
        found = STRING.match(self.text, self.at)
        if found is None or not found[2]:
            raise self.fault(_("This text is never closed: its second double quote is missing from the line."), self.at)
        self.at = found.end()
        return SPECIAL.sub(lambda special: self.meant(special[0], start + special.start()), found[1])

    def meant(self, special: str, at: int) -> str:
        """What an escape, or a character beyond ASCII, stands for."""
        if not special.startswith("\\"):
            sign = special
        elif special[1] in ESCAPED:
            sign = ESCAPED[special[1]]
        elif special[1] == "u" and len(special) > 2:
            sign = special.encode("ascii").decode("unicode_escape").encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        else:
            raise self.fault(_("%(escape)s is no escape of JSON. A backslash itself is written \\\\.") % {"escape": special}, at)
        if unicodedata.category(sign) in UNUSABLE:
            raise self.fault(_("The character %(sign)s is not allowed in a text.") % {"sign": described(sign)}, at)
        return sign

    def literal(self) -> bool | int | float | None:
        found = LITERAL.match(self.text, self.at)
        if found is None:
            raise self.unexpected(_("a value"))
        word, start = found[0], self.at
        self.at = found.end()
        if word in CONSTANTS:
            return CONSTANTS[word]
        number = NUMBER.match(word)
        if number is None or len(word) > LONGEST_NUMBER:
            raise self.fault(
                _("“%(word)s” is no value: texts stand in double quotes, numbers are plain.") % {"word": shortened(word)}, start
            )
        if not (number[1] or number[2]):
            return int(word)
        value = float(word)
        if value in (float("inf"), float("-inf")):
            raise self.fault(_("The number %(word)s is too large.") % {"word": word}, start)
        return value


def shortened(text: str) -> str:
    """A text of theirs as a reason quotes it."""
    return text if len(text) <= 60 else text[:59] + "…"
