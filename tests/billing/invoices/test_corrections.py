"""What was billed wrongly becomes a credit note that names its lines; a finalised invoice never changes, the database says so."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import InternalError, transaction
from django.db.utils import IntegrityError, NotSupportedError, ProgrammingError

from billing import catalogue, concessions, corrections, invoicing, subscriptions
from billing.closing import close
from billing.errors import EvidenceLost
from billing.metering import corrections as metering
from billing.metering import partitions, rolling
from billing.models import DeviceDay, Invoice, InvoiceLine, Session
from billing.owed import open_amount
from billing.rating.tax import Treatment
from tenants.errors import MalformedRequest, WrongState
from tenants.models import AuditEvent
from tests.billing import sold
from tests.billing.invoices.used import after, into, lives, month_of_use, used
from tests.billing.rating.bills import JUNE

pytestmark = pytest.mark.django_db
DONE = {"now": after(), "actor": "system:tests"}
LATER = {"now": after() + timedelta(days=3), "actor": "system:tests"}
WHY = {"reason": "an outage billed as online"}


@pytest.fixture
def billed(fleet_cluster):
    """Worked case 1 as an invoice: 137 devices, 71,234.25 h, 343.28 in all."""
    tenant = sold.subscriber()
    lives(tenant, fleet_cluster)
    month_of_use(tenant, fleet_cluster, 137, "71234.25", days=30)
    close(JUNE, **DONE)
    return Invoice.objects.of(tenant).get()


def less(invoice, hours, devices=0):
    """Metering knows better by now: so many hours less, and devices that were not there."""
    days = DeviceDay.objects.of(invoice.tenant).order_by("device_id", "day")
    gone = sorted({day.device_id for day in days})[:devices]
    seconds = hours * 3600 - sum(day.seconds for day in days if day.device_id in gone)
    assert seconds >= 0
    days.filter(device_id__in=gone).delete()
    for day in days.all():
        off = min(seconds, day.seconds)
        days.filter(day=day.day, device_id=day.device_id).update(seconds=day.seconds - off)
        seconds -= off
        if not seconds:
            break


def test_an_invoice_whose_days_are_not_kept_any_more_is_not_credited_for_them(billed, settings):
    settings.METERING_EVIDENCE_MONTHS = settings.METERING_DEVICE_DAY_MONTHS = 2
    DeviceDay.objects.of(billed.tenant).delete()  # its month was dropped
    with pytest.raises(EvidenceLost, match="not known any more"):
        corrections.correct(billed, **WHY, **LATER)
    assert not billed.credit_notes.exists()


def test_a_credit_note_names_the_lines_it_corrects_with_their_differences(billed):
    before = [(line.component, line.amount) for line in billed.lines.order_by("position")]
    less(billed, 20_000, devices=37)
    done = corrections.correct(billed, **WHY, **LATER)
    note = done.credit_note
    lines = [(line.corrects.position, line.component, line.before, line.after, line.amount) for line in note.lines.order_by("position")]
    assert lines == [(3, "devices", 3700, 0, -3700), (4, "hours", 10247, 6247, -4000)]
    assert [line.quantity for line in note.lines.order_by("position")] == [-37, -20_000]
    assert (note.name, note.kind, note.corrects, note.reason) == ("CN-2026-000001", "credit_note", billed, WHY["reason"])
    assert (note.net, note.gross) == (-7700, 25165 - 34328)
    assert (done.difference, note.set_off, note.carried) == (25165 - 34328, 34328 - 25165, 0)
    assert open_amount(billed) == 25165
    billed.refresh_from_db()
    assert (billed.gross, billed.state) == (34328, "finalised")
    assert [(line.component, line.amount) for line in billed.lines.order_by("position")] == before
    assert AuditEvent.objects.of(billed.tenant).filter(verb="credit_note.finalise", target=note.name).count() == 1


def test_correcting_again_is_a_no_op_and_a_second_correction_credits_what_is_new(billed):
    less(billed, 10_000)
    assert corrections.correct(billed, **WHY, **LATER).credit_note.net == -2000
    assert corrections.correct(billed, **WHY, **LATER).credit_note is None
    less(billed, 10_000)
    second = corrections.correct(billed, **WHY, **LATER).credit_note
    (line,) = second.lines.all()
    assert (line.before, line.after, line.quantity) == (8247, 6247, -10_000)
    assert (second.number, second.net) == (2, -2000)


def test_tax_of_invoice_and_credit_notes_together_is_that_of_the_new_reckoning(billed):
    for hours in (7, 11, 13, 400):
        less(billed, hours)
        corrections.correct(billed, **WHY, **LATER)
    notes = list(billed.credit_notes.all())
    fresh = invoicing.drafted(billed.subscription, invoicing.reckon(billed.tenant, JUNE), after()).invoice
    for name in ("net", "tax", "gross"):
        assert getattr(billed, name) + sum(getattr(note, name) for note in notes) == getattr(fresh, name)


def test_what_was_billed_too_low_is_told_and_not_charged(billed, fleet_cluster):
    more = [
        DeviceDay(
            day=into(day).date(), device_id=billed.tenant_id, cluster_id=fleet_cluster.cluster_id, tenant=billed.tenant, seconds=86400
        )
        for day in range(30)
    ]
    DeviceDay.objects.bulk_create(more)
    done = corrections.correct(billed, **WHY, **LATER)
    assert done.credit_note is None
    assert done.difference > 0
    told = AuditEvent.objects.of(billed.tenant).get(verb="invoice.billed_too_low")
    assert told.detail["amount"] == done.difference


def test_the_credit_of_a_paid_invoice_goes_to_the_balance_and_pays_the_next_one(billed):
    invoicing.mark_paid(billed, **LATER)
    less(billed, 20_000)
    note = corrections.correct(billed, **WHY, **LATER).credit_note
    assert (note.set_off, note.carried, note.state) == (0, 4760, "paid")
    assert concessions.balance_of(billed.tenant, "EUR") == 4760


def test_an_invoice_credited_whole_is_settled(billed):
    note = corrections.credit_whole(billed, reason="the wrong company", **LATER).credit_note
    assert note.gross == -billed.gross
    assert [line.after for line in note.lines.all()] == [0, 0, 0, 0]
    billed.refresh_from_db()
    assert billed.state == "paid"
    assert concessions.balance_of(billed.tenant, "EUR") == 0


def test_the_terms_of_the_invoice_count_not_those_of_today(billed):
    concessions.make_coupon("LATE", percent=Decimal(50), **sold.told(JUNE.start))
    concessions.redeem(billed.tenant, "LATE", **sold.told(JUNE.start))
    assert corrections.correct(billed, **WHY, **LATER).difference == 0


def test_corrections_want_a_reason_and_a_finalised_invoice(billed):
    with pytest.raises(MalformedRequest):
        corrections.correct(billed, reason=" ", **LATER)
    invoicing.void(billed, **LATER)
    with pytest.raises(WrongState):
        corrections.correct(billed, **WHY, **LATER)


def test_a_correction_of_metering_flows_into_a_credit_note(fleet_cluster):
    tenant = sold.subscriber(sold.version(), trial=False)
    lives(tenant, fleet_cluster)
    concessions.override(tenant, component="hours", included=0, unit_price=Decimal(1), until=None, **sold.TOLD)
    partitions.make(JUNE.start, JUNE.end)
    facts = {"cluster_id": fleet_cluster.cluster_id, "tenant": tenant, "node_id": 1, "reason": "offline"}
    Session.objects.create(device_id=tenant.pk, began=into(3, 8), ended=into(3, 18), told_at=into(3, 18), **facts)
    rolling.again(fleet_cluster.cluster_id, into(3).date(), into(3).date())
    rolling.roll(now=after())
    close(JUNE, **DONE)
    billed = Invoice.objects.of(tenant).get()
    assert billed.net == 2900 + 1000
    assert corrections.touched(JUNE) == []
    metering.exclude(fleet_cluster.row, into(3, 9), into(3, 12), reason="the uplink was down", **LATER)
    assert corrections.touched(JUNE) == [billed]
    note = corrections.correct(billed, **WHY, **LATER).credit_note
    (line,) = note.lines.all()
    assert (line.component, line.quantity, line.amount) == ("hours", -3, -300)


def test_a_correction_that_was_taken_back_leaves_its_credit_note_and_what_is_too_low_is_told(fleet_cluster):
    tenant = sold.subscriber(sold.version(), trial=False)
    other = sold.subscriber(sold.version(), trial=False)
    for each in (tenant, other):
        lives(each, fleet_cluster)
        concessions.override(each, component="hours", included=0, unit_price=Decimal(1), until=None, **sold.TOLD)
        partitions.make(JUNE.start, JUNE.end)
        facts = {"cluster_id": fleet_cluster.cluster_id, "tenant": each, "node_id": 1, "reason": "offline"}
        Session.objects.create(device_id=each.pk, began=into(3, 8), ended=into(3, 18), told_at=into(3, 18), **facts)
    rolling.again(fleet_cluster.cluster_id, into(3).date(), into(3).date())
    close(JUNE, **DONE)
    billed = Invoice.objects.of(tenant).get()
    made = metering.exclude(tenant, into(3, 9), into(3, 12), reason="the till was cloned", **LATER)
    assert corrections.touched(JUNE) == [billed], "nobody else's"
    note = corrections.correct(billed, **WHY, **LATER).credit_note
    assert note.net == -300
    much_later = {"now": LATER["now"] + timedelta(days=9), "actor": "system:tests"}
    metering.take_back(made, reason="it was not", **much_later)
    assert corrections.touched(JUNE) == [billed]
    done = corrections.correct(billed, **WHY, **much_later)
    assert (done.credit_note, done.difference) == (None, 357), "tax in it"
    assert billed.credit_notes.get() == note, "what was issued stays"
    assert AuditEvent.objects.of(tenant).filter(verb="invoice.billed_too_low").exists()
    again = metering.exclude(tenant, into(3, 9), into(3, 13), reason="it was, and longer", **much_later)
    assert corrections.correct(billed, **WHY, **much_later).credit_note.net == -100, "what was credited already is not credited twice"
    assert again.pk > made.pk


def test_what_was_corrected_while_an_invoice_was_made_is_counted_again(fleet_cluster):
    """Said by a process whose clock is behind, or committed while the invoice was made: by its time it was before the invoice."""
    tenant = sold.subscriber()
    lives(tenant, fleet_cluster)
    close(JUNE, **DONE)
    early = {"now": DONE["now"] - timedelta(seconds=20), "actor": "system:tests"}
    metering.exclude(fleet_cluster.row, into(3, 9), into(3, 12), reason="the uplink was down", **early)
    assert corrections.touched(JUNE) == [Invoice.objects.of(tenant).get()]


def sums_agree(note):
    assert sum(line.amount for line in note.lines.all()) == note.net, "its lines are what it credits"


def test_two_tiers_of_one_price_are_two_lines_and_each_is_corrected(fleet_cluster):
    version = sold.version(publish=False)
    tiers = [(20, Decimal("1.00")), (60, Decimal("1.00")), (None, Decimal("0.50"))]
    catalogue.unprice(version, key="devices", currency="EUR", **sold.TOLD)
    catalogue.price(version, currency="EUR", key="devices", kind="active_device", charged="arrears", included=0, tiers=tiers, **sold.TOLD)
    tenant = sold.subscriber(catalogue.publish(version, **sold.TOLD))
    lives(tenant, fleet_cluster)
    month_of_use(tenant, fleet_cluster, 50, "100", days=30)
    close(JUNE, **DONE)
    billed = Invoice.objects.of(tenant).get()
    assert [line.amount for line in billed.lines.filter(component="devices").order_by("position")] == [2000, 3000]
    gone = sorted(set(DeviceDay.objects.of(tenant).values_list("device_id", flat=True)))[:35]
    DeviceDay.objects.of(tenant).filter(device_id__in=gone).delete()
    note = corrections.correct(billed, **WHY, **LATER).credit_note
    assert note.net == -3500
    lines = [(line.corrects.position, line.before, line.after) for line in note.lines.order_by("position")]
    assert lines == [(2, 2000, 1500), (3, 3000, 0)]
    sums_agree(note)


def test_lines_that_a_credit_note_brought_are_known_to_the_next_one(fleet_cluster):
    """The coupon's line has the time of what it is taken off: when the first half of the month falls away it is another line."""
    tenant = sold.subscriber()
    concessions.override(tenant, component="hours", included=0, unit_price=Decimal(1), until=None, **sold.TOLD)
    concessions.make_coupon("HALF", percent=Decimal(50), **sold.TOLD)
    concessions.redeem(tenant, "HALF", **sold.TOLD)
    lives(tenant, fleet_cluster)
    subscriptions.change_plan(tenant, sold.version("59.00"), when="now", now=into(10), actor="system:tests")
    concessions.override(tenant, component="hours", included=0, unit_price=Decimal(1), until=None, now=into(10), actor="system:tests")
    for day in (3, 20):
        used(tenant, fleet_cluster, into(day), 1, "20")
    close(JUNE, **DONE)
    billed = Invoice.objects.of(tenant).get()
    DeviceDay.objects.of(tenant).filter(day=into(3).date()).delete()
    first = corrections.correct(billed, **WHY, **LATER).credit_note
    assert first.net == -1000
    for seconds, net in ((36_000, -500), (18_000, -250), (0, -250)):
        DeviceDay.objects.of(tenant).filter(day=into(20).date()).update(seconds=seconds)
        note = corrections.correct(billed, **WHY, **LATER).credit_note
        assert note.net == net
        sums_agree(note)
    sums_agree(first)
    assert corrections.correct(billed, **WHY, **LATER).credit_note is None


# ---- what the database keeps ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "change",
    [
        lambda made: Invoice.objects.across_tenants().filter(pk=made.pk).update(gross=1, net=1, tax=0, payable=1),
        lambda made: Invoice.objects.across_tenants().filter(pk=made.pk).update(number=9),
        lambda made: Invoice.objects.across_tenants().filter(pk=made.pk).update(buyer={}),
        lambda made: Invoice.objects.across_tenants().filter(pk=made.pk).update(state="draft"),
        lambda made: Invoice.objects.across_tenants().filter(pk=made.pk).delete(),
        lambda made: InvoiceLine.objects.filter(invoice=made).update(amount=1),
        lambda made: InvoiceLine.objects.filter(invoice=made).delete(),
        lambda made: made.lines.create(**_copied(made)),
    ],
    ids=["sums", "number", "buyer", "back to draft", "delete", "line", "lines gone", "another line"],
)
def test_a_finalised_invoice_is_immutable_in_the_database(change):
    tenant = sold.subscriber()
    close(JUNE, **DONE)
    with pytest.raises((InternalError, IntegrityError, NotSupportedError, ProgrammingError)), transaction.atomic():
        change(Invoice.objects.of(tenant).get())


def _copied(made):
    line = made.lines.get()
    names = [field.attname for field in InvoiceLine._meta.concrete_fields if field.attname not in ("id", "invoice_id", "position")]
    return {name: getattr(line, name) for name in names} | {"position": 2}


@pytest.mark.parametrize(
    ("ways", "allowed"),
    [
        (("paid",), True),
        (("void",), True),
        (("uncollectible", "paid"), True),
        (("paid", "finalised"), True),  # a payment that was undone
        (("void", "paid"), False),
        (("uncollectible", "void"), False),
    ],
)
def test_states_change_along_the_allowed_ways_only(ways, allowed):
    tenant = sold.subscriber()
    close(JUNE, **DONE)
    rows = Invoice.objects.of(tenant)
    for state in ways[:-1]:
        rows.update(state=state)
    if allowed:
        assert rows.update(state=ways[-1]) == 1
        return
    with pytest.raises(ProgrammingError), transaction.atomic():
        rows.update(state=ways[-1])


def test_a_second_invoice_of_a_period_and_a_second_use_of_a_number_are_refused():
    first, second = sold.subscriber(), sold.subscriber()
    close(JUNE, **DONE)
    made = Invoice.objects.of(first).get()
    again = Invoice.objects.of(first).get()
    again.pk, again.state, again.number, again.name, again.issued_at = None, "draft", None, "", None
    with pytest.raises(IntegrityError), transaction.atomic():
        again.save(force_insert=True)
    subscriptions.cancel(second, **LATER)
    invoicing.void(Invoice.objects.of(second).get(), **LATER)
    fresh = invoicing.draft(second.subscription, JUNE, now=after())
    with pytest.raises(IntegrityError), transaction.atomic():
        Invoice.objects.of(second).filter(pk=fresh.pk).update(
            state="finalised", number=made.number, name=made.name, series=made.series, year=made.year, issued_at=after(), due_at=after()
        )
    assert isinstance(invoicing.reckon(second, JUNE).treatment, Treatment)
