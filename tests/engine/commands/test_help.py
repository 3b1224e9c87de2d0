"""`microgpt-train --help` lists every knob there is, read from sources that are not run."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from microgpt.config import defaults, fields
from microgpt.engine.commands import help as helping
from microgpt.engine.commands.accepted import Accepted
from microgpt.engine.commands.knobs import knobs, literal
from microgpt.engine.commands.sources import Sources, find_source
from microgpt.engine.commands.train import main
from microgpt.engine.commands.yaml_help import read_part
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.compose.groups import config_groups, shipped_yaml
from microgpt.engine.config import RunConfig, flatten
from microgpt.engine.optim import OptimConfig
from microgpt.engine.schedule import ScheduleConfig
from microgpt.model.pos import PositionConfig
from microgpt.registry import Choice

FAMILIES: dict[str, type[Choice]] = {
    "model.pos": PositionConfig, "optim": OptimConfig, "optim.schedule": ScheduleConfig,
}  # fmt: skip


def test_every_knob_of_every_node_is_listed_with_its_meaning() -> None:
    listed = {knob.name: knob for knob in knobs(Sources())}
    tree = flatten(defaults(RunConfig))
    assert not tree.keys() - listed.keys()
    assert [name for name, knob in listed.items() if not knob.doc] == []
    assert listed["sweep.detach"].default == "false"
    assert listed["trainer.max_steps"].default == "null"
    assert listed["lora.targets"].default == "[attn.qkv,attn.out]"
    assert listed["model.pos"].default == "rope"


@pytest.mark.parametrize("path", FAMILIES)
def test_every_member_of_a_family_is_listed_with_the_knobs_it_adds(path: str) -> None:
    listed = [(knob.name, knob.doc) for knob in knobs(Sources()) if knob.name.startswith(f"{path}.")]
    for name, member in FAMILIES[path].members.items():
        for key in fields(member).keys() - fields(FAMILIES[path]).keys():
            assert [doc for knob, doc in listed if knob == f"{path}.{key}" and f"({path}={name})" in doc], (name, key)


def test_help_begins_with_the_parts_and_sets_the_nodes_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert out.index("\nParts:\n") < out.index("\nKnobs:\n") < out.index("\nSweeps (-m):\n")
    assert "  data.tokenizer=    bpe byte char ids pretrained\n" in out
    assert "  debug=             fast none overfit profile shapes\n" in out
    assert "  eval.protocol=     blocks random sliding\n" in out
    blocks = out.split("\nKnobs:\n")[1].split("\nSweeps")[0].strip("\n").split("\n\n")
    nodes = [{line.split("=")[0].strip().rpartition(".")[0] for line in b.splitlines()[::2]} for b in blocks]
    assert [len(node) for node in nodes] == [1] * len(blocks)
    assert [*nodes[0], *nodes[1], *nodes[2], *nodes[3]] == ["", "data", "model", "model.pos"]


def test_help_lists_the_parameters_of_launchers_and_sweepers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index("      hydra.launcher.n_jobs=2") + 1].strip().startswith("Points at a time")
    assert "  hydra/launcher=slurm-gpu" in lines
    assert "      One GPU a point. As slurm, but:" in lines
    assert "      hydra.launcher.gpus_per_device=1" in lines
    assert "      hydra.sweeper.n_trials=20" in lines


@pytest.mark.parametrize("group", helping.SWEEP_GROUPS)
def test_every_parameter_of_a_shipped_launcher_or_sweeper_has_a_line(group: str) -> None:
    parts = {
        name: read_part(shipped_yaml() / group / f"{name}.yaml", group) for name in config_groups(shipped_yaml())[group]
    }
    for part in parts.values():
        assert part.summary, part.name
        explained = {knob.name for knob in part.parameters if knob.doc}
        above = part
        while above.parent:
            above = parts[above.parent]
            explained |= {knob.name for knob in above.parameters if knob.doc}
        assert {knob.name for knob in part.parameters} <= explained, part.name


MINE = """
    import nothing_of_this_name  # would fail if it were run
    from microgpt.model import pos

    class RampBase(pos.PositionConfig):
        slope: float = 0.5
        "How fast attention falls with distance."

    class RampConfig(RampBase, name="ramp"):
        '''A straight line down.'''

        length: int | None = None
        "Distance at which it ends."
"""


def test_a_users_parts_are_read_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine" / "model.pos").mkdir(parents=True)
    (tmp_path / "mine" / "model.pos" / "ramp.yaml").write_text("name: ramp\n")
    (tmp_path / "mine" / "hydra" / "launcher").mkdir(parents=True)
    (tmp_path / "mine" / "hydra" / "launcher" / "lab.yaml").write_text(
        "# The lab's machines.\ndefaults: [slurm, _self_]\nrack: 3 # Where they stand.\n"
    )
    (tmp_path / "mine" / "ramp.py").write_text(textwrap.dedent(MINE))
    words = ["--config-dir", str(tmp_path / "mine"), "imports=[ramp.py]", "--help"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "  position scheme ramp, from your own file: A straight line down.\n" in out
    assert "  model.pos=         alibi learned none ramp rope sinusoidal t5\n" in out
    assert "  model.pos.slope=0.5\n      How fast attention falls with distance. (model.pos=ramp)\n" in out
    assert "  model.pos.length=null\n      Distance at which it ends. (model.pos=ramp)\n" in out
    assert "  hydra/launcher=lab\n      The lab's machines. As slurm, but:\n" in out
    assert "      hydra.launcher.rack=3\n          Where they stand.\n" in out
    code = (
        f"import sys; from microgpt.engine.commands.train import main; assert main({words!r}) == 0; "
        "assert not {'torch', 'lightning', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["imports=[gone.py]"], "no such file 'gone.py' in imports; looked for it in gone.py"),
        (["imports=[gone_module]"], "no such file 'gone_module' in imports"),
        (["--config-dir=gone"], "no such folder 'gone' in --config-dir"),
        (["imports=[broken.py]"], "cannot read a file of your own"),
    ],
)
def test_what_help_cannot_read_is_one_error(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("class (")
    assert main([*words, "--help"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_module_is_found_without_importing_its_parents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "lab" / "ramp.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_source("lab.ramp") == tmp_path / "lab" / "ramp.py"


def test_a_default_is_written_as_it_is_typed() -> None:
    import ast

    typed = {"None": "null", "True": "true", "(0.9, 0.95)": "[0.9,0.95]", "10_000.0": "10000.0", "'a'": "a", "X": "X"}
    assert {text: literal(ast.parse(text, mode="eval").body) for text in typed} == typed


def test_the_defaults_are_those_of_a_plain_run_and_are_read_back_as_typed() -> None:
    accepted = Accepted(Sources())
    shown = {knob.name: knob.default for knob in map(accepted.explained, knobs(Sources())) if not knob.choice}
    plain = flatten(compose_run([]).config.to_dict())
    assert (shown["trainer.max_steps"], shown["data.batch_size"]) == ("600", "32")
    assert (shown["optim.lr"], shown["sample.prompts"]) == ("0.02", "['']")
    given = [f"{name}={value}" for name, value in shown.items() if name in plain and name != "trainer.max_epochs"]
    assert len(given) > 60
    kept = [word for word in given if word.partition("=")[0] not in ("data.corpus", "data.path", "data.url")]
    assert flatten(compose_run(kept).config.to_dict()) == plain


def test_every_knob_of_limited_values_lists_them() -> None:
    accepted = Accepted(Sources())
    listed = {(knob.name, knob.choice): accepted.explained(knob).doc for knob in knobs(Sources())}
    assert "[pre, post, sandwich]" in listed["model.norm_place", ""]
    assert "[true, false, auto]" in listed["trainer.compile", ""]
    assert "[bpe, byte, char, ids, pretrained]" in listed["data.tokenizer", ""]
    assert "[at least 1, null]" in listed["trainer.max_steps", ""]
    assert "[above 0]" in listed["model.pos.theta", "model.pos=rope"]
    assert len([doc for doc in listed.values() if doc.endswith("]")]) > 60


@pytest.mark.parametrize("path", FAMILIES)
def test_help_of_a_part_shows_its_paper_and_all_its_knobs(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name, member in FAMILIES[path].members.items():
        if not member.__module__.startswith("microgpt."):
            continue
        assert main(["--help", f"{path}.{name}"]) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"{path}={name}: ")
        assert ("https://" in out) == ("https://" in str(sys.modules[member.__module__].__doc__))
        assert {line.split("=")[0].strip() for line in out.splitlines() if line.startswith(f"  {path}.")} == {
            f"{path}.{key}" for key in fields(member)
        }


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trainer.max_steps", "trainer.max_steps=600\n    Optimizer steps"),
        ("eval", "eval.protocol=blocks\n"),
        ("model.gpt-nano", "# Three layers, 90 thousand weights"),
        ("experiment.speedrun/plain", "microgpt-train experiment=speedrun/plain"),
        ("data.tokenizer.bpe", "https://arxiv.org/abs/1508.07909"),
        ("eval.protocol.sliding", "eval.protocol=sliding: "),
        ("experiment", "experiment=quick\n    The default: a minute or two on a laptop's CPU.\n"),
        ("debug", "debug=shapes\n    The shapes of one forward pass"),
    ],
)
def test_help_of_a_word_shows_what_it_names(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word, "--help"]) == 0
    assert said in capsys.readouterr().out


def test_help_of_an_unknown_word_suggests_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help", "optim.mun"]) == 2
    assert capsys.readouterr().err == (
        "microgpt: error: nothing is called 'optim.mun' in --help; did you mean 'optim.muon'?\n"
    )
