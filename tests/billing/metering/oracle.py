"""What should be billed, by brute force: a set of single seconds for each device and cluster. No sessions, no SQL, no ranges."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.billing.metering.world import DAY

START = 86400 - 1500  # seconds of the day at which stories begin: they cross a midnight and two hours
LENGTH = 3600
RESTART_SPREAD = 170


def moment(second: int) -> datetime:
    return DAY + timedelta(seconds=second)


@dataclass(frozen=True)
class Told:
    """A poll as it was answered, in seconds since the day began. `nodes`: node -> (online, last seen)."""

    cluster: int
    at: int
    nodes: dict[int, tuple[bool, int | None]]
    started: int
    clock_off: int


@dataclass
class Story:
    """Two clusters, devices by (cluster, node), where their tenants live from when on, polls in the order of their delivery, what is corrected:
    of a cluster, a tenant or a device, from when to when."""

    tenants: dict[tuple[int, int], int]
    homes: dict[int, list[tuple[int, int]]]
    delivered: list[Told]
    corrections: list[tuple[str, Any, int, int]] = field(default_factory=list)


def story(seed: int, *, ordered: bool = False) -> Story:
    """Devices come and go, servers restart and forget, polls fail, come late and twice, tenants move."""
    chance = random.Random(seed)
    tenants = {(cluster, node): node % 2 for cluster in (0, 1) for node in (1, 2, 3)}
    homes = {tenant: [(START - 100, tenant)] for tenant in (0, 1)}
    for tenant, lived in homes.items():
        if chance.random() < 0.7:
            lived.append((START + chance.randrange(300, LENGTH - 300), 1 - tenant))
    delivered = [told for cluster in (0, 1) for told in _polls(chance, cluster)]
    delivered.sort(key=lambda told: (told.at, told.cluster))
    if not ordered:
        delivered = list(_muddled(chance, delivered))
    corrections = []
    for _ in range(chance.choice([0, 1, 2, 4])):
        since = START + chance.randrange(LENGTH - 400)
        scope = chance.choice(["cluster", "tenant", "device"])
        key = chance.choice(sorted(tenants)) if scope == "device" else chance.randrange(2)
        corrections.append((scope, key, since, since + chance.randrange(1, 400)))
    return Story(tenants, homes, delivered, corrections)


def _polls(chance: random.Random, cluster: int) -> Iterator[Told]:
    online: dict[int, bool] = dict.fromkeys((1, 2, 3), False)
    last: dict[int, int | None] = dict.fromkeys((1, 2, 3))
    second, started, skew = START + chance.randrange(40), 0, chance.choice([0, 0, 0, 5, 40, -40])
    while second < START + LENGTH:
        restarted = chance.random() < 0.08
        started += restarted
        for node, is_online in list(online.items()):
            if restarted and is_online and chance.random() < 0.7:
                online[node] = False  # forgotten by the server, there all the same
                last[node] = second - chance.choice([3000, 10, 20])
            elif chance.random() < 0.25:
                online[node] = not is_online
                last[node] = second - chance.choice([0, 5, 20, 45, 900, -3]) + skew
        shown = {node: (online[node], last[node]) for node in online if chance.random() > 0.03}
        yield Told(cluster, second, shown, started * 1000, skew)
        second += chance.choice([20, 30, 30, 31, 60, 90, 170, 180, 181, 400])


def _muddled(chance: random.Random, polls: list[Told]) -> Iterator[Told]:
    late: list[Told] = []
    for told in polls:
        if chance.random() < 0.1:
            late.append(told)
            continue
        yield told
        if chance.random() < 0.15:
            yield told
        if late and chance.random() < 0.5:
            yield late.pop()
    yield from late


def accepted(told: Story, cluster: int) -> list[Told]:
    """Those that were newer than all before them."""
    kept: list[Told] = []
    for poll in told.delivered:
        if poll.cluster == cluster and (not kept or poll.at > kept[-1].at):
            kept.append(poll)
    return kept


@dataclass
class Account:
    """What the oracle found: seconds by device, and who was seen at all."""

    seconds: dict[tuple[int, int], set[int]]
    seen: set[tuple[int, int]]
    story: Story

    def by(self, tenant: int, part: Any) -> dict[Any, int]:
        """Seconds of a tenant, counted by what `part(device, second)` says."""
        counted: dict[Any, int] = defaultdict(int)
        for device, moments in self.seconds.items():
            if self.story.tenants[device] == tenant:
                for second in moments:
                    counted[part(device, second)] += 1
        return dict(counted)

    def active(self, tenant: int) -> int:
        return sum(1 for device in self.seen if self.story.tenants[device] == tenant)


def reckon(told: Story) -> Account:
    account = Account({}, set(), told)
    for device in told.tenants:
        seconds, sights = _online(accepted(told, device[0]), device)
        counts = {second for second in seconds if _counts(told, device, second)}
        account.seconds[device] = counts
        if counts or any(_counts(told, device, second) for second in sights):
            account.seen.add(device)
    return account


def _counts(told: Story, device: tuple[int, int], second: int) -> bool:
    home = [cluster for since, cluster in told.homes[told.tenants[device]] if since <= second][-1:]
    named = {"cluster": device[0], "tenant": told.tenants[device], "device": device}
    excluded = any(named[scope] == key and since <= second < until for scope, key, since, until in told.corrections)
    return home == [device[0]] and not excluded


def _online(polls: list[Told], device: tuple[int, int]) -> tuple[set[int], set[int]]:
    """The seconds in which the device was online, and the polls at which a session of it began."""
    seconds: set[int] = set()
    sights: set[int] = set()
    sure: int | None = None  # online until here for certain; None: offline
    doubtful = False
    for before, poll in zip([None, *polls], polls, strict=False):
        online, last_seen = poll.nodes.get(device[1], (None, None))
        if before is None or poll.at - before.at > 180:
            sure, doubtful = None, False
        if sure is not None and before is not None:
            end = _end(before, poll, last_seen)
            if online:
                seconds |= set(range(sure, poll.at))
                sure, doubtful = poll.at, False
            elif online is None:
                seconds |= set() if doubtful else set(range(sure, before.at))
                sure, doubtful = None, False
            elif not doubtful and not _forgot(polls, before, poll):
                seconds |= set(range(sure, end))
                sure = None
            elif not doubtful:
                seconds |= set(range(sure, end))
                sure, doubtful = end, True
            elif poll.at - sure > 180:
                sure, doubtful = None, False
        if sure is None and online:
            sure = poll.at
            sights.add(poll.at)
    return seconds, sights


def _end(before: Told, poll: Told, last_seen: int | None) -> int:
    off = abs(poll.clock_off) > 30 or any(seen is not None and seen > poll.at + 60 for _, seen in poll.nodes.values())
    return min(last_seen, poll.at) if last_seen is not None and last_seen >= before.at and not off else before.at


def _forgot(polls: list[Told], before: Told, poll: Told) -> bool:
    """The server started anew. Or nobody is online where two or more were without doubt, which only a look at all devices can tell."""
    if poll.started != before.started:
        return True
    return not any(online for online, _ in poll.nodes.values()) and _sure_ones(polls, before) >= 2


def _sure_ones(polls: list[Told], before: Told) -> int:
    return sum(1 for online, _ in before.nodes.values() if online) if before in polls else 0
