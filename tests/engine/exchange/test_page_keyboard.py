"""A page is used with the keyboard alone: every control can be reached, seen in focus, and worked."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from varied_models import KINDS, make_run

from browser import Browser, opened
from microgpt.engine.exchange.export import export

ENTER, SPACE, HOME, END, LEFT, RIGHT = "\ue007", " ", "\ue011", "\ue010", "\ue012", "\ue014"
WAIT = """
const [body, done] = arguments, look = () => new Function("return " + body)() ? done(0) : setTimeout(look, 20);
look();
"""
FRAMED = (
    "const s = getComputedStyle(document.activeElement); return s.outlineStyle !== 'none' && s.outlineWidth !== '0px'"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    yield from opened(tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alibi")
    run = make_run(folder / "run", "alibi", KINDS["alibi"])
    rows = "".join(f"{i},{4 - i / 100}\n" for i in range(1, 40))
    (run.path / "metrics.csv").write_text(f"step,train/loss\n{rows}")
    log = (f"2026-01-01 00:00:00,000 --- sample 0 at step {step}\na text of step {step}\n---\n" for step in (5, 9))
    (run.path / "train.log").write_text("".join(log))
    export(run, folder / "page.html", "html")
    return folder / "page.html"


def wait_for(browser: Browser, body: str) -> None:
    browser.driver.execute_async_script(WAIT, body)


@pytest.mark.slow
def test_the_keyboard_writes_reads_and_switches_heads_off(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.settle()
    assert browser.tab_to(".skip") == ["A"]
    browser.press(ENTER)
    assert browser.run("return location.hash") == "#write"

    passed = browser.tab_to("#go")
    assert passed == ["prompt", "temperature", "top-k", "top-p", "seed", "count", "stop", "go"]
    assert browser.run(FRAMED)
    browser.run("document.getElementById('count').value = 5; document.getElementById('output').textContent = ''")
    browser.press(ENTER)
    wait_for(browser, "document.getElementById('output').textContent && !document.getElementById('go').disabled")

    browser.tab_to("#tokens [role=option]")
    last = browser.run("return P.reader.ids.length - 1")
    assert browser.run("return P.reader.chosen") == last
    for key, at in ((LEFT, last - 1), (LEFT, last - 2), (RIGHT, last - 1), (HOME, 0), (LEFT, 0), (END, last)):
        browser.press(key)
        assert browser.run("return P.reader.chosen") == at
        assert browser.run("return document.activeElement.dataset.at") == str(at)
        assert browser.run("return document.activeElement.getAttribute('aria-selected')") == "true"
        assert browser.run("return document.getElementById('chosen').textContent").startswith(f"Token {at + 1},")
        assert browser.run(FRAMED)

    assert browser.tab_to("#layers input:checked") == ["layer"]
    before = browser.run("return P.reader.layer")
    browser.press(LEFT)
    assert browser.run("return P.reader.layer") == before - 1
    looks = browser.run("return document.querySelector('#heads canvas').getAttribute('aria-label')")
    assert looks.startswith(f"Head 0 of layer {before - 1} looks most at token")

    assert browser.tab_to("#heads input") == ["checkbox"]
    browser.press(SPACE)
    wait_for(browser, "/^1 head off/.test(document.getElementById('effect').textContent)")
    head = browser.run("return [...P.reader.heads].indexOf(0)")
    assert head == (before - 1) * browser.run("return P.reader.size.headCount")
    assert browser.tab_to("#heads input") == ["checkbox"]  # the focus has stayed
    browser.press(SPACE)
    wait_for(browser, "/^2 heads off/.test(document.getElementById('effect').textContent)")

    browser.tab_to("#moment")
    step = browser.run("return document.getElementById('sample').textContent")
    browser.press(LEFT if step == "a text of step 9" else RIGHT)
    assert browser.run("return document.getElementById('sample').textContent") != step
    browser.tab_to("summary")
    browser.press(ENTER)
    assert browser.run("return document.querySelector('details').open")
    assert browser.complaints() == []


@pytest.mark.slow
def test_every_control_shows_that_it_has_the_focus(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.settle()
    seen, body = [], "const e = document.activeElement; return e === document.body ? '' : e.outerHTML.slice(0, 80)"
    for _ in range(60):
        browser.press("\ue004")
        if not (element := browser.run(body)):
            break
        assert browser.run(FRAMED), element
        seen.append(element)
    assert len(seen) > 15
