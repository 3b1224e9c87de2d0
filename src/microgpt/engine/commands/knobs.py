"""The knobs as the sources declare them: name, default and the line of doc below each. Nothing is imported for it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[2]
NODES = (
    # node, file, class; what is chosen by a group is listed for each choice
    ("", "engine/config.py", "RunConfig"),
    ("data.", "data/config.py", "DataConfig"),
    ("model.", "model/config.py", "GPTConfig"),
    ("lora.", "model/lora.py", "LoRAConfig"),
    ("trainer.", "engine/config.py", "TrainerConfig"),
    ("eval.", "engine/trained/evaluate.py", "EvalConfig"),
    ("sample.", "engine/trained/sample.py", "SampleConfig"),
    ("checkpoint.", "engine/store/checkpoint/layout.py", "CheckpointConfig"),
    ("sweep.", "engine/config.py", "SweepConfig"),
    ("optim.", "engine/optim/base.py", "OptimConfig"),
)
FAMILIES = (("model.pos.", "model/pos"), ("optim.", "engine/optim"), ("optim.schedule.", "engine/schedule"))


@dataclass(frozen=True)
class Knob:
    """One knob, as it is typed."""

    name: str
    default: str
    doc: str


def knobs() -> list[Knob]:
    """Every knob with a line of doc."""
    found: list[Knob] = []
    for prefix, file, name in NODES:
        found += [knob for cls in classes(PACKAGE / file) if cls.name == name for knob in declared(cls, prefix)]
    for prefix, folder in FAMILIES:
        for path in sorted((PACKAGE / folder).glob("*.py")):
            for cls in classes(path):
                if member := member_name(cls):
                    note = f" ({prefix[:-1]}={member})"
                    found += [Knob(k.name, k.default, k.doc + note) for k in declared(cls, prefix)]
    return found


def member_names(folder: str) -> list[str]:
    """The parts that the files of a folder of the package define, by name."""
    files = (PACKAGE / folder).glob("*.py")
    return sorted(name for path in files for cls in classes(path) if (name := member_name(cls)))


def member_name(cls: ast.ClassDef) -> str:
    """The `name=` in a class's header; empty where there is none."""
    value = next((keyword.value for keyword in cls.keywords if keyword.arg == "name"), None)
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def classes(path: Path) -> Iterator[ast.ClassDef]:
    """The classes of a source file."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            yield node


def declared(cls: ast.ClassDef, prefix: str) -> Iterator[Knob]:
    """The fields of a class that are followed by a line of doc."""
    for field, doc in zip(cls.body, cls.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and field.value is not None
            and isinstance(doc, ast.Expr)
            and isinstance(doc.value, ast.Constant)
        ):
            yield Knob(prefix + field.target.id, literal(field.value), str(doc.value.value))


def literal(value: ast.expr) -> str:
    """A default as it is typed on the command line."""
    try:
        plain = ast.literal_eval(value)
    except ValueError:
        return ast.unparse(value)
    if plain is None or isinstance(plain, bool):
        return {None: "null", True: "true", False: "false"}[plain]
    if isinstance(plain, (list, tuple)):
        return "[" + ",".join(map(str, plain)) + "]"
    return str(plain)
