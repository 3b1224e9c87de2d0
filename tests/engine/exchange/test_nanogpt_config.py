"""A configuration of nanoGPT becomes a command line that composes to the same run, and is never executed."""

import shlex
from pathlib import Path

import pytest

from microgpt.engine.commands.import_ import main
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.exchange.nanogpt_config import command_line, read_assignments
from microgpt.errors import UsageError

CHAR = """
# train a miniature character-level shakespeare model
import time
out_dir = 'out-shakespeare-char'
eval_interval = 250
eval_iters = 200
log_interval = 10
always_save_checkpoint = False
wandb_log = False
wandb_run_name = 'mini-gpt' + str(time.time())
dataset = 'shakespeare_char'
gradient_accumulation_steps = 1
batch_size = 64
block_size = 256
n_layer = 6
n_head = 6
n_embd = 384
dropout = 0.2
learning_rate = 1e-3
max_iters = 5000
lr_decay_iters = max_iters
min_lr = 1e-4
beta2 = 0.99
warmup_iters = 100
device = 'cpu'
compile = False
"""


def test_the_command_composes_to_nanogpts_run(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(CHAR)
    command, remarks = command_line(tmp_path / "train.py")
    assert remarks == []
    name, *words = shlex.split(command)
    composed = compose_run(words)
    config, model, optim = composed.config, composed.config.model, composed.config.optim
    assert name == "microgpt-train"
    assert str(composed.run_dir) == "out-shakespeare-char"
    assert (model.n_layer, model.n_head, model.n_embd, model.block_size, model.dropout) == (6, 6, 384, 256, 0.2)
    assert (model.bias, model.tie_weights, model.pos.name, model.norm.name) == (False, True, "learned", "layernorm")
    assert (optim.name, optim.lr, optim.weight_decay, optim.warmup_steps) == ("adamw", 1e-3, 0.1, 100)
    assert optim.to_dict()["betas"] == [0.9, 0.99]
    assert optim.schedule.to_dict() == {"name": "cosine", "final": 0.1}
    assert (config.data.corpus, config.data.batch_size, config.eval.protocol) == ("shakespeare", 64, "random")
    assert (config.trainer.max_steps, config.trainer.compile, config.trainer.accelerator) == (5000, False, "cpu")
    assert (config.eval.every_n_steps, config.trainer.log_every_n_steps) == (250, 10)


def test_accumulation_becomes_micro_batches_and_what_differs_is_said(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "init_from = 'gpt2-xl'\ngradient_accumulation_steps = 5 * 8\nbatch_size = 12\nmax_iters = 20\n"
        "decay_lr = False\nbackend = 'gloo'\nlearning_rate = compute()\ndtype = 'bfloat16'\n"
    )
    command, remarks = command_line(tmp_path / "train.py")
    words = shlex.split(command)
    assert {"data.batch_size=480", "trainer.micro_batch_size=12", "model.pretrained=gpt2-xl"} <= set(words)
    assert {"optim.schedule=constant", "trainer.precision=bf16-mixed", "data.path=TEXT"} <= set(words)
    assert remarks[0] == "not read: learning_rate"
    assert remarks[-1] == "backend has no counterpart"
    assert (
        compose_run([word for word in words[1:] if not word.startswith("model.pretrained")]).config.data.path == "TEXT"
    )


def test_the_file_is_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proof = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(proof)!r}, 'w')\nmax_iters = 10 ** 10 ** 10\nn_layer = 2\n")
    assert main(["nanogpt-config", str(tmp_path / "evil.py")]) == 0
    out = capsys.readouterr().out
    assert "model.n_layer=2" in out
    assert "# not read: max_iters" in out
    assert not proof.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such file"), ("def (", "no Python file"), ("n_layer = 'six'", "n_layer = six in .*like 12")],
)
def test_what_is_no_configuration_is_refused(content: str | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "x.py").write_text(content)
    with pytest.raises(UsageError, match=said):
        read_assignments(tmp_path / "x.py")
