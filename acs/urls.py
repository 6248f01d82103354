"""Every address of the service."""

from django.contrib import admin
from django.urls import path

from acs.api.bootstrap import BootstrapView

urlpatterns = [
    path("api/v1/bootstrap", BootstrapView.as_view()),
    path("admin/", admin.site.urls),
]
