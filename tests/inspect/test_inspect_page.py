"""What a notebook shows: every result as HTML and as a figure, and no text of a model's becomes markup."""

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from small_run import small_run

from microgpt.inspect import head_importance, induction_score
from microgpt.inspect.history import InductionHistory

EVIL = "</div><b> & \"a\" '$x$'"[:16]


class Reader(HTMLParser):
    """The tags, attributes and text of a page; complains of tags that do not close."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag != "input":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def results() -> dict[str, Any]:
    run = small_run(norm="layernorm", bias=True)
    trace = run.inspect(EVIL)
    history = InductionHistory(np.array([[1, 0.1], [2, 0.5]]), {"val/loss": np.array([[1, 3.0], [2, 2.5]])})
    return {
        "trace": trace,
        "surprisal": trace.surprisal(),
        "top": trace.top(4),
        "lens": trace.logit_lens(),
        "attention": trace.attention(1, 2),
        "attribution": trace.attribution(3, "a", versus="<"),
        "importance": head_importance(run, EVIL),
        "induction": induction_score(run),
        "history": history,
    }


RESULTS = results()


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_a_page_without_script_or_markup_of_the_texts(name: str) -> None:
    page = RESULTS[name]._repr_html_()
    read = Reader(page)
    allowed = set("div span style label input table tr th td details summary svg path i".split())
    assert read.tags <= allowed
    assert not [key for key, _ in read.attributes if key.startswith("on") or key in ("src", "href", "srcdoc")]
    assert "url(" not in page
    assert "@import" not in page
    own = re.search(r"(?<![-\w])color:(?!\s*(?:inherit|transparent|var\())", page)
    assert own is None  # the theme's colour, light or dark


def test_the_text_is_shown_as_it_is() -> None:
    assert EVIL in Reader(RESULTS["surprisal"]._repr_html_()).text
    read = Reader(RESULTS["attention"]._repr_html_())
    assert read.text.count(EVIL) == len(EVIL) + 1  # a layer for each token, and the words
    trace = small_run().inspect("a\nb")
    assert "a⏎\nb" in Reader(trace.surprisal()._repr_html_()).text


def test_every_token_can_be_chosen_and_the_last_one_is() -> None:
    read = Reader(RESULTS["attention"]._repr_html_())
    radios = [value for key, value in read.attributes if key == "aria-label"]
    assert sum(") looks at" in value for value in radios) == len(EVIL)
    assert ("checked", "") in read.attributes
    ids, targets = ({value for key, value in read.attributes if key == wanted} for wanted in ("id", "for"))
    assert targets < ids
    again = Reader(RESULTS["attention"]._repr_html_())
    assert targets.isdisjoint(value for key, value in again.attributes if key == "id")


@pytest.mark.parametrize("name", [name for name in RESULTS if name != "trace"])
def test_a_result_is_a_figure_that_draws(name: str, tmp_path: Any) -> None:
    figure = RESULTS[name].plot()
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 2000
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_characters_that_the_font_lacks_are_drawn_as_a_stand_in() -> None:
    from microgpt.inspect.figures import drawable

    assert drawable("a$b⏎␣") == "a\\$b⏎␣"
    assert drawable("日") == "\N{WHITE SQUARE}"
