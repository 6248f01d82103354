"""What the API of payments reads and shows. Nothing is decided here."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from acs.api.bodies import Fields
from acs.api.invoice_shapes import MINOR
from acs.api.shapes import ModelShape, example
from billing.models import DunningCase, DunningHold, Notice, Payment, Statement, StatementEntry
from billing.payments.delimited import ENCODINGS


@example({"format": "camt", "name": "june.xml", "content": "PERvY3VtZW50Lz4="})
class StatementFile(Fields):
    """A statement. Of CSV everything about how the bank writes it has to be said; of CAMT.053 nothing."""

    format = serializers.ChoiceField(choices=Statement.Format.choices)
    name = serializers.CharField(max_length=200, required=False, default="")
    content = serializers.CharField(help_text="The file in base64.", trim_whitespace=False)
    account = serializers.CharField(max_length=42, required=False, help_text="CSV: the IBAN of ours that it is of.")
    columns = serializers.DictField(child=serializers.CharField(), required=False, help_text="CSV: the bank's headings by our names.")
    delimiter = serializers.CharField(max_length=1, required=False, trim_whitespace=False)
    encoding = serializers.ChoiceField(choices=sorted(ENCODINGS), required=False)
    decimal = serializers.ChoiceField(choices=[".", ","], required=False)
    date_format = serializers.CharField(max_length=40, required=False, help_text="CSV: as strptime reads it.")
    currency = serializers.CharField(max_length=3, required=False, help_text="CSV: of all entries, where no column says it.")


@example({"invoice": "INV-2026-000001", "amount": 2000})
class AssignedEntry(Fields):
    invoice = serializers.CharField(max_length=32, help_text="Its number.")
    amount = serializers.IntegerField(min_value=1, required=False, help_text=f"Only so much of it. {MINOR}")


@example({"payment": 7, "amount": 2000})
class TakingEntry(Fields):
    payment = serializers.IntegerField(min_value=1, max_value=2**63 - 1, help_text="The id of the payment that it takes back.")
    amount = serializers.IntegerField(min_value=1, required=False, help_text=f"Only so much of it. {MINOR}")


@example({"account": "acme-inc", "amount": 2000})
class PayingEntry(Fields):
    account = serializers.CharField(max_length=63, help_text="The tenant whose balance paid it.")
    amount = serializers.IntegerField(min_value=1, required=False, help_text=f"Only so much of it. {MINOR}")


@example({"reason": "the wrong invoice"})
class UndoneShape(Fields):
    reason = serializers.CharField(max_length=300, help_text="Why; it stands in the audit.")


class EntryFilters(Fields):
    state = serializers.ChoiceField(choices=StatementEntry.State.choices, required=False)


class StatementShape(ModelShape[Statement]):
    class Meta:
        model = Statement
        fields = ("id", "format", "name", "account", "bank_id", "digest", "entries_in_file", "known_before", "imported_at", "imported_by")


class ImportedShape(serializers.Serializer[Any]):
    statements = StatementShape(many=True, help_text="One for each account that the file is of.")
    again = serializers.BooleanField(help_text="The very file was there: nothing was done.")
    new = serializers.IntegerField(help_text="Entries that no file had brought.")
    known = serializers.IntegerField(help_text="Entries that another file had brought.")
    skipped = serializers.IntegerField(help_text="Entries that are not booked yet.")


class EntryShape(ModelShape[StatementEntry]):
    class Meta:
        model = StatementEntry
        fields = [
            *("id", "statement", "account", "bank_reference", "amount", "currency", "value_date", "text", "counterparty"),
            *("counterparty_account", "state", "reason"),
        ]


class PaymentShape(ModelShape[Payment]):
    account = serializers.CharField(source="tenant.account")
    invoice = serializers.CharField(source="invoice.name")

    class Meta:
        model = Payment
        fields = [
            *("id", "account", "invoice", "provider", "provider_reference", "entry", "undoes", "amount", "credited", "currency"),
            *("paid_at", "recorded_at"),
        ]


class AskedShape(serializers.Serializer[Any]):
    provider = serializers.CharField()
    amount = serializers.IntegerField(help_text=f"What is open. {MINOR}")
    currency = serializers.CharField()
    reference = serializers.CharField(allow_blank=True, help_text="What the payer writes.")
    account = serializers.CharField(allow_blank=True, help_text="Of a transfer: where it goes.")
    url = serializers.CharField(allow_blank=True, help_text="Of a card payment: the page where it is done.")
    expires_at = serializers.DateTimeField(allow_null=True)


class OverdueShape(ModelShape[DunningCase]):
    account = serializers.CharField(source="tenant.account")
    invoice = serializers.CharField(source="invoice.name")

    held_until = serializers.SerializerMethodField()

    class Meta:
        model = DunningCase
        fields = ("account", "stage", "invoice", "opened_at", "changed_at", "held_until")

    @extend_schema_field(serializers.DateTimeField(allow_null=True, help_text="Not dunned further until then."))
    def get_held_until(self, row: DunningCase) -> str | None:
        held = getattr(row.tenant, "dunning_hold", None)
        return held.until.isoformat() if held else None


@example({"until": "2026-08-15T00:00:00Z", "reason": "pays in parts, as agreed"})
class NewHold(Fields):
    until = serializers.DateTimeField()
    reason = serializers.CharField(max_length=300, help_text="Why; it stands in the audit.")


class HoldShape(ModelShape[DunningHold]):
    account = serializers.CharField(source="tenant.account")

    class Meta:
        model = DunningHold
        fields = ("account", "until", "reason", "held_at", "held_by")


class NoticeFilters(Fields):
    state = serializers.ChoiceField(choices=Notice.State.choices, required=False)


class NoticeShape(ModelShape[Notice]):
    account = serializers.CharField(source="tenant.account")
    invoice = serializers.CharField(source="invoice.name", allow_null=True, default=None)

    class Meta:
        model = Notice
        fields = ["id", "account", "kind", "event", "invoice", "state", "made_at", "next_at", "tries", "problem", "recipient", "settled_at"]
