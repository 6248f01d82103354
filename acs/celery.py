"""The task queue and the whole beat schedule. Tasks live beside what they call: acs/tasks.py and acs/billing_tasks.py name them all."""

import os

from celery import Celery
from celery.schedules import crontab
from celery.signals import setup_logging
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "acs.settings")
app = Celery("acs")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["acs"])
app.autodiscover_tasks(["acs"], related_name="billing_tasks")
app.conf.beat_schedule = {
    "poll": {"task": "acs.tasks.poll_all", "schedule": float(settings.POLL_SECONDS), "options": {"expires": settings.POLL_SECONDS}},
    "sweep": {"task": "acs.tasks.sweep_all", "schedule": 30.0, "options": {"expires": 30}},
    "refill": {"task": "acs.tasks.refill_all", "schedule": 5.0, "options": {"expires": 5}},
    "policies": {"task": "acs.tasks.push_policies", "schedule": 1.0, "options": {"expires": 1}},
    "policies again": {"task": "acs.tasks.look_at_policies", "schedule": 300.0, "options": {"expires": 300}},
    "audit": {"task": "acs.tasks.audit_all", "schedule": float(settings.AUDIT_SECONDS), "options": {"expires": settings.AUDIT_SECONDS}},
    "seal": {"task": "acs.tasks.seal_audit", "schedule": 10.0, "options": {"expires": 10}},
    "routes": {"task": "acs.tasks.sync_routes", "schedule": 10.0, "options": {"expires": 10}},
    "load": {"task": "acs.tasks.load_all", "schedule": float(settings.LOAD_SECONDS), "options": {"expires": settings.LOAD_SECONDS}},
    "unheard": {"task": "acs.tasks.watch_load", "schedule": 60.0, "options": {"expires": 60}},
    "hot": {"task": "acs.tasks.mark_hot", "schedule": 60.0, "options": {"expires": 60}},
    "reassess": {"task": "acs.tasks.reassess_all", "schedule": 3600.0, "options": {"expires": 3600}},
    "waiting": {"task": "acs.tasks.serve_waiting", "schedule": 10.0, "options": {"expires": 10}},
    "subscriptions": {"task": "acs.tasks.settle_subscriptions", "schedule": 60.0, "options": {"expires": 60}},
    "overdue": {"task": "acs.tasks.review_overdue", "schedule": 3600.0, "options": {"expires": 3600}},
    "closes": {"task": "acs.billing_tasks.close_months", "schedule": 3600.0, "options": {"expires": 3600}},
    "notices": {"task": "acs.billing_tasks.send_notices", "schedule": 30.0, "options": {"expires": 30}},
    "matches": {"task": "acs.tasks.match_payments", "schedule": 300.0, "options": {"expires": 300}},
    "cards": {"task": "acs.tasks.reconcile_cards", "schedule": crontab(hour=3, minute=17), "options": {"expires": 3600}},
    "books": {"task": "acs.billing_tasks.check_books", "schedule": crontab(hour=4, minute=11), "options": {"expires": 3600}},
    "quotas": {"task": "acs.tasks.warn_of_quotas", "schedule": 600.0, "options": {"expires": 600}},
    "spent": {"task": "acs.tasks.forget_spent", "schedule": 60.0, "options": {"expires": 60}},
    "issuers": {"task": "acs.tasks.refresh_issuers", "schedule": 60.0, "options": {"expires": 60}},
    "usage": {"task": "acs.tasks.roll_usage", "schedule": float(settings.USAGE_SECONDS), "options": {"expires": settings.USAGE_SECONDS}},
    "months": {"task": "acs.tasks.keep_months", "schedule": 3600.0, "options": {"expires": 3600}},
    "old rows": {"task": "acs.tasks.forget_old_rows", "schedule": 3600.0, "options": {"expires": 3600}},
}


@setup_logging.connect
def keep_our_logs(**_: object) -> None:
    """Celery would replace the JSON logs of the settings by its own."""
    import logging.config

    logging.config.dictConfig(settings.LOGGING)
