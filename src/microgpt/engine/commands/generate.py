"""`microgpt-generate RUN`: generate text with a trained model."""

import argparse
import json
import sys
from collections.abc import Sequence

from microgpt import streams
from microgpt.engine.commands import common, opening
from microgpt.text import printable

COPY = "  (in the training split)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return common.run(generate, argv)


def parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    p = common.Parser(prog="microgpt-generate", description="Text from a trained model.")
    opening.add_arguments(p)
    p.add_argument("--prompt", default="", help="text to continue (default: a new line)")
    p.add_argument("--max-new-tokens", type=common.whole_number, default=500, metavar="N")
    p.add_argument(
        "--num-samples", type=common.whole_number, default=1, metavar="N", help="texts to make, all in one batch"
    )
    p.add_argument("--temperature", type=float, default=0.8, metavar="T", help="0 takes the likeliest token")
    p.add_argument("--top-k", type=common.whole_number, metavar="K", help="choose among the K likeliest tokens")
    p.add_argument("--top-p", type=float, metavar="P", help="choose among the likeliest tokens of probability P")
    p.add_argument("--min-p", type=float, metavar="P", help="choose among tokens at least P as likely as the likeliest")
    p.add_argument("--greedy", action="store_true", help="always take the likeliest token")
    p.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before TEXT; may be given again")
    p.add_argument("--no-stop", action="store_true", help="go on past the model's end token")
    p.add_argument("--seed", type=common.whole_number, metavar="S", help="the same seed gives the same text")
    p.add_argument("--generator", choices=("torch", "counter"), default="torch",
                   help="counter: the random numbers of a run's page, so that both write the same text")  # fmt: skip
    p.add_argument(
        "--compile", action="store_true", help="up to half a minute first, then one text comes about twice as fast"
    )
    opening.add_weights(p)
    return p


def generate(arguments: list[str]) -> None:
    """Load the model, continue the prompt, print the text."""
    a = parser().parse_args(arguments)
    run = opening.open_run(a)
    from microgpt.engine.trained.copies import copies
    from microgpt.engine.trained.sample import GenerationParams, generate_texts

    to_terminal = streams.is_terminal(sys.stdout)

    def show(text: str) -> None:
        sys.stdout.write(printable(text) if to_terminal else text)
        sys.stdout.flush()

    streaming = not a.json and a.num_samples == 1
    params = GenerationParams(
        num_samples=a.num_samples,
        max_new_tokens=a.max_new_tokens,
        temperature=0.0 if a.greedy else a.temperature,
        top_k=a.top_k,
        top_p=a.top_p,
        min_p=a.min_p,
        stop=a.stop,
        stop_at_end=not a.no_stop,
        seed=a.seed,
        generator=a.generator,
        compile=a.compile,
    )
    texts = generate_texts(run.model, run.tokenizer, a.prompt, params, show if streaming else None)
    marks = copies(a.run, run.tokenizer, texts)  # None for a model of plain text
    if a.json:
        found = {} if marks is None else {"in_training": marks}
        print(json.dumps({"prompt": a.prompt, "texts": texts, "seed": a.seed, **found}))
        return
    notes = [COPY if mark else "" for mark in marks or [False] * len(texts)]
    if streaming:
        print(notes[0])
        return
    of_lines = marks is not None and not any("\n" in text for text in texts)
    for i, (text, note) in enumerate(zip(texts, notes, strict=True)):
        if not of_lines:
            print(f"--- {i}{note}")
        show(text + (note if of_lines else "") + "\n")


if __name__ == "__main__":
    sys.exit(main())
