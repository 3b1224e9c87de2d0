"""`microgpt-train --help`: read YAML and sources, the user's too, without importing torch or Lightning."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from microgpt.engine.commands.accepted import Accepted
from microgpt.engine.commands.knobs import Knob, families, knobs, tokenizers
from microgpt.engine.commands.part_help import CLASSES, print_part, topic
from microgpt.engine.commands.sources import Sources, find_source, read_sources
from microgpt.engine.commands.yaml_help import read_part
from microgpt.engine.compose.groups import config_groups, shipped_yaml
from microgpt.errors import UsageError

USAGE = """\
microgpt-train trains a small GPT on text.

  microgpt-train                                   the default run: Python's manual, a small model, a few minutes
  microgpt-train data.path=book.txt                your own text
  microgpt-train model=gpt-mini model.pos=alibi    choose parts, a word each
  microgpt-train trainer.max_steps=2000 seed=1     set knobs
  microgpt-train -m model.pos=rope,alibi seed=1,2  a sweep over all combinations
  microgpt-train --cfg job                         every knob and its value, without training
  microgpt-train plan=true                         what a run will cost, without training
  microgpt-train --help optim.muon                 one part, node or knob in full

Options: -m/--multirun, --config-dir DIR (your own YAML), --trust (that YAML may name code to run), --cfg job, --debug,
--help. With --config-dir DIR and imports=[FILE.py], --help lists your own parts too.
"""
"""Tokenizers that cannot be chosen, because no text makes one."""
SWEEP_GROUPS = ("hydra/launcher", "hydra/sweeper")


def print_help(arguments: Sequence[str] = ()) -> None:
    """Print the usage, the choices for each part, every knob, and how to start sweeps.

    Args:
        arguments: the command line; its --config-dir and imports=[...] add the user's parts.

    Raises:
        UsageError: a user's folder or file cannot be read.
    """
    config_dir = find_config_dir(arguments)
    files = [find_source(name, config_dir) for name in imported_names(arguments)]
    sources = read_sources(files)
    folders = [shipped_yaml(), *([config_dir] if config_dir else [])]
    accepted = Accepted(Sources() if files else sources)
    listed = [accepted.explained(knob) for knob in knobs(sources)]
    if word := topic(arguments):
        print_part(word, sources, listed, folders)
        return
    print(USAGE)
    print("Parts:")
    print_parts(folders, sources)
    for cls, family in sources.extra_members():
        print(f"  {family} {cls.member}, from your own file: {cls.doc}")
    print("\nKnobs:")
    for i, (_, node) in enumerate(itertools.groupby(listed, key=lambda knob: knob.name.rpartition(".")[0])):
        print("\n" * (i > 0), end="")
        print_knobs(node)
    print("\nSweeps (-m):")
    for group in SWEEP_GROUPS:
        print_sweep_group(group, folders)


def print_parts(folders: Iterable[Path], sources: Sources) -> None:
    """Print each part and its choices: a group's YAML files, or a family's members."""
    choices = dict[str, set[str]]()
    for folder in folders:
        for group, options in config_groups(folder).items():
            choices.setdefault(group, set()).update(options)
    for path, members in families(sources).items():
        choices.setdefault(path, set(members))
    for path, family in CLASSES.items():
        choices[path] = set(sources.member_names(family))
    choices["data.tokenizer"] = set(tokenizers(sources))  # without those that come with a model
    width = max(map(len, choices))
    for group, words in sorted(choices.items()):
        print(f"  {group + '=':<{width + 1}} {' '.join(sorted(words))}")


def print_knobs(found: Iterable[Knob], indent: str = "  ") -> None:
    """Print each knob with its default and, on a separate line, its meaning."""
    for knob in found:
        print(f"{indent}{knob.name}={knob.default}")
        if knob.doc:
            print(f"{indent}    {knob.doc}")


def print_sweep_group(group: str, folders: Iterable[Path]) -> None:
    """Print the options of one of Hydra's groups, with their parameters."""
    for file in sorted((f for folder in folders for f in (folder / group).glob("*.yaml")), key=lambda file: file.stem):
        part = read_part(file, group)
        parent = f" As {part.parent}, but:" if part.parent and part.parameters else ""
        print(f"  {group}={part.name}\n      {part.summary}{parent}")
        print_knobs(part.parameters, " " * 6)


def find_config_dir(arguments: Sequence[str]) -> Path | None:
    """Find the folder that --config-dir names.

    Raises:
        UsageError: the folder does not exist.
    """
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in ("--config-dir", "-cd"):
            folder = Path(value if equals else following)
            if not folder.is_dir():
                fix = "name a folder that holds YAML files"
                raise UsageError(f"no such folder {str(folder)!r}", "--config-dir", fix)
            return folder
    return None


def imported_names(arguments: Sequence[str]) -> list[str]:
    """The files and modules that an override `imports=[a.py,b]` names."""
    found: list[str] = []
    for word in arguments:
        name, _, value = word.lstrip("+").partition("=")
        if name == "imports":
            found = [item.strip(" '\"") for item in value.strip("[] ").split(",") if item.strip(" '\"")]
    return found
