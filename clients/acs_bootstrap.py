#!/usr/bin/env python3
"""Bootstrap one device of an enrolment group: signs, asks, prints the answer as JSON. Standard library only. See SIGNING.md.

    ACS_DEVICE_KEY=... acs_bootstrap.py https://acs.example.com GROUP_ID REGISTRATION_ID [HOSTNAME]

Exit status 0: admitted; 75: come back after the printed number of seconds; 1: refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import sys
import time
import urllib.error
import urllib.request

SCHEME, PATH = "ACS-HMAC-SHA256", "/api/v1/bootstrap"


def authorization(device_key: str, group: str, registration_id: str, body: bytes, *, timestamp: str, nonce: str, path: str = PATH) -> str:
    lines = [SCHEME, "POST", path, timestamp, nonce, group, registration_id.lower(), hashlib.sha256(body).hexdigest()]
    signature = base64.b64encode(hmac.new(device_key.encode(), "\n".join(lines).encode(), hashlib.sha256).digest()).decode()
    return f"{SCHEME} group={group},registration_id={registration_id},timestamp={timestamp},nonce={nonce},signature={signature}"


def main() -> int:
    url, group, registration_id, *rest = sys.argv[1:]
    body = json.dumps({"hostname": rest[0]} if rest else {}).encode()
    signed = authorization(
        os.environ["ACS_DEVICE_KEY"], group, registration_id, body, timestamp=str(int(time.time())), nonce=secrets.token_urlsafe(18)
    )
    request = urllib.request.Request(url.rstrip("/") + PATH, body, {"Authorization": signed, "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, told, wait = answer.status, answer.read().decode(), answer.headers.get("Retry-After")
    except urllib.error.HTTPError as refusal:
        status, told, wait = refusal.code, refusal.read().decode(), refusal.headers.get("Retry-After")
    print(told)
    if status == 200:
        return 0
    if wait:
        print(f"again in {wait} s", file=sys.stderr)
        return 75
    return 1


if __name__ == "__main__":
    sys.exit(main())
