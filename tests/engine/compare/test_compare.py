"""Comparing runs: what is grouped, what is counted, and the exact tables for a planted folder of runs."""

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from microgpt.engine.commands.compare import main
from microgpt.engine.compare.compare import difference, summarise, t_quantile, telling_knobs
from microgpt.engine.compare.tables import as_csv, as_json, as_latex, as_markdown, as_text
from microgpt.engine.store.left_error import leave_error
from microgpt.errors import CheckpointError, NonFiniteError, UsageError

ROPE: dict[str, Any] = {"name": "rope", "theta": 10000.0, "fraction": 1.0}


def plant(folder: Path, pos: Any, seed: int, summary: Mapping[str, Any] | None = None, **optim: Any) -> Path:
    """A run folder as training leaves it; without a summary, one that failed."""
    folder.mkdir(parents=True)
    config = {"seed": seed, "model": {"n_layer": 4, "pos": pos}, "optim": {"name": "adamw", "lr": 1e-3} | optim}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    if summary is not None:
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def scored(loss: float, seconds: float = 100.0) -> dict[str, Any]:
    more = {"params": 10_646_784, "train_seconds": seconds, "tokens_per_second": 12_345.0, "step": 1000}
    return {"val/loss": loss, "val/bpc": round(loss / 0.7, 4)} | more


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "sweep"
    for i, (seed, loss) in enumerate([(1, 1.50), (2, 1.52), (3, 1.54)]):
        plant(folder / str(i), ROPE, seed, scored(loss))
    for i, (seed, loss) in enumerate([(1, 1.60), (2, 1.63), (3, 1.63)]):
        plant(folder / str(3 + i), {"name": "alibi"}, seed, scored(loss, 120))
    plant(folder / "6", {"name": "learned"}, 2, scored(1.70, 80))
    plant(folder / "7", {"name": "learned"}, 1)
    (folder / "8").mkdir()
    (folder / ".submitit" / "12_0").mkdir(parents=True)
    (folder / "multirun.yaml").write_text("{}")
    return folder


def test_the_table_of_a_planted_sweep_is_exact(sweep: Path) -> None:
    # alibi minus rope, seed by seed: 0.10, 0.11, 0.09; t of 2 degrees of freedom 4.3027, over sqrt(3): 0.0248
    assert (
        as_text(summarise([sweep]))
        == f"""\
model.pos  n         val/loss     bpc  params  seconds  tokens/s           to best        95% interval
---------  -  ---------------  ------  ------  -------  --------  ----------------  ------------------
rope       3  1.5200 ± 0.0200  2.1714   10.6M    100.0    12,345                 -                   -
alibi      3  1.6200 ± 0.0173  2.3143   10.6M    120.0    12,345  +0.1000 ± 0.0100  [+0.0752, +0.1248]
learned    1           1.7000  2.4286   10.6M     80.0    12,345           +0.1800                   -

Not counted (2):
  {sweep}/7: no summary.json
  {sweep}/8: no config.yaml and no summary.json
"""
    )


def test_a_failed_point_is_listed_with_its_error(sweep: Path) -> None:
    leave_error(sweep / "7", 0, NonFiniteError("the loss is not finite at step 3", "", "lower optim.lr"))
    leave_error(sweep / "6", 0, NonFiniteError("of an earlier start", "", ""))  # which a later one has made good
    assert as_text(summarise([sweep])).endswith(
        f"\nNot counted (2):\n  {sweep}/7: failed: the loss is not finite at step 3\n"
        f"  {sweep}/8: no config.yaml and no summary.json\n"
    )


def test_the_command_prints_the_table_and_a_single_run_has_one_row(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(sweep)]) == 0
    assert capsys.readouterr().out == as_text(summarise([sweep]))
    assert main([str(sweep / "0")]) == 0
    assert capsys.readouterr().out.splitlines()[2].split() == ["1", "1.5000", "2.1429", "10.6M", "100.0", "12,345"]


def test_markdown_is_exact(sweep: Path) -> None:
    assert as_markdown(summarise([sweep / "0", sweep / "3"])) == (
        "| model.pos | n | val/loss | bpc | params | seconds | tokens/s | to best | 95% interval |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| **rope** | **1** | **1.5000** | **2.1429** | **10.6M** | **100.0** | **12,345** | - | - |\n"
        "| alibi | 1 | 1.6000 | 2.2857 | 10.6M | 120.0 | 12,345 | +0.1000 | - |\n"
    )


def test_latex_and_markdown_escape_what_would_break_them(tmp_path: Path) -> None:
    plant(tmp_path / "0", "a_b & 100% \\x{$}^~|#\x1b[31m", 1, {"val/loss": 1.0})
    plant(tmp_path / "1", "rope", 1, {"val/loss": 2.0})
    comparison = summarise([tmp_path])
    escaped = r"a\_b \& 100\% \textbackslash{}x\{\$\}\textasciicircum{}\textasciitilde{}|\#\textbackslash{}x1b[31m"
    assert as_latex(comparison) == (
        "\\begin{tabular}{lrrrr}\n\\toprule\nmodel.pos & n & val/loss & to best & 95\\% interval \\\\\n\\midrule\n"
        f"\\textbf{{{escaped}}} & \\textbf{{1}} & \\textbf{{1.0000}} & - & - \\\\\n"
        "rope & 1 & 2.0000 & +1.0000 & - \\\\\n\\bottomrule\n\\end{tabular}\n"
    )
    assert r"| **a\_b & 100% \\x{$}^~\|#\\x1b[31m** |" in as_markdown(comparison)
    assert "\x1b" not in as_text(comparison) + as_csv(comparison).replace("\x1b[31m", "")


def test_csv_and_json_carry_every_digit(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    comparison = summarise([sweep])
    rows = list(csv.DictReader(io.StringIO(as_csv(comparison))))
    assert [row["model.pos"] for row in rows] == ["rope", "alibi", "learned"]
    assert float(rows[1]["val/loss_std"]) == comparison.groups[1].std
    assert rows[0]["difference_mean"] == rows[2]["difference_std"] == ""
    assert main([str(sweep), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads(as_json(comparison))
    assert content["groups"][1]["difference"]["n"] == 3
    assert content["groups"][1]["scores"] == {"1": 1.60, "2": 1.63, "3": 1.63}
    assert [Path(run["path"]).name for run in content["incomplete"]] == ["7", "8"]


def test_differences_pair_the_seeds_that_both_ran() -> None:
    assert difference({1: 2.0, 2: 2.5}, {3: 1.0}) is None
    one = difference({1: 2.0, 2: 2.5}, {2: 1.0, 3: 1.0})
    assert one is not None
    assert (one.n, one.mean, one.std, one.low) == (1, 1.5, None, None)
    two = difference({1: 2.0, 2: 2.5}, {1: 1.0, 2: 1.0, 3: 9.0})
    assert two is not None
    assert two.mean == 1.25
    assert two.std == pytest.approx(0.5 / math.sqrt(2))
    assert two.high == pytest.approx(1.25 + 12.706205 * 0.25)


@pytest.mark.parametrize(
    ("df", "t"), [(1, 12.706205), (2, 4.302653), (3, 3.182446), (4, 2.776445), (9, 2.262157), (30, 2.042272)]
)
def test_t_quantiles_are_those_of_the_tables(df: int, t: float) -> None:
    assert t_quantile(df) == pytest.approx(t, abs=1e-6)


def test_knobs_that_another_choice_implies_are_not_shown() -> None:
    rope, alibi = {"pos": "rope", "pos.theta": 1e4, "lr": 1}, {"pos": "alibi", "lr": 1}
    assert telling_knobs([rope, alibi]) == ("pos",)
    assert telling_knobs([rope, alibi, {**rope, "pos.theta": 5e5}]) == ("pos", "pos.theta")
    assert telling_knobs([{"lr": 1}, {"lr": 1, "clip": 1.0}]) == ("clip",)
    assert telling_knobs([rope]) == ()


def test_a_seed_run_twice_counts_once(tmp_path: Path) -> None:
    for i, (seed, loss) in enumerate([(1, 1.0), (1, 2.0), (2, 3.0)]):
        plant(tmp_path / str(i), "rope", seed, {"val/loss": loss})
    (group,) = summarise([tmp_path]).groups
    assert (group.n, group.mean, len(group.runs)) == (2, 2.25, 3)


def test_a_learning_rate_is_one_knob_however_yaml_writes_it(tmp_path: Path) -> None:
    plant(tmp_path / "0", "rope", 1, {"val/loss": 1.0}, lr=0.0001)
    plant(tmp_path / "1", "rope", 2, {"val/loss": 1.0}, lr="1e-4")
    run = plant(tmp_path / "2", "rope", 3, {"val/loss": 1.0}, lr=0.0001)
    config = OmegaConf.create(yaml.safe_load((run / "config.yaml").read_text()))
    (run / "config.yaml").write_text(OmegaConf.to_yaml(config))  # as training writes it
    assert [group.n for group in summarise([tmp_path]).groups] == [3]


def test_a_run_given_twice_counts_once_and_folders_of_sweeps_are_searched(sweep: Path) -> None:
    groups = summarise([sweep / "0", sweep, sweep.parent, sweep / ".." / "sweep"]).groups
    assert [len(group.runs) for group in groups] == [3, 3, 1]


def test_one_folder_may_come_alone(sweep: Path) -> None:
    assert as_text(summarise(str(sweep))) == as_text(summarise(sweep)) == as_text(summarise([sweep]))


def test_more_is_better_for_accuracy(tmp_path: Path) -> None:
    plant(tmp_path / "0", "rope", 1, {"val/accuracy": 0.4})
    plant(tmp_path / "1", "alibi", 1, {"val/accuracy": 0.6})
    best = summarise([tmp_path], metric="val/accuracy").groups[0]
    assert best.knobs == {"model.pos": "alibi"}


def test_a_run_whose_loss_is_not_finite_is_left_out_by_name(sweep: Path) -> None:
    (sweep / "0" / "summary.json").write_text('{"val/loss": NaN}')
    comparison = summarise([sweep])
    assert comparison.incomplete[0].missing == "no finite val/loss in summary.json"
    assert {group.knobs["model.pos"]: group.n for group in comparison.groups} == {"rope": 2, "alibi": 3, "learned": 1}


def test_errors_name_the_place_and_the_way_out(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = sweep.parent / "empty"
    empty.mkdir()
    for arguments, code, words in [
        ([str(sweep / "nope")], 4, "no such folder: "),
        ([str(empty)], 4, "no run in"),
        ([str(sweep), "--metric", "val/los"], 2, "no metric 'val/los' in 9 runs; did you mean 'val/loss'?"),
        ([str(sweep / "7")], 2, "has no summary.json"),
    ]:
        assert main(arguments) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("microgpt: error: ")
        assert words in captured.err
        assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", b'{"val/loss": '),
        ("summary.json", b"[1, 2]"),
        ("summary.json", b"\xff\xfe"),
        ("summary.json", b"[" * 100_000),
        ("config.yaml", b"a: [1"),
        ("config.yaml", b"a: !!python/object/apply:os.system ['true']"),
        ("config.yaml", b"a: &a [x, x]\nb: [*a, *a]"),
        ("config.yaml", b"a: " + b"x" * (4 << 20)),
    ],
    ids=["cut", "list", "encoding", "deep", "yaml", "tag", "alias", "huge"],
)
def test_damaged_files_are_one_error_that_names_them(sweep: Path, name: str, content: bytes) -> None:
    (sweep / "4" / name).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        summarise([sweep])
    assert str(sweep / "4" / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_metric_is_wrong_use(sweep: Path) -> None:
    with pytest.raises(UsageError, match="one of params, step"):
        summarise([sweep], metric="xyzzy")


def test_figures_are_drawn_for_curves_knobs_and_time(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    plant(sweep / "9", ROPE, 1, scored(1.4), lr=0.1)
    for run in range(7):
        lines = [f"{step},{2 - step / 1000},{'' if step % 50 else 1.9 - step / 1000}" for step in range(0, 500, 10)]
        (sweep / str(run) / "metrics.csv").write_text("\n".join(["step,train/loss,val/loss", *lines, "500,1."]))
    assert main([str(sweep), "--figures", str(sweep / "figures")]) == 0
    drawn = sorted((sweep / "figures").iterdir())
    assert [path.name for path in drawn] == [
        "loss-curves.png",
        "quality-by-time.png",
        "score-by-model.pos.png",
        "score-by-optim.lr.png",
        "score-by-two-knobs.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000 for path in drawn)
    assert capsys.readouterr().err.count("wrote ") == 5


def test_figures_that_cannot_be_written_are_an_error_of_the_machine(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    assert main([str(sweep), "--figures", str(sweep / "multirun.yaml")]) == 5
    assert "cannot write figures" in capsys.readouterr().err
