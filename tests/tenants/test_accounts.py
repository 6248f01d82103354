"""Account names: what is accepted is usable in all four places that it stands in."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tenants import accounts
from tenants.errors import InvalidAccount

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
HEADSCALE_USER = re.compile(r"[A-Za-z][A-Za-z0-9._-]+\Z")  # headscale: two characters or more, a letter first
near_misses = st.text(alphabet="abz09-._@A é\n\0ß", max_size=45)


def accepts(account: str) -> bool:
    try:
        return accounts.check(account) == account
    except InvalidAccount:
        return False


@given(st.one_of(near_misses, st.text(max_size=45), st.from_regex(r"[a-z][a-z0-9-]{0,44}", fullmatch=True)))
@example("acme-inc\n")
@example("a--b")
def test_an_accepted_account_is_a_host_name_a_headscale_user_and_a_tag_prefix(account):
    if accepts(account):
        assert DNS_LABEL.match(account)
        assert HEADSCALE_USER.match(account)
        assert "--" not in account
        assert f"tag:{account}--x".removeprefix("tag:").split("--", 1)[0] == account
        assert account == account.lower()


@given(st.from_regex(r"[a-z]([a-z0-9]|-(?!-)){0,37}[a-z0-9]", fullmatch=True))
def test_every_plain_name_that_is_not_reserved_is_accepted(account):
    assert accepts(account) == (account not in accounts.RESERVED)


@pytest.mark.parametrize("account", ["acme-inc", "ab", "a1", "a" * accounts.LONGEST])
def test_these_are_accepted(account):
    assert accepts(account)


@pytest.mark.parametrize(
    "account",
    [
        "",
        "a",
        "1a",
        "-a",
        "a-",
        "a--b",
        "Acme",
        "a.b",
        "a_b",
        "a b",
        "admin",
        "acme\n",
        "ａcme",
        "a" * (accounts.LONGEST + 1),
        "tagged-devices",
    ],
)
def test_these_are_refused(account):
    assert not accepts(account)
