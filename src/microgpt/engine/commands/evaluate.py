"""`microgpt-evaluate RUN`: score a trained model on its validation split or on another file."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from microgpt.engine.commands import common, opening
from microgpt.engine.commands.options import imported_sources
from microgpt.engine.commands.sources import Sources
from microgpt.text import escaped

if TYPE_CHECKING:
    from torch import Tensor

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
    opening.add_weights(p)
    p.add_argument("--protocol", default="blocks", metavar="P",
                   help=f"{protocols} (default: %(default)s), or one that --import defines")  # fmt: skip
    return p


def evaluate_command(arguments: list[str]) -> None:
    """Load the model, score it, print the metrics."""
    a = parser(imported_sources(arguments)).parse_args(arguments)
    run = opening.open_run(a)
    from microgpt.data.unknown import unknown_text
    from microgpt.engine.trained.evaluate import score_text, yardsticks
    from microgpt.engine.trained.protocols import EvalProtocol

    EvalProtocol.named(a.protocol, "--protocol")
    name, text, trained_on = text_to_score(a, run.tokenizer)
    score = score_text(run.model, text, protocol=a.protocol)
    baselines = yardsticks(trained_on, text.scored, run.tokenizer.vocab_size) if trained_on is not None else {}
    if a.json:
        facts = {"data": name, "protocol": score.protocol, "tokens": score.tokens}
        print(json.dumps({**facts, **score.values, "unknown_characters": dict(text.unknown), "baselines": baselines}))
    else:
        print_score(name, score, baselines, text.chars_per_token)
        if text.unknown:
            print(f"  {unknown_text(text.unknown, text.tokenizer)}")


def text_to_score(
    a: argparse.Namespace, tokenizer: "Tokenizer"
) -> "tuple[str, EncodedText, Tensor | EncodedText | None]":
    """Read the text that the arguments name: its label, the text, and the run's training split if available.

    Raises:
        UsageError: the run has no such split.
        CheckpointError: the run does not record its training corpus.
        DataError: the file cannot be read, or the corpus is not the one of training any more.
    """
    if a.data is not None:
        from microgpt.data.corpus import read_text_ids

        return a.data, read_text_ids(a.data, tokenizer, a.encoding, unknown="skip"), None
    from microgpt.engine.trained.training_text import split_of, training_corpus

    corpus = training_corpus(a.run, tokenizer)
    text = split_of(corpus, a.split, a.run)
    return f"{corpus.path or corpus.name} ({a.split})", text, corpus.scored("train")


def print_score(name: str, score: "Score", baselines: dict[str, float], chars_per_token: float) -> None:
    """Print the metrics, the ones with a unit first, then the score beside the baselines."""
    from microgpt.engine.trained.evaluate import PER_DOCUMENT
    from microgpt.engine.trained.metrics import Metric
    from microgpt.engine.trained.verdict import UNIT, bits_per_character, score_table

    print(f"{escaped(name)}: {score.tokens:,} tokens, protocol {score.protocol}")
    for has_unit in (True, False):
        metrics = [metric for metric in Metric.members.values() if bool(metric.unit) == has_unit]
        print("  " + "   ".join(metric.text(score.values[metric.name]) for metric in metrics))
    if PER_DOCUMENT in score.values:
        print(f"  {score.values[PER_DOCUMENT]:.4f} nats per document")
    if baselines:
        bits = {what: bits_per_character(loss, chars_per_token) for what, loss in baselines.items()}
        print(f"beside counting, in {UNIT}:")
        print("\n".join(score_table(bits_per_character(score.loss, chars_per_token), bits)))


if __name__ == "__main__":
    sys.exit(main())
