"""`microgpt-train --help optim.muon`: one part, node or knob in full."""

import ast
import itertools
from collections.abc import Sequence
from pathlib import Path

from microgpt.engine.commands.knobs import ROOT, Knob, default
from microgpt.engine.commands.sources import SRC, Declaration, Sources
from microgpt.engine.compose.groups import config_groups
from microgpt.errors import UsageError
from microgpt.text import did_you_mean

CLASSES = {
    "data.tokenizer": "microgpt.data.tokenizer.base.Tokenizer",
    "eval.protocol": "microgpt.engine.trained.protocols.base.EvalProtocol",
}
"""Knobs that choose a class by name -> the family's base class."""


def topic(arguments: Sequence[str]) -> str:
    """The word of the command line that names a part; empty if there is none."""
    taken = {following for word, following in itertools.pairwise(arguments) if word in ("--config-dir", "-cd")}
    words = [word for word in arguments if "=" not in word and not word.startswith("-") and word not in taken]
    return words[0] if words else ""


def print_part(word: str, sources: Sources, knobs: Sequence[Knob], folders: Sequence[Path]) -> None:
    """Print what a word names: a part, a YAML file, the knobs of that name and below it, or a group's choices.

    Raises:
        UsageError: it names nothing.
    """
    parts, files = all_parts(sources), yaml_files(folders)
    below = [knob for knob in knobs if f"{knob.name}.".startswith(f"{word}.")]
    if word in parts:
        path, cls = parts[word]
        print_class(path, cls, sources, knobs)
    elif word in files and not below:
        print(f"{files[word]}\n\n{files[word].read_text(encoding='utf-8').strip()}")
    elif below:
        for knob in below:
            print(f"{knob.name}={knob.default}\n    {knob.doc}")
    elif options := [name for name in files if name.startswith(f"{word}.")]:
        for name in options:
            option = name.removeprefix(f"{word}.")
            print(f"{word}={option}\n    {summary(files[name])}")
        print(f"\nmicrogpt-train --help {options[0]} shows one in full.")
    else:
        known = {*parts, *files, *(knob.name for knob in knobs), *(knob.name.rpartition(".")[0] for knob in knobs)}
        near = did_you_mean(word, known)
        fix = near if near.startswith("did you mean") else "microgpt-train --help lists the parts and knobs"
        raise UsageError(f"nothing is called {word!r}", "--help", fix)


def summary(file: Path) -> str:
    """The first line of a YAML file's comment."""
    lines = file.read_text(encoding="utf-8").splitlines()
    comments = [line.lstrip("# ") for line in lines if line.startswith("#") and not line.startswith("# @")]
    return comments[0] if comments else ""


def print_class(path: str, cls: Declaration, sources: Sources, knobs: Sequence[Knob]) -> None:
    """Print a part: what it is, its paper, its knobs with their defaults."""
    file = cls.file
    about = " ".join((ast.get_docstring(file.tree) or "").split("\n\n")[0].split())
    print(f"{path}={cls.member}: {cls.doc}\n")
    print(f"{about}\n" if about else "", end="")
    print(f"Source: {SRC.joinpath(*file.module.split('.')).with_suffix('.py') if file.module else 'your own file'}")
    explained = {knob.name: knob for knob in knobs if knob.choice == f"{path}={cls.member}"}
    shared = {knob.name: knob for knob in knobs if not knob.choice}
    for i, field in enumerate(sources.fields(cls)):
        name = f"{path}.{field.name}"
        known = explained.get(name) or shared.get(name)
        doc = (known.doc if known else field.doc).replace(f" ({path}={cls.member})", "")
        print(f"{chr(10) * (i == 0)}  {name}={default(sources, field)}\n      {doc}")


def all_parts(sources: Sources) -> dict[str, tuple[str, Declaration]]:
    """Every part by its name after its path, `optim.muon` -> the path `optim` and the class."""
    found: dict[str, tuple[str, Declaration]] = {}

    def visit(cls: Declaration, prefix: str) -> None:
        for field in sources.fields(cls):
            target = sources.config_of(field)
            if target is not None:
                add(f"{prefix}{field.name}", target)
                visit(target, f"{prefix}{field.name}.")

    def add(path: str, family: Declaration) -> None:
        for member in sources.members(family) if family.family else ():
            found[f"{path}.{member.member}"] = path, member

    if (root := sources.find(ROOT)) is not None:
        visit(root, "")
    for path, dotted in CLASSES.items():
        if (family := sources.find(dotted)) is not None:
            add(path, family)
    return found


def yaml_files(folders: Sequence[Path]) -> dict[str, Path]:
    """Every option of a group, `model.gpt-mini` or `experiment.speedrun/plain` -> its file."""
    return {
        f"{group}.{option}": folder / group / f"{option}.yaml"
        for folder in folders
        for group, options in config_groups(folder).items()
        for option in options
    }
