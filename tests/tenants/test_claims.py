"""Patterns, claims and the registration ids that follow from them: pure, so tried with everything that hypothesis thinks of."""

from __future__ import annotations

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants import claims
from tenants.signing import REGISTRATION_ID

LETTERS = st.text("ab:/*?", max_size=12)
VALUES = st.one_of(
    st.text(max_size=300),
    st.text("aAbB.-:_/0", max_size=8),
    st.from_regex(REGISTRATION_ID),
    st.from_regex(r"\A[a-z]{1,3}\.\.[0-9a-f]{32}\Z"),
)


@given(pattern=LETTERS, text=st.text("ab:/\n", max_size=12))
def test_a_pattern_fits_what_a_shell_would_say(pattern, text):
    assert claims.matches(pattern, text) == fnmatch.fnmatchcase(text, pattern)


@given(st.text(max_size=50).filter(lambda text: "*" not in text and "?" not in text))
def test_a_text_without_stars_fits_itself_alone(text):
    assert claims.matches(text, text)
    assert not claims.matches(text, text + "x")
    assert not claims.matches(text, "x" + text)


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("repo:acme/*", "repo:acme/tills:ref:refs/heads/main", True),
        ("repo:acme/*", "repo:acme", False),
        ("repo:acme/*", "xrepo:acme/tills", False),
        ("repo:acme/*:environment:production", "repo:acme/a:environment:production", True),
        ("repo:acme/*:environment:production", "repo:acme/a:environment:production2", False),
        ("repo:acme/[a]", "repo:acme/a", False),
        ("repo:acme/[a]", "repo:acme/[a]", True),
        ("REPO:*", "repo:x", False),
        ("a.c", "abc", False),
        ("?", "", False),
        ("?", "\n", True),
        ("ab*ba", "aba", False),
        ("", "", True),
    ],
)
def test_patterns_by_example(pattern, text, fits):
    assert claims.matches(pattern, text) is fits


def test_no_pattern_is_slow():
    begun = time.monotonic()
    for pattern in ("*a" * 200 + "b", "a?" * 200 + "*b", ("?" * 30 + "a*") * 15 + "b"):
        assert not claims.matches(pattern, "a" * 1024)
    assert time.monotonic() - begun < 0.2
    assert not claims.matches("*", "a" * 1025)


@given(VALUES.filter(bool))
def test_every_value_becomes_a_registration_id_in_lower_case(value):
    made = claims.squeeze(value)
    assert REGISTRATION_ID.match(made)
    assert made == made.lower()
    assert claims.squeeze(value) == made


@given(st.lists(VALUES.filter(bool), min_size=2, unique=True))
def test_different_values_become_different_ids(values):
    values = [*values, *{claims.squeeze(value) for value in values} - set(values)]  # also beside what they were squeezed into
    assert len({claims.squeeze(value) for value in values}) == len(values)


def test_ids_by_example():
    assert claims.squeeze("till-7.store:12") == "till-7.store:12"
    assert claims.squeeze("repo:acme/tills:ref:refs/heads/main").startswith("repo:acme-tills:ref:refs-heads-main..")
    assert claims.squeeze("Till-7") != claims.squeeze("till-7")
    assert claims.squeeze("///").startswith("x..")
    assert claims.squeeze("é").startswith("x..")
    assert len(claims.squeeze("a" * 128)) == 128
    assert ".." in claims.squeeze("a" * 129)


@pytest.mark.parametrize(
    ("name", "value"),
    [("sub", "x"), ("/a.b/c", 1), ("/a.b", {"c": 1, "d/e": True}), ("/a.b/d~1e", True), ("a.b", {"c": 1, "d/e": True}), ("/x", claims.MISSING),
     ("/sub/x", claims.MISSING), ("/", claims.MISSING), ("x", claims.MISSING), ("/list/0", claims.MISSING)],
)  # fmt: skip
def test_claims_are_found_by_name_and_by_pointer(name, value):
    assert claims.claim({"sub": "x", "a.b": {"c": 1, "d/e": True}, "list": ["x"]}, name) == value


@pytest.mark.parametrize(
    ("value", "wanted", "fits"),
    [("a", "a", True), ("a", ["b", "a"], True), (["x", "a"], "a", True), (True, "true", True), (7, "7", True), (None, "*", False), ({}, "*", False),
     (1.5, "*", False), ([], "*", False),
     ([["a"]], "a", False)],
)  # fmt: skip
def test_values_of_every_type(value, wanted, fits):
    assert claims.fits(value, wanted) is fits
