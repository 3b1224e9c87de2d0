"""Compose conf/ and a list of overrides into a checked `RunConfig`.

Hydra composes onto a schema (see `schema`); `microgpt.config` decodes the result. Overrides of unknown knobs pass
through as additions, so that the decoder can report them with a suggestion, together with every other fault.

Importing this module loads no torch. `compose_run` makes the `RunConfig`, whose parts need torch; `compose_as` makes
any configuration class of the same knobs, such as the one that the commands read from the sources.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from microgpt.config import Config, ConfigError
from microgpt.engine.compose.advice import advise
from microgpt.engine.compose.choices import stand_alone
from microgpt.engine.compose.conflicts import settle
from microgpt.engine.compose.consent import refuse_code
from microgpt.engine.compose.groups import shipped_yaml
from microgpt.engine.compose.hydra_private import sweep_points
from microgpt.engine.compose.overrides import as_hydra_takes_them, explain
from microgpt.engine.compose.schema import register_schemas
from microgpt.engine.compose.secret_values import secret_faults, secrets_unresolved
from microgpt.engine.compose.words import fold_knobs
from microgpt.engine.process import cluster
from microgpt.engine.process.secret_variables import references
from microgpt.errors import UsageError
from microgpt.registry import import_part
from microgpt.text import quoted

if TYPE_CHECKING:
    from microgpt.engine.config import RunConfig

C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class Folders:
    """The run folder, and a sweep's.

    Attributes:
        must_be_new: whether the time names the folder, so that a run started in the same second needs another name.
        sweep_dir, sweep_must_be_new: the same for the folder of a sweep; None if each point names it.
        notice: what the user must know about the composition; empty if nothing.
    """

    run_dir: Path
    must_be_new: bool = False
    sweep_dir: Path | None = None
    sweep_must_be_new: bool = False
    notice: str = ""


@dataclass(frozen=True, kw_only=True)
class Composed(Folders):
    """A composed and checked configuration, and where it is trained."""

    config: "RunConfig"


def run_config() -> "type[RunConfig]":
    """`RunConfig`, with every shipped part registered; imports torch."""
    from microgpt.engine.addons import import_shipped
    from microgpt.engine.config import RunConfig

    import_shipped()
    return RunConfig


def compose_run(overrides: Sequence[str], config_dir: Path | None = None, trust: bool = False) -> Composed:
    """Compose and check the configuration of one run.

    Args:
        overrides: Hydra overrides, as typed: `model.pos=rope`, `trainer.max_steps=200`.
        config_dir: a folder of your own YAML, searched after the shipped one.
        trust: whether that YAML may name Python files to import, as the overrides may.

    Raises:
        ConfigError: the configuration has faults; the error lists all of them.
        UsageError: an override cannot be parsed or names an unknown part, or the YAML would run code.
    """
    config, folders = compose_as(run_config(), overrides, config_dir, trust)
    return Composed(**vars(folders), config=config)


def compose_as(
    root: type[C], overrides: Sequence[str], config_dir: Path | None = None, trust: bool = False
) -> tuple[C, Folders]:
    """Compose and check as `compose_run` does, into `root`; return the configuration and the folders."""
    register_schemas(root)
    search = []
    if config_dir is not None:
        refuse_shadowed_files(config_dir)
        search = [f"hydra.searchpath=[{quoted(f'file://{config_dir.resolve()}')}]"]
    with hydra_errors(overrides), initialize_config_dir(str(shipped_yaml()), version_base="1.3", job_name="train"):
        words = as_hydra_takes_them(overrides, root)
        tree = compose("train", [*search, *words], return_hydra_config=True)
        HydraConfig.instance().set_config(tree)
        refuse_code(tree, overrides, trust)
        folders = find_folders(tree)
        notice = drop_hydra_node(tree, root, words, search)
        return decode(tree, root, overrides, config_dir), replace(folders, notice=notice)


@contextmanager
def hydra_errors(overrides: Sequence[str]) -> Iterator[None]:
    """Turn Hydra's errors inside the block into one-line errors, and leave no state in Hydra."""
    GlobalHydra.instance().clear()
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, overrides) from None
    finally:
        GlobalHydra.instance().clear()


def find_folders(tree: DictConfig) -> Folders:
    """The folders of a run and of a sweep, and for each whether the time alone names it."""
    typed = OmegaConf.to_container(tree.hydra, resolve=False)
    assert isinstance(typed, dict)
    by_time = "${run_name:" in str(typed["run"]["dir"]) and not cluster.this_rank().starter
    with secrets_unresolved():
        run_dir, sweep_dir = Path(tree.hydra.run.dir), None
        with contextlib.suppress(OmegaConfBaseException):
            sweep_dir = Path(tree.hydra.sweep.dir)
    for name in references([str(run_dir), str(sweep_dir)]):
        fix = "a variable that is no secret needs another name"
        raise UsageError(f"the environment variable {name} holds a secret by its name", "hydra.run.dir", fix)
    return Folders(run_dir, by_time, sweep_dir, sweep_dir is not None and "${sweep_name:" in str(typed["sweep"]["dir"]))


def decode(tree: DictConfig, root: type[C], overrides: Sequence[str] = (), config_dir: Path | None = None) -> C:
    """Turn a composed tree, without its hydra node, into a checked configuration.

    Args:
        overrides: as typed, for suggestions.
        config_dir: searched for the files that `imports` names.
    """
    with secrets_unresolved():
        values = OmegaConf.to_container(tree, resolve=True)
    if not isinstance(values, dict):
        raise UsageError("the configuration is no mapping", "train.yaml")
    for name in values.get("imports") or ():
        import_part(str(name), config_dir)
    try:
        config = root.from_dict({str(key): value for key, value in values.items()})
    except ConfigError as error:
        raise advise(error.faults, root, overrides) from None
    if faults := secret_faults(config):
        raise ConfigError(faults)
    return config


def drop_hydra_node(tree: DictConfig, root: type[Config], overrides: Sequence[str], search: Sequence[str] = ()) -> str:
    """Remove Hydra's own node, which is not part of a run, fold the knobs of one-word parts into them, and let what is
    typed win.

    Args:
        overrides: as Hydra takes them.
        search: overrides that Hydra needs to find the files.

    Returns:
        What the user must know about it; empty if nothing.
    """
    OmegaConf.set_readonly(tree, False)
    OmegaConf.set_struct(tree, False)
    tree.pop("hydra", None)
    fold_knobs(tree, root)
    notice = stand_alone(tree, root, overrides, search)
    settle(tree, overrides)
    return notice


def refuse_shadowed_files(config_dir: Path) -> None:
    """Refuse a user's YAML file with a shipped file's name: Hydra would silently ignore it."""
    if not config_dir.is_dir():
        raise UsageError(f"no such folder {str(config_dir)!r}", "--config-dir", "name a folder that holds YAML files")
    for path in sorted(config_dir.rglob("*.yaml")):
        name = path.relative_to(config_dir)
        if (shipped_yaml() / name).is_file():
            raise UsageError(f"{name} has the name of a shipped file", str(config_dir), "give it a name of its own")


def check_sweep(
    root: type[C],
    overrides: Sequence[str],
    config_dir: Path | None = None,
    trust: bool = False,
    look: Callable[[C], None] | None = None,
) -> Folders:
    """Compose and check every point of a sweep, or only the fixed overrides if a sweeper draws the points.

    Args:
        look: called with each point's configuration.

    Returns:
        The sweep's folders, with every point's notice.

    Raises:
        ConfigError, UsageError: a point has a fault; the error is the first such point's.
    """
    with hydra_errors(overrides):
        parsed = OverridesParser.create().parse_overrides(as_hydra_takes_them(overrides, root, is_sweep=True))
    task = [override for override in parsed if not override.get_key_element().startswith("hydra")]
    if any(override.is_sweep_override() and not override.is_discrete_sweep() for override in task):
        task = [override for override in task if not override.is_sweep_override()]
    folder = [override for override in overrides if override.lstrip("+").startswith("hydra.sweep.dir=")]
    notices = dict[str, None]()
    for point in sweep_points(task):
        config, folders = compose_as(root, [*point, *folder], config_dir, trust)
        if look is not None:
            look(config)
        notices |= dict.fromkeys([folders.notice] if folders.notice else [])
    return replace(folders, notice="\n".join(notices))
