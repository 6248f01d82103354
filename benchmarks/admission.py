"""Bootstrap by every way in against its floor, a bare view that executes the very same statements, on the same server in the same run.

Way and floor are measured in many short turns, so that a machine that slows down slows both; the ratio is the median of the turns' ratios. Bootstraps with a
credential are measured twice: bursts that the stock of keys hashed in idle time covers, and load that has used it up. With a headscale binary on
PATH, what the stock API of a real server mints a second is measured beside it.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import callers, fleet, stock
from benchmarks.callers import Request, load
from benchmarks.fleet import Fact
from benchmarks.report import Report, arguments
from benchmarks.services import ROOT, Services, services
from placement.headscale.fleet.binary import free_ports

TENANTS = 50
WORKERS, THREADS = 2, 4
PACED = 10.0  # seconds at 80 % of the load


def main() -> None:
    options = arguments(__doc__ or "")
    report = Report(options.json)
    turns, seconds = (3, 1.0) if options.quick else (21, 1.5)
    with services() as made:
        facts = fleet.build(made, tenants=TENANTS, quota=1_000_000)
        ways: dict[str, Callable[[Fact], Request]] = {
            "bearer": callers.bearer,
            "signed": callers.signer(facts, devices=2_000),
            "anonymous": callers.anonymous,
        }
        for way in ways:
            report.add(f"{way}: statements of one bootstrap", count_statements(made, facts[0], way), "count", at_most=4)
        with serve(made, facts) as (process, url):
            for way, ask in ways.items():
                measure(report, url, facts, way, ask, turns=turns, seconds=seconds)
            beside_the_stock_api(report, url, facts, turns=3 if options.quick else 9)
            for number, pid in enumerate(workers(process.pid), 1):
                report.add(f"memory of web worker {number}, after all that", megabytes(pid), "MB")
            for pid in set(children(process.pid)) - set(workers(process.pid)):
                report.add("memory of the process that hashes keys ahead", megabytes(pid), "MB")
    report.close()


def measure(report: Report, url: str, facts: list[Fact], way: str, ask: Callable[[Fact], Request], *, turns: int, seconds: float) -> None:
    bare = callers.floor(way)
    warm = len(load(url, facts, bare, 1.0))
    load(url, facts, ask, 1.0)
    burst = int(1.5 * warm * seconds) if way != "anonymous" else 0
    ours, floor = [], []
    for _ in range(turns):
        fill(url, burst)
        ours.append(len(load(url, facts, ask, seconds)))
        floor.append(len(load(url, facts, bare, seconds)))
    rate = statistics.median(ours) / seconds
    report.add(f"{way}: floor, the same statements alone", statistics.median(floor) / seconds, "per second")
    report.add(f"{way}: bootstraps", rate, "per second")
    report.add(f"{way}: over the floor", median_ratio(ours, floor), "ratio", at_least=0.7)
    fill(url, int(PACED * rate) if burst else 0)
    paced = sorted(load(url, facts, ask, PACED, clients=16, rate=0.8 * rate))
    report.add(f"{way}: p50 at 80 % load", 1000 * paced[len(paced) // 2], "ms")
    report.add(f"{way}: p99 at 80 % load", 1000 * paced[int(len(paced) * 0.99)], "ms")
    if way != "anonymous":
        without_stock(report, url, facts, way, ask, turns=turns, seconds=seconds)


def without_stock(
    report: Report, url: str, facts: list[Fact], way: str, ask: Callable[[Fact], Request], *, turns: int, seconds: float
) -> None:
    """Under load that leaves no idle time and has used the stock up, each bootstrap hashes its own key, which no door to this server could go without:
    the floor that it is held to hashes one too."""
    bare, hashing = callers.floor(way), callers.floor(f"{way}-hash")
    ours, floor, floor_hashing = [], [], []
    for _ in range(turns):
        empty(url)
        ours.append(len(load(url, facts, ask, seconds)))
        floor.append(len(load(url, facts, bare, seconds)))
        floor_hashing.append(len(load(url, facts, hashing, seconds)))
    report.add(f"{way}, stock used up: bootstraps", statistics.median(ours) / seconds, "per second")
    report.add(f"{way}, stock used up: over the floor, which hashes nothing", median_ratio(ours, floor), "ratio")
    report.add(f"{way}, stock used up: over a floor that hashes as well", median_ratio(ours, floor_hashing), "ratio", at_least=0.7)


def beside_the_stock_api(report: Report, url: str, facts: list[Fact], *, turns: int) -> None:
    """In turns as well: how many keys a real headscale mints by its own API, and how many devices are admitted."""
    ours, theirs = [], []
    with stock.minting() as mint:
        if mint is None:
            return
        for _ in range(turns):
            fill(url, 1_000)
            ours.append(len(load(url, facts, callers.bearer, 1.5)) / 1.5)
            theirs.append(mint(3.0))
    report.add("stock API of a real headscale: keys minted", statistics.median(theirs), "per second")
    report.add("bearer: bootstraps over the stock API's mint rate", median_ratio(ours, theirs), "ratio", at_least=20)


def fill(url: str, keys: int) -> None:
    """Leave the machine alone until so many keys are hashed ahead, or as many as there is room for."""
    before = -1
    while before < (now := stocked(url, "GET")) < keys:
        before = now
        time.sleep(1.0)


def empty(url: str) -> None:
    stocked(url, "POST")


def stocked(url: str, method: str) -> int:
    request = urllib.request.Request(f"{url}/floor-stock", method=method)  # noqa: S310 - our own server
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return int(json.load(answer)["keys"])


def median_ratio(ours: Sequence[float], floor: Sequence[float]) -> float:
    """Of the turns' ratios."""
    return statistics.median(one / other for one, other in zip(ours, floor, strict=True))


class serve:  # noqa: N801 - reads as a verb in `with serve(...)`
    """gunicorn with two workers of four threads, the floor's view added."""

    def __init__(self, made: Services, facts: list[Fact]) -> None:
        self.port = free_ports(1)[0]
        command = [sys.executable, "-m", "gunicorn", "benchmarks.floor:application", "--bind", f"127.0.0.1:{self.port}"]
        command += ["--workers", str(WORKERS), "--worker-class", "gthread", "--threads", str(THREADS)]
        command += ["--no-control-socket", "--log-level", "error", "--config", "python:acs.gunicorn"]
        told = json.dumps([fact.as_dict() for fact in facts])
        environment = {**made.environment("web"), "FLOOR_FACTS": told, "ACS_WEB_THREADS": str(THREADS)}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=sys.stderr)

    def __enter__(self) -> tuple[subprocess.Popen[bytes], str]:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/floor/anonymous")
                if connection.getresponse().status == 200:
                    return self.process, f"http://127.0.0.1:{self.port}"
            except OSError:
                time.sleep(0.1)
        raise SystemExit("gunicorn did not come up")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers(pid: int) -> list[int]:
    """Of gunicorn's children those that serve."""
    return [child for child in children(pid) if b"hashing" not in Path(f"/proc/{child}/cmdline").read_bytes()]


def megabytes(pid: int) -> float:
    """Proportional set size: what the workers share is counted once."""
    facts = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(facts.split("Pss:")[1].split()[0]) / 1024


COUNT = """
import json, os, sys
import django; django.setup()
from benchmarks import callers
from benchmarks.fleet import Fact
from django.test import Client
from django.db import connection
from django.test.utils import CaptureQueriesContext
fact, way = Fact(**json.loads(sys.argv[1])), sys.argv[2]
make = {"bearer": callers.bearer, "signed": callers.signer([fact], 9), "anonymous": callers.anonymous}[way]
def ask():
    path, body, headers = make(fact)
    return Client().post(path, body, content_type="application/json", headers={**headers, "Host": "localhost"})
assert ask().status_code == 200, ask().content
with CaptureQueriesContext(connection) as seen:
    assert ask().status_code == 200
print(json.dumps(len([query["sql"] for query in seen if query["sql"] not in ("BEGIN", "COMMIT")])))
"""


def count_statements(made: Services, fact: Fact, way: str) -> int:
    """Counted, not believed: those of a second request, without BEGIN and COMMIT."""
    environment = {**made.environment("web"), "DJANGO_SETTINGS_MODULE": "acs.settings"}
    words = [sys.executable, "-c", COUNT, json.dumps(fact.as_dict()), way]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return int(json.loads(done.stdout.strip().splitlines()[-1]))


if __name__ == "__main__":
    main()
