"""What is asked of a server before it may serve, and a refusal for each thing that is not so. Network only: nothing is written anywhere.

Every refusal's text is a sentence for the operator: what is wrong, and what to do.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from placement.errors import ClusterError, ClusterRefused, PlacementError
from placement.headscale import metrics
from placement.headscale.admin import Admin, Node, Policy
from placement.headscale.fleet.prefixes import ROOM_V4, ROOM_V6

OLDEST = (0, 29, 2)
RELEASE = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
FILE_MODE = ("update is disabled for modes other than", "reading policy from ")  # what 0.29 says about a policy that is a file
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class RegistrationRefused(PlacementError):
    """The cluster may not serve yet. The base of this page; its text names what to do."""


class NoAnswer(RegistrationRefused):
    """The server cannot be reached, or fell silent."""


class Unhealthy(RegistrationRefused):
    """The server does not reach its database."""


class UnsupportedVersion(RegistrationRefused):
    """The server is too old, tells no version, or another one than its fleet's."""


class OtherNoiseKey(RegistrationRefused):
    """The server's Noise key is not its fleet's, or not the one that its devices know."""


class AdminKeyRefused(RegistrationRefused):
    """The server does not accept the admin key."""


class UnusablePrefix(RegistrationRefused):
    """An address prefix is malformed, not one that clients accept, another cluster's too, or not the server's."""


class PolicyNotInDatabase(RegistrationRefused):
    """The server reads its policy from a file: ACS could not keep tenants apart on it."""


class ForeignPolicy(RegistrationRefused):
    """The server has a policy that ACS did not write."""


class PolicyRejected(RegistrationRefused):
    """The server does not compile the base policy."""


class MetricsUnreadable(RegistrationRefused):
    """The server's metrics cannot be read: its load would be unknown."""


def check_version(version: str, *, fleet_version: str = "") -> None:
    """0.29.2 or later, as releases are ordered: 0.29.2-rc.1 comes before 0.29.2, 0.30.0-beta.1 after it. A build that tells no
    version (`dev`) is refused, for nobody can say what it lacks. Servers of a fleet run the fleet's version.

    Raises: UnsupportedVersion.
    """
    found = RELEASE.fullmatch(version)
    if found is None:
        raise UnsupportedVersion(
            f"The server says that its version is {version!r}, which is no release: run a released headscale, or build a tagged checkout "
            "with `go build -buildvcs=true`."
        )
    numbers = (int(found[1]), int(found[2]), int(found[3]))
    if numbers < OLDEST or (numbers == OLDEST and found[4]):
        raise UnsupportedVersion(
            f"The server runs headscale {version}; below 0.29.2 tenants that share a server learn of each other. Upgrade it first."
        )
    if fleet_version and _core(version) != _core(fleet_version):
        raise UnsupportedVersion(
            f"The server runs headscale {version} and its fleet {fleet_version}: install the fleet's version, or upgrade the fleet with "
            "`manage.py fleet upgrade`."
        )


def _core(version: str) -> str:
    return version.removeprefix("v").partition("+")[0]


def check_prefixes(prefix_v4: str, prefix_v6: str, others: Iterable[tuple[str, str]]) -> None:
    """`others`: cluster_id and prefix of every other cluster. Raises: UnusablePrefix."""
    taken = list(others)
    for prefix, room in ((prefix_v4, ROOM_V4), (prefix_v6, ROOM_V6)):
        block = _network(prefix)
        if block.version != room.version or not block.subnet_of(room):  # type: ignore[arg-type]
            raise UnusablePrefix(f"{prefix} is not inside {room}, which is all that clients accept: give the server's own prefix.")
        for cluster_id, other in taken:
            if block.overlaps(_network(other)):
                raise UnusablePrefix(
                    f"{prefix} overlaps {other} of the cluster {cluster_id}: one address must name one device. Give the server a prefix of "
                    "its own (prefixes.v4 and prefixes.v6 in its configuration)."
                )


def _network(prefix: str) -> Network:
    try:
        return ipaddress.ip_network(prefix)
    except ValueError as error:
        raise UnusablePrefix(f"{prefix!r} is no prefix ({error}): write it as 100.64.0.0/20 or fd7a:115c:a1e0:1::/64.") from error


def check_addresses(nodes: Iterable[Node], prefix_v4: str, prefix_v6: str) -> None:
    """The server's devices have addresses of the prefixes that the operator named. Raises: UnusablePrefix."""
    blocks = [_network(prefix_v4), _network(prefix_v6)]
    for node in nodes:
        for address in filter(None, (node.ipv4, node.ipv6)):
            if not any(ipaddress.ip_address(address) in block for block in blocks):
                raise UnusablePrefix(
                    f"The server's device {node.name} has the address {address}, outside of {prefix_v4} and {prefix_v6}: name the prefixes "
                    "that stand in the server's configuration."
                )


def check_health(admin: Admin) -> None:
    """Raises: Unhealthy, NoAnswer."""
    try:
        healthy = admin.health()
    except ClusterError as error:
        raise silent(error) from error
    if not healthy:
        raise Unhealthy("The server says that it does not reach its database: mend that first.")


def check_noise_key(found: str, expected: str, *, of_fleet: bool) -> None:
    """`expected` is empty for an external server seen for the first time. Raises: OtherNoiseKey."""
    if not expected or found == expected:
        return
    if of_fleet:
        raise OtherNoiseKey(
            f"The server's Noise key {found} is not its fleet's {expected}: no device could be moved to it. Start it with the "
            "noise_private.key that `manage.py fleet add-cluster` wrote."
        )
    raise OtherNoiseKey(
        f"The server's Noise key {found} is not {expected}, which its devices know: they will not talk to it. Give it back its "
        "noise_private.key."
    )


def read_policy(admin: Admin) -> Policy | None:
    """The server's policy, which is also the first call that needs the admin key. Raises: AdminKeyRefused, PolicyNotInDatabase, NoAnswer."""
    try:
        policy = admin.policy()
    except ClusterRefused as refusal:
        if refusal.status in (401, 403):
            raise AdminKeyRefused(
                "The server does not accept the admin key: make one with `headscale apikeys create` and give it with --admin-key-file "
                "(for a cluster of a fleet: --new-admin-key)."
            ) from refusal
        raise _policy_refusal(refusal) from refusal
    except ClusterError as error:
        raise silent(error) from error
    if policy is not None and policy.updated_at is None:  # only a stored policy has a date
        raise _file_mode()
    return policy


def store_policy(admin: Admin, document: str) -> None:
    """Let the server compile the document, then store it. Raises: PolicyNotInDatabase, PolicyRejected, NoAnswer."""
    try:
        admin.check_policy(document)
        admin.put_policy(document)
    except ClusterRefused as refusal:
        raise _policy_refusal(refusal) from refusal
    except ClusterError as error:
        raise silent(error) from error


def _policy_refusal(refusal: ClusterRefused) -> RegistrationRefused:
    if any(words in refusal.reason for words in FILE_MODE):
        return _file_mode()
    return PolicyRejected(f"The server does not take the policy: {refusal.reason}")


def _file_mode() -> PolicyNotInDatabase:
    return PolicyNotInDatabase("The server reads its policy from a file: set `policy.mode: database` in its configuration and restart it.")


def check_metrics(cluster_id: str, url: str, *, timeout: float) -> None:
    """Raises: MetricsUnreadable."""
    try:
        metrics.fetch(cluster_id, url, timeout)
    except ClusterError as error:
        raise MetricsUnreadable(
            f"The metrics at {url} cannot be read ({error.reason}): name the server's metrics_listen_addr with the path /metrics, and let "
            "this host reach it."
        ) from error


def silent(error: ClusterError) -> NoAnswer:
    """A server that said nothing usable, in the operator's words."""
    return NoAnswer(f"The server does not answer ({error.reason}): is it running, and is this its admin address?")
