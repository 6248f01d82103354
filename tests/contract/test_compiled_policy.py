"""Which documents a server takes: the fields that a document compiled of many tenants' policies uses, and every mistake that a compiler could make in them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from placement.errors import ClusterRefused
from placement.headscale.admin import Admin
from tests.servers import Server

WEB = "tag:acme--web"


@pytest.fixture
def server(lone: Server) -> Server:
    return lone


BASE: dict[str, Any] = {
    "groups": {"group:acme": ["acme@"]},
    "tagOwners": {WEB: [], "tag:acme--exit": []},
    "hosts": {"printer": "100.64.9.9", "office": "10.9.0.0/24"},
    "acls": [
        {"action": "accept", "src": ["100.127.255.255/32"], "dst": ["100.127.255.255/32:1"]},
        {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]},
    ],
}


def with_(**fields: Any) -> str:
    return json.dumps({**BASE, **fields})


def acl(src: list[str], dst: list[str], **more: Any) -> str:
    return with_(acls=[{"action": "accept", "src": src, "dst": dst, **more}])


def grant(**fields: Any) -> str:
    return with_(grants=[{"src": ["acme@"], "dst": [WEB], "ip": ["*"], **fields}])


def ssh(**fields: Any) -> str:
    return with_(ssh=[{"action": "accept", "src": ["acme@"], "dst": ["acme@"], "users": ["root"], **fields}])


def attributes(**fields: Any) -> str:
    return with_(nodeAttrs=[{"target": ["100.64.0.1"], "attr": ["randomize-client-port"], **fields}])


def tested(**fields: Any) -> str:
    acls = [{"action": "accept", "src": ["100.64.0.1"], "dst": ["100.64.0.2:*"]}]
    return with_(acls=acls, tests=[{"src": "100.64.0.1", "accept": ["100.64.0.2:80"], **fields}])


TAKEN = {
    "tags without owners": with_(),
    "a rule without action": with_(acls=[{"src": ["*"], "dst": ["*:*"]}]),
    "fields in another case": json.dumps({"Groups": {"group:a": ["a@"]}, "ACLS": []}),
    "null fields": json.dumps({"acls": None, "grants": None, "groups": None}),
    "a comment's field in a rule": with_(acls=[{"#ha-meta": {}, "action": "accept", "src": ["*"], "dst": ["*:*"]}]),
    "anybody to self in a rule": acl(["*"], ["autogroup:self:*"]),
    "a group to self": acl(["group:acme"], ["autogroup:self:*"]),
    "a rule under a protocol by name": acl(["*"], ["*:*"], proto="ICMP"),
    "a rule under a protocol by number": acl(["*"], ["*:443"], proto="6"),
    "a rule to the internet": acl(["acme@"], ["autogroup:internet:*"]),
    "an address in brackets": acl(["acme@"], ["[fd7a:115c:a1e0::1]:80", "[fd7a:115c:a1e0::]/64:80,443", "fd7a:115c:a1e0::1:80"]),
    "danger-all as source": acl(["autogroup:danger-all"], [f"{WEB}:*"]),
    "every form of a service": grant(ip=["*", "443", "80-90", "tcp:443", "udp:80-90,100", "icmp:*", "6:22", "gre:*", ":443", "0-65535"]),
    "ports under a protocol that has none": grant(ip=["icmp:443"]),
    "no source": grant(src=[]),
    "no destination": grant(dst=[]),
    "names in spaces": grant(src=[" acme@ "], dst=[f" {WEB}"]),
    "addresses and prefixes": grant(src=["100.64.0.1", "10.0.0.0/8"], dst=["192.0.2.0/24", "fd7a:115c:a1e0::5", "10.1.2.3/24"]),
    "an unknown user": grant(src=["nobody@"], dst=["noone@"]),
    "capabilities alone": with_(
        grants=[{"src": ["acme@"], "dst": [WEB], "app": {"acme.example/cap/files": [{"read": True}], "noslash": []}}]
    ),
    "capabilities of Tailscale's": grant(
        app={f"tailscale.com/cap/{name}": [] for name in ("drive", "relay", "webui", "kubernetes", "tsidp")}
    ),
    "a capability of nothing": grant(app={"acme.example/cap/files": None}),
    "through a router": grant(dst=["10.1.0.0/24"], via=[WEB]),
    "through an exit node": grant(dst=["autogroup:internet"], via=["tag:acme--exit"]),
    "ssh to oneself": ssh(),
    "ssh to one's own devices": ssh(src=["group:acme"], dst=["autogroup:self"]),
    "ssh to tags": ssh(src=["group:acme", WEB, "autogroup:member", "autogroup:tagged"], dst=[WEB, "autogroup:tagged"]),
    "ssh to members": ssh(src=["autogroup:member"], dst=["autogroup:member"]),
    "ssh checked always": ssh(action="check", checkPeriod="always"),
    "ssh checked in the longest period": ssh(action="check", checkPeriod="168h"),
    "ssh checked in no time": ssh(action="check", checkPeriod="0s"),
    "ssh checked in hours and minutes": ssh(action=" check ", checkPeriod="1h30m"),
    "ssh as anybody but root": ssh(users=["autogroup:nonroot", "localpart:*@example.com", "localpart:x", "group:any"]),
    "ssh with environment": ssh(acceptEnv=["GIT_*", "*"]),
    "ssh without destination": ssh(dst=[]),
    "attributes of addresses": attributes(),
    "attributes of tags, hosts, everyone": attributes(target=[WEB, "printer", "*", "autogroup:member", "10.0.0.0/8"], attr=["a", "b"]),
    "attributes of none": attributes(target=[]),
    "no attributes of an unknown user": attributes(target=["nobody@"], attr=[]),
    "auto-approvers": with_(autoApprovers={"routes": {"10.0.0.0/8": ["group:acme", WEB, "nobody@"]}, "exitNode": ["tag:acme--exit"]}),
    "tags that own tags, in a circle": with_(tagOwners={WEB: ["tag:acme--exit"], "tag:acme--exit": [WEB, "group:acme", "nobody@"]}),
    "a test under a protocol": tested(proto="TCP"),
    "a test under a protocol's number": tested(proto="17"),
    "a test of a host": tested(deny=["printer:80"]),
    "ssh tests of their form": with_(sshTests=[]),
    "client ports at random": with_(randomizeClientPort=True),
}
REFUSED = {
    "a name twice": '{"acls": [], "acls": []}',
    "an unknown field in a grant": grant(srcPosture=["posture:x"]),
    "an unknown field in a test": tested(port=80),
    "an unknown field in an ssh rule": ssh(port=22),
    "rules that are no list": with_(acls={}),
    "a group that is a text": with_(groups={"group:acme": "acme@"}),
    "a group of another name": with_(groups={"acme": ["acme@"]}),
    "a group's member without @": with_(groups={"group:acme": ["acme"]}),
    "a host that is no address": with_(hosts={"printer": "nowhere"}),
    "a host with @": with_(hosts={"a@b": "10.0.0.1"}),
    "a tag with a digit first": with_(tagOwners={"tag:1web": []}),
    "a tag without a name": with_(tagOwners={"tag:": []}),
    "an owner that is an address": with_(tagOwners={WEB: ["100.64.0.1"]}),
    "an owner that is no group": with_(tagOwners={WEB: ["group:nobody"]}),
    "an owner that is no tag": with_(tagOwners={WEB: ["tag:none"]}),
    "an undefined tag in a rule's source": acl(["tag:none"], ["*:*"]),
    "an undefined tag in a rule's destination": acl(["*"], ["tag:none:*"]),
    "an undefined tag in a grant's source": grant(src=["tag:none"]),
    "an undefined tag in a grant's destination": grant(dst=["tag:none"]),
    "an undefined tag to go through": grant(dst=["10.1.0.0/24"], via=["tag:none"]),
    "an undefined tag in an ssh source": ssh(src=["tag:none"], dst=[WEB]),
    "an undefined tag in an ssh destination": ssh(dst=["tag:none"]),
    "an undefined tag with attributes": attributes(target=["tag:none"]),
    "an undefined tag that approves": with_(autoApprovers={"routes": {"10.0.0.0/8": ["tag:none"]}}),
    "an undefined tag that approves exit nodes": with_(autoApprovers={"exitNode": ["tag:none"]}),
    "an undefined group in a grant": grant(src=["group:none"]),
    "an undefined host in a grant": grant(dst=["somehost"]),
    "an address that is none": grant(dst=["100.64.0.1.5:x"]),
    "a via that is no tag": grant(dst=["10.1.0.0/24"], via=["group:acme"]),
    "a service with two colons": grant(ip=["tcp:80:90"]),
    "a service in capitals": grant(ip=["TCP:443"]),
    "a service of an unknown protocol": grant(ip=["quic:443"]),
    "a service of a protocol with a leading zero": grant(ip=["06:443"]),
    "a service of a protocol out of range": grant(ip=["300:443"]),
    "a service of any protocol by star": grant(ip=["*:443"]),
    "port zero": grant(ip=["0"]),
    "a port out of range": grant(ip=["65536"]),
    "ports upside down": grant(ip=["90-80"]),
    "half a range": grant(ip=["80-"]),
    "a port that is a word": grant(ip=["tcp:http"]),
    "the internet as prefix": grant(dst=["0.0.0.0/0"]),
    "the internet as source": grant(src=["autogroup:internet"]),
    "danger-all as destination": grant(dst=["autogroup:danger-all"]),
    "nonroot as source": grant(src=["autogroup:nonroot"]),
    "anybody to self in a grant": grant(src=["*"], dst=["autogroup:self"]),
    "a tag to self": grant(src=[WEB], dst=["autogroup:self"]),
    "an address to self in a rule": acl(["100.64.0.1"], ["autogroup:self:*"]),
    "tagged to self in a rule": acl(["autogroup:tagged"], ["autogroup:self:*"]),
    "a capability that is an address": grant(app={"https://acme.example/cap": []}),
    "a capability of Tailscale's that is not to give": grant(app={"tailscale.com/cap/relay-target": []}),
    "a capability that is no list": grant(app={"acme.example/cap/files": {}}),
    "capabilities to the internet": grant(dst=["autogroup:internet"], app={"acme.example/cap/files": []}),
    "a protocol without ports with one": acl(["*"], ["*:443"], proto="icmp"),
    "a protocol by star": acl(["*"], ["*:*"], proto="*"),
    "protocol zero": acl(["*"], ["*:*"], proto="0"),
    "brackets around a name": acl(["*"], ["[printer]:80"]),
    "an empty port": acl(["*"], ["printer:"]),
    "ssh without action": ssh(action=""),
    "ssh with another action": ssh(action="deny"),
    "ssh without users": ssh(users=[]),
    "ssh as anybody": ssh(users=["*"]),
    "ssh as nobody": ssh(users=[" "]),
    "ssh with an empty environment": ssh(acceptEnv=[""]),
    "ssh from an address": ssh(src=["100.64.0.1"]),
    "ssh from anybody": ssh(src=["*"]),
    "ssh to an address": ssh(dst=["100.64.0.1"]),
    "ssh to anything": ssh(dst=["*"]),
    "ssh to a host": ssh(dst=["printer"]),
    "ssh to a group": ssh(dst=["group:acme"]),
    "ssh to another user": ssh(dst=["other@"]),
    "ssh from two users to one of them": ssh(src=["acme@", "other@"]),
    "ssh from a group to a user": ssh(src=["group:acme"]),
    "ssh from a tag to a user": ssh(src=[WEB]),
    "ssh from a tag to self": ssh(src=[WEB], dst=["autogroup:self"]),
    "ssh from a tag to members": ssh(src=[WEB], dst=["autogroup:member"]),
    "ssh to the internet": ssh(dst=["autogroup:internet"]),
    "ssh from danger-all": ssh(src=["autogroup:danger-all"], dst=[WEB]),
    "ssh accepted with a period": ssh(checkPeriod="1h"),
    "ssh checked in too long a period": ssh(action="check", checkPeriod="168h1s"),
    "ssh checked in a negative period": ssh(action="check", checkPeriod="-1h"),
    "ssh checked in a period that is none": ssh(action="check", checkPeriod="1 day"),
    "an attribute that is not supported": attributes(attr=["funnel"]),
    "a pool of addresses": attributes(ipPool=["100.80.0.0/16"]),
    "attributes of self": attributes(target=["autogroup:self"]),
    "attributes of an unknown user": attributes(target=["nobody@"]),
    "attributes of a group with an unknown user": attributes(target=["group:acme"]),
    "an approver that is an address": with_(autoApprovers={"routes": {"10.0.0.0/8": ["100.64.0.1"]}}),
    "an approved route without a length": with_(autoApprovers={"routes": {"10.0.0.1": ["acme@"]}}),
    "an unknown field in the approvers": with_(autoApprovers={"exitnodes": []}),
    "a test under a protocol without ports": tested(proto="icmp"),
    "a test of two ports": tested(accept=["100.64.0.2:80,81"]),
    "a test of all ports": tested(deny=["100.64.0.2:*"]),
    "a test of a prefix": tested(accept=["100.64.0.2/32:80"]),
    "a test of a host that is a prefix": tested(deny=["office:80"]),
    "a test of the internet": tested(deny=["autogroup:internet:80"]),
    "a test of a destination without port": tested(accept=["100.64.0.2"]),
    "a test of an undefined host": tested(deny=["somehost:80"]),
    "a test from an undefined host": tested(src="somehost"),
    "a test from nobody": tested(src=""),
    "a test from self": tested(src="autogroup:self"),
    "an ssh test without source": with_(sshTests=[{"src": "", "dst": [WEB], "accept": ["root"]}]),
    "an ssh test of an undefined tag": with_(sshTests=[{"src": "acme@", "dst": ["tag:none"], "accept": ["root"]}]),
    "an ssh test of a prefix": with_(sshTests=[{"src": "acme@", "dst": ["10.0.0.0/8"], "accept": ["root"]}]),
}


@pytest.mark.parametrize("document", TAKEN)
def test_a_document_is_taken(admin: Admin, document: str) -> None:
    admin.check_policy(TAKEN[document])


@pytest.mark.parametrize("document", REFUSED)
def test_a_document_is_refused(admin: Admin, document: str) -> None:
    with pytest.raises(ClusterRefused) as refusal:
        admin.check_policy(REFUSED[document])
    assert refusal.value.status == 400


SERVICES = [
    {"src": ["100.64.0.1"], "dst": ["100.64.0.2"], "ip": ["tcp:443", "udp:53", "icmp:*", "sctp:9"]},
    {"src": ["100.64.0.3"], "dst": ["10.1.0.0/24"], "ip": ["80-90"]},
    {"src": ["10.2.0.0/16"], "dst": ["100.64.0.2"], "ip": ["*"]},
    {"src": ["100.64.0.4"], "dst": ["autogroup:internet"], "ip": ["*"]},
    {"src": ["100.64.0.5"], "dst": ["*"], "ip": ["*"]},
    {"src": ["*"], "dst": ["100.64.0.9"], "ip": ["1"]},
    {"src": ["100.64.0.6"], "dst": ["10.3.0.0/24"], "ip": ["*"], "via": [WEB]},
    {"src": ["100.64.0.7"], "dst": ["100.64.0.8"], "app": {"acme.example/cap/files": []}},
]
ASKED = {
    "tcp on its port": ("100.64.0.1", "tcp", "100.64.0.2:443", True),
    "udp on tcp's port": ("100.64.0.1", "udp", "100.64.0.2:443", False),
    "anything on tcp's port": ("100.64.0.1", "", "100.64.0.2:443", True),
    "tcp where only icmp is": ("100.64.0.1", "tcp", "100.64.0.2:80", False),
    "anything where icmp is": ("100.64.0.1", "", "100.64.0.2:80", True),
    "sctp on its port": ("100.64.0.1", "sctp", "100.64.0.2:9", True),
    "the other address of nobody": ("fd7a:115c:a1e0::1", "", "100.64.0.2:443", False),
    "an address of a subnet": ("100.64.0.3", "", "10.1.0.7:85", True),
    "an address of another subnet": ("100.64.0.3", "", "10.1.1.7:85", False),
    "a port beside the range": ("100.64.0.3", "", "10.1.0.7:91", False),
    "from an address of a subnet": ("10.2.3.4", "tcp", "100.64.0.2:1", True),
    "from a subnet that is partly meant": ("10.0.0.0/8", "tcp", "100.64.0.2:1", True),
    "a public address by internet": ("100.64.0.4", "", "8.8.8.8:53", True),
    "a private address by internet": ("100.64.0.4", "", "10.0.0.1:53", False),
    "a device by internet": ("100.64.0.4", "", "100.64.0.2:53", False),
    "a public IPv6 address by internet": ("100.64.0.4", "", "[2001:db8::1]:53", True),
    "a public address by star": ("100.64.0.5", "", "8.8.8.8:53", True),
    "a device by star": ("100.64.0.5", "", "100.64.0.2:53", True),
    "from anybody": ("100.64.77.77", "", "100.64.0.9:1", True),
    "from a public address as anybody": ("8.8.8.8", "", "100.64.0.9:1", False),
    "through a router, which tests do not see": ("100.64.0.6", "", "10.3.0.1:1", False),
    "a capability, which is no service": ("100.64.0.7", "", "100.64.0.8:1", False),
    "from all that star means": ("*", "", "100.64.0.9:1", True),
    "to star by a rule to one": ("100.64.0.77", "", "*:1", True),
}


@pytest.mark.parametrize("question", ASKED)
def test_what_the_tests_of_a_document_see_of_its_grants(admin: Admin, question: str) -> None:
    src, proto, target, allowed = ASKED[question]
    asked = {"src": src, "proto": proto}
    document = {**BASE, "grants": SERVICES}
    admin.check_policy(json.dumps({**document, "tests": [{**asked, "accept" if allowed else "deny": [target]}]}))
    with pytest.raises(ClusterRefused, match="expected"):
        admin.check_policy(json.dumps({**document, "tests": [{**asked, "deny" if allowed else "accept": [target]}]}))


def test_a_document_that_is_refused_for_a_test_changes_nothing_in_force(admin: Admin, server: Server) -> None:
    admin.put_policy(with_())
    with pytest.raises(ClusterRefused):
        admin.put_policy(tested(proto="icmp"))
    stored = admin.policy()
    assert stored is not None
    assert stored.document == with_()
