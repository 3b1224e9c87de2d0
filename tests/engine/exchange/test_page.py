"""The page of a run in a real browser: it computes what Python computes, asks for nothing, and shows text as text."""

import json
import math
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from varied_models import END, HOSTILE, KINDS, Kind, make_run, own_scheme, words

from browser import Browser, opened
from microgpt import train
from microgpt.data.document_format import DocumentFormat
from microgpt.data.tokenizer import CharTokenizer, HFTokenizer
from microgpt.data.tokenizer.documents import DocumentTokenizer
from microgpt.data.tokenizer.hf_format import ALPHABET
from microgpt.engine.commands.export import main
from microgpt.engine.exchange.export import export
from microgpt.engine.exchange.formats import html
from microgpt.engine.exchange.graph_model import rounded_copy
from microgpt.engine.exchange.page import assemble, story, tokenizers
from microgpt.engine.exchange.page.operations import KNOWN
from microgpt.engine.train import write_page
from microgpt.engine.trained.run import Run
from microgpt.errors import UsageError
from microgpt.model.generation.sampling import CounterGenerator, SamplingParams
from microgpt.model.generation.stream import stream

TEXTS = (
    "the cat sat on the mat",
    "  two spaces\n\n\tand\u00a0others\u3000\u0085 end ",
    "It's we'll they'RE 1234 x2 — “naïve” café\r\n日本語 🎩🏽 a\u0301",
    HOSTILE,
    f"the end{END}{END} the hat",
    "",
)


@pytest.fixture(scope="module")
def wobble() -> Iterator[None]:
    with own_scheme():
        yield


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, wobble: None) -> dict[str, tuple[Run, Path]]:
    """Each kind's run and its page."""
    made = {}
    for pos, kind in KINDS.items():
        folder = tmp_path_factory.mktemp(pos)
        run = make_run(folder / "run", pos, kind)
        path = folder / "page.html"
        assert export(run, path, {"name": "html", "weights": kind.weights}) < (0.05 if kind.weights == "float16" else 2)
        made[pos] = run, path
    return made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    yield from opened(tmp_path_factory.mktemp("profile"))


def told_by(page: Path) -> Any:
    """The story in a page."""
    return json.loads(page.read_text().partition(assemble.DATA)[2].partition(assemble.CLOSE)[0])["story"]


RUN = """
const [prompt, ids, seed] = arguments, model = P.model.twin();
const settings = { temperature: 0.9, topK: 20, topP: 0.9, seed };
const tokens = (settings) => [...model.generate(prompt, { count: 200, ...settings })].filter((token) => token !== null);
const greedy = tokens({ temperature: 0 }), sampled = tokens(settings), plain = tokens({ temperature: 1, seed });
model.clear();
const logits = ids.map((id) => [...model.read(id, ["logits"]).logits.data]);
return { greedy, sampled, plain, logits };
"""


@pytest.mark.slow
@pytest.mark.parametrize("pos", KINDS)
def test_the_page_computes_what_python_computes(browser: Browser, pages: dict[str, Any], pos: str) -> None:
    run, path = pages[pos]
    model = rounded_copy(run.model, KINDS[pos].weights)
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(model.vocab_size, (1, model.config.block_size), generator=generator)
    prompt = ids[:, :5]
    browser.open(path)
    found = browser.run(RUN, prompt[0].tolist(), ids[0].tolist(), 7)
    with torch.no_grad():
        expected = model(ids)[0][0]
    assert (torch.tensor(found["logits"]) - expected).abs().max() <= 1e-4
    assert expected.std() > 0.3  # the comparison means something
    for name, settings in {
        "greedy": {"temperature": 0.0},
        "sampled": {"temperature": 0.9, "top_k": 20, "top_p": 0.9, "generator": CounterGenerator(7)},
        "plain": {"generator": CounterGenerator(7)},
    }.items():
        text = model.generate(prompt, 200, **settings)[0, 5:].tolist()  # type: ignore[arg-type]
        assert found[name] == text, name
    assert len(set(found["plain"])) > 5
    browser.settle()
    assert browser.complaints() == []
    assert browser.requests() == [path.as_uri()]


@pytest.mark.slow
@pytest.mark.parametrize("pos", ["rope", "learned", "none"])
def test_tokenizers_in_the_page_encode_and_decode_alike(browser: Browser, pages: dict[str, Any], pos: str) -> None:
    run, path = pages[pos]
    browser.open(path)
    tokenizer = run.tokenizer.with_unknown("skip")
    for text in TEXTS:
        known = tokenizer.decode(tokenizer.encode(text)) if pos == "rope" else text
        ids = browser.run("return P.tokenizer.encode(arguments[0])", known)
        assert ids == run.tokenizer.encode(known)
        body = "const d = P.tokenizer.decoder(); return arguments[0].map(d).join('') + d(null)"
        assert browser.run(body, ids) == known
    if pos == "rope":
        said = browser.run("try { P.tokenizer.encode('ab€'); } catch (error) { return complaint(error); }")
        assert said == "The model never saw the character €: leave it out."


@pytest.mark.slow
def test_merges_of_any_order_and_long_words_give_the_librarys_tokens(browser: Browser, pages: dict[str, Any]) -> None:
    browser.open(pages["rope"][1])
    draw = random.Random(0)
    body = "const t = makeTokenizer(arguments[0]); return arguments[1].map((text) => t.encode(text))"
    for _ in range(25):
        description = json.loads(words().tokenizer_json())
        model, made = description["model"], list("abc")
        model["vocab"] = {letter: i for i, letter in enumerate(ALPHABET)}
        model["merges"] = []
        for _ in range(12):
            pair = [draw.choice(made), draw.choice(made)]
            if pair[0] + pair[1] not in model["vocab"]:
                model["vocab"][pair[0] + pair[1]] = len(model["vocab"])
                made.append(pair[0] + pair[1])
            if pair not in model["merges"]:
                model["merges"].append(pair)
        draw.shuffle(model["merges"])  # a merge may make a pair that comes before it
        tokenizer = HFTokenizer(json.dumps({**description, "added_tokens": []}))
        texts = ["".join(draw.choices("abc", k=draw.randrange(1, 60))) for _ in range(40)]
        assert browser.run(body, tokenizers.described(tokenizer), texts) == [tokenizer.encode(text) for text in texts]
    long = "".join(draw.choices("abcdefghij", k=20_000))
    began = time.perf_counter()
    assert browser.run(body, tokenizers.described(tokenizer), [long]) == [tokenizer.encode(long)]
    assert time.perf_counter() - began < 10


@pytest.mark.slow
def test_a_reader_sees_surprisal_attention_lens_and_what_a_head_does(browser: Browser, pages: dict[str, Any]) -> None:
    run, path = pages["t5"]  # its embeddings look back, which choosing a token must restore
    model = rounded_copy(run.model, "int8")
    ids = torch.tensor([run.tokenizer.encode("the cat and a hat")])
    browser.open(path)
    browser.settle()
    browser.run("document.getElementById('text').value = 'the cat and a hat'; P.reader.begun = P.reader.start()")
    browser.driver.execute_async_script("P.reader.begun.then(arguments[0])")
    with torch.no_grad():
        logits, _, attention = model(ids, return_attention=True)
        nats = -logits[0].log_softmax(-1)[:-1].gather(1, ids[0, 1:, None])[:, 0]
    assert browser.run("return P.reader.nats.slice(1)") == pytest.approx(nats.tolist(), abs=1e-4)
    options = browser.run("return [...document.querySelectorAll('#tokens [role=option]')].map((o) => o.textContent)")
    assert "".join(options) == "the cat and a hat"

    browser.run("P.reader.choose(6)")
    shown = browser.run("return P.reader.attention.map((layer) => layer.map((head) => [...head.slice(0, 7)]))")
    assert torch.tensor(shown) == pytest.approx(torch.stack([a[0, :, 6, :7] for a in attention]), abs=1e-4)
    best = run.tokenizer.decode([int(logits[0, 6].argmax())])
    names = browser.run("return [...document.querySelectorAll('#next b')].map((b) => b.textContent)")
    assert names[0] == {" ": "␣", "\n": "⏎"}.get(best, best)
    last = browser.run("return [...document.querySelectorAll('#lens tbody tr')].at(-1).children[1].textContent")
    stages = browser.run("return [...document.querySelectorAll('#lens tbody th')].map((stage) => stage.textContent)")
    assert stages == ["embedding", "layer 0", "layer 1"]  # numbered as in Python
    assert last == names[0]
    with torch.no_grad():
        streams: list[Tensor] = []
        hook = model.blocks[1].register_forward_pre_hook(lambda _, given: streams.append(given[0]))
        model(ids)
        hook.remove()
        lens = model.logits(model.norm(streams[0]))[0, 6].softmax(-1).max()
    assert browser.run("return document.querySelectorAll('#lens tbody tr')[1].children[2].textContent") == percent(lens)

    browser.run("document.querySelectorAll('#heads input')[2].click()")  # head 2 of the last layer
    browser.driver.execute_async_script(
        "const done = arguments[0]; const look = () => /head off/.test(document.getElementById('effect').textContent) ?"
        " done(0) : setTimeout(look, 20); look();"
    )
    D = model.config.head_width
    with torch.no_grad():
        model.blocks[1].attn.out.weight[:, 2 * D : 3 * D] = 0  # type: ignore[operator]
        without = -model(ids)[0][0].log_softmax(-1)[:-1].gather(1, ids[0, 1:, None])[:, 0]
    said = browser.run("return document.getElementById('effect').textContent")
    assert f"goes from {nats.mean():.3f} to {without.mean():.3f} nats" in said
    browser.run("P.reader.begun = P.reader.start()")  # the same text anew: the head is off, and still costs as much
    browser.driver.execute_async_script("P.reader.begun.then(() => arguments[0](0))")
    assert browser.run("return document.getElementById('effect').textContent") == said


def percent(p: Tensor) -> str:
    """As the page writes a probability."""
    return f"{100 * p:.0f}%" if p >= 0.1 else f"{100 * p:.1f}%" if p >= 0.001 else "<0.1%"


@pytest.mark.slow
def test_the_texts_of_strangers_show_as_text(browser: Browser, tmp_path: Path) -> None:
    folder = tmp_path / HOSTILE.replace("/", "∕")
    run = make_run(folder, "rope", Kind({}, words))
    (folder / "train.log").write_text(f"2026-01-01 00:00:00,000 --- sample 0 at step 5\n{HOSTILE}\n---\n")
    (folder / "config.yaml").write_text(json.dumps({"data": {"path": HOSTILE}}))
    (folder / "metrics.csv").write_text("step,train/loss\n1,3.5\n2,3.0\n")
    path = tmp_path / "page.html"
    export(run, path, "html")
    browser.open(path)
    browser.settle()
    browser.run("document.getElementById('prompt').value = arguments[0]; P.done = P.writer.start()", HOSTILE)
    browser.driver.execute_async_script("P.done.then(() => arguments[0](0))")
    texts = browser.run("return ['name', 'sample', 'output'].map((id) => document.getElementById(id).textContent)")
    assert texts[0] == folder.name
    assert texts[1] == HOSTILE
    assert texts[2].startswith(HOSTILE)
    assert HOSTILE in browser.run("return document.getElementById('config').textContent")
    assert browser.run("return [document.images.length, document.scripts.length]") == [0, 2]
    assert browser.complaints() == []
    policy = browser.run("return document.querySelector('meta[http-equiv]').content")
    assert "unsafe-inline" not in policy
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert ".innerHTML" not in path.read_text()


@pytest.mark.slow
def test_stopping_and_seeds(browser: Browser, pages: dict[str, Any]) -> None:
    run, path = pages["rope"]
    browser.open(path)
    browser.settle()
    run.model = rounded_copy(run.model, "float16")
    whole = run.generate("the", max_new_tokens=60, seed=4, generator="counter", temperature=1.0)
    stop = whole[20:22]
    for name, value in {"prompt": "the", "seed": 4, "count": 60, "temperature": 1, "stop": stop}.items():
        browser.run("document.getElementById(arguments[0]).value = arguments[1]", name, value)
    browser.run("P.done = P.writer.start()")
    browser.driver.execute_async_script("P.done.then(() => arguments[0](0))")
    expected = run.generate("the", max_new_tokens=60, seed=4, generator="counter", temperature=1.0, stop=[stop])
    assert browser.run("return document.getElementById('output').textContent") == expected
    assert len(expected) < len(whole)


@pytest.mark.slow
def test_a_model_of_documents_writes_one_after_another(browser: Browser, tmp_path: Path) -> None:
    lines = DocumentTokenizer(CharTokenizer("abcdefghijk"), DocumentFormat("lines"))
    run = make_run(tmp_path / "run", "rope", Kind({}, lambda: lines))
    export(run, tmp_path / "page.html", "html")
    browser.open(tmp_path / "page.html")
    browser.settle()
    first = browser.run("return document.querySelector('#tokens [role=option]').getAttribute('aria-label')")
    assert first == "<|start|>: the first token"
    run.model = rounded_copy(run.model, "float16")
    for name, value in {"prompt": "k", "seed": 4, "count": 90, "temperature": 1}.items():
        browser.run("document.getElementById(arguments[0]).value = arguments[1]", name, value)
    browser.run("P.done = P.writer.start()")
    browser.driver.execute_async_script("P.done.then(() => arguments[0](0))")
    written, generator, prompt = list[int](), CounterGenerator(4), "k"
    while len(written) < 90:
        ids, sampling = torch.tensor([lines.prompt(prompt)]), SamplingParams(temperature=1.0, generator=generator)
        for token in stream(run.model, ids, 90 - len(written), sampling):
            written.append(int(token))
            if written[-1] == lines.end:
                break
        prompt = ""
    expected = "k" + lines.decode(written)
    assert browser.run("return document.getElementById('output').textContent") == expected
    assert expected.count("\n") >= 3
    alone = run.generate("k", max_new_tokens=90, seed=4, generator="counter", temperature=1.0)
    assert expected.startswith(f"{alone}\n")
    cab = [*lines.prompt("cab"), lines.end]
    assert browser.run("return P.tokenizer.encode('cab')") == cab[:-1]
    body = "const d = P.tokenizer.decoder(); return arguments[0].map(d).join('') + d(null)"
    assert browser.run(body, cab) == lines.decode(cab) == "cab\n"


@pytest.mark.slow
def test_the_page_of_documents_reads_one_and_has_the_loss_within_one(
    tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    names = [f"{a}{b}" for a in "kmtrs" for b in ("a", "iu", "oossel")]
    (tmp_path / "names.txt").write_text("\n".join(names * 9))
    train(tiny(f"data.path={tmp_path / 'names.txt'}", "data.documents=lines", "html=true"))
    told = told_by(tmp_path / "run" / "page.html")
    assert told["opening"] in names
    assert len(told["byPosition"]) == 8  # the longest name and its end


@pytest.mark.slow
def test_an_end_token_ends_a_text_in_the_page_too(browser: Browser, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "none", Kind({}, words))
    run.tokenizer = run.tokenizer.with_ends(range(100, 150))
    export(run, tmp_path / "page.html", "html")
    browser.open(tmp_path / "page.html")
    model = rounded_copy(run.model, "float16")
    prompt = torch.tensor([run.tokenizer.encode("the cat")])
    sampling = SamplingParams(temperature=1.0, generator=CounterGenerator(3))
    whole = [int(token) for token in stream(model, prompt, 60, sampling)]
    settings = "{ ...P.writer.settings(), temperature: 1, topK: null, topP: null, seed: 3, count: 60 }"
    found = browser.run(
        f"return [...P.model.twin().generate(arguments[0], {settings})].filter((t) => t !== null)", prompt[0].tolist()
    )
    end = next(i for i, token in enumerate(whole) if 100 <= token < 150)
    assert found == whole[: end + 1]


@pytest.mark.slow
def test_everything_has_a_name_and_nothing_overflows_or_jumps(browser: Browser, pages: dict[str, Any]) -> None:
    _, path = pages["alibi"]
    for width in (390, 1280):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.open(path)
        browser.settle()
        assert browser.run("return document.documentElement.scrollWidth") <= width
        jumps = """const done = arguments[0]; let sum = 0;
            new PerformanceObserver((list) => { for (const e of list.getEntries()) sum += e.value; })
              .observe({ type: "layout-shift", buffered: true });
            setTimeout(() => done(sum), 100);"""
        assert browser.driver.execute_async_script(jumps) < 0.02
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    tree = browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "checkbox", "radio", "textbox", "spinbutton", "slider", "option", "listbox", "image", "heading"}
    nodes = [n for n in tree if not n.get("ignored") and n.get("role", {}).get("value") in roles]
    assert len(nodes) > 20
    assert [n["role"]["value"] for n in nodes if not n.get("name", {}).get("value")] == []


@pytest.mark.slow
def test_curves_differ_by_more_than_colour_and_a_single_point_shows(browser: Browser, pages: dict[str, Any]) -> None:
    browser.open(pages["alibi"][1])
    browser.settle()
    drawn = """
        const place = document.createElement("div"), done = arguments[0];
        place.className = "chart";
        document.querySelector("main").append(place);
        chart(place, [{ name: "training", points: [[1, 3], [2, 2]] }, { name: "validation", points: [[2, 2.5]] }],
              { x: "step", y: "loss", summary: "both" });
        setTimeout(() => {
          const style = (what) => getComputedStyle(place.querySelector(what));
          done([[...place.querySelectorAll("text.s0, text.s1")].map((text) => text.textContent),
                style("path.s0").strokeDasharray, style("path.s1").strokeDasharray,
                [...place.querySelectorAll("rect.s1")].map((mark) => mark.getBoundingClientRect().width)]);
          place.remove();
        }, 300);"""
    names, solid, dashed, marks = browser.driver.execute_async_script(drawn)
    assert names == ["\N{EM DASH} training", "\N{BLACK SQUARE} validation"]
    assert (solid, dashed) == ("none", "6px, 4px")
    assert marks == [6]


@pytest.mark.slow
def test_the_reader_has_the_operations_that_python_lets_through(browser: Browser, pages: dict[str, Any]) -> None:
    browser.open(pages["rope"][1])
    assert set(browser.run("return Object.keys(OPS)")) == KNOWN


@pytest.mark.slow
def test_the_page_is_at_most_1_45_times_the_weights_and_250_kb(pages: dict[str, Any]) -> None:
    for run, path in pages.values():
        assert path.stat().st_size <= 1.45 * 2 * run.model.num_params() + 250_000


def test_the_reader_of_graphs_is_short_and_its_scripts_are_plain() -> None:
    lines = [len(assemble.source(name).splitlines()) for name in ("graph.js", "simd.js")]
    assert sum(lines) < 600
    markup = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(")
    for name in assemble.SCRIPTS:
        text = assemble.source(f"{name}.js")
        assert max(map(len, text.splitlines())) <= 120, name
        assert not markup.search(text), name


def test_curves_and_samples_come_from_the_runs_files(tmp_path: Path) -> None:
    rows = [
        "step,train/loss,val/loss",
        *(f"{i},{5 - i / 1000},{'4.5' if i % 500 == 0 else ''}" for i in range(1, 1001)),
    ]
    (tmp_path / "metrics.csv").write_text("\n".join([*rows, "1001,nan,", "10"]))
    curves = story.curves(tmp_path / "metrics.csv")
    assert len(curves["train/loss"]) <= story.POINTS + 1
    assert curves["train/loss"][-1] == [1000.0, 4.0]
    assert curves["val/loss"] == [[500.0, 4.5], [1000.0, 4.5]]
    mean = sum(y for _, y in curves["train/loss"][:-1]) / (len(curves["train/loss"]) - 1)
    assert mean == pytest.approx(4.5, abs=0.01)
    log = "".join(
        f"2026-11-26 16:37:17,123 --- sample {i} at step {step}\n{text}\n---\n2026-11-26 16:37:18,123 step 9\n"
        for i, step, text in [(0, 2, "old"), (1, 2, "second"), (0, 4, "line\n---x\nline"), (0, 2, "again")]
    )
    (tmp_path / "train.log").write_text(log)
    assert story.samples(tmp_path / "train.log") == [
        {"step": 2, "text": "again"}, {"step": 4, "text": "line\n---x\nline"}
    ]  # fmt: skip
    assert story.samples(tmp_path / "none") == []
    assert story.curves(tmp_path / "none") == {}


@pytest.mark.slow
def test_a_run_writes_its_page_at_its_end(
    tiny: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tiny("html=true", "sample.every_n_steps=3"))
    assert run is not None
    page = tmp_path / "run" / "page.html"
    assert f"open {page} in a browser" in capsys.readouterr().out
    told = told_by(page)
    assert told["scores"]["val/loss"] == run.summary["val/loss"]
    assert [point[0] for point in told["curves"]["train/loss"]] == [1, 2, 3, 4, 5, 6]
    assert [sample["step"] for sample in told["samples"]] == [3, 6]
    assert len(told["byPosition"]) == 16
    assert told["text"] == "book.txt"
    assert told["config"]["model.block_size"] == "16"
    assert told["baselines"]["uniform"] == math.log(run.tokenizer.vocab_size)
    assert told["opening"]


def test_a_run_whose_model_fits_no_page_says_so_and_is_finished(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", "none", Kind({}))

    class Odd(type(run.tokenizer)):  # type: ignore[misc]
        pass

    monkeypatch.setattr(tokenizers, "CharTokenizer", Odd)
    write_page(run)
    assert "no page.html: a tokenizer of kind 'char' in the tokenizer" in caplog.text
    assert [path.name for path in run.path.iterdir()] == ["model"]


def test_faults_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", "none", Kind({}))
    page = tmp_path / "page.html"
    page.write_text("mine")
    for arguments, said in {
        ("run", "page.html"): "page.html' exists in OUT; name a new file",
        ("run", "new.html", "--weights", "int4"): "--weights",
        ("nothing", "new.html"): "no such run",
    }.items():
        words = [str(tmp_path / name) for name in arguments[:2]]
        assert main([*words, *arguments[2:], "--format", "html"]) != 0
        complaint = capsys.readouterr().err.strip()
        assert said in complaint
        assert len(complaint.splitlines()) == 1
    assert page.read_text() == "mine"
    (run.path / "model" / "model.safetensors").write_bytes(b"damaged")
    assert main([str(run.path), str(tmp_path / "new.html"), "--format", "html"]) != 0
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "new.html").exists()


def test_a_model_too_large_for_a_page_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", "none", Kind({}))
    monkeypatch.setattr(html, "LARGEST", 2 * run.model.num_params() - 1)
    with pytest.raises(UsageError, match="try --weights int8"):
        export(run, tmp_path / "page.html", "html")
    monkeypatch.setattr(html, "LARGEST", run.model.num_params() - 1)
    with pytest.raises(UsageError, match="export with --format onnx"):
        export(run, tmp_path / "page.html", {"name": "html", "weights": "int8"})


def test_tokenizers_that_a_page_has_not_are_refused() -> None:
    plain = json.loads(words().tokenizer_json())
    assert tokenizers.byte_pairs(plain, 300)["kind"] == "bpe"
    for change in (
        {"normalizer": {"type": "NFC"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": {**plain["pre_tokenizer"], "add_prefix_space": True}},
        {"decoder": None},
        {"model": {**plain["model"], "unk_token": "<unk>"}},
        {"model": {**plain["model"], "type": "WordPiece"}},
    ):
        with pytest.raises(UsageError, match="pages have characters, bytes and GPT-2's byte pairs"):
            tokenizers.byte_pairs({**plain, **change}, 300)
