"""Reading JSON bodies strictly: UTF-8, one object, no field twice, no NaN, a bounded size; fields known and of their type.

What a lenient reader lets pass means one thing to one program and another to the next.
"""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.request import UnreadablePostError
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from tenants.errors import MalformedRequest

TEXTS = (serializers.CharField, serializers.DateTimeField, serializers.ChoiceField, serializers.PrimaryKeyRelatedField)


def read_json(request: HttpRequest, *, most: int = 0) -> dict[str, Any]:
    """The body's fields; an empty body has none. Raises: MalformedRequest."""
    return parse(read_body(request, most=most))


def read_body(request: HttpRequest, *, most: int = 0) -> bytes:
    """A body of `most` bytes, or of as many as every door takes. Raises: MalformedRequest."""
    most = most or settings.MAX_BODY_BYTES
    try:
        body = request.read(most + 1)
    except UnreadablePostError:
        raise MalformedRequest({"body": "ended before its announced length"}) from None
    if len(body) > most:
        raise MalformedRequest({"body": f"larger than {most} bytes"})
    return bytes(body)


def parse(body: bytes) -> dict[str, Any]:
    """Raises: MalformedRequest."""
    if not body.strip():
        return {}
    try:
        document = json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except MalformedRequest:
        raise
    except (ValueError, RecursionError):
        raise MalformedRequest({"body": "not a JSON document in UTF-8"}) from None
    if not isinstance(document, dict):
        raise MalformedRequest({"body": "must be a JSON object"})
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise MalformedRequest({"body": "a field stands twice"})
    return fields


def _no_constant(name: str) -> None:
    raise MalformedRequest({"body": f"{name} is no JSON"})


class StrictJsonParser(BaseParser):
    """`read_json` as DRF's parser. `most`: bytes, where a door takes more than others."""

    media_type = "application/json"
    most = 0

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> dict[str, Any]:  # noqa: ARG002 - DRF's signature
        return read_json(stream, most=self.most)


class Fields(serializers.Serializer[Any]):
    """The fields of a body. Unknown ones and values of another JSON type are refused, where DRF would ignore or convert them."""

    @classmethod
    def of(cls, request: Request) -> dict[str, Any]:
        """Raises: MalformedRequest naming each field that is wrong."""
        return cls._checked(dict(request.data), typed=True)

    @classmethod
    def of_query(cls, request: Request, *, besides: tuple[str, ...] = ()) -> dict[str, Any]:
        """The same for a query string, whose values are texts. `besides` names the parameters that others read."""
        given = {name: value for name, value in request.query_params.items() if name not in besides}
        return cls._checked(given, typed=False)

    @classmethod
    def _checked(cls, given: dict[str, Any], *, typed: bool) -> dict[str, Any]:
        form = cls(data=given)
        wrong = {name: "unknown field" for name in given if name not in form.fields}
        if typed:
            wrong |= {name: reason for name, field in form.fields.items() if (reason := _mistyped(field, given.get(name)))}
        if not form.is_valid():
            wrong = {name: _words(reasons) for name, reasons in form.errors.items()} | wrong
        if wrong:
            raise MalformedRequest(wrong)
        return dict(form.validated_data)


JSON_TYPES: tuple[tuple[Any, type | tuple[type, ...], str], ...] = (
    (serializers.BooleanField, bool, "must be true or false"),
    (serializers.IntegerField, int, "must be a whole number"),
    (serializers.ListField, list, "must be a list"),
    (TEXTS, str, "must be a text"),
)


def _mistyped(field: Any, value: Any) -> str:
    if value is None:
        return ""
    for kind, wanted, reason in JSON_TYPES:
        if isinstance(field, kind):
            if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
                return reason
            break
    if isinstance(field, serializers.ListField):
        return next((f"each {reason}" for one in value if (reason := _mistyped(field.child, one))), "")
    return ""


def _words(reasons: Any) -> str:
    """DRF's list (or, for lists of values, mapping) of reasons as one text."""
    if isinstance(reasons, dict):
        return "; ".join(_words(inner) for inner in reasons.values())
    return " ".join(str(reason) for reason in reasons)
