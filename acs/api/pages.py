"""Long lists come in pages that a cursor continues: stable while rows come and go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import DataError
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

from tenants.errors import MalformedRequest


class CursorPages(CursorPagination):
    """`?cursor=`, `?limit=` (1 to 200). A view sets `ordering`."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "limit"
    ordering = "-pk"
    parameters = ("cursor", "limit")

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> tuple[str, ...]:  # noqa: ARG002 - DRF's signature
        """The view's: DRF itself asks the paginator alone."""
        told = getattr(view, "ordering", None) or self.ordering
        return (told,) if isinstance(told, str) else tuple(told)

    def get_page_size(self, request: Request) -> int:
        told = request.query_params.get("limit")
        if told is None:
            return self.page_size
        if not (told.isascii() and told.isdigit() and len(told) < 5 and 1 <= int(told) <= self.max_page_size):
            raise MalformedRequest({"limit": f"a number from 1 to {self.max_page_size}"})
        return int(told)

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        """A cursor that somebody changed may hold anything. Raises: MalformedRequest."""
        try:
            page: list[Any] | None = super().paginate_queryset(queryset, request, view)
        except (NotFound, ValidationError, DataError, ValueError, TypeError, OverflowError):
            raise MalformedRequest({"cursor": "not one that this list gave out"}) from None
        self.base_url = settings.PUBLIC_URL + request.get_full_path()
        return page


def by_key(request: Request, of: Callable[[str], Any], rows: Callable[[Any, int], list[Any]], key: str) -> tuple[list[Any], str | None]:
    """The same of rows that are no queryset: a page, and the address of the next one. `rows` finds those that come after a key (None: the first), at most
    so many; `of` reads a key, `key` is its name. Raises: MalformedRequest."""
    told = request.query_params.get("cursor")
    try:
        after = of(told) if told is not None else None
    except ValueError:
        raise MalformedRequest({"cursor": "not one that this list gave out"}) from None
    size = CursorPages().get_page_size(request)
    found = rows(after, size + 1)
    if len(found) <= size:
        return found, None
    query = {name: value for name, value in request.query_params.items() if name != "cursor"}
    following = urlencode({**query, "cursor": getattr(found[size - 1], key)})
    return found[:size], f"{settings.PUBLIC_URL}{request.path}?{following}"
