"""Headless Chromium for tests of pages."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "scripts" / "bench"))


def require_chromium() -> None:
    """Skip the test where there is no Chromium."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        if os.environ.get("MICROGPT_REQUIRE_ALL") == "1":
            pytest.fail("no chromium, and MICROGPT_REQUIRE_ALL=1 asks for it")
        pytest.skip("no chromium: apt-get install chromium chromium-driver")


def chromium(profile: Path) -> Any:
    """A driver of a new Chromium, which logs what the page says and asks for; skip the test where there is none."""
    require_chromium()
    import headless

    return headless.chromium(profile, logs=True)


class Browser:
    """Headless Chromium with a page open."""

    def __init__(self, profile: Path) -> None:
        self.driver = chromium(profile)

    def open(self, path: Path) -> None:
        self.complaints(), self.requests()  # forget those of the page before
        self.driver.get(path.as_uri())
        wait = "const done = arguments[0]; opened.then((p) => { globalThis.P = p; done(0); }, (e) => done(String(e)));"
        failed = self.driver.execute_async_script(wait)
        assert failed == 0, failed

    def run(self, body: str, *arguments: Any) -> Any:
        return self.driver.execute_script(body, *arguments)

    def settle(self) -> None:
        """Wait until the page has written and read its first texts."""
        body = """const done = arguments[0];
            const look = () => document.querySelector("#next li") ? done(0) : setTimeout(look, 20); look();"""
        self.driver.execute_async_script(body)

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def press(self, *keys: str) -> None:
        """Press keys, one after another, where the focus is."""
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def tab_to(self, selector: str, most: int = 40) -> list[str]:
        """Press Tab until the focus is on such an element; the ids or types of those passed, the last one's too."""
        passed = []
        for _ in range(most):
            self.press("\ue004")
            passed.append(self.run("const e = document.activeElement; return e.id || e.name || e.type || e.tagName"))
            if self.run("return document.activeElement.matches(arguments[0])", selector):
                return passed
        raise AssertionError(f"no Tab leads to {selector}: {passed}")


def opened(profile: Path) -> Iterator[Browser]:
    """A browser with a new profile, closed at the end."""
    browser = Browser(profile)
    yield browser
    browser.driver.quit()
