"""The site builds, fits a phone, and its own search answers what a stranger asks."""

import functools
import html
import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import chromium
from microgpt.engine.commands.knobs import knobs
from microgpt.engine.commands.sources import Sources

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
    headings = re.findall(r"<h3[^>]*>([^<]+)", parts)
    assert len(headings) == len(set(headings)) > 10
    cells = [html.unescape(re.sub("<[^>]+>", "", cell)) for cell in re.findall(r"<td>(.*?)</td>", parts)]
    for knob in knobs(Sources()):  # a star, say, is no emphasis
        assert knob.doc.replace("`", "") in cells, knob.name


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


COLOURS = """
    const linear = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
    const light = (...layers) => {
        const canvas = document.createElement("canvas").getContext("2d");
        for (const color of layers) {
            canvas.fillStyle = color;
            canvas.fillRect(0, 0, 1, 1);
        }
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(linear);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const page = getComputedStyle(document.body).backgroundColor, paper = light(page);
    const contrast = (e) => {
        const text = light(page, getComputedStyle(e).color);
        return (Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05);
    };
    const kinds = ["h1", "h2", "p", "td", "td a", "em"].map((kind) => document.querySelector("article " + kind));
    const pictures = [...document.querySelectorAll("article img")].map((e) => getComputedStyle(e).backgroundColor);
    return [paper, Math.min(...kinds.filter(Boolean).map(contrast)), pictures.filter((c) => c != "rgb(255, 255, 255)")];
"""
"""The lightness of the page from 0 to 1, its lowest contrast of text, papers of pictures but white."""


def test_a_page_has_the_colours_of_the_system_and_can_be_read_in_both(address: str, browser: Any) -> None:
    visits = [("index", "light"), *((page, "dark") for page in PAGES), ("index", "light")]
    for page, scheme in visits:  # the visit before may have had other colours
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        browser.get(f"{address}/{'' if page == 'index' else page + '/'}")
        paper, contrast, other = browser.execute_script(COLOURS)
        assert (paper > 0.9) if scheme == "light" else (paper < 0.1), (page, scheme)
        assert contrast >= 4.5, (page, scheme)  # WCAG AA
        assert other == [], (page, scheme)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


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
