"""A real Chromium before a real gunicorn, which serves the collected static files under the door's own rights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.live import LiveService, run_web

PASSWORD = "only-in-tests-3"
SIZES = {"wide": (1280, 900), "narrow": (390, 844)}
PICTURES = os.environ.get("ACS_PICTURES", "")  # a folder for screenshots of every page, for people to look at


@pytest.fixture
def service(transactional_db: None, static_root: Path, tmp_path: Path) -> Iterator[LiveService]:
    with run_web(tmp_path, workers=2, ACS_STATIC_ROOT=str(static_root)) as running:
        yield running


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


@pytest.fixture
def at_the_browser(service: LiveService, operator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    """Logged in. The test fails if the browser had anything to complain about."""
    from playwright.sync_api import sync_playwright

    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright keeps an event loop in this thread
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        page = browser.new_page(viewport=dict(zip(("width", "height"), SIZES["wide"], strict=True)), locale="en-GB", color_scheme="light")
        page.set_default_timeout(10_000)
        somebody = Operator(page, service.url)
        page.on("console", lambda message: somebody.complaints.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: somebody.complaints.append(str(error)))
        somebody.logs_in(operator)
        yield somebody
        browser.close()
    assert somebody.complaints == []
