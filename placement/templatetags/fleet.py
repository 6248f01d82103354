"""The columns of operators' lists, for templates."""

from django import template

from tenants import columns

register = template.Library()
register.simple_tag(columns.meter)
register.simple_tag(columns.badge)
register.filter("ago", columns.ago)
