"""Results of `microgpt.inspect` in a notebook are used with the keyboard alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_run import small_run

from browser import Browser, opened

TEXT = "the cat sat"
LEFT, ENTER = "\ue012", "\ue007"
VISIBLE = """
return [...document.querySelectorAll(".layer")].flatMap((layer, i) =>
    getComputedStyle(layer).visibility === "visible" ? [i] : []);
"""
FRAME = "return getComputedStyle(document.querySelectorAll('.layer .here')[arguments[0]]).outline"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    yield from opened(tmp_path_factory.mktemp("profile"))


@pytest.mark.slow
def test_tab_and_arrows_choose_the_token_whose_attention_is_shown(browser: Browser, tmp_path: Path) -> None:
    trace = small_run().inspect(TEXT)
    page = tmp_path / "results.html"
    results = trace.attention(1, 0)._repr_html_() + trace._repr_html_()
    page.write_text(f"<!doctype html><meta charset=utf-8><title>results</title>{results}", encoding="utf-8")
    browser.driver.get(page.as_uri())
    last = len(TEXT) - 1
    assert browser.run(VISIBLE) == [last]
    browser.tab_to("input[type=radio]")
    for at in (last, last - 1, last - 2):
        assert browser.run(VISIBLE) == [at]
        label = browser.run("return document.activeElement.getAttribute('aria-label')")
        assert label.startswith(f"{TEXT[at]} ({at}) looks at ")
        frame = (
            "return getComputedStyle(document.querySelectorAll('.layer')[arguments[0]].querySelector('.here')).outline"
        )
        assert "3px" in browser.run(frame, at)
        browser.press(LEFT)
    browser.tab_to("summary")
    browser.press(ENTER)
    assert browser.run("return document.querySelector('details').open")
