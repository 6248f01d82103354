"""Long lists come in pages that a cursor continues: stable while rows come and go."""

from __future__ import annotations

from typing import Any

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
