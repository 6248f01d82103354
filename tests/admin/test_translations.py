"""English and Simplified Chinese: nothing that people read is left out, and the compiled catalogue is the one that is read in review."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from django.utils.translation.template import templatize

from tests import factories
from tests.conftest import ROOT
from tests.doors import bootstrap

CATALOGUE = ROOT / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"
APPS = ("tenants", "placement", "billing", "acs")
CALLS = {"_", "gettext", "gettext_lazy", "gettext_noop", "ngettext", "ngettext_lazy"}
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]")
MEND = "run `make messages` and translate"


@dataclass
class Entry:
    """One message of the catalogue."""

    fuzzy: bool = False
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.texts["msgid"]

    @property
    def translation(self) -> str:
        return self.texts.get("msgstr", self.texts.get("msgstr[0]", ""))


def entries() -> list[Entry]:
    found, current, keyword = [], Entry(), ""
    for line in [*CATALOGUE.read_text().splitlines(), ""]:
        if not line and current.texts:
            found.append(current)
            current = Entry()
        elif line.startswith("#,"):
            current.fuzzy = "fuzzy" in line
        elif line.startswith("msg"):
            keyword, text = line.split(" ", 1)
            current.texts[keyword] = ast.literal_eval(text)
        elif line.startswith('"'):
            current.texts[keyword] += ast.literal_eval(line)
    return [entry for entry in found if entry.key]


def spoken(tree: ast.AST) -> Iterator[str]:
    """The texts that a module hands to gettext, concatenated literals included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            first = node.args[0]
            if name in CALLS and isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def used() -> dict[str, Path]:
    modules = [path for app in APPS for path in (ROOT / app).rglob("*.py") if "migrations" not in path.parts]
    texts = {text: path for path in modules for text in spoken(ast.parse(path.read_text()))}
    for path in (path for suffix in ("html", "txt") for path in (ROOT / "templates").rglob(f"*.{suffix}")):
        code = templatize(path.read_text(), origin=str(path))
        for match in re.finditer(
            r"""n?gettext\(\s*u?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|_\(\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""", code
        ):
            texts[ast.literal_eval(match[1] or match[2])] = path
    return texts


def test_every_text_that_people_read_is_in_the_catalogue():
    known = {entry.key for entry in entries()}
    missing = {text: str(path.relative_to(ROOT)) for text, path in used().items() if text not in known}
    assert not missing, MEND


def test_every_message_has_its_chinese():
    assert not [entry.key for entry in entries() if entry.fuzzy or not entry.translation], MEND


def test_translations_have_the_placeholders_of_their_messages():
    for entry in entries():
        message = entry.texts.get("msgid_plural") or entry.key  # a language of one form tells every number in it
        assert set(PLACEHOLDER.findall(message)) == set(PLACEHOLDER.findall(entry.translation)), entry.key


def test_the_compiled_catalogue_is_in_step():
    with CATALOGUE.with_suffix(".mo").open("rb") as compiled:
        catalogue = gettext.GNUTranslations(compiled)
    says = {
        entry.key: catalogue.ngettext(entry.key, "", 1) if "msgid_plural" in entry.texts else catalogue.gettext(entry.key)
        for entry in entries()
    }
    assert says == {entry.key: entry.translation for entry in entries()}, MEND


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("language", "title"),
    [("en", "The credential is not valid."), ("zh-CN,zh;q=0.9", "凭据无效。"), ("xx", "The credential is not valid.")],
)
def test_a_problem_is_told_in_the_callers_language_under_the_same_code(language, title):
    answer = bootstrap("acs-enrol-nonsense", **{"Accept-Language": language})
    assert (answer.json()["title"], answer.json()["code"]) == (title, "bad-credential")


@pytest.mark.django_db
def test_the_note_of_a_bootstrap_is_told_in_the_callers_language(fleet_cluster):
    customer = factories.customer()
    notes = [bootstrap(customer.secret, **{"Accept-Language": language}).json()["note"] for language in ("en", "zh-Hans")]
    assert notes[0].startswith("Run the command")
    assert notes[1].startswith("请在设备上运行该命令")


def test_refusals_are_told_in_the_operators_language(office):
    plan = factories.plan()
    form = {"account": "acme--inc", "plan": plan.pk}
    answer = office.post("/admin/tenants/tenant/add/", form, headers={"Accept-Language": "zh-Hans"})
    assert "连字符" in answer.context["form"].errors["account"][0]
