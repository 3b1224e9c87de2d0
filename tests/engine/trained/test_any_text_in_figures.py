"""Figures show any text: nothing is mathematics, nothing unprintable is drawn, no script ends in an error."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from microgpt import train
from microgpt.engine.trained.figures import attention_maps
from microgpt.model import GPT, GPTConfig

MODEL = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=8), 8)


def drawn(labels: list[str]) -> list[str]:
    """Draw a figure with these tokens; returns the names on its axis."""
    figure = attention_maps(MODEL, torch.arange(len(labels)), labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(io.BytesIO(), dpi=20)
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=()), max_size=4) | st.sampled_from("\0 \x1b $ ${ \\ \n"),
        min_size=2,
        max_size=8,
    )
)
def test_any_tokens_are_drawn(labels: list[str]) -> None:
    names = drawn(labels)
    assert len(names) == len(labels)
    assert all(name.isprintable() for name in names)


def test_mathematics_and_white_space_are_signs() -> None:
    assert drawn(["$", " ", "\n", "\t", "", "a"]) == ["\\$", "\u2423", "\u21b5", "\u21e5", "\u2205", "a"]


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_a_text_of_control_characters_drives_no_terminal(
    tokenizer: str, tiny: Callable[..., list[str]], book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book.write_text(
        "the \0 cat \x1b[2J sat $\\frac{ on \x9b2J \u202e $ 日本\x07\x08\r\n" * 100, encoding="utf-8", newline=""
    )
    name = "a\x1b]0;title\x07b"
    run = train(tiny(f"data.tokenizer={tokenizer}", "eval.figures=always", "sample.every_n_steps=3",
                     "trainer.progress=lines", "logger=tensorboard", f"hydra.run.dir='{tmp_path / name}'"))  # fmt: skip
    assert run is not None
    said = capsys.readouterr()
    for text in (said.out, said.err, (tmp_path / name / "train.log").read_text(encoding="utf-8")):
        assert not set(text) & set(map(chr, (*range(9), *range(11, 32), 0x7F, 0x9B, 0x202E)))
    assert "title" in said.out
