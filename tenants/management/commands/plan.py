"""`manage.py plan create|list`: what tenants may use."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tenants import plans
from tenants.management.verbs import VerbCommand
from tenants.models import Plan


class Command(VerbCommand):
    help = "Makes and lists plans."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="a new plan")
        create.add_argument("name")
        create.add_argument("--title", required=True)
        create.add_argument("--max-devices", type=int, required=True, metavar="DEVICES")
        create.add_argument(
            "--expected-devices", type=int, default=10, metavar="DEVICES", help="what a new tenant counts for when a cluster is chosen"
        )
        create.add_argument("--region", action="append", default=[], dest="regions", help="may be repeated; none means every region")
        create.add_argument("--default-region", default="")
        create.add_argument(
            "--service-class", default="standard", metavar="CLASS", help="its tenants live on clusters of this class; standard if left out"
        )
        create.add_argument("--strategy", default=Plan.Strategy.SHARED, choices=Plan.Strategy.values)
        verbs.add_parser("list", help="every plan, a line each")

    def do_create(self, *, name: str, **options: Any) -> None:
        told = ("title", "max_devices", "expected_devices", "regions", "default_region", "service_class", "strategy")
        wish = {field: options[field] for field in told}
        plans.create(name, **wish, **self.acted)
        self.stdout.write(f"{name}: {wish['max_devices']} devices")

    def do_list(self, **_: Any) -> None:
        for plan in Plan.objects.order_by("name"):
            regions = ", ".join(plan.regions) or "every region"
            self.stdout.write(f"{plan.name}  {plan.max_devices} devices  {plan.strategy}  {plan.service_class}  {regions}  {plan.title}")
