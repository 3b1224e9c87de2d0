"""The configuration classes without the code around them, so that a mistake is answered before torch is loaded.

A part's knobs stand in the file of its torch code. `outline` reads that file and runs only the class that holds the
knobs, with what its annotations, defaults and checks name. The classes it makes are those of `microgpt.engine.config`
in all but `build`: the same names, types, ranges, checks and error messages, from the same lines.
"""

import ast
import builtins
import importlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from microgpt.config import Config
from microgpt.engine.commands.knobs import ROOT, tokenizers
from microgpt.engine.commands.sources import Declaration, SourceFile, Sources
from microgpt.registry import Part

LIGHT = frozenset(f"microgpt.{name}" for name in ("bounds", "config", "conversion", "errors", "registry", "text"))
"""Modules imported as they are: they load neither torch nor numpy."""
REPLACED: dict[str, Callable[[Sources], Callable[[], Any]]] = {
    "microgpt.engine.addons.import_shipped": lambda _: lambda: None,
    "microgpt.data.config._tokenizers": lambda sources: lambda: tokenizers(sources),
}
"""Functions that import parts to learn their names -> the same from the sources."""


def outline(sources: Sources, root: str = ROOT) -> type[Config]:
    """The configuration class at a dotted path, with the classes below it.

    Raises:
        LookupError: there is no such class.
    """
    declared = sources.find(root)
    if declared is None:
        raise LookupError(root)
    made: type[Config] = _Outline(sources).class_of(declared)
    return made


class _Outline:
    """Make each class once, together with the members of a family."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._classes: dict[Declaration, Any] = {}
        self._namespaces: dict[SourceFile, dict[str, Any]] = {}

    def class_of(self, declared: Declaration) -> Any:
        """The class made for a declaration; None for a class that holds no knobs."""
        if declared.file.module in LIGHT:
            return getattr(importlib.import_module(declared.file.module), declared.node.name)
        if not declared.file.module:  # a user's file: its code is not ours to run
            return None
        if declared not in self._classes:
            self._classes[declared] = None
            if self._sources.is_config(declared):
                self._classes[declared] = self._run(declared.node, declared.file)
                members = self._sources.members(declared) if declared.family else []
                for member in members:
                    self.class_of(member)
            elif declared.family:
                family = self._classes[declared] = _family(declared)
                family.members.update({member.member: object for member in self._sources.members(declared)})
        return self._classes[declared]

    def _run(self, node: ast.stmt, file: SourceFile) -> Any:
        """Run one statement of a file, and return what it defines."""
        node = _without_signatures(node)
        names = self._namespaces.setdefault(file, {"__name__": f"{file.module} (outline)"})
        for name in _names_in(node):
            self._define(name, file, names)
        exec(compile(ast.Module([node], []), file.module, "exec"), names)
        return names[node.name] if isinstance(node, (ast.ClassDef, ast.FunctionDef)) else None

    def _define(self, name: str, file: SourceFile, names: dict[str, Any]) -> None:
        """Give a name in a file its meaning, unless that lies in code that is not to be run."""
        if name in names or hasattr(builtins, name):
            return
        declared = self._sources.resolve(name, file)
        origin = file.imported.get(name, f"{file.module}.{name}")
        module, _, last = origin.rpartition(".")
        if declared is not None:
            if (made := self.class_of(declared)) is not None:
                names[name] = made
        elif origin in REPLACED:
            names[name] = REPLACED[origin](self._sources)
        elif name in file.imported and _is_light(origin):
            holder = importlib.import_module(module or origin)
            names[name] = getattr(holder, last) if hasattr(holder, last) else importlib.import_module(origin)
        elif name not in file.imported and (node := _statement(name, file)) is not None:
            names[name] = None  # a function may call itself
            self._run(node, file)


def _family(declared: Declaration) -> type[Part]:
    """A family whose members hold no knobs: only their names count."""
    made: type[Part] = types.new_class(declared.node.name, (Part,), {"family": declared.family})
    return made


def _is_light(module: str) -> bool:
    """Whether a module, or the module of a dotted name, may be imported."""
    return {module, module.rpartition(".")[0]} & LIGHT != set() or module.split(".")[0] in sys.stdlib_module_names


def _statement(name: str, file: SourceFile) -> ast.stmt | None:
    """The statement at the top of a file that defines a function or a constant."""
    for node in file.tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return node
    return None


def _names_in(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load):
            yield each.id


def _without_signatures(node: ast.stmt) -> ast.stmt:
    """The statement without the annotations of parameters and results, which may name torch's classes."""
    copy = _Stripped().visit(ast.parse(ast.unparse(node)))
    assert isinstance(copy, ast.Module)
    return copy.body[0]


class _Stripped(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            each.annotation = None
        self.generic_visit(node)
        return node
