"""A part of the user's own, of each kind: one Python file and at most one YAML, one word, in help, on record, resumed,
and opened elsewhere."""

import csv
import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from microgpt.data.tokenizer import Tokenizer
from microgpt.engine.addons import CallbackConfig, LoggerConfig, import_shipped
from microgpt.engine.commands import evaluate, export, generate
from microgpt.engine.commands.train import main as train
from microgpt.engine.exchange.formats import ExportFormat
from microgpt.engine.optim import OptimConfig
from microgpt.engine.schedule import ScheduleConfig
from microgpt.engine.store import checkpoint
from microgpt.engine.trained.metrics import Metric
from microgpt.engine.trained.protocols import EvalProtocol
from microgpt.model.mlp import MLPConfig
from microgpt.model.norm import NormConfig
from microgpt.model.pos import PositionConfig

ROOT = Path(__file__).parents[1]
FAMILIES: tuple[Any, ...] = (
    PositionConfig, NormConfig, MLPConfig, OptimConfig, ScheduleConfig, Tokenizer, Metric, EvalProtocol,
    ExportFormat, CallbackConfig, LoggerConfig,
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A part called `mine`, as a user writes and chooses it.

    Attributes:
        python: its file; empty for a corpus.
        yaml: where its YAML lies in the folder, and its text.
        words: what chooses it in training.
        help: what `microgpt-train --help` says.
        config: what config.yaml holds, by dotted key.
        changes: whether the weights become others.
        is_saved: whether the model needs it to be opened.
    """

    python: str = ""
    yaml: tuple[str, str] | None = None
    words: tuple[str, ...] = ()
    help: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None
    changes: bool = False
    is_saved: bool = False


KINDS = {
    "position scheme": Kind(
        """
        import torch
        from microgpt.model.pos import Position, PositionConfig

        class MineConfig(PositionConfig, name="mine"):
            '''A line down.'''

            slope: float = 0.5
            "How fast attention falls."

            def build(self, n_embd, n_head, block_size):
                return Mine(self.slope, n_head, block_size)

        class Mine(Position):
            def __init__(self, slope, n_head, block_size):
                super().__init__()
                self.slope, self.n_head, self.block_size = slope, n_head, block_size
                self.fill_tables()

            def tables(self, device):
                return {"place": torch.arange(self.block_size, device=device)}

            def bias(self, q_len, k_len):
                distance = self.place[k_len - q_len : k_len, None] - self.place[:k_len]
                return (-self.slope * distance).expand(self.n_head, -1, -1)
        """,
        ("model.pos/mine.yaml", "name: mine\n"),
        ("model.pos=mine", "model.pos.slope=0.25"),
        (
            "  model.pos=         alibi learned mine none",
            "  model.pos.slope=0.5\n      How fast attention falls. (model.pos=mine)\n",
        ),
        {"model.pos": {"name": "mine", "slope": 0.25}},
        changes=True,
        is_saved=True,
    ),
    "norm": Kind(
        """
        from torch import nn
        from microgpt.model.norm import NormConfig

        class MineConfig(NormConfig, name="mine"):
            '''A fixed factor.'''

            factor: float = 2.0
            "The factor."

            def build(self, width, eps, has_gain, has_shift):
                return Mine(self.factor)

        class Mine(nn.Module):
            def __init__(self, factor):
                super().__init__()
                self.factor = factor

            def forward(self, x):
                return self.factor * x
        """,
        None,
        ("model.norm=mine", "model.norm.factor=3"),
        (
            "  model.norm=        layernorm mine none rmsnorm",
            "  model.norm.factor=2.0\n      The factor. (model.norm=mine)\n",
        ),
        {"model.norm": {"name": "mine", "factor": 3.0}},
        changes=True,
        is_saved=True,
    ),
    "MLP": Kind(
        """
        from torch.nn import functional as F
        from microgpt.model.mlp import MLP, MLPConfig

        class MineConfig(MLPConfig, name="mine"):
            '''A soft step.'''

            def build(self, n_embd, hidden, bias, dropout):
                return Mine(n_embd, hidden, bias, dropout)

        class Mine(MLP):
            def activate(self, x):
                return F.softplus(x)
        """,
        None,
        ("model.mlp=mine",),
        ("  model.mlp=         geglu gelu gelu_tanh mine relu", "  MLP mine, from your own file: A soft step.\n"),
        {"model.mlp": "mine"},
        changes=True,
        is_saved=True,
    ),
    "optimizer": Kind(
        """
        import torch
        from microgpt.engine.optim import OptimConfig

        class MineConfig(OptimConfig, name="mine"):
            '''Adam with its largest denominator.'''

            beta: float = 0.9
            "Decay of the mean."

            def build(self, parameters):
                groups = self.decay_groups(parameters)
                return torch.optim.Adam(groups, lr=self.lr, betas=(self.beta, 0.99), amsgrad=True)
        """,
        ("optim/mine.yaml", "defaults: [{/optim.schedule@schedule: cosine}]\nname: mine\n"),
        ("optim=mine", "optim.beta=0.8", "optim.schedule=constant", "optim.lr=0.01"),
        (
            "  optim=             adamw lion mine muon sgd\n",
            "  optim.beta=0.9\n      Decay of the mean. (optim=mine)\n",
        ),
        {"optim.name": "mine", "optim.beta": 0.8, "optim.lr": 0.01},
        changes=True,
    ),
    "schedule": Kind(
        """
        from microgpt.engine.schedule import ScheduleConfig

        class MineConfig(ScheduleConfig, name="mine"):
            '''A root.'''

            power: float = 0.5
            "The exponent."

            def shape(self, progress):
                return (1 - progress) ** self.power
        """,
        ("optim.schedule/mine.yaml", "name: mine\n"),
        ("optim.schedule=mine", "optim.schedule.power=0.25"),
        (
            "  optim.schedule=    constant cosine linear mine wsd\n",
            "  optim.schedule.power=0.5\n      The exponent. (optim.schedule=mine)\n",
        ),
        {"optim.schedule": {"name": "mine", "power": 0.25}},
        changes=True,
    ),
    "tokenizer": Kind(
        """
        from collections import Counter
        import numpy as np
        from microgpt.data.tokenizer import Tokenizer

        class Mine(Tokenizer, name="mine"):
            '''Characters from z to a.'''

            def __init__(self, letters, unknown="error"):
                super().__init__(unknown)
                self.letters = letters

            @classmethod
            def fit(cls, chunks, config):
                return cls("".join(sorted(set("".join(chunks)), reverse=True)), config.unknown)

            @property
            def vocab_size(self):
                return len(self.letters)

            def encode_counted(self, text, *, where="", offset=0):
                return np.array([max(0, self.letters.find(c)) for c in text], self.dtype), Counter()

            def decode(self, ids):
                return "".join(self.letters[i] for i in self._checked(ids).tolist())

            def token_lengths(self):
                return np.ones(self.vocab_size, np.int64), np.ones(self.vocab_size, np.int64)

            def state(self):
                return {"letters": self.letters}

            @classmethod
            def from_dict(cls, values):
                return cls(str(values["letters"]))
        """,
        None,
        ("data.tokenizer=mine",),
        (
            "  data.tokenizer=    bpe byte char ids mine pretrained\n",
            "  tokenizer mine, from your own file: Characters",
        ),
        {"data.tokenizer": "mine"},
        changes=True,
        is_saved=True,
    ),
    "corpus": Kind(
        "",
        ("data/mine.yaml", "path: library/mine.txt\n"),
        ("data=mine",),
        ("  data=              enwik8 grimm manual mine shakespeare",),
        {"data.path": "library/mine.txt"},
        changes=True,
    ),
    "metric": Kind(
        """
        from microgpt.engine.trained.metrics import Metric

        class Mine(Metric, name="mine"):
            '''Share of the three likeliest.'''

            better = "higher"
            hits = 0

            def update(self, batch):
                best = batch.logits.topk(3).indices
                self.hits += int(((best == batch.y[..., None]).any(-1) & batch.scored).sum())

            def result(self, totals):
                return self.hits / totals.tokens
        """,
        help=("  metric mine, from your own file: Share of the three likeliest.\n",),
    ),
    "protocol": Kind(
        """
        from microgpt.data.scored_windows import scan
        from microgpt.engine.trained.protocols import EvalProtocol

        class Mine(EvalProtocol, name="mine"):
            '''The first 100 tokens.'''

            def windows(self, ids, block_size, batch_size, device):
                return scan(ids[:101], block_size, block_size, batch_size, device)
        """,
        words=("eval.protocol=mine",),
        help=(
            "  eval.protocol=     blocks mine random sliding\n",
            "  protocol mine, from your own file: The first 100",
        ),
        config={"eval.protocol": "mine"},
    ),
    "export format": Kind(
        """
        import torch
        from microgpt.engine.exchange.check import compare_logits
        from microgpt.engine.exchange.formats import ExportFormat

        class MineConfig(ExportFormat, name="mine"):
            '''One file of torch's.'''

            file_name: str = "weights.pt"
            "Name of the file."

            def write(self, run, folder):
                torch.save(run.model.state_dict(), folder / self.file_name)
                again = type(run.model)(run.config, run.model.vocab_size)
                again.load_state_dict(torch.load(folder / self.file_name, weights_only=True))
                return compare_logits(run.model, lambda x: again.eval()(x)[0])
        """,
        help=("  export format mine, from your own file: One file of torch's.\n",),
    ),
    "callback": Kind(
        """
        import lightning as L
        from microgpt.engine.addons import CallbackConfig

        class Mine(L.Callback):
            def __init__(self):
                self.steps = []

            def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
                self.steps.append(trainer.global_step)

            def state_dict(self):
                return {"steps": self.steps}

            def load_state_dict(self, state):
                self.steps = state["steps"]

        class MineConfig(CallbackConfig, name="mine"):
            '''Counts the steps.'''

            by: int = 1
            "What it counts by."

            def build(self):
                return Mine()
        """,
        ("callbacks/mine.yaml", "# @package callbacks.mine\nname: mine\n"),
        ("callbacks=mine", "callbacks.mine.by=2"),
        ("  callbacks=         device_stats lr_monitor mine none", "  callbacks.mine.by=1\n      What it counts by.\n"),
        {"callbacks": {"mine": {"name": "mine", "by": 2}}},
    ),
    "logger": Kind(
        """
        from microgpt.engine.addons import LoggerConfig

        class MineConfig(LoggerConfig, name="mine"):
            '''A line for each set of metrics.'''

            file: str = "mine.log"
            "File in the run folder."

            def build(self, run):
                from lightning.pytorch.loggers import Logger

                class Mine(Logger):
                    name, version, path = "mine", "", run.folder / self.file

                    def log_metrics(self, metrics, step=None):
                        with self.path.open("a") as file:
                            print(step, *metrics, file=file)

                    def log_hyperparams(self, params):
                        pass

                return Mine()
        """,
        ("logger/mine.yaml", "# @package logger.mine\nname: mine\n"),
        ("logger=mine", "logger.mine.file=lines.log"),
        (
            "  logger=            csv mine mlflow none",
            "  logger.mine.file=mine.log\n      File in the run folder.\n",
        ),
        {"logger": {"mine": {"name": "mine", "file": "lines.log"}}},
    ),
}
KNOBS = [
    "data.path=book.txt", "model=gpt-nano", "model.n_layer=1", "model.block_size=16", "data.batch_size=8",
    "trainer.max_steps=4", "trainer.compile=false", "trainer.precision=32-true", "trainer.progress=none",
    "trainer.log_every_n_steps=1", "eval.every_n_steps=2", "eval.figures=never", "sample.every_n_steps=0",
    "sample.max_new_tokens=4", "checkpoint.every_n_steps=2", "checkpoint.keep=9", "logger=none",
]  # fmt: skip


def forget() -> None:
    """Forget every part that is not the package's, as a new process would."""
    for name in [name for name in sys.modules if name.startswith("microgpt_imported_")]:
        del sys.modules[name]
    for family in FAMILIES:
        family.members.pop("mine", None)


@pytest.fixture(autouse=True)
def place(book: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two texts and nothing else."""
    import_shipped()
    monkeypatch.chdir(book.parent)
    Path("library").mkdir()
    Path("library/mine.txt").write_text(book.read_text()[::-1])
    return book.parent


def write(kind: str) -> list[str]:
    """Write a part into the folder `mine`; gives the options that import it."""
    part, stem = KINDS[kind], kind.replace(" ", "_")
    before = files()
    Path("mine").mkdir(exist_ok=True)
    if part.python:
        Path(f"mine/{stem}.py").write_text(textwrap.dedent(part.python))
    if part.yaml:
        Path("mine", part.yaml[0]).parent.mkdir()
        Path("mine", part.yaml[0]).write_text(part.yaml[1])
    suffixes = sorted(path.suffix for path in files() - before)
    assert suffixes in ([".py"], [".yaml"], [".py", ".yaml"])
    return [f"mine/{stem}.py"] if part.python else []


def files() -> set[Path]:
    return {path for path in Path("mine").rglob("*") if path.is_file()}


def knobs(kinds: list[str], sources: list[str], folder: str) -> list[str]:
    """The command line that trains with these parts."""
    words = [word for kind in kinds for word in KINDS[kind].words]
    given = {word.split("=")[0] for word in words}
    rest = [word for word in KNOBS if word.split("=")[0] not in given]
    if "data" in given:
        rest.remove("data.path=book.txt")
    names = ",".join(Path(source).name for source in sources)  # found in the folder of the YAML
    return ["--config-dir", "mine", f"imports=[{names}]", *rest, *words, f"hydra.run.dir={folder}"]


def record(folder: str) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, str]]]:
    """config.yaml, summary.json and metrics.csv."""
    config = yaml.safe_load(Path(folder, "config.yaml").read_text())
    with Path(folder, "metrics.csv").open() as file:
        return config, json.loads(Path(folder, "summary.json").read_text()), list(csv.DictReader(file))


def at(tree: Any, key: str) -> Any:
    """The value at a dotted key."""
    for name in key.split("."):
        tree = tree[name]
    return tree


def newest(folder: str) -> tuple[dict[str, torch.Tensor], Any]:
    return checkpoint.read(checkpoint.checkpoints(Path(folder, "checkpoints"))[0])


def cut_back(folder: str, step: int) -> str:
    """A folder with the run's checkpoint of that step alone, and a model, as a run that was stopped there leaves it."""
    again = f"{folder}-again"
    name = checkpoint.step_name(step)
    shutil.copytree(Path(folder, "checkpoints", name), Path(again, "checkpoints", name))
    shutil.copytree(Path(folder, "model"), Path(again, "model"))
    return again


def imported(sources: list[str]) -> list[str]:
    return [word for source in sources for word in ("--import", source)]


def is_recorded(kind: str, folder: str) -> None:
    """Whether what a run leaves shows the part."""
    config, summary, rows = record(folder)
    for key, value in (KINDS[kind].config or {}).items():
        assert at(config, key) == value
    if kind == "metric":
        assert [row["step"] for row in rows if row["val/mine"]][-1] == "4"
        assert 0 < summary["val/mine"] < 1
        assert summary["val/accuracy"] < summary["val/mine"]
    elif kind == "protocol":
        assert summary["protocol"] == "mine"
    elif kind == "callback":
        assert newest(folder)[1]["callbacks"]["Mine"]["steps"] == [1, 2, 3, 4]
    elif kind == "logger":
        lines = Path(folder, "lines.log").read_text().splitlines()
        assert [line.split()[0] for line in lines if "train/loss" in line][-2:] == ["3", "4"]
    elif kind == "tokenizer":
        stored = json.loads(Path(folder, "model", "tokenizer.json").read_text())
        assert stored["type"] == "mine"


@pytest.fixture
def plain(place: Path) -> dict[str, torch.Tensor]:
    """The weights of the run without a part of one's own."""
    assert train([*KNOBS, "hydra.run.dir=plain"]) == 0
    return newest("plain")[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_is_one_word_from_help_to_another_place(
    kind: str, plain: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    part, sources = KINDS[kind], write(kind)
    run = knobs([kind], sources, "run")

    capsys.readouterr()
    assert train([*run, "--help"]) == 0
    shown = capsys.readouterr().out
    for line in part.help:
        assert line in shown
    if kind in ("metric", "protocol", "export format"):
        command = export if kind == "export format" else evaluate
        assert command.main(["--help", *imported(sources)]) == 0
        assert re.search(r"\bmine\b", capsys.readouterr().out.replace(sources[0], ""))

    assert train(run) == 0, capsys.readouterr().err
    is_recorded(kind, "run")
    weights = newest("run")[0]
    same = weights.keys() == plain.keys() and all(torch.equal(weights[name], plain[name]) for name in plain)
    assert same != part.changes

    forget()
    assert train(knobs([kind], sources, cut_back("run", 2))) == 0
    assert "from step 2 it continues" in Path("run-again/train.log").read_text()
    is_recorded(kind, "run-again")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in newest("run-again")[0].items())

    Path("elsewhere").mkdir()
    shutil.move("run/model", "elsewhere/model")
    words = ["elsewhere/model", "--prompt", "the", "--seed", "1"]
    words += ["--max-new-tokens", "8"]
    forget()
    capsys.readouterr()
    if part.is_saved:
        assert generate.main(words) == 4
        assert f"no {kind} 'mine' is known" in (said := capsys.readouterr().err)
        assert "import the file that defines it (--import FILE" in said
    assert generate.main([*words, *imported(sources)]) == 0
    assert len(capsys.readouterr().out) >= 8


@pytest.fixture
def command(place: Path) -> Callable[..., str]:
    """Run a command in a process of its own; gives what it prints."""

    def run(name: str, *arguments: str) -> str:
        program = [sys.executable, "-m", f"microgpt.engine.commands.{name}", *arguments]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_parts_of_all_kinds_go_together_in_processes_of_their_own(command: Callable[..., str]) -> None:
    sources = [source for kind in KINDS for source in write(kind)]
    assert (len(KINDS), len(sources)) == (12, 11)
    assert len(files()) <= 2 * len(KINDS)
    said = command("train", *knobs(list(KINDS), sources, "run"))
    hint = next(line for line in said.splitlines() if line.startswith("  microgpt-generate run "))
    assert command("generate", *shlex.split(hint)[1:-1], "the", "--max-new-tokens", "8")
    command("train", *knobs(list(KINDS), sources, cut_back("run", 2)))
    for folder in ("run", "run-again"):
        for kind in KINDS:
            is_recorded(kind, folder)
    weights, again = newest("run")[0], newest("run-again")[0]
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())

    scores = json.loads(command("evaluate", "run", "--protocol", "mine", "--json", *imported(sources)))
    summary = record("run")[1]
    assert (scores["protocol"], scores["tokens"]) == ("mine", 100)
    assert scores["mine"] == pytest.approx(summary["val/mine"], rel=1e-6)
    Path("elsewhere").mkdir()
    shutil.move("run/model", "elsewhere/model")
    text = command("generate", "elsewhere/model", "--prompt", "the", "--max-new-tokens", "8", *imported(sources))
    assert len(text) >= 8
    command("export", "elsewhere/model", "out", "--format", "mine", "--file-name", "w.pt", *imported(sources))
    written = torch.load("out/w.pt", weights_only=True)
    assert {f"model.{name}" for name in written} == weights.keys()


def table() -> list[list[str]]:
    """The rows of CONTRIBUTING.md's table of parts: kind, folders, classes, choice."""
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Add a part")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if line[:1] == "|"]
    return rows[2:]


def test_the_table_of_parts_names_every_kind() -> None:
    assert [row[0] for row in table()] == list(KINDS)
    assert {len(row) for row in table()} == {4}


@pytest.mark.parametrize("row", table(), ids=lambda row: row[0])
def test_a_row_of_the_table_of_parts_is_true(row: list[str]) -> None:
    kind, folders, classes, choice = row
    part = KINDS[kind]
    named = re.findall(r"`([^`]+)/`", folders)
    assert named
    for folder in named:
        assert (ROOT / folder).is_dir() or (ROOT / "src" / "microgpt" / folder).is_dir(), folder
    if part.yaml:
        assert f"conf/{part.yaml[0].rpartition('/')[0]}" in named
    dotted = re.findall(r"`(microgpt\.[\w.]+)`", classes)
    assert len(dotted) == bool(part.python)
    for name in dotted:
        module, _, cls = name.rpartition(".")
        assert getattr(importlib.import_module(module), cls) in FAMILIES
    for word in part.words[:1]:
        assert f"`{word}`" in choice


def test_an_optimizer_whose_yaml_leaves_no_place_for_a_schedule_is_told_the_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sources = write("optimizer")
    Path("mine/optim/mine.yaml").write_text("name: mine\n")
    run = knobs(["optimizer"], sources, "run")
    assert train(run) == 2
    assert "begin it with 'defaults: [{/optim.schedule@schedule: constant}]'" in capsys.readouterr().err
    assert train([word for word in run if word != "optim.schedule=constant"]) == 0
