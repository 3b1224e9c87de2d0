"""The rooms of the package and which uses which, drawn from the imports.

python scripts/figures/rooms.py
"""

import ast
from collections.abc import Sequence
from html import escape
from pathlib import Path

from figure_rig import Rig, draw

FIGURES = ("rooms.svg",)
PACKAGE = Path(__file__).resolve().parents[2] / "src" / "microgpt"
CONVENIENCE = ("engine.trained", "inspect")
"""Run.inspect, the one import that goes up; tests/test_layout.py holds it to that."""
LIGHTNING, HYDRA, ALONE = "#f6c9a8", "#bcd9f0", "#bfe3cf"
COLOURS = {"engine.fit": LIGHTNING, "engine.compose": HYDRA, "engine.sweep": HYDRA, "engine.commands": HYDRA,
           "data": ALONE, "model": ALONE}  # fmt: skip
LEGEND = ((LIGHTNING, "knows Lightning"), (HYDRA, "knows Hydra"), (ALONE, "to take into a project of your own"))
WIDTH, ROW, BOX = 480, 46, 24
"""Of the picture, of a level, and of a box, in pixels."""
Graph = dict[str, set[str]]


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the rooms."""
    draw(script, __doc__, argv)


def script(rig: Rig) -> None:
    """Read the imports and write the picture."""
    rig.out.mkdir(parents=True, exist_ok=True)
    (rig.out / FIGURES[0]).write_text(picture(uses(PACKAGE)), encoding="utf-8")
    print(f"wrote {rig.out / FIGURES[0]}")


def room(parts: Sequence[str]) -> str:
    """The room of a module: a file or folder of the package, or of the engine."""
    return ".".join(parts[:2] if parts[:1] == ["engine"] else parts[:1])


def uses(package: Path) -> Graph:
    """Room -> the rooms that its files import."""
    files = {path: list(path.relative_to(package).with_suffix("").parts) for path in sorted(package.rglob("*.py"))}
    graph: Graph = {
        room(parts): set() for parts in files.values() if parts not in (["__init__"], ["engine", "__init__"])
    }
    for path, parts in files.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "microgpt":
                for alias in node.names:
                    here, there = room(parts), room(f"{node.module}.{alias.name}".split(".")[1:])
                    if here in graph and there in graph and here != there and (here, there) != CONVENIENCE:
                        graph[here].add(there)
    return graph


def levels(graph: Graph) -> dict[str, int]:
    """Room -> the length of the longest way down from it."""
    found: dict[str, int] = {}

    def level(name: str) -> int:
        if name not in found:
            found[name] = max((level(below) + 1 for below in graph[name]), default=0)
        return found[name]

    for name in graph:
        level(name)
    return found


def direct(graph: Graph) -> list[tuple[str, str]]:
    """The uses that no longer way of uses implies."""
    below: Graph = {}
    for name in sorted(graph, key=levels(graph).__getitem__):
        below[name] = graph[name].union(*(below[other] for other in graph[name]))
    return [(a, b) for a in sorted(graph) for b in sorted(graph[a]) if not any(b in below[c] for c in graph[a])]


def picture(graph: Graph) -> str:
    """The rooms as an SVG on paper of its own, so that it is readable in light and dark pages."""
    level = levels(graph)
    top = max(level.values())
    places: dict[str, tuple[float, float]] = {}
    for height in range(top + 1):
        names = sorted(name for name in graph if level[name] == height)
        if height:  # a room stands near those that it uses, which are placed already
            names.sort(key=lambda name: sum(places[b][0] for b in graph[name]) / len(graph[name]))
        for i, name in enumerate(names):
            places[name] = ((i + 0.5) * WIDTH / len(names), 44 + (top - height) * ROW)
    tall = 44 + (top + 1) * ROW
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {tall}" font-family="sans-serif" '
             f'font-size="12" role="img" aria-label="Rooms of the package and the rooms each uses">',
             f'<rect width="{WIDTH}" height="{tall}" fill="#ffffff"/>']  # fmt: skip
    for upper, lower in direct(graph):
        (x, y), (to, end) = places[upper], places[lower]
        lines.append(f'<line x1="{x:.1f}" y1="{y + BOX:.1f}" x2="{to:.1f}" y2="{end:.1f}" stroke="#9a9a9a"/>')
    for name, (x, y) in places.items():
        short = name.removeprefix("engine.")
        wide = 7.2 * len(short) + 14
        lines.append(
            f'<rect x="{x - wide / 2:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{BOX}" rx="4" '
            f'fill="{COLOURS.get(name, "#f1f1f1")}" stroke="#555555"/>'
            f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle" fill="#111111">{escape(short)}</text>'
        )
    x = 8.0
    for colour, meaning in LEGEND:
        lines.append(
            f'<rect x="{x:.1f}" y="10" width="12" height="12" fill="{colour}" stroke="#555555"/>'
            f'<text x="{x + 17:.1f}" y="20.5" font-size="11" fill="#111111">{meaning}</text>'
        )
        x += 34 + 5.9 * len(meaning)
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    main()
