"""A mistake is answered before torch is loaded, in the same words as after it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from microgpt.config import Config, ConfigError, defaults, fields, flatten
from microgpt.data.tokenizer import Tokenizer
from microgpt.engine.commands.knobs import tokenizers
from microgpt.engine.commands.outline import outline
from microgpt.engine.commands.sources import Sources
from microgpt.engine.compose.compose import compose_as, run_config
from microgpt.engine.compose.groups import config_groups, shipped_yaml
from microgpt.engine.compose.schema import families
from microgpt.engine.compose.texts import text_knobs
from microgpt.engine.store.missing_run import missing_run
from microgpt.errors import MicrogptError

MISTAKES = (
    "model.n_layr=3", "model.pos=rop", "model.pos.theta=-1", "model.n_head=5", "optim.lr=fast", "eval.protocol=bloks",
    "data.tokenizer=bp", "model=gtp2", "lr=3", "max_iters=5", "book.txt", "--lr 3", "seed=1,2", "data=a.txt",
    "optim.name=lion", "trainer.max_steps=1 trainer.max_epochs=1", "model.n_layer=1000000",
    "data.batch_size=1000000000",
    "model.block_size=100000000 plan=true", "-m model.n_layr=1,2", "-m model.n_embd=128,129", "--config-dir gone",
    "experiment=gone", "data.path=gone.txt", "-m data.path=gone.txt seed=1,2", "data.path=gone/*.txt model.n_head=5",
    "debug=True", "experiment=nanogpt-char model=llama model.n_layr=2", "experiment=finetune-gpt2 model=llama",
    "name=a b", "--device=cpu --n_layer=3",
    "trainer.micro_batch_size=7", "logger.wandb.projct=x", "callbacks.timer.minutes=0",
    "model.mlp=glu",
    "sample.temperature=-1", "checkpoint.keep=0", "lora.rank=-1", "model.pos=t5 model.pos.max_distance=3",
)  # fmt: skip
RUN = """
import sys
from microgpt.engine.commands.train import main
code = main(sys.argv[1:])
assert not {"torch", "lightning", "numpy"} & set(sys.modules), "loaded"
import resource
print(code, sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
"""


@pytest.fixture(scope="module")
def light() -> type[Config]:
    return outline(Sources())


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_answered_without_torch_and_in_the_same_words(
    typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from microgpt.engine.commands.train import main

    code = main(typed.split())
    expected = capsys.readouterr().err
    done = subprocess.run([sys.executable, "-c", RUN, *typed.split()], capture_output=True, text=True)
    assert done.stderr == expected
    given, seconds = done.stdout.split()
    assert int(given) == code != 0
    assert float(seconds) < 2.0  # 0.5 on a quiet machine


def test_a_missing_run_is_told_the_nearest_name_else_the_newest_runs(tmp_path: Path) -> None:
    for age, name in enumerate(("shapes", "fast", "märchen", "overfit")):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    assert missing_run(tmp_path / "marchen").fix == f"did you mean {str(tmp_path / 'märchen')!r}?"
    assert missing_run(tmp_path / "quite-another").fix == f"{tmp_path}/ has märchen, fast, shapes"


@pytest.mark.parametrize("command", ["generate", "evaluate", "export"])
def test_a_run_that_does_not_exist_is_answered_without_torch(command: str, tmp_path: Path) -> None:
    (tmp_path / "runs" / "first").mkdir(parents=True)
    code = RUN.replace("commands.train", f"commands.{command}")
    words = ["runs/gone", *(["out"] if command == "export" else [])]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == "microgpt: error: no such run 'runs/gone'; runs/ has first\n"
    assert done.stdout.split()[0] == "4"


def test_the_outline_has_every_knob_default_family_and_member_of_the_real_configuration(light: type[Config]) -> None:
    real = run_config()
    assert defaults(light) == defaults(real)
    assert light.from_dict({}).to_dict() == real.from_dict({}).to_dict()
    assert text_knobs(light) == text_knobs(real)
    assert set(tokenizers(Sources())) == set(Tokenizer.choices())
    theirs, ours = families(light), families(real)
    assert list(theirs) == list(ours)
    for path, family in ours.items():
        shipped = {name: m for name, m in family.members.items() if m.__module__.startswith("microgpt.")}
        assert set(theirs[path].members) == set(shipped)
        assert (theirs[path].is_word, theirs[path].is_group) == (family.is_word, family.is_group)
        for name, member in shipped.items():
            assert defaults(theirs[path].members[name]) == defaults(member), (path, name)


ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    2.5,
    1e5,
    1e30,
    float("nan"),
    "",
    "x",
    "auto",
    [],
    [0.5, 0.5],
    {},
    {"name": "x"},
)


def outcome(root: type[Config], values: dict[str, Any]) -> Any:
    """The configuration as plain data, or the faults."""
    try:
        return root.from_dict(values).to_dict()
    except ConfigError as error:
        return str(error)


@pytest.mark.parametrize("value", ODD, ids=str)
def test_the_outline_accepts_and_refuses_every_value_of_every_knob_as_the_real_one(
    light: type[Config], value: object
) -> None:
    real = run_config()
    for knob in flatten(defaults(real)):
        tree: Any = value
        for key in reversed(knob.split(".")):
            tree = {key: tree}
        assert repr(outcome(light, tree)) == repr(outcome(real, tree)), (knob, value)
    for path, family in families(real).items():
        for name, member in family.members.items():
            if not member.__module__.startswith("microgpt."):
                continue
            for key in fields(member):
                tree = {"name": name, key: value}
                for node in reversed(path.split(".")):
                    tree = {"part" if node in ("logger", "callbacks") else node: tree}
                    tree = {node: tree} if node in ("logger", "callbacks") else tree
                assert repr(outcome(light, tree)) == repr(outcome(real, tree)), (path, name, key, value)


@pytest.mark.parametrize("experiment", config_groups(shipped_yaml())["experiment"])
def test_the_outline_composes_every_experiment_as_the_real_one(light: type[Config], experiment: str) -> None:
    words = [f"experiment={experiment}"]
    assert compose_as(light, words)[0].to_dict() == compose_as(run_config(), words)[0].to_dict()


def test_parts_of_ones_own_are_checked_by_the_real_classes(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from microgpt.model.norm import NormConfig\n"
        "class Mine(NormConfig, name='mine'):\n    knee: float = 0.5\n    'Where it bends.'\n"
    )
    words = [f"imports=[{tmp_path}/mine.py]", "model.norm=mine", "model.norm.kne=1"]
    code = "import sys; from microgpt.engine.commands.train import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "microgpt: error: model.norm.kne: unknown key; did you mean 'knee'?\n"
    with pytest.raises(MicrogptError, match=r"no norm 'mine'"):
        compose_as(outline(Sources()), words[1:])
