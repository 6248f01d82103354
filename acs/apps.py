"""Wiring that the lower apps leave open."""

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class AcsConfig(AppConfig):
    name = "acs"
    default = True

    def ready(self) -> None:
        from acs import celery, wiring  # noqa: F401 - the app that shared tasks belong to

        wiring.connect()


class OperatorsConfig(admin_apps.AdminConfig):
    """Django's admin with a site of our own."""

    default = False
    default_site = "acs.admin_site.OperatorSite"
