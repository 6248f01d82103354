"""Tenants that do not pay: step by step by the operators' days, devices untouched before suspension, and all of it back with the payment. Limits warn, then refuse."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction

from acs import tasks
from billing import concessions, dunning, invoicing, settling, subscriptions, warnings
from billing.models import DunningCase, QuotaWarning, Subscription
from billing.payments import importing, ledger
from billing.payments.received import Received
from billing.payments.references import reference_of
from placement.models import Device
from tenants import lifecycle
from tenants.models import AuditEvent, Quota, Tenant
from tests import factories
from tests.billing import sold
from tests.billing.payments.paid import TOLD, again, camt, entry, invoice
from tests.doors import bootstrap

pytestmark = pytest.mark.django_db


def days(made, number, hours=1):
    """So long after the invoice was due."""
    return made.due_at + timedelta(days=number, hours=hours)


def look(made, number):
    """Whether dunning has gone further, by a review then."""
    case = dunning.review(tenant_of(made), now=days(made, number))
    return case.stage if case else None


def tenant_of(made) -> Tenant:
    return Tenant.objects.select_related("plan").get(pk=made.tenant_id)


def standing(made) -> tuple[str, bool]:
    tenant = tenant_of(made)
    return tenant.state, tenant.restricted_at is not None


def pay(made, *, at, amount=3451, reference="X1"):
    return ledger.enter(again(made), Received("bank", reference, amount, "EUR", at), now=at, **TOLD)


def run_to(made, last):
    for number in range(last + 1):
        look(made, number)


def test_a_tenant_goes_step_by_step_and_never_two_at_once():
    made = invoice()
    assert look(made, -1) is None
    assert look(made, 0) == "past_due"
    assert standing(made) == ("active", False)
    assert look(made, 13) == "past_due"
    assert look(made, 14) == "restricted"
    assert standing(made) == ("active", True)
    assert look(made, 29) == "restricted"
    assert look(made, 31) == "suspended"
    tenant = tenant_of(made)
    assert (tenant.state, tenant.devices_expire_at) == ("suspended", days(made, 31) + lifecycle.GRACE)
    assert look(made, 59) == "suspended"
    assert look(made, 62) == "closed"
    assert tenant_of(made).devices_delete_at == days(made, 62) + lifecycle.RETENTION
    told = AuditEvent.objects.of(tenant).filter(verb__startswith="dunning.").order_by("id").values_list("verb", flat=True)
    assert list(told) == ["dunning.past_due", "dunning.restricted", "dunning.suspended", "dunning.closed"]


def test_a_service_that_was_down_for_months_takes_one_step_and_waits_the_days_between():
    made = invoice()
    assert look(made, 100) == "past_due"
    assert look(made, 101) == "restricted"
    assert look(made, 102) == "restricted"
    assert look(made, 117) == "suspended"
    assert look(made, 118) == "suspended"


def test_a_third_day_left_out_closes_nobody(settings):
    settings.DUNNING_DAYS = [14, 30]
    made = invoice()
    run_to(made, 100)
    assert standing(made) == ("suspended", True)


@pytest.mark.parametrize(("until", "stage"), [(14, "restricted"), (31, "suspended"), (62, "closed")])
def test_a_payment_takes_everything_back_at_once(until, stage):
    made = invoice()
    run_to(made, until)
    assert DunningCase.objects.of(made.tenant).get().stage == stage
    importing.from_camt(camt(entry("34.51", reference_of(made))), now=days(made, until, 2), **TOLD)
    assert standing(made) == ("active", False)
    assert not DunningCase.objects.of(made.tenant).exists()


def test_a_part_of_the_payment_takes_nothing_back():
    made = invoice()
    run_to(made, 31)
    pay(made, at=days(made, 32), amount=3450)
    assert standing(made) == ("suspended", True)
    pay(made, at=days(made, 32), amount=1, reference="X2")
    assert standing(made) == ("active", False)


def test_what_an_operator_suspended_stays_suspended():
    made = invoice()
    lifecycle.suspend(tenant_of(made), now=days(made, 5), reason="abuse", **TOLD)
    run_to(made, 31)
    assert DunningCase.objects.of(made.tenant).get().stage == "suspended"
    pay(made, at=days(made, 32))
    assert standing(made) == ("suspended", False)


def test_an_operator_who_resumes_and_suspends_again_is_not_overruled():
    made = invoice()
    run_to(made, 31)
    lifecycle.resume(tenant_of(made), now=days(made, 32), **TOLD)
    lifecycle.suspend(tenant_of(made), now=days(made, 33), reason="abuse", **TOLD)
    pay(made, at=days(made, 34))
    assert tenant_of(made).state == "suspended"


def test_a_void_invoice_and_one_marked_uncollectible_differ():
    made = invoice()
    run_to(made, 14)
    invoicing.mark_uncollectible(again(made), now=days(made, 15), **TOLD)
    assert look(made, 16) == "restricted"
    other = invoice()
    run_to(other, 14)
    invoicing.void(again(other), now=days(other, 15), **TOLD)
    assert look(other, 16) is None
    assert standing(other) == ("active", False)


def test_an_undone_payment_makes_it_overdue_again():
    made = invoice()
    run_to(made, 14)
    payment = pay(made, at=days(made, 15))
    ledger.undo(payment, now=days(made, 16), reason="returned", **TOLD)
    assert look(made, 17) == "past_due"


def test_an_invoice_that_opened_again_long_after_it_was_due_has_the_days_of_dunning_from_then_on():
    made = invoice()
    payment = pay(made, at=days(made, -5))
    ledger.take_back(payment, 1000, "x", at=days(made, 100), now=days(made, 100), **TOLD)
    for number, stage in (
        (100, "past_due"),
        (101, "past_due"),
        (113, "past_due"),
        (115, "restricted"),
        (129, "restricted"),
        (131, "suspended"),
    ):
        assert look(made, number) == stage


def test_the_schedule_reviews_those_who_owe_and_those_who_did():
    made, paid = invoice(), invoice()
    pay(paid, at=days(paid, -5))
    assert dunning.due(now=days(made, 1)) == [str(made.tenant_id)]
    run_to(made, 1)
    invoicing.void(again(made), now=days(made, 2), **TOLD)
    assert dunning.due(now=days(made, 2)) == []
    DunningCase.objects.create(tenant=made.tenant, invoice=made, opened_at=days(made, 1), changed_at=days(made, 1))
    assert dunning.due(now=days(made, 2)) == [str(made.tenant_id)]


def test_the_scheduled_tasks_do_what_their_names_say(settings):
    settings.STRIPE_KEY = ""
    made = invoice()  # of a June that is over for long
    for _ in range(2):
        tasks.review_tenant(str(made.tenant_id))
    assert DunningCase.objects.of(made.tenant).get().stage == "restricted"
    for task in (tasks.match_payments, tasks.reconcile_cards, tasks.warn_of_quotas):
        task()


def test_a_restricted_tenant_gets_no_new_keys_and_keeps_its_devices(fleet_cluster):
    made = invoice()
    _, secret = factories.enrolment_key(made.tenant)
    subscription = Subscription.objects.of(made.tenant).get()
    settling.follow(subscription, now=days(made, 14), actor="system:tests")
    assert bootstrap(secret, {"registration_id": "till-1"}).status_code == 200
    before = Device.objects.of(made.tenant).count()
    run_to(made, 14)
    for body in ({"registration_id": "till-1"}, {"registration_id": "till-2"}, {}):
        answer = bootstrap(secret, body)
        assert (answer.status_code, answer.json()["code"]) == (403, "payment-overdue")
    assert Device.objects.of(made.tenant).count() == before
    assert tenant_of(made).devices_expire_at is None
    pay(made, at=days(made, 15))
    assert bootstrap(secret, {"registration_id": "till-2"}).status_code == 200


def test_a_restricted_tenant_is_refused_before_it_is_placed(fleet_cluster):
    customer = factories.customer()
    lifecycle.restrict(customer.tenant, now=sold.BEGIN, **TOLD)
    assert bootstrap(customer.secret).json()["code"] == "payment-overdue"


def use(tenant, used):
    Quota.objects.filter(tenant=tenant).update(used=used)


def level(tenant):
    warnings.warn_all(now=sold.at(2))
    held = QuotaWarning.objects.of(tenant).first()
    return (held.level, held.used, held.limit) if held else None


def subscriber(enforcement):
    tenant = sold.subscriber(sold.version(max_devices=10, enforcement=enforcement, warn_at=80))
    return Tenant.objects.select_related("quota").get(pk=tenant.pk)


@pytest.mark.parametrize("enforcement", ["soft", "hard"])
def test_a_tenant_is_warned_at_the_percentage_of_its_plan_once_a_level(enforcement):
    tenant = subscriber(enforcement)
    for used, told in ((7, None), (8, ("near", 8, 10)), (9, ("near", 9, 10)), (11, ("over", 11, 10)), (7, None)):
        use(tenant, used)
        assert level(tenant) == told
    verbs = AuditEvent.objects.of(tenant).filter(verb__startswith="quota.").order_by("id").values_list("verb", flat=True)
    assert list(verbs) == ["quota.warn", "quota.warn", "quota.warning_over"]


def test_an_override_counts_for_the_warning():
    tenant = subscriber("hard")
    use(tenant, 9)
    concessions.override(tenant, max_devices=100, until=None, **sold.TOLD)
    assert level(tenant) is None


def test_a_soft_limit_admits_beyond_it_and_a_hard_one_does_not():
    soft, hard = subscriber("soft"), subscriber("hard")
    assert (soft.quota.limit > 10**6, hard.quota.limit) == (True, 10)


def test_a_plan_change_moves_quota_and_enforcement_together():
    tenant = subscriber("hard")
    larger = sold.version("99.00", max_devices=50, enforcement="hard")
    subscriptions.change_plan(tenant, larger, now=sold.at(2), **TOLD)
    assert (Quota.objects.get(tenant=tenant).limit, tenant_of_plan(tenant)) == (50, larger.plan_id)


def tenant_of_plan(tenant):
    return Tenant.objects.get(pk=tenant.pk).plan_id


@pytest.mark.django_db(transaction=True)
def test_a_payment_is_entered_although_an_operator_resumes_the_tenant_this_very_moment():
    made = invoice()
    run_to(made, 31)
    held, outcome = threading.Event(), []

    def resume() -> None:
        try:
            with transaction.atomic():
                lifecycle.resume(tenant_of(made), now=days(made, 32), **TOLD)
                held.set()
                threading.Event().wait(0.5)
            outcome.append("resumed")
        finally:
            connection.close()

    resuming = threading.Thread(target=resume)
    resuming.start()
    assert held.wait(10)
    pay(made, at=days(made, 33))
    resuming.join(10)
    assert (outcome, again(made).state, standing(made)) == (["resumed"], "paid", ("active", False))


def test_members_follow_what_was_agreed_as_devices_do():
    small, large = sold.version(max_members=2), sold.version("99.00", max_members=None)
    tenant = sold.subscriber(small)
    most = lambda: Quota.objects.get(tenant=tenant).max_members  # noqa: E731
    assert most() == 2
    promise = concessions.override(tenant, max_members=5, until=sold.at(9), now=sold.at(2), **TOLD)
    assert most() == 5
    settling.settle(tenant.subscription.pk, now=sold.at(9))
    assert most() == 2
    assert promise.max_members == 5
    subscriptions.change_plan(tenant, large, now=sold.at(10), **TOLD)
    assert most() is None
    subscriptions.change_plan(tenant, small, when="now", now=sold.at(11), **TOLD)
    subscriptions.end(tenant, now=sold.at(12), **TOLD)
    assert most() == 2, "an ended subscription puts nobody out, and lets in nobody more"
