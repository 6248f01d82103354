"""A tenant's policy, read: every field as it is kept, and every refusal at the place of what is wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.policies.document import ALL_SERVICES, Assertion, Attribute, Document, Place, Rule, Service, SshRule, Word
from tenants.policies.reading import MOST_FAULTS, read
from tests.tenants.policies.marks import faults, unmarked

NAMES = (
    '"groups": {"group:dev": ["ann@acme.test"]}, "tagOwners": {"tag:web": []}, "hosts": {"printer": "10.0.0.7", "lan": "10.0.0.0/24"},\n'
)


def words(*texts: str) -> tuple[Word, ...]:
    return tuple(map(Word, texts))


def rule(path, src, dst, services=ALL_SERVICES, *, app=None, via=()) -> tuple:
    return (path, src, dst, services, app, via)


def told(rules: tuple[Rule, ...] | None) -> list[tuple]:
    return [(each.path, each.src, each.dst, each.services, each.app, each.via) for each in rules or ()]


def acl(src: str = '"*"', dst: str = '"*:*"', more: str = "") -> str:
    return f'{{{NAMES} "acls": [{{"action": "accept", "src": [{src}], "dst": [{dst}]{more}}}]}}'


def grant(src: str = '"*"', dst: str = '"*"', more: str = ', "ip": ["*"]') -> str:
    return f'{{{NAMES} "grants": [{{"src": [{src}], "dst": [{dst}]{more}}}]}}'


def ssh(src: str = '"autogroup:member"', dst: str = '"tag:web"', users: str = '["root"]', action: str = '"accept"', more: str = "") -> str:
    return f'{{{NAMES} "ssh": [{{"action": {action}, "src": [{src}], "dst": [{dst}], "users": {users}{more}}}]}}'


def trial(src: str = '"printer"', more: str = ', "accept": ["tag:web:22"]') -> str:
    return f'{{{NAMES} "tests": [{{"src": {src}{more}}}]}}'


def within(section: str) -> str:
    return f"{{{NAMES}{section}}}"


def test_a_whole_policy_is_read():
    document = read(
        """
        // Acme's network
        {
          "groups": {"group:dev": ["Ann@Acme.test", "Till-7"]},
          "tagOwners": {"tag:web": ["group:dev", "autogroup:admin"], "tag:ci": ["tag:ci", "tag:web"]},
          "hosts": {"Printer": "10.0.0.7", "lan": "10.0.0.0/24", "six": "FD00:0::1/128"},
          "acls": [{"action": "accept", "proto": "TCP", "src": ["group:dev", "PRINTER"], "dst": ["tag:web:80,443", "lan:*", "six:443,80", "[fd00::2]:22", "fd00::3:22"]}],
          "grants": [{"src": ["autogroup:member"], "dst": ["autogroup:self", "10.1.0.0/16"], "ip": ["udp:53", "8000-8100"], "via": ["tag:web"],
                      "app": {"acme.test/cap/till": [{"open": true}]}}],
          "ssh": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self", "tag:web"], "users": ["root", "autogroup:nonroot"],
                   "acceptEnv": ["LC_*"]}],
          "autoApprovers": {"routes": {"10.1.0.0/16": ["tag:web"], "10.2.0.1/32": ["till-7"]}, "exitNode": ["group:dev"]},
          "nodeAttrs": [{"target": ["*"], "attr": ["drive:share", "one-cgnat?v=true"]}],
          "tests": [{"src": "ann@acme.test", "proto": "tcp", "accept": ["tag:web:443"], "deny": ["printer:22"]}],
        }
        """
    )
    assert document == Document(
        groups={"group:dev": words("ann@acme.test", "till-7")},
        tags={"tag:web": words("group:dev", "autogroup:admin"), "tag:ci": words("tag:ci", "tag:web")},
        hosts={"printer": Word("10.0.0.7"), "lan": Word("10.0.0.0/24"), "six": Word("fd00::1")},
        rules=document.rules,
        ssh=(
            SshRule(
                "ssh[0]",
                Place(10, 19),
                "accept",
                words("autogroup:member"),
                words("autogroup:self", "tag:web"),
                ("root", "autogroup:nonroot"),
                ("LC_*",),
            ),
        ),
        attributes=(Attribute("nodeAttrs[0]", Place(13, 25), words("*"), ("drive:share", "one-cgnat?v=true")),),
        routes={"10.1.0.0/16": words("tag:web"), "10.2.0.1/32": words("till-7")},
        exit_nodes=words("group:dev"),
        tests=(Assertion("tests[0]", Place(14, 21), Word("ann@acme.test"), ((Word("tag:web"), 443),), ((Word("printer"), 22),), "tcp"),),
    )
    src = words("group:dev", "printer")
    assert told(document.rules) == [
        rule("acls[0]", src, words("tag:web", "six"), (Service("tcp", 80, 80), Service("tcp", 443, 443))),
        rule("acls[0]", src, words("lan"), (Service("tcp"),)),
        rule("acls[0]", src, words("fd00::2", "fd00::3"), (Service("tcp", 22, 22),)),
        rule(
            "grants[0]",
            words("autogroup:member"),
            words("autogroup:self", "10.1.0.0/16"),
            (Service("udp", 53, 53), Service("", 8000, 8100)),
            app={"acme.test/cap/till": [{"open": True}]},
            via=words("tag:web"),
        ),
    ]
    assert (document.rules or ())[0].src[0].place == Place(7, 65)
    assert (document.rules or ())[0].src[0].path == "acls[0].src[0]"


@pytest.mark.parametrize(("text", "rules"), [("{}", None), ('{"acls": []}', ()), ('{"grants": []}', ()), ('{"acls": [], "hosts": {}}', ())])
def test_a_policy_without_rules_is_not_one_whose_rules_are_none(text, rules):
    assert read(text).rules == rules


def test_rules_of_nobody_stay():
    assert told(read(acl("", "")).rules) == [rule("acls[0]", (), ())]
    assert told(read(acl('"*"', "", ', "proto": "udp"')).rules) == [rule("acls[0]", words("*"), (), (Service("udp"),))]


def test_a_grant_of_capabilities_alone_opens_no_port():
    assert told(read(grant(more=', "app": {"a.test/x": [null]}')).rules) == [
        rule("grants[0]", words("*"), words("*"), (), app={"a.test/x": [None]})
    ]


@pytest.mark.parametrize(
    ("proto", "kept"),
    [
        ("icmp", "icmp"),
        ("1", "icmp"),
        ("ICMP", "icmp"),
        ("ip-in-ip", "ipv4"),
        ("4", "ipv4"),
        ("58", "ipv6-icmp"),
        ("99", "99"),
        ("255", "255"),
        ("", ""),
    ],
)
def test_protocols_are_kept_by_their_names(proto, kept):
    (only,) = read(acl(more=f', "proto": "{proto}"')).rules or ()
    assert only.services == (Service(kept),)


@pytest.mark.parametrize(
    "text",
    [
        acl(' "  tag:web "'),
        acl(more=', "#ha-meta": {"name": "from headscale-admin"}'),
        acl(more=', "proto": 6'),
        acl('"*"', '"autogroup:self:*"'),
        acl('"group:dev", "bob@acme.test", "autogroup:member"', '"autogroup:self:22"'),
        acl('"12345", "a.b_c-d", "10.0.0.7", "10.0.0.0/8", "fd7a::/16"', '"autogroup:internet:*"'),
        acl(dst='"[fd7a::1]/128:22", "fd7a::/16:22", "ann@acme.test:0-65535", "till:1-2,80"'),
        acl().replace('"acls"', '"ACLs"').replace('"action"', '"Action"'),
        grant(more=', "ip": ["tcp:443", "99:*"], "app": {"tailscale.com/cap/drive": [{}]}, "via": []'),
        ssh(action='"accept"', more=', "acceptEnv": ["*", "GIT_?"]'),
        ssh('"autogroup:tagged", "tag:web"', '"autogroup:tagged"'),
        ssh('"autogroup:member"', '"autogroup:member"'),
        ssh(users='[" first last "]'),
        trial(more=', "deny": ["autogroup:tagged:22", "10.0.0.9:1", "[fd7a::1]:2", "bob@acme.test:3"], "proto": 17'),
        within('"nodeAttrs": [{"target": ["autogroup:member", "lan", "10.0.0.1"]}]'),
        within('"autoApprovers": {"routes": {"fd00::/64": ["autogroup:member", "bob@acme.test"]}}'),
        "\ufeff{}",
    ],
)
def test_what_headscale_takes_for_good_reasons_is_read(text):
    assert faults(read, text) == ()


ONLY_VISIBLE = "“%s” is no name: it has the character %s."
NO_GROUP = "“group:dеv” is no name of a group: after group: come a-z, 0-9, - and _, at most 40, first a letter or digit."
WRONG = [
    ("¶[]", "", "Expected is an object, not a list."),
    ('{¶"sshTests": []}', "sshTests", "sshTests are not supported here."),
    ('{¶"randomizeClientPort": true}', "randomizeClientPort", "This concerns every device of a server"),
    ('{¶"derpMap": {}}', "derpMap", "This concerns every device of a server"),
    ('{¶"OneCGNATRoute": ""}', "OneCGNATRoute", "This concerns every device of a server"),
    ('{¶"postures": {}}', "postures", "headscale does not support this."),
    ('{¶"rules": []}', "rules", "There is no field “rules” here. Known are: groups, tagOwners"),
    ('{"acls": [], ¶"ACLs": []}', "ACLs", "“ACLs” stands here for the second time."),
    ('{"ssh": [{"action": "accept", "src": [], "dst": [], "users": ["a"], ¶"chec\u212aPeriod": "1h"}]}', "ssh[0][\"chec\u212aPeriod\"]", "There is no field"),
    ('{"acls": ¶{}}', "acls", "Expected is a list, not an object."),
    ('{"acls": ¶null}', "acls", "Expected is a list, not null."),
    ('{"acls": [¶"x"]}', "acls[0]", "Expected is an object, not a text."),
    # names
    (acl('¶"autogroup:danger-all"'), "acls[0].src[0]", "autogroup:danger-all is not allowed: it means everybody on the server"),
    (acl('¶"autogroup:self"'), "acls[0].src[0]", "“autogroup:self” cannot stand here. autogroup:self is a destination only."),
    (acl('¶"autogroup:internet"'), "acls[0].src[0]", "“autogroup:internet” cannot stand here. autogroup:internet is a destination only."),
    (acl('¶"autogroup:admin"'), "acls[0].src[0]", "“autogroup:admin” cannot stand here. Roles own tags only"),
    (acl('¶"autogroup:it-admin"'), "acls[0].src[0]", "“autogroup:it-admin” is not supported"),
    (acl('¶"autogroup:nonroot"'), "acls[0].src[0]", "autogroup:nonroot is a login of SSH rules"),
    (acl('¶"autogroup:shared"'), "acls[0].src[0]", "autogroup:shared is not supported"),
    (acl('¶"svc:db"'), "acls[0].src[0]", "“svc:db” is not supported"),
    (acl('¶""'), "acls[0].src[0]", "A name is empty."),
    (acl("¶7"), "acls[0].src[0]", "Expected is a text, not a number."),
    (acl('¶"group:ops"'), "acls[0].src[0]", "“group:ops” is not defined in groups."),
    (acl('¶"group:Dev"'), "acls[0].src[0]", "“group:Dev” is no name of a group"),
    (acl('¶"tag:db"'), "acls[0].src[0]", "“tag:db” is not defined in tagOwners."),
    (acl('¶"ann@"'), "acls[0].src[0]", "“ann@” names a user of the server: write a member's e-mail address."),
    (acl('¶"@acme.test"'), "acls[0].src[0]", "“@acme.test” is no e-mail address."),
    (acl('¶"*@acme.test"'), "acls[0].src[0]", "“*@acme.test” is no e-mail address."),
    (acl('¶"a@b@acme.test"'), "acls[0].src[0]", "“a@b@acme.test” is no e-mail address."),
    (acl('¶"аnn@acme.test"'), "acls[0].src[0]", "“аnn@acme.test” is no e-mail address: it has the character U+0430 CYRILLIC SMALL LETTER A."),
    (acl('¶"prınter"'), "acls[0].src[0]", ONLY_VISIBLE % ("prınter", "U+0131 LATIN SMALL LETTER DOTLESS I")),
    (acl('¶"\u212a1"'), "acls[0].src[0]", ONLY_VISIBLE % ("\u212a1", "U+212A KELVIN SIGN")),  # lower() would make it a k
    (acl('¶"my till"'), "acls[0].src[0]", ONLY_VISIBLE % ("my till", "U+0020 SPACE")),
    (acl('¶"till-"'), "acls[0].src[0]", "“till-” is no name: it has at most 128 characters"),
    (acl('¶"' + "x" * 129 + '"'), "acls[0].src[0]", "“" + "x" * 59 + "…” is no name: it has at most 128"),
    (acl('¶"10.0.0.256"'), "acls[0].src[0]", "“10.0.0.256” is no IP address."),
    (acl('¶"10.0.0.01"'), "acls[0].src[0]", "“10.0.0.01” is no IP address."),
    (acl('¶"10.0.0.1/24"'), "acls[0].src[0]", "10.0.0.1/24 has bits set behind its prefix: write 10.0.0.0/24."),
    (acl('¶"10.0.0.0/255.0.0.0"'), "acls[0].src[0]", "“10.0.0.0/255.0.0.0” is no IP prefix."),
    (acl('¶"10.0.0.0/08"'), "acls[0].src[0]", "“10.0.0.0/08” is no IP prefix."),
    (acl('¶"10.0.0.0/33"'), "acls[0].src[0]", "“10.0.0.0/33” is no IP prefix."),
    (acl('¶"0.0.0.0/0"'), "acls[0].src[0]", "0.0.0.0/0 is not allowed: write autogroup:internet"),
    (acl('¶"::/0"'), "acls[0].src[0]", "::/0 is not allowed: write autogroup:internet"),
    (acl('¶"::ffff:10.0.0.1"'), "acls[0].src[0]", "::ffff:10.0.0.1 is an IPv4 address written as IPv6"),
    (acl('¶"::ffff:0:0/96"'), "acls[0].src[0]", "::ffff:0:0 is an IPv4 address written as IPv6"),
    (acl('¶"fe80::1%eth0"'), "acls[0].src[0]", "fe80::1%eth0 has a zone"),
    (acl(", ".join(['"a"'] * 201)).replace('"src": [', '"src": ¶['), "acls[0].src", "There are 201 entries here; at most 200 are allowed."),
    # definitions
    ('{"groups": {¶"dev": []}}', 'groups.dev', "“dev” is no group: write group:NAME."),
    ('{"groups": {¶"group:Dev": []}}', 'groups["group:Dev"]', "“group:Dev” is no name of a group"),
    ('{"groups": {¶"group:": []}}', 'groups["group:"]', "“group:” is no name of a group"),
    ('{"groups": {¶"group:dеv": []}}', 'groups["group:dеv"]', NO_GROUP + " It has the character U+0435 CYRILLIC SMALL LETTER IE."),
    ('{"groups": {"group:dev": ¶"ann@acme.test"}}', 'groups["group:dev"]', "Expected is a list, not a text."),
    *(
        (within("").replace('["ann@acme.test"]', f'["ann@acme.test", ¶"{name}"]'), 'groups["group:dev"][1]', f"“{name}” cannot stand here. Members of a group are")
        for name in ("*", "tag:web", "group:dev", "autogroup:member", "10.0.0.1", "10.0.0.0/8", "printer")
    ),
    ('{"groups": {"group:big": ¶[' + '"a",' * 1001 + "]}}", 'groups["group:big"]', "There are 1001 entries here; at most 1000 are allowed."),
    ('{"groups": ¶{' + ",".join(f'"group:g{n}": []' for n in range(101)) + "}}", "groups", "There are 101 entries here; at most 100 are allowed."),
    ('{"tagOwners": {¶"web": []}}', "tagOwners.web", "“web” is no tag: write tag:NAME."),
    ('{"tagOwners": {¶"tag:1": []}}', 'tagOwners["tag:1"]', "“tag:1” is no name of a tag"),
    ('{"tagOwners": {¶"tag:Web": []}}', 'tagOwners["tag:Web"]', "“tag:Web” is no name of a tag"),
    ('{"tagOwners": {¶"tag:a--b": []}}', 'tagOwners["tag:a--b"]', "“tag:a--b” is no name of a tag"),
    ('{"tagOwners": {¶"tag:' + "a" * 41 + '": []}}', 'tagOwners["tag:' + "a" * 41 + '"]', "“tag:" + "a" * 41 + "” is no name of a tag"),
    ('{"tagOwners": {"tag:a": [¶"till"]}}', 'tagOwners["tag:a"][0]', "“till” cannot stand here. Owners of a tag are"),
    ('{"tagOwners": {"tag:a": [¶"tag:b"]}}', 'tagOwners["tag:a"][0]', "“tag:b” is not defined in tagOwners."),
    ('{"tagOwners": {¶"tag:a": ["tag:b"], "tag:b": ["tag:c"], "tag:c": ["tag:a"]}}', 'tagOwners["tag:a"]', "These tags own each other in a ring: tag:a, tag:b, tag:c."),
    ('{"hosts": {¶"*": "10.0.0.1"}}', 'hosts["*"]', "“*” cannot be the name of a host"),
    ('{"hosts": {¶"a@b.test": "10.0.0.1"}}', 'hosts["a@b.test"]', "“a@b.test” cannot be the name of a host"),
    ('{"hosts": {¶"10.0.0.2": "10.0.0.1"}}', 'hosts["10.0.0.2"]', "“10.0.0.2” cannot be the name of a host"),
    ('{"hosts": {¶"a:b": "10.0.0.1"}}', 'hosts["a:b"]', ONLY_VISIBLE % ("a:b", "U+003A COLON")),
    ('{"hosts": {"a": "10.0.0.1", ¶"A": "10.0.0.2"}}', "hosts.A", "The host a stands here for the second time."),
    ('{"hosts": {"a": ¶"b"}}', "hosts.a", "A host is an IP address or prefix."),
    ('{"hosts": {"a": ¶"0.0.0.0/0"}}', "hosts.a", "0.0.0.0/0 is not allowed"),
    # acls
    ('{"acls": [¶{"src": [], "dst": []}]}', "acls[0]", "The field “action” is missing."),
    ('{"acls": [¶{"action": "accept", "dst": []}]}', "acls[0]", "The field “src” is missing."),
    ('{"acls": [{"action": ¶"drop", "src": [], "dst": []}]}', "acls[0].action", "The action “drop” does not exist"),
    (acl(more=', ¶"srcPosture": []'), "acls[0].srcPosture", "headscale does not support device postures."),
    (acl(more=', ¶"users": []'), "acls[0].users", "“users” is the old name of src: write src."),
    (acl(more=', "proto": ¶"*"'), "acls[0].proto", "* is no protocol"),
    (acl(more=', "proto": ¶"0"'), "acls[0].proto", "“0” is no protocol"),
    (acl(more=', "proto": ¶"06"'), "acls[0].proto", "“06” is no protocol"),
    (acl(more=', "proto": ¶256'), "acls[0].proto", "“256” is no protocol"),
    (acl(more=', "proto": ¶"tcpp"'), "acls[0].proto", "“tcpp” is no protocol"),
    (acl(more=', "proto": ¶true'), "acls[0].proto", "Expected is a text, not true or false."),
    (acl(dst='"*:*", ¶"*:22"', more=', "proto": "icmp"'), "acls[0]", "icmp has no ports: write * in their place."),
    (acl(dst='¶"printer"'), "acls[0].dst[0]", "The ports of “printer” are missing: write “printer:*” for all of them."),
    (acl(dst='¶"tag:web"'), "acls[0].dst[0]", "The ports of “tag:web” are missing: write “tag:web:*” for all of them."),
    (acl(dst='¶":22"'), "acls[0].dst[0]", "The name before the colon is missing."),
    (acl(dst='¶"printer:"'), "acls[0].dst[0]", "The ports after the colon are missing."),
    (acl(dst='¶"[printer]:22"'), "acls[0].dst[0]", "Brackets stand around an IPv6 address only"),
    (acl(dst='¶"[10.0.0.1]:22"'), "acls[0].dst[0]", "Brackets stand around an IPv6 address only"),
    (acl(dst='¶"[fd7a::1]22"'), "acls[0].dst[0]", "Brackets stand around an IPv6 address only"),
    (acl(dst='¶"[fd7a::1:22"'), "acls[0].dst[0]", "Brackets stand around an IPv6 address only"),
    (acl(dst='¶"*:0"'), "acls[0].dst[0]", "There is no port 0: write * for all ports."),
    (acl(dst='¶"*:0-0"'), "acls[0].dst[0]", "There is no port 0: write * for all ports."),
    (acl(dst='¶"*:65536"'), "acls[0].dst[0]", "There is no port 65536: the last one is 65535."),
    (acl(dst='¶"*:90-80"'), "acls[0].dst[0]", "The span 90-80 ends before it begins."),
    (acl(dst='¶"*:80,"'), "acls[0].dst[0]", "“” is no port"),
    (acl(dst='¶"*:80, 90"'), "acls[0].dst[0]", "“ 90” is no port"),
    (acl(dst='¶"*:ssh"'), "acls[0].dst[0]", "“ssh” is no port"),
    (acl(dst='¶"*:*,80"'), "acls[0].dst[0]", "“*” is no port"),
    (acl(dst='¶"*:' + "1," * 200 + '1"'), "acls[0].dst[0]", "At most 200 spans of ports may stand in one place."),
    (acl(dst='¶"autogroup:danger-all:*"'), "acls[0].dst[0]", "autogroup:danger-all is not allowed"),
    *(
        (acl(f'"*", ¶"{name}"', '"autogroup:self:*"'), "acls[0]", "autogroup:self is the devices of whoever asks, so that all of src must be people")
        for name in ("tag:web", "autogroup:tagged", "printer", "till", "10.0.0.1")
    ),
    # grants
    (grant(more="").replace('[{"src"', '[¶{"src"'), "grants[0]", "A grant has ip, app or both: without them it gives nothing."),
    (grant(more=', "ip": [], "app": {}').replace('[{"src"', '[¶{"src"'), "grants[0]", "A grant has ip, app or both: without them it gives nothing."),
    (grant('¶"*"', '"autogroup:self"'), "grants[0]", "autogroup:self is the devices of whoever asks"),
    (grant(dst='¶"printer:22"'), "grants[0].dst[0]", ONLY_VISIBLE % ("printer:22", "U+003A COLON")),
    (grant(dst='¶"::/0"'), "grants[0].dst[0]", "::/0 is not allowed"),
    (grant(more=', "ip": [¶"tcp:1:2"]'), "grants[0].ip[0]", "“tcp:1” is no protocol"),
    (grant(more=', "ip": [¶":443"]'), "grants[0].ip[0]", "The protocol is missing before the colon."),
    (grant(more=', "ip": [¶"*:443"]'), "grants[0].ip[0]", "* is no protocol"),
    (grant(more=', "ip": [¶"icmp:443"]'), "grants[0].ip[0]", "icmp has no ports: write * in their place."),
    (grant(more=', "ip": [¶"tcp"]'), "grants[0].ip[0]", "“tcp” is no port"),
    (grant(dst='¶"autogroup:internet"', more=', "app": {"a.test/x": []}'), "grants[0]", "Capabilities (app) are of your own devices"),
    (grant(more=', "app": {¶"https://a.test/x": []}'), 'grants[0].app["https://a.test/x"]', "“https://a.test/x” is no name of a capability"),
    (grant(more=', "app": {¶"x": []}'), "grants[0].app.x", "“x” is no name of a capability"),
    (grant(more=', "app": {¶"tailscale.com/cap/ingress": []}'), 'grants[0].app["tailscale.com/cap/ingress"]', "“tailscale.com/cap/ingress” is given by the server alone"),
    (grant(more=', "app": {"a.test/x": ¶{}}'), 'grants[0].app["a.test/x"]', "Expected is a list, not an object."),
    (grant(more=', "app": ¶{"a.test/x": ["' + "x" * 10_000 + '"]}'), "grants[0].app", "The capabilities have 10018 characters; at most 10000 are allowed."),
    (grant(more=', "ip": ["*"], "via": [¶"printer"]'), "grants[0].via[0]", "“printer” cannot stand here. Traffic goes by routers of tags"),
    (grant(more=', "ip": ["*"], "via": [¶"tag:db"]'), "grants[0].via[0]", "“tag:db” is not defined in tagOwners."),
    # ssh
    (ssh('¶"group:dev"'), "ssh[0].src[0]", "“group:dev” cannot stand here. All devices of a tenant are one user to the server"),
    (ssh('¶"ann@acme.test"'), "ssh[0].src[0]", "“ann@acme.test” cannot stand here. All devices of a tenant are one user to the server"),
    (ssh('¶"*"'), "ssh[0].src[0]", "“*” cannot stand here. SSH rules come from"),
    (ssh('¶"printer"'), "ssh[0].src[0]", "“printer” cannot stand here. SSH rules come from"),
    *((ssh(dst=f'¶"{name}"'), "ssh[0].dst[0]", f"“{name}” cannot stand here.") for name in ("*", "printer", "till", "10.0.0.1", "autogroup:internet", "ann@acme.test")),
    (ssh('"tag:web"', '¶"autogroup:member"'), "ssh[0]", "Tagged devices cannot open shells on devices of people: autogroup:member."),
    (ssh('"autogroup:tagged"', '¶"autogroup:self"'), "ssh[0]", "Tagged devices cannot open shells on devices of people: autogroup:self."),
    (ssh(action='¶"deny"'), "ssh[0].action", "The action “deny” does not exist: write accept."),
    (ssh(users="¶[]"), "ssh[0].users", "The users whose shells are opened are missing."),
    *((ssh(users=f'[¶"{name}"]'), "ssh[0].users[0]", f"“{name}” is no user") for name in ("", "*", "römer")),
    (ssh(users='[¶"' + "x" * 65 + '"]'), "ssh[0].users[0]", "“" + "x" * 59 + "…” is no user: write a login of at most 64"),
    (ssh(users='[¶"localpart:*@acme.test"]'), "ssh[0].users[0]", "localpart: is not supported"),
    (ssh(action='¶"check"'), "ssh[0].action", "Shells that a person has to confirm"),
    (ssh(more=', "checkPeriod": ¶"1h"'), "ssh[0].checkPeriod", "Shells that a person has to confirm"),
    (ssh(more=', "acceptEnv": [¶""]'), "ssh[0].acceptEnv[0]", "“” is no variable"),
    (ssh(more=', "acceptEnv": [¶"A B"]'), "ssh[0].acceptEnv[0]", "“A B” is no variable"),
    # autoApprovers and nodeAttrs
    (within('"autoApprovers": {"routes": {¶"0.0.0.0/0": []}}'), 'autoApprovers.routes["0.0.0.0/0"]', "Exit nodes are approved under exitNode."),
    (within('"autoApprovers": {"routes": {¶"100.64.3.0/24": []}}'), 'autoApprovers.routes["100.64.3.0/24"]', "100.64.3.0/24 has addresses of devices themselves"),
    (within('"autoApprovers": {"routes": {¶"fd7a::/16": []}}'), 'autoApprovers.routes["fd7a::/16"]', "fd7a::/16 has addresses of devices themselves"),
    (within('"autoApprovers": {"routes": {¶"10.0.0.1": []}}'), 'autoApprovers.routes["10.0.0.1"]', "“10.0.0.1” is no IP prefix."),
    (within('"autoApprovers": {"routes": {"fd00::/64": [], ¶"FD00::/64": []}}'), 'autoApprovers.routes["FD00::/64"]', "The prefix fd00::/64 stands here for the second time."),
    *((within(f'"autoApprovers": {{"exitNode": [¶"{name}"]}}'), "autoApprovers.exitNode[0]", f"“{name}” cannot stand here. Approved are")
      for name in ("*", "lan", "10.0.0.1", "autogroup:self")),
    (within('"nodeAttrs": [{"target": [¶"autogroup:self"]}]'), "nodeAttrs[0].target[0]", "“autogroup:self” cannot stand here. The devices that get attributes"),
    (within('"nodeAttrs": [{"target": ["*"], "attr": [¶"funnel"]}]'), "nodeAttrs[0].attr[0]", "headscale does not support funnel."),
    (within('"nodeAttrs": [{"target": ["*"], "attr": [¶"a b"]}]'), "nodeAttrs[0].attr[0]", "“a b” is no attribute of a device."),
    (within('"nodeAttrs": [{"target": ["*"], ¶"ipPool": []}]'), "nodeAttrs[0].ipPool", "ipPool is not supported"),
    (within('"nodeAttrs": [{"target": ["*"], ¶"app": {}}]'), "nodeAttrs[0].app", "app is not supported in nodeAttrs"),
    # tests
    (trial(more="").replace('[{"src"', '[¶{"src"'), "tests[0]", "A test has accept, deny or both: without them it tries nothing."),
    (trial().replace('"src": "printer", ', "").replace('[{"accept"', '[¶{"accept"'), "tests[0]", "The field “src” is missing."),
    (trial('¶"tag:db"'), "tests[0].src", "“tag:db” is not defined in tagOwners."),
    (trial(more=', "accept": ["printer:1"], "proto": ¶"icmp"'), "tests[0].proto", "A test tries tcp, udp or sctp."),
    *((trial(more=f', "deny": [¶"printer:{ports}"]'), "tests[0].deny[0]", "A test tries one port.") for ports in ("*", "1-2", "1,2")),
    (trial(more=', "deny": [¶"10.0.0.1/32:1"]'), "tests[0].deny[0]", "A test tries one address: write it without a prefix."),
    (trial(more=', "deny": [¶"lan:1"]'), "tests[0].deny[0]", "A test tries one address: the host lan is a whole prefix."),
    *((trial(more=f', "deny": [¶"{name}:1"]'), "tests[0].deny[0]", f"“{name}” cannot stand here.") for name in ("*", "autogroup:self", "autogroup:internet")),
    # sizes
    ('{"acls": ¶[' + "{}," * 2001 + "]}", "acls", "There are 2001 entries here; at most 2000 are allowed."),
    ('{"ssh": ¶[' + "{}," * 101 + "]}", "ssh", "There are 101 entries here; at most 100 are allowed."),
    ('{"tests": ¶[' + "{}," * 501 + "]}", "tests", "There are 501 entries here; at most 500 are allowed."),
    ('{"hosts": ¶{' + ",".join(f'"h{n}": "10.0.0.1"' for n in range(501)) + "}}", "hosts", "There are 501 entries here; at most 500 are allowed."),
    ('¶{"acls": [' + ",".join('{"action": "accept", "src": [], "dst": [' + ",".join(f'"*:{n + 1}"' for n in range(200)) + "]}" for _ in range(11)) + "]}",
     "", "These are 2200 rules, one for each set of ports; at most 2000 are allowed."),
]  # fmt: skip


@pytest.mark.parametrize(("marked", "path", "reason"), WRONG, ids=[f"{number}-{path}" for number, (_, path, _) in enumerate(WRONG)])
def test_what_cannot_be_kept_is_refused_at_its_place(marked, path, reason):
    text, place = unmarked(marked)
    (fault,) = faults(read, text)
    assert (fault.place, fault.path) == (place, path)
    assert fault.reason.startswith(reason)


def test_all_faults_are_told_in_the_order_of_the_text():
    found = faults(read, '{"tests": 1,\n "ssh": [{}],\n "acls": [{"action": "drop", "src": ["tag:no"], "dst": ["x"]}]}')
    assert [(fault.place.line, fault.place.column, fault.path) for fault in found] == [
        (1, 11, "tests"),
        *[(2, 10, "ssh[0]")] * 4,
        (3, 22, "acls[0].action"),
        (3, 38, "acls[0].src[0]"),
        (3, 57, "acls[0].dst[0]"),
    ]


def test_no_more_faults_are_told_than_somebody_reads():
    found = faults(read, '{"acls": [\n' + "{},\n" * 1000 + "]}")
    assert len(found) == MOST_FAULTS
    assert found[-1].place == Place(18, 1)


PIECES = st.sampled_from(
    [*'{}[],:"/* \n', '"acls"', '"src"', '"dst"', '"tag:a"', '"tagOwners"', '"groups"', '"group:a"', '"*:*"', '"accept"', "null", "1", "//"]
)


@given(st.text(max_size=100) | st.lists(PIECES, max_size=40).map("".join))
def test_garbage_is_refused_and_does_nothing_else(text):
    assert all(fault.reason for fault in faults(read, text))


FIELD_NAMES = [
    *(
        "groups",
        "tagOwners",
        "hosts",
        "acls",
        "grants",
        "ssh",
        "autoApprovers",
        "nodeAttrs",
        "tests",
        "routes",
        "exitNode",
        "action",
        "proto",
        "src",
        "dst",
    ),
    *(
        "users",
        "checkPeriod",
        "acceptEnv",
        "ip",
        "app",
        "via",
        "target",
        "attr",
        "accept",
        "deny",
        "group:dev",
        "tag:web",
        "printer",
        "10.0.0.0/8",
        "a.test/x",
    ),
]
TEXTS = [
    "*",
    "*:*",
    "tag:web",
    "tag:web:22",
    "group:dev",
    "printer",
    "accept",
    "check",
    "a@b.test",
    "10.0.0.1",
    "fd7a::1:22",
    "autogroup:self",
    "1h",
    "",
    "é",
]
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(TEXTS) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELD_NAMES), inner, max_size=6),
)


@given(
    st.dictionaries(
        st.sampled_from(FIELD_NAMES[:9]), TREES | st.lists(st.dictionaries(st.sampled_from(FIELD_NAMES), TREES, max_size=6), max_size=3)
    )
)
def test_any_tree_is_read_or_refused(tree):
    assert all(fault.reason for fault in faults(read, json.dumps(tree)))
