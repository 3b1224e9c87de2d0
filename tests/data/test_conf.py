"""The corpora that ship, one YAML each: they decode, and the knobs load without torch."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from microgpt.config import defaults
from microgpt.data.config import DataConfig
from microgpt.data.sources import BUILT_IN

CONF = Path(__file__).parents[2] / "conf" / "data"


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda p: p.stem)
def test_corpus_says_what_it_is_and_only_what_differs(path):
    text = path.read_text()
    values = yaml.safe_load(text) or {}
    config = DataConfig(**values)
    assert text.startswith("# ")
    assert config.corpus == path.stem
    assert config.url or config.corpus in BUILT_IN
    assert not {key for key, value in values.items() if defaults(DataConfig)[key] == value}


def test_the_five_corpora_ship():
    assert {path.stem for path in CONF.glob("*.yaml")} >= {"manual", "shakespeare", "grimm", "text8", "enwik8"}


def test_the_knobs_load_without_torch():
    code = "import sys, microgpt.data.config; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
