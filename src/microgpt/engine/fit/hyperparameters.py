"""A run's knobs as loggers tabulate them: the ones that were set first, with the text that the run really reads."""

from typing import Any

from microgpt.engine.config import RunConfig, flatten


def hyperparameters(config: RunConfig, corpus: str) -> dict[str, Any]:
    """The knobs by dotted name: first those that differ from their defaults, last those that a table need not show.

    Args:
        corpus: the name of the text, which wins over `data.corpus`.
    """
    knobs = flatten(config.to_dict()) | {"data.corpus": corpus}
    usual = flatten(RunConfig().to_dict())
    is_set = {name for name, value in knobs.items() if name not in usual or usual[name] != value}
    return {name: knobs[name] for name in sorted(knobs, key=lambda name: name not in is_set)}
