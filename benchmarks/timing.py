"""With a wrong credential, accounts that are active, suspended, closed and unknown cannot be told apart by how long the answer takes.

The kinds are asked in turn, in random order, so that whatever slows the machine slows all alike. Two kinds are compared by the chance that an answer of the
one takes longer than an answer of the other (the area under the ROC curve): 0.5 is a coin, and the same kind against itself shows how far a coin strays.
"""

from __future__ import annotations

import http.client
import json
import random
import secrets
import statistics
import time
import urllib.parse
from collections.abc import Callable
from itertools import combinations

import psycopg

from benchmarks import fleet
from benchmarks.admission import serve
from benchmarks.report import Report, arguments
from benchmarks.services import Services, services

JSON = {"Content-Type": "application/json"}
PATH = "/api/v1/bootstrap"
STATES = ("active", "suspended", "closed", "unknown")


def main() -> None:
    options = arguments(__doc__ or "")
    report = Report(options.json)
    rounds = 300 if options.quick else 2_500
    with services() as made:
        facts = fleet.build(made, tenants=4, quota=1_000)
        accounts = prepare(made, facts)
        with serve(made, facts) as (_process, url):
            taken, bodies = ask_all(url, kinds_of(accounts, facts), rounds)
    for kind, seconds in taken.items():
        ordered = sorted(seconds)
        report.add(f"{kind}: p50", 1000 * statistics.median(ordered), "ms")
        report.add(f"{kind}: p90", 1000 * ordered[int(len(ordered) * 0.9)], "ms")
        report.add(f"{kind}: p99", 1000 * ordered[int(len(ordered) * 0.99)], "ms")
    for way in ("bearer", "signed"):
        of_way = {kind: seconds for kind, seconds in taken.items() if kind.startswith(way)}
        report.add(f"{way}: different answers by content", len({bodies[kind] for kind in of_way}) - 1, "count", at_most=0)
        strays = max(abs(chance(*halves(seconds)) - 0.5) for seconds in of_way.values())
        apart = max(abs(chance(of_way[one], of_way[other]) - 0.5) for one, other in combinations(of_way, 2))
        report.add(f"{way}: a kind against itself, furthest from a coin", strays, "of 0.5")
        report.add(f"{way}: two kinds, furthest from a coin", apart, "of 0.5", at_most=max(0.03, 2 * strays))
    report.close()


def prepare(made: Services, facts: list[fleet.Fact]) -> dict[str, str]:
    """An account in each state; the fourth tenant stays whole and lends the group that signs."""
    accounts = {state: fact.account for state, fact in zip(STATES, facts[:3], strict=False)} | {"unknown": "nobody-here"}
    made.manage("tenant", "suspend", accounts["suspended"])
    made.manage("tenant", "close", accounts["closed"])
    with psycopg.connect(made.postgres.url("acs", "acs_owner")) as connection:
        connection.execute("analyze")
    return accounts


def kinds_of(accounts: dict[str, str], facts: list[fleet.Fact]) -> dict[str, Callable[[], tuple[bytes, dict[str, str]]]]:
    """What each kind of request sends, made anew each time."""
    groups = {state: fact.group_id for state, fact in zip(STATES, facts[:3], strict=False)} | {
        "unknown": "00000000-0000-4000-8000-000000000000"
    }

    def bearer(state: str) -> tuple[bytes, dict[str, str]]:
        return json.dumps({"account": accounts[state]}).encode(), {"Authorization": f"Bearer acs-enrol-{secrets.token_urlsafe(32)}"}

    def signed(state: str) -> tuple[bytes, dict[str, str]]:
        fields = {
            "group": groups[state],
            "registration_id": secrets.token_hex(8),
            "timestamp": str(int(time.time())),
            "nonce": secrets.token_hex(16),
            "signature": "A" * 43 + "=",
        }
        return b"{}", {"Authorization": "ACS-HMAC-SHA256 " + ",".join(f"{name}={value}" for name, value in fields.items())}

    made: dict[str, Callable[[], tuple[bytes, dict[str, str]]]] = {}
    for way in (bearer, signed):
        for state in STATES:
            made[f"{way.__name__}, {state} account"] = lambda way=way, state=state: way(state)  # type: ignore[misc]
    return made


def ask_all(
    url: str, kinds: dict[str, Callable[[], tuple[bytes, dict[str, str]]]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, bytes]]:
    """One caller, one connection: nothing but the service's own time differs."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=30)
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    bodies: dict[str, bytes] = {}
    for number in range(rounds + 20):
        for kind in random.sample(list(kinds), len(kinds)):
            body, headers = kinds[kind]()
            begun = time.perf_counter()
            connection.request("POST", PATH, body, JSON | headers)
            answer = connection.getresponse()
            told = answer.read()
            seconds = time.perf_counter() - begun
            if answer.status != 401:
                raise SystemExit(f"{kind}: {answer.status} {told[:200]!r}")
            if number >= 20:  # warm
                taken[kind].append(seconds)
            bodies[kind] = told
    return taken, bodies


def chance(ours: list[float], theirs: list[float]) -> float:
    """That one of ours takes longer than one of theirs (Mann-Whitney's U over the number of pairs)."""
    ranked = sorted([(seconds, True) for seconds in ours] + [(seconds, False) for seconds in theirs])
    ranks = sum(rank for rank, (_, mine) in enumerate(ranked, 1) if mine)
    return (ranks - len(ours) * (len(ours) + 1) / 2) / (len(ours) * len(theirs))


def halves(seconds: list[float]) -> tuple[list[float], list[float]]:
    """Every other one: of the same kind, over the same time."""
    return seconds[::2], seconds[1::2]


if __name__ == "__main__":
    main()
