"""Invoices to be paid and files of banks for tests: plain functions over billing's own verbs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from billing import invoicing, subscriptions
from billing.models import Invoice, PlanVersion, Subscription
from tenants.models import Tenant
from tests.billing import sold
from tests.billing.invoices.used import after
from tests.billing.rating.bills import JUNE

IBAN = "DE02120300000000202051"
TOLD = {"actor": "system:tests"}
NOW = after()
DONE = {"now": NOW, **TOLD}
SPACES = "urn:iso:std:iso:20022:tech:xsd:camt.053.001."


def invoice(tenant: Tenant | None = None, *, of: PlanVersion | None = None, now: datetime = NOW) -> Invoice:
    """One of June over 34.51 EUR (29.00 and 19 % tax), finalised, due in fourteen days."""
    if tenant is None:
        tenant = sold.tenant()
        subscriptions.start(tenant, of or sold.version(), **sold.TOLD)
    made = invoicing.draft(Subscription.objects.of(tenant).get(), JUNE, now=now)
    assert made is not None
    return invoicing.finalise(made, now=now, **TOLD)


def again(made: Invoice) -> Invoice:
    """As it is stored now."""
    return Invoice.objects.across_tenants().get(pk=made.pk)


def entry(amount: str, text: str = "", *, reference: str = "B1", currency: str = "EUR", direction: str = "CRDT", **more: str) -> str:
    """One `Ntry` of CAMT.053. `more`: state, name, extra (XML)."""
    return f"""<Ntry><Amt Ccy="{currency}">{amount}</Amt><CdtDbtInd>{direction}</CdtDbtInd>{more.get("extra", "")}
      <Sts>{more.get("state", "BOOK")}</Sts><BookgDt><Dt>2026-07-03</Dt></BookgDt><ValDt><Dt>2026-07-03</Dt></ValDt>
      <AcctSvcrRef>{reference}</AcctSvcrRef><NtryDtls><TxDtls><Refs><EndToEndId>NOTPROVIDED</EndToEndId></Refs>
      <RltdPties><Dbtr><Nm>{more.get("name", "Acme Inc.")}</Nm></Dbtr><DbtrAcct><Id><IBAN>DE89370400440532013000</IBAN></Id></DbtrAcct></RltdPties>
      <RmtInf><Ustrd>{text}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>"""


def camt(*entries: str, version: str = "08", account: str = IBAN, balances: str = "", encoding: str = "UTF-8") -> bytes:
    text = f"""<?xml version="1.0" encoding="{encoding}"?>
<Document xmlns="{SPACES}{version}"><BkToCstmrStmt><GrpHdr><MsgId>M1</MsgId></GrpHdr><Stmt><Id>S-{account[-4:]}</Id>
<Acct><Id><IBAN>{account}</IBAN></Id></Acct>{balances}{"".join(entries)}</Stmt></BkToCstmrStmt></Document>"""
    return text.encode(encoding)


def balance(kind: str, amount: str) -> str:
    return (
        f'<Bal><Tp><CdOrPrtry><Cd>{kind}</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">{amount}</Amt><CdtDbtInd>CRDT</CdtDbtInd>'
        "<Dt><Dt>2026-07-03</Dt></Dt></Bal>"
    )


def unread(refusal: Any) -> str:
    """What a refusal says."""
    return str(refusal.value)
