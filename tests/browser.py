"""Headless Chromium for tests of pages."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()


def require_chromium() -> None:
    """Skip the test where there is no Chromium."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        if os.environ.get("MICROGPT_REQUIRE_ALL") == "1":
            pytest.fail("no chromium, and MICROGPT_REQUIRE_ALL=1 asks for it")
        pytest.skip("no chromium: apt-get install chromium chromium-driver")


def chromium(profile: Path) -> Any:
    """A driver of a new Chromium, which logs what the page says and asks for; skip the test where there is none."""
    require_chromium()
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.set_script_timeout(120)
    return driver
