"""What payers write: a creditor reference by ISO 11649 of each invoice, and how it is found again in what banks make of it."""

from __future__ import annotations

import re

from django.utils.translation import gettext as _
from stdnum import iso11649
from stdnum.iso7064 import mod_97_10

from billing.models import Invoice, PaymentReference
from tenants.errors import WrongState

START = re.compile(r"RF(?=[0-9]{2})")
BETWEEN = re.compile(r"[\s./,:-]")  # what banks and people put into a reference
LENGTH = 14  # of ours


def reference_of(invoice: Invoice) -> str:
    """The invoice's reference, made when it is finalised (or, of an older one, first asked for) and the same ever after. Raises: WrongState for a draft and a credit note."""
    if invoice.state == Invoice.State.DRAFT or invoice.kind != Invoice.Kind.INVOICE:
        raise WrongState(_("only finalised invoices are paid"))
    made, _new = PaymentReference.objects.get_or_create(invoice=invoice, defaults={"reference": made_of(invoice.pk)})
    return made.reference


def give(invoice: Invoice) -> None:
    """Its reference, in the transaction that finalises it: one statement."""
    PaymentReference.objects.create(invoice=invoice, reference=made_of(invoice.pk))


def printed(invoice: Invoice) -> str:
    """As it stands on the document; empty on a preview."""
    made = PaymentReference.objects.filter(invoice=invoice.pk).first() if invoice.pk else None
    return shown(made.reference) if made else ""


def made_of(number: int) -> str:
    """`RF`, two check digits, and the number in ten digits."""
    body = f"{number:010d}"
    return f"RF{mod_97_10.calc_check_digits(body + 'RF')}{body}"


def shown(reference: str) -> str:
    """In groups of four, as people read it."""
    return str(iso11649.format(reference))


def found_in(text: str) -> list[str]:
    """The references in a text, whose check digits are right, in order and each once. Banks break them into lines and groups."""
    plain = BETWEEN.sub("", text.upper())
    candidates = (plain[match.start() : match.start() + LENGTH] for match in START.finditer(plain))
    return list(dict.fromkeys(each for each in candidates if len(each) == LENGTH and iso11649.is_valid(each)))
