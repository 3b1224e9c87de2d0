"""Overrides become a checked config, and every fault is one line with the right suggestion."""

import gc
import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from microgpt.config import ConfigError
from microgpt.engine.commands.train import main
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.config import RunConfig
from microgpt.errors import UsageError


def test_the_literal_commands_of_the_contract_compose() -> None:
    config = compose_run(["model.pos=rope", "trainer.precision=bf16-mixed"]).config
    assert (config.model.pos.name, config.trainer.precision) == ("rope", "bf16-mixed")
    config = compose_run(["model.pos=rope", "model.pos.theta=5e5"]).config
    assert config.model.pos.to_dict() == {"name": "rope", "theta": 5e5, "fraction": 1.0}
    config = compose_run(["model=gpt-nano", "data.path=book.txt"]).config
    assert (config.model.n_layer, config.model.n_head, config.model.n_embd, config.data.path) == (3, 3, 48, "book.txt")


def test_a_choice_leaves_no_knob_of_the_other_behind() -> None:
    assert compose_run(["model.pos=alibi"]).config.model.pos.to_dict() == {"name": "alibi"}
    assert compose_run(["model=gpt2", "model.pos=rope"]).config.model.pos.name == "rope"
    assert compose_run(["model=gpt2"]).config.model.pos.name == "learned"
    config = compose_run(["optim=adamw", "optim.schedule=wsd", "optim.schedule.decay=0.5"]).config
    assert config.optim.schedule.to_dict() == {"name": "wsd", "decay": 0.5, "final": 0.0}


def test_the_command_line_wins_over_an_experiment() -> None:
    config = compose_run(["experiment=micro-gpt", "model.pos=alibi", "optim.lr=0.1", "model=gpt-nano"]).config
    assert (config.model.pos.name, config.optim.lr, config.model.n_layer) == ("alibi", 0.1, 3)


def test_no_experiment_at_all_is_a_choice_too() -> None:
    assert compose_run(["experiment=null"]).config.trainer.max_steps is None


def test_the_reference_experiment_is_what_it_says() -> None:
    config = compose_run(["experiment=micro-gpt"]).config
    assert (config.model.n_layer, config.model.n_head, config.model.n_embd) == (6, 6, 384)
    assert (config.model.block_size, config.data.batch_size, config.trainer.max_epochs) == (128, 128, 5)
    assert config.optim.to_dict() | {"schedule": None, "warmup_steps": None, "eps": None} == {
        "name": "adamw", "lr": 5e-4, "betas": [0.9, 0.95], "weight_decay": 0.1,
        "schedule": None, "warmup_steps": None, "eps": None,
    }  # fmt: skip
    assert config.trainer.gradient_clip_val == 1.0
    assert config.trainer.compile is True


MISTAKES = {
    "model.n_layr=3": "did you mean 'n_layer'?",
    "model.nhead=3": "did you mean 'n_head'?",
    "model.n_embed=3": "did you mean 'n_embd'?",
    "model.blocksize=64": "did you mean 'block_size'?",
    "model.pos=rop": "did you mean 'rope'?",
    "model.pos=alibbi": "did you mean 'alibi'?",
    "model.pos.theta=-1": "it must be above 0",
    "model.pos.thta=1": "did you mean 'theta'?",
    "model=gpt-nan": "did you mean 'gpt-nano'?",
    "model=gtp2": "did you mean 'gpt2'?",
    "model.norm=rms": "did you mean 'rmsnorm'?",
    "model.mlp=swigl": "did you mean 'swiglu'?",
    "model.n_layer=0": "it must be at least 1",
    "model.n_layer=2.5": "is not a whole number",
    "model.n_layer=many": "is not a whole number",
    "model.dropout=1": "below 1",
    "model.bias=maybe": "is not true or false",
    "model.n_head=5": "is not a multiple of n_head 5",
    "model.lr=0.1": "did you mean 'optim.lr'?",
    "optim=adam": "did you mean 'adamw'?",
    "optim.lr=fast": "is not a number",
    "optim.lr=0": "it must be above 0",
    "optim.beta=[0.9,0.95]": "did you mean 'betas'?",
    "optim.betas=[0.9]": "is not a list of 2",
    "optim.schedule=cosin": "did you mean 'cosine'?",
    "data.batch_size=-8": "it must be at least 1",
    "data.val_fraction=1.5": "below 1",
    "data.sampling=shufle": "did you mean 'shuffle'?",
    "data.encoding=utf8x": "unknown encoding 'utf8x'",
    "data=shakespear": "did you mean 'shakespeare'?",
    "trainer.precision=bf16": "did you mean 'bf16-",
    "trainer.max_step=3": "did you mean 'max_steps'?",
    "trainer.micro_batch_size=5": "take a divisor, such as 4",
    "trainer.compile=perhaps": "no such choice 'perhaps'",
    "eval.protocol=block": "did you mean 'blocks'?",
    "seed=-1": "it must be from 0 to 2^63 - 1",
    "resume=maybe": "one of auto, must, never",
    "experimnt=quick": "did you mean 'experiment'?",
    "experiment=micro-gtp": "did you mean 'micro-gpt'?",
    "experiment=speedrun/plian": "did you mean 'speedrun/plain'?",
    "model.pos": "write key=value",
    "model.n_layer=[1": "write key=value",
    "seed=1,2": "add -m",
}


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_refused_in_one_line_before_a_run_folder_exists(
    override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([override]) == 2
    output = capsys.readouterr()
    lines = output.err.splitlines()
    assert len(lines) == 1, output.err
    assert lines[0].startswith("microgpt: error: ")
    assert MISTAKES[override] in lines[0], lines[0]
    assert output.out == ""
    assert list(tmp_path.iterdir()) == []


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        compose_run(["model.n_layr=3", "optim.lr=x", "data.batch_size=0", "trainer.max_step=2"])
    assert sorted(fault.path for fault in error.value.faults) == [
        "data.batch_size",
        "model.n_layr",
        "optim.lr",
        "trainer.max_step",
    ]


def test_a_position_scheme_of_ones_own_is_one_python_file_and_one_yaml(
    tmp_path: Path, tiny: Callable[..., list[str]]
) -> None:
    """No file of the package is touched: the scheme trains, is saved with its model, and loads again."""
    from microgpt import load, train

    mine = tmp_path / "mine"
    (mine / "model.pos").mkdir(parents=True)
    (mine / "model.pos" / "ramp.yaml").write_text("name: ramp\nslope: 0.5\n")
    (mine / "ramp.py").write_text(
        textwrap.dedent("""
        import torch
        from microgpt.model.pos import Position, PositionConfig

        class RampConfig(PositionConfig, name="ramp"):
            slope: float = 1.0
            "How fast attention falls with distance."

            def build(self, n_embd, n_head, block_size):
                return Ramp(self.slope, n_head)

        class Ramp(Position):
            def __init__(self, slope, n_head):
                super().__init__()
                self.slope, self.n_head = slope, n_head

            def bias(self, q_len, k_len):
                distance = torch.arange(k_len - q_len, k_len)[:, None] - torch.arange(k_len)
                return (-self.slope * distance.float()).expand(self.n_head, -1, -1)
        """)
    )
    run = train(tiny("model.pos=ramp", "imports=[ramp.py]", "model.pos.slope=0.25"), config_dir=mine)
    assert run is not None
    assert run.config.pos.to_dict() == {"name": "ramp", "slope": 0.25}
    assert load(tmp_path / "run").generate("the", max_new_tokens=4, seed=0).startswith("the")


MINE = """
from torch import nn
from microgpt.config import Positive
from microgpt.model.mlp import MLP, MLPConfig
from microgpt.model.norm import NormConfig

class HalfConfig(NormConfig, name="half"):
    by: Positive = 2.0
    "What everything is divided by."

    def build(self, width, eps, has_gain, has_shift):
        return Half(self.by)

class Half(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, x):
        return x / self.by

class LeakyConfig(MLPConfig, name="leaky"):
    slope: Positive = 0.1
    "Slope of what is negative."
    power: Positive = 1.0
    "What is positive is raised to this."

    def build(self, n_embd, hidden, bias, dropout):
        return Leaky(n_embd, hidden, bias, dropout, self)

class Leaky(MLP):
    def __init__(self, n_embd, hidden, bias, dropout, config):
        super().__init__(n_embd, hidden, bias, dropout)
        self.config = config

    def activate(self, x):
        return x.clamp(min=0) ** self.config.power + self.config.slope * x.clamp(max=0)
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder of a user's own, with a norm and an MLP that have knobs, and a model that takes them."""
    folder = tmp_path / "mine"
    (folder / "model").mkdir(parents=True)
    (folder / "parts.py").write_text(MINE)
    (folder / "model" / "leaky.yaml").write_text("n_layer: 1\nmlp: leaky\nnorm: {name: half, by: 4}\n")
    return folder


def test_a_norm_and_an_mlp_of_ones_own_are_one_python_file(mine: Path, tiny: Callable[..., list[str]]) -> None:
    """No YAML, and no file of the package is touched: they train, are saved with their model, and load again."""
    from microgpt import load, train

    words = ["model.norm=half", "model.mlp=leaky", "model.mlp.slope=0.25", "imports=[parts.py]"]
    run = train(tiny(*words), config_dir=mine)
    assert run is not None
    assert run.config.norm.to_dict() == {"name": "half", "by": 2.0}
    assert run.config.mlp.to_dict() == {"name": "leaky", "slope": 0.25, "power": 1.0}
    assert "_knobs" not in (run.path / "config.yaml").read_text()
    assert load(run.path).generate("the", max_new_tokens=4, seed=0).startswith("the")
    again = train(tiny(*words), config_dir=mine)
    assert again is not None
    assert again.summary["step"] == run.summary["step"]


LEAKY = {"name": "leaky", "slope": 0.1, "power": 1.0}


@pytest.mark.parametrize(
    ("words", "mlp", "norm"),
    [
        ([], "relu2", "rmsnorm"),
        (["model.mlp=leaky"], LEAKY, "rmsnorm"),
        (["model.mlp.slope=0.3", "model.mlp=leaky"], LEAKY | {"slope": 0.3}, "rmsnorm"),
        (["model=leaky"], LEAKY, {"name": "half", "by": 4.0}),
        (["model=leaky", "model.mlp.slope=0.3"], LEAKY | {"slope": 0.3}, {"name": "half", "by": 4.0}),
        (["model=leaky", "model.norm=none", "model.mlp=gelu"], "gelu", "none"),
        (["model=leaky", "model.norm.by=8"], LEAKY, {"name": "half", "by": 8.0}),
        (["model=leaky", "model.norm=half"], LEAKY, {"name": "half", "by": 2.0}),
        (["model.mlp={name: leaky, power: 2}"], LEAKY | {"power": 2.0}, "rmsnorm"),
        (["model.mlp.name=swiglu"], "swiglu", "rmsnorm"),
        (["experiment=nanogpt-char-cpu", "model.norm=rmsnorm"], "gelu", "rmsnorm"),
    ],
)
def test_a_word_chooses_a_part_and_its_knobs_are_reachable(
    mine: Path, words: list[str], mlp: object, norm: object
) -> None:
    composed = compose_run([*words, "imports=[parts.py]"], mine)
    written = composed.config.model.to_dict()
    assert (written["mlp"], written["norm"]) == (mlp, norm)
    assert RunConfig.from_dict(composed.config.to_dict()) == composed.config


def test_knobs_of_a_part_that_is_one_word_are_checked_and_swept(
    mine: Path, tmp_path: Path, tiny: Callable[..., list[str]]
) -> None:
    with pytest.raises(ConfigError, match=r"model.mlp.slop: unknown key; did you mean 'slope'\?"):
        compose_run(["model.mlp=leaky", "model.mlp.slop=1", "imports=[parts.py]"], mine)
    with pytest.raises(ConfigError, match=r"model.mlp.slope: unknown key"):
        compose_run(["model.mlp=gelu", "model.mlp.slope=1"])
    words = tiny("trainer.max_steps=1", "model.mlp=leaky,swiglu", "imports=[parts.py]")
    sweep = [f"hydra.sweep.dir={tmp_path / 'sweep'}", "-m", "--config-dir", str(mine)]
    assert main([*words, *sweep]) == 0
    words = tiny("trainer.max_steps=1", "model.mlp=leaky", "model.mlp.slope=0.2,0.3", "imports=[parts.py]")
    assert main([*words, f"hydra.sweep.dir={tmp_path / 'slopes'}", *sweep[1:]]) == 0
    slopes = [json.loads((tmp_path / "slopes" / n / "model" / "config.json").read_text())["model"]["mlp"] for n in "01"]
    assert slopes == [LEAKY | {"slope": 0.2}, LEAKY | {"slope": 0.3}]


def test_a_users_file_that_hydra_would_ignore_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "gpt2.yaml").write_text("n_layer: 1\n")
    with pytest.raises(UsageError, match=r"model/gpt2.yaml has the name of a shipped file"):
        compose_run([], tmp_path)


def test_options_may_stand_anywhere_between_overrides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thin.yaml").write_text("n_layer: 1\nn_embd: 24\n")
    words = ["model=thin", "--config-dir", str(tmp_path), "model.n_head=3", "plan=true"]
    assert main(words) == 0
    assert "weights" in capsys.readouterr().out
    assert main(["model.n_head=5", *words[1:3], "-m", "seed=1,2", "model=thin"]) == 2
    assert "model.n_embd" in capsys.readouterr().err  # the point was composed: 5 heads do not divide 24


def test_a_command_called_from_python_leaves_the_garbage_collector_alone() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    assert main(["--version"]) == 0
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


def test_only_a_folder_that_the_time_names_must_be_new(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "data.path=book.txt"
    plain = compose_run([text])
    assert (plain.must_be_new, plain.sweep_must_be_new) == (True, True)
    assert plain.run_dir.parent.name == "runs"
    assert plain.sweep_dir is not None
    assert plain.sweep_dir.parent.name == "sweeps"
    named = compose_run([text, "hydra.run.dir=runs/${now:%Y}", "hydra.sweep.dir=sweeps/a"])
    assert (named.must_be_new, named.sweep_dir, named.sweep_must_be_new) == (False, Path("sweeps/a"), False)
    of_points = compose_run([text, "hydra.sweep.dir=sweeps/${hydra.job.num}"])
    assert (of_points.sweep_dir, of_points.sweep_must_be_new) == (None, False)
    for name, value in {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_STEP_ID": "0",
                        "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_PTY_PORT", raising=False)
    task = compose_run([text])
    assert (task.run_dir, task.must_be_new) == (Path("runs/slurm-7"), False)  # a requeued job finds it again
