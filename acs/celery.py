"""The task queue and the whole beat schedule. Tasks live beside what they call: acs/tasks.py names them all."""

import os

from celery import Celery
from celery.signals import setup_logging
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "acs.settings")
app = Celery("acs")
app.config_from_object("django.conf:settings", namespace="CELERY")


@setup_logging.connect
def keep_our_logs(**_: object) -> None:
    """Celery would replace the JSON logs of the settings by its own."""
    import logging.config

    logging.config.dictConfig(settings.LOGGING)
