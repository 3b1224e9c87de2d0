"""The site builds, fits a phone, and its own search answers what a stranger asks."""

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import chromium

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))
QUESTIONS = {
    "train on my own text": {"quickstart", "your-own-data"},
    "my own position scheme": {"your-own-part"},
    "resume": {"runs"},
    "several GPUs": {"devices"},
    "slurm": {"devices"},
    "what does the score mean": {"runs"},
    "fine-tune GPT-2": {"finetuning"},
    "where is attention computed": {"architecture", "course"},
    "is loading a model safe": {"exactness"},
    "how fast is it": {"speed"},
}
"""What a stranger types into the search, and the pages that answer."""
FIRST = 3
"""Results that a stranger looks at."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; mkdocs fails for a link or an anchor that leads nowhere."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served: its search loads an index, which a browser refuses for files."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    driver = chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


def test_the_parts_and_knobs_are_those_of_the_sources(site: Path) -> None:
    parts = (site / "parts" / "index.html").read_text(encoding="utf-8")
    assert "trainer.gradient_clip_val" in parts
    assert "<!-- knobs -->" not in parts


WIDER = """
    const beyond = (e) => e.getBoundingClientRect().right > innerWidth + 1;
    const wide = [...document.querySelectorAll("article *")].filter((e) => beyond(e)
        && !e.closest("pre, .md-typeset__scrollwrap, .highlight"));
    return [document.documentElement.scrollWidth, innerWidth, wide.slice(0, 3).map((e) => e.outerHTML.slice(0, 120)),
        [...document.images].filter((e) => !e.naturalWidth).map((e) => e.src)];
"""


def test_no_page_is_wider_than_a_phone_and_every_picture_is_there(address: str, browser: Any) -> None:
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    for page in PAGES:
        browser.get(f"{address}/{'' if page == 'index' else page + '/'}")
        width, screen, beyond, missing = browser.execute_script(WIDER)
        assert screen == 390
        assert width <= screen, (page, beyond)
        assert (beyond, missing) == ([], []), page


FOUND = """
    const [question, done] = arguments, input = document.querySelector("[data-md-component=search-query]");
    input.focus();
    input.value = question;
    input.dispatchEvent(new Event("keyup"));
    const look = () => {
        const said = document.querySelector(".md-search-result__meta").textContent;
        const links = [...document.querySelectorAll(".md-search-result__item > a")].map((a) => new URL(a.href));
        if (/matching doc/.test(said)) done(links.map((link) => link.pathname));
        else setTimeout(look, 30);
    };
    look();
"""


def test_the_search_of_the_site_answers_a_stranger(address: str, browser: Any) -> None:
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    wrong = {}
    for question, answers in QUESTIONS.items():
        browser.get(address)
        found = [path.strip("/") for path in browser.execute_async_script(FOUND, question)][:FIRST]
        if not answers & set(found):
            wrong[question] = found
    assert wrong == {}


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_readme_has_the_answer_one_click_away(question: str) -> None:
    assert any(f"](docs/{page}.md" in README for page in QUESTIONS[question])
