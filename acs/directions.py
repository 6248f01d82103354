"""Where a known account lives, for a caller without a credential: no secret, no placement."""

from __future__ import annotations

from django.conf import settings
from django.utils.translation import gettext as _

from acs import throttle
from acs.door import Admission, BootstrapRequest
from acs.throttle import Hit
from placement import standing
from placement.errors import NotPlacedYet
from placement.names import headscale_url
from tenants.errors import BadCredential, MalformedRequest, UnknownAccount


def directions(request: BootstrapRequest) -> Admission:
    """Raises: BadCredential (this door is closed), MalformedRequest, UnknownAccount, NotPlacedYet, TooManyRequests."""
    if not settings.ANONYMOUS_BOOTSTRAP:
        raise BadCredential
    throttle.spend(request.trail.spent, Hit("anonymous", request.address, shown=True))
    if not request.account:
        raise MalformedRequest({"account": _("needed without a credential")})
    home = standing.home_of(request.account)
    if home is None:
        raise UnknownAccount
    if home.cluster_id is None:
        raise NotPlacedYet
    return Admission(home.cluster_id, headscale_url(request.account, home.client_url))
