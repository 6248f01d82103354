"""What can go wrong in metering, in its own words."""

from __future__ import annotations

from datetime import date, datetime

from django.utils.translation import gettext as _


class MeteringError(Exception):
    """The base of this page."""


class EvidenceGone(MeteringError):
    """The sessions of that time are not kept any more: it cannot be counted again, or in parts of days."""

    def __init__(self, horizon: date) -> None:
        super().__init__(_("sessions before %(day)s are not kept any more") % {"day": horizon.isoformat()})


class SumsGone(EvidenceGone):
    """Not even the sums of those days are kept any more: nothing that is said of them would be true."""

    def __init__(self, horizon: date) -> None:
        MeteringError.__init__(self, _("what was used before %(day)s is not known any more") % {"day": horizon.isoformat()})


class WrongRange(MeteringError):
    """A range of time that ends before it begins, or lies where it must not."""

    def __init__(self, since: datetime, until: datetime) -> None:
        told = {"since": since.isoformat(timespec="seconds"), "until": until.isoformat(timespec="seconds")}
        super().__init__(_("from %(since)s to %(until)s is no range of time that is over") % told)


class TakenBack(MeteringError):
    """Once is enough."""

    def __init__(self) -> None:
        super().__init__(_("the correction was taken back already"))


class NoReason(MeteringError):
    """A correction says why."""

    def __init__(self) -> None:
        super().__init__(_("a correction needs a reason"))
