"""What a page tells about a run: its scores, curves, samples and configuration, as plain data."""

import contextlib
import csv
import itertools
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import microgpt
from microgpt.data.config import DataConfig
from microgpt.data.corpus import Corpus, prepare
from microgpt.data.documents import EncodedDocuments
from microgpt.data.encoded_text import EncodedText
from microgpt.engine.exchange.card import corpus_name, scores
from microgpt.engine.store.config_file import read_config
from microgpt.engine.store.run_folder import RunDir
from microgpt.engine.trained.evaluate import score_text, yardsticks
from microgpt.engine.trained.run import Run
from microgpt.errors import MicrogptError
from microgpt.files import read_capped
from microgpt.text import printable

POINTS = 300
"Most points of a curve."
LOG_LIMIT = METRICS_LIMIT = 64 << 20
SCORED = 1 << 16
"Most tokens to score for the loss by position."
SAMPLE = re.compile(r"^[\d:, -]+ --- sample 0 at step (\d+)\n(.*?)\n---$", re.MULTILINE | re.DOTALL)
OPENING = 240
"Characters of the validation text that the page reads at first."


def tell(run: Run, corpus: Corpus | None = None) -> dict[str, Any]:
    """Everything that the page shows besides the model. What a run does not have is empty.

    Args:
        corpus: the run's; None prepares it again, if its text can be found.
    """
    folder = RunDir(run_folder(run.path))
    corpus = corpus or corpus_of(folder, run)
    summary = {key: value for key, value in run.summary.items() if is_finite(value) or isinstance(value, str)}
    return {
        "name": printable(run.path.resolve().name),
        "version": microgpt.__version__,
        "text": printable(corpus_name(run.path)).strip("`"),
        "params": run.model.num_params(),
        "vocabulary": run.tokenizer.vocab_size,
        "spansCharacters": run.tokenizer.spans_characters,
        "charsPerToken": (corpus.chars_per_token("val") or 1.0) if corpus else 1.0,
        "scores": {key: summary[key] for key in scores() if is_finite(summary.get(key))},
        "facts": {printable(key): value for key, value in summary.items() if key not in scores()},
        "baselines": baselines(corpus, run),
        "curves": curves(folder.metrics),
        "samples": samples(folder.log),
        "byPosition": by_position(corpus, run),
        "config": configuration(folder, run),
        "opening": opening(corpus, run),
    }


def run_folder(path: Path) -> Path:
    """The run's own folder, if `path` is its `model/`."""
    return path.parent if path.name == "model" and RunDir(path.parent).config.is_file() else path


def corpus_of(folder: RunDir, run: Run) -> Corpus | None:
    """The text that the run was trained on, if it can still be found."""
    with contextlib.suppress(OSError, ValueError, MicrogptError):
        data = read_config(folder.config).get("data")
        if isinstance(data, dict):
            return prepare(DataConfig.from_dict(data), run.tokenizer)
    return None


def is_finite(value: Any) -> bool:
    """Whether a value is a number that JSON has."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def baselines(corpus: Corpus | None, run: Run) -> dict[str, float]:
    """The losses of n-gram models in nats per token."""
    if corpus is None or len(corpus.val) < 2:
        return {}
    return {"uniform": math.log(run.tokenizer.vocab_size)} | yardsticks(
        corpus.scored("train"), corpus.scored("val"), run.tokenizer.vocab_size
    )


def curves(path: Path) -> dict[str, list[list[float]]]:
    """The training and validation loss of metrics.csv: [step, loss] points."""
    found: dict[str, list[list[float]]] = {"train/loss": [], "val/loss": []}
    with contextlib.suppress(OSError, ValueError, csv.Error):
        text = read_capped(path, METRICS_LIMIT).decode("utf-8", "replace").replace("\0", "")
        for row in csv.DictReader(text.splitlines()):
            for name, points in found.items():
                with contextlib.suppress(TypeError, ValueError, KeyError):
                    point = [float(row["step"]), float(row[name])]
                    if all(map(math.isfinite, point)):
                        points.append(point)
    return {name: thinned(points) for name, points in found.items() if points}


def thinned(points: list[list[float]]) -> list[list[float]]:
    """At most `POINTS` points: the mean of each group of neighbours, and the last point as it is."""
    size = math.ceil(len(points) / POINTS)
    if size <= 1:
        return points
    groups = [points[i : i + size] for i in range(0, len(points) - 1, size)]
    return [[sum(column) / len(group) for column in zip(*group, strict=True)] for group in groups] + [points[-1]]


def samples(path: Path) -> list[dict[str, Any]]:
    """The texts that the model wrote during training, from train.log. A resumed run's later text of a step wins."""
    try:
        text = read_capped(path, LOG_LIMIT).decode("utf-8", "replace")
    except (OSError, ValueError):
        return []
    texts = {int(step): printable(sample) for step, sample in SAMPLE.findall(text)}
    return [{"step": step, "text": texts[step]} for step in sorted(texts)]


def by_position(corpus: Corpus | None, run: Run) -> list[float]:
    """The validation loss at each position of the context that has one, in nats per token."""
    if corpus is None:
        return []
    try:
        losses = score_text(run.model, beginning(corpus.splits["val"], SCORED)).loss_by_position
    except MicrogptError:
        return []
    return list(itertools.takewhile(math.isfinite, losses))


def beginning(text: EncodedText, most: int) -> EncodedText:
    """The first `most` tokens of a text, or the documents that lie within them."""
    if len(text) <= most:
        return text
    if isinstance(text, EncodedDocuments):
        most = int(text.starts[text.starts <= most][-1])
    return replace(text, ids=text.ids[:most])


def configuration(folder: RunDir, run: Run) -> dict[str, Any]:
    """The run's config.yaml, or the model's configuration if there is none."""
    with contextlib.suppress(OSError, ValueError):
        return flat(read_config(folder.config))
    return flat({"model": run.config.to_dict()})


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted keys and printable values."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        name = printable(f"{prefix}{key}")
        found |= flat(value, f"{name}.") if isinstance(value, dict) and value else {name: printable(str(value))}
    return found


def opening(corpus: Corpus | None, run: Run) -> str:
    """A text for the page to read at first: the beginning of the validation text or its first document, else one that
    the model writes."""
    if corpus is not None and len(corpus.val):
        val = corpus.splits["val"]
        end = int(val.lengths[0]) - 1 if isinstance(val, EncodedDocuments) else OPENING
        text = run.tokenizer.decode(val.ids[: min(end, OPENING, run.config.block_size)])
    else:
        text = run.generate("", max_new_tokens=min(OPENING, run.config.block_size), seed=0)
    return text.strip("\ufffd")
