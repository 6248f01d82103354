"""Money that goes back, in part or whole, and comes again: the ledger against a brute-force model of single cents, and its single rules."""

from __future__ import annotations

import os
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing import catalogue, concessions, corrections, dunning, invoicing, subscriptions
from billing.books import checks
from billing.models import DeviceDay, DunningCase, Invoice, Payment
from billing.owed import open_amount, paid_of
from billing.payments import ledger
from billing.payments.received import Received
from billing.rating.cycles import Range, months_after
from tenants.errors import MalformedRequest, WrongState
from tenants.models import AuditEvent
from tests.billing import sold
from tests.billing.invoices.used import lives, used
from tests.billing.payments.paid import DONE, NOW, TOLD, again, invoice
from tests.billing.rating.bills import JUNE

pytestmark = pytest.mark.django_db


def enter(made, amount, reference="pi_1"):
    return ledger.enter(again(made), Received("stripe", reference, amount, "EUR", NOW), **DONE)


def take_back(payment, amount, reference="re_1"):
    return ledger.take_back(payment, amount, reference, at=NOW, **DONE)


def standing(made):
    """What is open, and what the tenant has on its balance."""
    made = again(made)
    return made.state, open_amount(made), concessions.balance_of(made.tenant, "EUR")


def test_a_part_goes_back_first_from_what_was_too_much_then_from_the_invoice():
    made = invoice()
    payment = enter(made, 4000)
    counter = take_back(payment, 500)
    assert (counter.amount, counter.credited, counter.undoes) == (-500, -500, payment)
    assert standing(made) == ("paid", 0, 49)
    assert take_back(payment, 500) == counter
    take_back(payment, 100, "re_2")
    assert standing(made) == ("finalised", 51, 0)
    with pytest.raises(WrongState):
        take_back(payment, 3401, "re_3")
    take_back(payment, 3400, "re_3")
    assert standing(made) == ("finalised", 3451, 0)
    assert ledger.left_of(payment) == ledger.Left(0, 0)
    told = AuditEvent.objects.of(made.tenant).filter(verb="payment.take_back").count()
    assert told == 3


def test_what_a_credit_note_brought_to_the_balance_goes_back_before_the_invoice_opens():
    made = invoice()
    payment = enter(made, 3451)
    corrections.credit_whole(again(made), reason="wrong", **DONE)
    assert standing(made) == ("paid", 0, 3451)
    take_back(payment, 3000)
    assert standing(made) == ("paid", 0, 451)
    concessions.credit(made.tenant, -451, reason="spent", **DONE)
    take_back(payment, 451, "re_2")
    assert standing(made) == ("finalised", 451, 0)


def test_what_the_balance_has_spent_is_not_taken_twice():
    made = invoice()
    payment = enter(made, 4000)
    concessions.credit(made.tenant, -549, reason="spent", **DONE)
    take_back(payment, 3451)
    assert standing(made) == ("finalised", 3451, 0)
    with pytest.raises(WrongState, match="below nothing"):
        take_back(payment, 549, "re_2")
    with pytest.raises(MalformedRequest):
        take_back(payment, 0, "re_2")
    with pytest.raises(WrongState):
        take_back(enter(made, 5, "pi_2"), 5, "re_1")  # the reference is of another payment


def test_money_that_a_credit_of_somebody_else_brought_is_not_taken():
    made = invoice()
    payment = enter(made, 3451)
    concessions.credit(made.tenant, 1000, reason="outage", **DONE)
    take_back(payment, 500)
    assert standing(made) == ("finalised", 500, 1000)


def test_an_undone_payment_comes_back_once_and_pays_what_is_open_then():
    made = invoice()
    payment = enter(made, 4000)
    counter = ledger.undo(payment, reason="wrong", **DONE)
    assert standing(made) == ("finalised", 3451, 0)
    assert enter(made, 4000) == payment
    assert standing(made) == ("finalised", 3451, 0)  # a replay stays undone
    back = ledger.bring_back(ledger.counter_of(payment), reason="it was right", **DONE)
    assert (back.amount, back.credited, back.undoes) == (4000, 549, counter)
    assert standing(made) == ("paid", 0, 549)
    assert ledger.bring_back(counter, reason="again", **DONE) == back
    assert (ledger.undo(payment, reason="after all", **DONE).amount, standing(made)) == (-4000, ("finalised", 3451, 0))
    with pytest.raises(WrongState):
        ledger.bring_back(payment, reason="no", **DONE)
    with pytest.raises(WrongState):
        ledger.undo(back, reason="no", **DONE)


def test_a_payment_of_which_several_parts_went_back_is_asked_which():
    payment = enter(invoice(), 3451)
    with pytest.raises(WrongState):
        ledger.counter_of(payment)
    first = take_back(payment, 1)
    assert ledger.counter_of(payment) == first
    take_back(payment, 1, "re_2")
    with pytest.raises(WrongState):
        ledger.counter_of(payment)


def test_the_database_lets_no_more_go_back_than_came():
    made = invoice()
    payment = enter(made, 3451)
    counter = take_back(payment, 3000)
    facts = {"tenant": made.tenant, "invoice": made, "provider": "stripe", "currency": "EUR", "paid_at": NOW, "recorded_at": NOW}
    rows = Payment.objects.of(made.tenant)
    for number, (amount, undoes) in enumerate(((-452, payment), (-1, counter), (2999, counter), (3451, payment))):
        with pytest.raises(DatabaseError), transaction.atomic():
            rows.create(amount=amount, undoes=undoes, provider_reference=f"x{number}", **facts)
    ledger.bring_back(counter, reason="failed", **DONE)
    with pytest.raises(IntegrityError), transaction.atomic():
        rows.create(amount=3000, undoes=counter, provider_reference="x", **facts)


@pytest.mark.parametrize("reference", ["payment:1", "invoice:2", "void:3", "entry:4#1"])
def test_a_credit_by_people_cannot_take_the_reference_of_what_billing_enters(reference):
    tenant = sold.tenant()
    with pytest.raises(MalformedRequest):
        concessions.credit(tenant, 5, reason="x", reference=reference, **DONE)


# ---- what dunning did ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("settle", [
    lambda made, done: invoicing.void(made, **done),
    lambda made, done: corrections.credit_whole(made, reason="wrong", **done),
    lambda made, done: invoicing.mark_paid(made, **done),
])  # fmt: skip
def test_what_settles_the_overdue_invoice_takes_back_at_once_what_dunning_did(settle):
    made = invoice()
    for number in (0, 14, 31):
        dunning.review(made.tenant, now=made.due_at + timedelta(days=number, hours=1))
    made.tenant.refresh_from_db()
    assert made.tenant.state == "suspended"
    settle(again(made), {"now": made.due_at + timedelta(days=32), **TOLD})
    made.tenant.refresh_from_db()
    assert (made.tenant.state, made.tenant.restricted_at) == ("active", None)
    assert not DunningCase.objects.of(made.tenant).exists()


def test_what_settles_one_of_two_overdue_invoices_takes_nothing_back():
    made = invoice()
    other = invoice_of_july(made)
    for number in (0, 14):
        dunning.review(made.tenant, now=made.due_at + timedelta(days=number + 60))
    invoicing.void(again(other), now=made.due_at + timedelta(days=75), **TOLD)
    assert DunningCase.objects.of(made.tenant).get().stage == "restricted"


def invoice_of_july(made):
    july = Range(JUNE.end, months_after(JUNE.end, 1))
    draft = invoicing.draft(made.subscription, july, now=july.end + timedelta(hours=1))
    return invoicing.finalise(draft, now=july.end + timedelta(hours=1), **TOLD)


# ---- the ledger against single cents -----------------------------------------------------------------------------------------
class Cents:
    """Where each cent of each payment is: it pays the `invoice`, is on the balance (`over`), or is gone. `noted` are the cents that credit notes brought to the
    balance, `balance` is how many of all cents there are left, `paid` how many pay the invoice."""

    def __init__(self, payable: int) -> None:
        self.payable, self.set_off, self.noted, self.balance, self.moved = payable, 0, 0, 0, 0
        self.payments: dict[str, list[str]] = {}
        self.lines: dict[str, tuple[str, list[str]]] = {}
        self.settled = False

    @property
    def open(self) -> int:
        held = sum(cents.count("invoice") for cents in self.payments.values())
        return self.payable - self.set_off - held - self.moved

    def enter(self, name: str, amount: int) -> None:
        if name not in self.payments:
            self.payments[name] = []
            self._come(name, amount)

    def _come(self, name: str, amount: int) -> None:
        for _ in range(amount):
            where = "invoice" if self.open > 0 else "over"
            self.balance += where == "over"
            self.payments[name].append(where)

    def go(self, name: str, amount: int) -> bool:
        """One cent after the other: from the balance if it has any that came so, else from the invoice. All or nothing."""
        cents, noted, balance, moved = [*self.payments[name]], self.noted, self.balance, self.moved
        for _ in range(amount):
            if balance and "over" in cents:
                cents.remove("over")
                balance -= 1
            elif balance and noted and "invoice" in cents:  # the credit note's cent takes the place of the payment's
                cents.remove("invoice")
                noted, balance, moved = noted - 1, balance - 1, moved + 1
            elif "invoice" in cents:
                cents.remove("invoice")
            else:
                return False
        self.payments[name], self.noted, self.balance, self.moved = cents, noted, balance, moved
        return True

    def note(self, amount: int) -> None:
        for _ in range(amount):
            if self.open > 0:
                self.set_off += 1
            else:
                self.noted, self.balance = self.noted + 1, self.balance + 1


@pytest.fixture
def sixty_cents(fleet_cluster):
    version = sold.version("0.20", publish=False)
    catalogue.price(
        version, currency="EUR", key="devices", kind="active_device", charged="arrears", unit_price=Decimal("0.01"), **sold.TOLD
    )
    version = catalogue.publish(version, **sold.TOLD)
    tenant = sold.tenant(tax_treatment="exempt")
    subscriptions.start(tenant, version, **sold.TOLD)
    lives(tenant, fleet_cluster)
    used(tenant, fleet_cluster, JUNE.start, 40, "40")
    made = invoice(tenant)
    assert made.payable == 60
    return made


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.sampled_from("ab"), st.integers(1, 60)),
        st.tuples(st.just("take"), st.sampled_from("ab"), st.integers(1, 60), st.integers(1, 4)),
        st.tuples(st.just("undo"), st.sampled_from("ab")),
        st.tuples(st.just("back"), st.integers(0, 9)),
        st.tuples(st.just("note")),
        st.tuples(st.just("credit"), st.integers(-40, 20)),
        st.tuples(st.just("again"), st.integers(0, 20)),
    ),
    min_size=3,
    max_size=14,
)


class World:
    """The acts on an invoice of 60 cents (40 of it devices, one cent each), as the service does them and as the model does."""

    def __init__(self, made: Invoice) -> None:
        self.made, self.model = made, Cents(made.payable)
        self.payments: dict[str, Payment] = {}
        self.counters: list[tuple[str, Payment]] = []
        self.references: set[str] = set()
        self.done: list = []

    def do(self, act: tuple) -> None:
        kind, *said = act
        if kind == "again":
            if self.done:
                self.replay(self.done[said[0] % len(self.done)])
            return
        getattr(self, kind)(*said)

    def replay(self, act) -> None:
        """Something said once more: the rows stay as they are."""
        rows = Payment.objects.of(self.made.tenant).count()
        assert act().pk
        assert Payment.objects.of(self.made.tenant).count() == rows

    def enter(self, name: str, amount: int) -> None:
        def act():
            return enter(self.made, amount, f"pi_{name}")

        self.payments[name] = act()
        self.model.enter(name, amount)
        self.done.append(act)

    def take(self, name: str, amount: int, number: int) -> None:
        reference = f"re_{name}{number}"
        if name not in self.payments or reference in self.references:
            return

        def act():
            return take_back(self.payments[name], amount, reference)

        try:
            counter = act()
        except WrongState:
            assert not self.model.go(name, amount)
            return
        assert self.model.go(name, amount)
        self.references.add(reference)
        self.counters.append((name, counter))
        self.done.append(act)

    def undo(self, name: str) -> None:
        if name not in self.payments or not (left := len(self.model.payments[name])):
            return
        try:
            counter = ledger.undo(self.payments[name], reason="wrong", **DONE)
        except WrongState:
            assert not self.model.go(name, left)
            return
        assert counter.amount == -left
        assert self.model.go(name, left)
        self.counters.append((name, counter))

    def back(self, number: int) -> None:
        if not self.counters:
            return
        name, counter = self.counters.pop(number % len(self.counters))

        def act():
            return ledger.bring_back(counter, reason="failed", **DONE)

        act()
        self.model._come(name, -counter.amount)
        self.done.append(act)

    def note(self) -> None:
        """A device was not there: a cent less."""
        days = DeviceDay.objects.of(self.made.tenant)
        days.filter(device_id__in=list(days.order_by("device_id").values_list("device_id", flat=True)[:7])).delete()
        done = corrections.correct(again(self.made), reason="not there", **DONE)
        self.model.note(-done.difference if done.credit_note else 0)

    def credit(self, amount: int) -> None:
        try:
            concessions.credit(self.made.tenant, amount, reason="by hand", **DONE)
        except (WrongState, MalformedRequest):
            assert amount == 0 or self.model.balance + amount < 0
            return
        self.model.balance += amount

    def check(self) -> None:
        made, model = again(self.made), self.model
        balance = concessions.balance_of(made.tenant, "EUR")
        set_off = sum(note.set_off for note in made.credit_notes.all())
        assert (balance, made.payable - set_off - paid_of(made)) == (model.balance, model.open)
        assert (made.state == "paid") == (model.open == 0)
        assert balance >= 0
        assert paid_of(made) >= 0
        assert 0 <= model.open <= made.payable
        assert [each for each in checks.check(now=NOW) if each.law != "hours-and-days"] == []
        for name, payment in self.payments.items():
            assert ledger.left_of(payment).amount == len(model.payments[name])


@settings(
    max_examples=int(os.environ.get("ACS_EXAMPLES", "25")), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(acts=ACTS)
def test_in_any_order_paid_and_balance_are_what_single_cents_come_to(sixty_cents, acts):
    with transaction.atomic():
        world = World(sixty_cents)
        for act in acts:
            world.do(act)
            world.check()
        transaction.set_rollback(True)
