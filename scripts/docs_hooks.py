"""Fill the page of parts and knobs from the sources, as `microgpt-train --help` is."""

import html
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from microgpt.engine.commands.knobs import Knob, families, knobs
from microgpt.engine.commands.sources import Sources
from microgpt.engine.compose.groups import config_groups, shipped_yaml


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks `<!-- parts -->` and `<!-- knobs -->` by tables."""
    if "<!-- parts -->" in markdown:
        markdown = markdown.replace("<!-- parts -->", part_table())
    if "<!-- knobs -->" in markdown:
        markdown = markdown.replace("<!-- knobs -->", knob_tables())
    return markdown


def part_table() -> str:
    """What there is to choose for each kind of part."""
    choices = dict(config_groups(shipped_yaml()))
    for path, members in families(Sources()).items():
        choices.setdefault(path, members)
    rows = [f"| `{path}=` | {' '.join(f'`{word}`' for word in sorted(choices[path]))} |" for path in sorted(choices)]
    return "\n".join(["| to choose | among |", "|---|---|", *rows])


def knob_tables() -> str:
    """Every knob with its default and meaning, a table for each node."""
    lines: list[str] = []
    nodes: dict[str, list[Knob]] = {}
    for knob in knobs(Sources()):
        nodes.setdefault(knob.name.rpartition(".")[0], []).append(knob)
    for node, found in nodes.items():
        lines += ["", f"### {node or 'The run'}", "", "| knob | default | meaning |", "|---|---|---|"]
        for knob in found:
            lines.append(f"| `{knob.name}` | `{knob.default}` | {as_markdown(knob.doc)} |")
    return "\n".join(lines)


def as_markdown(text: str) -> str:
    """Plain text with code in backticks as a table's cell: a star stays a star."""
    parts = re.split(r"(`[^`]+`)", text)
    parts[::2] = [re.sub(r"([\\*_\[\]#|])", r"\\\1", html.escape(part, quote=False)) for part in parts[::2]]
    return "".join(parts)
