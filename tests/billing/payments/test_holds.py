"""A tenant that is not dunned until a day: by command, page and API; it ends by itself, and a payment still takes everything back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from acs import tasks
from billing import dunning, holds
from billing.models import DunningCase, DunningHold, Notice
from tenants.errors import MalformedRequest
from tenants.models import AuditEvent
from tests import factories
from tests.api.callers import operator, program_of, said
from tests.billing.payments.paid import TOLD, again, invoice
from tests.billing.payments.test_dunning import days, look, pay, standing, tenant_of

pytestmark = pytest.mark.django_db


def run(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def hold(made, until: float, *, at: float = 0):
    return holds.hold(tenant_of(made), until=days(made, until), reason="pays in parts", now=days(made, at), **TOLD)


def test_a_held_tenant_stays_where_it_is_and_goes_on_by_itself_one_step_at_a_time():
    made = invoice()
    assert look(made, 1) == "past_due"
    hold(made, 40, at=1)
    for number in (14, 31, 39):
        assert look(made, number) == "past_due"
    assert standing(made) == ("active", False)
    assert look(made, 41) == "restricted"
    assert not DunningHold.objects.of(made.tenant).exists()
    assert look(made, 42) == "restricted", "the days between two stages are waited for"
    verbs = AuditEvent.objects.of(made.tenant).filter(verb__startswith="dunning.hold").order_by("id").values_list("verb", flat=True)
    assert list(verbs) == ["dunning.hold", "dunning.hold_over"]


def test_a_tenant_held_before_it_owes_anything_is_not_told_that_it_does():
    made = invoice()
    hold(made, 20, at=-5)
    assert look(made, 10) is None
    assert not DunningCase.objects.of(made.tenant).exists()
    assert not Notice.objects.of(made.tenant).filter(kind="dunning").exists()
    assert look(made, 21) == "past_due"


def test_what_a_payment_takes_back_is_taken_back_while_it_is_held():
    made = invoice()
    for number in range(32):
        look(made, number)
    assert standing(made) == ("suspended", True)
    hold(made, 90, at=32)
    pay(made, at=days(made, 33))
    assert standing(made) == ("active", False)
    assert dunning.due(now=days(made, 89)) == []
    assert dunning.due(now=days(made, 90)) == [str(made.tenant_id)], "the hold has to go"
    assert look(made, 91) is None
    assert not DunningHold.objects.of(made.tenant).exists()


def test_a_hold_has_a_reason_and_an_end_that_is_to_come():
    made = invoice()
    for wrong in ({"until": days(made, -1)}, {"reason": "  "}):
        with pytest.raises(MalformedRequest):
            holds.hold(tenant_of(made), **{"until": days(made, 9), "reason": "asked", **wrong}, now=days(made, 0), **TOLD)


def test_operators_hold_by_command_and_see_it_on_the_list():
    made = invoice()  # of a June that is over for long
    tasks.review_tenant(str(made.tenant_id))
    account, until = made.tenant.account, timezone.now() + timedelta(days=30)
    assert "is not dunned further until" in run("billing", "hold", account, "--until", f"{until:%Y-%m-%d}", "--reason", "as agreed")
    listed = run("payment", "overdue")
    assert f"held until {until:%Y-%m-%d}" in listed
    assert "as agreed" in listed
    tasks.review_tenant(str(made.tenant_id))
    assert DunningCase.objects.of(made.tenant).get().stage == "past_due"
    run("billing", "unhold", account)
    tasks.review_tenant(str(made.tenant_id))
    assert DunningCase.objects.of(made.tenant).get().stage == "restricted"
    for words in (
        ["unhold", account],
        ["hold", account, "--until", "2020-01-01", "--reason", "x"],
        ["hold", factories.tenant().account, "--until", "2099-01-01", "--reason", "x"],
    ):
        with pytest.raises(CommandError):
            run("billing", *words)


def test_operators_programs_hold_and_tenants_do_not():
    made = invoice()
    dunning.review(tenant_of(made), now=timezone.now())
    chief, address = operator("billing"), f"tenants/{made.tenant.account}/dunning-hold"
    assert said(chief.get(address)) == (404, "not-found")
    until = (timezone.now() + timedelta(days=30)).isoformat()
    answer = chief.post(address, {"until": until, "reason": "as agreed"})
    assert (answer.status_code, answer.json()["reason"]) == (200, "as agreed")
    assert chief.get(address).json()["account"] == made.tenant.account
    (row,) = chief.get("billing/overdue").json()["results"]
    assert datetime.fromisoformat(row["held_until"]) == datetime.fromisoformat(until)
    assert said(chief.post(address, {"until": datetime(2020, 1, 1, tzinfo=UTC).isoformat(), "reason": "x"})) == (400, "malformed-request")
    assert said(program_of(made.tenant).post(address, {"until": until, "reason": "mine"})) == (404, "not-found")
    assert chief.delete(address).status_code == 204
    assert said(chief.delete(address)) == (409, "wrong-state")
    assert chief.get("billing/overdue").json()["results"][0]["held_until"] is None


def test_operators_programs_see_notices_and_try_one_again():
    made, chief = invoice(), operator("billing")
    (row,) = chief.get("billing/notices?state=waiting").json()["results"]
    assert (row["account"], row["kind"], row["invoice"]) == (made.tenant.account, "invoice", made.name)
    assert said(chief.post(f"billing/notices/{row['id']}/again")) == (409, "wrong-state")
    Notice.objects.of(made.tenant).update(state="given_up", settled_at=timezone.now(), problem="550")
    assert chief.post(f"billing/notices/{row['id']}/again").json()["state"] == "waiting"
    assert said(chief.get("billing/notices?state=lost")) == (400, "malformed-request")
    assert again(made).state == "finalised"
