"""What the operators' pages have in common: rows are looked at, and changed by verbs alone.

Every verb has a page of its own that says what it does and asks; its POST calls the very function that the API calls, as `operator:<name>`.
A domain error becomes a message on that page. Nothing here writes a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from tenants.errors import InvalidAccount, MalformedRequest, TenantError
from tenants.scoping import TenantQuerySet

LONGEST_ACTOR = 120
Text = str | Promise


@dataclass(frozen=True)
class Act:
    """Who acts and when, and what they filled in."""

    actor: str
    now: datetime
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def told(self) -> dict[str, Any]:
        """What every verb wants to know."""
        return {"actor": self.actor, "now": self.now}


@dataclass(frozen=True)
class Verb:
    """One thing that can be done to a row. `bulk` ones are offered in lists too; `grave` ones look it; after those that are its end there is no row.

    With `once`, what it returns is a secret, shown this once beside these words.
    """

    name: str
    label: Text
    warning: Text
    run: Callable[[Any, Act], object]
    fits: Callable[[Any], bool] = lambda _: True
    form: Callable[..., forms.BaseForm] = forms.Form
    initial: Callable[[Any], dict[str, Any]] = lambda _: {}
    grave: bool = False
    bulk: bool = False
    ends: bool = False
    once: Text = ""


def actor_of(request: HttpRequest) -> str:
    return f"operator:{request.user.get_username()}"[:LONGEST_ACTOR]


class OperatorAdmin(admin.ModelAdmin):
    """Lists and pages that only show; buttons for `verbs`. With `add_form` and `create`, a page that makes a new row by its verb."""

    verbs: ClassVar[tuple[Verb, ...]] = ()
    refusals: ClassVar[tuple[type[Exception], ...]] = (TenantError,)
    add_form: Callable[..., forms.BaseForm] | None = None
    add_lead: Text = ""
    once: Text = ""  # what is said beside a secret that is shown this once
    change_form_template = "admin/row.html"
    show_full_result_count = False
    list_per_page = 50

    # ---- what an operator may ---------------------------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.add_form is not None and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's signature
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's signature
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) or self.may_act(request)

    def may_act(self, request: HttpRequest) -> bool:
        """Verbs are for those who hold Django's right to change the model."""
        return super().has_change_permission(request)

    # ---- rows -------------------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows = super().get_queryset(request)
        return rows.across_tenants() if isinstance(rows, TenantQuerySet) else rows

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        if not self.may_act(request):
            return {}
        return {verb.name: (self._in_bulk(verb), verb.name, verb.label) for verb in self.verbs if verb.bulk}

    def audit_query(self, obj: Any) -> str:
        """What finds the row's acts in the list of audit events."""
        return str(obj.pk)

    def links(self, obj: Any) -> Iterable[tuple[Text, str]]:  # noqa: ARG002 - for those who have some
        """Pages that belong to a row: (label, address)."""
        return ()

    def list_links(self) -> Iterable[tuple[Text, str]]:
        """Pages that belong to the list: (label, address)."""
        return ()

    # ---- pages ------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_act"
        return [path("<path:object_id>/act/<slug:verb_name>/", self.admin_site.admin_view(self.act_view), name=name), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {**(extra_context or {}), "links": self.list_links(), "title": self.heading()})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        obj = self.get_object(request, object_id)
        extra = {"links": self.links(obj), "verbs": self._offered(request, obj), "title": str(obj), "subtitle": None} if obj else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})

    def heading(self) -> str:
        return str(capfirst(self.opts.verbose_name_plural))

    def _offered(self, request: HttpRequest, obj: Any) -> list[dict[str, Any]]:
        if not self.may_act(request):
            return []
        return [
            {"label": verb.label, "grave": verb.grave, "url": self._address("act", obj.pk, verb.name)}
            for verb in self.verbs
            if verb.fits(obj)
        ]

    def history_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> HttpResponse:  # noqa: ARG002
        """The audit is the history."""
        obj = self.get_object(request, object_id)
        if obj is None:
            raise Http404
        return HttpResponseRedirect(reverse("admin:tenants_auditevent_changelist", query={"q": self.audit_query(obj)}))

    def act_view(self, request: HttpRequest, object_id: str, verb_name: str) -> HttpResponse:
        """One verb on one row: ask, then do."""
        obj = self.get_object(request, object_id)
        verb = next((verb for verb in self.verbs if verb.name == verb_name), None)
        if obj is None or verb is None:
            raise Http404
        if not self.may_act(request):
            raise PermissionDenied
        back = self._address("change", obj.pk)
        form = verb.form(request.POST if request.method == "POST" else None, initial=verb.initial(obj))
        if request.method == "POST" and form.is_valid():
            return self._do(request, verb, obj, form, back) or self._ask(request, verb, [obj], form, back=back)
        return self._ask(request, verb, [obj], form, back=back)

    def _do(self, request: HttpRequest, verb: Verb, obj: Any, form: forms.BaseForm, back: str) -> HttpResponse | None:
        """The answer when the verb was done; why it was not is said in the form."""
        try:
            result = verb.run(obj, Act(actor_of(request), timezone.now(), form.cleaned_data))
        except self.refusals as refusal:
            refuse(form, refusal)
            return None
        if verb.once:
            return self._show_once(request, verb.label, str(result), verb.once, back)
        messages.success(request, _("Done: %(act)s (%(object)s).") % {"act": verb.label, "object": obj})
        return HttpResponseRedirect(self._address("changelist") if verb.ends else back)

    def _in_bulk(self, verb: Verb) -> Callable[..., HttpResponse | None]:
        def act(_: OperatorAdmin, request: HttpRequest, chosen: models.QuerySet[Any]) -> HttpResponse | None:
            form = verb.form(request.POST if "confirmed" in request.POST else None)
            if "confirmed" not in request.POST or not form.is_valid():
                return self._ask(request, verb, list(chosen), form, back=self._address("changelist"), bulk=True)
            self._do_all(request, verb, chosen, form)
            return None

        act.__name__ = verb.name
        return act

    def _do_all(self, request: HttpRequest, verb: Verb, chosen: Iterable[Any], form: forms.BaseForm) -> None:
        """Each by itself: one refusal does not undo the others."""
        done = 0
        for obj in chosen:
            try:
                verb.run(obj, Act(actor_of(request), timezone.now(), form.cleaned_data))
                done += 1
            except self.refusals as refusal:
                messages.error(request, f"{obj}: {reason_of(refusal)}")
        if done:
            words = ngettext("Done: %(act)s (%(count)d row).", "Done: %(act)s (%(count)d rows).", done)
            messages.success(request, words % {"act": verb.label, "count": done})

    def _ask(
        self, request: HttpRequest, verb: Verb, objects: list[Any], form: forms.BaseForm, *, back: str, bulk: bool = False
    ) -> HttpResponse:
        context = {
            "title": verb.label,
            "lead": verb.warning,
            "objects": objects,
            "form": form,
            "submit": verb.label,
            "grave": verb.grave,
            "back": back,
            "action": verb.name if bulk else "",
        }
        return self._page(request, "admin/act.html", context)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> HttpResponse:  # noqa: ARG002
        if self.add_form is None or not self.has_add_permission(request):
            raise PermissionDenied
        form = self.add_form(*((request.POST, request.FILES) if request.method == "POST" else ()), initial=request.GET.dict())
        if request.method == "POST" and form.is_valid():
            try:
                made, secret = self.create(Act(actor_of(request), timezone.now(), form.cleaned_data), request)
            except self.refusals as refusal:
                refuse(form, refusal)
            else:
                return self._made(request, made, secret)
        title = _("New %(kind)s") % {"kind": self.opts.verbose_name}
        context = {"title": title, "lead": self.add_lead, "form": form, "submit": _("Create"), "back": self._address("changelist")}
        return self._page(request, "admin/act.html", context)

    def create(self, act: Act, request: HttpRequest) -> tuple[Any, str]:
        """The new row and, for what has one, its secret."""
        raise NotImplementedError

    def _made(self, request: HttpRequest, made: Any, secret: str) -> HttpResponse:
        """A secret is shown in the very answer that made it: it is in no session, no address and no cache."""
        here = self._address("change", made.pk)
        if not secret:
            messages.success(request, _("Created: %(object)s.") % {"object": made})
            return HttpResponseRedirect(here)
        title = _("New %(kind)s") % {"kind": self.opts.verbose_name}
        return self._show_once(request, title, secret, self.once, here)

    def _show_once(self, request: HttpRequest, title: Text, secret: str, once: Text, back: str) -> HttpResponse:
        return self._page(request, "admin/once.html", {"title": title, "secret": secret, "once": once, "back": back})

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        everywhere = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        if form := context.get("form"):
            everywhere["media"] = self.media + form.media
        response = TemplateResponse(request, template, {**everywhere, **context})
        response["Cache-Control"] = "no-store"
        return response

    def _address(self, page: str, *arguments: Any) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}", args=arguments)


def refuse(form: forms.BaseForm, refusal: Exception) -> None:
    """Say in the form why not, at the field where there is one."""
    if not isinstance(refusal, MalformedRequest):
        form.add_error("account" if isinstance(refusal, InvalidAccount) and "account" in form.fields else None, reason_of(refusal))
        return
    for name, reason in refusal.errors.items():
        form.add_error(name if name in form.fields else None, str(capfirst(reason)) if name in form.fields else f"{name}: {reason}")


def reason_of(refusal: Exception) -> str:
    return str(capfirst(str(refusal))) or type(refusal).__name__
