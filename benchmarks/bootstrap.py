"""Bootstrap with a key against the floor: a bare Django view that executes the same number of SQL statements, on the same server, in the same run.

The two are measured in turns, so that a machine that slows down slows both; the ratio is the median of the turns' ratios.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import Report, arguments
from benchmarks.services import ROOT, Services, add_cluster, sample_secret, services
from placement.headscale.fleet.binary import free_ports

CLIENTS = 8
Body = Callable[[], bytes]


def main() -> None:
    options = arguments(__doc__ or "")
    report = Report(options.json)
    turns, seconds = (3, 3.0) if options.quick else (7, 6.0)
    with services() as made:
        add_cluster(made)
        secret = sample_secret(made)
        statements = count_statements(made, secret)
        report.add("statements of one bootstrap on the fleet path", statements, "count", at_most=4)
        with serve(made, statements) as (process, url):
            del process
            headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
            load(url, "/api/v1/bootstrap", headers, 1.0)
            load(url, "/floor", headers, 1.0)
            ours, floor = [], []
            for _ in range(turns):
                floor.append(load(url, "/floor", headers, seconds))
                ours.append(load(url, "/api/v1/bootstrap", headers, seconds))
    for name, runs in (("floor: bare view, same statements", floor), ("bootstrap with key", ours)):
        latencies = sorted(second for run in runs for second in run)
        report.add(f"{name}: requests", statistics.median(len(run) / seconds for run in runs), "per second")
        report.add(f"{name}: p50", 1000 * latencies[len(latencies) // 2], "ms")
        report.add(f"{name}: p99", 1000 * latencies[int(len(latencies) * 0.99)], "ms")
    ratio = statistics.median(len(one) / len(other) for one, other in zip(ours, floor, strict=True))
    report.add("bootstrap's requests per second over the floor's", ratio, "ratio", at_least=0.6)
    report.close()


class serve:  # noqa: N801 - reads as a verb in `with serve(...)`
    """gunicorn with two workers of four threads, the floor's view added."""

    def __init__(self, made: Services, statements: int) -> None:
        self.port = free_ports(1)[0]
        command = [sys.executable, "-m", "gunicorn", "benchmarks.floor:application", "--bind", f"127.0.0.1:{self.port}", "--workers", "2"]
        command += ["--worker-class", "gthread", "--threads", "4", "--no-control-socket", "--log-level", "error"]
        environment = {**made.environment("web"), "FLOOR_STATEMENTS": str(statements), "ACS_WEB_THREADS": "4"}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=sys.stderr)

    def __enter__(self) -> tuple[subprocess.Popen[bytes], str]:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/floor")
                if connection.getresponse().status == 200:
                    return self.process, f"http://127.0.0.1:{self.port}"
            except OSError:
                time.sleep(0.1)
        raise SystemExit("gunicorn did not come up")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)


def load(url: str, where: str, headers: dict[str, str], seconds: float) -> list[float]:
    """Requests of CLIENTS connections for so long; the latency of each."""
    deadline, latencies, wrong = time.monotonic() + seconds, [], []

    def client() -> None:
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=30)
        mine = []
        while time.monotonic() < deadline:
            begun = time.perf_counter()
            connection.request("POST", where, b"{}", headers)
            answer = connection.getresponse()
            body = answer.read()
            mine.append(time.perf_counter() - begun)
            if answer.status != 200:
                wrong.append((answer.status, body[:200]))
                return
        latencies.extend(mine)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise SystemExit(f"{where} answered {wrong[0]}")
    return latencies


COUNT = """
import json, os, sys
from django.test import Client
from django.db import connection
from django.test.utils import CaptureQueriesContext
ask = lambda: Client().post("/api/v1/bootstrap", b"{}", content_type="application/json", headers={"Authorization": "Bearer " + sys.argv[1], "Host": "localhost"})
assert ask().status_code == 200, ask().content
with CaptureQueriesContext(connection) as seen:
    assert ask().status_code == 200
statements = [query["sql"] for query in seen if query["sql"] not in ("BEGIN", "COMMIT")]
print(json.dumps(len(statements)))
"""


def count_statements(made: Services, secret: str) -> int:
    """Counted, not believed: those of one request after the tenant is placed, without BEGIN and COMMIT."""
    program = "import django; django.setup()\n" + COUNT
    environment = {**made.environment("web"), "DJANGO_SETTINGS_MODULE": "acs.settings"}
    done = subprocess.run(
        [sys.executable, "-c", program, secret], cwd=Path(ROOT), env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return int(json.loads(done.stdout.strip().splitlines()[-1]))


if __name__ == "__main__":
    main()
