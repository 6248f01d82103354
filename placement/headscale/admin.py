"""The admin API of one headscale server, version 0.29.2 and 0.30: plain values out, and three errors instead of HTTP.

- `ClusterRefused`: the server said no, in 0.29's words (`{code, message, details}`, often as HTTP 500), in 0.30's (problem+json), or
  with any 4xx status (an intermediary's 403 did not reach the server either). Nothing was done; the one exception is a policy that no
  longer compiles, which makes 0.29 refuse a user that it has already stored: look the user up before deciding.
- `ClusterUnreachable`: no connection was made; repeating is safe.
- `ClusterSilent`: the request was sent and no usable answer came: a timeout, a broken connection, 408, 499, 502, 503 or 504 (whoever
  says so, the request may have passed), any other 5xx that does not speak headscale's language, a redirect (never followed), a body that is
  too large or not of the expected shape. It may have been done.

No call lasts longer than `timeout` seconds, its repeats included. Only calls that change nothing are repeated.
Ids are strings on the wire. An empty user name is never sent: headscale drops the condition, and a sole user matches.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
import stamina

from placement.errors import ClusterRefused, ClusterSilent, ClusterUnreachable
from placement.headscale import answers
from placement.headscale.answers import Node, Policy, PreAuthKey, User
from placement.headscale.wire import Answer, NoAnswer, NotSent, exchange, new_client

__all__ = ["Admin", "Node", "Policy", "PreAuthKey", "User"]

T = TypeVar("T")

_CAPABILITY = 113  # a client's capability version; from 39 on `GET /key` answers with the Noise key
_AMBIGUOUS = (408, 499, 502, 503, 504)
_NO_POLICY = "acl policy not found"


class Admin:
    """The admin API of the cluster `cluster_id` at `base_url`.

    `timeout`: seconds for a whole call. `transport` replaces the network in tests. Usable from several threads; close it.
    """

    def __init__(
        self, cluster_id: str, base_url: str, api_key: str, *, timeout: float, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self.cluster_id = cluster_id
        self.timeout = timeout
        self.clock_off: timedelta | None = None  # the clock of whoever answered last, minus ours: to a second or two
        self._client = new_client(base_url.rstrip("/"), headers={"Authorization": f"Bearer {api_key}"}, transport=transport)

    def __enter__(self) -> Admin:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    # The server itself

    def version(self) -> str:
        """Like `0.29.2`, without a leading v; `dev` for a build outside of a release."""
        return self._read("/version", lambda answer: str(answer["version"]).removeprefix("v"))

    def health(self) -> bool:
        """Whether the server reaches its database."""
        answer = self._get("/health", {})
        status = _document(answer).get("status")
        if status not in ("pass", "fail"):
            raise self._silent(f"/health answered {answer.status}")
        return status == "pass" and answer.status == 200

    def noise_public_key(self) -> str:
        """The server's Noise public key, `mkey:<64 hex digits>`: the same on all servers between which tenants move."""
        key = self._read("/key", lambda answer: str(answer["publicKey"]), v=str(_CAPABILITY))
        if not key.startswith("mkey:"):
            raise self._silent("/key answered no Noise key")
        return key

    # Users

    def users(self, name: str | None = None) -> list[User]:
        """All users, or those of that name (several where a server lets people in through OIDC)."""
        filters = {} if name is None else {"name": _given(name)}
        return self._read("/api/v1/user", lambda answer: [answers.user_of(user) for user in answer["users"]], **filters)

    def make_user(self, name: str) -> User:
        return self._write("POST", "/api/v1/user", {"name": _given(name)}, lambda answer: answers.user_of(answer["user"]))

    def delete_user(self, user_id: int) -> None:
        """Refused while the user owns nodes. Its keys go with it."""
        self._write("DELETE", f"/api/v1/user/{_id(user_id)}")

    # Pre-auth keys

    def keys(self) -> list[PreAuthKey]:
        return self._read("/api/v1/preauthkey", lambda answer: [answers.key_of(key) for key in answer["preAuthKeys"]])

    def make_key(self, user_id: int, expiration: datetime, ephemeral: bool = False, tags: Iterable[str] = ()) -> PreAuthKey:
        """A single-use key. `secret` of the answer is the only place where it ever appears whole.

        With `tags` its device belongs to them instead of the user; the server does not ask whether its policy defines them.
        `expiration` is kept to the microsecond, which lets the sweeper find the key of a call that fell silent.
        """
        body = {"user": _id(user_id), "reusable": False, "ephemeral": ephemeral, "expiration": _moment(expiration)}
        body |= {"aclTags": given} if (given := list(tags)) else {}
        return self._write("POST", "/api/v1/preauthkey", body, lambda answer: answers.key_of(answer["preAuthKey"]))

    def expire_key(self, key_id: int) -> None:
        """Expire now. 0.29 says yes to unknown ids too."""
        self._write("POST", "/api/v1/preauthkey/expire", {"id": _id(key_id)})

    def delete_key(self, key_id: int) -> None:
        """Delete; nodes that came with it forget it. 0.29 says yes to unknown ids too."""
        self._write("DELETE", "/api/v1/preauthkey", id=_id(key_id))

    # Nodes

    def nodes(self) -> list[Node]:
        return self._read("/api/v1/node", lambda answer: [answers.node_of(node) for node in answer["nodes"]])

    def node(self, node_id: int) -> Node:
        return self._read(f"/api/v1/node/{_id(node_id)}", _the_node)

    def rename(self, node_id: int, name: str) -> Node:
        """Refused when `name` is no DNS label or another node of the server has it."""
        return self._write("POST", f"/api/v1/node/{_id(node_id)}/rename/{quote(_given(name), safe='')}", None, _the_node)

    def expire_node(self, node_id: int, expiry: datetime | None = None, *, never: bool = False) -> Node:
        """End the node's login now, at `expiry`, or `never`.

        0.29 reads the query and ignores a body, 0.30 the other way around: both are sent.
        """
        wish: dict[str, Any] = {"disableExpiry": True} if never else {"expiry": _moment(expiry or datetime.now(UTC))}
        query = {key: value if isinstance(value, str) else "true" for key, value in wish.items()}
        return self._write("POST", f"/api/v1/node/{_id(node_id)}/expire", wish, _the_node, **query)

    def delete_node(self, node_id: int) -> None:
        self._write("DELETE", f"/api/v1/node/{_id(node_id)}")

    def set_tags(self, node_id: int, tags: Iterable[str]) -> Node:
        """The node belongs to its tags from now on, no longer to a user, and cannot go back. The policy must define every tag."""
        return self._write("POST", f"/api/v1/node/{_id(node_id)}/tags", {"tags": list(tags)}, _the_node)

    def approve_routes(self, node_id: int, routes: Iterable[str]) -> Node:
        """Replace the approved routes (CIDR)."""
        return self._write("POST", f"/api/v1/node/{_id(node_id)}/approve_routes", {"routes": list(routes)}, _the_node)

    def backfill_ips(self) -> list[str]:
        """Give missing addresses to nodes; the server then re-reads all nodes from its database. What changed, in its words."""
        return self._write(
            "POST", "/api/v1/node/backfillips", None, lambda answer: [str(change) for change in answer["changes"]], confirmed="true"
        )

    def register(self, user_name: str, auth_id: str) -> Node:
        """Let the waiting device `auth_id` (hskey-authreq-<24>) in as `user_name`. Lock per auth_id: two racing calls can both succeed."""
        return self._write("POST", "/api/v1/auth/register", {"user": _given(user_name), "authId": auth_id}, _the_node)

    # Policy

    def policy(self) -> Policy | None:
        """The stored policy; None where none was ever stored (which allows all to all)."""
        try:
            return self._read("/api/v1/policy", answers.policy_of)
        except ClusterRefused as refusal:
            if _NO_POLICY in refusal.reason:
                return None
            raise

    def put_policy(self, document: str) -> Policy:
        """Store and use `document` (HuJSON). Refused unless the server runs with policy.mode database; its `tests` must pass."""
        return self._write("PUT", "/api/v1/policy", {"policy": document}, answers.policy_of)

    def check_policy(self, document: str) -> None:
        """Compile `document` against the server's users and nodes and run its `tests`; nothing is stored.

        Raises: ClusterRefused with the server's reason (a bad document or a failed test).
        """
        self._call("POST", "/api/v1/policy/check", {"policy": document}, repeat=True)

    # The wire

    def _read(self, path: str, parse: Callable[[Mapping[str, Any]], T], **query: str) -> T:
        return self._parsed(path, self._checked(path, self._get(path, query)), parse)

    def _write(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        parse: Callable[[Mapping[str, Any]], T] | None = None,
        **query: str,
    ) -> Any:
        answer = self._call(method, path, body, query)
        return self._parsed(path, answer, parse) if parse else None

    def _get(self, path: str, query: Mapping[str, str]) -> Answer:
        return self._send("GET", path, None, query, repeat=True)

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, str] | None = None, *, repeat: bool = False
    ) -> Answer:
        return self._checked(path, self._send(method, path, body, query or {}, repeat=repeat))

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, str], *, repeat: bool) -> Answer:
        deadline = time.monotonic() + self.timeout
        attempts = stamina.retry_context(
            on=lambda error: isinstance(error, ClusterUnreachable | ClusterSilent) and time.monotonic() < deadline,
            attempts=3 if repeat else 1,
            timeout=self.timeout,
            wait_initial=0.1,
            wait_max=0.5,
        )
        for attempt in attempts:
            with attempt:
                answer = self._once(self._client.build_request(method, path, params=dict(query), json=body), deadline)
        return answer

    def _once(self, request: httpx2.Request, deadline: float) -> Answer:
        try:
            answer = exchange(self._client, request, deadline=deadline)
        except NotSent as error:
            raise ClusterUnreachable(self.cluster_id, str(error)) from error
        except NoAnswer as error:
            raise self._silent(str(error)) from error
        self.clock_off = answer.clock_off if answer.clock_off is not None else self.clock_off
        if answer.status in _AMBIGUOUS or 300 <= answer.status < 400:
            raise self._silent(f"{request.url.path} answered {answer.status}")
        return answer

    def _checked(self, path: str, answer: Answer) -> Answer:
        if answer.status == 200:
            return answer
        reason = _refusal(answer)
        if reason is None:
            raise self._silent(f"{path} answered {answer.status}")
        raise ClusterRefused(self.cluster_id, reason, status=answer.status)

    def _parsed(self, path: str, answer: Answer, parse: Callable[[Mapping[str, Any]], T]) -> T:
        try:
            return parse(_document(answer))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise self._silent(f"{path} answered something else than headscale would") from error

    def _silent(self, reason: str) -> ClusterSilent:
        return ClusterSilent(self.cluster_id, reason)


def _document(answer: Answer) -> dict[str, Any]:
    """The JSON object of the answer; empty when it is none."""
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _refusal(answer: Answer) -> str | None:
    """Why the server said no, in its words; None when that cannot be told from a failure."""
    document = _document(answer)
    if isinstance(document.get("code"), int) and isinstance(document.get("message"), str):
        return str(document["message"])
    if answer.media_type == "application/problem+json" and ("title" in document or "detail" in document):
        causes = [str(cause["message"]) for cause in document.get("errors") or [] if isinstance(cause, dict) and "message" in cause]
        return ": ".join([str(document.get("detail") or document.get("title")), *causes])
    if 400 <= answer.status < 500:
        return answer.body[:200].decode("utf-8", "replace").strip() or f"HTTP {answer.status}"
    return None


def _the_node(answer: Mapping[str, Any]) -> Node:
    return answers.node_of(answer["node"])


def _given(name: str) -> str:
    if not name:
        raise ValueError("a name is needed")
    return name


def _id(number: int) -> str:
    if number <= 0:
        raise ValueError(f"not an id: {number}")
    return str(number)


def _moment(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a time needs its zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
