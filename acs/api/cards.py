"""Where Stripe says what happened. Not for tokens: the message is believed for its signature on the very bytes that came, and then only as a reason to look."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from acs.api.bodies import read_body
from billing.payments import cards

MOST = 512 * 1024  # bytes of a message


@csrf_exempt
@require_POST
def stripe(request: HttpRequest) -> HttpResponse:
    event = cards.receive(read_body(request, most=MOST), request.headers.get("Stripe-Signature", ""), now=timezone.now())
    return JsonResponse({"state": event.state})
