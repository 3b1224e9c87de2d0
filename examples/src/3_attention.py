# %% [markdown]
# # 3 What attention learns
#
# You will
#
# - make a text that can be predicted in one way only: by finding where the same thing happened before,
# - train a model of two layers on it and watch **induction heads** appear, suddenly,
# - read the attention maps: which head does what,
# - knock heads out, and see that one layer's heads depend on the other's.
#
# Induction heads were found in 2022 (Olsson et al., https://arxiv.org/abs/2209.11895). They complete patterns: after
# `...AB...A` they look for what followed the earlier `A`, and predict `B`. They need two layers: a head in the first
# writes to each token what stood before it, and a head in the second looks for the token that has *the present one*
# before it.

# %%
import os
import random
import string

import matplotlib.pyplot as plt
import torch

from microgpt import GPT, CharTokenizer, GPTConfig, fit
from microgpt.inspect import head_importance, induction_history, induction_score, zero

QUICK = bool(os.environ.get("MICROGPT_QUICK"))  # tiny settings, for tests of this notebook
STEPS = 4 if QUICK else 600

# %% [markdown]
# ## A text of repetitions
#
# Each line is a random word, written four times. Its letters are drawn anew for every line, so no table of
# frequencies helps. The first time, a letter can only be guessed; from then on it is certain for those who look back.
# Words differ in length, so looking back by a fixed distance does not help either.

# %%
rng = random.Random(0)
LETTERS = string.ascii_letters[:40]


def line():
    return "".join(rng.sample(LETTERS, rng.randint(5, 16))) * 4 + "\n"


text = "".join(line() for _ in range(400 if QUICK else 10_000))
tokenizer = CharTokenizer.from_text(text)
print(text[:200])

# %% [markdown]
# ## Training, with an eye on the heads
#
# `inspect.every_n_steps` scores the heads during training. The **induction score** of a head is how much it attends,
# in a random text that repeats, to the token after the earlier occurrence of the present one: 1 is a perfect
# induction head.

# %%
torch.manual_seed(0)
config = GPTConfig(n_layer=2, n_head=4, n_embd=64, block_size=32, pos="rope", mlp_hidden=64)
run = fit(
    GPT(config, tokenizer.vocab_size), text, tokenizer, steps=STEPS,
    optim="adamw", optim__lr=0.006, data__batch_size=8 if QUICK else 64, inspect__every_n_steps=2 if QUICK else 15,
    eval__every_n_steps=2 if QUICK else 60, eval__figures="never", sample__max_new_tokens=0, logger="none",
    trainer__accelerator="cpu", trainer__precision="32-true", trainer__compile=False, trainer__progress="none",
)  # fmt: skip
induction_history(run).plot()

# %% [markdown]
# For two hundred steps there is nothing but letter frequencies to learn, or so it seems. Then, within a hundred
# steps, the heads appear and the loss falls with them: neither half of the mechanism pays before the other is there.

# %%
scores = induction_score(run)
scores.plot()

# %% [markdown]
# ## Reading the maps
#
# `run.inspect` runs the model over a text and keeps everything. Take a word that the model has never seen, twice.

# %%
word = "".join(random.Random(5).sample(LETTERS, 12))
trace = run.inspect("\n" + word * 2)
layer, head, score = next(found for found in scores.ranked() if found[0] == 1 or QUICK)
print(f"the best induction head: layer {layer}, head {head}, score {score:.2f}")
trace.attention(layer, head).plot()

# %% [markdown]
# The lower stripe is the second time: each token looks at the one that *followed* its earlier self. (The first time
# there is nothing to find, and the head mostly rests on the token itself.) How does it find the place? Look in the
# first layer for heads that look one token back. Their score is the mean of the attention just below the diagonal.

# %%
attention = trace["blocks.0.attn.probabilities"]  # (H, T, T)
previous = attention.diagonal(-1, dim1=1, dim2=2).mean(1)  # (H,)
figure, panels = plt.subplots(1, 4, figsize=(10.5, 2.9), layout="constrained")
for h, panel in enumerate(panels):
    panel.imshow(attention[h], vmin=0, vmax=1)
    panel.set_title(f"layer 0, head {h}: {previous[h]:.2f} one back", fontsize=9)
    panel.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# The result, letter by letter: bits of surprise. The first time every letter costs about $\log_2 40 = 5.3$ bits, the
# second time next to nothing.

# %%
trace.surprisal().plot()

# %% [markdown]
# ## Knocking heads out
#
# `head_importance` replaces one head at a time by zeros and measures what the text loses. `model.patched` does it by
# hand: while the block is open, the model runs without the head.

# %%
importance = head_importance(run, text[-2000:])
importance.plot()

# %%
second = slice(-len(word) + 1, None)  # the second time, but for its first letter
backs = previous.argsort(descending=True)[:2].tolist()  # the two heads that look back most


def without(heads):
    """Bits per letter the second time, and the induction head's score, without these heads of layer 0."""
    with run.model.patched({f"blocks.0.attn.head.{h}": zero for h in heads}):
        bits = run.inspect("\n" + word * 2).surprisal().bits[second].mean()
        return bits, induction_score(run).values[layer, head]


print("without, of layer 0   bits per letter   induction score")
for heads in ([], [0], [1], [2], [3], sorted(backs)):
    print("{:20s} {:16.2f} {:17.2f}".format(f"heads {heads}" if heads else "none", *without(heads)))

# %% [markdown]
# The two heads that look one back stand in for each other: without either one the text loses next to nothing, without
# both the induction head is blind. Knocking out single heads misses that, as the map above it does; look for helpers
# before you call a head useless. And head 0, without which most is lost, looks at the token itself: it seems to tell
# the second layer what to look for. Induction needs both, what is here and what stood before there.

# %% [markdown]
# ## Exercises
#
# Put your answer in place of `None` or `...` and run the cell; it says whether it is right. Solutions are in
# `solutions.md`.


# %%
def check(exercise, answer, is_right, hint):
    """Say whether an answer is right; None is no answer yet."""
    try:
        verdict = "not answered yet." if answer is None else "right." if is_right(answer) else f"not yet. {hint}"
    except Exception as error:  # the answer is of another kind than asked for
        verdict = f"not yet ({type(error).__name__}: {error}). {hint}"
    print(f"Exercise {exercise}: {verdict}")


# %% [markdown]
# **1.** Compute induction scores yourself, from the attention (H, 2n, 2n) over a text of n different tokens that
# repeats: the mean attention of query $n + i$ to key $i + 1$.


# %%
# Exercise 1
def induction(attention, n):
    """(H, 2n, 2n) -> (H,)"""
    ...


torch.manual_seed(3)
attention = torch.rand(4, 16, 16)
expected = torch.stack([attention[:, 8 + i, i + 1] for i in range(8)]).mean(0)
check(
    1,
    induction(attention, 8),
    lambda found: torch.allclose(found, expected),
    "There are n such pairs, i from 0 to n - 1; attention[:, rows, columns] picks pairs if both are tensors.",
)

# %% [markdown]
# **2.** A model with one layer cannot have induction heads. How well can it do on this text? It may know which
# letters the word has, but not their order. Give the bits per letter that picking evenly among the 12 letters of a
# known word costs.

# %%
# Exercise 2
bits = None

check(2, bits, lambda b: abs(b - 3.585) < 0.01, "An even choice among n costs the logarithm of n, to base 2.")


# %% [markdown]
# **3.** Write an oracle: given a text, it predicts the next character by the rule of induction, "what followed the
# last earlier occurrence of the present character", or returns `None` if there is no earlier one.


# %%
# Exercise 3
def oracle(text):
    return ...


cases = {"abcab": "c", "xyx": "y", "abab": "a", "": None, "abc": None, "aab": None, "a1a2a": "2"}
answers = {given: oracle(given) for given in cases}
check(
    3,
    None if answers["abcab"] is ... else answers,
    lambda found: found == cases,
    "text.rfind(text[-1], 0, len(text) - 1) finds the last earlier occurrence, or -1.",
)


# %% [markdown]
# **4.** Knock out two heads at once: the mean bits per letter of `text[-33:-1]` (32 letters) without the given heads
# of layer 1. Use `run.model.patched` with several names.


# %%
# Exercise 4
def bits_without(heads):
    """Mean bits per letter without these heads of layer 1."""
    ...


def expected_bits(heads):
    from contextlib import ExitStack

    with ExitStack() as stack:
        for h in heads:
            stack.enter_context(run.model.patched({f"blocks.1.attn.head.{h}": zero}))
        return float(run.inspect(text[-33:-1]).surprisal().bits[1:].mean())


answer = bits_without([0, 2])
check(
    4,
    answer,
    lambda found: abs(float(found) - expected_bits([0, 2])) < 1e-3,
    "The dict may have several entries. surprisal().bits has no number for the first token: average bits[1:].",
)

# %% [markdown]
# **5.** Attribution takes a logit apart into what embeddings, heads and MLPs add to it. Which head adds most to the
# letter that comes next, at the end of `"\n" + word + word[:4]`? Give `(layer, head)`. The cell prints the first
# terms of the sum.

# %%
# Exercise 5
begun = run.inspect("\n" + word + word[:4])
parts = begun.attribution(token=word[4]).parts
print([(part.name, round(part.value, 2)) for part in parts][:3], "...")
most = max(part.value for part in parts if part.head is not None)
strongest = None

check(
    5,
    strongest,
    lambda found: {(p.layer, p.head): p.value for p in parts}[tuple(found)] == most,
    "Each part has .value, .layer and .head; .head is None for what is no head.",
)
