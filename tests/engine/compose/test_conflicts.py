"""What a person types wins over what a file says, and two typed knobs that contradict each other are refused."""

from pathlib import Path

import pytest

from microgpt.config import ConfigError
from microgpt.engine.compose.compose import check_sweep, compose_run, run_config
from microgpt.engine.compose.groups import config_groups, shipped_yaml


@pytest.mark.parametrize("experiment", ["quick", "micro-gpt", "shakespeare-cpu", "finetune-gpt2"])
def test_typed_epochs_win_over_an_experiments_steps(experiment: str) -> None:
    trainer = compose_run([f"experiment={experiment}", "trainer.max_epochs=2"]).config.trainer
    assert (trainer.max_steps, trainer.max_epochs) == (None, 2.0)
    trainer = compose_run([f"experiment={experiment}", "trainer.max_steps=7"]).config.trainer
    assert trainer.max_steps == 7


def test_null_says_that_a_knob_is_not_asked_for() -> None:
    trainer = compose_run(["trainer.max_steps=null", "trainer.max_epochs=2"]).config.trainer
    assert (trainer.max_steps, trainer.max_epochs) == (None, 2.0)
    assert compose_run(["data.path=a.txt", "data.url=null"]).config.data.path == "a.txt"
    assert compose_run(["trainer.find_lr=false", "optim.lr=0.1"]).config.optim.lr == 0.1


PAIRS = {
    ("trainer.max_steps=5", "trainer.max_epochs=2"): "how long to train",
    ("data.path=a.txt", "data.corpus=shakespeare"): "which text to learn",
    ("data.path=a.txt", "data.url=https://example.org/a"): "which text to learn",
    ("trainer.find_lr=true", "optim.lr=0.1"): "the learning rate",
    ("model.pretrained=gpt2", "data.tokenizer=byte"): "the tokenizer",
}


@pytest.mark.parametrize("pair", PAIRS)
def test_two_typed_knobs_that_contradict_are_refused_in_either_order(pair: tuple[str, str]) -> None:
    winner, loser = (word.partition("=")[0] for word in pair)
    for words in (pair, pair[::-1], [f"++{pair[0]}", f"++{pair[1]}"]):
        with pytest.raises(ConfigError) as error:
            compose_run(words)
        assert str(error.value) == f"{loser}: {winner} decides {PAIRS[pair]} too; leave one of the two out"
    with pytest.raises(ConfigError, match=PAIRS[pair]):
        check_sweep(run_config(), [*pair, "seed=1,2"])


def test_a_typed_corpus_wins_over_a_files_path_and_a_typed_rate_over_its_search(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndata: {path: a.txt}\ntrainer: {find_lr: true}\n"
    )
    config = compose_run(["experiment=mine"], tmp_path).config
    assert (config.data.path, config.trainer.find_lr) == ("a.txt", True)
    config = compose_run(["experiment=mine", "data.corpus=manual", "optim.lr=0.1"], tmp_path).config
    assert (config.data.path, config.trainer.find_lr, config.optim.lr) == (None, False, 0.1)


def test_a_typed_precision_wins_over_a_files(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\ntrainer: {precision: 32-true}\n")
    assert compose_run(["experiment=mine"], tmp_path).config.trainer.precision == "32-true"
    words = ["experiment=mine", "trainer.precision=bf16-mixed"]
    assert compose_run(words, tmp_path).config.trainer.precision == "bf16-mixed"


def test_a_typed_tokenizer_for_a_files_pretrained_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.tokenizer: model\.pretrained decides the tokenizer too"):
        compose_run(["experiment=finetune-gpt2", "data.tokenizer=byte"])
    assert compose_run(["experiment=finetune-gpt2", "data.tokenizer=pretrained"]).config.model.pretrained == "gpt2"


@pytest.mark.parametrize("experiment", config_groups(shipped_yaml())["experiment"])
def test_every_typed_knob_is_in_the_configuration_whatever_the_experiment(experiment: str) -> None:
    typed = {"seed": 5, "trainer.max_epochs": 3.0, "data.batch_size": 6, "model.block_size": 48, "optim.lr": 0.125,
             "eval.every_n_steps": 11, "trainer.gradient_clip_val": 0.5, "optim.warmup_steps": 0.25}  # fmt: skip
    config = compose_run([f"experiment={experiment}", *(f"{k}={v}" for k, v in typed.items())]).config.to_dict()
    for knob, value in typed.items():
        node, _, name = knob.rpartition(".")
        assert (config[node] if node else config)[name] == value, knob
