"""What the operators' lists are written with: badges, meters and links. No style attribute: the content security policy allows none."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

NOTHING = "-"
FULL, NEARLY = 1.0, 0.85
Column = Any  # what the admin takes in a list of columns beside a field's name
STATE = gettext_lazy("state")


def badge(value: str, label: str | Promise) -> SafeString:
    """A state: its word, and a colour by its name in the style sheet."""
    return format_html('<span class="badge badge-{}">{}</span>', value, label)


def meter(used: int, limit: int) -> SafeString:
    """`3 of 10` with a bar, which turns when it is nearly or quite full."""
    share = used / limit if limit else float(used > 0)
    level = "full" if share >= FULL else "nearly" if share >= NEARLY else "free"
    return format_html(
        '<span class="meter"><svg class="meter-bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="meter-track" width="100" height="6"/><rect class="meter-{}" width="{}" height="6"/></svg>'
        '<span class="meter-words">{} / {}</span></span>',
        level,
        f"{min(share, 1.0) * 100:.1f}",
        used,
        limit,
    )


def link_to(obj: Model | None) -> str:
    """The row's name, leading to its page."""
    if obj is None:
        return NOTHING
    return format_html('<a href="{}">{}</a>', reverse(f"admin:{obj._meta.app_label}_{obj._meta.model_name}_change", args=[obj.pk]), obj)


def linked(name: str, label: Any) -> Column:
    """A column that leads to the row behind a foreign key."""

    @admin.display(description=label, ordering=name)
    def column(obj: Any) -> str:
        return link_to(getattr(obj, name, None))

    column.__name__ = f"{name}_link"
    return column


def stated(name: str = "state", label: Any = STATE) -> Column:
    """A column that shows a field with choices as a badge."""

    @admin.display(description=label, ordering=name)
    def column(obj: Any) -> str:
        return badge(getattr(obj, name), getattr(obj, f"get_{name}_display")())

    column.__name__ = f"{name}_badge"
    return column


def at(name: str, label: Any) -> Column:
    """A column that shows a time, in UTC and short."""

    @admin.display(description=label, ordering=name)
    def column(obj: Any) -> str:
        value = getattr(obj, name)
        return format_html('<time datetime="{}">{}</time>', value.isoformat(), f"{value:%Y-%m-%d %H:%M}") if value else NOTHING

    column.__name__ = f"{name}_time"
    return column


def has(name: str, label: Any) -> type[admin.SimpleListFilter]:
    """A filter for whether a time has been set: yes or no."""

    class Filter(admin.SimpleListFilter):
        title = label
        parameter_name = f"has_{name}"

        def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002 - Django's signature
            return [("1", _("Yes")), ("0", _("No"))]

        def queryset(self, request: Any, queryset: Any) -> Any:  # noqa: ARG002 - Django's signature
            return queryset.filter(**{f"{name}__isnull": self.value() == "0"}) if self.value() in ("0", "1") else queryset

    return Filter


def code(text: str) -> str:
    return format_html("<code>{}</code>", text) if text else NOTHING


def listed(words: Iterable[str]) -> str:
    """Words in one line."""
    return ", ".join(words) or NOTHING


def duration(span: timedelta) -> str:
    """In the largest unit that shows it whole: 90 minutes, 24 hours."""
    seconds = int(span.total_seconds())
    if seconds % 3600 == 0:
        return ngettext("%(count)d hour", "%(count)d hours", seconds // 3600) % {"count": seconds // 3600}
    if seconds % 60 == 0:
        return ngettext("%(count)d minute", "%(count)d minutes", seconds // 60) % {"count": seconds // 60}
    return ngettext("%(count)d second", "%(count)d seconds", seconds) % {"count": seconds}


class TenantFilter(admin.SimpleListFilter):
    """One tenant's rows, as its own page links to them. Shown only while it filters: tenants are too many to list."""

    title = gettext_lazy("tenant")
    parameter_name = "account"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        chosen = request.GET.get(self.parameter_name)
        return [(chosen, chosen)] if chosen else []

    def queryset(self, request: Any, queryset: Any) -> Any:  # noqa: ARG002 - Django's signature
        return queryset.filter(tenant__account=self.value()) if self.value() else queryset


def ago(span: timedelta | None) -> str:
    """How long since something, in words; `never` when it was not."""
    if span is None:
        return _("never")
    seconds = max(0, int(span.total_seconds()))
    if seconds < 60:
        return ngettext("%(count)d second ago", "%(count)d seconds ago", seconds) % {"count": seconds}
    if seconds < 3600:
        return ngettext("%(count)d minute ago", "%(count)d minutes ago", seconds // 60) % {"count": seconds // 60}
    if seconds < 86400:
        return ngettext("%(count)d hour ago", "%(count)d hours ago", seconds // 3600) % {"count": seconds // 3600}
    return ngettext("%(count)d day ago", "%(count)d days ago", seconds // 86400) % {"count": seconds // 86400}
