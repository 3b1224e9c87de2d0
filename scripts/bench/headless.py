"""A headless Chromium (Debian: chromium chromium-driver; pip install selenium) for benchmarks, figures and tests."""

import shutil
from pathlib import Path

from selenium import webdriver

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()


def chromium(profile: Path, timeout: float = 120, logs: bool = False) -> webdriver.Chrome:
    """A driver of a new Chromium.

    Args:
        profile: a folder for it.
        timeout: seconds that a script may take.
        logs: whether to keep what the page says and asks for.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    if logs:
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.set_script_timeout(timeout)
    return driver
