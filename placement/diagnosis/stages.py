"""The timeline of a device, and the stage at which it stands or stalls.

asked -> granted -> key shown -> key redeemed -> first online -> peers visible
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from placement.diagnosis.facts import DeviceFacts, GrantFacts, Known, RefusalFacts

ASKED, GRANTED, SHOWN, REDEEMED, ONLINE, PEERS = "asked", "granted", "shown", "redeemed", "online", "peers"
STAGES = (ASKED, GRANTED, SHOWN, REDEEMED, ONLINE, PEERS)
PATIENCE = timedelta(seconds=60)  # a client needs seconds for each stage; a minute without it is a stall
PATIENCE_ONLINE = timedelta(seconds=120)  # polls tell who is online, one in half a minute


@dataclass(frozen=True)
class Step:
    """One thing that happened. `outcome`: done, or why it was the end of that attempt: refused, expired, released, gone."""

    at: datetime
    stage: str
    outcome: str = "done"
    code: str = ""
    detail: str = ""
    times: int = 1


@dataclass(frozen=True)
class Standing:
    """Where the device is: the first stage that is not reached, since when, and whether that is longer than it should take.

    `stage` is empty when every stage is reached, or when nobody has heard of the device.
    """

    stage: str
    since: datetime | None
    stalled: bool
    code: str = ""


def timeline(known: Known) -> list[Step]:
    """Everything that happened, oldest first."""
    steps = [
        *(_refused(refusal) for refusal in known.refusals),
        *(step for grant in known.grants for step in _granted(grant)),
        *(step for device in known.devices for step in _joined(device)),
    ]
    return sorted(steps, key=lambda step: (step.at, STAGES.index(step.stage)))


def _refused(refusal: RefusalFacts) -> Step:
    return Step(refusal.last_at, ASKED, "refused", refusal.code, refusal.reason, refusal.times)


def _granted(grant: GrantFacts) -> Iterator[Step]:
    yield Step(grant.created_at, ASKED, detail=grant.credential)
    yield Step(grant.created_at, GRANTED, detail=grant.cluster_id)
    if grant.issued_at is not None:
        yield Step(grant.issued_at, SHOWN)
    if grant.redeemed_at is not None:
        yield Step(grant.redeemed_at, REDEEMED)
    elif grant.state in ("expired", "released"):
        yield Step(grant.expires_at, REDEEMED, grant.state)


def _joined(device: DeviceFacts) -> Iterator[Step]:
    if not device.granted:
        yield Step(device.joined_at, REDEEMED, detail=device.name, code=device.unexpected)
    if device.first_online_at is not None:
        yield Step(device.first_online_at, ONLINE, detail=device.name)
    if device.gone_at is not None:
        yield Step(device.gone_at, ONLINE, "gone", detail=device.name)


def standing(known: Known, *, now: datetime) -> Standing:
    """Judged by the latest attempt; a device that is there counts for more than a later refusal of another key."""
    device = next((device for device in known.devices if device.gone_at is None), None)
    if device is not None:
        return _of_device(device, now)
    grant = max(known.grants, key=lambda grant: grant.created_at, default=None)
    refusal = max(known.refusals, key=lambda refusal: refusal.last_at, default=None)
    if refusal is not None and (grant is None or refusal.last_at > grant.created_at):
        return Standing(ASKED, refusal.first_at, stalled=True, code=refusal.code)
    if grant is None:
        return Standing(ASKED, None, stalled=False)
    return _of_grant(grant, now)


def _of_grant(grant: GrantFacts, now: datetime) -> Standing:
    if grant.state == "released":
        return Standing(SHOWN, grant.created_at, stalled=True)
    if grant.issued_at is None and grant.state not in ("redeemed", "expired"):
        waits = "queued" if grant.state == "queued" else ""
        return Standing(SHOWN, grant.created_at, stalled=bool(waits) or now - grant.created_at > PATIENCE, code=waits)
    if grant.redeemed_at is None:
        shown = grant.issued_at or grant.created_at
        late = grant.state == "expired" or grant.expires_at <= now
        return Standing(REDEEMED, shown, stalled=late or now - shown > PATIENCE, code="key-expired" if late else "")
    return Standing(ONLINE, grant.redeemed_at, stalled=now - grant.redeemed_at > PATIENCE_ONLINE)


def _of_device(device: DeviceFacts, now: datetime) -> Standing:
    if device.login_expires_at is not None and device.login_expires_at <= now:
        return Standing(ONLINE, device.login_expires_at, stalled=True, code="login-expired")
    if device.first_online_at is None and not device.online:
        return Standing(ONLINE, device.joined_at, stalled=now - device.joined_at > PATIENCE_ONLINE)
    if not device.online:
        return Standing(ONLINE, device.last_seen, stalled=True, code="went-offline")
    if device.peers == 0:
        code = "alone" if device.others == 0 else "tagged" if device.tagged else "policy"
        return Standing(PEERS, device.first_online_at, stalled=True, code=code)
    return Standing("", device.first_online_at, stalled=False)
