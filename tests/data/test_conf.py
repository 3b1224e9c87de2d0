"""The corpora that ship, one YAML each: they decode, and the knobs load without torch."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from microgpt import train
from microgpt.config import defaults
from microgpt.data.config import DataConfig
from microgpt.data.sources import BUILT_IN

CONF = Path(__file__).parents[2] / "conf" / "data"


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda p: p.stem)
def test_corpus_says_what_it_is_and_only_what_differs(path: Path) -> None:
    text = path.read_text()
    values = yaml.safe_load(text) or {}
    config = DataConfig(**values)
    assert text.startswith("# ")
    assert config.corpus == path.stem
    assert config.url or config.corpus in BUILT_IN or config.tokenizer == "ids"
    assert not {key for key, value in values.items() if defaults(DataConfig)[key] == value}


def test_the_five_corpora_ship() -> None:
    assert {path.stem for path in CONF.glob("*.yaml")} >= {"manual", "shakespeare", "grimm", "text8", "enwik8"}


def test_the_knobs_load_without_torch() -> None:
    code = "import sys, microgpt.data.config; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_a_corpus_of_ones_own_is_one_yaml(tiny: Callable[..., list[str]], book: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "data"
    mine.mkdir(parents=True)
    (mine / "cats.yaml").write_text(f"# Cats.\ncorpus: cats\npath: {book}\ntokenizer: byte\nval_fraction: 0.25\n")
    overrides = [word for word in tiny("data=cats") if not word.startswith("data.path=")]
    run = train(overrides, config_dir=tmp_path / "mine")
    assert run.tokenizer.vocab_size == 256
    assert run.summary["train_tokens"] == book.stat().st_size * 3 // 4
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["data"]
    assert (written["corpus"], written["path"]) == ("cats", str(book))
