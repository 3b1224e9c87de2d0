"""Every command and every example of the README and of docs/ runs, and the README's links lead somewhere."""

import re
import shlex
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from microgpt.engine.commands import common, compare, evaluate, export, generate, train

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
README = PAGES["README.md"]


def blocks(page: str) -> list[tuple[str, str]]:
    """A page's fenced blocks: language, content."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)


def all_commands() -> list[str]:
    """Every command of every page once: of shell blocks, and those that begin a table's row."""
    found = [line for page in PAGES for kind, block in blocks(page) if kind == "bash" for line in block.splitlines()]
    for text in PAGES.values():
        found += re.findall(r"^\| `(microgpt-train[^`]*)`", text, re.MULTILINE)
    return list(dict.fromkeys(line for line in found if line.strip()))


COMMANDS = all_commands()
PYTHON = [page for page in PAGES if any(k == "python" and not b.startswith("# mine/") for k, b in blocks(page))]

SMALL = [
    "trainer.max_steps=2", "model.n_layer=1", "model.n_embd=48", "model.n_head=3", "model.block_size=16",
    "data.batch_size=4", "trainer.compile=false", "eval.every_n_steps=0", "sample.every_n_steps=0",
    "sample.max_new_tokens=4", "eval.figures=never", "trainer.precision=32-true", "trainer.progress=none",
]  # fmt: skip
ON_FILES = {
    "runs/names": ["data.path=names.txt", "data.documents=lines"],
    "runs/ids": ["data=tokens", "data.path=ids.npy"],
}
MAIN = {
    "microgpt-train": train.main,
    "microgpt-generate": generate.main,
    "microgpt-evaluate": evaluate.main,
    "microgpt-compare": compare.main,
    "microgpt-export": export.main,
}


@pytest.fixture
def folder(tmp_path: Path, book: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the pages take for granted: a book, names, tokens, a folder of parts, a run called `mine`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text(book.read_text() + "Once upon a time. The End.\n", encoding="utf-8")
    (tmp_path / "names.txt").write_text("ann\nbob\ncy\ndora\neve\n" * 9)
    np.save(tmp_path / "ids.npy", np.array([17, 4, 0, 981] * 99))
    (tmp_path / "mine" / "model.pos").mkdir(parents=True)
    for _, block in blocks("docs/your-own-part.md"):
        name = re.match(r"# (mine/\S+)\n", block)
        if name:
            (tmp_path / name.group(1)).write_text(block, encoding="utf-8")
    return tmp_path


def small(arguments: list[str]) -> list[str]:
    """The same command on a small text and a small model, so that it takes a second."""
    fixed = {word.split("=")[0] for word in arguments if "=" in word}
    extra = [word for word in SMALL if word.split("=")[0] not in fixed - {"trainer.max_steps", "model.n_layer"}]
    if not {"data.path"} & fixed:
        extra.append("data.path=book.txt")
    return [*arguments, *extra]


def pretrained_folder(path: Path) -> None:
    """A GPT-2 of the size of a thumb where a page names the real one: a folder wins over the Hub's name."""
    small_gpt2 = ["model=gpt2", "data.tokenizer=bpe", "data.vocab_size=300", "hydra.run.dir=runs/small-gpt2"]
    assert train.main(small(small_gpt2)) == 0
    assert export.main(["runs/small-gpt2", str(path)]) == 0


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_pages_runs(line: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = line.split("#")[0].strip()
    name, *arguments = shlex.split(line.split("&&")[-1] if line.startswith("pip install . ") else line)
    if name in ("pip", "tensorboard"):  # the test command itself, an extra, and a server that does not end
        assert line in (
            'pip install -e ".[test]" && pytest -n auto', 'pip install "microgpt[hf]"', "tensorboard --logdir runs"
        )  # fmt: skip
        return
    if "finetune-gpt2" in line:
        pytest.importorskip("tokenizers", reason="needs the extra hf")
        pretrained_folder(folder / "gpt2")
    if "experiment=search" in line:
        pytest.importorskip("optuna", reason="needs the extra sweep")
        arguments = [*arguments, "hydra.sweeper.n_trials=2", "hydra.sweeper.params={optim.lr:'choice(0.01,0.02)'}"]
    if "data.tokenizer=bpe" in line:
        pytest.importorskip("tokenizers", reason="needs the extra hf")
    if name == "microgpt-train" and "--help" not in arguments:
        arguments = small(arguments)
    if "exported" in arguments or "runs/llama" in arguments:
        pytest.importorskip("tokenizers", reason="needs the extra hf")
        assert train.main(small(["model=llama", "hydra.run.dir=runs/llama"])) == 0
        if name != "microgpt-export":
            assert export.main(["runs/llama", "exported"]) == 0
    elif "sweeps" in arguments:
        assert train.main(small(["-m", "seed=1,2", "hydra.sweep.dir=sweeps/a"])) == 0
    elif name == "microgpt-generate" and arguments[0] in ON_FILES:
        assert train.main(small([*ON_FILES[arguments[0]], f"hydra.run.dir={arguments[0]}"])) == 0
    elif name in ("microgpt-generate", "microgpt-evaluate", "microgpt-compare"):
        assert train.main(small(["hydra.run.dir=runs/mine"])) == 0
    code = MAIN[name](arguments)
    assert code == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", PYTHON)
def test_the_python_of_a_page_runs(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With small models; a page of run.inspect begins with a run."""
    text = (folder / "book.txt").read_text(encoding="utf-8")
    (folder / "book.txt").write_text(f"{text}The cat sat on the mat.\n", encoding="utf-8")
    code = "\n".join(block for kind, block in blocks(page) if kind == "python" and not block.startswith("# mine/"))
    fast = ", ".join(f'"{word}"' for word in SMALL)
    code = code.replace('"data.path=book.txt trainer.max_steps=200"', f'["data.path=book.txt", {fast}]')
    code = code.replace("steps=200", "steps=2, sample__max_new_tokens=4, eval__figures='never', trainer__compile=False")
    assert "trainer.max_steps=200" not in code
    names: dict[str, object] = {}
    if "train(" not in code and "run." in code:
        assert train.main(small(["hydra.run.dir=runs/mine"])) == 0
        from microgpt import load

        names["run"] = load("runs/mine")
    monkeypatch.setitem(sys.modules, "__main__", sys.modules[__name__])
    exec(textwrap.dedent(code), names)


def test_every_link_of_the_readme_leads_to_a_page_and_its_heading() -> None:
    links = re.findall(r"\]\(((?:docs/)?[\w./-]+\.md)(?:#([\w-]+))?\)", README)
    assert len(links) > 12
    for page, anchor in links:
        text = (ROOT / page).read_text(encoding="utf-8")
        headings = {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-")
                    for h in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}  # fmt: skip
        assert not anchor or anchor in headings, (page, anchor)


def test_the_readme_can_be_read_to_the_end() -> None:
    assert len(README.splitlines()) <= 120


def test_the_error_shown_is_the_one_printed(capsys: pytest.CaptureFixture[str]) -> None:
    page = PAGES["docs/troubleshooting.md"]
    shown = re.search(r"^\$ microgpt-train (.*)\n((?:microgpt: error: .*\n)+)", page, re.MULTILINE)
    assert shown is not None
    assert train.main(shlex.split(shown.group(1))) == 2
    assert capsys.readouterr().err == shown.group(2)


def test_every_choice_the_readme_lists_is_there_and_none_is_missing() -> None:
    from microgpt.engine.commands.knobs import families
    from microgpt.engine.commands.sources import Sources
    from microgpt.engine.compose.groups import config_groups, shipped_yaml

    rows = dict(re.findall(r"^\| `([\w.]+)=` \| [^|]+ \| ([^|]+) \|$", README, re.MULTILINE))
    shipped = {
        group: options for group, options in config_groups(shipped_yaml()).items() if not group.startswith("hydra")
    }
    shipped |= {path: names for path, names in families(Sources()).items() if path in ("model.norm", "model.mlp")}
    assert rows.keys() == shipped.keys()
    for group, options in shipped.items():
        listed = {word for word in re.findall(r"`([^`]+)`", rows[group]) if not word.endswith("=")}
        assert listed == set(options), group


@pytest.mark.parametrize("page", PAGES)
def test_a_page_speaks_to_users_alone(page: str) -> None:
    for word in ("/work", "/tmp", "../shared", "pypi.org", "localhost", "TODO"):
        assert word not in PAGES[page], word


def test_the_exit_codes_are_the_ones_documented() -> None:
    from microgpt import errors

    codes = {name: getattr(errors, name).exit_code for name in dir(errors) if name.endswith("Error")}
    assert {k: v for k, v in codes.items() if v > 1} == {
        "UsageError": 2, "DataError": 3, "CheckpointError": 4, "MachineError": 5, "NonFiniteError": 6,
    }  # fmt: skip
    assert common.run(lambda arguments: None, []) == 0
