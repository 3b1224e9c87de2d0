"""Parts of the user's own that break their contract are refused before training, in words that name the method."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from microgpt import GPT, GPTConfig, train
from microgpt.data.tokenizer import CharTokenizer
from microgpt.engine.fit.contracts import (
    check_metric,
    check_optimizer,
    check_protocol,
    check_schedule,
    check_tokenizer,
)
from microgpt.engine.optim import OptimConfig
from microgpt.engine.schedule import ScheduleConfig
from microgpt.engine.trained.metrics import Metric
from microgpt.engine.trained.protocols import EvalProtocol
from microgpt.errors import UsageError
from microgpt.model.mlp import MLPConfig
from microgpt.model.norm import NormConfig
from microgpt.model.pos import Position, PositionConfig

FAMILIES: tuple[Any, ...] = (PositionConfig, NormConfig, MLPConfig, OptimConfig, ScheduleConfig, Metric, EvalProtocol)


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    for family in FAMILIES:
        monkeypatch.setattr(family, "members", dict(family.members))


class Ramp(Position):
    """A scheme whose hooks return what the test gives."""

    def __init__(self, **hooks: Callable[..., Any]) -> None:
        super().__init__()
        for name, hook in hooks.items():
            setattr(self, name, hook)


@pytest.mark.parametrize(
    ("hooks", "said"),
    [
        ({"bias": lambda q, k: torch.zeros(5, 5)},
         r"ramp\.bias must broadcast to \(H, Tq, Tk\) = \(4, 5, 5\), is \(5, 5\)"),
        ({"bias": lambda q, k: torch.zeros(1, k, k)}, r"ramp\.bias must broadcast .* = \(4, 1, 5\), is \(1, 5, 5\)"),
        ({"bias": lambda q, k: 0.5}, r"ramp\.bias must return a tensor \(H, Tq, Tk\) or None, returns a float"),
        ({"embed": lambda x, start: x[:, :1]}, r"ramp\.embed must return \(B, T, C\) = \(2, 5, 32\), is \(2, 1, 32\)"),
        ({"rotate": lambda q, k, start: q}, r"ramp\.rotate must return two tensors, q and k, returns a Tensor"),
        ({"rotate": lambda q, k, start: (q, q)},
         r"ramp\.rotate's k must return .* = \(2, 2, 5, 8\), is \(2, 4, 5, 8\)"),
        ({"embed": lambda x, start: x + torch.zeros(3)}, r"ramp\.embed fails on a tiny input: RuntimeError: The size"),
        ({"embed": lambda x: x}, r"ramp\.embed fails on a tiny input: TypeError"),
    ],
)  # fmt: skip
def test_a_position_scheme_with_wrong_shapes_is_named(hooks: dict[str, Any], said: str) -> None:
    class RampConfig(PositionConfig, name="ramp"):
        def build(self, n_embd: int, n_head: int, block_size: int) -> Position:
            return Ramp(**hooks)

    with pytest.raises(UsageError, match=said):
        GPT(GPTConfig(n_layer=1, n_head=4, n_kv_head=2, n_embd=32, block_size=16, pos="ramp"), 7)  # type: ignore[arg-type]


def test_a_scheme_that_fails_names_the_line_of_its_file() -> None:
    class RampConfig(PositionConfig, name="ramp"):
        def build(self, n_embd: int, n_head: int, block_size: int) -> Position:
            return Ramp(bias=lambda q, k: dict[str, Any]()["slope"]) if n_embd == 32 else [][0]

    first = RampConfig.build.__code__.co_firstlineno
    for n_embd, said in ((32, "ramp.bias fails on a tiny input: KeyError: 'slope'"),
                         (64, "ramp.build fails: IndexError: list index out of range")):  # fmt: skip
        with pytest.raises(UsageError) as caught:
            GPT(GPTConfig(n_layer=1, n_head=4, n_embd=n_embd, block_size=16, pos="ramp"), 7)  # type: ignore[arg-type]
        assert str(caught.value).startswith(f"{said} in {__file__}, line {first + 1}; ")


def test_a_scheme_whose_only_hook_is_misspelt_is_told_the_hook() -> None:
    class Misspelt(Position):
        def bais(self, q_len: int, k_len: int) -> torch.Tensor:
            return torch.zeros(1, q_len, k_len)

    class Biased(Misspelt):
        def bias(self, q_len: int, k_len: int) -> torch.Tensor:
            return self.bais(q_len, k_len)

    class RampConfig(PositionConfig, name="ramp"):
        is_right: bool = False

        def build(self, n_embd: int, n_head: int, block_size: int) -> Position:
            return Biased() if self.is_right else Misspelt()

    def build(**knobs: bool) -> None:
        GPT(GPTConfig(n_layer=1, n_head=4, n_embd=32, block_size=16, pos=RampConfig(**knobs)), 7)

    build(is_right=True)
    with pytest.raises(UsageError, match=r"ramp has no hook, and its method bais is none; did you mean 'bias'\?"):
        build()


def test_a_right_part_of_ones_own_is_built_and_draws_no_random_number() -> None:
    class RampConfig(PositionConfig, name="ramp"):
        def build(self, n_embd: int, n_head: int, block_size: int) -> Position:
            return Ramp(bias=lambda q, k: torch.zeros(1, q, k), embed=lambda x, s: nn.functional.dropout(x, 0.5, False))

    def state(pos: str) -> torch.Tensor:
        torch.manual_seed(0)
        GPT(GPTConfig(n_layer=1, n_head=4, n_embd=32, block_size=3, pos=pos), 7)  # type: ignore[arg-type]
        return torch.get_rng_state()

    assert torch.equal(state("ramp"), state("none"))


def test_a_norm_and_an_mlp_with_wrong_shapes_are_named() -> None:
    class Halved(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[..., ::2]

    class HalvedNorm(NormConfig, name="halved"):
        def build(self, width: int, eps: float, has_gain: bool, has_shift: bool) -> nn.Module:
            return Halved()

    class HalvedMLP(MLPConfig, name="halved"):
        def build(self, n_embd: int, hidden: int, bias: bool, dropout: float) -> nn.Module:
            return Halved()

    for knob in ("norm", "mlp"):
        with pytest.raises(
            UsageError, match=r"halved\.forward must return \(B, T, C\) = \(2, 5, 32\), is \(2, 5, 16\)"
        ):
            GPT(GPTConfig(n_layer=1, n_head=4, n_embd=32, block_size=16, **{knob: "halved"}), 7)  # type: ignore[arg-type]


def test_an_optimizer_that_forgets_a_parameter_is_named() -> None:
    class Half(OptimConfig, name="half"):
        def build(self, parameters: Any) -> torch.optim.Optimizer:
            return torch.optim.SGD([p for _, p in list(parameters)[:1]], lr=0.1)

    with pytest.raises(UsageError, match=r"half\.build must take every parameter once: 1 of 2"):
        check_optimizer(Half())


def test_a_schedule_without_a_number_is_named() -> None:
    class Steep(ScheduleConfig, name="steep"):
        def shape(self, progress: float) -> float:
            return 1 / (progress - 1) if progress < 1 else float("nan")

    with pytest.raises(UsageError, match=r"steep\.shape\(0\) must be a finite number of at least 0, is -1\.0"):
        check_schedule(Steep())


def test_a_tokenizer_with_lengths_of_another_size_is_named() -> None:
    class Short(CharTokenizer):
        def token_lengths(self) -> tuple[np.ndarray, np.ndarray]:
            return np.ones(3), np.ones(3)

    made = Short(list("abcdef"))
    with pytest.raises(UsageError, match=r"char\.token_lengths's bytes must return \(V,\) = \(6,\), is \(3,\)"):
        check_tokenizer(made, torch.tensor([0, 1, 5]))
    with pytest.raises(UsageError, match=r"char\.encode_counted must give indices from 0 to 5, gives 0 to 6"):
        check_tokenizer(made, torch.tensor([0, 6]))


def test_a_metric_and_a_protocol_that_return_nothing_are_named(tiny: Callable[..., list[str]]) -> None:
    class Nothing(Metric, name="nothing"):
        def result(self, totals: Any) -> Any:
            return None

    with pytest.raises(UsageError, match=r"nothing\.result must return a number, returns a NoneType"):
        check_metric(Nothing)
    with pytest.raises(UsageError, match=r"nothing\.result must return a number"):
        train(tiny())

    class Numbers(EvalProtocol, name="numbers"):
        def windows(self, ids: Any, block_size: int, batch_size: int, device: Any) -> Iterator[Any]:
            x = torch.zeros(1, 5, dtype=torch.int64)
            yield x, x, x

    with pytest.raises(UsageError, match=r"numbers\.windows's scored must be bool, is torch\.int64"):
        check_protocol(Numbers)
