"""How invoices are paid.

Every provider is a page of plain functions of one shape: `ask` says how an invoice is paid, `received` (or an import) tells what came as `Received`, and
billing/payments/ledger.py enters it, whoever it came from.
"""
