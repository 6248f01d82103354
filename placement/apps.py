from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PlacementConfig(AppConfig):
    name = "placement"
    verbose_name = _("Fleet and placement")
    default_auto_field = "django.db.models.BigAutoField"
