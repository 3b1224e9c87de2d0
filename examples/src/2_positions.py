# %% [markdown]
# # 2 What positions do
#
# You will
#
# - see where position can enter a transformer: in the embedding, in queries and keys, or in the scores,
# - train the same small model with six position schemes,
# - run each on texts four times longer than it was trained on, and see which ones survive,
# - look at what a scheme tells the model about distance.
#
# Attention by itself is blind to order: it compares a query with a set of keys. Whatever a model knows about order it
# gets from its position scheme (and a little from the causal mask, as you will see).

# %%
import os
from dataclasses import replace
from pydoc_data.topics import topics

import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F

from microgpt import GPT, CharTokenizer, GPTConfig, evaluate, fit
from microgpt.model.pos.sinusoidal import SinusoidalConfig
from microgpt.model.pos.t5 import T5Config

QUICK = bool(os.environ.get("MICROGPT_QUICK"))  # tiny settings, for tests of this notebook
T, LONG = 32, 128  # the context in training, and the one to try afterwards
STEPS = 2 if QUICK else 400

text = "\n".join(topics[name] for name in sorted(topics))[: 20_000 if QUICK else None]
tokenizer = CharTokenizer.from_text(text)

# %% [markdown]
# ## Six schemes
#
# | scheme | where it enters | what it does | parameters |
# |---|---|---|---|
# | `none` | nowhere | only the causal mask tells positions apart | 0 |
# | `learned` | embedding | adds a trained vector to each position | $T \times C$ |
# | `sinusoidal` | embedding | adds sines and cosines of the position | 0 |
# | `rope` | queries and keys | turns pairs of numbers by angles that grow with the position | 0 |
# | `alibi` | scores | subtracts a slope times the distance, one slope a head | 0 |
# | `t5` | scores | adds a trained number for each range of distances and head | buckets $\times$ heads |
#
# In the library each is one file in `microgpt/model/pos/`, with up to three hooks: `embed`, `rotate` and `bias`. T5's
# last range begins at the trained length here, so that longer distances share a number that was trained. The waves
# are about as high as this model's token embeddings are wide; much lower ones would drown.

# %%
SCHEMES = {
    "none": "none",
    "learned": "learned",
    "sinusoidal": SinusoidalConfig(scale=0.4),
    "rope": "rope",
    "alibi": "alibi",
    "t5": T5Config(max_distance=T),
}
KNOBS = {
    "optim": "muon", "data__batch_size": 8 if QUICK else 32, "eval__every_n_steps": 0, "eval__figures": "never",
    "sample__max_new_tokens": 0, "logger": "none", "trainer__compile": False, "trainer__precision": "32-true",
    "trainer__accelerator": "cpu", "trainer__progress": "none",
}  # fmt: skip


def new_model(scheme):
    torch.manual_seed(0)
    config = GPTConfig(n_layer=2, n_head=4, n_embd=64, block_size=T, pos=scheme, mlp="relu2", qk_norm=True, init="zero")
    return GPT(config, tokenizer.vocab_size)


runs = {name: fit(new_model(scheme), text, tokenizer, steps=STEPS, **KNOBS) for name, scheme in SCHEMES.items()}
for name, run in sorted(runs.items(), key=lambda pair: pair[1].summary["val/loss"]):
    print(f"{name:11s} {run.summary['val/loss']:.3f} nats per character with {T} characters of context")

# %% [markdown]
# ## Beyond the trained length
#
# A model's weights do not know the context's length, except for the table of `learned`. So each model can be built
# again with a longer context and the same weights. The rows that `learned` lacks are drawn at random, as before
# training.


# %%
def longer(model, length):
    """The same weights with another context."""
    torch.manual_seed(0)
    made = GPT(replace(model.config, block_size=length), model.vocab_size)
    weights = dict(model.state_dict())
    if "pos.wpe.weight" in weights:
        weights["pos.wpe.weight"] = torch.cat((weights["pos.wpe.weight"], made.pos.wpe.weight.detach()[T:]))
    made.load_state_dict(weights)
    return made.eval()


val_ids = tokenizer.encode(text[int(0.9 * len(text)) :])
scores = {name: evaluate(longer(run.model, LONG), val_ids) for name, run in runs.items()}
within = {name: sum(score.loss_by_position[:T]) / T for name, score in scores.items()}
beyond = {name: sum(score.loss_by_position[T:]) / (LONG - T) for name, score in scores.items()}
print("nats per character    up to", T, "  beyond")
for name in sorted(beyond, key=beyond.get):
    print(f"{name:22s} {within[name]:8.3f} {beyond[name]:8.3f}")

# %%
COLOURS = dict(zip(SCHEMES, ("#7F7F7F", "#D55E00", "#E69F00", "#0072B2", "#009E73", "#CC79A7"), strict=True))


def smooth(values, span=8):
    """Means of `span` neighbouring positions, and the positions."""
    table = torch.tensor(values).unfold(0, span, 1).mean(1)
    return torch.arange(len(table)) + span / 2, table


figure, axes = plt.subplots(figsize=(7.5, 4), layout="constrained")
for name, score in scores.items():
    axes.plot(*smooth(score.loss_by_position), color=COLOURS[name], label=name, linewidth=1.6)
axes.axvline(T, color="black", linestyle=":", linewidth=1)
axes.text(T + 1, 0.97, "never trained from here on", transform=axes.get_xaxis_transform(), va="top", fontsize=9)
axes.set(xlabel="position in the context", ylabel="loss (nats per character)", title="Trained on 32, run on 128")
axes.set_ylim(min(within.values()) - 0.3, min(max(beyond.values()), 5) + 0.5)
axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
plt.show()

# %% [markdown]
# Within the trained length the five schemes are close, and a model without any is far behind. Beyond it they part:
#
# - `learned` and `sinusoidal` fail at once. The vectors of later positions were never added to anything in training;
#   those of `learned` are noise.
# - `rope` holds for a while, then climbs: far pairs meet under angles that no training pair had.
# - `t5` climbs slowly. Its bias for far keys was trained, but not for so many of them.
# - `alibi` stays where it was: a far key's penalty grows with its distance, so that what a head sees changes little.
#   It loses nothing on longer texts, and gains little from them.
# - `none` grows slowly worse from the start.
#
# This is one seed of a tiny model. The order within the trained length is not to be trusted; the shapes beyond it
# are.

# %% [markdown]
# ## What a scheme says about distance
#
# Left: the products of the sinusoidal vectors of any two positions depend on their distance alone. Middle: the score
# of one vector with itself under RoPE, as the key moves away; it wavers, because each pair of numbers turns at its
# own speed. Right: what ALiBi subtracts by rule, and what T5 has learnt to add.

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10.5, 3.2), layout="constrained")
wave = longer(runs["sinusoidal"].model, LONG).pos.wave
left.imshow(wave @ wave.T, cmap="viridis")
left.set(title="sinusoidal: products", xlabel="position", ylabel="position")

rope = longer(runs["rope"].model, LONG).pos
same = torch.ones(1, 1, LONG, 16)
turned, _ = rope.rotate(same, same, 0)
middle.plot(turned[0, 0] @ turned[0, 0, 0] / 16)
middle.axvline(T, color="black", linestyle=":", linewidth=1)
middle.set(title="rope: score by distance", xlabel="distance")

for name, style in (("alibi", "--"), ("t5", "-")):
    bias = longer(runs[name].model, LONG).pos.bias(LONG, LONG).detach()[:, -1].flip(-1)  # (H, distance)
    for head in range(4):
        right.plot(bias[head], style, color=COLOURS[name], alpha=0.8, label=name if head == 0 else None)
right.set(title="alibi and t5: bias by distance", xlabel="distance", ylim=(-4, 2))
right.legend()
plt.show()

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
# **1.** Write ALiBi's bias of one head: at row $i$ and column $j$, minus the slope times the distance $i - j$. (What
# stands above the diagonal does not matter: the mask hides it.)


# %%
# Exercise 1
def alibi(slope, length):
    """(length, length)"""
    ...


check(
    1,
    alibi(0.25, 6),
    lambda bias: torch.equal(bias.tril(), runs["alibi"].model.pos.bias(6, 6)[0].tril()),
    "torch.arange(length) as a row, and as a column with [:, None].",
)


# %% [markdown]
# **2.** Write RoPE: turn pair $i$, the numbers `x[..., i]` and `x[..., i + D/2]`, at position $t$ by the angle $t
# \cdot 10000^{-2i/D}$. Turning by an angle $a$ takes $(u, v)$ to $(u \cos a - v \sin a,\ v \cos a + u \sin a)$.


# %%
# Exercise 2
def rotate(x):
    """(T, D) -> (T, D), row t turned as position t."""
    ...


torch.manual_seed(2)
vectors = torch.randn(10, 16)
check(
    2,
    rotate(vectors),
    lambda y: torch.allclose(y, rope.rotate(vectors[None, None], vectors[None, None], 0)[0][0, 0], atol=1e-5),
    "torch.outer(positions, 10000 ** (-2 * i / D)) has all angles, (T, D/2); x.chunk(2, dim=-1) has u and v.",
)

# %% [markdown]
# **3.** Move a query and a key by the same number of positions. Under which of the six schemes does their score
# surely stay the same, whatever the weights of the model's first layer are? Answer with a set of names.

# %%
# Exercise 3
unmoved = None

check(
    3,
    unmoved,
    lambda names: set(names) == {"none", "rope", "alibi", "t5"},
    "A vector that is added to the embedding passes through the query's and the key's matrix.",
)

# %% [markdown]
# **4.** Take a model without positions and shuffle all tokens but the last. Do the scores after the last token stay
# the same, (a) with one layer, (b) with two? Answer with two booleans; try it if you are not sure.

# %%
# Exercise 4
stays = None  # (with one layer, with two)

check(
    4, stays, lambda pair: tuple(pair) == (True, False), "With two layers, which keys has each token seen in the first?"
)


# %% [markdown]
# **5.** Give the model with `learned` positions a better start on long texts: stretch its table of $T$ rows to any
# length by linear interpolation, with the first and the last row in place. The cell prints what it gains.


# %%
# Exercise 5
def stretched(table, length):
    """(T, C) -> (length, C)"""
    ...


def loss_with(table):
    model = longer(runs["learned"].model, LONG)
    model.pos.wpe.weight.data.copy_(table)
    losses = evaluate(model, val_ids).loss_by_position
    return sum(losses[T:]) / (LONG - T)


table = runs["learned"].model.pos.wpe.weight.detach()
answer = stretched(table, LONG)
if answer is not None:
    print(f"beyond {T}: {beyond['learned']:.3f} with random rows, {loss_with(answer):.3f} with a stretched table")
check(
    5,
    answer,
    lambda new: torch.allclose(
        new, F.interpolate(table.T[None], LONG, mode="linear", align_corners=True)[0].T, atol=1e-5
    ),
    "Row t of the new table is at t * (T - 1) / (length - 1) in the old one, between two rows.",
)
