"""A folder of YAML runs no code that the command line does not name."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from microgpt.engine.commands import evaluate, generate
from microgpt.engine.commands.train import main
from microgpt.engine.compose.compose import check_sweep, compose_run, run_config
from microgpt.engine.compose.groups import shipped_yaml
from microgpt.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stranger's folder, whose code leaves a file `ran` when it is run."""
    mine = tmp_path / "mine"
    (mine / "experiment").mkdir(parents=True)
    (mine / "x.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    return mine


def experiment(folder: Path, text: str) -> str:
    (folder / "experiment" / "theirs.yaml").write_text(f"# @package _global_\n{text}\n")
    return "experiment=theirs"


def test_imports_of_a_file_are_refused_until_they_are_typed_or_trusted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config-dir", str(folder), experiment(folder, "imports: [x.py]"), "plan=true"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "asks to run x.py" in error
    assert "allow it with imports=[x.py] or --trust" in error
    assert error.count("\n") == 1
    assert main(["-m", *words]) == 2
    assert not (tmp_path / "ran").exists()
    compose_run([words[2], "imports=[x.py]"], folder)
    assert (tmp_path / "ran").exists()


def test_a_trusted_folder_may_import(folder: Path, tmp_path: Path) -> None:
    words = ["--config-dir", str(folder), experiment(folder, "imports: [x.py]"), "model.n_layer=0"]
    assert main(words) == 2
    assert not (tmp_path / "ran").exists()
    assert main([*words, "--trust"]) == 2
    assert (tmp_path / "ran").exists()


CODE = {
    "hydra: {callbacks: {a: {_target_: os.mkdir}}}": "hydra.callbacks",
    "hydra: {launcher: {_target_: os.mkdir}}": "hydra.launcher._target_",
    "hydra: {sweeper: {_target_: os.mkdir}}": "hydra.sweeper._target_",
    "hydra: {sweeper: {params: {a: {_target_: os.mkdir}}}}": "hydra.sweeper.params.a._target_",
    "hydra: {job_logging: {handlers: {a: {class: os.mkdir}}}}": "hydra.job_logging.handlers.a.class",
    "hydra: {job_logging: {handlers: {a: {'()': os.mkdir}}}}": "hydra.job_logging.handlers.a.()",
    "hydra: {hydra_logging: {formatters: {a: {'()': os.mkdir}}}}": "hydra.hydra_logging.formatters.a.()",
    "hydra: {job_logging: {handlers: {a: {x: ext://os.mkdir}}}}": "hydra.job_logging.handlers.a.x",
    "defaults: [override /hydra/launcher: slurm]\nhydra: {launcher: {setup: [rm -rf x]}}": "hydra.launcher.setup",
}


@pytest.mark.parametrize("text", CODE)
def test_code_in_hydras_node_is_refused_where_it_stands(folder: Path, text: str) -> None:
    word = experiment(folder, text)
    with pytest.raises(UsageError, match=r"a YAML file asks to run .*--trust") as error:
        compose_run([word], folder)
    assert error.value.where == CODE[text]
    with pytest.raises(UsageError, match=r"a YAML file asks to run"):
        check_sweep(run_config(), [word, "seed=1,2"], folder)


def test_the_shipped_launchers_and_sweepers_need_no_consent() -> None:
    for launcher in sorted((shipped_yaml() / "hydra" / "launcher").glob("*.yaml")):
        compose_run([f"hydra/launcher={launcher.stem}"])
    compose_run(["experiment=search"])
    compose_run(["hydra/launcher=slurm", "hydra.launcher.setup=[module load x]"])


def test_a_launcher_that_is_typed_may_say_how_jobs_begin(folder: Path) -> None:
    (folder / "hydra" / "launcher").mkdir(parents=True)
    (folder / "hydra" / "launcher" / "lab.yaml").write_text("defaults: [slurm, _self_]\nsetup: [module load x]\n")
    compose_run(["hydra/launcher=lab"], folder)
    with pytest.raises(UsageError, match=r"'\[?.*module load x"):
        compose_run([experiment(folder, "defaults: [override /hydra/launcher: lab]")], folder)


def test_a_run_folders_imports_are_run_by_no_command_that_opens_it(
    tmp_path: Path, tiny: Callable[..., list[str]], folder: Path
) -> None:
    assert main([*tiny(), "trainer.max_steps=1"]) == 0
    run = tmp_path / "run"
    text = (run / "config.yaml").read_text()
    assert "imports: []" in text
    (run / "config.yaml").write_text(text.replace("imports: []", f"imports: [{folder / 'x.py'}]"))
    for file in (run / "model" / "config.json", *run.glob("checkpoints/*/manifest.json")):
        values = json.loads(file.read_text())
        values["imports"] = [str(folder / "x.py")]
        if file.name == "config.json":
            file.write_text(json.dumps(values))
    for command in (generate.main, evaluate.main):
        command([str(run)])
    main([*tiny(), "trainer.max_steps=2"])
    assert not (tmp_path / "ran").exists()
