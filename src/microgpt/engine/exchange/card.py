"""Write an export's model card: data, scores, architecture, samples, and how to open it."""

import contextlib
import json
from pathlib import Path
from typing import Any

import microgpt
from microgpt.engine.trained.metrics import Metric
from microgpt.engine.trained.run import Run
from microgpt.model.files.hf import Family
from microgpt.text import escaped, printable

PROMPTS = ("", "The ")
FACTS = ("step", "tokens", "train_seconds", "params", "vocab_size", "precision", "device", "protocol")


def model_card(run: Run, family: Family, difference: float, reader: str) -> str:
    """An exported folder's README.md.

    Args:
        difference: the largest difference between the model's logits and the folder's.
        reader: the program that opened the folder for the comparison.
    """
    config = run.config.to_dict()
    parts = [
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- microgpt\n---\n",
        f"# {escaped(run.path.resolve().name)}\n",
        f"A GPT of {run.model.num_params():,} parameters, trained with microgpt {microgpt.__version__} on "
        f"{corpus_name(run.path)} and exported as `{family.architecture}`.\n",
        "```python\nfrom transformers import pipeline\n\n"
        'generate = pipeline("text-generation", model="this/folder")\n'
        f'print(generate("The", max_new_tokens={max(1, run.config.block_size // 2)})[0]["generated_text"])\n```\n',
        "## Scores\n",
        table({key: run.summary[key] for key in (*scores(), *FACTS) if run.summary.get(key) is not None}),
        "Losses are in nats per token, `bpc` and `bpb` in bits per character and per byte of UTF-8.\n",
        "## Architecture\n",
        table({key: json.dumps(value) if isinstance(value, dict) else value for key, value in config.items()}),
        "## Samples\n",
        *(sample(run, prompt) for prompt in PROMPTS),
        "## Check\n",
        f"The folder was opened by {reader}; the largest difference of a logit from the original's is "
        f"{difference:.3g}.\n",
    ]
    return "\n".join(parts)


def scores() -> list[str]:
    """The keys of a summary that hold the model's scores."""
    test = ["loss", *(name for name, metric in Metric.members.items() if metric.headline)]
    return [*(f"val/{name}" for name in Metric.members), *(f"test/{name}" for name in test)]


def table(values: dict[str, Any]) -> str:
    """A Markdown table of names and values."""
    rows = [f"| {name} | {f'{v:.6g}' if isinstance(v, float) else v} |" for name, v in values.items()]
    return "\n".join(["| | |", "|---|---|", *rows, ""]) if rows else "Not recorded.\n"


def sample(run: Run, prompt: str) -> str:
    """A generated text as an indented block; empty if the model does not know the prompt's characters."""
    try:
        text = printable(run.generate(prompt, max_new_tokens=200, seed=0)).strip()
    except microgpt.MicrogptError:
        return ""
    return "\n".join(["    " + line for line in text.splitlines()] + [""])


def corpus_name(path: Path) -> str:
    """The training text's name, from the run's config.yaml."""
    from microgpt.engine.store.config_file import read_config

    for folder in (path, path.parent):
        with contextlib.suppress(OSError, ValueError):
            data = read_config(folder / "config.yaml").get("data")
            if isinstance(data, dict):
                return f"`{escaped(Path(str(data['path'])).name if data.get('path') else str(data.get('corpus')))}`"
    return "a text that is not recorded"
