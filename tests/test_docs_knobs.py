"""Every knob that the pages name exists."""

import re
from pathlib import Path

from microgpt.engine.compose.advice import knob_names
from microgpt.engine.compose.compose import run_config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NO_KNOBS = {
    "optim.muon",  # of --help
    "model.pos.slope",  # a part of the reader's own
    "logger.mine",
    "callbacks.mine",
    "model.n_layr",  # a typing error, to show the answer
    "data.num_workers",  # another program's
}
FILES = (".py", ".pt", ".gguf", ".safetensors", ".json", ".md")


def test_the_knobs_that_the_pages_name_exist() -> None:
    knobs = set(knob_names(run_config()))
    nodes = "|".join(sorted({knob.partition(".")[0] for knob in knobs if "." in knob}))
    named = re.compile(rf"(?<![\w./-])((?:{nodes})\.[a-z_][\w.]*)")
    found = {
        (page.name, name.rstrip(".")) for page in PAGES for name in named.findall(page.read_text(encoding="utf-8"))
    }
    assert len(found) > 100
    unknown = {(page, name) for page, name in found if name not in knobs | NO_KNOBS}
    assert {(page, name) for page, name in unknown if not name.endswith(FILES)} == set()
