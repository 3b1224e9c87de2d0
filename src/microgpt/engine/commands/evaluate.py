"""`microgpt-evaluate RUN`: how good a trained model is, on its validation split or on another file."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from microgpt.engine.commands import common, opening
from microgpt.errors import CheckpointError, UsageError

CONFIG_LIMIT = 1 << 16


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return common.run(evaluate, argv)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = common.Parser(prog="microgpt-evaluate", description="Scores of a trained model on a whole text.")
    opening.add_arguments(p)
    p.add_argument("--data", metavar="FILE", help="a text of your own (default: the run's corpus)")
    p.add_argument("--encoding", default="utf-8", metavar="E", help="encoding of FILE")
    p.add_argument("--split", choices=("val", "test", "train"), default="val", help="which split of the run's corpus")
    p.add_argument("--protocol", default="blocks", choices=("random", "blocks", "sliding"))
    return p


def evaluate(arguments: list[str]) -> None:
    """Load the model, score it, print."""
    a = parser().parse_args(arguments)
    from microgpt.engine.trained.evaluate import evaluate as score_model
    from microgpt.engine.trained.evaluate import yardsticks
    from microgpt.engine.trained.metrics import Metric

    run = opening.open_run(a)
    trained_on = None
    unknown: dict[str, int] = {}
    if a.data is not None:
        from microgpt.data.corpus import read_text_ids

        text = read_text_ids(a.data, run.tokenizer, a.encoding, unknown="skip")
        name, unknown = a.data, dict(text.unknown)
    else:
        corpus = corpus_of(a.run, run.tokenizer)
        text, name, trained_on = corpus.splits[a.split], f"{corpus.name} ({a.split})", corpus.train
        if len(text) < 2:
            raise UsageError(f"the run has no {a.split} split", str(a.run), "name a file with --data")
    score = score_model(
        run.model,
        text.ids,
        protocol=a.protocol,
        chars_per_token=text.chars_per_token,
        bytes_per_token=text.bytes_per_token,
    )
    simple = yardsticks(trained_on, text.ids, run.tokenizer.vocab_size) if trained_on is not None else {}
    result: dict[str, Any] = {
        "data": name,
        "protocol": score.protocol,
        "tokens": score.tokens,
        **score.values,
        "unknown_characters": unknown,
        "baselines": simple,
    }
    if a.json:
        print(json.dumps(result))
        return
    print(f"{name}: {score.tokens:,} tokens, protocol {score.protocol}")
    for has_unit in (True, False):
        figures = (m.text(score.values[name]) for name, m in Metric.members.items() if bool(m.unit) == has_unit)
        print("  " + "   ".join(figures))
    for what, loss in simple.items():
        print(f"  for comparison, {what}: {loss:.4f} nats per token")
    if unknown:
        shown = ", ".join(
            f"{c!r} U+{ord(c):04X} x{n}" for c, n in sorted(unknown.items(), key=lambda item: -item[1])[:10]
        )
        print(f"  {sum(unknown.values()):,} characters the model never saw were left out: {shown}")


def corpus_of(path: Path, tokenizer: Any) -> Any:
    """The corpus of a run folder, encoded by the model's own tokenizer.

    Raises:
        CheckpointError: the folder does not say which corpus it was trained on.
    """
    from microgpt.data.config import DataConfig
    from microgpt.data.corpus import prepare

    for folder in (path, path.parent):
        file = folder / "config.yaml"
        if file.is_file():
            return prepare(DataConfig.from_dict(data_node(file)), tokenizer)
    raise CheckpointError("no config.yaml says what it was trained on", str(path), "name a text with --data FILE")


def data_node(file: Path) -> dict[str, Any]:
    """The node `data` of a config.yaml, which may come from anyone.

    Raises:
        CheckpointError: it is no such file.
    """
    import yaml

    try:
        if file.stat().st_size > CONFIG_LIMIT:
            raise ValueError("it is too large")
        text = file.read_text(encoding="utf-8")
        if text.count("[") + text.count("{") > 1000:
            raise ValueError("it is nested too deeply")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise ValueError("it has aliases")  # of which a short file can make billions of values
        values = yaml.safe_load(text)
        if not isinstance(values, dict) or not isinstance(values.get("data"), dict):
            raise ValueError("it has no node data")
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        fix = "name a text with --data FILE"
        raise CheckpointError(f"no configuration of a run ({reason})", str(file), fix) from None
    return dict(values["data"])


if __name__ == "__main__":
    sys.exit(main())
