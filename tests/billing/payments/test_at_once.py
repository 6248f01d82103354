"""The same statement, message and entry by several at once: each counts once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.utils import timezone

from billing import concessions
from billing.models import Payment, ProviderEvent, Statement, StatementEntry
from billing.owed import open_amount
from billing.payments import assigning, cards, importing, ledger
from billing.payments.references import reference_of
from tenants.errors import TenantError
from tests.billing.payments.paid import DONE, TOLD, again, camt, entry, invoice
from tests.fakes import stripe_http

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(work, times=4):
    """What each came to; a refusal is its error's name."""

    def one(_):
        try:
            return work()
        except TenantError as error:
            return type(error).__name__
        finally:
            connections.close_all()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, range(times)))


def test_a_statement_imported_by_several_at_once_is_there_once():
    made = invoice()
    data = camt(entry("34.51", reference_of(made)))
    done = at_once(lambda: importing.from_camt(data, **DONE).again)
    assert sorted(done) == [False, True, True, True]
    assert (Statement.objects.count(), StatementEntry.objects.get().state) == (1, "matched")
    assert (Payment.objects.across_tenants().count(), again(made).state) == (1, "paid")


def test_an_entry_assigned_by_several_at_once_pays_once():
    made = invoice()
    importing.from_camt(camt(entry("34.51", "hello")), **DONE)
    row = StatementEntry.objects.get()
    done = at_once(lambda: assigning.assign(row, made, **DONE).amount)
    assert sorted(map(str, done)) == ["3451", "WrongState", "WrongState", "WrongState"]
    assert Payment.objects.across_tenants().count() == 1


def test_a_payment_undone_by_several_at_once_is_taken_back_once():
    made = invoice()
    importing.from_camt(camt(entry("40.00", reference_of(made))), **DONE)
    payment = Payment.objects.across_tenants().get()
    counters = at_once(lambda: assigning.undo(payment, reason="wrong", **DONE).pk)
    assert len(set(counters)) == 1
    assert Payment.objects.across_tenants().count() == 2


def test_a_message_told_several_times_at_once_counts_once(settings):
    made = invoice()
    with stripe_http.serving() as fake:
        settings.STRIPE_API, settings.STRIPE_KEY = fake.url, "sk_test_only-in-tests"
        settings.STRIPE_WEBHOOK_SECRETS = [stripe_http.SECRET]
        page = cards.ask(made, now=timezone.now(), **TOLD).url.rpartition("/")[2]
        fake.pay(page)
        message = fake.message(page)
        assert at_once(lambda: cards.receive(*message, now=timezone.now()).state) == ["done"] * 4
    assert (ProviderEvent.objects.count(), Payment.objects.across_tenants().count(), again(made).state) == (1, 1, "paid")


def test_a_refund_told_several_times_at_once_is_taken_back_once(settings):
    made = invoice()
    with stripe_http.serving() as fake:
        settings.STRIPE_API, settings.STRIPE_KEY = fake.url, "sk_test_only-in-tests"
        settings.STRIPE_WEBHOOK_SECRETS = [stripe_http.SECRET]
        page = cards.ask(made, now=timezone.now(), **TOLD).url.rpartition("/")[2]
        fake.refund(fake.pay(page), 1000)
        kinds = [
            ("checkout.session.completed", page),
            ("charge.refunded", f"ch_{page}"),
            ("refund.created", "re_1"),
            ("refund.updated", "re_1"),
        ]
        messages = [fake.message(object_id, event=f"evt_{kind}", kind=kind) for kind, object_id in kinds]
        assert at_once(lambda: cards.receive(*messages.pop(), now=timezone.now()).state) == ["done"] * 4
    assert sorted(Payment.objects.of(made.tenant).values_list("amount", flat=True)) == [-1000, 3451]
    assert open_amount(again(made)) == 1000


def test_all_that_several_take_back_at_once_is_never_more_than_came():
    made = invoice()
    importing.from_camt(camt(entry("34.51", reference_of(made))), **DONE)
    payment = Payment.objects.across_tenants().get()
    parts = [1, 2, 3, 4]
    done = at_once(lambda: ledger.take_back(payment, 1000, f"x{parts.pop()}", at=DONE["now"], **DONE).amount)
    assert sorted(map(str, done)) == ["-1000", "-1000", "-1000", "WrongState"]
    assert (ledger.left_of(payment).amount, open_amount(again(made))) == (451, 3000)


def test_a_balance_paid_out_by_several_entries_at_once_is_paid_out_once():
    made = invoice()
    importing.from_camt(camt(entry("44.51", reference_of(made))), **DONE)
    gone = [entry("10.00", reference=f"D{number}", direction="DBIT") for number in range(4)]
    importing.from_camt(camt(*gone), **DONE)
    rows = list(StatementEntry.objects.filter(amount=-1000))
    done = at_once(lambda: assigning.pay_out(rows.pop(), made.tenant, **DONE).amount)
    assert sorted(map(str, done)) == ["-1000", "WrongState", "WrongState", "WrongState"]
    assert concessions.balance_of(made.tenant, "EUR") == 0
