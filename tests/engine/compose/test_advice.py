"""What people bring from other programs is answered in our words, and every knob that an answer names exists."""

import re

import pytest

from microgpt.config import ConfigError, Fault
from microgpt.engine.commands.train import main
from microgpt.engine.compose.advice import advise, knob_names
from microgpt.engine.compose.compose import compose_run, run_config
from microgpt.engine.compose.foreign import ANSWERS, WHOLE, answer
from microgpt.engine.compose.groups import config_groups, shipped_yaml

SAID = {
    "lr=3e-4": "lr: unknown key; did you mean 'optim.lr'?",
    "pos=alibi": "pos: unknown key; did you mean 'model.pos'?",
    "compile=false": "compile: unknown key; did you mean 'trainer.compile'?",
    "pretrained=gpt2": "pretrained: unknown key; did you mean 'model.pretrained'?",
    "trainer.seed=3": "trainer.seed: unknown key; did you mean 'seed'?",
    "model.theta=3": "model.theta: unknown key; did you mean 'model.pos.theta'?",
    "every_n_steps=3": "did you mean 'eval.every_n_steps' or 'sample.every_n_steps' or 'inspect.every_n_steps'?",
    "data.file=a.txt": "data.file: unknown key; here that is: data.path=a.txt",
    "model.dim=64": "model.dim: unknown key; here that is: model.n_embd=64",
    "optim.name=adamw": "optim.name: a part is chosen by its group; write optim=adamw",
    "model.pos.name=alibi": "model.pos.name: a part is chosen by its group; write model.pos=alibi",
    "data=book.txt": "data: no such choice 'book.txt'; a text of your own is data.path=book.txt",
    "book.txt": "'book.txt' is no override; write key=value: a text of your own is data.path=book.txt",
    "shakespeare": "'shakespeare' is no override; write key=value, such as data=shakespeare",
    "trainer=gpu": "trainer=gpu: there is no such choice; here that is: trainer.accelerator=gpu",
    "trainer.accumulate_grad_batches=4": "trainer.micro_batch_size=16 splits it",
    "max_iters=5000": "max_iters: unknown key; here that is: trainer.max_steps=5000",
    "Num_Hidden_Layers=3": "here that is: model.n_layer=3",
    "model.num_atention_heads=3": "here that is: model.n_head=...",
    "--device=cpu": "unrecognized arguments: --device=cpu in the arguments; here that is: trainer.accelerator=cpu",
    "--data.path=book.txt": "knobs have no dashes: write data.path=book.txt",
    "--lr 3e-4": "knobs have no dashes: write optim.lr=3e-4",
    "--n-layer 3": "knobs have no dashes: write model.n_layer=3",
    "--batch_size 3": "here that is: data.batch_size=3",
    "--model.n_layr=3": "knobs have no dashes: did you mean 'model.n_layer'?",
    "debug=True": "debug: no such choice 'True'; one of fast, none, overfit, profile, shapes",
    "experiment=3": "experiment: no such choice '3'; one of ",
    "model={}": "model: no such choice '{}'; one of ",
    "debug=default": "debug=default: there is no such choice; here that is: debug=fast, overfit, profile or shapes",
    "callbacks=default": "callbacks=default: there is no such choice; here that is: nothing",
    "name=my first try": "name: the shell cut 'my first try' at its spaces; quote a value with spaces: 'name=my first",
    "-m model.pos=rope, alibi seed=1": "model.pos: the shell cut 'rope, alibi' at its spaces; write no space after a "
    "comma: model.pos=rope,alibi",
    "data.path=my book.txt": "quote a value with spaces: 'data.path=my book.txt'",
    "seed=3 tags=[a, b]": "tags: the shell cut '[a, b]' at its spaces; quote a value with spaces: 'tags=[a, b]'",
    "--epochs 3": "here that is: trainer.max_epochs=3",
}


@pytest.mark.parametrize("typed", SAID)
def test_what_is_typed_by_habit_is_answered_with_what_to_type(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(typed.split(" ")) == 2
    error = capsys.readouterr().err
    assert error.startswith("microgpt: error: ")
    assert SAID[typed] in error
    assert error.count("\n") == 1


def test_every_option_of_a_line_pasted_from_elsewhere_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device=cpu", "--block_size=64", "--batch_size", "12", "--nonsense", "seed=3"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "microgpt: error: --device=cpu: no such option; here that is: trainer.accelerator=cpu",
        "microgpt: error: --block_size=64: no such option; knobs have no dashes: write model.block_size=64",
        "microgpt: error: --batch_size: no such option; here that is: data.batch_size=12",
        "microgpt: error: --nonsense: no such option; knobs have no dashes: write key=value; see --help",
    ]


@pytest.mark.parametrize("place", ["", "trainer.", "model.", "training."])
def test_every_foreign_name_is_answered_wherever_it_is_typed(place: str) -> None:
    known = set(knob_names(run_config()))
    for name in ANSWERS:
        key = f"{place}{name}"
        if key not in known:
            error = advise([Fault(key, "unknown key", "did you mean 'x'?")], run_config(), [f"{key}=7"])
            assert str(error) == f"{key}: unknown key; {answer(name, '7')}"
            assert "7" in str(error) or "{}" not in ANSWERS[name]


def test_a_foreign_name_that_hydra_composes_is_answered() -> None:
    for name in ("max_iters", "hidden_size", "fast_dev_run", "paths", "train", "extras"):
        with pytest.raises(ConfigError, match=rf"^{name}: unknown key; {re.escape(str(answer(name, '7')))}$"):
            compose_run([f"{name}=7"])


def test_every_knob_that_an_answer_names_exists() -> None:
    known = {*knob_names(run_config()), *config_groups(shipped_yaml()), "hydra.run.dir"}
    known |= {f"{node}.{name}.{key}" for node, name, key in
              (("logger", "wandb", "project"), ("callbacks", "timer", "minutes"))}  # fmt: skip
    for said in (*ANSWERS.values(), *WHOLE.values()):
        named = re.findall(r"(?<![\w.])([a-z_]+(?:[./][a-z_]+)*)=", said) + re.findall(
            r"\b((?:model|data|optim|trainer|eval|sample|checkpoint|lora)\.[a-z_.]*[a-z])", said
        )
        assert set(named) <= known, said


def test_no_foreign_name_hides_a_knob_of_ours() -> None:
    ours = {knob for knob in knob_names(run_config()) if "." not in knob}
    assert not ours & ANSWERS.keys()
    hidden = {knob for knob in knob_names(run_config()) if knob.rpartition(".")[2] in ANSWERS}
    assert hidden <= {"data.batch_size", "eval.batch_size", "data.size", "callbacks.steps", "data.dtype"}
