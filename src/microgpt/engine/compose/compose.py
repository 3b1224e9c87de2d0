"""Compose conf/ and a list of overrides into a checked `RunConfig`.

Hydra composes onto a schema (see `schema`); `microgpt.config` decodes the result. Overrides of unknown knobs pass
through as additions, so that the decoder can report them with a suggestion, together with every other fault.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from microgpt.config import ConfigError, Fault, defaults, fields
from microgpt.engine.compose.groups import config_groups, shipped_yaml
from microgpt.engine.compose.hydra_private import sweep_points
from microgpt.engine.compose.overrides import as_hydra_takes_them, explain
from microgpt.engine.compose.schema import families, register_schemas
from microgpt.engine.compose.secret_values import secret_faults, secrets_unresolved
from microgpt.engine.compose.words import fold_knobs
from microgpt.engine.config import RunConfig, flatten
from microgpt.engine.process import cluster
from microgpt.engine.process.secret_variables import references
from microgpt.errors import UsageError
from microgpt.registry import import_part
from microgpt.text import did_you_mean


@dataclass(frozen=True)
class Composed:
    """A composed and checked configuration, and its run folder.

    Attributes:
        must_be_new: whether the time names the folder, so that a run started in the same second needs another name.
        sweep_dir, sweep_must_be_new: the same for the folder of a sweep; None if each point names it.
    """

    config: RunConfig
    run_dir: Path
    must_be_new: bool = False
    sweep_dir: Path | None = None
    sweep_must_be_new: bool = False


def compose_run(overrides: Sequence[str], config_dir: Path | None = None) -> Composed:
    """Compose and check the configuration of one run.

    Args:
        overrides: Hydra overrides, as typed: `model.pos=rope`, `trainer.max_steps=200`.
        config_dir: a folder of your own YAML, searched after the shipped one.

    Raises:
        ConfigError: the configuration has faults; the error lists all of them.
        UsageError: an override cannot be parsed or names an unknown part.
    """
    register_schemas()
    search = []
    if config_dir is not None:
        refuse_shadowed_files(config_dir)
        search = [f"hydra.searchpath=[file://{config_dir.resolve()}]"]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(shipped_yaml()), version_base="1.3", job_name="train"):
            tree = compose("train", [*search, *as_hydra_takes_them(overrides)], return_hydra_config=True)
            HydraConfig.instance().set_config(tree)
            folders = find_folders(tree)
            drop_hydra_node(tree)
            return Composed(decode(tree, config_dir), *folders)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, overrides) from None
    finally:
        GlobalHydra.instance().clear()


def find_folders(tree: DictConfig) -> tuple[Path, bool, Path | None, bool]:
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
    return run_dir, by_time, sweep_dir, sweep_dir is not None and "${sweep_name:" in str(typed["sweep"]["dir"])


def decode(tree: DictConfig, config_dir: Path | None = None) -> RunConfig:
    """Turn a composed tree, without its hydra node, into a checked `RunConfig`."""
    with secrets_unresolved():
        values = OmegaConf.to_container(tree, resolve=True)
    if not isinstance(values, dict):
        raise UsageError("the configuration is no mapping", "train.yaml")
    for name in values.get("imports") or ():
        import_part(str(name), config_dir)
    try:
        config = RunConfig.from_dict({str(key): value for key, value in values.items()})
    except ConfigError as error:
        raise ConfigError([point_elsewhere(fault) for fault in error.faults]) from None
    if faults := secret_faults(config):
        raise ConfigError(faults)
    return config


def point_elsewhere(fault: Fault) -> Fault:
    """For an unknown key unlike any of its siblings, suggest the knob or group of that name elsewhere."""
    if fault.what != "unknown key" or fault.fix.startswith("did you mean"):
        return fault
    name = fault.path.rsplit(".", 1)[-1]
    places = [key for key in flatten(defaults(RunConfig)) if key.rsplit(".", 1)[-1] == name]
    for path, family in families().items():
        places += [f"{path}.{name}"] if any(name in fields(member) for member in family.members.values()) else []
    if places:
        return replace(fault, fix=f"did you mean {places[0]!r}?")
    near = did_you_mean(fault.path, config_groups(shipped_yaml()))
    return replace(fault, fix=near) if near.startswith("did you mean") else fault


def drop_hydra_node(tree: DictConfig) -> None:
    """Remove Hydra's own node, which is not part of a run, and fold the knobs of one-word parts into them."""
    OmegaConf.set_readonly(tree, False)
    OmegaConf.set_struct(tree, False)
    tree.pop("hydra", None)
    fold_knobs(tree)


def refuse_shadowed_files(config_dir: Path) -> None:
    """Refuse a user's YAML file with a shipped file's name: Hydra would silently ignore it."""
    if not config_dir.is_dir():
        raise UsageError(f"no such folder {str(config_dir)!r}", "--config-dir", "name a folder that holds YAML files")
    for path in sorted(config_dir.rglob("*.yaml")):
        name = path.relative_to(config_dir)
        if (shipped_yaml() / name).is_file():
            raise UsageError(f"{name} has the name of a shipped file", str(config_dir), "give it a name of its own")


def check_sweep(overrides: Sequence[str], config_dir: Path | None = None) -> Composed:
    """Compose and check every point of a sweep, or only the fixed overrides if a sweeper draws the points.

    Returns:
        The last point, which names the sweep's folder.

    Raises:
        ConfigError, UsageError: a point has a fault; the error is the first such point's.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise explain(error, overrides) from None
    task = [override for override in parsed if not override.get_key_element().startswith("hydra")]
    if any(override.is_sweep_override() and not override.is_discrete_sweep() for override in task):
        task = [override for override in task if not override.is_sweep_override()]
    folder = [override for override in overrides if override.lstrip("+").startswith("hydra.sweep.dir=")]
    return [compose_run([*point, *folder], config_dir) for point in sweep_points(task)][-1]
