"""Every logger, offline, with its real library: all metrics by name, and a resumed run continues its record."""

import csv
import importlib.util
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from microgpt import train
from microgpt.engine.addons import LoggerConfig, import_shipped
from microgpt.engine.fit.runlog import columns

Curves = dict[str, list[tuple[int, float]]]
TEXT, FIGURE = "samples/0", "figures/"


def of_metrics_csv(folder: Path) -> Curves:
    found: Curves = defaultdict(list)
    with (folder / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if name != "step" and value:
                    found[name].append((int(row["step"]), float(value)))
    return dict(found)


def of_tensorboard(folder: Path) -> Curves:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    assert f"{TEXT}/text_summary" in events.Tags()["tensors"]
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def of_mlflow(folder: Path) -> Curves:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("microgpt")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.params["trainer.max_steps"]) == ("FINISHED", "6")
    assert [file.path for file in client.list_artifacts(run.info.run_id, TEXT)] == [
        f"{TEXT}/{step:08d}.md" for step in (3, 6, 9)
    ]
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: [(entry.step, entry.value) for entry in history] for name, history in histories.items()}


def of_wandb(folder: Path) -> Curves:
    from wandb.proto import wandb_internal_pb2

    run_id = (folder / "wandb.id").read_text().strip()
    parts = sorted((folder / "wandb").glob("offline-run-*"))
    assert [part.name[-len(run_id) :] for part in parts] == [run_id] * 2  # `wandb sync` makes one run of them
    found: Curves = defaultdict(list)
    texts = 0
    for part in parts:
        (file,) = part.glob("*.wandb")
        for data in log_records(file.read_bytes()):
            record = vars(wandb_internal_pb2)["Record"].FromString(data)
            items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            texts += any(name.startswith(TEXT) for name in items)
            for name, value in items.items():
                if not name.startswith("_") and isinstance(value, (int, float)):
                    found[name].append((items["trainer/global_step"], value))
    assert texts == 3
    del found["trainer/global_step"]
    return dict(found)


def log_records(data: bytes) -> Iterator[bytes]:
    """The records of a file of W&B: LevelDB's log (https://github.com/google/leveldb/blob/main/doc/log_format.md)."""
    assert data[:4] == b":W&B"
    place, block, held = 7, 1 << 15, b""
    while place + 7 <= len(data):
        if (left := block - place % block) < 7:
            place += left
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        held += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield held
            held = b""


READERS: dict[str, tuple[str, list[str], Callable[[Path], Curves]]] = {
    "csv": ("csv", [], of_metrics_csv),
    "tensorboard": ("tensorboard", [], of_tensorboard),
    "mlflow": ("mlflow", [], of_mlflow),
    "wandb": ("wandb", ["logger.wandb.offline=true"], of_wandb),
}
"""A logger's word: its package, knobs to stay offline, and a reader of its record."""


def test_every_shipped_logger_is_tried() -> None:
    import_shipped()
    shipped = {name for name, member in LoggerConfig.members.items() if member.__module__.startswith("microgpt.")}
    assert READERS.keys() == {"csv"} | shipped


@pytest.mark.parametrize("logger", READERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the database library that MLflow uses
def test_a_logger_has_every_metric_and_a_resumed_run_continues_its_record(
    logger: str, tiny: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, more, read = READERS[logger]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"a logger's package, {package}, is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    knobs = tiny(f"logger={logger}", *more, "optim.schedule=constant", "optim.warmup_steps=0",
                 "sample.every_n_steps=3", "sample.prompts=[the]")  # fmt: skip
    train(knobs)
    train([*knobs, "trainer.max_steps=9"])
    expected, found = of_metrics_csv(tmp_path / "run"), read(tmp_path / "run")
    assert expected.keys() == set(columns()) - {"step"}
    assert [step for step, _ in expected["train/loss"]] == list(range(1, 10))
    assert [step for step, _ in expected["val/loss"]] == [3, 6, 9]
    shared = {name: curve for name, curve in found.items() if name in expected}
    assert expected.keys() - shared.keys() <= {"tokens", "seconds"}
    for name, curve in shared.items():
        assert [step for step, _ in curve] == [step for step, _ in expected[name]], name
        assert [value for _, value in curve] == pytest.approx([value for _, value in expected[name]], rel=1e-6), name
