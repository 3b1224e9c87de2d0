"""Train on names and count which of 1,000 sampled names are malformed, copied or unfinished.

    python scripts/figures/names.py FOLDER [overrides ...]

The names are made by a generator with a grammar, so that a malformed name is one that the grammar cannot make: one to
three syllables of an onset and a vowel, and perhaps a coda. Writes FOLDER/names.txt and the run FOLDER/run.
"""

import random
import re
import sys
from pathlib import Path

from microgpt import train
from microgpt.data.corpus import Corpus
from microgpt.data.tokenizer.documents import DocumentTokenizer
from microgpt.engine.trained.copies import copies, found_in
from microgpt.engine.trained.sample import GenerationParams, generate_texts
from microgpt.engine.trained.training_text import training_corpus

ONSETS = "b c d f g h j k l m n p r s t v w z br ch dr fl gr kl pr sh st th tr".split()
VOWELS = "a e i o u ai ea ei ia io oo ou".split()
CODAS = "n r l s m th nd x".split()
GRAMMAR = re.compile(f"(({'|'.join(ONSETS)})({'|'.join(VOWELS)})){{1,3}}({'|'.join(CODAS)})?")
COUNT, SAMPLES = 4_000, 1_000
KNOBS = ("data.documents=lines", "data.tokenizer=char", "model=gpt-mini", "model.n_layer=4", "model.n_embd=96",
         "model.n_head=4", "model.block_size=24", "optim=adamw", "optim.lr=0.003", "trainer.compile=false",
         "trainer.precision=32-true", "trainer.max_steps=1000", "eval.every_n_steps=100")  # fmt: skip


def main() -> int:
    """Make the names, train, sample, print the shares."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "names.txt"
    path.write_text("\n".join(sorted(made())) + "\n")
    run = train([f"data.path={path}", f"hydra.run.dir={folder / 'run'}", *KNOBS, *sys.argv[2:]])
    assert run is not None
    params = GenerationParams(num_samples=SAMPLES, max_new_tokens=64, temperature=1.0, seed=0)
    names = generate_texts(run.model, run.tokenizer, "", params)
    assert isinstance(run.tokenizer, DocumentTokenizer)
    unstopped = GenerationParams(num_samples=SAMPLES, max_new_tokens=24, temperature=1.0, seed=0, stop_at_end=False)
    ended = sum("\n" in text for text in generate_texts(run.model, run.tokenizer, "", unstopped))
    copied = copies(folder / "run", run.tokenizer, names) or []
    corpus: Corpus = training_corpus(folder / "run", run.tokenizer)
    held_out = found_in(corpus.splits["val"], names)  # type: ignore[arg-type]  # its text is documents
    print(
        f"{COUNT} names of the grammar, {SAMPLES} sampled at temperature 1 after {run.summary['train_seconds']:.0f} s:"
    )
    print(f"  malformed {share(not GRAMMAR.fullmatch(name) for name in names)}")
    print(f"  copied from the training part {share(copied)}; of the held-out part {share(held_out)}")
    print(f"  different {len(set(names))}; longest {max(map(len, names))} characters; ended within 24 tokens {ended}")
    print(
        f"  held-out loss {run.summary['val/loss']:.4f} nats per token, {run.summary['val/document_loss']:.3f} per name"
    )
    return 0


def made() -> set[str]:
    """The names, different ones, by a fixed seed."""
    draw, names = random.Random(1), set[str]()
    while len(names) < COUNT:
        syllables = (draw.choice(ONSETS) + draw.choice(VOWELS) for _ in range(draw.choice([1, 2, 2, 3])))
        names.add("".join(syllables) + draw.choice(["", "", *CODAS]))
    return names


def share(flags: object) -> str:
    """A count and its share of the samples."""
    count = sum(flags)  # type: ignore[call-overload]
    return f"{count} ({count / SAMPLES:.1%})"


if __name__ == "__main__":
    sys.exit(main())
