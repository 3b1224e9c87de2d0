"""Commands without a standard output or error, with closed, full and ASCII ones: right exit codes, nothing lost."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import campaign_rig
from microgpt import streams, train
from microgpt.engine.commands import compare, evaluate, export, generate, import_
from microgpt.engine.commands import train as train_
from microgpt.files import sha256

Tiny = Callable[..., list[str]]
MAINS: dict[str, Callable[[], int]] = {
    "train": train_.main,
    "generate": generate.main,
    "evaluate": evaluate.main,
    "export": export.main,
    "import": import_.main,
    "compare": compare.main,
    "help": train_.main,
}
PRODUCT_IS_OUTPUT = {"generate", "evaluate", "compare", "help"}
STREAMS = ("as usual", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", "| true", "ascii", "closed object")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and what there is to import; its characters are not all ASCII."""
    import torch

    folder = tmp_path_factory.mktemp("streams")
    (folder / "text.txt").write_text("naïve café 🎩, the cat sat on the mat.\n" * 200, encoding="utf-8")
    words = [*campaign_rig.TINY, "trainer.max_steps=2", f"data.path={folder / 'text.txt'}"]
    run = train([*words, f"hydra.run.dir={folder / 'run'}"])
    assert run is not None
    C, V = 16, 16
    sizes = {"wte.weight": (V, C), "wpe.weight": (8, C), "ln_f.weight": (C,), "h.0.ln_1.weight": (C,)}
    sizes |= {"h.0.ln_2.weight": (C,), "h.0.attn.c_attn.weight": (3 * C, C), "h.0.attn.c_proj.weight": (C, C)}
    sizes |= {"h.0.mlp.c_fc.weight": (4 * C, C), "h.0.mlp.c_proj.weight": (C, 4 * C)}
    arguments = {"n_layer": 1, "n_head": 2, "n_embd": C, "block_size": 8, "bias": False, "dropout": 0.0}
    weights = {f"transformer.{name}": torch.zeros(size) for name, size in sizes.items()}
    torch.save({"model_args": {**arguments, "vocab_size": V}, "model": weights}, folder / "ckpt.pt")
    import pickle

    letters = dict(enumerate("abcdefghijklmnop"))
    (folder / "meta.pkl").write_bytes(pickle.dumps({"itos": letters}))
    return folder


def arguments(command: str, folder: Path, out: Path) -> list[str]:
    run = str(folder / "run")
    train_words = [*campaign_rig.TINY, "trainer.max_steps=2", f"data.path={folder / 'text.txt'}"]
    return {
        "train": [*train_words, f"hydra.run.dir={out}"],
        "generate": [run, "--prompt", "é", "--max-new-tokens", "9", "--seed", "1"],
        "evaluate": [run, "--data", str(folder / "text.txt")],
        "export": [run, str(out), "--format", "safetensors"],
        "import": ["nanogpt", str(folder / "ckpt.pt"), str(out), "--meta", str(folder / "meta.pkl")],
        "compare": [run],
        "help": ["--help"],
    }[command]


def as_python_starts(streams_: str, folder: Path) -> None:
    """Set this process's streams as Python finds them when a shell starts it so."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        target = folder / f"{name}.txt"
        if "&-" in streams_ and f"{'<' if number == 0 else '>' if number == 1 else '2>'}&-" in streams_.split():
            os.close(number)
            setattr(sys, name, None)
            continue
        if streams_ == f"{'>' if number == 1 else '2>'}/dev/full":
            descriptor = os.open("/dev/full", os.O_WRONLY)
        elif streams_ == "| true" and number == 1:
            reader, descriptor = os.pipe()
            os.close(reader)
        else:
            descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, number)
        os.close(descriptor)
        if number:
            encoding = "ascii" if streams_ == "ascii" else "utf-8"
            opened = open(number, "w", encoding=encoding, errors="strict", closefd=False)  # noqa: SIM115
            setattr(sys, name, opened)
            if streams_ == "closed object":
                opened.close()


def started(command: str, streams_: str, words: list[str], folder: Path) -> int:
    """The exit code of a command in a fork with these streams, as Python would exit."""

    def work() -> int:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        as_python_starts(streams_, folder)
        sys.argv = [f"microgpt-{command}", *words]
        code = MAINS[command]()
        try:  # as Python does at its end
            for stream in (sys.stdout, sys.stderr):
                if stream is not None and not stream.closed:
                    stream.flush()
        except OSError:
            code = 120
        sys.stdout = sys.stderr = io.StringIO()
        return code

    return campaign_rig.ended(campaign_rig.forked(work))


@pytest.mark.parametrize("command", MAINS)
def test_every_command_ends_well_whatever_its_streams_are(command: str, trained: Path, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    made: dict[str, dict[str, str]] = {}
    codes: dict[str, int] = {}
    said: dict[str, tuple[str, ...]] = {}
    for i, kind in enumerate(STREAMS):
        folder, out = tmp_path / f"{i}", tmp_path / f"{i}" / "out"
        folder.mkdir()
        codes[kind] = started(command, kind, arguments(command, trained, out), folder)
        files = ("model/model.safetensors", "metrics.csv", "summary.json", "model.safetensors", "config.json")
        volatile = ("metrics.csv", "summary.json")  # they hold seconds
        made[kind] = {f: "" if f in volatile else sha256(out / f) for f in files if (out / f).is_file()}
        texts = [folder / f"{name}.txt" for name in ("stdout", "stderr")]
        said[kind] = (
            texts[0].read_text() if texts[0].exists() else "",
            texts[1].read_text() if texts[1].exists() else "",
        )
    expected = dict.fromkeys(STREAMS, 0)
    if command in PRODUCT_IS_OUTPUT:
        expected[">/dev/full"] = 5
    assert codes == expected, said
    assert all(files == made["as usual"] for files in made.values())
    assert bool(made["as usual"]) == (command in ("train", "export", "import"))
    assert not any("Traceback" in text for pair in said.values() for text in pair)
    full = said[">/dev/full"][1]
    assert full.count("No space left on device") == 1
    assert full.startswith("microgpt: error: " if command in PRODUCT_IS_OUTPUT else "microgpt: warning: ")
    for kind in STREAMS:
        if kind != ">/dev/full":
            assert said[kind][1] == "", kind
    assert said["ascii"][0].isascii()
    assert said["ascii"][0]
    if command == "generate":
        assert said["ascii"][0].startswith("\\xe9")
        assert said["as usual"][0].startswith("é")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_real_shell_may_close_the_streams(closed: str, trained: Path, tmp_path: Path) -> None:
    words = ["-m", "microgpt.engine.commands.export", str(trained / "run"), str(tmp_path / "out"), "--format"]
    shell = f'"$0" "$@" {closed}'
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable, *words, "safetensors"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sha256(tmp_path / "out" / "model.safetensors") == sha256(trained / "run" / "model" / "model.safetensors")


def test_an_error_is_5_or_its_own_code_even_when_nobody_can_read_it(tmp_path: Path) -> None:
    for kind in (">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full", "closed object"):
        assert started("generate", kind, [str(tmp_path / "nothing")], tmp_path) == 4
        assert started("generate", kind, ["--no-such-option"], tmp_path) == 2


def test_a_library_call_needs_no_streams(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    run = train([word for word in tiny("trainer.max_steps=1") if not word.startswith("trainer.progress")])
    assert run is not None
    assert "1 step, " in (tmp_path / "run" / "train.log").read_text()
    assert sys.stdout is None


class Refusing(io.StringIO):
    """A stream that refuses after some writes."""

    def __init__(self, error: Exception, after: int) -> None:
        super().__init__()
        self.error, self.left = error, after

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize(
    ("error", "warns"),
    [(OSError(28, "No space left"), 1), (BrokenPipeError(32, "Broken pipe"), 0), (ValueError("x"), 1)],
)
def test_a_forgiving_stream_warns_once_and_drops_the_rest(
    error: Exception, warns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refusing = Refusing(error, after=2)
    monkeypatch.setattr(sys, "stdout", refusing)
    with streams.forgiving():
        print("one")
        for _ in range(3):
            print("two")
    assert refusing.getvalue() == "one\n"
    assert capsys.readouterr().err.count("warning: cannot write to the standard output") == warns


def test_a_forgiving_stream_escapes_what_its_encoding_lacks() -> None:
    raw = io.BytesIO()
    forgiving = streams.Forgiving(io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    assert forgiving.write("né🎩\n") == 4
    assert raw.getvalue() == b"n\\xe9\\U0001f3a9\n"


def test_a_descriptor_that_was_closed_is_no_file_s() -> None:
    """Otherwise what a library prints to descriptor 1 would land in the first file that is opened."""
    code = (
        "import os, sys; os.close(1); from microgpt import streams; streams.open_descriptors(); "
        "assert os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT) > 2; assert os.get_inheritable(1); os.write(1, b'x')"
    )
    assert subprocess.run([sys.executable, "-c", code, os.devnull], check=False).returncode == 0
