"""`hydra/sweeper=optuna`: search for the knobs with the best val/loss, using Optuna (https://optuna.org).

    microgpt-train -m hydra/sweeper=optuna 'optim.lr=tag(log, interval(1e-3, 1e-1))' 'model.n_embd=choice(64,128)'

Hydra's own Optuna sweeper needs a version from 2021 (`optuna<3`). A search stores only its runs: with the same seed it
proposes the same points again, and finished points return their scores at once. An interrupted search therefore
continues when restarted in its folder.
"""

import logging
import math
from collections.abc import Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from microgpt.engine.sweep.packages import require_package
from microgpt.errors import UsageError

log = logging.getLogger("microgpt")


class OptunaSweeper(Sweeper):
    """Ask Optuna for points and report their scores to it.

    Args:
        n_trials: number of points to try.
        n_jobs: points to request at a time; set the launcher's to the same. With more, Optuna knows less per choice.
        seed: seed of Optuna's sampler.
        params: knob -> range, as on the command line; the command line wins.
    """

    def __init__(self, n_trials: int, n_jobs: int, seed: int, params: DictConfig | None) -> None:
        self.n_trials, self.n_jobs, self.seed = n_trials, n_jobs, seed
        self.params: Mapping[Any, Any] = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        require_package("optuna", "sweep")
        self.config, self.hydra_context = config, hydra_context
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the search: ask for points, train them, report their scores.

        Raises:
            UsageError: no knob has a range to search.
        """
        import optuna

        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*(f"{key!s}={value!s}" for key, value in self.params.items()), *arguments])
        chosen = {override.get_key_element().lstrip("+"): override for override in overrides}
        fixed = [_as_text(override) for override in chosen.values() if not override.is_sweep_override()]
        ranges = {key: _distribution(override) for key, override in chosen.items() if override.is_sweep_override()}
        if not ranges:
            fix = "give ranges: 'optim.lr=tag(log, interval(1e-3, 1e-1))' 'model.n_embd=choice(64,128)'"
            raise UsageError("nothing to search", "the arguments", fix)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=self.seed))
        self.run_trials(study, chosen, fixed, ranges)
        if any(trial.value is not None for trial in study.trials):
            best = " ".join(f"{key}={value}" for key, value in study.best_params.items())
            print(f"\nbest of {self.n_trials}: val/loss {study.best_value:.4f} with {best}", flush=True)

    def run_trials(
        self, study: Any, chosen: Mapping[str, Override], fixed: list[str], ranges: Mapping[str, Any]
    ) -> None:
        """Ask the study for `n_trials` points, `n_jobs` at a time, and report each score to it.

        Args:
            chosen: key -> the override as typed.
            fixed: the overrides that all points share.
            ranges: key -> the distribution that the study draws from.
        """
        from optuna.trial import TrialState

        for first in range(0, self.n_trials, self.n_jobs):
            trials = [study.ask(ranges) for _ in range(min(self.n_jobs, self.n_trials - first))]
            keys = {key: chosen[key].get_key_element() for key in ranges}
            points = [[*fixed, *(f"{keys[key]}={value}" for key, value in trial.params.items())] for trial in trials]
            self.validate_batch_is_legal(points)
            for trial, result in zip(trials, self.launcher.launch(points, initial_job_idx=first), strict=True):
                score = result.return_value
                if score is None or not math.isfinite(score):
                    study.tell(trial, state=TrialState.FAIL)
                else:
                    study.tell(trial, score)


def _as_text(override: Override) -> str:
    return f"{override.get_key_element()}={override.get_value_element_as_str()}"


def _distribution(override: Override) -> Any:
    """Optuna's distribution for Hydra's `choice(...)`, `range(...)` or `interval(...)`, tagged `log` or not."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if isinstance(value, IntervalSweep) and value.start is not None and value.end is not None:
        is_int = isinstance(value.start, int) and isinstance(value.end, int)
        make: Any = IntDistribution if is_int else FloatDistribution
        return make(value.start, value.end, log="log" in value.tags)
    if isinstance(value, RangeSweep) and not value.shuffle:
        start, stop, step = value.start, value.stop, value.step
        if isinstance(start, int) and isinstance(stop, int) and isinstance(step, int):
            return IntDistribution(start, stop - 1, step=step)
    choices: Any = list(override.sweep_iterator(transformer=Transformer.encode))
    return CategoricalDistribution(choices)
