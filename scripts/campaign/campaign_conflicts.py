"""Random overrides, experiments and files: what is typed counts, or an error names the two knobs that contradict."""

import random
from pathlib import Path
from typing import Any

import yaml

from microgpt.config import ConfigError, flatten
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.compose.conflicts import CONFLICTS
from microgpt.engine.compose.groups import config_groups, shipped_yaml

KNOBS: dict[str, tuple[Any, ...]] = {
    "trainer.max_steps": (7, None, 1e5),
    "trainer.max_epochs": (2.0, 0.5),
    "trainer.find_lr": (True, False),
    "optim.lr": (0.5, 1e-4),
    "optim.warmup_steps": (0.25, 3.0),
    "data.path": ("a.txt", "b = (1), [é].txt", None),
    "data.corpus": ("manual", "mine"),
    "data.url": ("https://example.org/a?b=c", None),
    "data.tokenizer": ("char", "byte"),
    "data.batch_size": (6, 12),
    "trainer.micro_batch_size": (2, None),
    "trainer.precision": ("32-true", "bf16-mixed"),
    "model.pretrained": ("gpt2", None),
    "model.block_size": (48, 64),
    "model.dropout": (0.25, 0.0),
    "eval.every_n_steps": (11, 0),
    "seed": (1, 2),
}


def conflicts(folder: Path, trials: int) -> dict[str, Any]:
    """Compose `trials` random command lines, half of them over a file of random values; count what did not hold."""
    draw = random.Random(0)
    experiments = config_groups(shipped_yaml())["experiment"]
    (folder / "experiment").mkdir(parents=True, exist_ok=True)
    faults, refused = 0, 0
    for _ in range(trials):
        typed = {knob: draw.choice(KNOBS[knob]) for knob in draw.sample(sorted(KNOBS), draw.randint(1, 6))}
        words = [f"{knob}={written(value)}" for knob, value in typed.items()]
        experiment = draw.choice(experiments)
        if draw.random() < 0.5:
            experiment = "mine"
            in_file: dict[str, dict[str, Any]] = {}
            for knob in draw.sample([knob for knob in sorted(KNOBS) if "." in knob], 4):
                node, _, name = knob.partition(".")
                in_file.setdefault(node, {})[name] = draw.choice(KNOBS[knob])
            text = yaml.safe_dump(in_file, allow_unicode=True)
            (folder / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}", encoding="utf-8")
        try:
            config = flatten(compose_run([*words, f"experiment={experiment}"], folder).config.to_dict())
        except ConfigError as error:
            refused += 1
            faults += not explained(str(error), typed)
            continue
        faults += not all(config[knob] == value for knob, value in typed.items())
        faults += "trainer.max_epochs" in typed and config["trainer.max_steps"] is not None
    return {"command lines": trials, "refused": refused, "faults": faults, "passed": not faults}


def explained(error: str, typed: dict[str, Any]) -> bool:
    """Whether an error names a typed knob and what contradicts it."""
    pairs = [pair for pair in CONFLICTS if f"{pair.loser}: {pair.winner} decides" in error]
    about_batch = "micro_batch_size" in error or "'pretrained' without a model" in error
    return all(pair.loser in typed for pair in pairs) and bool(pairs or about_batch)


def written(value: Any) -> str:
    """A value as typed."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
