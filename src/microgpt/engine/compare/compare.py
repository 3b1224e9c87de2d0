"""Compare runs: each setting's mean and spread over seeds, and its paired difference from the best setting.

    comparison = summarise(["sweeps/2026-11-03_12-00-00"])
    comparison.groups[0].knobs, comparison.groups[0].mean

Runs whose configs differ only in the seed form a group. `tables` and `figures` present the result.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from microgpt.engine.compare.runs import RunRecord, find_runs
from microgpt.engine.store.metrics_file import frame
from microgpt.engine.trained.metrics import Metric
from microgpt.errors import UsageError
from microgpt.text import did_you_mean

FASTER = ("tokens_per_second", "mfu")
"""Summary numbers, by their last word, for which higher is better; evaluation metrics declare their own direction."""


@dataclass(frozen=True)
class Difference:
    """Paired difference from the best group: group minus best, over their shared seeds.

    Attributes:
        n: number of shared seeds.
        std: sample standard deviation of the differences; None with one seed.
        low, high: 95 % paired t interval of the mean; None with one seed.
    """

    n: int
    mean: float
    std: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed.

    Attributes:
        knobs: this group's knobs that distinguish it from the others.
        scores: seed -> metric; a seed with several runs counts once, with their mean.
        difference: the difference from the best group; None for the best itself and for a group without a shared seed.
    """

    knobs: Mapping[str, Any]
    runs: tuple[RunRecord, ...]
    scores: Mapping[Any, float]
    difference: Difference | None = None

    @property
    def n(self) -> int:
        """The number of seeds."""
        return len(self.scores)

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return statistics.fmean(self.scores.values())

    @property
    def std(self) -> float | None:
        """The sample standard deviation over seeds; None for a single seed."""
        return statistics.stdev(self.scores.values()) if self.n > 1 else None

    @property
    def label(self) -> str:
        """The knobs as shown in a legend: `pos=rope, n_layer=4`."""
        return ", ".join(f"{short(key)}={value}" for key, value in self.knobs.items()) or "all runs"

    def average(self, key: str) -> float | None:
        """The mean over runs of a number in their summaries, such as `val/bpc`; None if no run has it."""
        values = [value for run in self.runs if (value := run.number(key)) is not None]
        return statistics.fmean(values) if values else None


@dataclass(frozen=True)
class Comparison:
    """The groups, best first, and the excluded runs, each with the reason in `missing`."""

    metric: str
    knobs: tuple[str, ...]
    groups: tuple[Group, ...]
    incomplete: tuple[RunRecord, ...] = ()

    def frame(self) -> Any:
        """A row per group, best first, unrounded: a pandas DataFrame, or columns where pandas is not installed."""
        columns: dict[str, list[Any]] = {key: [group.knobs.get(key) for group in self.groups] for key in self.knobs}
        columns["n"] = [group.n for group in self.groups]
        columns[f"{self.metric} mean"] = [group.mean for group in self.groups]
        columns[f"{self.metric} std"] = [group.std for group in self.groups]
        differences = [group.difference for group in self.groups]
        for name in ("mean", "low", "high"):
            columns[f"to best {name}"] = [getattr(found, name, None) for found in differences]
        numbers = dict.fromkeys(key for group in self.groups for run in group.runs for key in run.summary)
        averages = {key: [group.average(key) for group in self.groups] for key in numbers if key != self.metric}
        return frame(columns | {key: found for key, found in averages.items() if any(x is not None for x in found)})


def summarise(
    paths: str | Path | Iterable[str | Path],
    metric: str = "val/loss",
    tags: Sequence[str] = (),
    names: Sequence[str] = (),
) -> Comparison:
    """Read runs and compare them by a number in their summaries.

    Args:
        paths: run folders, sweep folders, or folders of these; one of them may come alone.
        metric: a key of `summary.json`; `val/loss` is the run's best.
        tags: keep the runs that have all these tags.
        names: keep the runs with one of these names.

    Raises:
        CheckpointError: a path holds no run, or a file of a run cannot be read.
        UsageError: no run has the metric, or none has the tags and name.
    """
    found = find_runs([paths] if isinstance(paths, str | Path) else paths)
    runs = [run for run in found if set(tags) <= set(run.tags) and (not names or run.name in names)]
    if not runs:
        known = sorted({word for run in found for word in (*run.tags, run.name) if word})
        fix = did_you_mean((*tags, *names)[0], known) if known else "give runs tags=[...] or name=... when they train"
        raise UsageError(f"no run has {', '.join((*tags, *names))}", f"{len(found)} runs", fix)
    complete = [run for run in runs if not run.missing and run.number(metric) is not None]
    incomplete = [
        run if run.missing else replace(run, missing=f"no finite {metric} in summary.json")
        for run in runs
        if run not in complete
    ]
    if not complete:
        _complain(runs, metric)
    by_knobs: dict[str, list[RunRecord]] = {}
    for run in complete:
        by_knobs.setdefault(json.dumps(run.knobs, sort_keys=True, default=str), []).append(run)
    shown = telling_knobs([members[0].knobs for members in by_knobs.values()])
    groups = [_group(members, shown, metric) for members in by_knobs.values()]
    sign = -1 if higher_is_better(metric) else 1
    groups.sort(key=lambda group: (sign * group.mean, group.label))
    best = groups[0]
    rest = [replace(group, difference=difference(group.scores, best.scores)) for group in groups[1:]]
    return Comparison(metric, shown, (best, *rest), tuple(incomplete))


def metric_text(metric: str) -> str:
    """A metric with its unit: `val/loss (nats per token)`."""
    known = Metric.members.get(metric.rsplit("/", 1)[-1])
    return f"{metric} ({known.unit})" if known is not None and known.unit else metric


def higher_is_better(metric: str) -> bool:
    """Whether higher is better for a summary number such as `val/accuracy`."""
    name = metric.rsplit("/", 1)[-1]
    return name in FASTER or (name in Metric.members and Metric.members[name].better == "higher")


def telling_knobs(configs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The knobs in which the configs differ, in config order.

    A knob with a single value wherever it exists, such as RoPE's `model.pos.theta`, adds nothing to the choice above
    it: it is listed only if no other knob distinguishes two configs.
    """
    keys = list(dict.fromkeys(key for config in configs for key in config))
    values = {key: {_canonical(config[key]) for config in configs if key in config} for key in keys}
    shown = [key for key in keys if len(values[key]) > 1]
    if len({tuple(_canonical(c.get(key)) for key in shown) for c in configs}) < len(configs):
        partly = [key for key in keys if any(key not in config for config in configs)]
        shown = [key for key in keys if key in shown or key in partly]
    return tuple(shown)


def difference(scores: Mapping[Any, float], best: Mapping[Any, float]) -> Difference | None:
    """The paired difference of two groups over their shared seeds; None if they share none."""
    pairs = [scores[seed] - best[seed] for seed in scores if seed in best]
    if not pairs:
        return None
    mean = statistics.fmean(pairs)
    if len(pairs) == 1:
        return Difference(1, mean)
    std = statistics.stdev(pairs)
    reach = t_quantile(len(pairs) - 1) * std / math.sqrt(len(pairs))
    return Difference(len(pairs), mean, std, mean - reach, mean + reach)


def t_quantile(df: int, inside: float = 0.95) -> float:
    """The t such that P(|T| < t) = `inside` for Student's t distribution with `df` degrees of freedom.

    For integer degrees of freedom the probability is a finite sum: Abramowitz and Stegun, Handbook of Mathematical
    Functions (https://personal.math.ubc.ca/~cbm/aands/), 26.7.3 and 26.7.4. Bisection inverts it.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        angle = (low + high) / 2
        low, high = (angle, high) if _t_inside(angle, df) < inside else (low, angle)
    return math.sqrt(df) * math.tan(low)


def _t_inside(angle: float, df: int) -> float:
    """P(|T| < sqrt(df) tan(angle))."""
    odd = df % 2
    term, total = (math.cos(angle), 0.0) if odd else (1.0, 0.0)
    for k in range(1 + odd, df, 2):
        total += term
        term *= math.cos(angle) ** 2 * k / (k + 1)
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


def short(key: str) -> str:
    """The last word of a dotted knob."""
    return key.rsplit(".", 1)[-1]


def _group(runs: list[RunRecord], shown: tuple[str, ...], metric: str) -> Group:
    by_seed: dict[Any, list[float]] = {}
    for run in runs:
        value = run.number(metric)
        assert value is not None
        by_seed.setdefault(_canonical(run.seed), []).append(value)
    scores = {seed: statistics.fmean(values) for seed, values in by_seed.items()}
    return Group({key: runs[0].knobs[key] for key in shown if key in runs[0].knobs}, tuple(runs), scores)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _complain(runs: list[RunRecord], metric: str) -> None:
    where = str(runs[0].path) if len(runs) == 1 else f"{len(runs)} runs"
    numbers = sorted({key for run in runs for key in run.summary if run.number(key) is not None})
    if not numbers:
        fix = f"{runs[0].path} has {runs[0].missing or 'no number in its summary.json'}"
        raise UsageError("no finished run", where, fix)
    raise UsageError(f"no metric {metric!r}", where, did_you_mean(metric, numbers))
