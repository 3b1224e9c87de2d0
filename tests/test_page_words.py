"""The pages name knobs, parts and files that exist, and each thing by the glossary's word."""

import re
from pathlib import Path

import pytest

from microgpt.engine.commands.knobs import families, knobs
from microgpt.engine.commands.sources import Sources
from microgpt.engine.compose.groups import config_groups, shipped_yaml

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")),
    *(ROOT / "docs").glob("*.md"),
]
NODES = ("checkpoint", "data", "eval", "inspect", "lora", "model", "optim", "sample", "sweep", "trainer")
MINE = {"mine", "ramp", "ramp.py", "mine.py"}
"""What the pages call a reader's own part and file."""
ELSEWHERE = {"train_shakespeare_char.py", "train.py", "sample.py", "generate.py", "prepare.py", "eval.py"}
"""Files of the programs that readers come from."""
OTHER_WORDS = {
    "training part": "training split", "training set": "training split", "validation set": "validation split",
    "validation part": "validation split", "held-out": "validation split", "run directory": "run folder",
    "run's folder": "run folder", "output directory": "run folder", "context window": "context",
    "context length": "context", "sequence length": "context", "minibatch": "batch", "mini-batch": "batch",
    "microbatch": "micro-batch", "iteration": "step", "million weights": "million parameters",
    "grid search": "sweep", "learning rate's course": "learning-rate schedule",
}  # fmt: skip
"""Words for a thing that has another in the glossary."""
ALLOWED = {
    ("docs/speed.md", "million weights"),
    ("docs/exchange.md", "million weights"),
    ("docs/glossary.md", "validation part"),
}


def inline_code(page: Path) -> list[str]:
    """What stands between backticks, outside blocks."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


@pytest.fixture(scope="module")
def choices() -> dict[str, set[str]]:
    """Group or family -> its options."""
    found = {group: set(options) for group, options in config_groups(shipped_yaml()).items()}
    for path, members in families(Sources()).items():
        found.setdefault(path, set()).update(members)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_knob_and_part_that_a_page_names_is_there(page: Path, choices: dict[str, set[str]]) -> None:
    names = {knob.name for knob in knobs(Sources())}
    code = inline_code(page)
    if page.stem.startswith("from-"):  # the first column has the other program's names
        rows = re.findall(r"^\|.*?\|(.*)\|$", page.read_text("utf-8"), re.MULTILINE)
        code = [word for row in rows for word in re.findall(r"`([^`]+)`", row)]
    for word in (word for text in code if "(" not in text for word in text.split()):
        name, equals, value = (
            re.fullmatch(r"([\w./]+)(=?)(.*)", word).groups() if re.match(r"[\w.]", word) else ("",) * 3
        )
        if equals and name in choices:
            wanted = set(re.findall(r"[\w./-]+", value)) - MINE
            assert wanted <= choices[name], word
        elif name.split(".")[0] in NODES and "." in name and not re.search(r"\.(py|json|yaml|pkl|pt|gguf|bin)$", name):
            name = name.rstrip(".")
            assert name in names | choices.keys() | set(NODES) or name == "model.safetensors", word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_of_ours_that_a_page_names_is_there(page: Path) -> None:
    roots = [ROOT, ROOT / "src" / "microgpt", ROOT / "src" / "microgpt" / "engine", ROOT / "examples"]
    known = {path.name for path in (ROOT / "src").rglob("*.py")}
    for word in (word for text in inline_code(page) for word in text.split()):
        if re.fullmatch(r"[\w/.-]+\.(py|ipynb|slurm)", word) and Path(word).name not in MINE | ELSEWHERE:
            assert any((root / word).is_file() for root in roots) or ("/" not in word and word in known), word


def test_the_architecture_names_every_room_and_no_other() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = set()
    for cell in re.findall(r"^\| (`[^|]*) \|", page.split("## How a run flows")[0], re.MULTILINE):
        first, *others = re.findall(r"`([^`]+)`", cell)
        named |= {first, *(("engine/" if first.startswith("engine/") else "") + other for other in others)}
    package = ROOT / "src" / "microgpt"
    paths = [path for room in (package, package / "engine") for path in room.iterdir() if path.name[0] != "_"]
    rooms = {path.relative_to(package).as_posix() + "/" * path.is_dir() for path in paths}
    assert named == rooms - {"engine/", "py.typed"}


@pytest.mark.parametrize("page", [p for p in PAGES if not p.stem.startswith("from-")], ids=lambda page: page.stem)
def test_a_page_calls_each_thing_by_the_word_of_the_glossary(page: Path) -> None:
    text = " ".join(page.read_text("utf-8").lower().split())
    here = page.relative_to(ROOT).as_posix()
    found = {other: word for other, word in OTHER_WORDS.items() if other in text and (here, other) not in ALLOWED}
    assert found == {}


def test_the_help_of_a_knob_calls_each_thing_by_the_word_of_the_glossary() -> None:
    found = {(knob.name, other) for knob in knobs(Sources()) for other in OTHER_WORDS if other in knob.doc.lower()}
    assert found == {("optim.ns_steps", "iteration")}  # Newton's and Schulz's


def test_the_words_to_use_are_in_the_glossary() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    for word in OTHER_WORDS.values():
        last = word.removeprefix("training ").removeprefix("validation ").removeprefix("million ")
        assert last.removeprefix("learning-rate ") in glossary, word
