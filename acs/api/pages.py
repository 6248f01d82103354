"""Long lists come in pages that a cursor continues: stable while rows come and go."""

from rest_framework.pagination import CursorPagination


class CursorPages(CursorPagination):
    """`?cursor=`, `?limit=` (1 to 200). A view sets `ordering` to a unique, indexed order."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "limit"
    ordering = "-pk"
