"""Protocols: what each scores, and one of the user's in training, its plan and the command."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from microgpt import train
from microgpt.engine.commands import evaluate
from microgpt.engine.commands.sources import Sources
from microgpt.engine.trained.evaluate import EvalConfig
from microgpt.engine.trained.evaluate import evaluate as score_model
from microgpt.engine.trained.protocols import EvalProtocol
from microgpt.errors import UsageError
from microgpt.model import GPT, GPTConfig

Tiny = Callable[..., list[str]]
CPU = torch.device("cpu")

FIRST = """
from microgpt.data.scored_windows import scan
from microgpt.engine.trained.protocols import EvalProtocol

class First(EvalProtocol, name="first100"):
    def windows(self, ids, block_size, batch_size, device):
        return scan(ids[:101], block_size, block_size, batch_size, device)

    def count_windows(self, n_tokens, block_size, batch_size):
        return 100 // block_size
"""


def test_the_three_ship_and_help_names_them() -> None:
    assert sorted(EvalProtocol.members) == ["blocks", "random", "sliding"] == Sources().member_names(evaluate.PROTOCOLS)
    assert "blocks, random, sliding (default: blocks)" in " ".join(evaluate.parser().format_help().split())


@pytest.mark.parametrize("name", EvalProtocol.members)
@pytest.mark.parametrize(("n", "T"), [(100, 8), (1000, 16), (33, 32)])
def test_windows_are_as_many_as_counted_and_the_same_each_time(name: str, n: int, T: int) -> None:
    protocol = EvalProtocol.named(name)()
    batches, again = ([*protocol.windows(torch.arange(n), T, 4, CPU)] for _ in range(2))
    for (x, y, scored), second in zip(batches, again, strict=True):
        assert all(map(torch.equal, (x, y, scored), second))
        assert torch.equal(x + 1, y)
        assert x.shape == scored.shape
        assert len(x) <= 4
    # The count is for a plan: a sliding window at the end reaches back, so that a few are saved.
    assert 0 <= protocol.count_windows(n, T, 4) - sum(len(x) for x, _, _ in batches) <= 4


def test_sliding_leaves_three_quarters_of_the_context() -> None:
    for x, y, scored in EvalProtocol.named("sliding")().windows(torch.arange(1000), 16, 1, CPU):
        assert x[0, 0] == 0 or (y - x[:, :1])[scored].min() >= 13


def test_a_name_that_is_none_is_refused_everywhere() -> None:
    model = GPT(GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=8), 7)
    with pytest.raises(UsageError, match=r"no protocol 'block' in protocol; did you mean 'blocks'\?"):
        score_model(model, torch.arange(30) % 7, protocol="block")
    with pytest.raises(UsageError, match=r"protocol: no such choice 'block'; did you mean 'blocks'\?"):
        EvalConfig(protocol="block")


def test_a_protocol_of_ones_own_trains_and_scores(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "first.py"
    path.write_text(FIRST)
    overrides = tiny(f"imports=[{path}]", "eval.protocol=first100")
    assert train([*overrides, "plan=true"]) is None
    run = train(overrides)
    assert run is not None
    assert run.summary["protocol"] == "first100"
    assert "(first100, 100 tokens)" in (tmp_path / "run" / "train.log").read_text()
    capsys.readouterr()
    command = [str(tmp_path / "run"), "--protocol", "first100", "--json"]
    assert evaluate.main([*command, "--import", str(path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["protocol"], printed["tokens"]) == ("first100", 100)
    assert printed["loss"] == pytest.approx(run.summary["val/loss"], rel=1e-6)
