"""Train on names and count which of 1,000 sampled names are malformed, copied or unfinished.

    python scripts/figures/names.py [overrides ...]

The names are made by a generator with a grammar, so that a malformed name is one that the grammar cannot make: one to
three syllables of an onset and a vowel, and perhaps a coda.
"""

import random
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from figure_rig import Rig, draw
from microgpt.data.corpus import Corpus
from microgpt.data.tokenizer.documents import DocumentTokenizer
from microgpt.engine.trained.copies import copies, found_in
from microgpt.engine.trained.drawing import COLOURS, new_figure
from microgpt.engine.trained.sample import GenerationParams, generate_texts
from microgpt.engine.trained.training_text import training_corpus

FIGURES = ("names.png",)
ONSETS = "b c d f g h j k l m n p r s t v w z br ch dr fl gr kl pr sh st th tr".split()
VOWELS = "a e i o u ai ea ei ia io oo ou".split()
CODAS = "n r l s m th nd x".split()
GRAMMAR = re.compile(f"(({'|'.join(ONSETS)})({'|'.join(VOWELS)})){{1,3}}({'|'.join(CODAS)})?")
COUNT, SAMPLES = 4_000, 1_000
KNOBS = ("data.documents=lines", "data.tokenizer=char", "model=gpt-mini", "model.n_layer=4", "model.n_embd=96",
         "model.n_head=4", "model.block_size=24", "optim=adamw", "optim.lr=0.003",
         "eval.every_n_steps=100")  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Make the names, train, sample, print the shares, draw the lengths."""
    draw(script, __doc__, argv)


def script(rig: Rig) -> None:
    """Train on the names and sample as many as the shares need."""
    path = rig.scratch / "names.txt"
    path.write_text("\n".join(sorted(made())) + "\n")
    run = rig.train("run", f"data.path={path}", *KNOBS, f"trainer.max_steps={rig.steps(1000)}")
    params = GenerationParams(num_samples=SAMPLES, max_new_tokens=64, temperature=1.0, seed=0)
    names = generate_texts(run.model, run.tokenizer, "", params)
    assert isinstance(run.tokenizer, DocumentTokenizer)
    unstopped = GenerationParams(num_samples=SAMPLES, max_new_tokens=24, temperature=1.0, seed=0, stop_at_end=False)
    ended = sum("\n" in text for text in generate_texts(run.model, run.tokenizer, "", unstopped))
    copied = copies(run.folder, run.tokenizer, names) or []
    corpus: Corpus = training_corpus(run.folder, run.tokenizer)
    held_out = found_in(corpus.splits["val"], names)  # type: ignore[arg-type]  # its text is documents
    malformed = share(not GRAMMAR.fullmatch(name) for name in names)
    seconds = run.summary["train_seconds"]
    print(f"{COUNT} names of the grammar, {SAMPLES} sampled at temperature 1 after {seconds:.0f} s:")
    print(f"  malformed {malformed}")
    print(f"  copied from the training split {share(copied)}; from the validation split {share(held_out)}")
    print(f"  different {len(set(names))}; longest {max(map(len, names))} characters; ended within 24 tokens {ended}")
    loss, per_name = run.summary["val/loss"], run.summary["val/document_loss"]
    print(f"  validation loss {loss:.4f} nats per token, {per_name:.3f} per name")
    facts = f"malformed: {malformed}; copied from the training names: {share(copied)}"
    rig.save(lengths(sorted(made()), names, facts), FIGURES[0])


def lengths(given: Sequence[str], sampled: Sequence[str], facts: str) -> Any:
    """How long the names are, those of the text beside those of the model, and a few of the model's."""
    figure, axes = new_figure(6.4, 3.4)
    for aside, (what, names) in zip((-0.2, 0.2), {"of the text": given, "of the model": sampled}.items(), strict=True):
        counts = Counter(map(len, names))
        axes.bar([n + aside for n in counts], [counts[n] / len(names) for n in counts], 0.4,
                 color=COLOURS[int(aside > 0)], label=f"{len(names):,} names {what}")  # fmt: skip
    axes.set(xlabel="characters in a name", ylabel="share of the names")
    axes.set_title(f"{facts}\n{', '.join(sampled[:7])}, ..."[:150], fontsize=9)
    axes.set_xlim(0.5, 15.5)
    axes.legend(fontsize=8, frameon=False)
    return figure


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
    main()
