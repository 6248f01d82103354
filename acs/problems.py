"""/problems/<code>: what each code of an error answer means, and what to do about it. The `type` of every problem document leads here."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from acs import errors


@dataclass(frozen=True)
class Page:
    """What a code means and what helps, for people."""

    meaning: Promise
    remedy: Promise


PAGES: dict[str, Page] = {
    "malformed-request": Page(
        _("The request cannot be read: a field is missing, unknown, of the wrong type or out of range. “errors” names each of them."),
        _("Mend the named fields and ask again."),
    ),
    "bad-credential": Page(
        _(
            "The credential is missing, unknown, expired, revoked, used up, or belongs to another account. "
            "Which of these it is, is never told: a stranger could learn from it. "
            "Only a device that signs rightly is told, in “detail”, that its clock is wrong or that it repeats itself."
        ),
        _("Ask your administrator for a new enrolment key or API token, and send it as a bearer token."),
    ),
    "registration-refused": Page(
        _("The credential is valid, and this very device is not admitted with it. Why, only its administrators are told."),
        _("Ask your administrator: the device's enrolment may be disabled, or its registration id not among those that are allowed."),
    ),
    "approval-pending": Page(
        _("The device has asked rightly and waits until an administrator accepts it. It takes no slot of the quota meanwhile."),
        _("Ask again after the seconds that Retry-After names; the device keeps its place."),
    ),
    "unknown-account": Page(_("There is no tenant of this name."), _("Check the spelling of the account.")),
    "quota-exceeded": Page(
        _("Every device slot of the tenant is taken, by devices or by keys that were handed out and not used yet."),
        _("Delete devices that are no longer needed, wait until unused keys expire, or ask for a larger plan."),
    ),
    "members-exceeded": Page(
        _("The tenant has as many members as its plan lets in. Those who are there stay."),
        _("Remove members who are no longer needed, or ask for a larger plan."),
    ),
    "region-not-in-plan": Page(
        _("The tenant's plan does not include the wished region."), _("Leave the region out, or ask for another plan.")
    ),
    "tenant-suspended": Page(
        _("The tenant is suspended or closed: it gets no new keys, and its API only reads."), _("Ask the operator of this service why.")
    ),
    "missing-scope": Page(
        _("The API token is valid, but lacks the scope for this."), _("Use a token that has the scope named in “detail”.")
    ),
    "idempotency-mismatch": Page(
        _("The Idempotency-Key was used before with another request, or its answer can no longer be told again."),
        _("Send a new key with a new request, and the same key only with the very same request."),
    ),
    "too-many-requests": Page(_("A limit on requests is spent."), _("Come back after the seconds that Retry-After names.")),
    "wrong-state": Page(
        _("The act does not fit the present state, such as resuming a tenant that is active, or revoking a key that is revoked."),
        _("Read the present state first; perhaps somebody else has done it already."),
    ),
    "route-conflict": Page(
        _(
            "A prefix that overlaps this one is routed by somebody else on the same cluster, and one cluster can route it to one network only."
        ),
        _("Announce a prefix that overlaps nobody's, or ask the operator to move the tenant to one of the clusters that “clusters” names."),
    ),
    "peering-across-clusters": Page(
        _("A peering joins devices of two tenants on one cluster, and these two do not live on the same one. “detail” says more."),
        _(
            "Ask the operator of this service to move the tenant that “detail” names, then accept the offer again: it stays open for 30 days."
        ),
    ),
    "stale-version": Page(
        _(
            "Somebody else has stored a version of the policy since the one that you saw. Nothing was merged, and nothing of yours was stored."
        ),
        _("Read the version that “current_version” names, look at what it changed, and store your text again on top of it."),
    ),
    "version-required": Page(
        _("Storing a policy replaces what others may have changed meanwhile, so it has to say which version it saw."),
        _(
            "Send the header If-Match with the ETag of the policy that you read: the number of its version in quotes, “0” where there is none yet."
        ),
    ),
    "policy-refused": Page(
        _(
            "The network policy cannot be used: it is no HuJSON, has parts that are not known here, or names what the network does not have."
        ),
        _("“faults” names everything that is wrong, with line, column and path. Mend it and send the policy again."),
    ),
    "policy-not-proven": Page(
        _(
            "The network policy can be read, and still it was not stored: one of its own tests fails, "
            "or the server found that it would not keep the network apart from others."
        ),
        _("“faults” names the tests that fail, “detail” what the server said. Mend the rules or the tests."),
    ),
    "no-price-in-currency": Page(
        _("This version of the plan is not sold in the currency of the tenant's billing account."),
        _("Choose a version that has a price in that currency, or ask the operator of this service to publish one."),
    ),
    "no-tax-rate": Page(
        _("The billing account is taxed at the rate of its country, and the operators have not entered one for it."),
        _("Check the country, or enter its rate: manage.py pricing tax."),
    ),
    "evidence-gone": Page(
        _("The sessions of that time are older than what is kept: it cannot be counted again, nor in parts of days."),
        _("Ask for whole days, or see the invoice: what was billed stands on it for good."),
    ),
    "not-rateable": Page(
        _("The tenant's subscription was in two currencies within one month; an invoice has one."),
        _("Operators: end the one and begin the other at the turn of a month."),
    ),
    "no-seller": Page(
        _("Invoices are numbered under the name of whoever issues them, and nobody has said who that is."),
        _("Operators: set ACS_SELLER, as the README tells."),
    ),
    "no-invoice-font": Page(
        _("The invoice has characters for which the service has no font."),
        _("Operators: install fonts-noto-cjk, or name a folder with such a font in ACS_INVOICE_FONTS."),
    ),
    "payment-overdue": Page(
        _("An invoice of the tenant is past its due date: its devices stay as they are, and it gets no new keys."),
        _("Pay the invoice, with its reference on the transfer; new keys are given as soon as the payment has been entered."),
    ),
    "statement-refused": Page(
        _("The statement cannot be read, does not add up, or is not of an account of the operator's. Nothing of it was imported."),
        _("“detail” says what is wrong and where. Ask the bank for the file again, or say how it is written; then import it again."),
    ),
    "bad-signature": Page(
        _("The message is not signed by the payment provider, was changed on its way, or is more than five minutes old."),
        _("Operators: compare ACS_STRIPE_WEBHOOK_SECRETS with the provider's, and the clock with the time."),
    ),
    "payment-provider-not-set-up": Page(
        _("Card payments need an account at the payment provider, and nobody has said which."),
        _("Operators: set ACS_STRIPE_KEY and ACS_STRIPE_WEBHOOK_SECRETS, as the README tells. Pay by transfer meanwhile."),
    ),
    "payment-provider-refused": Page(
        _("The payment provider said no; “detail” has its words."), _("Pay by transfer, or ask the operator of this service.")
    ),
    "payment-provider-away": Page(
        _("The payment provider does not answer, or cannot be understood."), _("Come back after the seconds that Retry-After names.")
    ),
    "coupon-refused": Page(
        _("The coupon is unknown, in another currency, not redeemable any more, or redeemed already."),
        _("“detail” says which of these it is."),
    ),
    "no-billing-account": Page(
        _("Nobody has said yet to whom the tenant's invoices go, and in which currency."), _("Make its billing account first.")
    ),
    "no-subscription": Page(
        _("The tenant has no subscription, or it has ended."), _("Start a subscription first; read the present one to see what was agreed.")
    ),
    "no-cluster-available": Page(
        _("No cluster has room for the tenant right now, or nobody has placed it yet."),
        _("Come back after the seconds that Retry-After names. The first device of a tenant joins with an enrolment key."),
    ),
    "cluster-error": Page(
        _("The tenant's cluster refused what it was asked."), _("Come back later. If it stays so, tell the operator of this service.")
    ),
    "cluster-busy": Page(
        _("The tenant's cluster could not be reached, did not answer in time, or has more devices before this one than it can serve now."),
        _(
            "Come back after the seconds that Retry-After names, with the same Idempotency-Key or registration_id: nothing is done twice, and a device"
            " that names itself by one of them keeps its place in the queue."
        ),
    ),
    "service-unavailable": Page(
        _("The service itself cannot work right now, for instance because its database is restarting."),
        _("Come back after the seconds that Retry-After names."),
    ),
    "not-found": Page(_("There is no such thing at this address, or it is not yours."), _("Check the address, and whose token you use.")),
    "method-not-allowed": Page(_("The address exists, but not for this method."), _("See the API's documentation.")),
    "not-acceptable": Page(_("The API answers in application/json only."), _("Leave the Accept header out, or accept application/json.")),
    "unsupported-media-type": Page(_("The API reads application/json only."), _("Send the header Content-Type: application/json.")),
    "internal-error": Page(
        _("Something went wrong here. It is our fault, and it has been logged."),
        _("If it happens again, tell the operator the X-Request-ID of the answer."),
    ),
}


@require_safe
def page(request: HttpRequest, code: str) -> HttpResponse:
    found = PAGES.get(code)
    if found is None:
        raise Http404
    statuses = sorted({problem.status for problem in (*errors.PROBLEMS.values(), errors.INTERNAL) if problem.code == code})
    return render(request, "acs/problem.html", {"code": code, "page": found, "statuses": statuses})
