"""What customers are told by e-mail, as a mail server gets it: invoices with their PDF, each step of dunning, what is lifted, quotas; once, in their language."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from acs import billing_tasks as tasks
from billing import accounts, corrections, dunning, invoicing, subscriptions, warnings
from billing.documents import pdf
from billing.models import DunningCase, Notice, Subscription
from billing.papers import paper_of
from billing.payments import ledger
from billing.payments.received import Received
from billing.payments.references import reference_of, shown
from billing.rating.cycles import month_of, months_after
from tenants import lifecycle
from tenants.models import AuditEvent, Quota, Tenant
from tests.billing import sold
from tests.billing.payments.paid import TOLD, again, invoice

pytestmark = pytest.mark.django_db


def recent(**account):
    """An invoice that has been due for 86 days: who is dunned is looked at when the mail is sent."""
    issued = timezone.now() - timedelta(days=100)
    tenant = sold.tenant(**account)
    month = month_of(months_after(issued, -1))
    issued = max(issued, month.end + timedelta(hours=1))
    subscriptions.start(tenant, sold.version(), now=month.start, actor="system:tests")
    made = invoicing.draft(Subscription.objects.of(tenant).get(), month, now=issued)
    return invoicing.finalise(made, now=issued, **TOLD)


def mails(post, *, kind=None):
    """What the server gets of what is waiting."""
    before = len(post.got)
    tasks.send_notices()
    got = post.got[before:]
    return got if kind is None else [each for each in got if kind in each["Message-ID"] or kind in each["Subject"]]


def text_of(mail):
    return mail.get_body(("plain",)).get_content()


def tenant_of(made):
    return Tenant.objects.select_related("plan").get(pk=made.tenant_id)


def pay(made, amount=3451, reference="X1"):
    return ledger.enter(again(made), Received("bank", reference, amount, "EUR", timezone.now()), now=timezone.now(), **TOLD)


def test_a_finalised_invoice_comes_once_with_its_pdf_and_how_to_pay_it(post):
    made = invoice()
    (mail,) = mails(post)
    assert (mail["To"], mail["Subject"], mail["Auto-Submitted"]) == (
        "books@acme.example",
        f"Invoice {made.name} of Fleet GmbH",
        "auto-generated",
    )
    text = text_of(mail)
    for told in ("June 2026", "€34.51", "DE02120300000000202051", shown(reference_of(made)), made.tenant.account):
        assert told in text
    (attached,) = mail.iter_attachments()
    assert (attached.get_filename(), attached.get_content_type()) == (f"{made.name}.pdf", "application/pdf")
    assert attached.get_content() == pdf.render(paper_of(again(made)))
    assert mails(post) == []
    invoicing.finalise(again(made), now=timezone.now(), **TOLD)
    assert mails(post) == []
    notice = Notice.objects.of(made.tenant).get()
    assert (notice.state, notice.recipient, notice.tries) == ("sent", "books@acme.example", 1)
    assert AuditEvent.objects.of(made.tenant).filter(verb="notice.sent", target=notice.event).count() == 1


def test_a_customer_is_told_in_its_language(post):
    made = recent(language="zh-hans")
    Notice.objects.of(made.tenant).delete()  # its invoice needs a Chinese font
    dunning.review(tenant_of(made), now=made.due_at + timedelta(days=1))
    (mail,) = mails(post)
    assert f"{made.due_at.year}年{made.due_at.month}月{made.due_at.day}日" in text_of(mail)
    assert "€34.51" in text_of(mail)


def test_a_credit_note_comes_with_its_pdf_and_says_what_becomes_of_it(post):
    made = invoice()
    note = corrections.credit_whole(made, reason="the wrong company", now=timezone.now(), **TOLD).credit_note
    got = {mail["Subject"]: mail for mail in mails(post)}
    mail = got[f"Credit note {note.name} for invoice {made.name}"]
    assert "the wrong company" in text_of(mail)
    assert "€34.51 of it are taken off" in text_of(mail)
    assert next(mail.iter_attachments()).get_filename() == f"{note.name}.pdf"
    assert "nothing to be paid" in text_of(got[f"Invoice {made.name} of Fleet GmbH"])


def test_a_void_invoice_is_not_sent_any_more(post):
    made = invoice()
    invoicing.void(made, now=timezone.now(), **TOLD)
    assert mails(post) == []
    assert set(Notice.objects.of(made.tenant).values_list("state", flat=True)) == {"dropped"}


def test_who_has_got_an_invoice_is_told_that_it_is_void(post):
    """Nothing else would: it has no credit note."""
    made = invoice()
    mails(post)
    invoicing.void(again(made), now=timezone.now(), **TOLD)
    (mail,) = mails(post)
    assert mail["Subject"] == f"Invoice {made.name} of Fleet GmbH is void"
    assert "nothing of it is to be paid" in text_of(mail)
    (attached,) = mail.iter_attachments()
    assert attached.get_content() == pdf.render(paper_of(again(made)))
    assert mails(post) == []


def test_each_step_of_dunning_says_what_is_overdue_and_what_comes_next(post):
    made = recent()
    mails(post)
    seen = []
    for days in (1, 15, 31, 62):
        dunning.review(tenant_of(made), now=made.due_at + timedelta(days=days))
        (mail,) = mails(post)
        text = text_of(mail)
        for told in (made.name, "€34.51", shown(reference_of(made)), "DE02120300000000202051"):
            assert told in text
        seen.append((mail["Subject"], text))
    subjects = [subject.replace(made.name, "N") for subject, _text in seen]
    assert subjects == [
        "Payment overdue: N",
        "Payment overdue: N. New devices get no keys",
        "Payment overdue: N. Your network is suspended",
        "Payment overdue: N. Your network is closed",
    ]
    assert "Devices that are in it stay" in seen[1][1]
    expires = tenant_of(made).devices_delete_at
    assert f"{expires.day} {expires:%B %Y}" in seen[3][1]
    assert mails(post) == []


def test_what_comes_next_is_told_with_its_day(post):
    now = timezone.now()
    made = recent()
    mails(post)
    dunning.review(tenant_of(made), now=now - timedelta(hours=1))  # 86 days late: found only now
    (mail,) = mails(post)
    assert "any day" in text_of(mail), "it goes further with the next review"
    dunning.review(tenant_of(made), now=now)
    (mail,) = mails(post)
    day = now + timedelta(days=16)
    assert f"If it is not paid by {day.day} {day:%B %Y}, your network is suspended" in text_of(mail)


def test_who_has_paid_before_the_mail_goes_is_not_dunned_and_told_that_all_is_well(post):
    made = recent()
    for days in (1, 15):
        dunning.review(tenant_of(made), now=made.due_at + timedelta(days=days))
    pay(made)
    got = mails(post)
    assert not [mail for mail in got if "overdue" in mail["Subject"]]
    (mail,) = [mail for mail in got if "rights again" in mail["Subject"]]
    assert "nothing is overdue any more" in text_of(mail)
    assert "gets keys for new devices again" in text_of(mail)


def test_who_pays_before_anything_was_restricted_is_not_told_of_a_lifting(post):
    made = recent()
    dunning.review(tenant_of(made), now=made.due_at + timedelta(days=1))
    mails(post)
    pay(made)
    assert mails(post) == []


def test_what_an_operator_did_besides_is_not_said_to_be_over(post):
    made = recent()
    lifecycle.suspend(tenant_of(made), now=made.due_at, reason="abuse", **TOLD)
    for days in (1, 15):
        dunning.review(tenant_of(made), now=made.due_at + timedelta(days=days))
    mails(post)
    pay(made)
    (mail,) = mails(post)
    assert "stays suspended for another reason" in text_of(mail)


def test_quotas_are_told_once_a_level(post):
    tenant = sold.subscriber(sold.version(max_devices=10, warn_at=80))
    mails(post)
    for used, told in ((8, "uses 8 of 10 devices"), (9, None), (11, "uses 11 devices, more than its plan's 10"), (12, None)):
        Quota.objects.filter(tenant=tenant).update(used=used)
        warnings.warn_all(now=timezone.now())
        got = mails(post)
        assert [told in mail["Subject"] for mail in got] == ([True] if told else [])


def test_devices_that_come_and_go_are_told_once_a_day_and_what_is_over_before_it_is_sent_is_not(post):
    tenant, now = sold.subscriber(sold.version(max_devices=10, warn_at=80)), timezone.now()
    told = []
    for hours, used in enumerate((8, 1, 8, 1, 8)):
        Quota.objects.filter(tenant=tenant).update(used=used)
        warnings.warn_all(now=now.replace(hour=hours))
        told.append(len(mails(post)))
    assert told == [1, 0, 0, 0, 0]
    Quota.objects.filter(tenant=tenant).update(used=1)
    warnings.warn_all(now=now + timedelta(days=1))
    Quota.objects.filter(tenant=tenant).update(used=8)
    warnings.warn_all(now=now + timedelta(days=1, seconds=1))
    Quota.objects.filter(tenant=tenant).update(used=1)
    warnings.warn_all(now=now + timedelta(days=1, seconds=2))
    assert mails(post) == []


def test_who_was_closed_already_is_told_what_is_overdue_and_of_no_further_steps(post):
    made = recent()
    lifecycle.close(tenant_of(made), now=made.due_at, **TOLD)
    mails(post)
    for days in (1, 15, 31, 62):
        dunning.review(tenant_of(made), now=made.due_at + timedelta(days=days))
    Notice.objects.of(made.tenant).get(kind="dunning")
    assert DunningCase.objects.of(made.tenant).get().stage == "closed"


def test_notices_are_switched_off_for_one_and_for_all(post, settings):
    silent = sold.tenant()
    accounts.put(silent, notices=False, now=timezone.now(), **TOLD)
    subscriptions.start(silent, sold.version(), **sold.TOLD)
    invoice(silent)
    assert mails(post) == []
    assert Notice.objects.of(silent).get().state == "dropped"
    settings.BILLING_MAIL = False
    assert not Notice.objects.of(invoice().tenant).exists()


def test_what_was_written_before_they_were_switched_off_is_not_sent(post, settings):
    made = invoice()
    settings.BILLING_MAIL = False
    assert mails(post) == []
    assert Notice.objects.of(made.tenant).get().state == "dropped"


def test_names_with_line_breaks_and_markup_reach_the_mailbox_as_they_are(post, settings):
    settings.SELLER = {**settings.SELLER, "name": "Fleet\r\nBcc: all@example.com <b>&amp;"}
    invoice()
    (mail,) = mails(post)
    assert mail["Bcc"] is None
    assert "Fleet Bcc: all@example.com <b>&amp;" in mail["Subject"]
    assert "<b>&amp;" in text_of(mail)


def test_what_is_rolled_back_is_never_told(post):
    from django.db import transaction

    made = invoicing.draft(sold.subscriber().subscription, month_of(sold.at(1)), now=sold.at(2, month=7))
    with transaction.atomic():
        invoicing.finalise(made, now=sold.at(2, month=7), **TOLD)
        transaction.set_rollback(True)
    assert mails(post) == []
