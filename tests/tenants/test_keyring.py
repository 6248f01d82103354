"""The keyring: what it seals opens again, for the same context only, and never after a change."""

from __future__ import annotations

import base64

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tenants.keyring import Keyring, Unsealable

OLD, NEW = Keyring({"k1": b"1" * 32}), Keyring({"k2": b"2" * 32, "k1": b"1" * 32})
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(secret=texts, context=texts)
def test_what_was_sealed_opens_for_its_context(secret, context):
    assert OLD.open(OLD.seal(secret, context=context), context=context) == secret


@given(secret=texts, context=texts, other=texts)
def test_it_does_not_open_for_another_context(secret, context, other):
    assume(context != other)
    with pytest.raises(Unsealable):
        OLD.open(OLD.seal(secret, context=context), context=other)


@given(secret=texts, place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_one_changed_bit_and_it_does_not_open(secret, place, bit):
    name, _, encoded = OLD.seal(secret, context="c").partition(".")
    raw = bytearray(base64.b64decode(encoded))
    raw[place % len(raw)] ^= 1 << bit
    with pytest.raises(Unsealable):
        OLD.open(f"{name}.{base64.b64encode(raw).decode()}", context="c")


@given(st.text(max_size=60))
def test_rubbish_does_not_open_and_does_not_break(rubbish):
    for text in (rubbish, f"k1.{rubbish}"):
        with pytest.raises(Unsealable):
            OLD.open(text, context="c")


@given(texts)
def test_after_a_rotation_the_new_key_seals_and_the_old_one_still_opens(secret):
    assert NEW.open(OLD.seal(secret, context="c"), context="c") == secret
    sealed = NEW.seal(secret, context="c")
    assert sealed.startswith("k2.")
    with pytest.raises(Unsealable):
        OLD.open(sealed, context="c")


def test_the_same_secret_never_seals_to_the_same_text():
    assert len({OLD.seal("s", context="c") for _ in range(50)}) == 50


def test_derived_texts_differ_by_key_purpose_and_subject():
    told = {ring.derive(name, purpose, subject) for ring, name in ((NEW, "k1"), (NEW, "k2")) for purpose in "ab" for subject in "cd"}
    assert len(told) == 8
    assert OLD.derive("k1", "a", "c") == NEW.derive("k1", "a", "c")
    with pytest.raises(Unsealable):
        OLD.derive("k2", "a", "c")


@pytest.mark.parametrize(
    "text", ["", "k1", "k1:", "k1:!!", "k1:" + base64.b64encode(b"short").decode(), ":" + base64.b64encode(b"1" * 32).decode()]
)
def test_a_bad_ring_is_refused_without_telling_a_key(text):
    with pytest.raises(ValueError, match=r"entry|key") as refusal:
        Keyring.parse(text)
    assert base64.b64encode(b"1" * 32).decode() not in str(refusal.value)


def test_an_id_that_stands_twice_is_refused():
    pair = "k1:" + base64.b64encode(b"1" * 32).decode()
    with pytest.raises(ValueError, match="twice"):
        Keyring.parse(f"{pair},{pair}")
