"""A source of known entropy is learnt to within 2 % of its entropy."""

from pathlib import Path

import numpy as np
import pytest

from microgpt import train

STATES = "abcdefgh"


def markov_source(n: int, seed: int) -> tuple[str, float]:
    """`n` characters of a chain of first order, and the chain's entropy in nats per character."""
    rng = np.random.default_rng(seed)
    transitions = rng.dirichlet(np.full(len(STATES), 0.3), size=len(STATES))  # (from, to)
    cumulative = transitions.cumsum(axis=1)
    state, states = 0, np.empty(n, dtype=np.int64)
    for i, u in enumerate(rng.random(n)):
        state = min(int(np.searchsorted(cumulative[state], u)), len(STATES) - 1)
        states[i] = state
    values, vectors = np.linalg.eig(transitions.T)
    stationary = np.real(vectors[:, np.argmin(abs(values - 1))])
    stationary /= stationary.sum()
    logs = np.log(transitions, where=transitions > 0, out=np.zeros_like(transitions))
    return "".join(STATES[s] for s in states), float(-(stationary[:, None] * transitions * logs).sum())


@pytest.mark.parametrize("optim", ["muon", "adamw"])
def test_a_source_of_known_entropy_is_learnt_to_within_two_percent(optim: str, tmp_path: Path) -> None:
    text, entropy = markov_source(200_000, seed=1)
    (tmp_path / "chain.txt").write_text(text)
    run = train(
        [
            f"data.path={tmp_path / 'chain.txt'}", "model=gpt-nano", "model.n_layer=1", "model.block_size=16",
            "data.batch_size=64", f"optim={optim}", f"optim.lr={0.02 if optim == 'muon' else 5e-3}",
            "trainer.max_steps=200", "trainer.precision=32-true", "trainer.compile=false", "trainer.progress=none",
            "eval.every_n_steps=200", "eval.figures=never", "sample.every_n_steps=0", "sample.max_new_tokens=10",
            f"hydra.run.dir={tmp_path / 'run'}",
        ]
    )  # fmt: skip
    assert run is not None
    assert entropy > 0.5  # there is something to learn, and something that cannot be
    # The validation text is a sample of the source: its own entropy differs from the source's by less than 1 %.
    assert run.summary["val/loss"] == pytest.approx(entropy, rel=0.02)
