"""SIGKILL of an import before and after each of its statements and commits: imported again, every entry is there once, and every payment.

Every eleventh of these points, every one with ACS_EXAMPLES set.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from billing import concessions
from billing.books import checks
from billing.models import CreditEntry, Payment, Statement, StatementEntry
from billing.owed import open_amount, paid_of
from billing.payments import given
from billing.payments.references import reference_of
from tests.billing import sold
from tests.billing.invoices.conftest import SELLER
from tests.billing.payments.paid import DONE, IBAN, again, camt, entry, invoice
from tests.conftest import service_environment
from tests.live import ROOT

STEP = 1 if os.environ.get("ACS_EXAMPLES") else 11
pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


@contextmanager
def importers(folder: Path) -> Iterator[subprocess.Popen[str]]:
    told = {"DJANGO_SETTINGS_MODULE": "acs.settings", "ACS_SELLER": json.dumps(SELLER), "ACS_BANK_ACCOUNTS": IBAN}
    command, pipe = [sys.executable, "-m", "tests.crash_import"], subprocess.PIPE
    env = {**os.environ, **service_environment("web"), **told}
    with (
        (folder / "importers.log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, stderr=log, text=True) as process,
    ):
        yield process
        process.stdin.close()


def ask(process: subprocess.Popen[str], file: Path, place: str) -> int:
    print(file, place, file=process.stdin, flush=True)
    return int(process.stdout.readline())


def test_an_import_killed_anywhere_is_whole_when_it_is_imported_again(tmp_path):
    version, number = sold.version(), 0
    places = itertools.islice(((number, when) for number in itertools.count(1) for when in ("before", "after")), 0, None, STEP)
    with importers(tmp_path) as process:
        for round_, (number, when) in enumerate(places):
            first, second = invoice(of=version), invoice(of=version)
            both = f"{reference_of(first)} {reference_of(second)}"
            file = tmp_path / f"{round_}.xml"
            file.write_bytes(
                camt(
                    entry("10.00", reference_of(first), reference=f"{round_}-part"),
                    entry("40.00", reference_of(first), reference=f"{round_}-more"),
                    entry("34.51", f"{shown_once(both)}", reference=f"{round_}-other").replace("<AcctSvcrRef>", "<NtryRef>").replace(
                        "</AcctSvcrRef>", "</NtryRef>"
                    ),
                    entry("3.00", "hello", reference=f"{round_}-unclear"),
                    entry("9.00", reference=f"{round_}-rent", direction="DBIT"),
                )
            )  # fmt: skip
            status = ask(process, file, f"{number}:{when}")
            assert status in (0, -signal.SIGKILL)
            assert_sums(round_)
            assert ask(process, file, "-") == 0
            assert_whole(round_, first, second)
            if status == 0:
                break
    assert number > 40, "an import has more statements than that"
    assert Statement.objects.count() == round_ + 1
    assert StatementEntry.objects.count() == 5 * (round_ + 1)


def shown_once(both: str) -> str:
    """The second of the two."""
    return both.split()[1]


def assert_whole(round_: int, first, second) -> None:
    rows = StatementEntry.objects.filter(statement__name__endswith=f"/{round_}.xml")
    assert sorted(rows.values_list("amount", "state", "reason")) == [
        (-900, "aside", "debit"),
        (300, "unmatched", "no_hint"),
        (1000, "matched", ""),
        (3451, "matched", ""),
        (4000, "matched", ""),
    ]
    assert list(Payment.objects.of(first.tenant).order_by("amount").values_list("amount", "credited")) == [(1000, 0), (4000, 1549)]
    assert list(Payment.objects.of(second.tenant).values_list("amount", "credited")) == [(3451, 0)]
    assert (again(first).state, again(second).state) == ("paid", "paid")
    assert concessions.balance_of(first.tenant, "EUR") == 1549
    assert_sums(round_)


def assert_sums(round_: int) -> None:
    """What the ledger says agrees with itself wherever the process died."""
    rows = StatementEntry.objects.filter(statement__name__endswith=f"/{round_}.xml")
    payments = Payment.objects.across_tenants().filter(entry__in=rows).select_related("invoice", "tenant")
    for payment in payments.exclude(credited=0):
        assert CreditEntry.objects.of(payment.tenant).get(reference=f"payment:{payment.pk}").amount == payment.credited
    for payment in payments:
        assert paid_of(payment.invoice) <= payment.invoice.payable
        assert (payment.invoice.state == "paid") == (payment.invoice.payable == paid_of(payment.invoice))
        assert open_amount(payment.invoice) >= 0
    for row in rows.filter(state="matched"):
        assert given.left_of(row) == 0
    assert checks.check(now=DONE["now"]) == []
    for row in rows.filter(state="waiting"):
        assert given.left_of(row) == row.amount
