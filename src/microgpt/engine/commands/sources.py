"""Read configuration classes from source files without importing them, so that `--help` needs no torch.

Files of the package and of the user are parsed, never run. Name resolution follows imports, so it finds a class where
it is declared, whatever name it is imported under.
"""

import ast
import functools
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from microgpt.errors import UsageError

SRC = Path(__file__).parents[3]
CONFIG = "microgpt.config.Config"
_NAMES_A_MEMBER = re.compile(r"""\bname\s*=\s*["']""")


@dataclass(frozen=True)
class Field:
    """A knob in a class body; `doc` is the text below it."""

    name: str
    annotation: ast.expr
    default: ast.expr | None
    doc: str
    file: "SourceFile"
    "The declaring file, which gives the names in the annotation their meaning."


@dataclass(frozen=True, eq=False)
class Declaration:
    """A class statement and the file that holds it."""

    node: ast.ClassDef
    file: "SourceFile"

    @property
    def family(self) -> str:
        """The family that the class defines; empty for other classes."""
        return self._keyword("family")

    @property
    def member(self) -> str:
        """The name under which the class joins a family; empty for other classes."""
        return self._keyword("name")

    @property
    def doc(self) -> str:
        """The docstring's first paragraph, on one line."""
        return " ".join((ast.get_docstring(self.node) or "").split("\n\n")[0].split())

    def own_fields(self) -> Iterator[Field]:
        """The annotated names in the class body, except class variables."""
        body = self.node.body
        for i, item in enumerate(body):
            if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
                continue
            if "ClassVar" not in ast.unparse(item.annotation):
                below = body[i + 1] if i + 1 < len(body) else None
                yield Field(item.target.id, item.annotation, item.value, _text(below), self.file)

    def sets(self, name: str, value: object) -> bool:
        """Whether the class body gives a class variable this constant."""
        return any(
            isinstance(item, (ast.Assign, ast.AnnAssign))
            and ast.unparse(item.targets[0] if isinstance(item, ast.Assign) else item.target) == name
            and isinstance(item.value, ast.Constant)
            and item.value.value is value
            for item in self.node.body
        )

    def _keyword(self, key: str) -> str:
        for keyword in self.node.keywords:
            if keyword.arg == key and isinstance(keyword.value, ast.Constant):
                return str(keyword.value.value)
        return ""


class SourceFile:
    """A parsed Python file: its classes and the origins of its imported names."""

    def __init__(self, path: Path, module: str = "") -> None:
        self.module = module
        self.tree = tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        self.classes = {node.name: Declaration(node, self) for node in tree.body if isinstance(node, ast.ClassDef)}
        self.imported: dict[str, str] = {}
        "A name in this file -> its dotted path."
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.name if alias.asname else alias.name.split(".")[0]
                    self.imported[alias.asname or name] = name
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"


class Sources:
    """The package's source files, and the user's.

    Args:
        extra: files outside the package to include.

    Raises:
        SyntaxError, ValueError, OSError: a file cannot be read as Python.
    """

    def __init__(self, extra: Sequence[Path] = ()) -> None:
        self._files: dict[Path, SourceFile] = {}
        self._extra = tuple(extra)
        for path in extra:  # refuse a file that is not Python now
            self._file(path, "")

    def find(self, dotted: str) -> Declaration | None:
        """The class at a dotted path of the package, resolved to its declaration."""
        module, _, name = dotted.rpartition(".")
        path = module_file(SRC, module)
        return self.resolve(name, self._file(path, module)) if path and module.startswith("microgpt") else None

    def resolve(self, name: str, file: SourceFile) -> Declaration | None:
        """The class that `name`, possibly dotted, refers to in a file."""
        if name in file.classes:
            return file.classes[name]
        head, dot, rest = name.partition(".")
        if head not in file.imported:
            return None
        return self.find(f"{file.imported[head]}{dot}{rest}")

    def lineage(self, cls: Declaration) -> list[Declaration]:
        """The class and its bases, nearest first."""
        found = [cls]
        for base in cls.node.bases:
            declared = self.resolve(ast.unparse(base), cls.file)
            if declared is not None and declared is not cls:
                found += [each for each in self.lineage(declared) if each not in found]
        return found

    def is_config(self, cls: Declaration) -> bool:
        """Whether the class is a configuration class."""
        return self.find(CONFIG) in self.lineage(cls)

    def fields(self, cls: Declaration) -> list[Field]:
        """The knobs of a class, with inherited ones, in dataclass order."""
        found: dict[str, Field] = {}
        for each in reversed(self.lineage(cls)):
            found |= {field.name: field for field in each.own_fields()}
        return list(found.values())

    def members(self, family: Declaration) -> list[Declaration]:
        """The classes that join a family: the package's first, then the user's, each sorted by name."""
        joined = [cls for cls in self._named if family in self.lineage(cls)]
        return sorted(joined, key=lambda cls: (not cls.file.module, cls.member))

    def member_names(self, family: str) -> list[str]:
        """The member names of the family whose class has this dotted path, the package's first."""
        declared = self.find(family)
        return [cls.member for cls in self.members(declared)] if declared else []

    def extra_members(self) -> list[tuple[Declaration, str]]:
        """The classes outside the package that join a family, each with the family's name."""
        lines = [(cls, self.lineage(cls)) for cls in self._named if not cls.file.module]
        return [(cls, base.family) for cls, line in lines for base in line if base.family]

    def config_of(self, field: Field) -> Declaration | None:
        """The configuration class in a field's type: `X`, `X | None`, `dict[str, X]`, `tuple[X, ...]`."""
        for node in ast.walk(field.annotation):
            if isinstance(node, (ast.Name, ast.Attribute)):
                cls = self.resolve(ast.unparse(node), field.file)
                if cls is not None and self.is_config(cls):
                    return cls
        return None

    @functools.cached_property
    def _named(self) -> list[Declaration]:
        """Every class that joins a family."""
        shipped = {path: ".".join(path.relative_to(SRC).with_suffix("").parts) for path in SRC.glob("microgpt/**/*.py")}
        found = []
        for path, module in (shipped | dict.fromkeys(self._extra, "")).items():
            if _NAMES_A_MEMBER.search(path.read_text(encoding="utf-8")):
                found += [cls for cls in self._file(path, module).classes.values() if cls.member]
        return found

    def _file(self, path: Path, module: str) -> SourceFile:
        if path not in self._files:
            self._files[path] = SourceFile(path, module.removesuffix(".__init__"))
        return self._files[path]


def module_file(root: Path, module: str) -> Path | None:
    """A module's file under an import root, found without importing its parents."""
    base = root.joinpath(*module.split("."))
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


def find_source(name: str, config_dir: Path | None = None) -> Path:
    """Find the file of a user's part where `registry.import_part` finds it, without running it.

    Raises:
        UsageError: the file or module does not exist.
    """
    if name.endswith(".py"):
        places = [Path(name), *([config_dir / name] if config_dir else [])]
        path = next((place for place in places if place.is_file()), None)
        looked = " and ".join(map(str, places))
    else:
        found = (module_file(Path(entry or "."), name) for entry in sys.path)
        path, looked = next(filter(None, found), None), "the folders that Python imports from"
    if path is None:
        raise UsageError(f"no such file {name!r}", "imports", f"looked for it in {looked}")
    return path


def read_sources(files: Sequence[Path]) -> Sources:
    """Read the package's sources and these files.

    Raises:
        UsageError: a file is not Python.
    """
    try:
        return Sources(files)
    except (SyntaxError, ValueError, OSError) as error:
        raise UsageError(f"cannot read a file of your own ({error})", "imports", "make it import cleanly") from None


def _text(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""
