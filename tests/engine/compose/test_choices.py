"""A part that is typed beside an experiment is the part as its file says; what it leaves out is said."""

from collections.abc import Callable
from pathlib import Path

import pytest

from microgpt.config import ConfigError
from microgpt.engine.commands.train import main
from microgpt.engine.compose.choices import is_part
from microgpt.engine.compose.compose import Composed, check_sweep, compose_run, run_config
from microgpt.engine.compose.groups import config_groups, shipped_yaml

GROUPS = config_groups(shipped_yaml())
EXPERIMENTS = ["nanogpt-char", "micro-gpt", "speedrun/1.60", "search"]

CHOICES = ["model=llama", "optim=adamw", "optim=muon", "model.pos=alibi", "optim.schedule=wsd"]


def composed(*words: str, config_dir: Path | None = None) -> Composed:
    return compose_run(list(words), config_dir)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize(
    "choice", ["model=llama", "optim=adamw", "optim=muon", "model.pos=alibi", "optim.schedule=wsd"]
)
def test_a_typed_part_is_its_file_whatever_the_experiment(choice: str, experiment: str) -> None:
    found, alone = composed(f"experiment={experiment}", choice).config, composed(choice).config
    node, _, name = choice.partition("=")[0].partition(".")
    part, wanted = getattr(found, node), getattr(alone, node)
    assert (
        (getattr(part, name), part.to_dict()[name]) == (getattr(wanted, name), wanted.to_dict()[name])
        if name
        else (part == wanted)
    )


def test_the_rest_of_the_experiment_stays_and_what_is_left_out_is_said() -> None:
    found = composed("experiment=nanogpt-char-cpu", "optim=muon")
    plain = composed("experiment=nanogpt-char-cpu")
    assert (found.config.model, found.config.data, found.config.trainer, found.config.eval) == (
        plain.config.model, plain.config.data, plain.config.trainer, plain.config.eval,
    )  # fmt: skip
    assert found.notice.startswith("optim=muon is taken as given, without optim.lr=0.001, ")
    assert "optim.betas=[0.9, 0.99]" in found.notice
    assert found.notice.endswith(" of experiment=nanogpt-char-cpu")
    assert "model." not in found.notice
    assert plain.notice == ""


def test_typed_knobs_and_presets_win_over_the_typed_part() -> None:
    words = ("experiment=nanogpt-char", "model=llama", "model.n_layer=2", "model.pos=t5", "model.mlp.width=3")
    with pytest.raises(ConfigError, match=r"model\.mlp\.width: unknown key"):
        composed(*words)
    model = composed(*words[:-1], "debug=overfit").config.model
    assert (model.n_layer, model.pos.name, model.dropout, model.n_embd, model.norm.name) == (
        2,
        "t5",
        0.0,
        384,
        "rmsnorm",
    )
    optim = composed("experiment=nanogpt-char", "optim=muon", "optim.lr=0.5", "optim.schedule=cosine").config.optim
    assert (optim.lr, optim.schedule.name) == (0.5, "cosine")
    assert composed("experiment=nanogpt-char", "optim=muon", "debug=overfit").config.optim.weight_decay == 0


def test_a_typed_corpus_is_the_text_and_no_batch_size(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    knobs = "path: a.txt, encoding: latin-1, documents: lines, batch_size: 7, tokenizer: byte"
    text = f"# @package _global_\ndata: {{{knobs}}}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    found = composed("experiment=mine", "data=grimm", config_dir=tmp_path)
    data, grimm = found.config.data, composed("data=grimm").config.data
    assert (data.path, data.corpus, data.url, data.sha256) == (None, "grimm", grimm.url, grimm.sha256)
    assert (data.encoding, data.documents) == ("utf-8", None)
    assert (data.batch_size, data.tokenizer) == (7, "byte")
    assert found.notice == (
        "data=grimm is taken as given, without data.path='a.txt', data.encoding='latin-1', data.documents=lines of "
        "experiment=mine"
    )
    tokens = composed("experiment=mine", "data=tokens", "data.path=ids.npy", config_dir=tmp_path).config.data
    assert (tokens.tokenizer, tokens.path, tokens.vocab_size) == ("ids", "ids.npy", None)


def test_a_typed_logger_is_the_only_one(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nlogger: {tensorboard: tensorboard}\ncallbacks: {timer: timer}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    both = composed("experiment=mine", config_dir=tmp_path).config
    assert (set(both.logger), set(both.callbacks)) == ({"tensorboard"}, {"timer"})
    none = composed("experiment=mine", "logger=csv", "callbacks=none", config_dir=tmp_path).config
    assert (none.logger, none.callbacks) == ({}, {})


def test_another_architecture_for_pretrained_weights_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        composed("experiment=finetune-gpt2", "model=llama")
    assert str(error.value) == (
        "model: experiment=finetune-gpt2 trains gpt2 further, whose weights decide the architecture; leave it out, or "
        "name other weights: model.pretrained=llama"
    )
    same = composed("experiment=finetune-gpt2", "model=gpt2").config.model
    assert (same.pretrained, same.n_layer) == ("gpt2", 12)
    other = composed("experiment=finetune-gpt2", "model=gpt2-medium", "model.pretrained=gpt2-medium").config.model
    assert (other.pretrained, other.n_layer) == ("gpt2-medium", 24)


def test_the_default_experiment_sets_no_part() -> None:
    """So that a part typed alone needs no notice."""
    for group in filter(is_part, GROUPS):
        for option in GROUPS[group]:
            words = [f"{group}={option}"]
            assert composed(*words, "experiment=quick").notice == "", words


def test_each_point_of_a_sweep_has_its_part_and_says_so_once(
    tiny: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    text = "# @package _global_\noptim: {lr: 0.123, weight_decay: 0.5}\n"
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(text)
    fixed = [word for word in tiny() if not word.startswith("hydra.run.dir=")]
    words = [*fixed, "experiment=mine", "optim=lion,adamw", "trainer.max_steps=1"]
    notice = check_sweep(run_config(), words, tmp_path / "conf").notice
    assert [line.partition(" ")[0] for line in notice.splitlines()] == ["optim=lion", "optim=adamw"]
    folder = f"hydra.sweep.dir={tmp_path / 'sweep'}"
    assert main(["-m", "--config-dir", str(tmp_path / "conf"), *words, folder]) == 0
    assert capsys.readouterr().err.count("without optim.lr=0.123, optim.weight_decay=0.5") == 2
    for number, name in enumerate(["lion", "adamw"]):
        config = (tmp_path / "sweep" / str(number) / "config.yaml").read_text()
        assert f"name: {name}" in config
        assert "0.123" not in config


def test_the_notice_is_given_before_training(
    tiny: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tiny("experiment=shakespeare-cpu", "optim=adamw", "trainer.max_steps=1")) == 0
    assert "note: optim=adamw is taken as given, without optim.lr=0.02" in capsys.readouterr().err
