"""Invoices as documents: told in the customer's language, set as PDF, shown as a page, listed as CSV."""
