"""Wiring that the lower apps leave open."""

from django.apps import AppConfig


class AcsConfig(AppConfig):
    name = "acs"

    def ready(self) -> None:
        from acs import wiring

        wiring.connect()
