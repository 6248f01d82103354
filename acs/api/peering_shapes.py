"""What the API reads and writes of peerings."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from acs.api.bodies import Fields
from acs.api.shapes import ModelShape, example
from placement.policies import peerings
from tenants.models import Peering, Tenant
from tenants.peerings import LONGEST_DESCRIPTION, MOST_WORDS

WORDS = "*, autogroup:member, autogroup:tagged, tags, groups, registration ids, names or addresses of devices."


def words(text: str, **options: Any) -> serializers.ListField:
    return serializers.ListField(
        child=serializers.CharField(max_length=130), min_length=1, max_length=MOST_WORDS, help_text=text, **options
    )


class PeeringShape(ModelShape[Peering]):
    """A peering as one of its tenants sees it (`context["tenant"]`), or an operator. Who acts for a tenant only that tenant sees."""

    host = serializers.CharField(source="host.account", help_text="The account that shares.")
    guest = serializers.CharField(source="guest.account", help_text="The account that it is offered to.")
    offered_by = serializers.SerializerMethodField(help_text="Empty for the guest.")
    accepted_by = serializers.SerializerMethodField(help_text="Empty for the host.")
    ended_by = serializers.CharField(help_text="tenant:ACCOUNT where one of the two ended it.")
    note = serializers.SerializerMethodField(help_text="What keeps it from holding, such as tenants on different clusters.")

    class Meta:
        model = Peering
        fields = [
            *["id", "host", "guest", "state", "description", "dst", "services", "src", "offered_at", "offered_by", "accepted_at"],
            *["accepted_by", "ended_at", "ended_by", "note"],
        ]
        read_only_fields = fields

    def get_offered_by(self, row: Peering) -> str:
        return row.offered_by if self._is_seen_by(row.host) else ""

    def get_accepted_by(self, row: Peering) -> str:
        return row.accepted_by if self._is_seen_by(row.guest) else ""

    def get_note(self, row: Peering) -> str:
        return peerings.note(row)

    def _is_seen_by(self, side: Tenant) -> bool:
        viewer: Tenant | None = self.context["tenant"]
        return viewer is None or viewer == side


class PeeringFilters(Fields):
    state = serializers.ChoiceField(choices=Peering.State.choices, required=False, help_text="Only peerings in this state.")


@example({"guest": "globex", "dst": ["tag:db"], "services": ["tcp:5432"], "description": "our orders database"})
class NewPeering(Fields):
    host = serializers.CharField(max_length=63, required=False, help_text="The account that shares. Needed with an operator's token alone.")
    guest = serializers.CharField(max_length=63, help_text="The account that it is offered to.")
    dst = words(f"What is shared, in the host's words: {WORDS}")
    services = serializers.ListField(
        child=serializers.CharField(max_length=200),
        min_length=1,
        max_length=MOST_WORDS,
        required=False,
        default=["*"],
        help_text="As in grants: *, 443, tcp:80-90, icmp:*.",
    )
    description = serializers.CharField(max_length=LONGEST_DESCRIPTION, required=False, default="", allow_blank=True)


@example({"src": ["group:shop", "till-7"]})
class AcceptedPeering(Fields):
    src = words(f"Who may use it, in the guest's words: {WORDS}")
