"""Whose tokens a tenant believes: issuers, what their tokens have to say, the keys they sign with, and the tokens that were used."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from tenants.models.credentials import EnrolmentKey
from tenants.models.tenant import Tenant
from tenants.scoping import TenantManager


class TrustPolicy(models.Model):
    """Workloads that prove themselves with a token of an OIDC issuer (clients/WORKLOADS.md)."""

    key = models.OneToOneField(EnrolmentKey, models.CASCADE, primary_key=True, related_name="trust_policy", verbose_name=_("credential"))
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="trust_policies")
    name = models.SlugField(_("name"), max_length=40)
    issuer = models.CharField(_("issuer"), max_length=300, help_text=_("Exactly as the tokens' iss claim has it."))
    audience = models.CharField(_("audience"), max_length=300, help_text=_("Exactly what the tokens' aud claim is or holds."))
    subject = models.CharField(_("subject"), max_length=512, help_text=_("A pattern with * and ? for the whole sub claim."))
    claims = models.JSONField(
        _("claims"), default=dict, blank=True, help_text=_("Further claims by name, each with a pattern or a list of patterns.")
    )
    jwks_uri = models.CharField(
        _("address of its keys"), max_length=500, blank=True, default="", help_text=_("Empty: as the issuer's discovery document says.")
    )
    jwks = models.JSONField(
        _("its keys"), null=True, blank=True, help_text=_("A JSON Web Key Set, for an issuer that cannot be reached from here.")
    )
    registration_claim = models.CharField(
        _("claim that names the device"),
        max_length=120,
        default="sub",
        help_text=_("Becomes its registration id: one slot for each value."),
    )

    objects = TenantManager()

    class Meta:
        verbose_name = _("trust policy")
        verbose_name_plural = _("trust policies")
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="trust_policy_has_one_name_in_a_tenant"),
            models.CheckConstraint(condition=Q(jwks_uri="") | Q(jwks__isnull=True), name="trust_policy_has_one_source_of_keys"),
        ]
        indexes = [models.Index(fields=["issuer", "audience"], name="trust_policies_of_a_token")]

    def __str__(self) -> str:
        return self.name


class IssuerKeys(models.Model):
    """An issuer's public keys as they were fetched last, the same for all tenants. `source`: what was asked for them.

    A row is claimed by moving `tried_at` (or, for a key that nobody knew, `refetched_at`): who moved it fetches.
    """

    source = models.CharField(_("source"), max_length=600, primary_key=True)
    jwks = models.JSONField(_("keys"), null=True)
    fetched_at = models.DateTimeField(_("fetched"), null=True)
    tried_at = models.DateTimeField(_("last tried"), null=True)
    refetched_at = models.DateTimeField(_("last asked for an unknown key"), null=True)
    failure = models.CharField(_("why it failed"), max_length=300, blank=True, default="")

    class Meta:
        verbose_name = _("issuer's keys")
        verbose_name_plural = _("issuers' keys")
        constraints = [
            models.CheckConstraint(
                condition=Q(jwks__isnull=True, fetched_at__isnull=True) | Q(jwks__isnull=False, fetched_at__isnull=False),
                name="fetched_keys_have_their_time",
            )
        ]

    def __str__(self) -> str:
        return self.source


class SpentToken(models.Model):
    """A token that was used, kept until nobody would accept it any more.

    Unlike nonces (good for minutes) tokens may live for a day: this table survives a crash. `request` is the digest of the request that
    may present it once more, the same one with its Idempotency-Key; without such a key nobody may.
    """

    id = models.BigAutoField(primary_key=True)
    key = models.ForeignKey(EnrolmentKey, models.CASCADE, related_name="+", db_index=False)
    jti = models.BinaryField(max_length=32)
    request = models.BinaryField(max_length=32, null=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "jti"], name="token_is_used_once")]

    def __str__(self) -> str:
        return bytes(self.jti).hex()
