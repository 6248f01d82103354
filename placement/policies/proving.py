"""Asking a server whether it would take a document, and whether the document does what it should; and whose fault it is where it does not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from django.utils.translation import gettext as _

from placement import clusters
from placement.errors import ClusterRefused, PlacementError
from placement.headscale.admin import Admin
from placement.models import Cluster
from placement.policies import proof, sizes
from placement.policies.compiling import Compiled, compile_cluster, tenants_of
from placement.policies.facts import ClusterFact, silenced
from placement.policies.proof import Question
from tenants.policies.document import NOTHING_WRITTEN

NOT_ABOUT_THE_DOCUMENT = (401, 403, 404, 413, 429)
LONGEST = 1000  # of a reason
PAIRS, LEAST_ASKED = 400_000, 50  # of questions and lines in one request


class NotProven(PlacementError):
    """The server would not take the document, or it does something else than it should.

    `account`: whose own policy is to blame, empty where nobody's alone is. `reason` tells that tenant, and nothing of others.
    """

    def __init__(self, account: str, reason: str) -> None:
        super().__init__(f"{account}: {reason}" if account else reason)
        self.account = account
        self.reason = reason[:LONGEST]


def prove(cluster: Cluster, compiled: Compiled, fact: ClusterFact, *, about: Collection[str], turn: int | None = None) -> None:
    """Ask the server whether `compiled` may run: the text, the own tests of the tenants `about`, and that they and others stay apart.

    With `turn` all other tenants are asked about too, some pairs at each turn. Raises: NotProven, ClusterError.
    """
    with clusters.admin_of(cluster) as admin:
        prove_by(admin, compiled, fact, about=about, turn=turn)


def prove_by(
    admin: Admin,
    compiled: Compiled,
    fact: ClusterFact,
    *,
    about: Collection[str],
    turn: int | None = None,
    go_on: Callable[[], None] = lambda: None,
) -> None:
    """The same with a server's API at hand. `go_on` is called before each request, and may raise to stop."""
    known = tenants_of(fact)
    questions = [question for account in sorted(about) if account in known for question in proof.own(known[account], compiled.form)]
    apart = proof.denials(fact, about, turn=turn or 0)
    if turn is not None:
        apart += proof.denials(fact, known.keys(), turn=turn, most=proof.MOST_OF_OTHERS)
    for batch in proof.batches(compiled.text, [*questions, *dict.fromkeys(apart)], most=_most(compiled)):
        go_on()
        try:
            refusal = _refusal(admin, compiled.text, batch)
        except ClusterRefused as error:
            if not sizes.is_about(error):
                raise
            account = sizes.blamed(compiled.sizes, about)
            raise NotProven(account, sizes.too_much() if account else error.reason) from error
        if refusal is not None:
            raise _blame(admin, fact, about, batch, refusal)


def broken(
    admin: Admin, compiled: Compiled, fact: ClusterFact, accounts: Collection[str], *, go_on: Callable[[], None] = lambda: None
) -> dict[str, str]:
    """Of tenants whose policy is in force, whose own tests do not hold any more, and which. Raises: ClusterError, and what `go_on` raises."""
    known = tenants_of(fact)
    questions = [question for account in sorted(accounts) if account in known for question in proof.own(known[account], compiled.form)]
    found: dict[str, list[Question]] = {}
    for batch in proof.batches(compiled.text, questions, most=_most(compiled)) if questions else ():
        go_on()
        refusal = _refusal(admin, compiled.text, batch)
        for question in proof.failed(refusal.reason, batch) if refusal else ():
            found.setdefault(question.accounts[0], []).append(question)
    return {account: _in_words(those) for account, those in found.items()}


def _most(compiled: Compiled) -> int:
    """Questions of one request: a server tries each against every line of the document, some 200,000 pairs in a second, and we do not wait for ever."""
    return max(LEAST_ASKED, PAIRS // compiled.text.count("\n"))


def _refusal(admin: Admin, text: str, questions: Iterable[Question] = ()) -> ClusterRefused | None:
    """Why the server would not take it; None: it would."""
    try:
        admin.check_policy(proof.with_tests(text, questions))
    except ClusterRefused as refusal:
        if refusal.status in NOT_ABOUT_THE_DOCUMENT or sizes.is_about(refusal):
            raise
        return refusal
    return None


def _blame(admin: Admin, fact: ClusterFact, about: Collection[str], batch: list[Question], refusal: ClusterRefused) -> NotProven:
    """Whose own words make the server say no."""
    wrong = proof.failed(refusal.reason, batch)
    if mine := [question for question in wrong if question.is_own]:
        return NotProven(mine[0].accounts[0], _in_words([question for question in mine if question.accounts == mine[0].accounts]))
    written = [tenant.account for tenant in fact.tenants if tenant.document != NOTHING_WRITTEN]
    account = ""
    for suspects in ([one for one in written if one in about], [tenant.account for tenant in fact.tenants]):
        if account := _culprit(admin, fact, suspects, wrong):
            break
    if wrong:
        return NotProven(account, _("With this policy, devices of two networks would reach each other."))
    if not account:
        return NotProven("", refusal.reason)
    alone = _refusal(admin, compile_cluster(silenced(fact, {one.account for one in fact.tenants} - {account})).text)
    reason = alone.reason if alone else _("The server does not take it beside the policies of others.")
    return NotProven(account, _("The server refuses this policy: %(reason)s") % {"reason": reason})


def _culprit(admin: Admin, fact: ClusterFact, suspects: list[str], questions: list[Question]) -> str:
    """One of the suspects without whose own words the server would say yes, found by halving; empty where it is none of them alone."""

    def passes(without: Collection[str]) -> bool:
        return _refusal(admin, compile_cluster(silenced(fact, without)).text, questions) is None

    cleared: list[str] = []  # without these it is still refused, without all the suspects besides it is not
    if not suspects or not passes(suspects):
        return ""
    while len(suspects) > 1:
        half = suspects[: len(suspects) // 2]
        if passes([*cleared, *half]):
            suspects = half
        else:
            cleared, suspects = [*cleared, *half], suspects[len(half) :]
    return suspects[0]


def _in_words(questions: Iterable[Question]) -> str:
    lines: Mapping[bool, str] = {
        True: _("%(src)s should reach %(dst)s, and does not."),
        False: _("%(src)s should not reach %(dst)s, and does."),
    }
    told = [lines[question.reached] % {"src": question.src, "dst": question.dst} for question in questions]
    return " ".join([_("Tests of the policy fail."), *told])[:LONGEST]
