# %% [markdown]
# # 1 Build a GPT and train it by a loop of your own
#
# You will
#
# - turn a text into tokens, and tokens into windows with targets,
# - put a GPT together from microgpt's parts: embedding, position scheme, blocks, norm, head,
# - write the training loop: batch, loss, gradient, step, learning rate,
# - write the sampler, and watch a text come out of noise,
# - see that the library's `GPT` computes exactly what you built.
#
# You need to know Python and a little PyTorch. The whole notebook runs on a CPU, on a text that Python carries.

# %%
import math
import os
from pydoc_data.topics import topics

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

from microgpt import GPT, CharTokenizer, GPTConfig, TextDataset
from microgpt.model.attention import Context, causal_mask, reference_output
from microgpt.model.block import Block

QUICK = bool(os.environ.get("MICROGPT_QUICK"))  # tiny settings, for tests of this notebook
STEPS = 6 if QUICK else 500
EVERY = max(1, STEPS // 10)  # steps between two validations

# %% [markdown]
# ## Text, tokens, windows
#
# The text is Python's own language manual. A token is a character: the tokenizer numbers the characters that occur.

# %%
text = "\n".join(topics[name] for name in sorted(topics))
tokenizer = CharTokenizer.from_text(text)
ids = tokenizer.encode(text)

print(f"{len(text):,} characters, {tokenizer.vocab_size} of them different")
print(repr(text[3000:3060]))
print(tokenizer.encode("for x in"), "->", repr(tokenizer.decode(tokenizer.encode("for x in"))))

# %% [markdown]
# The model reads a window of $T$ tokens and predicts, at each place, the token that comes next. So the target of a
# window is the same window, one token later. One window gives $T$ predictions at once, because the causal mask hides
# from each place what comes after it. The last tenth of the text is kept for validation.

# %%
T = 64
n_train = int(0.9 * len(ids))
train_data, val_data = TextDataset(ids[:n_train], T), TextDataset(ids[n_train:], T)

x, y = train_data[0]
print("x", tuple(x.shape), repr(tokenizer.decode(x[:24].tolist())))
print("y", tuple(y.shape), repr(tokenizer.decode(y[:24].tolist())))


def batch(data, size, generator):
    """`size` windows at random places: two tensors (B, T)."""
    places = torch.randint(len(data), (size,), generator=generator)
    pairs = [data[i] for i in places.tolist()]
    return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs])


# %% [markdown]
# ## The model
#
# A GPT is short once its parts are there. The **embedding** gives each token a vector of $C$ numbers; the stream of
# these vectors runs through the model. Each **block** adds to it, first by attention, which moves information between
# places, then by an MLP, which works on each place alone. A last norm and the **head** turn each vector into $V$
# scores, one for every token that could come next.
#
# `GPTConfig` names the parts. `Context` carries what all blocks share: the position scheme, the mask, and the
# function that computes attention (here the one that is written to be read; open `microgpt/model/attention.py` beside
# this page).

# %%
config = GPTConfig(n_layer=2 if QUICK else 3, n_head=4, n_embd=96, block_size=T, pos="rope", norm="rmsnorm", mlp="gelu")


class MyGPT(nn.Module):
    """Tokens (B, T) -> scores of the next token (B, T, V)."""

    def __init__(self, config, vocab_size):
        super().__init__()
        self.wte = nn.Embedding(vocab_size, config.n_embd)
        self.pos = config.build_pos()
        self.blocks = nn.ModuleList(Block(config, layer, vocab_size) for layer in range(config.n_layer))
        self.norm = config.build_norm()
        self.head = nn.Linear(config.n_embd, vocab_size, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:  # small random matrices; those that write to the stream are smaller still
                writes = name.endswith("out.weight")
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * config.n_layer) if writes else 0.02)

    def forward(self, idx):
        T = idx.shape[1]
        mask, bias = causal_mask(T, T, idx.device), self.pos.bias(T, T)
        context = Context(idx, self.pos, 0, mask if bias is None else mask + bias, reference_output)
        x = self.pos.embed(self.wte(idx), 0)  # (B, T, C)
        for block in self.blocks:
            x = block(x, context)
        return self.head(self.norm(x))  # (B, T, V)


torch.manual_seed(1)
model = MyGPT(config, tokenizer.vocab_size)
print(model.blocks[0])
print(f"{sum(p.numel() for p in model.parameters()):,} parameters")

# %% [markdown]
# ## The loop
#
# The loss is the **cross-entropy**: minus the logarithm of the probability that the model gave to the token that
# came. A model that knows nothing gives each of the $V$ characters the same probability, so its loss is $\ln V$.
# Check it before you train anything: a first loss far from $\ln V$ is the cheapest way to find a bug.

# %%
generator = torch.Generator().manual_seed(1)


def loss_of(model, x, y):
    """Mean nats per token."""
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten())


@torch.no_grad()
def validate(model, batches=2 if QUICK else 8):
    """The loss on the same validation windows each time."""
    same = torch.Generator().manual_seed(0)
    return sum(loss_of(model, *batch(val_data, 32, same)).item() for _ in range(batches)) / batches


first = loss_of(model, *batch(train_data, 32, generator)).item()
print(f"first loss {first:.3f}, ln V = {math.log(tokenizer.vocab_size):.3f}")

# %% [markdown]
# And the sampler: run the model on what there is, turn the last scores into probabilities, draw a token, append it. A
# temperature below 1 sharpens the probabilities.


# %%
@torch.no_grad()
def sample(model, prompt, n, temperature=0.8, seed=0):
    """The prompt and n more characters."""
    draws = torch.Generator().manual_seed(seed)
    idx = torch.tensor([tokenizer.encode(prompt)])
    for _ in range(n):
        scores = model(idx[:, -T:])[0, -1] / temperature
        idx = torch.cat((idx, torch.multinomial(scores.softmax(0), 1, generator=draws)[None]), dim=1)
    return tokenizer.decode(idx[0].tolist())


# %% [markdown]
# Training repeats four lines: compute the loss of a batch, compute its gradient, clip it, step. Around them stands
# the learning rate: it rises for the first few steps, because Adam's averages are still noise then, and falls along
# half a cosine to let the weights settle.

# %%
PEAK, WARMUP = 3e-3, max(1, STEPS // 20)


def learning_rate(step):
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    return PEAK * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))))


optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
train_losses, val_losses, samples = [], {0: validate(model)}, {0: sample(model, "The ", 80)}
for step in range(STEPS):
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step)
    loss = loss_of(model, *batch(train_data, 8 if QUICK else 24, generator))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    train_losses.append(loss.item())
    if (step + 1) % EVERY == 0:
        val_losses[step + 1] = validate(model)
    if step + 1 in (EVERY, 3 * EVERY, STEPS):
        samples[step + 1] = sample(model, "The ", 80)

print(f"validation loss {val_losses[STEPS]:.3f} nats, {val_losses[STEPS] / math.log(2):.3f} bits per character")
for step, said in samples.items():
    print(f"\nafter {step} steps (validation loss {val_losses[step]:.2f}):\n{said}")

# %% [markdown]
# The curve first falls to what character frequencies alone give: which characters are common is learnt soonest.
# Whatever it learns after that, spelling and then words, it can only learn by looking back. The samples show it.

# %%
counts = torch.bincount(torch.tensor(ids), minlength=tokenizer.vocab_size).double()
shares = counts / counts.sum()
unigram = -(shares * shares.clamp(min=1e-12).log()).sum().item()

figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
axes.plot(range(1, STEPS + 1), train_losses, color="#0072B2", alpha=0.4, linewidth=1, label="training, each batch")
axes.plot(val_losses.keys(), val_losses.values(), "o-", color="#D55E00", markersize=4, label="validation")
for height, name in (
    (math.log(tokenizer.vocab_size), "ln V: all characters alike"),
    (unigram, "character frequencies"),
):
    axes.axhline(height, color="gray", linestyle="--", linewidth=1)
    axes.text(STEPS, height, name, ha="right", va="bottom", color="gray", fontsize=9)
axes.set(xlabel="step", ylabel="loss (nats per character)", title="Your loop")
axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.88))
plt.show()

# %% [markdown]
# ## The same model from the library
#
# The parts have the same names in `microgpt.GPT`, so your weights fit it, and it gives the same scores. It has what
# the short version lacks: fused attention, a cache of keys and values for fast sampling, and `microgpt.fit`, which
# trains it with checkpoints, metrics and exact resume.

# %%
library = GPT(config, tokenizer.vocab_size).eval()
library.load_state_dict(model.state_dict())
x, y = batch(val_data, 4, generator)
with torch.no_grad():
    theirs, _ = library(x)
    print("largest difference of the scores:", f"{(theirs - model(x)).abs().max().item():.1e}")
    assert torch.allclose(theirs, model(x), atol=1e-4)
prompt = torch.tensor([tokenizer.encode("The ")])
print(tokenizer.decode(library.generate(prompt, 60, do_sample=False)[0].tolist()))

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
# **1.** Papers give the score in *bits per character* or as *perplexity*, the number of equally likely characters
# that would be as hard to guess. Convert from nats.


# %%
# Exercise 1
def bits_and_perplexity(nats):
    """(bits per character, perplexity)"""
    ...


check(
    1,
    bits_and_perplexity(1.5),
    lambda pair: math.isclose(pair[0], 2.16404, rel_tol=1e-4) and math.isclose(pair[1], 4.48169, rel_tol=1e-4),
    "A bit is ln 2 nats; a model that picks evenly among n characters has a loss of ln n nats.",
)


# %% [markdown]
# **2.** How many parameters has such a GPT, of $L$ layers of width $C$ with $V$ tokens? (RoPE has none, a norm has
# $C$, the MLP widens four times, and no layer has a bias.)


# %%
# Exercise 2
def count(n_layer, n_embd, vocab_size): ...


check(
    2,
    count(config.n_layer, config.n_embd, tokenizer.vocab_size),
    lambda n: n == library.num_params(),
    f"Each block has 12 C² and two norms. The answer for this model is {library.num_params():,}.",
)

# %% [markdown]
# **3.** Write attention, given queries, keys and values (B, H, T, D): scores, scale, mask, softmax, weighted sum. The
# check is `microgpt.testing.check_attention`, which names the fault if it finds one.


# %%
# Exercise 3
def attend(q, k, v):
    """(B, H, T, D) three times -> (B, H, T, D)"""
    ...


def complaint(attend, n_head=4, C=32):
    """What check_attention says of it; an empty text if all is well, None if there is no answer yet."""
    from microgpt.testing import AttentionError, check_attention

    torch.manual_seed(0)
    qkv = nn.Linear(C, 3 * C)

    def project(x):
        return qkv(x).chunk(3, dim=-1)

    def attention(x):
        B, T, _ = x.shape
        q, k, v = (t.view(B, T, n_head, C // n_head).transpose(1, 2) for t in project(x))
        return attend(q, k, v).transpose(1, 2).reshape(B, T, C)

    if attend(*torch.ones(3, 1, n_head, 2, C // n_head)) is None:
        return None
    try:
        check_attention(attention, project=project, n_head=n_head, n_embd=C)
    except AttentionError as error:
        return str(error)
    return ""


check(3, complaint(attend), lambda said: said == "", complaint(attend))


# %% [markdown]
# **4.** Sampling from all characters lets an unlikely one slip in now and then. *Top-k* sampling draws from the k
# likeliest only: set the other scores to minus infinity.


# %%
# Exercise 4
def top_k(scores, k):
    """(V,) -> (V,)"""
    ...


check(
    4,
    top_k(torch.tensor([2.0, -1.0, 3.0, 0.5]), 2),
    lambda kept: kept.tolist() == [2.0, -math.inf, 3.0, -math.inf],
    "torch.topk(scores, k).values[-1] is the lowest score that stays.",
)


# %% [markdown]
# **5.** The mask makes a promise: a later token cannot change an earlier prediction. Write a test of it. It gets a
# model and tokens (1, T), and says whether changing the last token leaves all scores before it as they were.


# %%
# Exercise 5
def is_causal(model, idx): ...


def cheat(idx):
    """A "model" that looks one token ahead."""
    return F.one_hot(idx.roll(-1, dims=1), tokenizer.vocab_size).float()


check(
    5,
    is_causal(model, x[:1]),
    lambda verdict: verdict is True and is_causal(cheat, x[:1]) is False,
    "Compare the scores [:, :-1] before and after; a model that looks ahead must fail.",
)
