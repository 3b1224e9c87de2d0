"""List every knob of a run with its default and meaning, by following RunConfig's annotations in the sources."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from microgpt.engine.commands.sources import Declaration, Field, Sources

ROOT = "microgpt.engine.config.RunConfig"
TOKENIZER = "microgpt.data.tokenizer.base.Tokenizer"


@dataclass(frozen=True)
class Knob:
    """A knob as typed on the command line."""

    name: str
    default: str
    doc: str
    choice: str = ""
    "The choice that has the knob, such as `optim=muon`; empty for a knob that every run has."


def knobs(sources: Sources, root: str = ROOT) -> list[Knob]:
    """Every knob under a configuration class: node by node, a family's members after their shared knobs."""
    cls = sources.find(root)
    return [] if cls is None else list(_knobs(sources, sources.fields(cls), ""))


def families(sources: Sources, root: str = ROOT) -> dict[str, list[str]]:
    """The families under a configuration class: path as typed -> member names."""
    found: dict[str, list[str]] = {}

    def visit(cls: Declaration, prefix: str) -> None:
        for field in sources.fields(cls):
            target = sources.config_of(field)
            if target is None:
                continue
            if target.family:
                members = sources.members(target)
                found[prefix + field.name] = list(dict.fromkeys(member.member for member in members))
            visit(target, f"{prefix}{field.name}.")

    if (cls := sources.find(root)) is not None:
        visit(cls, "")
    return found


def tokenizers(sources: Sources) -> list[str]:
    """The values of `data.tokenizer`, as `Tokenizer.choices` lists them."""
    family = sources.find(TOKENIZER)
    members = [] if family is None else sources.members(family)
    return [*(cls.member for cls in members if not cls.sets("is_learnt", False)), "pretrained"]


def declared(sources: Sources, cls: Declaration, prefix: str = "") -> list[Knob]:
    """The knobs of one class, with inherited ones."""
    return [Knob(prefix + f.name, default(sources, f), f.doc) for f in sources.fields(cls)]


def default(sources: Sources, field: Field) -> str:
    """A field's default as typed on the command line; for a part, its name."""
    if field.default is None:
        return "???"
    if isinstance(field.default, ast.Call):
        made = sources.resolve(ast.unparse(field.default.func), field.file)
        if made is not None and made.member:
            return made.member
    return literal(field.default)


def literal(value: ast.expr) -> str:
    """A literal default as typed on the command line."""
    try:
        plain = ast.literal_eval(value)
    except ValueError:
        return ast.unparse(value)
    if plain is None or isinstance(plain, bool):
        return {None: "null", True: "true", False: "false"}[plain]
    if isinstance(plain, (list, tuple)):
        return "[" + ",".join(map(str, plain)) + "]"
    return str(plain)


def _knobs(sources: Sources, fields: list[Field], prefix: str, note: str = "") -> Iterator[Knob]:
    """The knobs of a node: its own, then the knobs of the nodes and families inside it."""
    inside = []
    for field in fields:
        target = sources.config_of(field)
        if target is not None:
            inside.append((field, target))
        if target is None or (target.family and field.doc):
            choices = f" One of {', '.join(m.member for m in sources.members(target))}." if target else ""
            doc = f"{field.doc}{choices}{note}"
            yield Knob(prefix + field.name, default(sources, field), doc, note.rpartition("(")[2].rstrip(")"))
    for field, target in inside:
        path = prefix + field.name
        if not target.family:
            yield from _knobs(sources, sources.fields(target), f"{path}.", note)
            continue
        yield from _knobs(sources, sources.fields(target), f"{path}.", note)
        shared = sources.lineage(target)
        for member in sources.members(target):
            ancestors = [each for each in reversed(sources.lineage(member)) if each not in shared]
            own = list({f.name: f for each in ancestors for f in each.own_fields()}.values())
            is_keyed = re.search(r"\b(dict|Mapping)\[", ast.unparse(field.annotation)) is not None
            place = f"{path}.{member.member}." if is_keyed else f"{path}."
            yield from _knobs(sources, own, place, note if is_keyed else f"{note} ({path}={member.member})")
