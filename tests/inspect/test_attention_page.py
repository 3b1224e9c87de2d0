"""The attention view in a real browser: a token shows where it looks by pointer and by keys, and the grid enlarges."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_run import small_run

from microgpt.inspect import inspect
from microgpt.inspect.attention_map import AttentionMap
from microgpt.inspect.attention_page import SIZES
from microgpt.inspect.text import Text

TEXT = "to be,\n<b>or</b>"
HEADER = "<!doctype html><meta charset='utf-8'><meta name='color-scheme' content='light dark'><body>"


def attention(T: int = 16) -> AttentionMap:
    """A map in which token t looks at token t // 2 with 0.75 and at itself with the rest."""
    weights = np.zeros((T, T))
    for t in range(T):
        weights[t, t] += 0.25
        weights[t, t // 2] += 0.75
    return AttentionMap(1, 2, weights, Text.of_ids(range(T)))


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        if os.environ.get("MICROGPT_REQUIRE_ALL") == "1":
            pytest.fail("no chromium, and MICROGPT_REQUIRE_ALL=1 asks for it")
        pytest.skip("no chromium: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=900,900"):
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def shown(driver: Any, tmp_path: Path) -> Any:
    """The driver with the map of 16 tokens open."""
    return opened(driver, tmp_path, attention())


def opened(driver: Any, folder: Path, map_: AttentionMap) -> Any:
    page = folder / "map.html"
    page.write_text(HEADER + map_._repr_html_(), encoding="utf-8")
    driver.get(page.as_uri())
    return driver


def visible(driver: Any, selector: str) -> list[str]:
    """The texts of the elements that are shown."""
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])]"
        ".filter(e => getComputedStyle(e).visibility == 'visible').map(e => e.textContent)",
        selector,
    )


def marked_row(driver: Any) -> float:
    """The row of the grid that has a frame."""
    script = """
        const mark = document.querySelector('.mark').getBoundingClientRect()
        return (mark.top - document.querySelector('.cells').getBoundingClientRect().top) / mark.height"""
    return float(driver.execute_script(script))


def test_the_last_token_is_chosen_at_first_and_says_where_it_looks(shown: Any) -> None:
    assert visible(shown, ".says") == ["15␣ (15) looks at 7␣ (7) 0.75, 15␣ (15) 0.25"]
    assert len(visible(shown, ".layer")) == 1
    assert marked_row(shown) == 15


def test_a_click_and_the_arrow_keys_choose_a_token(shown: Any) -> None:
    from selenium.webdriver import ActionChains, Keys

    words = shown.find_elements("css selector", ".words label")
    words[10].click()
    ActionChains(shown).move_by_offset(0, 400).perform()  # off the text
    assert visible(shown, ".says") == ["10␣ (10) looks at 5␣ (5) 0.75, 10␣ (10) 0.25"]
    ActionChains(shown).send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT).perform()
    assert visible(shown, ".says") == ["8␣ (8) looks at 4␣ (4) 0.75, 8␣ (8) 0.25"]
    assert marked_row(shown) == 8
    label = shown.switch_to.active_element.get_attribute("aria-label")
    assert label == "8␣ (8) looks at 4␣ (4) 0.75, 8␣ (8) 0.25"


def test_a_token_under_the_pointer_is_shown_until_the_keyboard_is_used(shown: Any) -> None:
    from selenium.webdriver import ActionChains, Keys

    words = shown.find_elements("css selector", ".words label")
    ActionChains(shown).move_to_element(words[6]).perform()
    assert visible(shown, ".says") == ["6␣ (6) looks at 3␣ (3) 0.75, 6␣ (6) 0.25"]
    assert marked_row(shown) == 6
    words[6].click()
    ActionChains(shown).send_keys(Keys.ARROW_RIGHT).perform()
    assert visible(shown, ".says") == ["7␣ (7) looks at 3␣ (3) 0.75, 7␣ (7) 0.25"]
    assert marked_row(shown) == 7


def test_the_grid_enlarges_by_keys_and_a_click_on_a_row_chooses_it(shown: Any) -> None:
    from selenium.webdriver import ActionChains, Keys

    def width() -> float:
        return float(shown.execute_script("return document.querySelector('svg').getBoundingClientRect().width"))

    assert width() == 16 * SIZES[-1]
    ActionChains(shown).send_keys(Keys.TAB, Keys.TAB, Keys.ARROW_LEFT).perform()
    assert width() == 16 * SIZES[-2]
    rows = shown.find_elements("css selector", ".rows label")
    rows[4].click()
    assert visible(shown, ".says") == ["4␣ (4) looks at 2␣ (2) 0.75, 4␣ (4) 0.25"]
    ActionChains(shown).send_keys(Keys.TAB, Keys.TAB).perform()
    assert shown.switch_to.active_element.get_attribute("class") == "view"


def test_a_long_text_fits_and_scrolls_with_its_labels_in_sight(driver: Any, tmp_path: Path) -> None:
    opened(driver, tmp_path, attention(300))
    assert "the last 256 of 300 tokens" in driver.find_element("tag name", "body").text
    assert visible(driver, ".says")[0].startswith("299␣ (299) looks at ")
    place = "const box = document.querySelector(arguments[0]).getBoundingClientRect(); return [box.left, box.top]"
    here, token = (driver.execute_script(place, e) for e in ("input:checked + .layer .here", ".words .w255"))
    assert here == pytest.approx(token, abs=1.5)  # both wrap at the same tokens
    box = "document.querySelector('.view')"
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    driver.find_elements("css selector", ".zoom label")[-1].click()
    assert driver.execute_script(f"return {box}.scrollWidth") > 256 * SIZES[-1]
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    driver.execute_script(f"{box}.scrollTo(3000, 3000)")
    for edge, labels in (("left", ".rows"), ("top", ".columns")):
        place = (
            f"document.querySelector('{labels}').getBoundingClientRect().{edge} - {box}.getBoundingClientRect().{edge}"
        )
        assert abs(driver.execute_script(f"return {place}")) <= 2, labels


def test_no_text_becomes_markup_and_nothing_is_fetched(driver: Any, tmp_path: Path) -> None:
    run = small_run()
    opened(driver, tmp_path, run.inspect(TEXT).attention(0, 1))
    assert driver.find_elements("tag name", "b") == []
    assert driver.execute_script("return document.querySelector('.words').textContent") == TEXT.replace("\n", "⏎\n")
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_the_scale_is_the_heads_own() -> None:
    faint = AttentionMap(0, 0, attention().weights * 0 + np.tril(np.full((16, 16), 0.02)), Text.of_ids(range(16)))
    page = faint._repr_html_()
    assert "0.02, the head&#x27;s largest" in page
    assert re.search(r'<path class="s10"', page)


def test_a_long_texts_page_is_bounded() -> None:
    run = small_run(block_size=512)
    trace = inspect(run.model, np.arange(512) % 30)
    assert len(trace.attention(0, 0)._repr_html_()) < 3_000_000
