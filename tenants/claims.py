"""What a token claims, compared with what a policy wants, and the registration id that follows from it. Pure.

A claim is named as it stands in the token. A name that begins with a slash is a JSON pointer (RFC 6901) into nested claims: `/kubernetes.io/pod/uid`.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from tenants.signing import REGISTRATION_ID

MISSING = object()
LONGEST_TEXT = 1024  # of a value that is compared
MARK = ".."  # stands between the readable part of a squeezed id and its hash
HASH_LENGTH = 32  # hex digits: 128 bits, so nobody finds two values of one id
READABLE = 128 - len(MARK) - HASH_LENGTH
SQUEEZED = re.compile(rf"{re.escape(MARK)}[0-9a-f]{{{HASH_LENGTH}}}\Z")
UNUSABLE = re.compile(r"[^a-z0-9._:-]+")


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text fits: `*` is any run of characters, `?` exactly one, everything else is itself."""
    if len(text) > LONGEST_TEXT:
        return False
    head, *rest = pattern.split("*")
    if not rest:
        return _piece(head).fullmatch(text) is not None
    *middle, tail = rest
    if _piece(head).match(text) is None:
        return False
    at = len(head)
    for piece in middle:  # the first place that fits leaves the most room for those that follow: nothing is ever tried twice
        if (found := _piece(piece).search(text, at)) is None:
            return False
        at = found.end()
    return len(text) - len(tail) >= at and _piece(tail).match(text, len(text) - len(tail)) is not None


@functools.lru_cache(maxsize=4096)
def _piece(pattern: str) -> re.Pattern[str]:
    """What stands between two stars: of a fixed length, so that no text makes it slow."""
    return re.compile("".join("." if sign == "?" else re.escape(sign) for sign in pattern), re.DOTALL)


def is_bare(pattern: str) -> bool:
    """Whether it says nothing about the text but perhaps its length."""
    return not pattern.strip("*?")


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim's value, or MISSING."""
    if not name.startswith("/"):
        return claims.get(name, MISSING)
    value: Any = claims
    for step in name[1:].split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, Mapping) or key not in value:
            return MISSING
        value = value[key]
    return value


def text_of(value: Any) -> str | None:
    """A claim's value as a text to compare; None where it is none (an object, a fraction, null)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return value if isinstance(value, str) else None


def fits(value: Any, wanted: str | list[str]) -> bool:
    """Whether the value, or one element of a list of values, fits one of the patterns."""
    patterns = [wanted] if isinstance(wanted, str) else wanted
    texts = [text for each in (value if isinstance(value, list) else [value]) if (text := text_of(each)) is not None]
    return any(matches(pattern, text) for pattern in patterns for text in texts)


def squeeze(value: str) -> str:
    """The registration id of a claim's value: itself where it is one in lower case already, else what is readable of it and its hash.

    Different values have different ids, also where they differ in case alone or one looks like the squeezed form of another.
    """
    if REGISTRATION_ID.match(value) and value == value.lower() and not SQUEEZED.search(value):
        return value
    readable = UNUSABLE.sub("-", value.lower()).strip(".-:_")[:READABLE].rstrip(".-:_") or "x"
    return f"{readable}{MARK}{hashlib.sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()[:HASH_LENGTH]}"
