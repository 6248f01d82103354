"""The house's own rules, read from its source: which way imports point, how long a page may grow, that the README tells what there is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STOREYS = ("tenants", "placement", "billing", "acs")  # each may import itself and what stands before it
LONGEST_MODULE, LONGEST_FUNCTION = 250, 40  # lines
# what is longer, with the length that it must not pass and its reason; a new name here needs one as good
LONG = {
    "acs/settings.py": (345, "the one list of settings"),
    "placement/headscale/admin.py": (300, "one function per call of the admin API"),
    "tenants/office.py": (300, "what every page of Django's admin shares"),
    "placement/grants.py:promise": (45, "one SQL statement"),
}
PURE = (
    *sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "billing" / "rating").glob("*.py")),
    *sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "placement" / "engine").glob("*.py")),
    "placement/pictures.py",
    *(f"placement/policies/{name}.py" for name in ("advice", "explaining", "matrix", "reach", "spans", "trials")),
    "placement/gateway/plan.py",
    "placement/headscale/keys.py",
    "placement/policies/proof.py",
    "tenants/accounts.py",
    "tenants/claims.py",
    "tenants/keyring.py",
    *sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "tenants" / "policies").glob("*.py")),
    "tenants/webtokens.py",
)
READS_THE_ENVIRONMENT = {
    "acs/settings.py",
    "acs/gunicorn.py",  # these two: prometheus_client's own variable
    "acs/metrics.py",
    "placement/headscale/hashing.py",  # a process without Django, started by one whose settings have read the variable
}


def pages(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (page for page in sorted((ROOT / folder).rglob("*.py")) if "migrations" not in page.parts)


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def imported(page: Path) -> list[str]:
    """Every module that a page imports, inside functions too; relative names are made absolute."""
    package = page.relative_to(ROOT).parent.parts
    found = []
    for node in ast.walk(ast.parse(page.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            found.append(".".join([*above, node.module or ""]).strip("."))
    return found


def importers(folder: str, *forbidden: str) -> list[str]:
    return [
        f"{named(page)} imports {module}"
        for page in pages(folder)
        for module in imported(page)
        if any(module == name or module.startswith(f"{name}.") for name in forbidden)
    ]


def test_imports_are_found_wherever_they_stand(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    page = tmp_path / "tenants" / "deep" / "page.py"
    page.parent.mkdir(parents=True)
    page.write_text("import ast\ndef late():\n    from acs.demo import run\n    from ..models import Tenant\n    from . import beside\n")
    assert imported(page) == ["ast", "acs.demo", "tenants.models", "tenants.deep"]


@pytest.mark.parametrize("storey", STOREYS)
def test_imports_point_from_acs_over_billing_and_placement_to_tenants(storey):
    assert importers(storey, *STOREYS[STOREYS.index(storey) + 1 :], "tests", "benchmarks") == []


def test_nothing_that_serves_imports_the_demonstration():
    assert [line for line in importers("acs", "acs.demo") if not line.startswith("acs/demo/")] == []


@pytest.mark.parametrize("page", PURE)
def test_decisions_know_neither_django_nor_a_server(page):
    known = {
        module.split(".")[0] for module in imported(ROOT / page) if module != "django.utils.translation"
    }  # words for people are no decision
    assert known & {"django", "httpx2", "psycopg", "redis", "celery"} == set()


def test_no_page_and_no_function_grows_out_of_sight():
    lengths = {}
    for page in pages(*STOREYS):
        text = page.read_text(encoding="utf-8")
        lengths[named(page)] = (len(text.splitlines()), LONGEST_MODULE)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths[f"{named(page)}:{node.name}"] = ((node.end_lineno or 0) - node.lineno + 1, LONGEST_FUNCTION)
    allowed = {name: LONG.get(name, (usual, ""))[0] for name, (_, usual) in lengths.items()}
    assert [f"{name}: {length} lines, at most {allowed[name]}" for name, (length, _) in lengths.items() if length > allowed[name]] == []
    assert sorted(LONG.keys() - lengths.keys()) == [], "allowed to be long, but gone"


def test_every_module_says_what_it_is():
    silent = [
        named(page)
        for page in pages(*STOREYS, "tests", "benchmarks")
        if (text := page.read_text(encoding="utf-8")).strip() and not ast.get_docstring(ast.parse(text))
    ]
    assert [name for name in silent if not name.endswith("apps.py")] == []


def test_only_the_settings_read_the_environment():
    word = re.compile(r"os\.(getenv|environ(?!\.setdefault\(\"DJANGO_SETTINGS_MODULE\"))")
    readers = {named(page) for page in pages(*STOREYS) if word.search(page.read_text(encoding="utf-8"))}
    assert {name for name in readers if not name.startswith("acs/demo/")} - READS_THE_ENVIRONMENT == set()


def test_the_readme_tells_every_variable():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    settings = "".join((ROOT / "acs" / name).read_text(encoding="utf-8") for name in ("settings.py", "billing_settings.py"))
    variables = set(re.findall(r'(?:env\.\w+|required)\(\s*"([A-Z_]+)"', settings))
    assert len(variables) > 15
    for page in pages("acs/demo"):
        variables |= set(re.findall(r'"((?:ACS|DATABASE_URL|REDIS_URL)[A-Z_]*)"', page.read_text(encoding="utf-8")))
    assert sorted(name for name in variables if f"`{name}`" not in readme and f"`{name}=" not in readme) == []


def test_the_readme_tells_every_code_of_an_error():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    codes = set(re.findall(r'Problem\(\s*"([a-z-]+)"', (ROOT / "acs/errors.py").read_text(encoding="utf-8")))
    assert len(codes) > 10
    assert sorted(code for code in codes if f"`{code}`" not in readme) == []


def test_the_readme_names_every_command():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = {page.stem for page in pages(*STOREYS) if page.parent.name == "commands"} - {"__init__", "demo"}
    assert len(commands) >= 4
    assert sorted(name for name in commands if not re.search(rf"(manage\.py |`){name}\b", readme)) == []
