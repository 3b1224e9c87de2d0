"""The catalogue of bad input: an exit code, one line with what, where and how to fix it, and nothing left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import campaign_rig
import microgpt
from microgpt.engine.commands import evaluate, generate, train
from microgpt.engine.machine import device as machine
from microgpt.engine.store import checkpoint
from microgpt.engine.store import run_folder as rundir
from microgpt.engine.store.claim import claimed
from microgpt.model.kernels import hardware
from microgpt.model.kernels.hardware import detect

Tiny = Callable[..., list[str]]
KNOBS = [
    ("data.path=missing.txt", 3, "no such file or folder: missing.txt"),
    ("data.path=.", 0, ""),
    ("data.batch_size=0", 2, "data.batch_size: 0 is out of range; it must be at least 1"),
    ("data.batch_size=-1", 2, "data.batch_size: -1 is out of range"),
    ("trainer.max_steps=0", 2, "trainer.max_steps: 0 is out of range"),
    ("model.n_layer=0", 2, "model.n_layer: 0 is out of range"),
    ("model.n_embd=50", 2, "model.n_embd: n_embd 50 is not a multiple of n_head 3; n_embd=51 is"),
    ("model.n_embd=9", 2, "model.pos"),
    ("model.dropout=1", 2, "model.dropout: 1.0 is out of range"),
    ("model.dropout=-0.1", 2, "model.dropout: -0.1 is out of range"),
    ("model.dropout=nan", 2, "model.dropout: nan is not a finite number; it must be at least 0 and below 1"),
    ("model.n_layr=2", 2, "model.n_layr: unknown key; did you mean 'n_layer'?"),
    ("modle=gpt2", 2, "did you mean 'model'?"),
    ("model=gpt3", 2, "no such choice 'gpt3'; did you mean"),
    ("model.pos=ropes", 2, "no such choice 'ropes'; did you mean 'rope'?"),
    ("optim=adam", 2, "did you mean 'adamw'?"),
    ("seed=-1", 2, "seed: -1 is out of range; it must be from 0 to 2^63 - 1"),
    ("seed=9223372036854775808", 2, "seed: 9223372036854775808 is "),
    ("optim.lr=0", 2, "optim.lr: 0.0 is out of range"),
    ("optim.lr=fast", 2, "optim.lr: 'fast' is not a number"),
    ("trainer.micro_batch_size=3", 2, "3 does not divide the 8 sequences of each device"),
    ("trainer.precision=16-mixed", 5, "needs a GPU in this machine; take bf16-mixed or 32-true"),
    ("trainer.accelerator=mps", 5, "no mps device in this machine"),
    ("trainer.accelerator=cuda", 5, "no cuda device in this machine"),
    ("data.encoding=utf-9", 2, "data.encoding: unknown encoding 'utf-9'"),
    ("resume=must", 4, "no checkpoint to resume from"),
    ("sample.top_p=0", 2, "sample.top_p: 0.0 is out of range"),
    ("sample.temperature=-1", 2, "sample.temperature: -1.0 is out of range"),
    ("sample.prompts=[a,č]", 3, "'č' U+010D, the first at position 0 in sample.prompts, 'č'"),
    ('sample.prompts=[a,"č"]', 3, "'č' U+010D, the first at position 0 in sample.prompts, 'č'"),
    ("sample.max_new_tokens=-1", 2, "sample.max_new_tokens: -1 is out of range"),
    ("hydra.run.dir=book.txt", 5, "cannot write"),
    ("hydra.run.dir=book.txt/run", 5, "cannot write"),
    ("hydra.run.dir=/proc/run", 5, "cannot write"),
]
PROMPTS = [
    (["--prompt", "č"], 3, "character outside the vocabulary: 'č' U+010D, the first at position 0"),
    (["--prompt", "\udcff"], 3, "outside the vocabulary"),
    (["--temperature", "-1"], 2, "temperature"),
    (["--temperature", "nan"], 2, "temperature"),
    (["--top-p", "0"], 2, "top_p"),
    (["--top-p", "1.5"], 2, "top_p"),
    (["--top-k", "0"], 2, "top_k"),
    (["--min-p", "2"], 2, "min_p"),
    (["--max-new-tokens", "-1"], 2, "-1"),
    (["--num-samples", "0"], 2, "0 samples"),
    (["--device", "tpu"], 2, "no such device 'tpu'"),
    (["--device", "cuda"], 5, "no cuda device"),
    (["--seed", "x"], 2, "argument --seed: 'x' is not a whole number"),
    (["--nonsense"], 2, "unrecognized arguments: --nonsense"),
    (["--top-k", "100000"], 2, "vocabulary"),
    (["--temperature", "0"], 0, ""),
    (["--prompt", ""], 0, ""),
    (["--max-new-tokens", "0"], 0, ""),
]


def check(code: int, want: int, said: str, captured: Any) -> None:
    assert (code, captured.err) == (want, captured.err)
    assert "Traceback" not in captured.err
    lines = [line for line in captured.err.splitlines() if line]
    if want == 0:
        assert not [line for line in lines if "error" in line]
        return
    assert len(lines) == 1, lines
    assert lines[0].startswith("microgpt: error: ")
    assert said in lines[0]


@pytest.fixture
def here(book: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(book.parent)
    return book.parent


@pytest.mark.parametrize(("knob", "code", "said"), KNOBS, ids=[knob for knob, *_ in KNOBS])
def test_a_bad_knob(
    knob: str, code: int, said: str, tiny: Tiny, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "cuda" in knob or "16-mixed" in knob:
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    check(train.main(tiny(knob)), code, said, capsys.readouterr())
    if code:
        assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before
        assert not (here / "run").exists()


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"", 3, "an empty text"),
        (b"abcdefgh", 3, "but a window takes 17"),
        (b"abc " * 99 + b"\xff" + b"x" * 99, 3, "byte 0xff at offset 396 is not utf-8"),
        (("abc " * 99).encode("utf-16"), 3, "byte 0xff at offset 0 is not utf-8"),
        (b"\xef\xbb\xbf" + b"with a BOM\n" * 99, 0, ""),
        (b"with CRLF\r\n" * 99, 0, ""),
        (b"with a \0 NUL\n" * 99, 0, ""),
        (b"x" * 1000 + b"y" * 300_000, 0, ""),
        ("😀 emoji, e\u0301 combined\n".encode() * 99, 0, ""),
        ("lone \ud800 surrogate\n".encode("utf-8", "surrogatepass") * 99, 3, "byte 0xed at offset 5 is not utf-8"),
    ],
    ids="empty short invalid utf-16 bom crlf nul long-line emoji surrogate".split(),
)
def test_a_text(
    data: bytes, code: int, said: str, tiny: Tiny, book: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book.write_bytes(data)
    check(train.main(tiny("trainer.max_steps=2")), code, said, capsys.readouterr())
    assert (here / "run").exists() == (code == 0)


def test_one_unique_character_warns_and_trains(tiny: Tiny, book: Path) -> None:
    book.write_text("a" * 500)
    with pytest.warns(UserWarning, match="one unique character"):
        assert train.main(tiny("trainer.max_steps=2")) == 0


def test_one_line_of_100_mb_trains_in_little_memory(
    tiny: Tiny, book: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with book.open("wb") as file:
        for _ in range(100):
            file.write(bytes(range(97, 123)) * 40_000)  # 1.04 MB
    before = psutil.Process().memory_info().rss
    words = tiny("trainer.max_steps=2", "data.val_fraction=1e-5")
    _, status, used = os.wait4(campaign_rig.forked(lambda: train.main(words), here / "out.txt"), 0)
    said = (here / "out.txt").read_text()
    assert os.waitstatus_to_exitcode(status) == 0, said
    assert "104,000,000 tokens, 26 different" in said
    assert used.ru_maxrss * 1024 - before < 450e6


def test_a_vocabulary_over_65_535_trains_and_is_kept_whole(tiny: Tiny, book: Path, here: Path) -> None:
    book.write_text("".join(chr(0x10000 + i) for i in range(70_000)), encoding="utf-8")
    assert train.main(tiny("trainer.max_steps=1", "data.val_fraction=0.001", "model.n_embd=12")) == 0
    run = microgpt.load(here / "run")
    assert run.summary["vocab_size"] == 70_000
    assert run.tokenizer.decode(run.tokenizer.encode(chr(0x10000 + 69_999))) == chr(0x10000 + 69_999)


@pytest.mark.parametrize(
    ("words", "gpu", "code", "said"),
    [
        ("trainer.accelerator=cuda trainer.devices=4", "cuda", 5, "trainer.devices=4, but there are 2 cuda devices"),
        ("trainer.devices=3 data.batch_size=9", "cuda", 5, "trainer.devices=3, but there are 2 cuda devices"),
        ("trainer.accelerator=mps trainer.devices=2", "mps", 5, "trainer.devices=2, but there are 1 mps devices"),
        ("trainer.devices=3", "", 2, "8 sequences cannot be shared evenly by 3 devices"),
        ("trainer.num_nodes=2", "", 2, "this process was not started on 2 nodes"),
        ("trainer.precision=bf16-mixed", "cuda", 5, "trainer.precision=bf16-mixed needs a GPU with bf16 units"),
        ("trainer.precision=bf16-true", "cuda", 5, "trainer.precision=bf16-true needs a GPU with bf16 units"),
        ("trainer.precision=64-true", "mps", 5, "mps has no float64 for trainer.precision=64-true"),
        ("trainer.precision=16-mixed trainer.accelerator=cpu", "cuda", 5, "16-mixed needs a GPU in this machine"),
    ],
)
def test_what_the_devices_lack(
    words: str, gpu: str, code: int, said: str, tiny: Tiny, here: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """On a machine of two old GPUs, of Apple's one, or of none: what torch is asked about them is answered so."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu == "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2 * (gpu == "cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: gpu == "mps")
    knobs = [knob for knob in tiny() if knob != "trainer.precision=32-true"]
    check(train.main([*knobs, *words.split()]), code, said, capsys.readouterr())
    assert not (here / "run").exists()


def test_a_precision_that_is_left_to_the_device_is_one_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    for has_units, precision in ((True, "bf16-mixed"), (False, "16-mixed")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has_units: has)
        assert machine.resolve_precision("auto", "cuda") == precision
    for flags, precision in (({"avx512_bf16"}, "bf16-mixed"), (set(), "32-true")):
        kind = hardware.cpu(frozenset(flags), True, {})
        monkeypatch.setattr(hardware, "of", lambda device, cpu=kind: cpu if device == "cpu" else detect(device))
        assert machine.resolve_precision("auto", "cpu") == precision
    assert machine.resolve_precision("auto", "mps") == "32-true"


def test_too_little_disk(
    tiny: Tiny, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = rundir.shutil.disk_usage(here)  # type: ignore[attr-defined]
    monkeypatch.setattr(rundir.shutil, "disk_usage", lambda _: usage._replace(free=2_000_000))  # type: ignore[attr-defined]
    check(train.main(tiny()), 5, "2 MB are free, and 4 checkpoints of 1 MB need 3 MB", capsys.readouterr())
    assert not (here / "run").exists()


def test_a_run_in_use_and_a_checkpoint_of_another_model_vocabulary_or_corpus(
    tiny: Tiny, book: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(tiny("trainer.max_steps=2")) == 0
    longer = tiny("trainer.max_steps=3")
    before = campaign_rig.identity(here / "run")
    capsys.readouterr()
    with claimed(here / "run"):
        check(train.main(longer), 2, f"process {os.getpid()} on ", capsys.readouterr())
    text = book.read_text()
    cases = {
        "model.n_head: 3 -> 6, model.pos.fraction: 1.0 -> None, model.pos.name: rope -> alibi": (
            ["model.n_head=6", "model.pos=alibi"],
            text,
        ),
        "vocab_size: 23 -> 24": ([], text + "§"),
        "data.tokenizer: char -> byte": (["data.tokenizer=byte"], text),
        "text (corpus: ": ([], text[::-1]),
    }
    for said, (words, other) in cases.items():
        book.write_text(other)
        check(train.main([*longer, *words]), 4, said, capsys.readouterr())
        assert campaign_rig.identity(here / "run") == before
    book.write_text(text)
    assert train.main(longer) == 0


def test_a_folder_without_a_text(tiny: Tiny, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "empty").mkdir()
    check(train.main(tiny("data.path=empty")), 3, "no text file in empty", capsys.readouterr())


def train_without_privileges(*words: str) -> "subprocess.CompletedProcess[str]":
    """`microgpt-train` in a process that file modes hold back; root is held back by them only without capabilities."""
    dropped = "-dac_override,-dac_read_search"
    prefix = ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}"] if os.geteuid() == 0 else []
    command = [*prefix, sys.executable, "-m", "microgpt.engine.commands.train", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("closed", "code"), [("book.txt", 3), ("closed", 5)])
def test_what_may_not_be_read_or_written(closed: str, code: int, tiny: Tiny, book: Path, here: Path) -> None:
    (here / "closed").mkdir()
    modes = {"book.txt": 0, "closed": 0o500}
    (here / closed).chmod(modes[closed])
    try:
        done = train_without_privileges(*tiny("hydra.run.dir=closed/run"))
    finally:
        (here / closed).chmod(0o700)
    assert done.returncode == code
    (line,) = done.stderr.splitlines()
    assert line.startswith("microgpt: error: ")
    assert "Permission denied" in line
    assert list((here / "closed").iterdir()) == []


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text("the cat sat on the mat, and the dog ran.\n" * 99)
    words = "model=gpt-nano model.n_layer=1 model.block_size=16 data.batch_size=4 trainer.max_steps=4 "
    words += "trainer.compile=false trainer.precision=32-true eval.figures=never trainer.progress=none "
    words += f"sample.max_new_tokens=4 data.path={folder / 'text.txt'} hydra.run.dir={folder / 'run'}"
    assert train.main(words.split()) == 0
    return folder / "run"


@pytest.mark.parametrize(("words", "code", "said"), PROMPTS, ids=[ascii(w) for w, *_ in PROMPTS])
def test_a_bad_prompt(
    words: list[str], code: int, said: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "cuda" in words and pytest.importorskip("torch").cuda.is_available():
        pytest.skip("this machine has a GPU")
    few = [] if "--max-new-tokens" in words else ["--max-new-tokens", "5"]
    check(generate.main([str(trained), *few, *words]), code, said, capsys.readouterr())


def test_runs_that_are_not_there(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (generate.main, evaluate.main):
        check(command([str(tmp_path / "nothing")]), 4, "no such run", capsys.readouterr())
        check(command([str(tmp_path)]), 4, "no model in", capsys.readouterr())
        check(command([]), 2, "the following arguments are required: RUN", capsys.readouterr())
    check(evaluate.main([str(trained), "--data", "missing"]), 3, "no such file", capsys.readouterr())
    check(
        evaluate.main([str(trained), "--protocol", "x"]),
        2,
        "no protocol 'x' in --protocol; one of",
        capsys.readouterr(),
    )


def test_a_run_of_only_damaged_checkpoints(tiny: Tiny, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(tiny()) == 0
    (here / "run" / "summary.json").unlink()
    for path in checkpoint.checkpoints(here / "run" / "checkpoints"):
        (path / checkpoint.STATE).write_text("{}")
    capsys.readouterr()
    check(train.main(tiny()), 4, "every checkpoint is damaged (step-00000006", capsys.readouterr())


def test_a_used_folder_and_a_finished_run(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(tiny()) == 0
    capsys.readouterr()
    check(train.main(tiny("resume=never")), 2, "the folder holds a run and resume=never", capsys.readouterr())
    assert train.main(tiny()) == 0
    assert "is finished: 6 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "place"),
    [
        (generate.main, "microgpt.engine.trained.growing_text.GrowingText.add"),
        (evaluate.main, "microgpt.engine.trained.protocols.blocks.Blocks.windows"),
    ],
)
def test_ctrl_c_in_other_commands_is_130(
    command: Callable[[list[str]], int],
    place: str,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(place, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    assert command([str(trained)]) == 130
    assert capsys.readouterr().err == "microgpt: stopped by SIGINT\n"
