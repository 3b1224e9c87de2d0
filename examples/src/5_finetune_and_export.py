# %% [markdown]
# # 5 Fine-tune, and take the model elsewhere
#
# You will
#
# - train a small model on one text and go on with it on another, from which there is little,
# - see what pretraining is worth, beside a model that starts from nothing,
# - measure what fine-tuning forgets, and compare it with LoRA, which trains few numbers,
# - export the model to Hugging Face's format, open it with `transformers`, and compare the scores.
#
# With GPT-2's weights it is the same: `model.pretrained=gpt2` in place of the run that you make here.

# %%
import importlib.util
import json
import math
import os
import random
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

import matplotlib.pyplot as plt
import torch

from microgpt import GPT, evaluate, train
from microgpt.engine.exchange.export import export

QUICK = bool(os.environ.get("MICROGPT_QUICK"))  # tiny settings, for tests of this notebook
STEPS, MORE = (3, 2) if QUICK else (500, 64)
temporary = tempfile.TemporaryDirectory()
FOLDER = Path(temporary.name)  # give a folder of yours to keep the runs

# %% [markdown]
# ## The first text, and the model
#
# The first text is Python's manual. The model has Llama's parts: RMSNorm, RoPE and SwiGLU, so that Hugging Face's
# `LlamaForCausalLM` can express it. The text is cut to printable ASCII, in which the second text will be, too: a
# tokenizer of characters knows no others than those of its text.

# %%
printable = {chr(code) for code in range(32, 127)} | {"\n"}
manual = "".join(c for c in "\n".join(topics[name] for name in sorted(topics)) if c in printable)
manual = manual[: 20_000 if QUICK else None]
(FOLDER / "manual.txt").write_text(manual, encoding="utf-8")

SETTINGS = """
experiment=null optim=adamw data.batch_size=32 eval.figures=never sample.max_new_tokens=0 logger=none
trainer.accelerator=cpu trainer.precision=32-true trainer.compile=false trainer.progress=none
"""
MODEL = """
model.n_layer=3 model.n_head=4 model.n_embd=96 model.block_size=64
model.pos=rope model.norm=rmsnorm model.mlp=swiglu model.init=gpt2 model.qk_norm=false
"""
base = train(SETTINGS, MODEL, {
    "data.path": FOLDER / "manual.txt", "optim.lr": 4e-3, "trainer.max_steps": STEPS,
    "hydra.run.dir": FOLDER / "base", "eval.every_n_steps": 0,
})  # fmt: skip
print(f"{base.model.num_params():,} parameters, {base.summary['val/loss']:.3f} nats per character on the manual")
print(base.generate("The value of ", max_new_tokens=120, seed=1))

# %% [markdown]
# ## The second text
#
# Tales of two animals that meet, made by a small grammar: 400 of them, some 44,000 characters. A text made by rule
# has a known floor, the choices that the grammar draws; everything else can be learnt.

# %%
rng = random.Random(7)
ANIMALS = "fox hen owl mouse bear goose cat frog hare wolf".split()
PLACES = "by the river, under the old oak, on the hill, in the barn, at the edge of the wood".split(", ")
WISHES = "a bit of cheese, a warm bed, the way home, a song, three golden eggs, an honest answer".split(", ")


def tale():
    """Two animals meet, one asks, the other answers."""
    one, two = rng.sample(ANIMALS, 2)
    wish, place = rng.choice(WISHES), rng.choice(PLACES)
    answer = rng.choice([f"Gladly, said the {two}.", f"Not today, said the {two}.", f"The {two} only laughed."])
    return f"The {one} met the {two} {place}. I am looking for {wish}, said the {one}. {answer}\n"


N = 400
tales = "".join(tale() for _ in range(N))
drawn = len(ANIMALS) * (len(ANIMALS) - 1) * len(WISHES) * len(PLACES) * 3  # different tales
floor = N * math.log(drawn) / len(tales)  # nats per character
(FOLDER / "tales.txt").write_text(tales, encoding="utf-8")
print(f"{len(tales):,} characters, {floor:.3f} nats each at best\n\n{tales[:330]}")

# %% [markdown]
# ## Three ways to learn it
#
# Each gets the same few steps. *From nothing* starts from random weights; *fine-tuned* from the base model, at a
# lower learning rate, because its weights are worth keeping; *LoRA* freezes the base's matrices and trains a product
# of two thin ones beside each (rank 4), which is merged into the weights when the model is saved.

# %%
WAYS = {
    "from nothing": (MODEL, {"optim.lr": 4e-3}),
    "fine-tuned": ({"model.pretrained": FOLDER / "base", "optim.lr": 2e-3}, {}),
    "LoRA": (
        {"model.pretrained": FOLDER / "base", "optim.lr": 1e-2},
        {"lora.rank": 4, "lora.targets": ["attn.*", "mlp.*"]},
    ),
}
runs = {}
for name, (start, more) in WAYS.items():
    runs[name] = train(SETTINGS, start, more, {
        "data.path": FOLDER / "tales.txt", "trainer.max_steps": MORE, "eval.every_n_steps": max(1, MORE // 8),
        "hydra.run.dir": FOLDER / name,
    })  # fmt: skip

manual_ids = base.tokenizer.encode(manual[-20_000:])
forgetting = {"base": evaluate(base.model, manual_ids).loss}
for name in ("fine-tuned", "LoRA"):
    forgetting[name] = evaluate(runs[name].model, manual_ids).loss

for name, run in runs.items():
    left = f", on the manual {forgetting[name]:.3f}" if name in forgetting else ""
    print(f"{name:13s} {run.summary['val/loss']:.3f} nats per character on the tales{left}")
print(f"{'base':13s} on the manual {forgetting['base']:.3f}")

# %%
COLOURS = {"from nothing": "#7F7F7F", "fine-tuned": "#0072B2", "LoRA": "#D55E00"}
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained", width_ratios=(3, 2))
for name, run in runs.items():
    points = zip(run.metrics["step"], run.metrics["val/loss"], strict=True)
    steps, losses = zip(*[(s, v) for s, v in points if v is not None and v == v], strict=True)
    left.plot(steps, losses, "o-", color=COLOURS[name], markersize=4, label=name)
left.set(xlabel="step on the tales", ylabel="validation loss (nats per character)", title="What pretraining is worth")
left.axhline(floor, color="black", linestyle=":", linewidth=1, label="the grammar's choices")
left.set_ylim(bottom=0)
left.legend()
right.barh(list(forgetting), list(forgetting.values()), color=["black", COLOURS["fine-tuned"], COLOURS["LoRA"]])
right.invert_yaxis()
right.set(xlabel="loss on the manual", title="What is forgotten")
plt.show()

# %% [markdown]
# In 64 steps the fine-tuned model reaches a loss less than half of the one from nothing: it knew letters, words and
# full stops before it saw a tale. The price is on the right. Nothing asked it to stay good at the manual, and it is
# not. LoRA, with a twentieth as many trained numbers, ends between the two on the tales and forgets somewhat less,
# though far from little: what is trained on tales alone writes tales.

# %%
for name, run in runs.items():
    print(f"--- {name}")
    print(run.generate("The owl met the ", max_new_tokens=110, temperature=0.5, seed=3))

# %% [markdown]
# ## Elsewhere
#
# `export` writes Hugging Face's format: `config.json`, `model.safetensors`, the tokenizer and a model card. It opens
# what it wrote, compares the logits, and only then says that it is done. (In a terminal: `microgpt-export RUN OUT
# --format hf`.)

# %%
exported = FOLDER / "exported"
difference = export(runs["fine-tuned"], exported, "hf")
settings = json.loads((exported / "config.json").read_text(encoding="utf-8"))
print("largest difference of the logits below 1e-4:", difference < 1e-4)
print(sorted(path.name for path in exported.iterdir()))
print({key: settings[key] for key in ("architectures", "hidden_size", "num_hidden_layers", "vocab_size")})

# %%
prompt = "The hare met the "
ours = runs["fine-tuned"].generate(prompt, max_new_tokens=60, temperature=0)
if importlib.util.find_spec("transformers"):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    their_tokenizer = AutoTokenizer.from_pretrained(exported)
    their_model = AutoModelForCausalLM.from_pretrained(exported)
    tokens = their_tokenizer(prompt, return_tensors="pt")["input_ids"]
    new = their_model.generate(tokens, max_new_tokens=40, do_sample=False, pad_token_id=0)
    theirs = their_tokenizer.decode(new[0])
    print("transformers:", theirs)
else:
    print("pip install transformers to open it there; microgpt's own reader opens the same folder:")
    reopened = GPT.from_pretrained(exported)
    tokens = torch.tensor([base.tokenizer.encode(prompt)])
    theirs = base.tokenizer.decode(reopened.generate(tokens, 40, do_sample=False)[0].tolist())
    print("reopened:    ", theirs)
print("microgpt:    ", ours[: len(theirs)])

# %% [markdown]
# The folder is what `llama.cpp`'s `convert_hf_to_gguf.py`, text-generation servers and the Hub expect. It holds no
# pickle and no code: opening it runs nothing.
#
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
# **1.** How many numbers does LoRA of rank $r$ train for one matrix of `rows` by `columns`?


# %%
# Exercise 1
def trained(rows, columns, rank): ...


def of_the_library(rows, columns, rank):
    from microgpt.model.lora import LoRAConfig, LoRALinear

    layer = LoRALinear(torch.nn.Linear(columns, rows, bias=False), LoRAConfig(rank=rank))
    return layer.lora_a.numel() + layer.lora_b.numel()


check(
    1,
    trained(288, 96, 4),
    lambda n: n == of_the_library(288, 96, 4),
    "The update is B A, with A (rank, columns) and B (rows, rank).",
)


# %% [markdown]
# **2.** Merge an update by hand: the matrix that does in one product what LoRA does in three, $W + \frac{\alpha}{r} B
# A$.


# %%
# Exercise 2
def merged(W, A, B, alpha):
    """(rows, columns), (rank, columns), (rows, rank) -> (rows, columns)"""
    ...


W, A, B = torch.ones(3, 2), torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0], [0.0], [-1.0]])
check(
    2,
    merged(W, A, B, alpha=2.0),
    lambda M: torch.equal(M, torch.tensor([[3.0, 5.0], [1.0, 1.0], [-1.0, -3.0]])),
    "The rank is A.shape[0].",
)


# %% [markdown]
# **3.** How far has fine-tuning moved each weight? Return, for two models of the same shape, the size of the change
# relative to the weight, $\|W' - W\| / \|W\|$, by name; the cell prints the largest.


# %%
# Exercise 3
def moved(before, after):
    """{name: relative change}"""
    ...


changes = moved(base.model, runs["fine-tuned"].model)
if changes:
    for name in sorted(changes, key=changes.get, reverse=True)[:5]:
        print(f"{name:28s} {changes[name]:.3f}")
old, new = (dict(run.model.named_parameters())["wte.weight"].detach() for run in (base, runs["fine-tuned"]))
check(
    3,
    changes,
    lambda found: (
        len(found) == len(list(base.model.parameters()))
        and abs(float(found["wte.weight"]) - ((new - old).norm() / old.norm()).item()) < 1e-4
    ),
    "dict(model.named_parameters()) has the weights of each by name; .norm() gives their size.",
)

# %% [markdown]
# **4.** Fine-tune once more with all weights frozen but those of the last block, `blocks.2`. The knob is
# `trainer.freeze`, a list of patterns such as `"wte.weight"` or `"blocks.0.*"`. Give the list.

# %%
# Exercise 4
frozen = None


def unchanged(patterns):
    """The names of the weights that two steps leave as they are."""
    run = train(SETTINGS, {
        "model.pretrained": FOLDER / "base", "data.path": FOLDER / "tales.txt", "trainer.max_steps": 2,
        "trainer.freeze": patterns, "hydra.run.dir": tempfile.mkdtemp(dir=FOLDER),
    })  # fmt: skip
    before = dict(base.model.named_parameters())
    return {name for name, weight in run.model.named_parameters() if torch.equal(weight, before[name])}


check(
    4,
    frozen,
    lambda patterns: unchanged(patterns) == {n for n, _ in base.model.named_parameters() if "blocks.2." not in n},
    "Print the names: [name for name, _ in base.model.named_parameters()]. The head and the last norm count too.",
)

# %% [markdown]
# **5.** What a file holds should be no secret. Read the exported `model.safetensors` with the library of that name
# and return the number of parameters in it.


# %%
# Exercise 5
def parameters_in(path): ...


check(
    5,
    parameters_in(exported / "model.safetensors"),
    lambda n: n == base.model.num_params(),
    "safetensors.torch.load_file(path) gives a dict of tensors.",
)
