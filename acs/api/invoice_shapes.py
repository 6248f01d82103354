"""What the API of invoices shows. Nothing is decided here."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from acs.api.bodies import Fields
from acs.api.metering import DayShape
from acs.api.shapes import ModelShape, example
from billing.models import Invoice, InvoiceLine

MINOR = "In minor units: whole cents, or whole yen."


@example({"reason": "the uplink was down on 11 June"})
class ReasonShape(Fields):
    reason = serializers.CharField(max_length=300, help_text="Why; it stands on a credit note, and in the audit.")


class PreviewFilters(Fields):
    month = serializers.RegexField(
        r"^[0-9]{4}-(0[1-9]|1[0-2])\Z", required=False, help_text="Such as 2026-06; the present one if left out."
    )


class DrillFilters(Fields):
    day = serializers.DateField(required=False, help_text="The devices of that day.")
    device = serializers.UUIDField(required=False, help_text="With `day`: the device's sessions.")
    session = serializers.DateTimeField(required=False, help_text="With `device`: the polls behind its session that began then.")


class ClusterShareShape(serializers.Serializer[Any]):
    cluster_id = serializers.CharField()
    seconds = serializers.IntegerField()
    amount = serializers.IntegerField(help_text=MINOR)


class TaxShape(serializers.Serializer[Any]):
    percent = serializers.CharField()
    inclusive = serializers.BooleanField(help_text="It was in the prices.")
    net = serializers.IntegerField(help_text=MINOR)
    amount = serializers.IntegerField(help_text=MINOR)


class InvoiceLineShape(ModelShape[InvoiceLine]):
    clusters = ClusterShareShape(many=True)
    corrects = serializers.IntegerField(
        source="corrects.position", default=None, allow_null=True, help_text="Which line of the invoice it corrects."
    )

    class Meta:
        model = InvoiceLine
        fields = [
            *("position", "what", "component", "kind", "charged", "plan", "version", "start", "end", "due", "quantity", "unit"),
            *("unit_price", "share", "amount", "percent", "inclusive", "cluster_id", "clusters", "evidence", "corrects", "before", "after"),
        ]


class InvoiceShape(ModelShape[Invoice]):
    number = serializers.CharField(source="name", help_text="Empty on a preview.")
    account = serializers.CharField(source="tenant.account")
    corrects = serializers.CharField(source="corrects.name", default=None, allow_null=True, help_text="Of a credit note: the invoice.")
    taxes = TaxShape(many=True)

    class Meta:
        model = Invoice
        fields = [
            *("number", "account", "kind", "state", "corrects", "reason", "period_start", "period_end", "currency", "net", "tax", "taxes"),
            *("gross", "spent", "payable", "carried", "set_off", "issued_at", "due_at", "settled_at"),
        ]


class WholeInvoiceShape(InvoiceShape):
    """With its lines and the frozen copies of whom it concerns and what was agreed."""

    lines = serializers.SerializerMethodField()
    seller = serializers.DictField(child=serializers.CharField())
    buyer = serializers.DictField(child=serializers.CharField())
    treatment = serializers.JSONField(help_text="How it is taxed.")
    terms = serializers.JSONField(help_text="The phases that it was rated by.")

    class Meta(InvoiceShape.Meta):
        fields = [*InvoiceShape.Meta.fields, "seller", "buyer", "treatment", "terms", "lines"]

    @extend_schema_field(InvoiceLineShape(many=True))
    def get_lines(self, invoice: Invoice) -> list[Any]:  # noqa: ARG002 - DRF's signature
        return list(InvoiceLineShape(self.context["lines"], many=True).data)


class CorrectedShape(serializers.Serializer[Any]):
    difference = serializers.IntegerField(help_text="Minor units, tax in it; more than nothing was billed too low, and is not charged.")
    credit_note = InvoiceShape(allow_null=True)


class DrilledDevice(serializers.Serializer[Any]):
    device_id = serializers.UUIDField()
    device_seconds = serializers.IntegerField(help_text="Of the day, as far as it lies in the line's time.")


class DrilledPoll(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    started_at = serializers.DateTimeField()
    outcome = serializers.CharField()
    nodes = serializers.IntegerField()
    online = serializers.IntegerField()


class DrilledSession(serializers.Serializer[Any]):
    cluster_id = serializers.CharField()
    node_id = serializers.IntegerField()
    began = serializers.DateTimeField()
    ended = serializers.DateTimeField()
    reason = serializers.CharField(allow_blank=True, help_text="Why it ended; empty: it had not.")
    told_at = serializers.DateTimeField(allow_null=True, help_text="The poll that told its end.")
    last_seen = serializers.DateTimeField(allow_null=True)
    billed = serializers.IntegerField(help_text="Seconds of it that count in the line's time.")


class DrillShape(serializers.Serializer[Any]):
    """One of the four, as `day`, `device` and `session` ask; `next` continues devices and polls."""

    days = DayShape(many=True, required=False)
    devices = DrilledDevice(many=True, required=False)
    sessions = DrilledSession(many=True, required=False)
    polls = DrilledPoll(many=True, required=False)
    next = serializers.CharField(required=False, allow_null=True, help_text="The next page.")


NOTHING_TO_BILL = _("There is nothing to bill in this month.")
