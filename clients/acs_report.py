#!/usr/bin/env python3
"""Report what stands between this device and its network, for those who diagnose it. Standard library only, beside acs_bootstrap.py.

    ACS_DEVICE_KEY=... acs_report.py https://acs.example.com GROUP_ID REGISTRATION_ID LOGIN_SERVER
    ACS_ENROLMENT_KEY=... acs_report.py https://acs.example.com - REGISTRATION_ID LOGIN_SERVER

Tells whether the login server's name resolves, its port opens, its certificate is trusted, and how far the clock is off, with what `tailscale netcheck`
says where it is installed. Prints what it sends. Exit status 0: reported; 1: refused, or not reached.
"""

from __future__ import annotations

import email.utils
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from acs_bootstrap import authorization

PATH = "/api/v1/bootstrap/report"
PATIENCE = 10  # seconds for each probe


def probe(login_server: str) -> dict[str, object]:
    """`ok`, or what went wrong, for each step towards the server; steps behind a failed one are not tried."""
    address = urllib.parse.urlsplit(login_server)
    port = address.port or (443 if address.scheme == "https" else 80)
    told: dict[str, object] = {}
    try:
        socket.getaddrinfo(address.hostname, port)
        told["dns"] = "ok"
    except OSError as error:
        return {"dns": str(error)}
    try:
        connection = socket.create_connection((address.hostname, port), PATIENCE)
        told["tcp"] = "ok"
    except OSError as error:
        return {**told, "tcp": str(error)}
    with connection:
        if address.scheme == "https":
            try:
                with ssl.create_default_context().wrap_socket(connection, server_hostname=address.hostname):
                    told["tls"] = "ok"
            except (OSError, ssl.SSLError) as error:
                told["tls"] = str(error)
    return told


def netcheck() -> dict[str, object] | None:
    tailscale = shutil.which("tailscale")
    if tailscale is None:
        return None
    try:
        done = subprocess.run([tailscale, "netcheck", "--format=json"], capture_output=True, timeout=60, check=True)
        told = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"tailscale netcheck: {error}", file=sys.stderr)
        return None
    return told if isinstance(told, dict) else None


def clock_off(acs: str) -> float | None:
    """Seconds by which this clock is ahead of the service's, by the Date of an answer that needs no credential."""
    try:
        with urllib.request.urlopen(acs + "/healthz", timeout=PATIENCE) as answer:
            date = answer.headers.get("Date")
    except urllib.error.HTTPError as answer:
        date = answer.headers.get("Date")
    except OSError:
        return None
    return time.time() - email.utils.parsedate_to_datetime(date).timestamp() if date else None


def main() -> int:
    url, group, registration_id, login_server = sys.argv[1:5]
    url, probes, checked = url.rstrip("/"), probe(login_server), netcheck()
    if (off := clock_off(url)) is not None:
        probes["clock_off"] = round(off, 1)
    body = json.dumps({"registration_id": registration_id, "probes": probes, **({"netcheck": checked} if checked else {})}).encode()
    print(body.decode())
    if group == "-":
        proof = "Bearer " + os.environ["ACS_ENROLMENT_KEY"]
    else:
        at = str(int(time.time() - (off or 0)))  # signed by the service's clock: a wrong one of ours is what is to be told
        proof = authorization(
            os.environ["ACS_DEVICE_KEY"], group, registration_id, body, timestamp=at, nonce=secrets.token_urlsafe(18), path=PATH
        )
    request = urllib.request.Request(url + PATH, body, {"Authorization": proof, "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30):
            return 0
    except urllib.error.HTTPError as refusal:
        print(refusal.read().decode(), file=sys.stderr)
    except OSError as error:
        print(f"{url}: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
