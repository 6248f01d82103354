"""`manage.py trust_policy make|change|list|show|revoke|test`: workloads that prove themselves with a token of an issuer."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from tenants import credentials, questions, trust, webtokens, workloads
from tenants.management.verbs import VerbCommand, day, duration, tenant_of
from tenants.models import EnrolmentKey, TrustPolicy
from tenants.webtokens import Unusable

SAID = (
    *("issuer", "audience", "subject", "claims", "jwks_uri", "jwks", "registration_claim", "description", "max_devices"),
    *("key_lifetime", "ephemeral", "approval", "re_enrolment", "want_region", "want_cluster", "tags"),
)


class Command(VerbCommand):
    help = "Makes, changes, shows and revokes trust policies, and tells what each of them thinks of a token (clients/WORKLOADS.md)."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        make = verbs.add_parser("make", help="a new policy")
        change = verbs.add_parser("change", help="other settings for what is asked from now on")
        for each in (make, change):
            self._named(each)
            self._own(each, needed=each is make)
            self._settings(each)
        self._named(verbs.add_parser("show", help="everything about one policy"))
        self._named(verbs.add_parser("revoke", help="no new keys for its workloads from now on"))
        verbs.add_parser("list", help="a tenant's policies, a line each").add_argument("account")
        test = verbs.add_parser("test", help="what each policy thinks of a token, question by question; the token is not used up by that")
        test.add_argument("account")
        test.add_argument("token", metavar="FILE", help="holds the token; - reads standard input")

    def _named(self, parser: CommandParser) -> None:
        parser.add_argument("account")
        parser.add_argument("name")

    def _own(self, parser: CommandParser, *, needed: bool) -> None:
        parser.add_argument("--issuer", required=needed, metavar="URL", help="exactly as the tokens' iss claim has it")
        parser.add_argument("--audience", required=needed, help="exactly what the tokens' aud claim is or holds")
        parser.add_argument("--subject", required=needed, metavar="PATTERN", help="for the whole sub claim, with * and ?")
        parser.add_argument(
            "--claim", action="append", dest="claim", metavar="NAME=PATTERN", help="may be repeated; of several for one name one has to fit"
        )
        parser.add_argument("--jwks-uri", metavar="URL", help="where its keys are; without it the issuer's discovery document says so")
        parser.add_argument("--jwks-file", metavar="FILE", help="its keys, for an issuer that cannot be reached from here")
        parser.add_argument("--registration-claim", metavar="CLAIM", help="names the device: one slot for each of its values; usually sub")

    def _settings(self, parser: CommandParser) -> None:
        parser.add_argument("--description")
        parser.add_argument(
            "--tag",
            action="append",
            dest="tags",
            metavar="TAG",
            help="such as tag:web, which the tenant's policy declares; may be repeated",
        )
        parser.add_argument("--max-devices", type=int, metavar="DEVICES")
        parser.add_argument("--key-lifetime", type=duration, metavar="TIME", help="such as 30m; 2m to 24h")
        parser.add_argument("--expires-in", type=duration, metavar="TIME", help="such as 30d; without it the policy lasts until revoked")
        parser.add_argument("--ephemeral", action="store_true", default=None, help="its devices vanish soon after they went offline")
        parser.add_argument("--approval", action="store_true", default=None, help="a device waits until an admin accepts it")
        parser.add_argument("--re-enrolment", choices=EnrolmentKey.ReEnrolment.values, help="what a device gets that asks again")
        parser.add_argument("--region", dest="want_region", help="guides the tenant's first placement")
        parser.add_argument("--cluster", dest="want_cluster", help="the same, to one cluster, if it has room")

    def do_make(self, *, account: str, name: str, **options: Any) -> None:
        policy = trust.make(tenant_of(account), name, **_wish(options), **self.acted)
        self.stdout.write(f"{policy.pk}  {policy.name} trusts {policy.issuer}")

    def do_change(self, *, account: str, name: str, **options: Any) -> None:
        policy = trust.change(_policy(account, name), **_wish(options), **self.acted)
        self.stdout.write(f"{policy.name} is changed")

    def do_revoke(self, *, account: str, name: str, **_: Any) -> None:
        credentials.revoke(_policy(account, name).key, **self.acted)
        self.stdout.write(f"{name} is revoked")

    def do_list(self, *, account: str, **_: Any) -> None:
        for policy in TrustPolicy.objects.of(tenant_of(account)).select_related("key"):
            self.stdout.write(
                f"{policy.pk}  {policy.name}  {_state(policy)}  {policy.key.devices} devices  {policy.issuer}  {policy.subject}"
            )

    def do_show(self, *, account: str, name: str, **_: Any) -> None:
        policy = _policy(account, name)
        keys = "the ones of the policy" if policy.jwks else policy.jwks_uri or "as the issuer's discovery says"
        for word, value in {
            "policy": f"{policy.pk}  {policy.name}  {_state(policy)}",
            "issuer": policy.issuer,
            "audience": policy.audience,
            "subject": policy.subject,
            "claims": json.dumps(policy.claims, ensure_ascii=False),
            "keys": keys,
            "tags": ", ".join(policy.key.tags) or "none",
            "device": f"named by the claim {policy.registration_claim}",
            "devices": f"{policy.key.devices} of {policy.key.max_devices if policy.key.max_devices is not None else 'no limit'}",
            "expires": day(policy.key.expires_at),
            "last used": day(policy.key.last_used_at),
        }.items():
            self.stdout.write(f"{word:10} {value}")

    def do_test(self, *, account: str, token: str, **_: Any) -> None:
        now, tenant = timezone.now(), tenant_of(account)
        try:
            read = webtokens.read(_text(token))
        except Unusable as error:
            raise CommandError(f"That is no token: {error}.") from error
        policies = list(trust.live(now=now).filter(tenant=tenant).order_by("key__created_at", "pk"))
        if not policies:
            raise CommandError(f"{account} has no live trust policy.")
        admitted = [policy for policy in policies if self._told(read, policy)]
        if not admitted:
            raise CommandError("No policy admits this token.")
        name = questions.name_of(read, admitted[0], now)
        spent = "; but it was used already" if workloads.is_spent(read, admitted[0]) else ""
        self.stdout.write(f"{admitted[0].name} admits it as {name}{spent}")

    def _told(self, token: webtokens.WebToken, policy: TrustPolicy) -> bool:
        """Every question of one policy, a line each; whether all were passed."""
        self.stdout.write(policy.name)
        answers = list(questions.judge(token, policy, now=timezone.now()))
        for answer in answers:
            self.stdout.write(f"  {'ok' if answer.passed else 'NO':3} {answer.question:16} {answer.detail}")
        return all(answer.passed for answer in answers)


def _wish(options: dict[str, Any]) -> dict[str, Any]:
    """Only what was said: the rest keeps its value, or gets the default."""
    said = {name: options[name] for name in SAID if options.get(name) is not None}
    if options.get("claim") is not None:
        said["claims"] = _claims(options["claim"])
    if options.get("jwks_file") is not None:
        try:
            said["jwks"] = json.loads(_text(options["jwks_file"]))
        except ValueError as error:
            raise CommandError(f"--jwks-file: no JSON ({error})") from error
    if isinstance(lifetime := options.get("expires_in"), timedelta):
        said["expires_at"] = timezone.now() + lifetime
    return said


def _claims(pairs: list[str]) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, pattern = pair.partition("=")
        if not equals:
            raise CommandError(f"--claim {pair}: NAME=PATTERN")
        wanted.setdefault(name, []).append(pattern)
    return wanted


def _text(path: str) -> str:
    try:
        return (sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error


def _state(policy: TrustPolicy) -> str:
    if policy.key.revoked_at:
        return "revoked"
    return "expired" if policy.key.expires_at and policy.key.expires_at <= timezone.now() else "live"


def _policy(account: str, name: str) -> TrustPolicy:
    found = TrustPolicy.objects.of(tenant_of(account)).select_related("key__tenant", "tenant").filter(name=name).first()
    if found is None:
        raise CommandError(f"{account} has no trust policy {name!r}: `manage.py trust_policy list {account}` shows them.")
    return found
