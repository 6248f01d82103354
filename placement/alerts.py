"""temporary"""

from django.db.models import F
from placement.models import Alert


def raise_(kind, subject, *, facts, now):
    if Alert.objects.filter(kind=kind, subject=subject, closed_at=None).update(times=F("times") + 1, last_at=now, facts=facts) == 0:
        Alert.objects.create(kind=kind, subject=subject, opened_at=now, last_at=now, facts=facts)


def over(kind, subject, *, now):
    Alert.objects.filter(kind=kind, subject=subject, closed_at=None).update(closed_at=now)
