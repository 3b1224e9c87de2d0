"""The families of parts are found where the configuration has them; private names of Hydra are missed by name."""

import importlib
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

import microgpt
from microgpt.config import Config, defaults
from microgpt.engine.compose import hydra_private
from microgpt.engine.compose.schema import families, register_schemas
from microgpt.engine.config import RunConfig
from microgpt.engine.optim import OptimConfig
from microgpt.engine.schedule import ScheduleConfig
from microgpt.errors import MachineError
from microgpt.model.pos import PositionConfig
from microgpt.registry import Choice


class Shape(Choice, family="shape"):
    """A family for these tests."""


class Round(Shape, name="round"):
    inner: Shape | None = None


class Colour(Choice, family="colour"):
    """A family that a member of another holds."""


class Painted(Shape, name="painted"):
    colour: Colour = Colour()


class Node(Config):
    many: dict[str, Shape] | None = None
    some: tuple[Colour, ...] = ()


class Root(Config):
    shape: Shape | None = None
    node: Node = Node()


def test_the_families_of_a_run_lie_where_they_are_typed() -> None:
    found = families(RunConfig)
    assert (found["model.pos"], found["optim"], found["optim.schedule"]) == (
        PositionConfig, OptimConfig, ScheduleConfig,
    )  # fmt: skip


def test_a_new_family_is_found_by_its_field_alone() -> None:
    assert families(Root) == {
        "shape": Shape, "shape.colour": Colour, "node.many": Shape, "node.many.colour": Colour, "node.some": Colour,
    }  # fmt: skip


def test_every_member_is_in_hydras_store_under_the_name_of_its_field() -> None:
    register_schemas(RunConfig)
    schema = ConfigStore.instance().repo["schema"]
    for group, family in {"pos": PositionConfig, "optim": OptimConfig, "schedule": ScheduleConfig}.items():
        for name, member in family.members.items():  # type: ignore[attr-defined]
            assert schema[group][f"{name}.yaml"].node == defaults(member)


@pytest.mark.parametrize(("module", "name"), hydra_private.NAMES)
def test_a_private_name_of_hydra_that_is_gone_is_missed_by_name(
    module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(importlib.import_module(module), name)
    said = rf"hydra-core 1\.3\.\d+ has no {module}\.{name}, which microgpt uses"
    with pytest.raises(MachineError, match=said) as error:
        hydra_private.arguments_parser() if name == "get_args_parser" else hydra_private.sweep_points([])
    assert error.value.fix == "pip install 'hydra-core>=1.3.2,<1.4'"


def test_the_versions_checked_are_those_that_the_package_asks_for() -> None:
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"hydra-core{hydra_private.CHECKED}"' in project


@pytest.mark.parametrize(
    ("word", "home"),
    [("hydra._internal", "compose/hydra_private.py"), ("import submitit", "sweep/submitit_private.py")],
)
def test_private_names_stand_in_one_file(word: str, home: str) -> None:
    engine = Path(microgpt.__file__).parent / "engine"
    users = [path for path in engine.rglob("*.py") if word in path.read_text(encoding="utf-8")]
    assert users == [engine / home]
