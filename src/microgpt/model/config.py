"""The model's configuration: every knob with its default. Imports only the families of parts."""

from collections.abc import Iterator
from typing import Literal

from torch import nn

from microgpt.config import Config, Count, Fault, Fraction, Natural, NonNegative, Positive
from microgpt.contract import built
from microgpt.model.contracts import Sizes, check_layer, check_position
from microgpt.model.mlp.base import MLPConfig
from microgpt.model.mlp.gelu import GELUConfig
from microgpt.model.norm.base import NormConfig
from microgpt.model.norm.rmsnorm import RMSNormConfig
from microgpt.model.pos.base import Position, PositionConfig
from microgpt.model.pos.rope import RoPEConfig


class GPTConfig(Config):
    """The architecture. The vocabulary size is not a knob: it comes from the tokenizer."""

    n_layer: Count = 4
    "Transformer blocks."
    n_head: Count = 4
    "Attention heads."
    n_kv_head: Count | None = None
    "Heads of keys and values, each shared by n_head / n_kv_head queries (grouped-query attention); null: n_head."
    n_embd: Count = 128
    "Width of the residual stream."
    block_size: Count = 64
    "Context: the most tokens the model sees at once."
    pos: PositionConfig = RoPEConfig()
    "Position scheme: how the model knows the order of the tokens."
    norm: NormConfig = RMSNormConfig()
    "Normalisation of the residual stream."
    norm_place: Literal["pre", "post", "sandwich"] = "pre"
    "Norms before each sublayer, after each residual sum, or before and after each sublayer."
    residual: Literal["sequential", "parallel"] = "sequential"
    "Whether a block's MLP reads the stream after attention, or beside it the block's input (GPT-NeoX)."
    norm_eps: Positive = 1e-5
    "Added to the variance before the square root."
    norm_affine: bool = True
    "Whether norms have a learned gain (and, with `bias`, a learned shift)."
    mlp: MLPConfig = GELUConfig()
    "The feed-forward half of a block; swiglu and geglu are gated and have three matrices."
    mlp_hidden: Count | None = None
    "Width of the MLP's hidden layer; null: 4 n_embd, or as many parameters for a gated one."
    bias: bool = False
    "Whether linear layers and layer norms have a bias."
    tie_weights: bool = False
    "Whether the output head shares the token embedding's matrix."
    qk_norm: bool = False
    "Whether queries and keys are normalised before their product."
    dropout: Fraction = 0.0
    "Dropout probability of embeddings, attention and residual updates."
    logit_softcap: NonNegative = 0.0
    "Bound of the logits, enforced with a tanh; 0: none."
    init: Literal["gpt2", "zero"] = "gpt2"
    "gpt2: deviation 0.02, residual projections scaled by depth; zero: residual projections and head start at zero."
    attention: Literal["auto", "sdpa", "reference"] = "auto"
    "auto: the fastest here; sdpa: torch's fused kernels; reference: written out to be read."
    ngram_embed: Natural = 0
    "Rows in each table of hashed bigram and trigram embeddings, added to the input; 0: none."
    prev_embed: Natural = 0
    "Number of earlier tokens to embed at each position, with a table per distance, added to the input; 0: none."
    value_embed: bool = False
    "Whether every other layer adds its own token embedding to its values."
    resid_scale: bool = False
    "Whether each layer's input is a learned mix of the residual stream and the embedding."
    pretrained: str | None = None
    "Weights to start from: a name on the Hugging Face Hub, a folder, or a run; its architecture and tokenizer win."

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values: `n_kv_head`, or `n_head` where that is null."""
        return self.n_kv_head or self.n_head

    @property
    def head_width(self) -> int:
        """Width of one head, D = n_embd / n_head."""
        return self.n_embd // self.n_head

    @property
    def hidden(self) -> int:
        """Width of the MLP's hidden layer."""
        return self.mlp_hidden or self.mlp.default_hidden(self.n_embd)

    def build_pos(self) -> Position:
        """The position scheme; one of the user's own is tried on a tiny input."""
        made: Position = built(self.pos, self.n_embd, self.n_head, self.block_size)
        check_position(self.pos, made, Sizes(self.n_embd, self.n_head, self.kv_heads, self.block_size))
        return made

    def build_norm(self) -> nn.Module:
        """A norm of the residual stream, (..., C) -> (..., C); one of the user's own is tried on a tiny input."""
        made: nn.Module = built(self.norm, self.n_embd, self.norm_eps, self.norm_affine, self.norm_affine and self.bias)
        check_layer(self.norm, made, self.n_embd)
        return made

    def build_mlp(self) -> nn.Module:
        """The feed-forward half of a block, (B, T, C) -> (B, T, C); one of the user's own is tried on a tiny input."""
        made: nn.Module = built(self.mlp, self.n_embd, self.hidden, self.bias, self.dropout)
        check_layer(self.mlp, made, self.n_embd)
        return made

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
        if self.residual == "parallel" and self.norm_place == "post":
            what = "residual 'parallel' adds attention and MLP in one sum, and norm_place 'post' normalises two"
            yield Fault("residual", what, "set norm_place=pre or norm_place=sandwich")
        if self.init == "zero" and self.tie_weights:
            what = "init 'zero' makes a head of zeros, and tie_weights makes it the token embedding"
            yield Fault("init", what, "set tie_weights=false or init=gpt2")
