"""Stages, outcomes and causes in words, and what helps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class Words(NamedTuple):
    """What it means, and what helps."""

    meaning: Promise
    remedy: Promise


STAGES: Mapping[str, Promise] = {
    "asked": _("asked"),
    "granted": _("granted"),
    "shown": _("key shown"),
    "redeemed": _("key redeemed"),
    "online": _("first online"),
    "peers": _("peers visible"),
}
OUTCOMES: Mapping[str, Promise] = {
    "done": _("done"),
    "refused": _("refused"),
    "expired": _("the key ran out unused"),
    "released": _("the key was never made, or was withdrawn"),
    "gone": _("the device was deleted"),
}
CAUSES: Mapping[str, Words] = {
    "quota": Words(
        _("Every device slot of the tenant, or of the credential, is taken."),
        _("Delete devices that are no longer needed, wait until unused keys run out, or raise the limit."),
    ),
    "tenant-suspended": Words(_("The tenant is suspended or closed."), _("Resume the tenant; the device may ask again then.")),
    "payment-overdue": Words(
        _("A payment of the tenant is overdue: it gets no new keys."), _("Once the payment has come, the device may ask again at once.")
    ),
    "registration-refused": Words(
        _(
            "The device's enrolment is disabled, its registration id is not among those that the group admits, or a group or a trusted token has proven"
            " this id before."
        ),
        _(
            "Enable the enrolment, change the group's patterns, or let the device prove its name; deleting the device that has the id frees it."
        ),
    ),
    "approval": Words(_("The device waits until an administrator accepts it."), _("Accept or refuse it; it asks again by itself.")),
    "approval-full": Words(
        _("So many devices wait for an administrator's decision that no further one may."),
        _("Accept or refuse those that wait, or revoke the credential that brings them: what asked with it waits no more then."),
    ),
    "region": Words(_("The device wished for a region that the plan does not include."), _("Leave the region out, or change the plan.")),
    "no-cluster": Words(
        _("No cluster had room for the tenant."), _("Provision a cluster, or make room: the queue of placement shows what is needed.")
    ),
    "cluster-down": Words(
        _("The tenant's cluster does not answer, or is out of service."),
        _("Look at the cluster's page and its log. Devices come back by themselves when it does."),
    ),
    "queued": Words(
        _("The device has its place in the queue for a key: its cluster makes a few in a second only."),
        _("It gets its key when it asks again, with the same registration id; many devices that arrive together wait minutes."),
    ),
    "server-silent": Words(
        _("The cluster was asked for a key and has not given one yet."),
        _("It is settled by itself within minutes; the device may ask again."),
    ),
    "credential": Words(
        _("The credential was not accepted: unknown, expired, revoked, used up, or of another account."),
        _("Give the device a valid credential."),
    ),
    "idempotency": Words(_("The device used one Idempotency-Key for different requests."), _("Send a new key with a new request.")),
    "request": Words(_("The request could not be read."), _("Mend the client: the reason names the fields.")),
    "refused": Words(_("The request was refused."), _("The reason says why.")),
    "clock": Words(
        _("The device's clock is wrong."), _("Set it, by NTP for instance: signatures and TLS certificates are valid for a time only.")
    ),
    "dns": Words(
        _("The device cannot resolve the login server's name."), _("Look at its resolver, and at the name's records from its network.")
    ),
    "port-443": Words(
        _("The device cannot open a TCP connection to the login server on port 443."),
        _("A firewall or a proxy forbids it: allow TCP 443 to the login server."),
    ),
    "tls": Words(
        _("The device does not trust the login server's certificate, or something in between replaces it."),
        _("Look at its CA certificates and clock; exempt the login server from TLS inspection."),
    ),
    "captive-portal": Words(_("A captive portal stands in the device's way."), _("Sign in to the network's portal first.")),
    "no-relay": Words(
        _("The device reaches no relay (DERP)."), _("Allow TCP 443 to the relays of the DERP map, and UDP 3478 to measure them.")
    ),
    "went-offline": Words(
        _("The device was online and is not any more."), _("Is it switched on, and tailscaled running? Its log says why it cannot connect.")
    ),
    "key-expired": Words(
        _("The key ran out before the device used it."),
        _("Ask again and run the command within the key's lifetime, or make keys live longer."),
    ),
    "login-expired": Words(_("The device's login has expired."), _("Sign in again on the device: tailscale up --force-reauth.")),
    "alone": Words(
        _("The tenant has no other device that this one may see."),
        _("Enrol a second device; devices of one tenant see each other unless its network policy has rules of its own."),
    ),
    "tagged": Words(
        _("The device is tagged, and no rule of the tenant's network policy lets it see others."),
        _("Name one of its tags in a rule of the policy: what holds for a person's devices does not hold for tagged ones."),
    ),
    "policy": Words(
        _("No rule of the tenant's network policy lets the device see others."),
        _("Name the device, its person or a group of people in a rule of the policy."),
    ),
    "unreached": Words(
        _("The device was told its key and has not used it: it may not have run the command, or not reach the login server."),
        _(
            "Run the command on the device and read what it says. The reference client's report tells whether DNS, port 443, TLS and the clock are in order."
        ),
    ),
    "udp-blocked": Words(
        _("UDP is blocked: every connection goes through a relay."), _("Allow UDP out, to port 41641 and to port 3478 of the relays.")
    ),
    "hard-nat": Words(
        _("The device is behind a NAT that shows every peer another address, and no UPnP, NAT-PMP or PCP opens a port."),
        _("Switch on UPnP or NAT-PMP, or forward a UDP port; connections to others behind such a NAT go through a relay until then."),
    ),
    "no-ipv6": Words(_("The device has no IPv6."), _("Not needed; with it, direct connections succeed more often.")),
}
