"""The outbox under faults: a mail server that is away, refuses, hangs up or falls silent; senders at once, and killed; what nobody takes is given up and shown."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from acs import billing_tasks as tasks
from acs.celery import app
from billing.models import Notice, QuotaWarning
from billing.notices import sending, writing
from tenants.models import AuditEvent
from tests.billing import sold
from tests.billing.payments.paid import invoice
from tests.conftest import ROOT, service_environment
from tests.live import STEP, race_here

ids = itertools.count(1)


def waiting(tenant=None) -> Notice:
    """A notice that needs no PDF; each of another day."""
    tenant = tenant or sold.subscriber()
    now = timezone.now()
    QuotaWarning.objects.of(tenant).delete()
    made = QuotaWarning.objects.create(tenant=tenant, level="near", used=8, limit=10, since=now)
    writing.many_devices(made, enforcement="hard", now=now - timedelta(days=next(ids)))
    Notice.objects.of(tenant).filter(state="waiting").update(made_at=now)
    return Notice.objects.of(tenant).latest("id")


def look(notice: Notice) -> Notice:
    return Notice.objects.across_tenants().get(pk=notice.pk)


def due_again(**facts) -> None:
    """As if so much time had passed that all leases and pauses are over."""
    past = timezone.now() - timedelta(seconds=1)
    Notice.objects.across_tenants().filter(state="waiting").update(next_at=past, **facts)
    Notice.objects.across_tenants().filter(claimed_until__isnull=False).update(claimed_until=past)


def test_the_schedule_sends_notices_and_closes_months():
    scheduled = {each["task"] for each in app.conf.beat_schedule.values()}
    assert {"acs.billing_tasks.send_notices", "acs.billing_tasks.close_months"} <= scheduled


@pytest.mark.django_db
def test_a_mail_server_that_is_away_harms_nothing_and_what_waits_is_sent_when_it_is_back(post, settings):
    there = settings.EMAIL_PORT
    settings.EMAIL_PORT = 9
    made, other = invoice(), waiting()
    assert made.state == "finalised"
    tasks.send_notices()
    first, second = Notice.objects.of(made.tenant).get(), look(other)
    assert {first.state, second.state} == {"waiting"}
    assert first.tries + second.tries == 1, "it is asked once a run"
    assert "refused" in first.problem + second.problem
    settings.EMAIL_PORT = there
    due_again()
    tasks.send_notices()
    assert len(post.got) == 2
    assert {each.state for each in Notice.objects.across_tenants()} == {"sent"}


@pytest.mark.django_db
@pytest.mark.parametrize(("mode", "says"), [("refuse", "550"), ("broken", "closed")])
def test_one_that_is_not_taken_is_tried_again_later_and_later_and_the_others_are_sent(post, mode, says):
    unlucky = waiting()
    post.mode = mode
    pauses = []
    for _ in range(4):
        before = timezone.now()
        tasks.send_notices()
        seen = look(unlucky)
        assert (seen.state, seen.claimed_until) == ("waiting", None)
        assert says in seen.problem
        pauses.append((seen.next_at - before) // timedelta(minutes=1))
        asked = post.asked
        tasks.send_notices()
        assert post.asked == asked, "not before its time"
        due_again()
    assert pauses == [1, 2, 4, 8]
    post.mode = "ok"
    lucky = waiting()
    tasks.send_notices()
    assert (look(lucky).state, look(unlucky).state, len(post.got)) == ("sent", "sent", 2)


@pytest.mark.django_db
def test_what_nobody_takes_for_days_is_given_up_shown_and_may_be_tried_again(post):
    notice = waiting()
    post.mode = "refuse"
    due_again(made_at=timezone.now() - sending.GIVEN_UP)
    tasks.send_notices()
    assert look(notice).state == "waiting", "it may have waited for the service itself"
    due_again(tries=sending.LEAST_TRIES)
    tasks.send_notices()
    seen = look(notice)
    assert (seen.state, seen.claimed_until) == ("given_up", None)
    event = AuditEvent.objects.of(notice.tenant).get(verb="notice.given_up")
    assert "550" in event.detail["problem"]
    tasks.send_notices()
    assert look(notice).tries == sending.LEAST_TRIES + 1
    out = StringIO()
    call_command("billing", "notices", "--state", "given_up", stdout=out)
    assert notice.tenant.account in out.getvalue()
    assert "550" in out.getvalue()
    post.mode = "ok"
    call_command("billing", "notices", "--again", str(notice.pk), stdout=out)
    tasks.send_notices()
    assert (look(notice).state, len(post.got)) == ("sent", 1)
    for wrong in (str(notice.pk), "999999999"):
        with pytest.raises(CommandError):
            call_command("billing", "notices", "--again", wrong)


@pytest.mark.django_db
def test_one_that_cannot_be_worded_keeps_nobody_else_waiting(post):
    poison = waiting()
    Notice.objects.of(poison.tenant).update(facts={})
    other = waiting()
    tasks.send_notices()
    assert (look(poison).state, look(other).state) == ("waiting", "sent")
    assert "KeyError" in look(poison).problem


@pytest.mark.django_db
def test_one_that_its_senders_die_of_is_given_up_in_the_end(post):
    deadly = waiting()
    due_again(tries=sending.MOST_TRIES)
    tasks.send_notices()
    assert (look(deadly).state, post.got) == ("given_up", [])


@pytest.mark.django_db
def test_a_server_that_falls_silent_after_it_took_the_message_gets_it_again_under_the_same_name(post):
    notice = waiting()
    post.mode = "mute"
    tasks.send_notices()
    assert look(notice).state == "waiting"
    post.mode = "ok"
    due_again()
    tasks.send_notices()
    assert look(notice).state == "sent"
    assert len(post.got) == 2
    assert len({mail["Message-ID"] for mail in post.got}) == 1


@pytest.mark.django_db
def test_an_address_that_was_put_right_meanwhile_is_used(post):
    from billing import accounts

    notice = waiting()
    post.mode = "refuse"
    tasks.send_notices()
    accounts.put(notice.tenant, email="right@acme.example", now=timezone.now(), actor="system:tests")
    post.mode = "ok"
    due_again()
    tasks.send_notices()
    assert (post.got[0]["To"], look(notice).recipient) == ("right@acme.example",) * 2


@pytest.mark.django_db(transaction=True)
def test_senders_at_once_share_what_waits_and_send_nothing_twice(post):
    tenant = sold.subscriber()
    count = 24
    for number in range(count):
        now = timezone.now()
        Notice.objects.create(tenant=tenant, kind="quota", event=f"quota:{number}", facts=FACTS, made_at=now, next_at=now)
    QuotaWarning.objects.create(tenant=tenant, level="near", used=8, limit=10, since=timezone.now())
    race_here(6, lambda _number: sending.send())
    assert len(post.got) == count
    assert len({mail["Message-ID"] for mail in post.got}) == count


FACTS = {"level": "near", "used": 8, "limit": 10, "enforcement": "hard"}


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_a_sender_killed_anywhere_loses_nothing_and_tells_twice_only_what_was_taken_and_not_yet_marked(post, tmp_path):
    mail = {"ACS_EMAIL_URL": f"smtp://127.0.0.1:{post.port}"}
    env = {**os.environ, **service_environment("worker"), **mail, "DJANGO_SETTINGS_MODULE": "acs.settings"}
    command, pipe = [sys.executable, "-m", "tests.crash_notices"], subprocess.PIPE
    doubles, tenant = [], sold.subscriber()
    places = itertools.islice(((number, when) for number in itertools.count(1) for when in ("before", "after")), 0, None, STEP)
    with (
        (tmp_path / "senders.log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, stderr=log, text=True) as process,
    ):
        for number, when in places:
            notice = waiting(tenant)
            before = len(post.got)
            print(f"{number}:{when}", file=process.stdin, flush=True)
            status = int(process.stdout.readline())
            assert status in (0, -signal.SIGKILL), (tmp_path / "senders.log").read_text()
            if status and look(notice).state == "waiting":
                asked = post.asked
                print("-", file=process.stdin, flush=True)
                assert process.stdout.readline().strip() == "0"
                assert post.asked == asked or look(notice).tries < 2, "who has it in hand may still be alive"
                due_again()
                print("-", file=process.stdin, flush=True)
                assert process.stdout.readline().strip() == "0"
            assert look(notice).state == "sent", f"{number}:{when}"
            times = len(post.got) - before
            assert times in (1, 2)
            if times == 2:
                doubles.append(f"{number}:{when}")
            if status == 0:
                break
        process.stdin.close()
    assert number > 8, "a sender has more statements than that"
    assert 0 < len(doubles) <= 12, doubles
