"""Card payments: pages for invoices, messages at the door, and the nightly look; forged, replayed, late and reordered messages change nothing twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from billing import concessions
from billing.errors import ProviderAway, ProviderNotSetUp, ProviderRefused
from billing.models import Payment, PaymentLink, ProviderEvent
from billing.owed import open_amount
from billing.payments import cards, ledger, wire
from tenants.errors import WrongState
from tests.billing.payments.paid import TOLD, again, invoice
from tests.fakes import stripe_http

pytestmark = pytest.mark.django_db
DOOR = "/webhooks/stripe"


@pytest.fixture
def stripe(settings):
    with stripe_http.serving() as fake:
        settings.STRIPE_API, settings.STRIPE_KEY = fake.url, "sk_test_only-in-tests"
        settings.STRIPE_WEBHOOK_SECRETS = ["whsec_older", stripe_http.SECRET]
        yield fake


def now():
    return timezone.now()


def say(body: bytes, signature: str):
    client = Client(raise_request_exception=False)
    return client.post(DOOR, body, content_type="application/json", headers={"Stripe-Signature": signature})


def page_of(made):
    return cards.ask(made, now=now(), **TOLD).url.rpartition("/")[2]


def test_a_page_is_made_for_what_is_open_and_told_again_while_it_holds(stripe):
    made = invoice()
    asked = cards.ask(made, now=now(), **TOLD)
    assert (asked.amount, asked.currency, asked.url) == (3451, "EUR", "https://checkout.stripe.example/cs_1")
    assert cards.ask(made, now=now(), **TOLD).url == asked.url
    assert PaymentLink.objects.of(made.tenant).get().amount == 3451
    assert stripe.asked == [("POST", "/v1/checkout/sessions")]


def test_a_message_pays_the_invoice_once_however_often_it_comes(stripe):
    made = invoice()
    page = page_of(made)
    stripe.pay(page)
    for event in ("evt_1", "evt_1", "evt_2"):
        assert say(*stripe.message(page, event=event)).status_code == 200
    assert again(made).state == "paid"
    assert Payment.objects.of(made.tenant).get().provider_reference == f"pi_{page}"
    assert list(ProviderEvent.objects.order_by("id").values_list("id", "state")) == [("evt_1", "done"), ("evt_2", "done")]


def test_messages_out_of_order_come_to_the_same(stripe):
    made = invoice()
    page = page_of(made)
    stripe.pay(page)
    assert say(*stripe.message(page, event="evt_2", kind="checkout.session.async_payment_succeeded")).status_code == 200
    assert say(*stripe.message(page, event="evt_1")).status_code == 200
    assert Payment.objects.of(made.tenant).count() == 1


def test_what_a_message_says_is_not_believed_but_looked_up(stripe):
    made = invoice()
    page = page_of(made)
    assert say(*stripe.message(page)).status_code == 200
    assert again(made).state == "finalised"
    assert ProviderEvent.objects.get().detail == "not paid yet"


@pytest.mark.parametrize("wrong", [{"secret": "whsec_forged"}, {"age": 3600}])
def test_forged_and_late_messages_are_refused_and_leave_nothing(stripe, wrong):
    answer = say(*stripe.message("cs_1", **wrong))
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-signature")
    assert not ProviderEvent.objects.exists()
    assert stripe.asked == []


def test_a_message_changed_on_its_way_is_refused(stripe):
    body, signature = stripe.message("cs_1")
    for changed in (body.replace(b"cs_1", b"cs_2"), body + b" ", b"", b"\xff"):
        assert say(changed, signature).status_code == 400
    assert say(body, "").status_code == 400


def test_money_for_an_unknown_invoice_is_acknowledged_and_kept(stripe):
    made = invoice()
    page = page_of(made)
    for number, name in enumerate(("999999999", "x", "")):
        stripe.pay(page, metadata={"invoice": name})
        assert say(*stripe.message(page, event=f"evt_{number}")).status_code == 200
    assert set(ProviderEvent.objects.values_list("state", flat=True)) == {"kept"}
    assert say(*stripe.message("cs_unheard_of", event="evt_9")).status_code == 200
    assert ProviderEvent.objects.get(pk="evt_9").state == "kept"
    assert again(made).state == "finalised"


def test_a_page_of_somebody_else_at_the_same_account_pays_nothing_of_ours(stripe):
    made = invoice()
    page = page_of(made)
    stripe.pay(page, client_reference_id="order 4711")
    say(*stripe.message(page))
    assert (ProviderEvent.objects.get().state, again(made).state) == ("kept", "finalised")


def test_a_payment_is_dated_by_when_it_was_made(stripe):
    made = invoice()
    page = page_of(made)
    stripe.pay(page, created=int((now() - timedelta(days=2)).timestamp()))
    assert cards.reconcile(now=now()) == 1
    assert now() - Payment.objects.of(made.tenant).get().paid_at > timedelta(days=1)


def test_messages_of_no_interest_are_acknowledged(stripe):
    assert say(*stripe.message("cus_1", kind="customer.created")).status_code == 200
    assert ProviderEvent.objects.get().state == "ignored"
    assert stripe.asked == []


@pytest.mark.parametrize("fails", [0, 500])
def test_while_stripe_is_away_a_message_waits_and_is_handled_by_the_next_one_or_the_night(stripe, fails):
    made = invoice()
    page = page_of(made)
    stripe.pay(page)
    stripe.fails = fails
    answer = say(*stripe.message(page))
    assert (answer.status_code, answer.json()["code"]) == (503, "payment-provider-away")
    assert ProviderEvent.objects.get().state == "waiting"
    stripe.fails = None
    assert cards.reconcile(now=now()) == 1
    assert (again(made).state, ProviderEvent.objects.get().state) == ("paid", "done")
    assert cards.reconcile(now=now()) == 0


def test_the_night_finds_what_no_message_told(stripe):
    first, second = invoice(), invoice()
    for made in (first, second):
        stripe.pay(page_of(made))
    stripe.sessions["cs_1"]["currency"] = "usd"  # one that cannot be entered keeps nobody else's from it
    assert cards.reconcile(now=now()) == 1
    assert (again(first).state, again(second).state) == ("finalised", "paid")


def test_a_second_payment_of_an_invoice_goes_to_the_balance(stripe):
    made = invoice()
    page = page_of(made)
    stripe.pay(page)
    say(*stripe.message(page))
    stripe.sessions["cs_other"] = {**stripe.sessions[page], "id": "cs_other", "payment_intent": "pi_cs_other"}
    say(*stripe.message("cs_other", event="evt_2"))
    assert (again(made).state, concessions.balance_of(made.tenant, "EUR")) == ("paid", 3451)
    with pytest.raises(WrongState):
        cards.ask(again(made), now=now(), **TOLD)


def test_an_undone_payment_opens_the_invoice_and_its_replay_stays_undone(stripe):
    made = invoice()
    page = page_of(made)
    stripe.pay(page)
    say(*stripe.message(page))
    ledger.undo(Payment.objects.of(made.tenant).get(), now=now(), reason="refunded", **TOLD)
    say(*stripe.message(page, event="evt_2"))
    assert (again(made).state, open_amount(again(made))) == ("finalised", 3451)
    assert page_of(again(made)) == "cs_2"  # nobody can pay on the first one again
    assert cards.ask(made, now=now() + timedelta(days=2), **TOLD).url.endswith("cs_3")


def test_what_stripe_refuses_and_its_silence_are_told_apart(stripe, settings):
    made = invoice()
    stripe.fails = 400
    with pytest.raises(ProviderRefused):
        cards.ask(made, now=now(), **TOLD)
    stripe.fails = 0
    with pytest.raises(ProviderAway):
        cards.ask(made, now=now(), **TOLD)
    settings.STRIPE_KEY = ""
    with pytest.raises(ProviderNotSetUp):
        cards.ask(made, now=now(), **TOLD)
    assert cards.reconcile(now=now()) == 0
    assert not PaymentLink.objects.across_tenants().exists()


def test_a_door_that_is_not_set_up_says_so(settings):
    settings.STRIPE_WEBHOOK_SECRETS = []
    answer = say(b"{}", "t=1,v1=a")
    assert (answer.status_code, answer.json()["code"]) == (409, "payment-provider-not-set-up")


@pytest.mark.parametrize(
    ("currency", "ours", "theirs"), [("EUR", 3451, 3451), ("JPY", 1988, 1988), ("ISK", 500, 50000), ("KWD", 1230, 1230)]
)
def test_amounts_are_counted_as_stripe_counts_them(currency, ours, theirs):
    assert wire.theirs(ours, currency) == theirs
    assert wire.ours(theirs, currency) == ours
