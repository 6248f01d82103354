"""Configuration of metering, invoices, payments and what becomes of those who do not pay: a part of acs/settings.py, from the environment alone."""

from __future__ import annotations

import re

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()

# ---- metering --------------------------------------------------------------------------------------------------------
USAGE_SECONDS = env.int("ACS_USAGE_SECONDS", default=900)  # how often hours and days of online time are summed up
METERING_EVIDENCE_MONTHS = env.int("ACS_METERING_EVIDENCE_MONTHS", default=13)  # sessions and coverage: what sums can be made of again
POLL_RUN_MONTHS = env.int("ACS_POLL_RUN_MONTHS", default=METERING_EVIDENCE_MONTHS)
METERING_DEVICE_DAY_MONTHS = env.int("ACS_METERING_DEVICE_DAY_MONTHS", default=37)
if not 2 <= METERING_EVIDENCE_MONTHS <= METERING_DEVICE_DAY_MONTHS or POLL_RUN_MONTHS < 1:
    raise ImproperlyConfigured(
        "ACS_METERING_EVIDENCE_MONTHS must be 2 or more, ACS_METERING_DEVICE_DAY_MONTHS as many or more, ACS_POLL_RUN_MONTHS 1 or more"
    )

# ---- invoices --------------------------------------------------------------------------------------------------------
SELLER = env.json("ACS_SELLER", default={})  # who issues invoices: {"name": ..., "address": ..., "country": "DE", "tax_id": ...}
if SELLER and not {"name", "address", "country", "tax_id"} <= SELLER.keys():
    raise ImproperlyConfigured("ACS_SELLER needs name, address, country and tax_id; it may have bank, entity, series and credit_series")
if not all(re.fullmatch("[A-Z0-9]{0,8}", SELLER.get(name, "")) for name in ("entity", "series", "credit_series")):
    raise ImproperlyConfigured("ACS_SELLER: entity, series and credit_series are up to eight capital letters and digits")
INVOICE_DAYS = env.int("ACS_INVOICE_DAYS", default=14)  # until an invoice is due
CLOSE_DAYS = env.str("ACS_CLOSE_DAYS", default="")  # after a month's end, until it is closed by itself; empty: by hand
if CLOSE_DAYS and not (CLOSE_DAYS.isascii() and CLOSE_DAYS.isdecimal() and int(CLOSE_DAYS) <= 27):
    raise ImproperlyConfigured("ACS_CLOSE_DAYS is a number of days from 0 to 27, or empty: then months are closed by hand")
BILLING_MAIL = env.bool("ACS_BILLING_MAIL", default="ACS_EMAIL_URL" in env)  # whether customers are told of invoices, dunning and quotas
INVOICE_FONTS = env.list("ACS_INVOICE_FONTS", default=["/usr/share/fonts"])  # folders that PDFs find their fonts in

# ---- payments --------------------------------------------------------------------------------------------------------
BANK_ACCOUNTS = env.list("ACS_BANK_ACCOUNTS", default=[])  # accounts (IBAN) that invoices are paid to, the first one is told to payers
STRIPE_KEY = env.str("ACS_STRIPE_KEY", default="")
STRIPE_WEBHOOK_SECRETS = env.list("ACS_STRIPE_WEBHOOK_SECRETS", default=[])  # a new one beside the old one while it is changed
STRIPE_API = env.str("ACS_STRIPE_API", default="https://api.stripe.com").rstrip("/")
DUNNING_DAYS = env.list("ACS_DUNNING_DAYS", cast=int, default=[14, 30])  # overdue until restricted, suspended and, with a third one, closed
if len(DUNNING_DAYS) > 3 or any(days < 1 for days in DUNNING_DAYS) or sorted(set(DUNNING_DAYS)) != DUNNING_DAYS:
    raise ImproperlyConfigured("ACS_DUNNING_DAYS names up to three growing numbers of days, such as 14,30,90")
