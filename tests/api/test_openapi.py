"""The OpenAPI document: valid, without warnings, whole; its page works under the site's content security policy."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import translation

from acs import errors
from acs.problems import PAGES


@pytest.fixture
def document() -> dict[str, Any]:
    return json.loads(Client().get("/api/openapi.json").content)


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(f"{method} {path}", operation) for path, methods in document["paths"].items() for method, operation in methods.items()]


def test_the_document_is_valid_and_raises_no_warning(tmp_path):
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema.yml"))


def test_every_operation_names_its_problems_with_examples(document):
    for name, operation in operations(document):
        problems = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert {"500", "503"} <= set(problems), name
        for status, answer in problems.items():
            content = answer["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, (name, status)
            for example in content["examples"].values():
                assert str(example["value"]["status"]) == status
                assert example["value"]["code"] in PAGES


def test_every_operation_with_a_body_shows_one(document):
    for name, operation in operations(document):
        if body := operation.get("requestBody"):
            assert body["content"]["application/json"].get("examples"), name


def test_every_operation_says_which_credential_it_wants(document):
    wants = {name: operation.get("security", []) for name, operation in operations(document)}
    assert wants.pop("post /api/v1/bootstrap") == [{"enrolmentKey": []}, {"deviceSignature": []}, {}]
    assert wants.pop("post /api/v1/bootstrap/report") == [{"enrolmentKey": []}, {"deviceSignature": []}]
    assert wants.pop("get /api/v1/derp/{cluster_id}.json") in ([], [{}])
    assert all(scheme == [{"apiToken": []}] for scheme in wants.values()), wants
    assert {"apiToken", "enrolmentKey", "deviceSignature"} <= set(document["components"]["securitySchemes"])


def test_every_operation_has_a_name_of_its_own(document):
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(names) == len(set(names))


def test_it_is_cached_by_its_tag():
    first = Client().get("/api/openapi.json")
    again = Client().get("/api/openapi.json", headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_its_page_needs_nothing_that_its_policy_forbids():
    page = Client().get("/api/docs")
    assert page.status_code == 200
    policy = dict(part.strip().split(" ", 1) for part in page["Content-Security-Policy"].split(";") if part.strip())
    assert policy["script-src"] == "'self'"
    assert "'unsafe-inline'" in policy["style-src"]
    html = page.content.decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)", html) == []
    for address in re.findall(r'(?:src|href)="([^"]+)"', html):
        assert address.startswith("/"), address
    script = Client().get("/api/docs?script=")
    assert script["Content-Type"].startswith("application/javascript")
    assert "/api/openapi.json" in script.content.decode()


def test_elsewhere_the_policy_allows_no_inline_style(settings):
    assert "unsafe-inline" not in Client().get("/problems/bad-credential")["Content-Security-Policy"]


def test_every_code_of_the_table_has_a_page():
    codes = {problem.code for problem in (*errors.PROBLEMS.values(), errors.INTERNAL)}
    assert codes == set(PAGES)
    for code in codes:
        assert Client().get(f"/problems/{code}").status_code == 200
    assert Client().get("/problems/no-such-code").status_code == 404


def test_the_pages_speak_english_and_chinese():
    english = Client().get("/problems/quota-exceeded").content.decode()
    chinese = Client().get("/problems/quota-exceeded", headers={"Accept-Language": "zh-CN,zh;q=0.9"}).content.decode()
    assert "Every device slot" in english
    assert 'lang="zh-hans"' in chinese
    assert "该租户的设备名额" in chinese
    for code in PAGES:
        page = Client().get(f"/problems/{code}", headers={"Accept-Language": "zh-Hans"}).content.decode()
        with translation.override("en"):
            english = [str(PAGES[code].meaning), str(PAGES[code].remedy)]
        assert not any(text in page for text in english), code
