"""People and their local accounts: found by an address that somebody vouches for, or made by an operator. The one page that knows allauth's rows.

Whoever signed up by themselves is found only when they have verified their address: with another's address nobody becomes a member.
"""

from __future__ import annotations

from datetime import datetime

from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress
from allauth.account.utils import user_pk_to_url_str
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.urls import reverse
from django.utils.translation import gettext as _

from tenants import audit
from tenants.errors import MalformedRequest

LONGEST_NAME = 150


def find(email: str) -> User | None:
    """By a verified address; or by the address that operators gave an account which has verified none."""
    verified = EmailAddress.objects.filter(email__iexact=email, verified=True).select_related("user").first()
    if verified is not None:
        found: User = verified.user
        return found
    return User.objects.filter(email__iexact=email, emailaddress=None).order_by("pk").first() if email else None


@transaction.atomic
def make(email: str, *, now: datetime, actor: str) -> User:
    """A new person without a password; the operator vouches for the address. Raises: MalformedRequest."""
    email = email.strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        raise MalformedRequest({"email": _("not an e-mail address")}) from None
    taken = User.objects.filter(email__iexact=email).exists() or EmailAddress.objects.filter(email__iexact=email).exists()
    if taken or len(email) > LONGEST_NAME or User.objects.filter(username=email).exists():
        raise MalformedRequest({"email": _("taken")})
    person = User.objects.create_user(email, email)
    EmailAddress.objects.create(user=person, email=email, verified=True, primary=True)
    audit.record("person.make", actor=actor, tenant=None, target=f"person:{person.pk}", now=now, email=email)
    return person


def password_path(person: User) -> str:
    """The path of the page on which the person chooses a password; whoever has it is that person until it was used, or three days have passed."""
    made = default_token_generator.make_token(person)
    return reverse("account_reset_password_from_key", kwargs={"uidb36": user_pk_to_url_str(person), "key": made})


def actor_of(person: User) -> str:
    return f"person:{person.pk}"
