"""Wiring that the lower apps leave open."""

from django.apps import AppConfig


class AcsConfig(AppConfig):
    name = "acs"

    def ready(self) -> None:
        from acs import celery, wiring  # noqa: F401 - the app that shared tasks belong to

        wiring.connect()
