"""HuJSON: what JSON says, with comments and trailing commas, and nothing that a person cannot see."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.policies import hujson
from tenants.policies.document import Place
from tests.tenants.policies.marks import faults, unmarked

TEXTS = st.text(st.characters(exclude_categories=sorted(hujson.UNUSABLE)), max_size=12).filter(lambda text: not hujson.UNSEEN.search(text))
NUMBERS = st.one_of(st.integers(-(10**15), 10**15), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=25,
)
GAPS = st.sampled_from(["", " ", "\t", "\n", "\r\n", "/**/", '/* [," */', '// " }\n', "//\r\n", "/* * / \n **/", "/*/ */"])
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}:,]|[^\s\[\]{}:,"]+')


@given(value=VALUES, escaped=st.booleans(), data=st.data())
def test_any_json_with_comments_and_trailing_commas_reads_as_json_does(value, escaped, data):
    plain = json.dumps(value, ensure_ascii=escaped)
    tokens = TOKEN.findall(plain)
    pieces = []
    for before, token in zip(["", *tokens], tokens, strict=False):
        trailing = "," if token in "]}" and before not in ("[", "{") and data.draw(st.booleans()) else ""
        pieces += [data.draw(GAPS), trailing, data.draw(GAPS), token]
    text = "".join([*pieces, data.draw(GAPS)])
    assert json.dumps(hujson.parse(text).plain()) == json.dumps(json.loads(plain))


@given(st.text(max_size=200) | st.text('{}[]",:/*\\u0019ab \n\ud800\u202e-.eE+', max_size=60))
def test_no_text_does_anything_but_read_or_be_refused(text):
    assert len(faults(hujson.parse, text)) <= 1


def test_every_name_and_every_value_knows_its_place():
    root = hujson.parse('\ufeff// first\n{\n  "a": [1, /* é */ {"b": true}],\n}')
    assert root.place == Place(2, 1)
    listed = root.value["a"]
    assert (listed.key, listed.place) == (Place(3, 3), Place(3, 8))
    one, inner = listed.value
    assert (one.key, one.place, inner.place) == (None, Place(3, 9), Place(3, 20))
    assert (inner.value["b"].key, inner.value["b"].place) == (Place(3, 21), Place(3, 26))


@pytest.mark.parametrize(
    ("marked", "reason"),
    [
        ("¶", "The policy is empty. A policy is an object: write at least {}."),
        ("¶ \n// nothing\n", "The policy is empty. A policy is an object: write at least {}."),
        ("{} ¶/* never", "This comment is never closed: */ is missing."),
        ("{\n  ¶/* never * / \n}", "This comment is never closed: */ is missing."),
        ("¶/*/", "This comment is never closed: */ is missing."),
        ('{\n "a": ¶"never\n}', "This text is never closed: its second double quote is missing from the line."),
        ('{"a": ¶"never\\"}', "This text is never closed: its second double quote is missing from the line."),
        ('{"a": ¶[1, 2', "This is never closed: ] is missing."),
        ('¶{"a": [1, 2],', "This is never closed: } is missing."),
        ("{} ¶{}", "The policy ends before this: nothing may follow its closing sign."),
        ("[¶,]", "Expected is a value, not ,."),
        ("[1,¶,]", "Expected is a value, not ,."),
        ("[1 ¶2]", "Expected is a comma or ], not 2."),
        ('{"a": 1 ¶"b": 2}', 'Expected is a comma or }, not ".'),
        ('{"a": 1¶]', "Expected is a comma or }, not ]."),
        ('{"a" ¶1}', "Expected is a colon, not 1."),
        ('{"a"¶', "The policy ends where a colon is expected."),
        ('{"a":¶', "The policy ends where a value is expected."),
        ("{¶a: 1}", "Expected is a name in double quotes, not a."),
        ("{¶'a': 1}", "Expected is a name in double quotes, not '."),
        ('{¶\u201ca": 1}', "Expected is a name in double quotes, not U+201C LEFT DOUBLE QUOTATION MARK."),
        ('{"a": 1,\n "b": 2,\n ¶"a": 3}', "The name “a” stands here for the second time; the first is in line 1."),
        ('{"a": 1, ¶"\\u0061": 3}', "The name “a” stands here for the second time; the first is in line 1."),
        ("[¶NaN]", "“NaN” is no value: texts stand in double quotes, numbers are plain."),
        ("[¶-Infinity]", "“-Infinity” is no value: texts stand in double quotes, numbers are plain."),
        ("[¶01]", "“01” is no value: texts stand in double quotes, numbers are plain."),
        ("[¶+1]", "“+1” is no value: texts stand in double quotes, numbers are plain."),
        ("[¶1.]", "“1.” is no value: texts stand in double quotes, numbers are plain."),
        ("[¶.5]", "“.5” is no value: texts stand in double quotes, numbers are plain."),
        ("[¶0x10]", "“0x10” is no value: texts stand in double quotes, numbers are plain."),
        ("[¶١]", "“١” is no value: texts stand in double quotes, numbers are plain."),
        ("[¶True]", "“True” is no value: texts stand in double quotes, numbers are plain."),
        ("[¶1e999]", "The number 1e999 is too large."),
        ('["a¶\\x41"]', "\\x is no escape of JSON. A backslash itself is written \\\\."),
        ('["a¶\\u12"]', "\\u is no escape of JSON. A backslash itself is written \\\\."),
        ('["a¶\t"]', "The character U+0009 is not allowed in a text."),
        ('["a¶\\n"]', "The character U+000A is not allowed in a text."),
        ('["a¶\\u0000"]', "The character U+0000 is not allowed in a text."),
        ('["a¶\\u007f"]', "The character U+007F is not allowed in a text."),
        ('["a¶\\ud800"]', "The character U+D800 is not allowed in a text."),
        ('["a¶\\udc00\\ud800"]', "The character U+DC00 is not allowed in a text."),
        ('["a¶\\u202e"]', "The character U+202E RIGHT-TO-LEFT OVERRIDE is not allowed in a text."),
        ('["a¶\u200b"]', "The character U+200B ZERO WIDTH SPACE is not allowed in a text."),
        ('["a¶\u200d"]', "The character U+200D ZERO WIDTH JOINER is not allowed in a text."),
        ('["a¶\u2060"]', "The character U+2060 WORD JOINER is not allowed in a text."),
        ('["a¶\ufeff"]', "The character U+FEFF ZERO WIDTH NO-BREAK SPACE is not allowed in a text."),
        ('["a¶\ue000"]', "The character U+E000 is not allowed in a text."),
        ('["a¶\u0378"]', "The character U+0378 is not allowed in a text."),
        ('["a¶\U000e0041"]', "The character U+E0041 TAG LATIN CAPITAL LETTER A is not allowed in a text."),
        ("[] // ¶\u202e", "The character U+202E RIGHT-TO-LEFT OVERRIDE is not allowed in a policy."),
        ("[] // ¶\u2066", "The character U+2066 LEFT-TO-RIGHT ISOLATE is not allowed in a policy."),
        ("[] // ¶\u2028", "The character U+2028 LINE SEPARATOR is not allowed in a policy."),
        ("[] // ¶\x85", "The character U+0085 is not allowed in a policy."),
        ("[] // ¶\rhidden", "The character U+000D is not allowed in a policy."),
        ("[]\n¶\x00", "The character U+0000 is not allowed in a policy."),
        ('["¶\ud800"]', "The character U+D800 is not allowed in a policy."),
        ("[]¶\ufeff", "The policy ends before this: nothing may follow its closing sign."),
        ("[" * 32 + "¶[" + "]" * 33, "Lists and objects are nested deeper than 32 here."),
        ("¶" + " " * 250_001, "The policy has 250001 characters; at most 250000 are allowed."),
    ],
)
def test_what_is_no_hujson_is_refused_at_its_place(marked, reason):
    text, place = unmarked(marked)
    assert [(fault.reason, fault.place) for fault in faults(hujson.parse, text)] == [(reason, place)]


@pytest.mark.parametrize(
    "text", ["[" * 250_000, '{"a":' * 50_000, "[]" + "/**/" * 60_000, '"' + "\\" * 249_000, "[" + "1," * 124_000 + "]"]
)
def test_the_largest_documents_are_read_or_refused_like_any(text):
    assert len(faults(hujson.parse, text)) <= 1


def test_pairs_of_surrogates_are_one_character():
    assert hujson.parse('["\\ud83d\\ude00 \\u00e9 😀"]').plain() == ["😀 é 😀"]


def test_characters_are_named_for_whoever_cannot_tell_them_apart():
    assert hujson.described("а") == "U+0430 CYRILLIC SMALL LETTER A"
    assert all(hujson.described(chr(code)).startswith("U+") for code in range(0x300) if unicodedata.category(chr(code)))
