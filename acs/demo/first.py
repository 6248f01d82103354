"""The first device: one real bootstrap over HTTP, shown as it went over the wire, and the device that joins with its key."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import httpx2

from acs.demo.place import CannotRun, Place
from acs.demo.simulator import device

NAME = "demo-device"  # also its registration_id: however often the demonstration runs, it holds one slot
Say = Callable[[str], None]


def bootstrap(web: str, secret: str, say: Say) -> dict[str, Any]:
    """Ask as any device could. Raises: CannotRun when it is refused."""
    body = {"registration_id": NAME, "hostname": NAME, "os": "linux"}
    say(f"\nPOST {web}/api/v1/bootstrap\nAuthorization: Bearer {secret[:16]}…\n{json.dumps(body, indent=2)}\n")
    answer = httpx2.post(f"{web}/api/v1/bootstrap", json=body, headers=_bearer(secret), timeout=30, trust_env=False)
    document: dict[str, Any] = answer.json()
    say(f"HTTP {answer.status_code}\n{json.dumps(document, indent=2)}\n")
    if answer.status_code != 200:
        raise CannotRun(f"the bootstrap was refused: {document.get('code')}")
    return document


def join_simulated(place: Place, answer: dict[str, Any], say: Say) -> None:
    """The same machine at every run, as far as the simulated server can tell. Raises: CannotRun."""
    kept = place.kept("device.json")
    try:
        joined = device.join(answer["headscale_url"], answer["auth_key"], NAME, machine_key=kept.get("machine_key"))
    except (device.DeviceRefused, httpx2.HTTPError) as error:
        raise CannotRun(f"the simulated device could not join: {error}") from error
    place.keep("device.json", {"machine_key": joined.machine_key})
    say(f"A simulated device joined with that key: {joined.node['givenName']}, {', '.join(joined.node['ipAddresses'])}")


def join_real(socket: str, answer: dict[str, Any], say: Say) -> None:
    """A tailscaled of this machine, in userspace: it changes nothing of the machine's own network. Raises: CannotRun."""
    words = [f"--login-server={answer['headscale_url']}", f"--auth-key={answer['auth_key']}", f"--hostname={NAME}"]
    done = subprocess.run(
        ["tailscale", f"--socket={socket}", "up", *words, "--accept-dns=false", "--timeout=60s"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotRun(f"tailscale up failed: {done.stderr.strip()[-500:]}")
    told = subprocess.run(["tailscale", f"--socket={socket}", "ip"], capture_output=True, text=True, check=False).stdout
    say(f"A real device joined with that key: {NAME}, {', '.join(told.split())}")


def wait_until_known(web: str, account: str, token: str, say: Say, *, patience: float = 15.0) -> None:
    """ACS hears of a device by the server's own event. Raises: CannotRun when it does not."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        devices, grants = (_listed(web, f"tenants/{account}/{what}", token) for what in ("devices", "grants"))
        if any(NAME in one.values() for one in devices) and not any(
            one["state"] == "issued" and one["registration_id"] == NAME for one in grants
        ):
            say("ACS heard of it from the server's own event: the device is listed, its key is used up")
            return
        time.sleep(0.1)
    raise CannotRun(f"ACS did not hear of the device within {patience:.0f} s: is the consumer of events at work?")


def _listed(web: str, path: str, token: str) -> list[dict[str, Any]]:
    answer = httpx2.get(f"{web}/api/v1/{path}", headers=_bearer(token), timeout=10, trust_env=False)
    answer.raise_for_status()
    return list(answer.json()["results"])


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}
