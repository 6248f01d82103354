"""Tags, in a tenant's own words (`tag:web`): which ones its policy declares, whether a list of them may be given, and which ones credentials carry.

On the server a tag bears its tenant's account: placement/policies/facts.py, `server_tag`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from tenants.errors import MalformedRequest
from tenants.models import Enrolment, EnrolmentKey, NetworkPolicy, Tenant
from tenants.policies import names, reading
from tenants.policies.document import NOTHING_WRITTEN, Document, PolicyRefused

MOST = 10  # of one device


def document_of(tenant: Tenant) -> Document:
    """The tenant's current policy document; the default one where it has none, or one that can no longer be read."""
    policy = NetworkPolicy.objects.of(tenant).select_related("current").first()
    return _read(policy)


def declared(tenant: Tenant) -> frozenset[str]:
    """The tags that the tenant's current policy document declares in its `tagOwners`."""
    return frozenset(document_of(tenant).tags)


def check(tenant: Tenant, tags: Sequence[str]) -> None:
    """Whether devices of the tenant may carry these together. Inside a transaction, which the policy then does not change before its end.

    Raises: MalformedRequest naming `tags`.
    """
    if reason := wrong(tenant, tags):
        raise MalformedRequest({"tags": reason})


def wrong(tenant: Tenant, tags: Sequence[str]) -> str:
    """Why not, as `check` would say it; empty where nothing is wrong."""
    if odd := [tag for tag in tags if not tag.startswith("tag:") or not names.NAME_OF_TAG.match(tag.removeprefix("tag:"))]:
        said = ", ".join(map(repr, odd))
        return _("not a tag: %(tags)s; write tag: and up to 40 letters, digits and single hyphens, a letter first") % {"tags": said}
    if len(tags) > MOST or len(set(tags)) != len(tags):
        return _("at most %(most)d different ones") % {"most": MOST}
    if not tags:
        return ""
    policy = NetworkPolicy.objects.of(tenant).select_for_update(of=("self",), no_key=True).select_related("current").first()
    if unknown := sorted(set(tags) - _read(policy).tags.keys()):
        return _("the tenant's network policy does not declare %(tags)s in its tagOwners") % {"tags": ", ".join(unknown)}
    return ""


def in_use(tenant: Tenant) -> dict[str, str]:
    """The tags that credentials and single enrolments carry which may still let a device in, each with one of those in words."""
    lasting = Q(expires_at=None) | Q(expires_at__gt=Now())
    live = EnrolmentKey.objects.of(tenant).filter(lasting, revoked_at=None).exclude(tags=[]).order_by("created_at", "id")
    own = Enrolment.objects.of(tenant).filter(state=Enrolment.State.ENABLED).exclude(tags=None).order_by("registration_id")
    singles = {tag: _("enrolment of %(device)s") % {"device": one.registration_id} for one in own for tag in one.tags or ()}
    return singles | {tag: f"{key.get_kind_display()} {key.hint}" for key in live for tag in key.tags}


def kept(given: Iterable[str]) -> list[str]:
    """A list of tags as it is stored."""
    return sorted(given)


def _read(policy: NetworkPolicy | None) -> Document:
    try:
        return reading.read(policy.current.text) if policy is not None and policy.current.text.strip() else NOTHING_WRITTEN
    except PolicyRefused:
        return NOTHING_WRITTEN
