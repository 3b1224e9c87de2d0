"""Paths reach a run as the shell passed them on, whatever Hydra's grammar makes of their characters."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from microgpt.config import flatten
from microgpt.engine.commands.train import main
from microgpt.engine.compose.compose import check_sweep, compose_run, run_config
from microgpt.engine.compose.overrides import with_quotes
from microgpt.engine.compose.texts import as_texts, text_knobs
from microgpt.errors import UsageError

ODD = (
    "a=b.txt", "a b.txt", "a, b.txt", "a[1].txt", "a(2).txt", "it's.txt", 'say "x".txt', "é.txt", "日本.txt",
    "a{b}.txt", "a;b|c&d.txt", "a!b#c%d@e^f.txt", "a\\b.txt", "a\\", "2024", "1e5", "true", "007", "a:b.txt", "-a.txt",
    "~a.txt", "a~b", "[ab]*.txt", "choice(a)", "a'b\\'c", "+x", "a$b", "a*b?.txt",
)  # fmt: skip
KNOBS = ("data.path", "model.pretrained", "data.cache_dir", "hydra.run.dir", "logger.wandb.project")


def values(*overrides: str) -> dict[str, Any]:
    composed = compose_run(overrides)
    return flatten(composed.config.to_dict()) | {"hydra.run.dir": str(composed.run_dir)}


def value_of(knob: str, *overrides: str) -> Any:
    return values(*overrides)[knob]


@pytest.mark.parametrize("name", ODD)
def test_a_text_is_taken_as_typed_and_in_the_quotes_that_an_error_shows(name: str) -> None:
    (shown,) = shlex.split(with_quotes(f"data.url={name}"))
    with pytest.raises(UsageError, match=r"^data\.url: ") as error:
        compose_run([shown])
    assert repr(name) in str(error.value)
    found = values("logger=wandb", *(f"{knob}={name}" for knob in KNOBS))
    assert {knob: found[knob] for knob in KNOBS} == dict.fromkeys(KNOBS, name)


@pytest.mark.parametrize(
    ("typed", "value"),
    [("'a,b.txt'", "a,b.txt"), ('"a b"', "a b"), ("null", None), ("${model.init}.txt", "zero.txt"), ("", "")],
)
def test_a_value_with_a_meaning_of_hydras_keeps_it(typed: str, value: str | None) -> None:
    if typed == "":
        with pytest.raises(UsageError, match=r"data\.path: an empty path"):
            compose_run([f"data.path={typed}"])
        return
    assert value_of("data.path", f"data.path={typed}") == value


def test_a_comma_belongs_to_a_path_that_exists_and_else_asks_for_a_sweep_or_quotes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"several values, 'data\.path=a,b\.txt' .* add -m ") as error:
        compose_run(["data.path=a,b.txt"])
    (typed,) = shlex.split(str(error.value).rpartition("comma: ")[2].replace('\\"', '"'))
    assert value_of("data.path", typed) == "a,b.txt"
    Path("a,b.txt").touch()
    assert value_of("data.path", "data.path=a,b.txt") == "a,b.txt"
    assert as_texts("data.path=a,b.txt", {"data.path": "text"}, is_sweep=True) == "data.path='a,b.txt'"
    assert as_texts("data.path=a,c.txt", {"data.path": "text"}, is_sweep=True) == "data.path=a,c.txt"
    assert value_of("hydra.run.dir", "hydra.run.dir=a,c") == "a,c"
    check_sweep(run_config(), ["data.path=a,c.txt", "model.pretrained=x (1)"])


def test_the_home_folder_is_expanded_where_the_shell_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert value_of("data.path", "data.path=~/a b.txt") == f"{tmp_path}/a b.txt"
    assert value_of("hydra.run.dir", "hydra.run.dir=~/runs") == f"{tmp_path}/runs"
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "thin.yaml").write_text("n_layer: 1\n")
    assert main(["--config-dir", "~/mine", "model=thin", "plan=true"]) == 0
    assert main(["--config-dir=~/mine", "model=thin", "plan=true"]) == 0
    assert main(["-m", "--config-dir", "~/mine", "model=thin", "model.n_head=3"]) == 2


@pytest.mark.parametrize("name", ODD)
def test_a_config_dir_may_have_any_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name / "model").mkdir(parents=True)
    (tmp_path / name / "model" / "thin.yaml").write_text("n_layer: 1\n")
    assert compose_run(["model=thin"], tmp_path / name).config.model.n_layer == 1


def test_a_run_trains_on_a_path_and_in_a_folder_of_odd_names(tmp_path: Path, book: Path, tiny: Any) -> None:
    text = tmp_path / "it's (1), a=b [é].txt"
    text.write_bytes(book.read_bytes())
    folder = tmp_path / "run = (1), [é]"
    assert main([*tiny(), f"data.path={text}", f"hydra.run.dir={folder}", "trainer.max_steps=1"]) == 0
    assert (folder / "summary.json").is_file()
    assert main([*tiny(), f"data.path={text}", f"hydra.run.dir={folder}", "trainer.max_steps=1"]) == 0


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("[a b,c=d]", ["a b", "c=d"]),
        ("[(x).*,blocks.0.*]", ["(x).*", "blocks.0.*"]),
        ("['a,b',c]", ["a,b", "c"]),
        ("[é]", ["é"]),
    ],
)
def test_the_items_of_a_list_of_texts_are_taken_as_typed(typed: str, values: list[str]) -> None:
    assert value_of("trainer.freeze", f"trainer.freeze={typed}") == values


def test_text_knobs_are_those_that_the_types_say() -> None:
    found = text_knobs(run_config())
    assert {found[knob] for knob in KNOBS if knob != "hydra.run.dir"} == {"text"}
    assert {knob for knob, kind in found.items() if kind == "texts"} >= {"imports", "trainer.freeze", "sample.prompts"}
    assert not {"data.tokenizer", "model.n_layer", "trainer.precision", "model.pos"} & found.keys()
