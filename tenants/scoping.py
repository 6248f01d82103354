"""Tenant data is reached only through a tenant: the manager that refuses a query which forgot to say whose rows it means.

`Device.objects.of(tenant)` is the everyday door. Work that is the fleet's own (polls, sweepers, operators' pages) says so with
`Device.objects.across_tenants()`, which is easy to find in a review. Anything else raises TenantForgotten when it runs, in tests
and in production alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

from django.db import models
from django.db.models.sql import Query

if TYPE_CHECKING:
    from uuid import UUID

    from tenants.models import Tenant

Row_co = TypeVar("Row_co", bound=models.Model, covariant=True)


class TenantForgotten(Exception):
    """A query over tenants' rows ran without saying which tenant's."""


class ScopedQuery(Query):
    """A query that compiles only after somebody said whose rows it reads."""

    scoped = False

    def get_compiler(self, *args: Any, **kwargs: Any) -> Any:
        if not self.scoped:
            raise TenantForgotten(f"{self.model}: say .of(tenant), or .across_tenants() where the fleet's own work needs all rows")
        return super().get_compiler(*args, **kwargs)


class TenantQuerySet(models.QuerySet[Row_co]):
    """Rows of tenants. `of` and `across_tenants` open it; see the module."""

    def __init__(
        self, model: type[Row_co] | None = None, query: Any = None, using: str | None = None, hints: dict[str, Any] | None = None
    ) -> None:
        super().__init__(model, query if query is not None else ScopedQuery(model), using, hints)

    def of(self, tenant: Tenant | UUID) -> Self:
        return self._opened().filter(tenant=tenant)

    def across_tenants(self) -> Self:
        return self._opened()

    def _opened(self) -> Self:
        opened = self.all()
        opened.query.scoped = True  # type: ignore[attr-defined]
        return opened

    def _refuse_unscoped(self) -> None:
        if not getattr(self.query, "scoped", False):
            raise TenantForgotten(f"{self.model.__name__}: an update or delete that names no tenant")

    def _add_hints(self, **hints: Any) -> None:
        """`tenant.devices` has named its tenant: Django tells the related instance as a hint."""
        super()._add_hints(**hints)  # type: ignore[misc]
        if hints.get("instance") is not None:
            self.query.scoped = True  # type: ignore[attr-defined]

    def update(self, **values: Any) -> int:
        self._refuse_unscoped()
        return super().update(**values)

    def delete(self) -> tuple[int, dict[str, int]]:
        self._refuse_unscoped()
        return super().delete()


class TenantManager(models.Manager[Row_co]):
    """The default manager of every model that has a tenant."""

    def get_queryset(self) -> TenantQuerySet[Row_co]:
        return TenantQuerySet(self.model, using=self._db, hints=self._hints)  # type: ignore[attr-defined]

    def of(self, tenant: Tenant | UUID) -> TenantQuerySet[Row_co]:
        return self.get_queryset().of(tenant)

    def across_tenants(self) -> TenantQuerySet[Row_co]:
        return self.get_queryset().across_tenants()
