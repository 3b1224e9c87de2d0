"""What a GPT is made of: every knob of the model, with its default. Imports no more than the position schemes."""

from collections.abc import Iterator
from typing import Literal

from microgpt.config import Config, Count, Fault, Fraction, Natural, NonNegative, Positive
from microgpt.model.pos.base import PositionConfig
from microgpt.model.pos.rope import RoPEConfig


class GPTConfig(Config):
    """The architecture. The size of the vocabulary comes from the tokenizer and is no knob."""

    n_layer: Count = 4
    "Transformer blocks."
    n_head: Count = 4
    "Attention heads."
    n_kv_head: Count | None = None
    "Heads of keys and values, each shared by n_head / n_kv_head queries (grouped-query attention); null: n_head."
    n_embd: Count = 128
    "Width of the residual stream."
    block_size: Count = 64
    "Context: the most tokens that the model sees at once."
    pos: PositionConfig = RoPEConfig()
    "How the model knows the order of the tokens."
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    "Normalisation before attention and MLP."
    norm_eps: Positive = 1e-5
    "Added to the variance before its root is taken."
    norm_affine: bool = True
    "Whether norms have a learned gain (and, with `bias`, a learned shift)."
    mlp: Literal["gelu", "gelu_tanh", "relu2", "swiglu"] = "gelu"
    "Activation of the MLP; swiglu is gated and has three matrices."
    mlp_hidden: Count | None = None
    "Width of the MLP's hidden layer; null: 4 n_embd, and as many parameters for swiglu."
    bias: bool = False
    "Whether linear layers and layer norms have a bias."
    tie_weights: bool = False
    "Whether the output head uses the token embedding's matrix."
    qk_norm: bool = False
    "Whether queries and keys are normalised before they meet."
    dropout: Fraction = 0.0
    "Share of embeddings, attention and residual updates dropped in training."
    logit_softcap: NonNegative = 0.0
    "Logits are held within -+ this by a tanh; 0: as they are."
    init: Literal["gpt2", "zero"] = "gpt2"
    "gpt2: deviation 0.02, residual projections scaled by depth; zero: residual projections and head start at zero."
    attention: Literal["auto", "sdpa", "reference"] = "auto"
    "auto: the fastest here; sdpa: torch's fused kernels; reference: written out to be read."
    ngram_embed: Natural = 0
    "Buckets of hashed embeddings of the last two and the last three tokens, added to the input; 0: none."
    prev_embed: Natural = 0
    "So many tokens before each one are embedded too, each distance by rows of its own, and added to the input."
    value_embed: bool = False
    "Whether every other layer adds a token embedding of its own to its values."
    resid_scale: bool = False
    "Whether each layer learns how much of the stream and of the embedding it starts from."
    pretrained: str | None = None
    "What to start from: a name of the Hugging Face Hub, its folder, or a run; its architecture and tokenizer win."

    @property
    def kv_heads(self) -> int:
        return self.n_kv_head or self.n_head

    @property
    def head_width(self) -> int:
        return self.n_embd // self.n_head

    @property
    def hidden(self) -> int:
        """Width of the MLP's hidden layer."""
        if self.mlp_hidden is not None:
            return self.mlp_hidden
        if self.mlp == "swiglu":
            return max(8, round(self.n_embd * 8 / 3 / 8) * 8)  # three matrices of 8/3 C weigh as much as two of 4 C
        return 4 * self.n_embd

    def check(self) -> Iterator[Fault]:
        if self.n_embd % self.n_head:
            near = max(1, round(self.n_embd / self.n_head)) * self.n_head
            what = f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}"
            yield Fault("n_embd", what, f"n_embd={near} is")
        else:
            for fault in self.pos.check_model(self.n_embd, self.n_head, self.block_size):
                yield fault.under("pos")
        if self.n_head % self.kv_heads:
            fits = ", ".join(str(n) for n in range(1, self.n_head + 1) if self.n_head % n == 0)
            what = f"n_kv_head {self.kv_heads} does not divide n_head {self.n_head}"
            yield Fault("n_kv_head", what, f"one of {fits}")
        if self.prev_embed >= self.block_size:
            what = f"prev_embed {self.prev_embed} looks beyond a context of {self.block_size}"
            yield Fault("prev_embed", what, f"prev_embed={self.block_size - 1} at most")
        if self.init == "zero" and self.tie_weights:
            what = "init 'zero' makes a head of zeros, and tie_weights makes it the token embedding"
            yield Fault("init", what, "set tie_weights=false or init=gpt2")
