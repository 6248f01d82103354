"""Operators at their pages, in one process. Static files are not what is tried here: their names are enough."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client


@pytest.fixture(autouse=True)
def _plain_static_files(settings):
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}


@pytest.fixture
def operator(db) -> Any:
    from django.contrib.auth.models import User

    return User.objects.create_superuser("olga", password="only-in-tests-1")


@pytest.fixture
def office(operator) -> Client:
    client = Client()
    client.force_login(operator)
    return client


@pytest.fixture
def visitor_with(db):
    """A member of staff with these rights alone: `visitor_with("view_tenant")`."""

    from django.contrib.auth.models import Permission, User

    def log_in(*rights: str) -> Client:
        user = User.objects.create_user("vera", password="only-in-tests-2", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=rights))
        client = Client()
        client.force_login(user)
        return client

    return log_in
