"""Encode whole texts as the page of a run does, in JavaScript, and compare every token with Python's.

    python scripts/exchange/check_page_tokens.py TEXT... [--sizes 1000 8000]

needs Node.js. From each TEXT a byte pair encoding is learnt, with which all TEXTs are encoded; so are characters
and bytes. Prints a table, and fails if a token differs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from check_llama_cpp import read

from microgpt.data.tokenizer import BPETokenizer, ByteTokenizer, CharTokenizer, Tokenizer
from microgpt.engine.exchange.page.assemble import source
from microgpt.engine.exchange.page.tokenizers import described

ENCODE = """
const fs = require("fs"), { description, texts } = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const tokenizer = makeTokenizer(description), began = performance.now();
const ids = texts.map((text) => tokenizer.encode(text)), seconds = (performance.now() - began) / 1000;
const back = ids.map((row) => { const next = tokenizer.decoder(); return row.map(next).join("") + next(null); });
fs.writeFileSync(process.argv[3], JSON.stringify({ ids, seconds, back: back.map((text, i) => text === texts[i]) }));
"""


def in_javascript(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[list[list[int]], float, bool]:
    """The tokens of each text by the page's own script, its seconds, and whether decoding gives the texts back."""
    with tempfile.TemporaryDirectory() as name:
        script, given, found = (Path(name) / file for file in ("encode.js", "given.json", "found.json"))
        script.write_text(source("tokenizer.js") + ENCODE, encoding="utf-8")
        given.write_text(json.dumps({"description": described(tokenizer), "texts": texts}), encoding="utf-8")
        subprocess.run(["node", script, given, found], check=True)
        values = json.loads(found.read_text(encoding="utf-8"))
    return values["ids"], values["seconds"], all(values["back"])


def main(words: Sequence[str] | None = None) -> int:
    """Compare; returns how many tokenizers differ."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("texts", type=Path, nargs="+")
    p.add_argument("--sizes", type=int, nargs="+", default=[1000, 8000])
    a = p.parse_args(words)
    texts = [read(path) for path in a.texts]
    tokenizers: dict[str, Tokenizer] = {"characters": CharTokenizer.from_text("".join(texts)), "bytes": ByteTokenizer()}
    for size in a.sizes:
        for path, text in zip(a.texts, texts, strict=True):
            tokenizers[f"BPE {size:,} of {path.name}"] = BPETokenizer.from_texts([text], size)
    wrong = 0
    print("| tokenizer | texts | tokens | equal | decoded | seconds |\n|---|---|---|---|---|---|")
    for name, tokenizer in tokenizers.items():
        expected = [tokenizer.encode(text) for text in texts]
        ids, seconds, is_back = in_javascript(tokenizer, texts)
        same = sum(a == b for a, b in zip(ids, expected, strict=True))
        wrong += same < len(texts) or not is_back
        print(f"| {name} | {len(texts)} | {sum(map(len, expected)):,} | {same} | {'equal' if is_back else 'differs'} "
              f"| {seconds:.1f} |", flush=True)  # fmt: skip
    return wrong


if __name__ == "__main__":
    sys.exit(main())
