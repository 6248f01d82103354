"""A real Chromium before a real gunicorn, which serves the collected static files under the door's own rights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.live import LiveService, run_web

PASSWORD = "only-in-tests-3"
Somebody = TypeVar("Somebody", bound="Operator")
SIZES = {"wide": (1280, 900), "narrow": (390, 844)}
PICTURES = os.environ.get("ACS_PICTURES", "")  # a folder for screenshots of every page, for people to look at


@pytest.fixture(scope="package")
def service(django_db_setup: None, static_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """One for the whole folder; what it keeps of a fleet is gone before the next test's first page is there."""
    with run_web(
        tmp_path_factory.mktemp("web"), workers=2, ACS_STATIC_ROOT=str(static_root), ACS_PLACEMENT_REFRESH_SECONDS="0.5"
    ) as running:
        yield running


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """One for the whole folder; each test has a profile of its own in it."""
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright keeps an event loop in this thread
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        yield browser
        browser.close()


@pytest.fixture
def operator(transactional_db: None) -> str:
    from django.contrib.auth.models import User

    return User.objects.create_superuser("olga", password=PASSWORD).username


@dataclass
class Operator:
    """Somebody at a browser. `complaints` is what the browser's console said: violations of the content security policy among it."""

    page: Any
    url: str
    complaints: list[str] = field(default_factory=list)

    def goes(self, path: str) -> None:
        answer = self.page.goto(self.url + path)
        assert answer.status == 200, f"{path}: {answer.status}"

    def logs_in(self, name: str) -> None:
        self.goes("/admin/")
        self.page.fill("#id_username", name)
        self.page.fill("#id_password", PASSWORD)
        with self.page.expect_navigation():
            self.page.click("#login-form input[type=submit]")

    def clicks(self, words: str) -> None:
        """A link or button by its words, in the page's content; the next page has come when this returns."""
        content = self.page.locator("#content")
        with self.page.expect_navigation():
            content.get_by_role("link", name=words, exact=True).or_(content.get_by_role("button", name=words, exact=True)).first.click()

    @property
    def sees(self) -> str:
        return str(self.page.locator("#container").inner_text())

    def shows(self, name: str) -> None:
        """Nothing sticks out sideways in either size; a picture of both where somebody asked for them."""
        for size, (width, height) in SIZES.items():
            self.page.set_viewport_size({"width": width, "height": height})
            if PICTURES:
                shutil.os.makedirs(PICTURES, exist_ok=True)
                self.page.screenshot(path=f"{PICTURES}/{name}-{size}.png", full_page=True)
            sticks_out = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert sticks_out <= 0, f"{name} is {sticks_out} px wider than a {size} window"
        width, height = SIZES["wide"]
        self.page.set_viewport_size({"width": width, "height": height})


@contextmanager
def sitting_down(chromium: Any, who: Callable[[Any, str], Somebody], url: str) -> Iterator[Somebody]:
    """Somebody at a browser that nobody has used before."""
    wide = dict(zip(("width", "height"), SIZES["wide"], strict=True))
    with chromium.new_context(viewport=wide, locale="en-GB", color_scheme="light") as profile:
        page = profile.new_page()
        page.set_default_timeout(10_000)
        somebody = who(page, url)
        page.on("console", lambda message: somebody.complaints.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: somebody.complaints.append(str(error)))
        yield somebody


@pytest.fixture
def at_the_browser(service: LiveService, chromium: Any, operator: str) -> Iterator[Operator]:
    """Logged in. The test fails if the browser had anything to complain about."""
    with sitting_down(chromium, Operator, service.url) as somebody:
        somebody.logs_in(operator)
        yield somebody
    assert somebody.complaints == []
