"""`microgpt-evaluate RUN`: score a trained model on its validation split or on another file."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microgpt.engine.commands import common, opening
from microgpt.engine.commands.options import imported_sources
from microgpt.engine.commands.sources import Sources
from microgpt.errors import CheckpointError, UsageError
from microgpt.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

    from microgpt.data.corpus import Corpus
    from microgpt.data.encoded_text import EncodedText
    from microgpt.data.tokenizer import Tokenizer
    from microgpt.engine.trained.evaluate import Score

PROTOCOLS = "microgpt.engine.trained.protocols.base.EvalProtocol"
METRICS = "microgpt.engine.trained.metrics.base.Metric"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return common.run(evaluate_command, argv)


def parser(sources: Sources | None = None) -> argparse.ArgumentParser:
    """Build the argument parser.

    Args:
        sources: source files to read protocols and metrics from; by default, only the package.
    """
    sources = sources or Sources()
    protocols, metrics = (", ".join(sources.member_names(family)) for family in (PROTOCOLS, METRICS))
    p = common.Parser(
        prog="microgpt-evaluate",
        description="Scores of a trained model on a whole text.",
        epilog=f"metrics: {metrics}; --import adds your own",
    )
    opening.add_arguments(p)
    p.add_argument("--data", metavar="FILE", help="a text of your own (default: the run's corpus)")
    p.add_argument("--encoding", default="utf-8", metavar="E", help="encoding of FILE")
    p.add_argument("--split", choices=("val", "test", "train"), default="val", help="which split of the run's corpus")
    p.add_argument("--protocol", default="blocks", metavar="P",
                   help=f"{protocols} (default: %(default)s), or one that --import defines")  # fmt: skip
    return p


def evaluate_command(arguments: list[str]) -> None:
    """Load the model, score it, print the metrics."""
    a = parser(imported_sources(arguments)).parse_args(arguments)
    from microgpt.engine.trained.evaluate import evaluate, yardsticks
    from microgpt.engine.trained.protocols import EvalProtocol

    run = opening.open_run(a)
    EvalProtocol.named(a.protocol, "--protocol")
    name, text, trained_on = text_to_score(a, run.tokenizer)
    score = evaluate(
        run.model,
        text.ids,
        protocol=a.protocol,
        chars_per_token=text.chars_per_token,
        bytes_per_token=text.bytes_per_token,
    )
    baselines = yardsticks(trained_on, text.ids, run.tokenizer.vocab_size) if trained_on is not None else {}
    unknown = dict(text.unknown) if a.data is not None else {}
    if a.json:
        facts = {"data": name, "protocol": score.protocol, "tokens": score.tokens}
        print(json.dumps({**facts, **score.values, "unknown_characters": unknown, "baselines": baselines}))
    else:
        print_score(name, score, baselines, text.chars_per_token)
        print_left_out(unknown)


def text_to_score(a: argparse.Namespace, tokenizer: "Tokenizer") -> "tuple[str, EncodedText, Tensor | None]":
    """Read the text that the arguments name: its label, the text, and the run's training split if available.

    Raises:
        DataError: the file cannot be read.
        UsageError: the run has no such split.
        CheckpointError: the run does not record its training corpus.
    """
    if a.data is not None:
        from microgpt.data.corpus import read_text_ids

        return a.data, read_text_ids(a.data, tokenizer, a.encoding, unknown="skip"), None
    corpus = corpus_of(a.run, tokenizer)
    text = corpus.splits[a.split]
    if len(text) < 2:
        raise UsageError(f"the run has no {a.split} split", str(a.run), "name a file with --data")
    return f"{corpus.name} ({a.split})", text, corpus.train


def print_score(name: str, score: "Score", baselines: dict[str, float], chars_per_token: float) -> None:
    """Print the metrics, the ones with a unit first, then the score beside the baselines."""
    from microgpt.engine.trained.metrics import Metric
    from microgpt.engine.trained.verdict import UNIT, bits_per_character, score_table

    print(f"{name}: {score.tokens:,} tokens, protocol {score.protocol}")
    for has_unit in (True, False):
        metrics = [metric for metric in Metric.members.values() if bool(metric.unit) == has_unit]
        print("  " + "   ".join(metric.text(score.values[metric.name]) for metric in metrics))
    if baselines:
        bits = {what: bits_per_character(loss, chars_per_token) for what, loss in baselines.items()}
        print(f"beside counting, in {UNIT}:")
        print("\n".join(score_table(bits_per_character(score.loss, chars_per_token), bits)))


def print_left_out(unknown: dict[str, int]) -> None:
    """Print the skipped characters, the most frequent first."""
    from microgpt.data.unknown import named

    if unknown:
        print(f"  {sum(unknown.values()):,} characters the model never saw were left out: {named(unknown)}")


def corpus_of(path: Path, tokenizer: "Tokenizer") -> "Corpus":
    """Read a run folder's corpus, encoded by the model's own tokenizer.

    Raises:
        CheckpointError: the folder does not record its training corpus.
    """
    from microgpt.data.config import DataConfig
    from microgpt.data.corpus import prepare

    for folder in (path, path.parent):
        file = folder / "config.yaml"
        if file.is_file():
            return prepare(DataConfig.from_dict(data_node(file)), tokenizer)
    raise CheckpointError("no config.yaml says what it was trained on", str(path), "name a text with --data FILE")


def data_node(file: Path) -> dict[str, Any]:
    """Read the node `data` of an untrusted config.yaml.

    Raises:
        CheckpointError: the file is not such a config.
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
