"""`microgpt-evaluate RUN`: how good a trained model is, on its validation split or on another file."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from microgpt.engine.commands import common, opening
from microgpt.errors import CheckpointError, UsageError
from microgpt.text import one_line


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
        "loss": score.loss,
        "bpc": score.bpc,
        "bpb": score.bpb,
        "perplexity": score.perplexity,
        "accuracy": score.accuracy,
        "unknown_characters": unknown,
        "baselines": simple,
    }
    if a.json:
        print(json.dumps(result))
        return
    print(f"{name}: {score.tokens:,} tokens, protocol {score.protocol}")
    print(f"  {score.loss:.4f} nats per token   {score.bpc:.4f} bits per character   {score.bpb:.4f} bits per byte")
    print(f"  perplexity {score.perplexity:.3f}   accuracy {score.accuracy:.2%}")
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
    from microgpt.engine.store.config_file import read_config

    try:
        data = read_config(file).get("data")
        if not isinstance(data, dict):
            raise ValueError("no node data")
    except (OSError, ValueError) as error:
        fix = "name a text with --data FILE"
        raise CheckpointError(f"no configuration of a run ({one_line(error, 200)})", str(file), fix) from None
    return data


if __name__ == "__main__":
    sys.exit(main())
