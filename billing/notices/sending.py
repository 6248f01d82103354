"""The outbox is sent: each notice claimed, worded, handed to the mail server, marked.

A claim is a lease that outlives any task: whoever was killed with a notice in hand leaves it to the next one, and no two have it at once. A notice is told at
least once: it is told twice only where a sender died, or the server fell silent, after the server had taken the message and before that was written down; both
have one Message-ID. A mail server that is away costs one try a run and holds up nothing but mail.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

import structlog
from django.core.mail import get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from billing.models import Notice
from billing.notices import wording
from tenants import audit
from tenants.errors import WrongState

log = structlog.get_logger(__name__)

ACTOR = "system:notices"
LEASE = timedelta(minutes=5)  # longer than a task may live
GIVEN_UP, LEAST_TRIES = timedelta(days=5), 12  # both: what waited while the service was down has its days of trying, too
LONGEST_PAUSE = timedelta(hours=4)
MOST_TRIES = 60  # more than five days have room for: its senders died of it
State = Notice.State


class PostAway(Exception):
    """No mail server takes anything now."""


def send(*, seconds: float = 45.0) -> bool:
    """What is due, for up to so many seconds. Returns whether there is more to do; False also where the mail server is away."""
    deadline = time.monotonic() + seconds
    with _post() as post:
        while time.monotonic() < deadline:
            notice = _claim(timezone.now())
            if notice is None:
                return False
            try:
                _tell(notice, post)
            except PostAway as away:
                log.warning("mail_server_away", error=str(away))
                return False
    return True


@transaction.atomic
def again(notice: Notice, *, now: datetime, actor: str) -> Notice:
    """Try one that was given up or not wanted once more, for days. Raises: WrongState."""
    rows = Notice.objects.across_tenants().filter(pk=notice.pk, state__in=[State.GIVEN_UP, State.DROPPED])
    if rows.update(state=State.WAITING, settled_at=None, next_at=now, claimed_until=None, tries=0, made_at=now) != 1:
        raise WrongState(_("it waits, or was sent"))
    audit.record("notice.again", actor=actor, tenant=notice.tenant, target=notice.event, now=now)
    return Notice.objects.across_tenants().select_related("tenant", "invoice").get(pk=notice.pk)


class _Post:
    """One conversation with the mail server, begun anew after whatever went wrong in it."""

    def __init__(self) -> None:
        self._line: BaseEmailBackend | None = None

    def send(self, mail: wording.Mail) -> None:
        """Raises: PostAway; whatever the server, or the library, has against this message."""
        if self._line is None:
            line = get_connection()
            try:
                line.open()
            except OSError as error:  # what smtplib raises is one, too
                raise PostAway(_reason(error)) from error
            self._line = line
        try:
            self._line.send_messages([mail.message(self._line)])
        except BaseException:
            self.hang_up()
            raise

    def hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            with suppress(OSError):
                line.close()


@contextmanager
def _post() -> Iterator[_Post]:
    post = _Post()
    try:
        yield post
    finally:
        post.hang_up()


@transaction.atomic
def _claim(now: datetime) -> Notice | None:
    """The one that is due longest and that nobody has in hand, ours until the lease ends. When it is tried next is written before it is tried."""
    free = Q(claimed_until=None) | Q(claimed_until__lt=now)
    due = Notice.objects.across_tenants().filter(free, state=State.WAITING, next_at__lte=now).order_by("next_at", "id")
    notice = due.select_for_update(of=("self",), skip_locked=True).select_related("tenant", "invoice").first()
    if notice is None:
        return None
    notice.claimed_until, notice.next_at = now + LEASE, now + min(LONGEST_PAUSE, timedelta(minutes=2 ** min(notice.tries, 10)))
    Notice.objects.of(notice.tenant_id).filter(pk=notice.pk).update(
        claimed_until=notice.claimed_until, next_at=notice.next_at, tries=F("tries") + 1
    )
    notice.tries += 1
    return notice


def _tell(notice: Notice, post: _Post) -> None:
    """Raises: PostAway."""
    try:
        mail = None if notice.tries > MOST_TRIES else wording.compose(notice, now=timezone.now())
        if mail is not None:
            post.send(mail)
    except PostAway as away:
        _failed(notice, away)
        raise
    except Exception as error:  # noqa: BLE001 - one that nobody can word or take must not keep the others from being sent
        log.warning("notice_not_sent", event_told=notice.event, error=_reason(error))
        _failed(notice, error)
        return
    if mail is not None:
        _settle(notice, State.SENT, recipient=mail.to)
    elif notice.tries > MOST_TRIES:
        _settle(notice, State.GIVEN_UP)
    else:
        _settle(notice, State.DROPPED)


def _failed(notice: Notice, error: Exception) -> None:
    problem = _reason(error)
    if notice.tries >= LEAST_TRIES and timezone.now() >= notice.made_at + GIVEN_UP:
        _settle(notice, State.GIVEN_UP, problem=problem)
        return
    _mine(notice).update(claimed_until=None, problem=problem)


@transaction.atomic
def _settle(notice: Notice, state: State, **facts: str) -> None:
    """Written down only by whoever has it in hand."""
    now = timezone.now()
    if _mine(notice).update(state=state, settled_at=now, claimed_until=None, **facts) == 1:
        audit.record(f"notice.{state}", actor=ACTOR, tenant=notice.tenant, target=notice.event, now=now, tries=notice.tries, **facts)


def _mine(notice: Notice) -> QuerySet[Notice]:
    return Notice.objects.of(notice.tenant_id).filter(pk=notice.pk, state=State.WAITING, claimed_until=notice.claimed_until)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]
