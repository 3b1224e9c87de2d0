# %% [markdown]
# # 4 Ablations: what each part is for
#
# You will
#
# - take parts out of a GPT one at a time: the norms, their place, the residual scale, the MLP, the heads,
# - write a part of your own (an MLP that does nothing) and choose it by its name,
# - train every variant with three seeds and let the library compare them, with paired differences,
# - look at the residual stream, where a missing norm shows.
#
# An ablation changes **one** thing and keeps the rest: data, steps, seeds, learning rate. That is why every variant
# here is the same command with one word added.

# %%
import os
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown

from microgpt import compare, load, train
from microgpt.model.mlp import MLPConfig

QUICK = bool(os.environ.get("MICROGPT_QUICK"))  # tiny settings, for tests of this notebook
STEPS, SEEDS = (2, (1,)) if QUICK else (200, (1, 2, 3))
temporary = tempfile.TemporaryDirectory()
FOLDER = Path(temporary.name)  # the runs; give a folder of yours to keep them

# %% [markdown]
# ## A part of your own
#
# To leave the MLP out, put one in its place that adds zeros. A part is a config with a name and a module; from then
# on `model.mlp=nothing` chooses it, as `model.mlp=gelu` chooses GELU.


# %%
class Nothing(torch.nn.Module):
    """(B, T, C) -> zeros of the same shape, which leave the residual stream as it is."""

    def forward(self, x):
        return torch.zeros_like(x)


class NothingConfig(MLPConfig, name="nothing"):
    """No feed-forward half."""

    def build(self, n_embd, hidden, bias, dropout):
        return Nothing()


# %% [markdown]
# ## Six variants, three seeds
#
# The model with all parts has norms before each half of a block, a learned mix of stream and embedding at each layer
# (`resid_scale`), a GELU MLP and four heads. A fairly high learning rate makes what stabilises training visible.

# %%
BASE = """
model.n_layer=4 model.n_head=4 model.n_embd=64 model.block_size=32 model.pos=rope
model.norm=rmsnorm model.norm_place=pre model.resid_scale=true model.mlp=gelu model.init=gpt2 model.qk_norm=false
optim=adamw optim.lr=0.006 data.batch_size=32 experiment=null
eval.figures=never sample.max_new_tokens=0 logger=none
trainer.accelerator=cpu trainer.precision=32-true trainer.compile=false trainer.progress=none
"""
VARIANTS = {
    "all parts": "",
    "no norm": "model.norm=none",
    "post-norm": "model.norm_place=post",
    "no residual scale": "model.resid_scale=false",
    "no MLP": "model.mlp=nothing",
    "one head": "model.n_head=1",
}
SMALL = {}
if QUICK:
    (FOLDER / "text.txt").write_text("\n".join(topics[name] for name in sorted(topics))[:9000], encoding="utf-8")
    SMALL = {"data.path": FOLDER / "text.txt", "data.batch_size": 4}

for name, change in VARIANTS.items():
    for seed in SEEDS:
        settings = {
            "name": name,
            "seed": seed,
            "trainer.max_steps": STEPS,
            "eval.every_n_steps": max(1, STEPS // 8),
            "hydra.run.dir": FOLDER / f"{name}, seed {seed}",
        }
        train(BASE, change, settings, SMALL)

# %% [markdown]
# ## The comparison
#
# `microgpt.compare` reads the run folders, finds out by itself in which knobs the runs differ, and groups them over
# seeds. `to best` is the mean **paired** difference: seed by seed, each variant against the best, so that what a seed
# does to both cancels. (In a terminal, `microgpt-compare FOLDER` prints the table, with times and speeds.)

# %%
comparison = compare([FOLDER])
table = comparison.frame()
shown = {"val/loss mean": "loss", "val/loss std": "± seeds", "to best mean": "to best", "to best low": "95 % from",
         "to best high": "to", "params": "parameters"}  # fmt: skip


def cell(value):
    if value is None or value != value:
        return ""
    return str(value) if not isinstance(value, float) else f"{value:,.0f}" if value > 100 else f"{value:.3f}"


knobs = [knob.removeprefix("model.") for knob in comparison.knobs]
lines = [["variant", *knobs, *shown.values()], ["---"] * (1 + len(knobs) + len(shown))]
for i, group in enumerate(comparison.groups):
    lines.append([group.runs[0].name, *(cell(table[key][i]) for key in [*comparison.knobs, *shown])])
Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))

# %%
COLOURS = dict(zip(VARIANTS, ("#222222", "#D55E00", "#E69F00", "#56B4E9", "#CC79A7", "#009E73"), strict=True))
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained", width_ratios=(3, 2))
for name, colour in COLOURS.items():
    curves = []
    for seed in SEEDS:
        metrics = load(FOLDER / f"{name}, seed {seed}").metrics
        points = zip(metrics["step"], metrics["val/loss"], strict=True)
        curves.append([(step, loss) for step, loss in points if loss is not None and loss == loss])
    steps = [step for step, _ in curves[0]]
    means = [sum(loss for _, loss in at) / len(at) for at in zip(*curves, strict=True)]
    left.plot(steps, means, "o-", color=colour, markersize=3, label=name)
left.set(xlabel="step", ylabel="validation loss (nats per character)", title="Means over the seeds")
left.legend(fontsize=9)

for i, group in enumerate(reversed(comparison.groups)):
    name = group.runs[0].name
    right.plot(list(group.scores.values()), [i] * group.n, "o", color=COLOURS[name], alpha=0.7)
    right.plot(group.mean, i, "|", color=COLOURS[name], markersize=18)
right.set_yticks(range(len(VARIANTS)), [group.runs[0].name for group in reversed(comparison.groups)])
right.set(xlabel="validation loss", title="Each seed, and the mean")
right.grid(axis="x", alpha=0.3)
plt.show()

# %% [markdown]
# Read the seeds before the means.
#
# - **Post-norm** is the worst by its mean, and the best by two of its three seeds. The third hardly learns. That is
#   how post-norm is known: fine when it trains, but at a high learning rate it may not. Its interval, far wider than
#   any other, says that three seeds do not settle the matter.
# - **No MLP** loses little, with fewer than half of the parameters, and its interval includes zero. In 200 steps this
#   model learns mostly what attention can do.
# - **No residual scale, one head, no norm** are worse, with intervals that exclude zero, if not by much.
#
# All of this holds for a tiny model and 200 steps. What a deep model does after a day is another experiment.

# %% [markdown]
# ## The residual stream
#
# Each half of a block adds to the stream. How large has it grown after each layer? `run.inspect` has every activation
# by name.

# %%
phrase = "The following sections describe"
figure, axes = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
for name, colour in COLOURS.items():
    trace = load(FOLDER / f"{name}, seed {SEEDS[0]}").inspect(phrase[:32])
    streams = [trace["embed"], *(trace[f"blocks.{layer}.resid.post"] for layer in range(4))]
    axes.plot([x.square().mean().sqrt().item() for x in streams], "o-", color=colour, label=name)
axes.set(yscale="log", ylabel="root mean square", title="Size of the residual stream")
axes.set_xticks(range(5), ["embedding", *(f"layer {i}" for i in range(4))])
axes.legend(fontsize=8, ncols=2)
plt.show()

# %% [markdown]
# With norms, the first block writes a stream ten to forty times as large as the embedding, whatever the embedding's
# size, and later blocks add to it. Post-norm sets it to about 1 after every block. Without norms a block's output is
# small where its input is small, so the stream has to be built up layer by layer; until it is, the head has little to
# read.

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


groups = {group.runs[0].name: group for group in comparison.groups}

# %% [markdown]
# **1.** How many parameters does the variant without MLP lack? Give it in terms of the number of layers $L$ and the
# width $C$; the MLP widens four times and has no bias. (A comparison at equal size would have to spend them
# elsewhere.)


# %%
# Exercise 1
def lacking(n_layer, n_embd): ...


check(
    1,
    lacking(4, 64),
    lambda n: n == groups["all parts"].average("params") - groups["no MLP"].average("params"),
    "Each MLP has a matrix C x 4C and one 4C x C.",
)

# %% [markdown]
# **2.** And how many parameters does the variant with one head lack, beside the one with four? Think before you look.

# %%
# Exercise 2
lacks = None

check(
    2,
    lacks,
    lambda n: n == groups["all parts"].average("params") - groups["one head"].average("params"),
    "The heads share out the same C columns.",
)


# %% [markdown]
# **3.** Write the paired difference: the mean over seeds of variant minus other, and its standard error, the sample
# standard deviation of the differences over the root of their number. Both arguments map seeds to losses.


# %%
# Exercise 3
def paired(variant, other):
    """(mean, standard error)"""
    ...


check(
    3,
    paired({1: 2.0, 2: 2.3, 3: 2.3}, {1: 1.9, 2: 2.1, 3: 2.0}),
    lambda pair: abs(pair[0] - 0.2) < 1e-6 and abs(pair[1] - 0.1 / 3**0.5) < 1e-6,
    "The differences are 0.1, 0.2 and 0.3; statistics.fmean and statistics.stdev are in Python.",
)


# %% [markdown]
# **4.** Write the two places of a norm. `f` is attention or the MLP.


# %%
# Exercise 4
def pre(x, f, norm): ...


def post(x, f, norm): ...


x = torch.arange(1.0, 5.0)
f, norm = (lambda x: 2 * x), (lambda x: x / x.square().mean().sqrt())
answers = pre(x, f, norm), post(x, f, norm)
check(
    4,
    None if None in [a if a is None else 0 for a in answers] else answers,
    lambda pair: torch.allclose(pair[0], x + 2 * norm(x)) and torch.allclose(pair[1], norm(3 * x)),
    "Pre-norm leaves a path from the input to the output that nothing touches; post-norm normalises the sum.",
)

# %% [markdown]
# **5.** Without a norm a block is not indifferent to the size of its input. Which of these functions of a vector $x$
# give the same result for $x$ and $10x$: `"rmsnorm"`, `"gelu"`, `"attention scores of rmsnorm(x)"`, `"x +
# mlp(rmsnorm(x))"`? Answer with a set.

# %%
# Exercise 5
indifferent = None

check(
    5,
    indifferent,
    lambda names: set(names) == {"rmsnorm", "attention scores of rmsnorm(x)"},
    "What sees x through the norm alone is indifferent; the residual path is not.",
)
