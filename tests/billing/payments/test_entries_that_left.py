"""Money that left the account: an entry takes back a payment or pays out a balance, in part or whole, and is released where that was wrong."""

from __future__ import annotations

import pytest

from billing import concessions, corrections
from billing.models import CreditEntry, Payment, StatementEntry
from billing.owed import open_amount
from billing.payments import assigning, given, importing, ledger
from billing.payments.references import reference_of
from tenants.errors import MalformedRequest, WrongState
from tenants.models import AuditEvent
from tests.billing import sold
from tests.billing.payments.paid import DONE, again, camt, entry, invoice

pytestmark = pytest.mark.django_db


def take(*entries: str):
    importing.from_camt(camt(*entries), **DONE)


def row(reference):
    return StatementEntry.objects.get(bank_reference=reference)


def state(reference):
    return row(reference).state, row(reference).reason


def standing(made):
    made = again(made)
    return made.state, open_amount(made), concessions.balance_of(made.tenant, "EUR")


@pytest.fixture
def paid():
    made = invoice()
    take(entry("40.00", reference_of(made)))
    return made


def payment_of(made):
    return Payment.objects.of(made.tenant).filter(undoes=None).first()


@pytest.mark.parametrize("extra", ["", "<RvslInd>true</RvslInd>"])
def test_an_entry_takes_back_a_payment_first_from_the_balance(paid, extra):
    take(entry("40.00", "returned", reference="D1", direction="DBIT", extra=extra))
    counter = assigning.take_back(row("D1"), payment_of(paid), amount=1000, **DONE)
    assert (counter.amount, counter.credited, counter.entry, counter.provider) == (-1000, -549, row("D1"), "bank")
    assert (standing(paid), state("D1")[0], given.left_of(row("D1"))) == (("finalised", 451, 0), "aside", -3000)
    assigning.take_back(row("D1"), payment_of(paid), **DONE)
    assert (standing(paid), state("D1")) == (("finalised", 3451, 0), ("matched", ""))
    assert not assigning.unmatched().exists()
    assert state("B1") == ("matched", "")  # that money came, and went
    with pytest.raises(WrongState):
        assigning.take_back(row("D1"), payment_of(paid), **DONE)


def test_what_an_entry_takes_back_is_bounded_by_it_and_by_the_payment(paid):
    take(entry("50.00", reference="D1", direction="DBIT"), entry("5.00", reference="D2", direction="DBIT", currency="USD"))
    with pytest.raises(MalformedRequest):
        assigning.take_back(row("D1"), payment_of(paid), amount=5001, **DONE)
    with pytest.raises(WrongState, match="more than is left"):
        assigning.take_back(row("D1"), payment_of(paid), **DONE)
    with pytest.raises(WrongState, match="EUR"):
        assigning.take_back(row("D2"), payment_of(paid), **DONE)
    with pytest.raises(WrongState):
        assigning.take_back(row("B1"), payment_of(paid), **DONE)
    with pytest.raises(WrongState):
        assigning.assign(row("D1"), paid, **DONE)
    assert standing(paid) == ("paid", 0, 549)


def test_a_part_that_was_taken_back_is_not_there_when_the_rest_is_undone(paid):
    take(entry("10.00", reference="D1", direction="DBIT"))
    assigning.take_back(row("D1"), payment_of(paid), **DONE)
    counter = assigning.undo(payment_of(paid), reason="wrong", **DONE)
    assert (counter.amount, given.left_of(row("B1")), state("B1")) == (-3000, 3000, ("unmatched", "undone"))
    other = invoice()
    assigning.assign(row("B1"), other, **DONE)
    assert standing(other) == ("finalised", 451, 0)
    with pytest.raises(WrongState, match="assigned since"):
        ledger.bring_back(counter, reason="no", **DONE)


def test_an_undone_payment_of_a_bank_comes_back_with_its_entry(paid):
    counter = assigning.undo(payment_of(paid), reason="wrong", **DONE)
    assert (state("B1"), standing(paid)) == (("unmatched", "undone"), ("finalised", 3451, 0))
    ledger.bring_back(counter, reason="it was right", **DONE)
    assert (state("B1"), standing(paid)) == (("matched", ""), ("paid", 0, 549))
    with pytest.raises(WrongState):
        assigning.assign(row("B1"), invoice(), **DONE)


def test_a_balance_is_paid_out_and_never_more_than_it_has():
    made = invoice()
    take(entry("34.51", reference_of(made)))
    corrections.credit_whole(again(made), reason="wrong", **DONE)
    take(entry("40.00", "refund", reference="D1", direction="DBIT"))
    with pytest.raises(WrongState, match="below nothing"):
        assigning.pay_out(row("D1"), made.tenant, **DONE)
    out = assigning.pay_out(row("D1"), made.tenant, amount=3451, **DONE)
    assert (out.amount, out.entry, standing(made)) == (-3451, row("D1"), ("paid", 0, 0))
    assert (state("D1")[0], given.left_of(row("D1"))) == ("aside", -549)
    with pytest.raises(WrongState):
        assigning.pay_out(row("D1"), made.tenant, amount=1, **DONE)
    assigning.take_back(row("D1"), payment_of(made), amount=1, **DONE)  # more went back than was credited
    assert standing(made) == ("finalised", 1, 0)
    told = AuditEvent.objects.of(made.tenant).get(verb="balance.pay_out")
    assert told.detail["amount"] == -3451


def test_a_balance_in_another_currency_pays_nothing_out(paid):
    take(entry("5.00", reference="D1", direction="DBIT", currency="USD"))
    with pytest.raises(WrongState):
        assigning.pay_out(row("D1"), paid.tenant, **DONE)


def test_an_entry_that_was_assigned_wrongly_is_released_whatever_it_did(paid):
    other = sold.tenant()
    concessions.credit(other, 1000, reason="outage", **DONE)
    take(entry("25.00", reference="D1", direction="DBIT"))
    assigning.take_back(row("D1"), payment_of(paid), amount=1500, **DONE)
    assigning.pay_out(row("D1"), other, **DONE)
    assert (state("D1"), standing(paid), concessions.balance_of(other, "EUR")) == (("matched", ""), ("finalised", 951, 0), 0)
    for _ in range(2):
        assigning.release(row("D1"), reason="another customer", **DONE)
        assert (state("D1"), given.left_of(row("D1"))) == (("unmatched", "undone"), -2500)
        assert (standing(paid), concessions.balance_of(other, "EUR")) == (("paid", 0, 549), 1000)
    assert (Payment.objects.of(paid.tenant).count(), CreditEntry.objects.of(other).count()) == (3, 3)
    assigning.take_back(row("D1"), payment_of(paid), **DONE)
    assert (state("D1"), standing(paid)) == (("matched", ""), ("finalised", 1951, 0))


def test_an_entry_that_came_is_released_from_all_its_invoices():
    first, second = invoice(), invoice()
    take(entry("69.02", f"{reference_of(first)} {reference_of(second)}"))
    assigning.release(row("B1"), reason="both wrong", **DONE)
    assert (standing(first)[:2], standing(second)[:2]) == (("finalised", 3451), ("finalised", 3451))
    assert (state("B1"), given.left_of(row("B1"))) == (("unmatched", "undone"), 6902)


def test_a_bank_s_reference_that_looks_like_a_second_part_of_another_entry_is_no_such_thing():
    made, other = invoice(), invoice()
    take(entry("34.51", "June"), entry("5.00", "July", reference="B1#2"))
    assigning.assign(row("B1#2"), other, **DONE)
    assigning.assign(row("B1"), made, amount=1000, **DONE)
    assigning.assign(row("B1"), made, **DONE)
    assert (standing(made), standing(other)[:2]) == (("paid", 0, 0), ("finalised", 2951))
    assert Payment.objects.across_tenants().count() == 3
