"""Invoices and credit notes as a page of HTML, for screens and printers: the facts of the PDF, from the same telling. No script, one style sheet."""

from __future__ import annotations

from django.template.loader import render_to_string
from django.templatetags.static import static

from billing.documents.telling import tell
from billing.papers import Paper


def render(paper: Paper, *, host: str = "") -> str:
    """In the language of the invoice. `host`: where its style sheet is, for those who take the page elsewhere."""
    return render_to_string("billing/invoice.html", {"told": tell(paper), "style": host + static("acs/invoice.css")})
