"""The rows of what was used."""

from billing.models.metering import Correction, Coverage, DeviceDay, DirtyDay, Meter, OpenSession, Session, UsageHour

__all__ = ["Correction", "Coverage", "DeviceDay", "DirtyDay", "Meter", "OpenSession", "Session", "UsageHour"]
