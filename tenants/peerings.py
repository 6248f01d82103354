"""What two tenants share: offered by the host, accepted by the guest, ended by either at once.

Everybody names their own: `dst` are words of the host, `src` of the guest. What a word stands for is looked up when the cluster's document is compiled, so a
group that changes changes what is shared, and a word that no longer stands for anything shares nothing. Devices are known further up, so callers bring
what says whether a word stands for something (placement/policies/peerings.py); nobody calls these verbs but through there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from tenants import audit
from tenants.errors import MalformedRequest, UnknownAccount, WrongState
from tenants.models import Peering, Tenant
from tenants.policies import names
from tenants.policies.document import ALL_SERVICES, EVERYONE, MEMBER, TAGGED
from tenants.policies.parts import Refusal
from tenants.policies.services import services as services_of

MOST_OPEN = 100  # of one tenant: what it offered, and what it accepted
MOST_WORDS = 200  # of one list
OFFER_HELD = timedelta(days=30)
LONGEST_DESCRIPTION = 200
KINDS = frozenset({EVERYONE, MEMBER, TAGGED, names.GROUP, names.TAG, names.DEVICE, names.ADDRESS})
AT_ONCE = 10_000  # old offers ended by one run of the task
FORGETTING = "system:forgetting"

State = Peering.State
OPEN = (State.OFFERED, State.ACCEPTED)
Doubt = Callable[[str], str]  # why a word stands for nothing of its tenant, or nothing


@transaction.atomic
def offer(
    host: Tenant,
    guest_account: str,
    *,
    dst: Sequence[str],
    services: Sequence[str],
    doubt: Doubt,
    actor: str,
    now: datetime,
    by: Tenant | None = None,
    description: str = "",
) -> Peering:
    """What the host would share. Nothing is shared until the guest accepts. `by` None: an operator acts for the host.

    Raises: MalformedRequest naming each field, UnknownAccount (also for a guest that is not active), WrongState (the host is not active, or has too many).
    """
    wrong: dict[str, str] = {}
    shared, served = _words("dst", dst, doubt, wrong), _services(services, wrong)
    if len(description) > LONGEST_DESCRIPTION or not description.isprintable():
        wrong["description"] = _("up to %(most)d characters, no control characters") % {"most": LONGEST_DESCRIPTION}
    if guest_account == host.account:
        wrong["guest"] = _("a tenant shares with others: name another account")
    if wrong:
        raise MalformedRequest(wrong)
    guest = Tenant.objects.filter(account=guest_account, state=Tenant.State.ACTIVE).first()
    if guest is None:
        raise UnknownAccount(_("no active tenant has the account %(account)s") % {"account": guest_account})
    _make_room(_lock(host)[host.pk])
    made = Peering.objects.create(
        host=host, guest=guest, description=description, dst=shared, services=served, offered_at=now, offered_by=actor
    )
    _tell("offer", made, by=by, actor=actor, now=now, dst=shared, services=served)
    return made


@transaction.atomic
def accept(peering: Peering, src: Sequence[str], *, doubt: Doubt, actor: str, now: datetime, by: Tenant | None = None) -> Peering:
    """The guest agrees, and says which devices of its own may use it. The rows of both tenants are held until commit, so that neither moves meanwhile.

    Raises: MalformedRequest, WrongState (no offer any more, not for this tenant to accept, a tenant is not active, or the guest has too many).
    """
    if by is not None and by != peering.guest:
        raise WrongState(_("only the tenant that it is offered to can accept it"))
    wrong: dict[str, str] = {}
    using = _words("src", src, doubt, wrong)
    if wrong:
        raise MalformedRequest(wrong)
    sides = _lock(peering.host, peering.guest)
    _make_room(sides[peering.guest_id])
    if sides[peering.host_id].state != Tenant.State.ACTIVE:
        raise WrongState(_("the tenant that offers this is not active"))
    row = _row(peering)
    changed = row.filter(state=State.OFFERED, offered_at__gt=now - OFFER_HELD)
    if changed.update(state=State.ACCEPTED, src=using, accepted_at=now, accepted_by=actor) != 1:
        raise WrongState(_no_offer(row.get()))
    _tell("accept", peering, by=by, actor=actor, now=now, src=using)
    return row.get()


@transaction.atomic
def end(peering: Peering, *, by: Tenant | None, actor: str, now: datetime) -> Peering:
    """Nothing is shared from now on; of an offer: declined by the guest, or withdrawn by the host. `by` None: neither of them ended it.

    Who of a tenant did it is in that tenant's audit; the other one is told the account. Raises: WrongState when it is ended already.
    """
    return _end(peering, OPEN, by=by, actor=actor, now=now)


def _end(peering: Peering, states: Sequence[str], *, by: Tenant | None, actor: str, now: datetime) -> Peering:
    """Raises: WrongState unless it is in one of these."""
    row = _row(peering)
    found = row.select_for_update(of=("self",)).get()
    if found.state not in states:
        raise WrongState(_("the peering is %(state)s") % {"state": found.get_state_display()})
    row.update(state=State.ENDED, ended_at=now, ended_by=_name(by, actor))
    _tell("end", peering, by=by, actor=actor, now=now, was=found.state)
    return row.get()


def end_old_offers(*, now: datetime) -> int:
    """Offers that nobody accepted for OFFER_HELD. Returns how many."""
    ended = 0
    old = Peering.objects.across_tenants().filter(state=State.OFFERED, offered_at__lte=now - OFFER_HELD)
    for peering in list(old.select_related("host", "guest")[:AT_ONCE]):
        with suppress(WrongState), transaction.atomic():  # somebody was faster
            _end(peering, (State.OFFERED,), by=None, actor=FORGETTING, now=now)
            ended += 1
    return ended


def _row(peering: Peering) -> QuerySet[Peering]:
    return Peering.objects.of(peering.host_id).filter(pk=peering.pk).order_by()


def _no_offer(found: Peering) -> str:
    if found.state == State.OFFERED:
        return _("the offer is older than %(days)d days: ask for a new one") % {"days": OFFER_HELD.days}
    return _("the peering is %(state)s") % {"state": found.get_state_display()}


def _lock(*tenants: Tenant) -> dict[object, Tenant]:
    """The tenants' rows, always in one order: admission holds them FOR SHARE, moves and changes of state wait."""
    wanted = [tenant.pk for tenant in tenants]
    rows = Tenant.objects.select_for_update(of=("self",), no_key=True).filter(pk__in=wanted).order_by("pk")
    return {tenant.pk: tenant for tenant in rows}


def _make_room(tenant: Tenant) -> None:
    """Offers of others do not count: else they could fill a tenant's list. Raises: WrongState."""
    if tenant.state != Tenant.State.ACTIVE:
        raise WrongState(_("the tenant is %(state)s") % {"state": tenant.get_state_display()})
    consented = Q(host=tenant, state__in=OPEN) | Q(guest=tenant, state=State.ACCEPTED)
    if Peering.objects.of(tenant).filter(consented).count() >= MOST_OPEN:
        raise WrongState(_("the tenant has %(count)d open peerings: end some first") % {"count": MOST_OPEN})


def _name(by: Tenant | None, actor: str) -> str:
    return f"tenant:{by.account}" if by is not None else actor


def _tell(verb: str, peering: Peering, *, by: Tenant | None, actor: str, now: datetime, **detail: object) -> None:
    """In both audits; who acts for one tenant is not the other one's business."""
    for tenant, other in ((peering.host, peering.guest), (peering.guest, peering.host)):
        seen = actor if by is None or by == tenant else _name(by, actor)
        target = f"peering:{peering.pk}"
        audit.record(f"peering.{verb}", actor=seen, tenant=tenant, target=target, now=now, other=other.account, **detail)


# ---- words -----------------------------------------------------------------------------------------------------------


def _words(field: str, texts: Sequence[str], doubt: Doubt, wrong: dict[str, str]) -> list[str]:
    """The words as they are kept, each once; what is wrong with them is put into `wrong` under the field's name."""
    found: dict[str, None] = {}
    reasons = [] if 0 < len(texts) <= MOST_WORDS else [_("name 1 to %(most)d") % {"most": MOST_WORDS}]
    for text in texts[:MOST_WORDS]:
        try:
            word = _word(text)
        except Refusal as refusal:
            reasons.append(refusal.reason)
        else:
            found[word] = None
            reasons += [reason] if (reason := doubt(word)) else []
    if reasons:
        wrong[field] = " ".join(dict.fromkeys(reasons))
    return list(found)


def _word(text: str) -> str:
    """Raises: Refusal."""
    kind, kept = names.classify(text)
    if kind not in KINDS:
        raise Refusal(
            _("“%(name)s” cannot stand here: write *, autogroup:member, autogroup:tagged, tags, groups, names or addresses of devices.")
            % {"name": text[:64]}
        )
    return kept


def _services(texts: Sequence[str], wrong: dict[str, str]) -> list[str]:
    """The services as they are kept, each once and in order; `*` is all of them."""
    if not 0 < len(texts) <= MOST_WORDS:
        wrong["services"] = _("name 1 to %(most)d") % {"most": MOST_WORDS}
        return []
    try:
        found = {service for text in texts for service in services_of(text)}
    except Refusal as refusal:
        wrong["services"] = refusal.reason
        return []
    if len(found) > MOST_WORDS:
        wrong["services"] = _("name 1 to %(most)d") % {"most": MOST_WORDS}
    return [str(service) for service in (ALL_SERVICES if ALL_SERVICES[0] in found else sorted(found))]
