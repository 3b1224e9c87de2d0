"""conf/ and a list of overrides become a checked `RunConfig`. The one place that composes with Hydra.

Hydra composes; `microgpt.config` decodes. The schema that Hydra composes onto is derived from the dataclasses, so
every knob exists and no YAML restates a default. An override of a knob that does not exist is passed on as an
addition, so that the decoder can report it with every other fault and with a suggestion.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from microgpt.config import ConfigError, Fault, defaults, fields
from microgpt.engine.compose.conf import conf_dir, groups
from microgpt.engine.config import RunConfig, flatten
from microgpt.engine.optim import OptimConfig
from microgpt.engine.process import cluster
from microgpt.engine.schedule import ScheduleConfig
from microgpt.errors import UsageError
from microgpt.model.pos import PositionConfig
from microgpt.registry import Choice, import_part
from microgpt.text import did_you_mean

FAMILIES: dict[str, type[Choice]] = {"pos": PositionConfig, "optim": OptimConfig, "schedule": ScheduleConfig}


@dataclass(frozen=True)
class Composed:
    """A composed configuration: decoded, as the plain tree that config.yaml holds, and where the run goes."""

    config: RunConfig
    tree: DictConfig
    run_dir: Path


def register_schemas() -> None:
    """Put every knob and its default, derived from the dataclasses, into Hydra's store; and what YAML computes with."""
    OmegaConf.register_new_resolver("run_name", cluster.run_name, replace=True)
    store = ConfigStore.instance()
    store.store(group="schema", name="train", node=defaults(RunConfig))
    for family, choice in FAMILIES.items():
        for name, member in choice.members.items():
            store.store(group=f"schema/{family}", name=name, node=defaults(member))


def compose_run(overrides: Sequence[str], config_dir: Path | None = None) -> Composed:
    """Compose and check the configuration of one run.

    Args:
        overrides: Hydra overrides, as typed: `model.pos=rope`, `trainer.max_steps=200`.
        config_dir: a folder of your own YAML, searched after ours.

    Raises:
        ConfigError: with every fault found.
        UsageError: for an override that cannot be read or names no part.
    """
    register_schemas()
    search = []
    if config_dir is not None:
        refuse_shadowed_files(config_dir)
        search = [f"hydra.searchpath=[file://{config_dir.resolve()}]"]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3", job_name="train"):
            tree = compose("train", [*search, *lenient(overrides)], return_hydra_config=True)
            HydraConfig.instance().set_config(tree)
            run_dir = Path(tree.hydra.run.dir)
            del_hydra(tree)
            return Composed(decode(tree, config_dir), tree, run_dir)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, overrides) from None
    finally:
        GlobalHydra.instance().clear()


def decode(tree: DictConfig, config_dir: Path | None = None) -> RunConfig:
    """Turn a composed tree, without its hydra node, into a checked `RunConfig`."""
    values = OmegaConf.to_container(tree, resolve=True)
    if not isinstance(values, dict):
        raise UsageError("the configuration is no mapping", "train.yaml")
    for name in values.get("imports") or ():
        import_part(str(name), config_dir)
    try:
        return RunConfig.from_dict({str(key): value for key, value in values.items()})
    except ConfigError as error:
        raise ConfigError([point_elsewhere(fault) for fault in error.faults]) from None


def point_elsewhere(fault: Fault) -> Fault:
    """For a key that no node near it knows: the group it may be meant for, or the node that has a knob of that name."""
    if fault.what != "unknown key" or fault.fix.startswith("did you mean"):
        return fault
    name = fault.path.rsplit(".", 1)[-1]
    places = [key for key in flatten(defaults(RunConfig)) if key.rsplit(".", 1)[-1] == name]
    places += [f"optim.{name}"] if any(name in fields(optim) for optim in OptimConfig.members.values()) else []
    if places:
        return replace(fault, fix=f"did you mean {places[0]!r}?")
    near = did_you_mean(fault.path, groups(conf_dir()))
    return replace(fault, fix=near) if near.startswith("did you mean") else fault


def del_hydra(tree: DictConfig) -> None:
    """Remove Hydra's own node, which is no part of a run."""
    OmegaConf.set_readonly(tree, False)
    OmegaConf.set_struct(tree, False)
    tree.pop("hydra", None)


def lenient(overrides: Sequence[str]) -> list[str]:
    """The overrides as Hydra takes them: `a.b=1` becomes `++a.b=1`, so that an unknown key reaches the decoder, which
    reports it with every other fault; and `experiment=null` becomes `~experiment`."""
    known = groups(conf_dir())
    return [
        "~experiment"
        if override == "experiment=null"
        else override
        if override.split("=", 1)[0] in known
        or not re.match(r"[A-Za-z_][\w.]*=", override)
        or override.startswith(("hydra.", "hydra/"))
        else f"++{override}"
        for override in overrides
    ]


def refuse_shadowed_files(config_dir: Path) -> None:
    """Refuse a user's YAML that has the name of a shipped one: Hydra would silently ignore it."""
    if not config_dir.is_dir():
        raise UsageError(f"no such folder {str(config_dir)!r}", "--config-dir", "name a folder that holds YAML files")
    for path in sorted(config_dir.rglob("*.yaml")):
        name = path.relative_to(config_dir)
        if (conf_dir() / name).is_file():
            raise UsageError(f"{name} has the name of a shipped file", str(config_dir), "give it a name of its own")


def explain(error: Exception, overrides: Sequence[str]) -> UsageError:
    """Hydra's error as one line of ours, with a suggestion."""
    text = str(error)
    missing = re.search(r"Could not (?:find|load) '([^']+/[^']+)'", text)
    if missing:
        known = groups(conf_dir())
        group = next((name for name in known if missing[1].startswith(f"{name}/")), missing[1].rpartition("/")[0])
        option = missing[1].removeprefix(f"{group}/")
        return ConfigError([Fault(group, f"no such choice {option!r}", did_you_mean(option, known.get(group, ())))])
    unknown = re.search(r"Could not override '([^'@]+)'", text)
    if unknown and (key := unknown.group(1)) not in groups(conf_dir()):
        return ConfigError([Fault(key, "no such group", did_you_mean(key, groups(conf_dir())))])
    ambiguous = re.match(r"Ambiguous value for argument '(?:\+\+)?([^']*)'", text)
    if ambiguous:
        fix = "add -m to sweep over several values, or quote one that has a comma: 'key=\"a,b\"'"
        return UsageError(f"several values, {ambiguous.group(1)!r}", "a single run", fix)
    viable = re.search(r"(NoViableAlt|no viable alternative|mismatched input|extraneous input|token recognition)", text)
    if viable:
        culprit = next((word for word in overrides if not _readable(word)), " ".join(overrides))
        return UsageError(f"cannot read {culprit!r}", "the overrides", "write key=value, and quote special characters")
    parse = re.match(r"Error parsing override '(.*)'", text)
    if parse:
        fix = "write key=value, and quote values with special characters: 'key=\"a, b\"'"
        return UsageError(f"cannot read {parse.group(1)!r}", "the overrides", fix)
    return UsageError(next(iter(text.strip().splitlines()), type(error).__name__), "the overrides", "see --help")


def check_sweep(overrides: Sequence[str], config_dir: Path | None = None) -> None:
    """Compose and check every point of a sweep, or the part that is fixed when a sweeper draws the points itself.

    Raises:
        ConfigError, UsageError: for the first point with a fault.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise explain(error, overrides) from None
    task = [override for override in parsed if not override.get_key_element().startswith("hydra")]
    if any(override.is_sweep_override() and not override.is_discrete_sweep() for override in task):
        task = [override for override in task if not override.is_sweep_override()]
    for batch in BasicSweeper.split_arguments(task, max_batch_size=None):
        for point in batch:
            compose_run(point, config_dir)


def _readable(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True
