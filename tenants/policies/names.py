"""What a name of a policy is by its shape: a group, a tag, a person, an address, or else a host or device. Pure.

Names are ASCII, so that no two look alike: a name with a Cyrillic а would stand for nobody while it reads as somebody.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from tenants.policies.document import EVERYONE, INTERNET, MEMBER, SELF, TAGGED
from tenants.policies.hujson import described, shortened
from tenants.policies.parts import Refusal, Sentence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# kinds of names beside those that are their own kind: EVERYONE, MEMBER, TAGGED, SELF, INTERNET, ADMIN, OWNER
GROUP, TAG, EMAIL, ADDRESS, PREFIX, HOST, DEVICE = "group", "tag", "e-mail", "address", "prefix", "host", "device"
ADMIN, OWNER = "autogroup:admin", "autogroup:owner"
AUTOGROUPS = frozenset({MEMBER, TAGGED, SELF, INTERNET, ADMIN, OWNER})

LONGEST_DEVICE, LONGEST_EMAIL = 128, 254
NAME_OF_GROUP = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}\Z")
NAME_OF_TAG = re.compile(r"[a-z](?!.*--)[a-z0-9-]{0,39}\Z")
NAME_OF_DEVICE = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?\Z")
LOCAL_PART = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]+\Z")
DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*\Z")
ODD_SIGN = re.compile(r"[^a-z0-9._-]")
FOUR_NUMBERS = re.compile(r"[0-9]+(?:\.[0-9]+){3}\Z")
BITS = re.compile(r"(?:0|[1-9][0-9]{0,2})\Z")
MAPPED = ipaddress.ip_network("::ffff:0:0/96")

ELSEWHERE: Mapping[str, Sentence] = {
    "autogroup:danger-all": gettext_lazy(
        "autogroup:danger-all is not allowed: it means everybody on the server, other tenants too. * is every device of yours."
    ),
    "autogroup:nonroot": gettext_lazy("autogroup:nonroot is a login of SSH rules and stands for no device."),
    "autogroup:shared": gettext_lazy("autogroup:shared is not supported: headscale shares no devices between networks."),
    "autogroup:members": gettext_lazy("autogroup:members is the old name: write autogroup:member."),
}


def classify(text: str) -> tuple[str, str]:
    """The kind of a name and how it is kept: e-mail addresses and names in lower case, addresses in canonical form. Raises Refusal.

    A name of no other shape is DEVICE, whether or not a host of the document has it.
    """
    if not text:
        raise Refusal(_("A name is empty."))
    if text == EVERYONE:
        return EVERYONE, text
    for opening, read in PREFIXED.items():
        if text.startswith(opening):
            return read(text)
    if "@" in text:
        return EMAIL, email(text)
    if (found := address(text)) is not None:
        return ADDRESS, str(found)
    if "/" in text:
        return kept(network(text))
    return DEVICE, device(text)


def _autogroup(text: str) -> tuple[str, str]:
    if text in AUTOGROUPS:
        return text, text
    if text in ELSEWHERE:
        raise Refusal(ELSEWHERE[text])
    raise Refusal(_("“%(name)s” is not supported: headscale knows no such group of itself.") % {"name": shortened(text)})


def _group(text: str) -> tuple[str, str]:
    if not NAME_OF_GROUP.match(text.removeprefix("group:")):
        reason = _("“%(name)s” is no name of a group: after group: come a-z, 0-9, - and _, at most 40, first a letter or digit.")
        raise Refusal(reason % {"name": shortened(text)} + odd(text.removeprefix("group:")))
    return GROUP, text


def _tag(text: str) -> tuple[str, str]:
    if not NAME_OF_TAG.match(text.removeprefix("tag:")):
        reason = _("“%(name)s” is no name of a tag: after tag: come a-z, 0-9 and single -, at most 40, first a letter.")
        raise Refusal(reason % {"name": shortened(text)} + odd(text.removeprefix("tag:")))
    return TAG, text


def _unsupported(text: str) -> tuple[str, str]:
    raise Refusal(_("“%(name)s” is not supported: headscale has groups, tags, hosts and autogroups only.") % {"name": shortened(text)})


PREFIXED = {"autogroup:": _autogroup, "group:": _group, "tag:": _tag} | dict.fromkeys(("svc:", "ipset:", "posture:"), _unsupported)


def odd(text: str) -> str:
    """A second sentence that names the character nobody would suspect, or nothing."""
    strange = ODD_SIGN.search(text)
    if strange is None or "A" <= strange[0] <= "Z":
        return ""
    return " " + _("It has the character %(sign)s.") % {"sign": described(strange[0])}


def email(text: str) -> str:
    """A member's e-mail address in lower case. Raises Refusal."""
    if not text.isascii():
        strange = next(sign for sign in text if not sign.isascii())
        reason = _("“%(name)s” is no e-mail address: it has the character %(sign)s.")
        raise Refusal(reason % {"name": shortened(text), "sign": described(strange)})
    local, _at, domain = text.lower().partition("@")
    if local and not domain:
        raise Refusal(_("“%(name)s” names a user of the server: write a member's e-mail address.") % {"name": shortened(text)})
    if len(text) > LONGEST_EMAIL or local == "*" or not LOCAL_PART.match(local) or not DOMAIN.match(domain):
        raise Refusal(_("“%(name)s” is no e-mail address.") % {"name": shortened(text)})
    return f"{local}@{domain}"


def device(text: str) -> str:
    """The name of a host or device in lower case. Raises Refusal."""
    name = text.lower() if text.isascii() else text
    if FOUR_NUMBERS.match(name):
        raise Refusal(_("“%(name)s” is no IP address.") % {"name": shortened(text)})
    if strange := ODD_SIGN.search(name):
        reason = _("“%(name)s” is no name: it has the character %(sign)s.")
        raise Refusal(reason % {"name": shortened(text), "sign": described(strange[0])})
    if len(name) > LONGEST_DEVICE or not NAME_OF_DEVICE.match(name):
        reason = _("“%(name)s” is no name: it has at most %(longest)d characters and begins and ends with a letter or digit.")
        raise Refusal(reason % {"name": shortened(text), "longest": LONGEST_DEVICE})
    return name


def address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a text is, or None. Raises Refusal for one that means something else to another program."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if "%" in text:
        raise Refusal(
            _("%(address)s has a zone, which only one machine knows: write the address without it.") % {"address": shortened(text)}
        )
    if found.version == 6 and found in MAPPED:
        raise Refusal(_("%(address)s is an IPv4 address written as IPv6: write it as IPv4.") % {"address": text})
    return found


def network(text: str) -> Network:
    """The IP prefix that a text is. Raises Refusal."""
    left, _slash, bits = text.partition("/")
    ip = address(left)
    if ip is None or not BITS.match(bits) or int(bits) > ip.max_prefixlen:
        raise Refusal(_("“%(name)s” is no IP prefix.") % {"name": shortened(text)})
    found: Network = ipaddress.ip_network((ip, int(bits)), strict=False)
    if found.network_address != ip:
        raise Refusal(_("%(written)s has bits set behind its prefix: write %(meant)s.") % {"written": text, "meant": found})
    return found


def kept(found: Network) -> tuple[str, str]:
    """A prefix as a word is kept: one of a single address is that address. Raises Refusal for the whole internet."""
    if found.prefixlen == 0:
        raise Refusal(_("%(prefix)s is not allowed: write autogroup:internet, or * for all devices of yours.") % {"prefix": found})
    return (ADDRESS, str(found.network_address)) if found.num_addresses == 1 else (PREFIX, str(found))
