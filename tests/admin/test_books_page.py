"""The operators' page of the books."""

from __future__ import annotations

import csv
import io

import pytest

from tests.billing.books import kept

pytestmark = pytest.mark.django_db


@pytest.fixture
def books(settings):
    kept.ours(settings)
    return kept.six()


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_operators_look_at_the_books_and_take_them_out(books, office):
    text = office.get("/admin/billing/books/?month=2026-07").content.decode()
    assert "207.06" in text.replace(",", "")
    assert "93.53" in text
    assert "holds" not in text
    assert "8 laws hold" in office.get("/admin/billing/books/?month=2026-07&check=1").content.decode()
    assert len(read(office.get("/admin/billing/books/journal/2026-07/").content.decode())) == 8
    assert len(read(office.get("/admin/billing/books/receivables/").content.decode())) == 3
    assert office.get("/admin/billing/books/journal/2026-13/").status_code == 404
    assert "/admin/billing/books/" in office.get("/admin/billing/invoice/").content.decode()


def test_who_may_not_see_invoices_does_not_see_the_books(client, django_user_model):
    client.force_login(django_user_model.objects.create_user("nobody", is_staff=True))
    for page in ("", "journal/2026-07/", "receivables/"):
        assert client.get(f"/admin/billing/books/{page}").status_code == 403
