"""Damaged and malicious files: each is answered by one line in time and memory, and none is believed or run."""

import gzip
import io
import json
import os
import random
import resource
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from campaign_rig import checkpoint, composed, ended, forked, identity, train, write_text
from microgpt.engine.commands import common, evaluate, generate
from microgpt.engine.store.checkpoint.tensors import write_tensors
from microgpt.files import sha256
from microgpt.model.files import folder as model_folder

SECONDS, BYTES = 2.0, 1 << 30
MODEL = ("model/model.safetensors", "model/config.json", "model/tokenizer.json")
STEP_DIR = "checkpoints/step-00000008"
SAVED = tuple(f"{STEP_DIR}/{name}" for name in (*checkpoint.FILES, checkpoint.MANIFEST))
Case = tuple[str, str, Callable[[Path], None]]


class Lab:
    """A good run folder to spoil copies of, and what each command says of it when it is good."""

    def __init__(self, place: Path) -> None:
        self.place, self.canary = place, place / "canary"
        text = write_text(place / "text.txt")
        # A rate that does not depend on the length of the run: resumed from either checkpoint, it ends the same.
        knobs = ["optim=adamw", "optim.schedule=constant", "optim.warmup_steps=0", "model.dropout=0.1"]
        self.first = composed(text, *knobs, "trainer.max_steps=8")
        self.longer = composed(text, *knobs, "trainer.max_steps=9")
        self.good, self.output = place / "good", place / "out.txt"
        assert ended(forked(lambda: train(self.first, self.good), self.output)) == 0, self.output.read_text()
        config = (self.good / "config.yaml").read_text().replace("path: null", f"path: {text}")
        (self.good / "config.yaml").write_text(config)
        self.answers = {action: self.ask(action, lambda _: None) for action in ("generate", "evaluate", "resume")}
        self.base = self.answers["generate"]["bytes"]

    def ask(self, action: str, spoil: Callable[[Path], None]) -> dict[str, Any]:
        """Spoil a copy of the good run, then let a command answer."""
        copy = self.place / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.good, copy)
        if action == "resume":
            (copy / "summary.json").unlink(missing_ok=True)
        spoil(copy)
        work = {
            "generate": lambda: common.run(
                generate.generate, [str(copy), "--max-new-tokens", "8", "--seed", "1", "--device", "cpu"]
            ),
            "evaluate": lambda: common.run(evaluate.evaluate_command, [str(copy), "--device", "cpu", "--json"]),
            "resume": lambda: train(self.longer, copy),
        }[action]
        code, used, seconds = self.limited(work)
        answer = {
            "code": code,
            "seconds": seconds,
            "bytes": used,
            "said": self.output.read_text(errors="replace"),
        }
        answer["identity"] = identity(copy) if action == "resume" and code == 0 else None
        return answer

    def limited(self, work: Callable[[], int]) -> tuple[int, int, float]:
        """The exit code of `work` in a fork, the most memory it took, in bytes, and its seconds of computing."""

        def capped() -> int:
            resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
            return work()

        pid = forked(capped, self.output)
        deadline = time.monotonic() + 30
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > deadline:
                os.kill(pid, 9)
            time.sleep(0.002)
        _, status, usage = os.wait4(pid, 0)
        return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime

    def judge(self, action: str, answer: dict[str, Any]) -> str:
        """What is wrong with an answer; empty when nothing is."""
        code, said, good = answer["code"], answer["said"], self.answers[action]
        if self.canary.exists():
            self.canary.unlink()
            return "code was run"
        if "Traceback" in said or code not in (0, 2, 3, 4):
            return f"exit {code}: {said[-300:]}"
        if "\x1b" in said or "\u202e" in said:
            return "drives the terminal"
        if code == 0:
            same = answer["identity"] == good["identity"] if action == "resume" else said == good["said"]
            if not same:
                return f"accepted: {said[-200:]}"
        elif said.count("microgpt: error:") != 1 or len(said) > 3000:
            return f"not one line: {said[-400:]}"
        if answer["seconds"] > SECONDS + good["seconds"]:
            return f"{answer['seconds']:.1f} s"
        return f"{answer['bytes'] / 1e6:.0f} MB" if answer["bytes"] > self.base + BYTES else ""


def damage(folder: Path, per_group: int, seed: int = 0, every: int = 1) -> dict[str, Any]:
    """Some 3 x `per_group` random damages and the malicious files, or one of `every` so many."""
    lab, rng = Lab(folder), random.Random(seed)
    faults: list[str] = []
    damaged = refused = slowest = 0
    for action, files, count in (("generate", MODEL, 3 * per_group // 2), ("resume", SAVED, 3 * per_group // 2)):
        for number in range(count):
            name = files[number % len(files)]
            kind, spoil = random_damage(name, rng)
            answer = lab.ask(action, spoil)
            damaged += 1
            refused += answer["code"] != 0 or "set aside" in answer["said"]
            slowest = max(slowest, answer["seconds"])
            if fault := lab.judge(action, answer):
                faults.append(f"{name} {kind}: {fault}")
    cases = malicious(lab.canary)[::every]
    codes: dict[str, int] = {}
    for name, action, spoil in cases:
        answer = lab.ask(action, spoil)
        codes[str(answer["code"])] = codes.get(str(answer["code"]), 0) + 1
        slowest = max(slowest, answer["seconds"])
        if fault := lab.judge(action, answer):
            faults.append(f"{name}: {fault}")
    return {
        "damaged": damaged,
        "refused or set aside": refused,
        "malicious": len(cases),
        "exit codes": codes,
        "slowest answer": round(slowest, 2),
        "faults": faults,
        "passed": not faults,
    }


def random_damage(name: str, rng: random.Random) -> tuple[str, Callable[[Path], None]]:
    """A way to damage one file, and its name."""
    kind = rng.choice("bit bytes cut empty longer zeros noise missing folder twice".split())
    seed = rng.random()

    def spoil(run: Path) -> None:
        path, r = run / name, random.Random(seed)
        data = bytearray(path.read_bytes())
        at = r.randrange(len(data))
        if kind == "bit":
            data[at] ^= 1 << r.randrange(8)
        elif kind == "bytes":
            data[at : at + 7] = r.randbytes(7)
        elif kind == "cut":
            del data[at:]
        elif kind == "empty":
            data.clear()
        elif kind == "longer":
            data += r.randbytes(1 + at % 50)
        elif kind == "zeros":
            data[at : at + 512] = bytes(len(data[at : at + 512]))
        elif kind == "noise":
            data[:] = r.randbytes(len(data))
        elif kind == "twice":
            data += bytes(data)
        path.unlink()
        if kind == "folder":
            path.mkdir()
        elif kind != "missing":
            path.write_bytes(data)

    return kind, spoil


def sealed(run: Path) -> None:
    """Make the checksums of the model and of the checkpoint right again, as an attacker would."""
    for step in run.glob("checkpoints/step-*"):
        manifest = step / checkpoint.MANIFEST
        if not manifest.is_file():
            continue
        values = json.loads(manifest.read_text())
        for name in checkpoint.FILES:
            if (step / name).is_file():
                values["files"][name] = {"size": (step / name).stat().st_size, "sha256": sha256(step / name)}
        manifest.write_text(json.dumps(values))
    config = run / "model" / "config.json"
    values = json.loads(config.read_text())
    for key, name in (("weights_sha256", "model.safetensors"), ("tokenizer_sha256", "tokenizer.json")):
        if (run / "model" / name).is_file():
            values[key] = sha256(run / "model" / name)
    values["config_sha256"] = model_folder._digest(values)
    config.write_text(json.dumps(values))


def malicious(canary: Path) -> list[Case]:
    """Files that someone made on purpose, with right checksums wherever there are any."""
    cases: list[Case] = []

    def add(name: str, action: str, spoil: Callable[[Path], None], seal: bool = True) -> None:
        cases.append((name, action, lambda run: (spoil(run), sealed(run) if seal else None)[0]))

    def put(name: str, data: bytes) -> Callable[[Path], None]:
        return lambda run: (run / name).write_bytes(data) and None

    weights, state, text, manifest = SAVED
    for kind, data in pickles(canary).items():
        for name in ("model/model.safetensors", "model/tokenizer.json", "model/config.json"):
            add(f"{kind} as {name}", "generate", put(name, data), seal="config" not in name)
        for name in (weights, state, text, manifest):
            add(f"{kind} as {name}", "resume", put(name, data), seal=name != manifest)
    zipped = pickles(canary)["torch zip"]
    for name in (
        "model/pytorch_model.bin",
        "model/model.pt",
        "model/__init__.py",
        "checkpoints/last.ckpt",
        "trainer.pt",
    ):
        add(f"beside: {name}", "generate" if name.startswith("model") else "resume", put(name, zipped))
    touch = f"import os\nos.system('touch {canary}')\n".encode()
    for name in ("sitecustomize.py", "model/modeling.py", "conftest.py"):
        add(f"beside: {name}", "generate", put(name, touch))

    for kind, data in crafted_tensors().items():
        add(f"{kind} model", "generate", put("model/model.safetensors", data))
        add(f"{kind} weights", "resume", put(weights, data))
        add(f"{kind} state", "resume", put(state, data))

    def changed(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
        def spoil(run: Path) -> None:
            values = json.loads((run / name).read_text())
            (run / name).write_text(json.dumps(change(values)))

        return spoil

    def model(**knobs: Any) -> Callable[[Any], Any]:
        return lambda v: {
            **v,
            **{k: x for k, x in knobs.items() if k in v},
            "model": {**v["model"], **{k: x for k, x in knobs.items() if k not in v}},
        }

    for knobs in (
        {"n_layer": 10**9},
        {"n_layer": -1},
        {"block_size": 10**12},
        {"n_embd": 10**15, "n_head": 1},
        {"n_layer": 1e308},
        {"vocab_size": 10**12},
        {"vocab_size": -5},
        {"vocab_size": True},
        {"mlp_hidden": 2**62},
        {"n_head": 10**30},
        {"_target_": "os.system"},
        {"auto_map": {"AutoModel": "modeling.Evil"}},
        {"pos": {"name": "rope", "theta": 1e-300}},
        {"pos": {"name": "../../evil"}},
        {"norm_eps": "1e400"},
        {"pos": [[[[]]]]},
        {"ngram_embed": 2**50},
        {"n_layer": "\x1b]0;x\x07"},
    ):
        add(f"config {knobs}", "generate", changed("model/config.json", model(**knobs)))
    add("config as a list", "generate", put("model/config.json", b"[1]"), seal=False)
    add("config nested", "generate", put("model/config.json", b'{"a":' * 50_000 + b"1" + b"}" * 50_000), seal=False)
    add("config large", "generate", put("model/config.json", b" " * (1 << 27)), seal=False)
    for key, value in (
        ("characters", []),
        ("characters", "abc"),
        ("characters", ["a", "a"]),
        ("characters", ["\x1b[2J", "b"]),
        ("characters", [chr(65 + i) for i in range(3000)]),
        ("type", "os.system"),
        ("type", {"a": 1}),
        ("format", 1e300),
        ("characters", ["U+FFFFFFFF"]),
        ("characters", ["a\u202e"]),
    ):
        add(
            f"tokenizer {key}={str(value)[:30]}",
            "generate",
            changed("model/tokenizer.json", lambda v, k=key, x=value: {**v, k: x}),
        )
    add("tokenizer nested", "generate", put("model/tokenizer.json", b"[" * 200_000))
    add("tokenizer large", "generate", put("model/tokenizer.json", b"[" + b"[]," * (10 << 20) + b"1]"))

    def group(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
        """Change the optimizer's state, given as plain Python."""
        from microgpt.engine.store.checkpoint import state as plain

        def spoil(run: Path) -> None:
            kept, values = checkpoint.read(run / STEP_DIR)
            change(values)
            shutil.rmtree(run / STEP_DIR)
            info = json.loads((run / "checkpoints/step-00000004/manifest.json").read_text())
            info = {key: value for key, value in info.items() if key not in ("files", "format")}
            flat, tensors = plain.flatten(values)
            (run / STEP_DIR).mkdir()
            write_tensors(run / weights, kept)
            write_tensors(run / state, tensors)
            (run / text).write_text(flat)
            (run / manifest).write_text(
                json.dumps({"format": 1, **info, "step": 8, "files": {name: {} for name in checkpoint.FILES}})
            )

        return spoil

    for name, change in {
        "lr a text": lambda s: s["optimizer_states"][0]["param_groups"][0].update(lr="0.1"),
        "lr infinite": lambda s: s["optimizer_states"][0]["param_groups"][0].update(lr=float("inf")),
        "foreach on": lambda s: s["optimizer_states"][0]["param_groups"][0].update(foreach=True),
        "betas other": lambda s: s["optimizer_states"][0]["param_groups"][0].update(betas=(0.5, 0.5)),
        "a group more": lambda s: s["optimizer_states"][0]["param_groups"].append({"params": []}),
        "a moment of another shape": lambda s: s["optimizer_states"][0]["state"][0].update(exp_avg=torch.zeros(1)),
        "a moment missing": lambda s: s["optimizer_states"][0]["state"][0].pop("exp_avg"),
        "a moment as a list": lambda s: s["optimizer_states"][0]["state"][0].update(exp_avg=[0.0]),
        "a state of parameter 99": lambda s: s["optimizer_states"][0]["state"].update({99: {}}),
        "two optimizers": lambda s: s["optimizer_states"].append({}),
        "no optimizer": lambda s: s.pop("optimizer_states"),
        "another step": lambda s: s.update(global_step=7),
        "a huge step": lambda s: s.update(global_step=10**30),
        "a step as a text": lambda s: s.update(global_step="8"),
        "other callbacks": lambda s: s["callbacks"].update({"ModelCheckpoint": {"best_model_path": "../../x"}}),
        "a callback's path": lambda s: s["callbacks"]["Evaluate"].update(best_model_path="../../x"),
        "a best step as a text": lambda s: s["callbacks"]["Evaluate"].update(best_step="../x"),
        "metrics of texts": lambda s: s["callbacks"]["Evaluate"].update(best_metrics={"x": "y"}),
        "an average": lambda s: s["microgpt"].update(average=[torch.zeros(3)]),
        "skipped -1": lambda s: s["microgpt"].update(skipped_steps=-1),
        "no callbacks": lambda s: s.pop("callbacks"),
        "no own part": lambda s: s.pop("microgpt"),
    }.items():
        add(f"state: {name}", "resume", group(change))
    for name, data in {
        "state.json unknown tensor": b'{"tensor": "nope"}',
        "state.json a list": b"[]",
        "state.json nested": b"[" * 300_000,
        "state.json reduce": b'{"__reduce__": ["os.system", ["x"]]}',
        "state.json key": b'{"items": [[{"items": []}, 1]]}',
        "state.json large": b"[" + b"[]," * (1 << 21) + b"1]",
        "state.json number": b"1" * 10_000,
    }.items():
        add(name, "resume", put(text, data))
    for name, change in {
        "a name with ..": lambda v: {**v, "files": {**v["files"], "../../../evil": {"size": 1, "sha256": ""}}},
        "a size as float": lambda v: {**v, "files": {k: {**e, "size": 1e308} for k, e in v["files"].items()}},
        "a size of 5,000 digits": lambda v: {**v, "files": {k: {**e, "size": 10**4000} for k, e in v["files"].items()}},
        "a list": lambda v: [v],
        "another step": lambda v: {**v, "step": 10**20},
        "another model": lambda v: {**v, "config": {**v["config"], "model": {"n_layer": "\x1b]0;evil\x07"}}},
        "a config of one million keys": lambda v: {**v, "config": {f"k{i}": 1 for i in range(100_000)}},
        "a nested config": lambda v: {**v, "config": nested(900)},
        "a precision": lambda v: {**v, "fingerprint": {**v["fingerprint"], "precision": "x; rm -rf /"}},
        "a corpus": lambda v: {**v, "fingerprint": {**v["fingerprint"], "corpus": ["a"]}},
        "no fingerprint": lambda v: {**v, "fingerprint": None},
    }.items():
        add(f"manifest: {name}", "resume", changed(manifest, change), seal=False)
    add("manifest nested", "resume", put(manifest, b'{"a":' * 100_000), seal=False)
    add("manifest large", "resume", put(manifest, b" " * (1 << 27)), seal=False)

    def instead(name: str, make: Callable[[Path], Any]) -> Callable[[Path], None]:
        def spoil(run: Path) -> None:
            path = run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            make(path)

        return spoil

    for name, action in (
        ("model/model.safetensors", "generate"),
        ("model/config.json", "generate"),
        (weights, "resume"),
        (manifest, "resume"),
        (text, "resume"),
    ):
        add(f"fifo {name}", action, instead(name, os.mkfifo), seal=False)
        add(f"/dev/zero {name}", action, instead(name, lambda p: p.symlink_to("/dev/zero")), seal=False)
        add(f"loop {name}", action, instead(name, lambda p: p.symlink_to(p)), seal=False)
    add("a link loop as a checkpoint", "resume", instead(STEP_DIR, lambda p: p.symlink_to(p)), seal=False)
    add("a file as a checkpoint", "resume", instead(STEP_DIR, lambda p: p.write_text("x")), seal=False)
    add("digits of another script", "resume", lambda run: (run / "checkpoints/step-٠٠٠٠٠٠٠٩").mkdir(), seal=False)
    add("a step of 400 digits", "resume", lambda run: (run / f"checkpoints/step-{'9' * 200}").mkdir(), seal=False)

    for name, yaml in {
        "python tag": f"data: !!python/object/apply:os.system ['touch {canary}']",
        "alias bomb": bomb(),
        "nested": "[" * 20_000,
        "a number": "data: 5",
        "a list": "- 1",
        "not yaml": "a: b: c: \x00",
        "another key": "data: {evil: 1}",
        "no utf-8": "\udcff",
        "path a bomb": bomb() + "\ndata: {path: *i}",
        "path a device": "data: {path: /dev/zero}",
        "http": "data: {url: 'http://127.0.0.1:9/x', corpus: x}",
    }.items():
        data = yaml.encode("utf-8", "surrogateescape")
        add(f"config.yaml {name}", "evaluate", put("config.yaml", data), seal=False)
    for name, data in {
        "list": b"[]",
        "nested": b"[" * 100_000,
        "text": b'{"step": "x"}',
        "nan": b'{"step": NaN}',
        "large": b" " * (1 << 27),
        "loss": b'{"step": 9, "val/loss": "x"}',
        "escape": b'{"step": "\\u001b]0;x"}',
    }.items():
        add(f"summary.json {name}", "generate", put("summary.json", data), seal=False)
    return cases


def pickles(canary: Path) -> dict[str, bytes]:
    """A pickle that touches the canary when it is read, in each wrapping that torch or numpy reads."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {canary}",)

    def torch_bytes(**options: Any) -> bytes:
        buffer = io.BytesIO()
        torch.save({"state_dict": Evil()}, buffer, **options)
        return buffer.getvalue()

    raw = f"cos\nsystem\n(S'touch {canary}'\ntR.".encode()
    tarred, arrays = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            entry = tarfile.TarInfo(name)
            entry.size = len(raw)
            archive.addfile(entry, io.BytesIO(raw))
    np.savez(arrays, a=np.array([Evil()], dtype=object))
    return {
        "torch zip": torch_bytes(),
        "torch legacy": torch_bytes(_use_new_zipfile_serialization=False),
        "pickle": raw,
        "gzip": gzip.compress(raw),
        "tar": tarred.getvalue(),
        "npz": arrays.getvalue(),
    }


def crafted_tensors() -> dict[str, bytes]:
    """safetensors files with headers that lie."""

    def file(header: Any, body: bytes = b"\0" * 64, length: int | None = None) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return (len(text) if length is None else length).to_bytes(8, "little") + text + body

    def one(
        dtype: str = "F32", shape: Any = (4, 4), offsets: Any = (0, 64), name: str = "model.wte.weight"
    ) -> dict[str, Any]:
        return {name: {"dtype": dtype, "shape": shape, "data_offsets": offsets}}

    return {
        "header of 2^63": file(b"{}", length=2**63),
        "header past the end": file(b"{}", length=10**6),
        "empty header": file({}),
        "shape of 2^60": file(one(shape=[2**60, 2**60])),
        "negative shape": file(one(shape=[-4, -4])),
        "offsets past the end": file(one(offsets=[0, 10**12])),
        "offsets back": file(one(offsets=[64, 0])),
        "overlap": file({**one(), **one(name="b")}),
        "unknown dtype": file(one(dtype="PICKLE")),
        "shape a text": file(one(shape="4")),
        "name with ..": file(one(name="../../evil")),
        "key twice": file(b'{"a": 1, "a": 2}'),
        "nested": file(b"[" * 100_000),
        "metadata": file({"__metadata__": {"a": ["b"]}, **one()}),
        "shape of 10,000": file(one(shape=[1] * 10_000)),
    }


def bomb() -> str:
    """YAML whose aliases stand for ten to the ninth texts."""
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]")
    return "\n".join(lines)


def nested(depth: int) -> dict[str, Any]:
    """A dict in a dict in a dict."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value
