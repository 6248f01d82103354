"""Compiling and pushing the policies of many tenants, and what their servers pay: on real headscale, the peer calculation of the form that the compiler
chose against the other form, in the same run."""

from __future__ import annotations

import ipaddress
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from benchmarks.report import Report, arguments
from benchmarks.services import ROOT

if TYPE_CHECKING:
    from placement.policies.facts import ClusterFact
    from tests.servers import Server

TENANTS = (10, 100, 1000)
PER_TENANT = 10  # devices
OWN_RULES = """{
  "groups": {"group:ops": ["till-0", "till-1"]},
  "tagOwners": {"tag:web": ["autogroup:admin"]},
  "acls": [
    {"action": "accept", "src": ["autogroup:member"], "dst": ["tag:web:80,443"]},
    {"action": "accept", "src": ["group:ops"], "dst": ["*:22"]},
    {"action": "accept", "src": ["tag:web"], "dst": ["tag:web:*"]}
  ]
}"""


def cluster_of(tenants: int, per_tenant: int, own: int) -> ClusterFact:
    """`own` of the tenants have rules of their own."""
    from placement.policies.facts import ClusterFact, DeviceFact, TenantFact
    from tenants.policies.document import NOTHING_WRITTEN
    from tenants.policies.reading import read

    written, facts, number = read(OWN_RULES), [], 0
    for tenant in range(tenants):
        devices = []
        for device in range(per_tenant):
            number += 1
            tags = (f"tag:t{tenant}--web",) if tenant < own and device == 2 else ()
            addresses = (ipaddress.ip_network(f"100.{64 + number // 65000}.{number // 250 % 256}.{number % 250 + 1}"),)
            devices.append(DeviceFact(f"d{number}", f"till-{device}-{tenant}", f"till-{device}", "", addresses, tags))
        facts.append(TenantFact(f"t{tenant}", written if tenant < own else NOTHING_WRITTEN, tuple(devices)))
    return ClusterFact("bench", tuple(facts))


def compiling(report: Report, quick: bool) -> None:
    from placement.policies.compiling import compile_cluster

    taken = {}
    for tenants in TENANTS:
        cluster = cluster_of(tenants, PER_TENANT, tenants // 5)
        runs = []
        for _ in range(2 if quick else 5):
            begun = time.perf_counter()
            compiled = compile_cluster(cluster)
            runs.append(time.perf_counter() - begun)
        taken[tenants] = min(runs)
        report.add(f"compile {tenants} tenants, a fifth with own rules", taken[tenants], "s")
        report.add(f"  its document ({compiled.form})", len(compiled.text) / 1024, "KiB")
    report.add("growth of compile time from 100 to 1,000 tenants, a tenfold", taken[1000] / taken[100], "times", at_most=20)


def pushing(report: Report) -> None:
    """On a real server with as many tenants, one device each: check and store."""
    from placement.policies.compiling import compile_cluster
    from tests.headscale_rows import write
    from tests.servers import run_headscale

    for tenants in TENANTS:
        with tempfile.TemporaryDirectory(prefix="acs-bench-") as name:
            folder = Path(name)
            with run_headscale(folder):
                pass
            cluster = cluster_of(tenants, 1, tenants // 5)
            write(folder, cluster)
            text = compile_cluster(cluster).text
            with run_headscale(folder) as server, server.admin(timeout=60) as admin:
                begun = time.perf_counter()
                admin.check_policy(text)
                checked = time.perf_counter()
                admin.put_policy(text)
                report.add(f"check {tenants} tenants' document on a real server", checked - begun, "s")
                report.add(f"store {tenants} tenants' document on a real server", time.perf_counter() - checked, "s")


def forms(report: Report, quick: bool) -> None:
    """Peer calculations with all devices of one server, both forms put in turns; and the cost model beside them."""
    from placement.policies.compiling import LITERAL_FORM, SELF_FORM, compile_cluster
    from tests.headscale_rows import write
    from tests.servers import run_headscale

    tenants, rounds = (30, 2) if quick else (50, 4)
    mixes = (0, 2, tenants // 2) if quick else (0, 1, 5, 25, 50)
    for own in mixes:
        cluster = cluster_of(tenants, PER_TENANT, own)
        with tempfile.TemporaryDirectory(prefix="acs-bench-") as name:
            folder = Path(name)
            with run_headscale(folder):
                pass
            write(folder, cluster)
            chosen = compile_cluster(cluster)
            other = compile_cluster(cluster, form=LITERAL_FORM if chosen.form == SELF_FORM else SELF_FORM)
            with run_headscale(folder) as server:
                mine, theirs = measured(server, [chosen.text, other.text], rounds)
        words = f"{tenants * PER_TENANT} devices, {own} of {tenants} tenants with own rules"
        report.add(f"{words}: {chosen.form} (chosen)", mine, "s")
        if chosen.text == other.text:
            continue  # nobody is left whom the forms would treat differently
        report.add(f"{words}: {other.form}", theirs, "s")
        report.add("  estimated by the compiler: chosen", chosen.seconds, "s")
        report.add("  chosen over the other, measured", mine / theirs, "times", at_most=1.1)


def measured(server: Server, documents: list[str], rounds: int) -> list[float]:
    """The median seconds of the peer calculations that each document causes: one as it is stored, and one for each rename of a device."""
    found: dict[str, list[float]] = {text: [] for text in documents}
    with server.admin(timeout=120) as admin:
        nodes = admin.nodes()
        for turn in range(rounds):
            for text in documents:
                admin.put_policy(text)
                for node in nodes[:3]:
                    before = calculations(server)
                    admin.rename(node.id, f"{node.name}-{turn}")
                    after = calculations(server)
                    found[text].append((after[0] - before[0]) / max(1, after[1] - before[1]))
    return [statistics.median(found[text]) for text in documents]


def calculations(server: Server) -> tuple[float, float]:
    """(seconds, number) of all peer calculations since the start."""
    text = httpx2.get(server.metrics_url, trust_env=False, timeout=10).text
    wanted = "headscale_nodestore_peers_calculation_duration_seconds_"
    values: dict[str, Any] = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith((wanted + "sum", wanted + "count")))
    return float(values[wanted + "sum"]), float(values[wanted + "count"])


def main() -> None:
    options = arguments(__doc__ or "")
    os.chdir(ROOT)
    report = Report(options.json)
    compiling(report, options.quick)
    if shutil.which("headscale") is None:
        raise SystemExit("headscale is not on PATH: what its servers pay is not measured")
    if not options.quick:
        pushing(report)
    forms(report, options.quick)
    report.close()


if __name__ == "__main__":
    main()
