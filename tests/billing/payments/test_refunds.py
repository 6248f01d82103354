"""Refunds and disputes of card payments: whatever came first, twice, late or never, the ledger says what Stripe says; what cannot be entered is kept for people."""

from __future__ import annotations

import itertools
import random
from datetime import timedelta

import pytest

from billing import concessions
from billing.models import Payment, PaymentLink, ProviderEvent
from billing.owed import open_amount
from billing.payments import cards, ledger
from tenants.errors import WrongState
from tenants.models import AuditEvent
from tests.billing.payments.paid import TOLD, again, invoice
from tests.billing.payments.test_cards import now, page_of, say, stripe  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db
numbers = itertools.count(1)


def told(fake, kind, object_id):
    """A message at the door: what became of it."""
    event = f"evt_{next(numbers)}x"
    answer = say(*fake.message(object_id, event=event, kind=kind))
    assert answer.status_code == 200, answer.content
    held = ProviderEvent.objects.get(pk=event)
    return held.state, held.detail


@pytest.fixture
def made():
    return invoice()


@pytest.fixture
def paid(made, stripe):  # noqa: F811
    """Stripe's id of the money that paid it."""
    page = page_of(made)
    money = stripe.pay(page)
    say(*stripe.message(page))
    return money


def standing(made):
    made = again(made)
    return made.state, open_amount(made), concessions.balance_of(made.tenant, "EUR")


def lines(made):
    return sorted(Payment.objects.of(made.tenant).values_list("provider_reference", "amount", "credited"))


def charge(money):
    return money.replace("pi_", "ch_")


def test_refunds_of_parts_open_the_invoice_by_as_much_and_the_last_one_whole(stripe, made, paid):  # noqa: F811
    stripe.refund(paid, 1000)
    assert told(stripe, "charge.refunded", charge(paid)) == ("done", "stripe re_1")
    assert standing(made) == ("finalised", 1000, 0)
    stripe.refund(paid, 451)
    stripe.refund(paid, 2000)
    assert told(stripe, "charge.refunded", charge(paid))[0] == "done"
    assert standing(made) == ("finalised", 3451, 0)
    assert told(stripe, "charge.refunded", charge(paid)) == ("done", "known")
    assert [amount for _, amount, _ in lines(made)] == [3451, -1000, -451, -2000]
    assert AuditEvent.objects.of(made.tenant).filter(verb="payment.take_back", actor="system:stripe").count() == 3


def test_a_refunded_invoice_gets_a_new_page(stripe, made, paid):  # noqa: F811
    stripe.refund(paid, 3451)
    told(stripe, "charge.refunded", charge(paid))
    assert page_of(again(made)) == "cs_2"
    assert PaymentLink.objects.of(made.tenant).exclude(ended_at=None).count() == 1


def test_a_refund_that_failed_pays_the_invoice_again(stripe, made, paid):  # noqa: F811
    refund = stripe.refund(paid, 3451, status="pending")
    assert told(stripe, "refund.created", refund)[0] == "done"
    assert standing(made) == ("finalised", 3451, 0)
    stripe.refunds[refund]["status"] = "failed"
    for kind in ("refund.failed", "charge.refund.updated", "refund.updated"):
        assert told(stripe, kind, refund)[0] == "done"
    assert standing(made) == ("paid", 0, 0)
    assert len(lines(made)) == 3


@pytest.mark.parametrize("status", ["failed", "canceled", "requires_action"])
def test_a_refund_whose_money_is_not_away_takes_nothing(stripe, made, paid, status):  # noqa: F811
    told(stripe, "refund.updated", stripe.refund(paid, 3451, status=status))
    assert (standing(made), len(lines(made))) == (("paid", 0, 0), 1)


def test_a_dispute_opens_the_invoice_when_its_money_is_withdrawn_and_a_won_one_pays_it_again(stripe, made, paid):  # noqa: F811
    dispute = stripe.dispute(paid, 3451)
    assert told(stripe, "charge.dispute.created", dispute)[0] == "done"
    assert told(stripe, "charge.dispute.funds_withdrawn", dispute) == ("done", "known")
    assert standing(made) == ("finalised", 3451, 0)
    stripe.win(dispute)
    assert told(stripe, "charge.dispute.funds_reinstated", dispute)[0] == "done"
    assert told(stripe, "charge.dispute.closed", dispute) == ("done", "known")
    assert standing(made) == ("paid", 0, 0)


def test_a_lost_dispute_stays_taken_and_an_inquiry_takes_nothing(stripe, made, paid):  # noqa: F811
    inquiry = stripe.dispute(paid, 3451, status="warning_needs_response", withdrawn=False)
    assert told(stripe, "charge.dispute.created", inquiry) == ("done", "known")
    assert standing(made) == ("paid", 0, 0)
    dispute = stripe.dispute(paid, 3451)
    told(stripe, "charge.dispute.created", dispute)
    stripe.disputes[dispute]["status"] = "lost"
    assert told(stripe, "charge.dispute.closed", dispute) == ("done", "known")
    assert standing(made) == ("finalised", 3451, 0)


def test_a_refund_of_what_was_too_much_comes_from_the_balance(stripe, made, paid):  # noqa: F811
    stripe.sessions["cs_b"] = {**stripe.sessions["cs_1"], "id": "cs_b", "payment_intent": "pi_cs_b"}
    told(stripe, "checkout.session.completed", "cs_b")
    assert standing(made) == ("paid", 0, 3451)
    stripe.refund("pi_cs_b", 3451)
    told(stripe, "charge.refunded", "ch_cs_b")
    assert standing(made) == ("paid", 0, 0)


def test_messages_in_any_order_and_several_times_come_to_the_same_rows(stripe):  # noqa: F811
    outcomes = []
    for seed in range(8):
        made, chance = invoice(), random.Random(seed)
        page = page_of(made)
        money = stripe.pay(page)
        first, second = stripe.refund(money, 1000), stripe.refund(money, 500, status="failed")
        lost, won = stripe.dispute(money, 700), stripe.dispute(money, 251)
        stripe.win(won)
        said = [("checkout.session.completed", page), ("charge.refunded", charge(money))]
        said += [("refund.created", first), ("refund.failed", second)]
        said += [("charge.dispute.created", lost), ("charge.dispute.closed", lost)]
        said += [("charge.dispute.created", won), ("charge.dispute.funds_reinstated", won)]
        said = [*said, *chance.sample(said, 4)]
        chance.shuffle(said)
        for kind, object_id in said[seed:]:  # some never come
            assert told(stripe, kind, object_id)[0] == "done"
        outcomes.append((standing(made), [amount for _, amount, _ in lines(made)]))
    assert outcomes == [(("finalised", 1700, 0), [-700, 3451, -1000])] * 8


def test_money_seen_on_its_way_comes_to_the_same_sums(stripe, made, paid):  # noqa: F811
    refund, dispute = stripe.refund(paid, 1000), stripe.dispute(paid, 2000)
    told(stripe, "refund.created", refund)
    stripe.refunds[refund]["status"] = "failed"
    told(stripe, "charge.dispute.created", dispute)
    stripe.win(dispute)
    told(stripe, "refund.created", refund)  # late, and about what is no more
    assert standing(made) == ("paid", 0, 0)


@pytest.mark.parametrize("wrong", [{"secret": "whsec_forged"}, {"age": 3600}])
def test_a_forged_or_late_message_takes_nothing_back(stripe, made, paid, wrong):  # noqa: F811
    stripe.refund(paid, 3451)
    assert say(*stripe.message(charge(paid), event="evt_forged", kind="charge.refunded", **wrong)).status_code == 400
    assert standing(made) == ("paid", 0, 0)


def test_what_a_message_says_of_a_refund_is_not_believed(stripe, made, paid):  # noqa: F811
    assert told(stripe, "charge.refunded", charge(paid)) == ("done", "known")
    assert standing(made) == ("paid", 0, 0)


@pytest.mark.parametrize("kind", ["charge.refunded", "refund.failed", "charge.dispute.created"])
def test_money_that_we_never_had_is_kept_for_people(stripe, kind):  # noqa: F811
    stripe.sessions["cs_z"] = {
        "id": "cs_z",
        "object": "checkout.session",
        "url": "",
        "metadata": {},
        "client_reference_id": None,
        "created": 1,
        "payment_intent": "pi_cs_z",
        "payment_status": "paid",
        "amount_total": 5,
        "currency": "eur",
        "expires_at": 1,
    }
    refund, dispute = stripe.refund("pi_cs_z", 5), stripe.dispute("pi_cs_z", 5)
    object_id = {"charge.refunded": "ch_cs_z", "refund.failed": refund, "charge.dispute.created": dispute}[kind]
    assert told(stripe, kind, object_id) == ("kept", "of no payment of ours")
    assert told(stripe, kind, "xx_unheard_of")[0] == "kept"


def test_what_the_balance_has_spent_is_kept_for_people_who_see_to_it_and_look_again(stripe, made, paid):  # noqa: F811
    stripe.sessions["cs_b"] = {**stripe.sessions["cs_1"], "id": "cs_b", "payment_intent": "pi_cs_b"}
    told(stripe, "checkout.session.completed", "cs_b")
    concessions.credit(made.tenant, -3451, reason="spent", now=now(), **TOLD)
    stripe.refund("pi_cs_b", 3451)
    state, detail = told(stripe, "charge.refunded", "ch_cs_b")
    assert (state, "below nothing" in detail) == ("kept", True)
    event = ProviderEvent.objects.get(state="kept")
    assert list(cards.to_look_at()) == [event]
    assert cards.again(event, now=now(), **TOLD).state == "kept"
    concessions.credit(made.tenant, 3451, reason="written off", now=now(), **TOLD)
    assert cards.again(event, now=now(), **TOLD).state == "done"
    assert standing(made) == ("paid", 0, 0)
    with pytest.raises(WrongState):
        cards.again(event, now=now(), **TOLD)


def test_a_refund_in_another_currency_is_kept_for_people(stripe, made, paid):  # noqa: F811
    refund = stripe.refund(paid, 10, currency="usd")
    assert told(stripe, "refund.created", refund)[0] == "kept"
    assert standing(made) == ("paid", 0, 0)


@pytest.mark.parametrize("fails", [0, 500])
def test_while_stripe_is_away_a_refund_waits(stripe, made, paid, fails):  # noqa: F811
    stripe.refund(paid, 3451)
    stripe.fails = fails
    assert say(*stripe.message(charge(paid), event="evt_away", kind="charge.refunded")).status_code == 503
    assert ProviderEvent.objects.get(pk="evt_away").state == "waiting"
    stripe.fails = None
    assert cards.reconcile(now=now()) == 1
    assert (ProviderEvent.objects.get(pk="evt_away").state, standing(made)) == ("done", ("finalised", 3451, 0))


def test_the_night_finds_refunds_and_disputes_that_no_message_told_of(stripe):  # noqa: F811
    refunded, disputed, both = invoice(), invoice(), invoice()
    money = {}
    for made in (refunded, disputed, both):
        money[made.pk] = stripe.pay(page_of(made), created=int((now() - timedelta(days=20)).timestamp()))
        say(*stripe.message(page_of(again(made)), event=f"evt_{made.pk}"))
    cards.reconcile(now=now(), back=timedelta(days=40))
    stripe.refund(money[refunded.pk], 1000, age=30 * 86400)
    won = stripe.dispute(money[disputed.pk], 3451, age=100 * 86400)
    stripe.refund(money[both.pk], 10**6)  # what cannot be entered keeps nobody else's from it
    stripe.refund("pi_of_others", 5)
    assert cards.reconcile(now=now()) == 2
    assert (standing(refunded), standing(disputed), standing(both)) == (
        ("finalised", 1000, 0),
        ("finalised", 3451, 0),
        ("paid", 0, 0),
    )
    assert cards.reconcile(now=now()) == 0
    stripe.win(won)
    assert cards.reconcile(now=now()) == 1
    assert standing(disputed) == ("paid", 0, 0)


def test_the_night_reads_lists_of_several_pages(stripe, made, paid):  # noqa: F811
    for _ in range(120):
        stripe.refund(paid, 10)
    assert cards.reconcile(now=now()) == 120
    assert standing(made) == ("finalised", 1200, 0)


def test_a_late_payment_that_failed_leaves_the_invoice_open_and_gets_a_new_page(stripe, made):  # noqa: F811
    page = page_of(made)
    stripe.pay(page, payment_status="unpaid")
    assert told(stripe, "checkout.session.completed", page) == ("done", "not paid yet")
    assert page_of(made) == page  # it is on its way: nobody should pay twice
    assert told(stripe, "checkout.session.async_payment_failed", page) == ("done", "the payment failed")
    assert (standing(made), lines(made)) == (("finalised", 3451, 0), [])
    assert page_of(made) == "cs_2"


def test_a_payment_that_had_come_and_failed_after_all_is_taken_back_and_may_still_come(stripe, made, paid):  # noqa: F811
    stripe.sessions["cs_1"]["payment_status"] = "unpaid"
    for _ in range(2):
        assert told(stripe, "checkout.session.async_payment_failed", "cs_1")[0] == "done"
    assert standing(made) == ("finalised", 3451, 0)
    stripe.sessions["cs_1"]["payment_status"] = "paid"
    for _ in range(2):
        assert told(stripe, "checkout.session.async_payment_succeeded", "cs_1")[0] == "done"
    assert told(stripe, "checkout.session.async_payment_failed", "cs_1")[0] == "done"  # late: by now it is paid
    assert (standing(made), len(lines(made))) == (("paid", 0, 0), 3)


def test_what_people_undid_stays_undone_and_what_they_brought_back_stays(stripe, made, paid):  # noqa: F811
    payment = Payment.objects.of(made.tenant).get()
    ledger.undo(payment, reason="a mistake", now=now(), **TOLD)
    stripe.refund(paid, 100)
    assert told(stripe, "charge.refunded", charge(paid)) == ("done", "known")  # nothing is left of it
    assert cards.reconcile(now=now()) == 0
    ledger.bring_back(ledger.counter_of(payment), reason="it was right", now=now(), **TOLD)
    assert standing(made) == ("paid", 0, 0)
    assert cards.reconcile(now=now()) == 1  # the refund is real all the same
    assert standing(made) == ("finalised", 100, 0)
    ledger.bring_back(Payment.objects.of(made.tenant).get(provider_reference="re_1"), reason="paid in cash", now=now(), **TOLD)
    assert cards.reconcile(now=now()) == 0
    assert standing(made) == ("paid", 0, 0)
