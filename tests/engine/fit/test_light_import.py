"""What a run may never use is not imported before its first step, and works as ever once something asks for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from microgpt.engine.store.run_folder import RunDir

HEAVY = ("matplotlib", "torchmetrics.functional", "torchmetrics.classification", "transformers", "tensorboard",
         "pandas")  # fmt: skip
TINY = ["model.n_layer=1", "model.n_head=1", "model.n_embd=8", "model.block_size=8", "data.batch_size=2",
        "trainer.compile=false", "trainer.max_steps=2", "sample.max_new_tokens=2"]  # fmt: skip
LOADED = f"print('loaded', [name for name in {HEAVY} if name in sys.modules])"
FIRST_STEP = f"""
import sys
from microgpt.engine.commands.train import main
from microgpt.engine.fit.callbacks.metrics import Metrics

def end(self, trainer, module, step, on_step_end=Metrics.on_step_end):
    on_step_end(self, trainer, module, step)
    {LOADED}
    sys.exit()

Metrics.on_step_end = end
main(sys.argv[1:])
"""
FIRST_TOKEN = f"""
import sys
from microgpt.engine.trained import growing_text

def add(self, token):
    {LOADED}
    sys.exit()

growing_text.GrowingText.add = add
from microgpt.engine.commands.generate import main
main(sys.argv[1:])
"""
SCORED = f"""
import sys
from microgpt.engine.commands.evaluate import main
main(sys.argv[1:])
{LOADED}
"""


def python(code: str, *words: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error::ImportWarning", "-c", code, *words],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "text.txt").write_text("to be or not to be\n" * 50)
    python("import sys; from microgpt.engine.commands.train import main; sys.exit(main(sys.argv[1:]))",
           *TINY, f"data.path={folder / 'text.txt'}", f"hydra.run.dir={folder / 'run'}")  # fmt: skip
    return folder / "run"


def test_the_first_step_comes_without_what_a_run_may_never_use(run: Path) -> None:
    words = [*TINY, f"data.path={run.parent / 'text.txt'}", f"hydra.run.dir={run.parent / 'first'}"]
    assert "loaded []" in python(FIRST_STEP, *words).splitlines()


def test_a_short_run_still_writes_its_events(run: Path) -> None:
    assert (RunDir(run).read_summary() or {})["best_step"] == 2
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = run.glob("events.out.*")
    board = EventAccumulator(str(events)).Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [1, 2]
    assert {"val/loss_by_position", "attention"} <= set(board.Tags()["images"])
    times = [event.wall_time for event in board.Scalars("train/loss")]
    assert times[0] < times[1] <= board.Images("attention")[0].wall_time


@pytest.mark.parametrize(("code", "more"), [(FIRST_TOKEN, ["--max-new-tokens", "1"]), (SCORED, [])])
def test_generating_and_scoring_load_no_training(run: Path, code: str, more: list[str]) -> None:
    more_names = "('lightning', 'hydra', 'torch._dynamo.eval_frame', 'torch._inductor', 'sympy')"
    code = code.replace("sys.modules]", f"sys.modules] + [n for n in {more_names} if n in sys.modules]")
    assert "loaded []" in python(code, str(run), *more).splitlines()


LIGHT = "import sys, torch, microgpt.engine.fit; from lightning.fabric.wrappers import OptimizedModule\n"
CASES = {
    "compiled code": """
        compiled = torch.compile(torch.nn.Linear(2, 2), backend="eager")
        assert torch.equal(compiled(torch.ones(1, 2)), compiled._orig_mod(torch.ones(1, 2)))
        assert isinstance(compiled, OptimizedModule) and not isinstance(compiled._orig_mod, OptimizedModule)
        assert type(sys.modules["torch._dynamo"]).__name__ == "module"
    """,
    "the compiler, imported by name": """
        from torch._dynamo.utils import counters
        compiled = torch.compile(torch.nn.Linear(2, 2), backend="eager")
        compiled(torch.ones(1, 2))
        assert counters["stats"]["unique_graphs"] == 1
    """,
    "metrics": """
        import torchmetrics
        from torchmetrics import Metric
        assert Metric is torchmetrics.metric.Metric and "torchmetrics.functional" not in sys.modules
        accuracy = torchmetrics.Accuracy(task="binary")
        assert float(accuracy(torch.tensor([1, 0]), torch.tensor([1, 1]))) == 0.5
        assert isinstance(accuracy, Metric) and type(torchmetrics).__name__ == "module"
        assert torchmetrics.utilities.plot is sys.modules["torchmetrics.utilities.plot"]
    """,
    "a metric's plot": """
        import matplotlib; matplotlib.use("agg")
        from torchmetrics.aggregation import MeanMetric
        metric = MeanMetric(); metric.update(1.0)
        figure, axes = metric.plot()
        assert type(figure).__name__ == "Figure"
    """,
    "a metric logged from a callback": """
        import lightning as L
        from torchmetrics import MeanMetric
        from torchmetrics.metric import Metric
        from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultMetric
        assert issubclass(_ResultMetric, Metric) and isinstance(MeanMetric(), Metric)
    """,
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_deferred_works_as_ever(case: str) -> None:
    import textwrap

    python(LIGHT + textwrap.dedent(CASES[case]))


def test_another_lightning_is_imported_as_it_is() -> None:
    python("""
import sys
from microgpt.engine.process import drawing
import types
package = types.ModuleType("microgpt.engine.fit")
package.__path__ = [drawing.__file__.replace("process/drawing.py", "fit")]
sys.modules["microgpt.engine.fit"] = package
from microgpt.engine.fit import light_import_private as light
del light.Deferred.__getattr__
light.import_lightning()
import lightning, torch, torchmetrics
assert lightning.Trainer and torchmetrics.Accuracy
""")
