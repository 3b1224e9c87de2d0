"""The ranks of a run: count them and check that they can share it."""

from dataclasses import dataclass

from microgpt.config import ConfigError, Fault
from microgpt.engine.config import RunConfig
from microgpt.engine.machine import device as machine
from microgpt.engine.process import cluster
from microgpt.engine.process.cluster import Rank


@dataclass(frozen=True)
class World:
    """This process's rank, and the number of ranks that the config requests."""

    rank: Rank
    devices: int
    "Devices on each node."
    num_nodes: int

    @property
    def size(self) -> int:
        """Devices on all nodes."""
        return self.devices * self.num_nodes

    @property
    def is_to_be_started(self) -> bool:
        """Whether this process must start the ranks."""
        return self.size > 1 and not self.rank.starter


def find_world(config: RunConfig, accelerator: str) -> World:
    """Find a run's ranks and check them against the config.

    Raises:
        MachineError: the machine has too few devices.
        UsageError: the number of started processes differs from the config.
        ConfigError: the global batch does not divide evenly, or a part supports only one device.
    """
    knobs, rank = config.trainer, cluster.this_rank()
    world = World(rank, machine.resolve_devices(knobs.devices, accelerator, rank.started), knobs.num_nodes)
    cluster.check_world(rank, world.devices, world.num_nodes)
    problem = config.world_problem(world.size)
    if problem is None and world.size > 1 and knobs.find_lr:
        fix = "find it with trainer.devices=1, then give optim.lr"
        problem = Fault("trainer.find_lr", f"it searches on one device, not on {world.size}", fix)
    if problem is None and world.size > 1 and knobs.strategy == "fsdp":
        problem = sharding_problem(config)
    if problem is not None:
        raise ConfigError([problem])
    return world


def sharding_problem(config: RunConfig) -> Fault | None:
    """The first knob that sharded weights do not support, if any."""
    if config.trainer.precision in ("16-mixed", "64-true"):
        fix = "take bf16-mixed, 32-true, or trainer.strategy=ddp"
        return Fault("trainer.precision", f"{config.trainer.precision} is not supported with fsdp", fix)
    if config.lora.rank:
        return Fault("lora.rank", "low-rank changes are not supported with fsdp", "take trainer.strategy=ddp")
    return None
