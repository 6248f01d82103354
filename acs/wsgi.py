"""What gunicorn loads: before it forks, so that no worker spends its first request on the views."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "acs.settings")
application = get_wsgi_application()
get_resolver().url_patterns  # noqa: B018 - read for what it imports
