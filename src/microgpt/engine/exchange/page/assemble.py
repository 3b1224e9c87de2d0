"""Assemble the page: one HTML file that asks the network for nothing and runs no script but its own.

Everything that a stranger may have written (names, samples, vocabulary) stands in a JSON block in which no `<` occurs,
and the script shows it as text.
"""

import base64
import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from microgpt.errors import CheckpointError
from microgpt.files import write

SCRIPTS = tuple("simd graph model tokenizer document charts story write read app".split())
POLICY = (
    "default-src 'none'; script-src '{script}' 'wasm-unsafe-eval'; style-src '{style}'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
DATA, WEIGHTS = '<script type="application/json" id="data">', '<script type="application/octet-stream" id="weights">'
CLOSE = "</script>"


def page(story: dict[str, Any], model: dict[str, Any], weights: bytes) -> str:
    """The page's HTML.

    Args:
        story: as `story.tell` returns.
        model: graphs, tensors and tokenizer, as the scripts read them.
        weights: the weights' bytes.
    """
    style, script = source("page.css"), "\n".join(source(f"{name}.js") for name in SCRIPTS)
    policy = POLICY.format(script=hash_of(script), style=hash_of(style))
    data = json.dumps({"story": story, "model": model}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    parts = {
        "policy": policy,
        "style": style,
        "script": script,
        "data": DATA + data.replace("<", "\\u003c").replace("\u2028", "\\u2028") + CLOSE,
        "weights": WEIGHTS + base64.b64encode(weights).decode() + CLOSE,
    }
    html = source("page.html")
    for name, part in parts.items():
        before, mark, after = html.partition(f"<!-- {name} -->")
        assert mark, name
        html = before + part + after
    return html


def source(name: str) -> str:
    """A file of this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def hash_of(text: str) -> str:
    """A Content Security Policy's hash of an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def write_page(path: Path, html: str) -> None:
    """Write the page; lone surrogates, which UTF-8 cannot hold, become U+FFFD."""
    write(path, html.encode("utf-8", "replace"))


def reread(path: Path) -> tuple[dict[str, Any], bytes]:
    """The model's description and weights in a page that was written.

    Raises:
        CheckpointError: the page does not hold them.
    """
    html = path.read_text(encoding="utf-8")
    found = []
    for mark in (DATA, WEIGHTS):
        _, begin, rest = html.partition(mark)
        block, end, _ = rest.partition(CLOSE)
        if not begin or not end:
            raise CheckpointError("the page holds no model", str(path), "report this with the model's config.json")
        found.append(block)
    return json.loads(found[0])["model"], base64.b64decode(found[1])
