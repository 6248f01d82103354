"""Invoices as documents: told in the customer's language, set as PDF, listed as CSV."""
