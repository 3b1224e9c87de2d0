"""The GPT: embeddings, blocks, head, loss and initialisation.

B batch, T tokens, C = n_embd, V vocabulary. Weights are a pure function of torch's generator at construction.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microgpt.errors import UsageError
from microgpt.model.attention import Context
from microgpt.model.block import Block, RunBlock, run_block
from microgpt.model.config import GPTConfig
from microgpt.model.embeddings import NgramEmbedding, PreviousEmbedding, add_before
from microgpt.model.generation.kv_cache import KVCache, StaticCache
from microgpt.model.kernels.attention import added_mask, chosen
from microgpt.model.kernels.cross_entropy import MOST, cross_entropy, piecewise_cross_entropy
from microgpt.model.kernels.linear import Linear, linear
from microgpt.model.patches import Patchable
from microgpt.model.pos.base import Start


class GPT(nn.Module, Patchable):
    """A decoder-only transformer (https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)
    whose parts its config chooses.

    Args:
        config: the architecture.
        vocab_size: number of distinct tokens, from the tokenizer.
    """

    def __init__(self, config: GPTConfig, vocab_size: int) -> None:
        super().__init__()
        if vocab_size < 1:
            raise UsageError(f"vocab_size {vocab_size}", "GPT", "it is the tokenizer's number of tokens, 1 or more")
        self.config, self.vocab_size = config, vocab_size
        C, L = config.n_embd, config.n_layer
        self.wte = nn.Embedding(vocab_size, C)
        self.ngram = NgramEmbedding(config, vocab_size) if config.ngram_embed else None
        self.prev = PreviousEmbedding(config, vocab_size) if config.prev_embed else None
        self.pos = config.build_pos()
        self.blocks = nn.ModuleList(Block(config, layer, vocab_size) for layer in range(L))
        self.norm = nn.Identity() if config.norm_place == "post" else config.build_norm()
        self.head = None if config.tie_weights else Linear(C, vocab_size, bias=False)
        # Each layer's input is a learned mix of the stream and the embedding, initially the stream alone.
        self.stream_scale = nn.Parameter(torch.ones(L)) if config.resid_scale else None
        self.embed_scale = nn.Parameter(torch.zeros(L)) if config.resid_scale else None
        self.init_weights()

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, *, block_size: int | None = None, dropout: float = 0.0
    ) -> "GPT":
        """Load a trained GPT-2, GPT-NeoX, Llama, Mistral, Qwen2 or Qwen3, in eval mode and in its stored dtype.

        Args:
            name_or_folder: a folder in Hugging Face's format or in ours, or a name on the Hugging Face Hub (`gpt2`),
                which is downloaded and cached.
            block_size: a shorter context than the model's own.
            dropout: for further training.

        Raises:
            CheckpointError: the folder is missing or damaged, or our parts cannot express the model.
            MachineError: the Hub cannot be reached, or huggingface_hub is not installed.
        """
        from microgpt.model.files.hf import from_pretrained

        return from_pretrained(name_or_folder, block_size=block_size, dropout=dropout)

    @torch.no_grad()
    def init_weights(self) -> None:
        """Draw new weights from torch's generator.

        `gpt2`: deviation 0.02, or 0.02 / sqrt(2 n_layer) for the 2 n_layer matrices that add to the residual stream,
        so that its variance does not grow with depth. `zero`: these matrices and the head start at zero, so that every
        block starts as the identity; other matrices have deviation 0.7 / sqrt(inputs). If norms follow the sublayers
        (sandwich), their gains start at zero instead, because a norm's gradient at zero is huge. Either way the first
        loss is about ln V.
        """
        zero, is_sandwich = self.config.init == "zero", self.config.norm_place == "sandwich"
        residual = 0.02 / math.sqrt(2 * self.config.n_layer)
        for name, module in self.named_modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.3 if zero else 0.02)
            elif isinstance(module, nn.Linear):
                is_residual = name.endswith(".out")
                if zero:
                    is_silent = name == "head" or (is_residual and not is_sandwich)
                    std = 0.0 if is_silent else 0.7 / math.sqrt(module.in_features)
                else:
                    std = residual if is_residual else 0.02
                nn.init.normal_(module.weight, std=std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif zero and ".post_norm" in name and isinstance(gain := getattr(module, "weight", None), Tensor):
                nn.init.zeros_(gain)

    @overload
    def forward(
        self, idx: Tensor, targets: Tensor | None = None, return_attention: Literal[False] = False,
        cache: KVCache | None = None, reduction: str = "mean",
    ) -> tuple[Tensor, Tensor | None]: ...  # fmt: skip

    @overload
    def forward(
        self, idx: Tensor, targets: Tensor | None = None, *, return_attention: Literal[True],
        cache: KVCache | None = None, reduction: str = "mean",
    ) -> tuple[Tensor, Tensor | None, list[Tensor]]: ...  # fmt: skip

    def forward(
        self,
        idx: Tensor,
        targets: Tensor | None = None,
        return_attention: bool = False,
        cache: KVCache | None = None,
        reduction: str = "mean",
    ) -> tuple[Tensor, Tensor | None] | tuple[Tensor, Tensor | None, list[Tensor]]:
        """Logits for the token after each token, and the loss.

        Args:
            idx: (B, T) int64 tokens; T plus the cache's length is at most block_size.
            targets: (B, T) int64: the token that follows each; -100 is not counted.
            return_attention: also return each layer's attention probabilities, from the reference implementation.
            cache: keys and values of earlier tokens; the call appends those of `idx`.
            reduction: the loss's reduction: `mean`, `sum` or `none`, which returns (B, T).

        Returns:
            logits (B, T, V); the loss in nats per token, float32, None without targets; with return_attention a list
            of n_layer tensors (B, H, T, T).

        Raises:
            UsageError: there are more tokens than fit in the context.
        """
        probabilities: list[Tensor] | None = [] if return_attention else None
        logits = self.logits(self.trunk(idx, cache, probabilities))
        loss = None if targets is None else cross_entropy(logits, targets, reduction)
        return (logits, loss) if probabilities is None else (logits, loss, probabilities)

    def loss(self, idx: Tensor, targets: Tensor, most_logits: int = MOST, run: RunBlock = run_block) -> Tensor:
        """The mean loss of `forward`, with less memory for a large vocabulary: it never holds all logits at once.

        Args:
            idx: (B, T) int64 tokens.
            targets: (B, T) int64: the token that follows each; -100 is not counted.
            most_logits: the most logits to compute at once; a B T V beyond it is computed in pieces.
            run: what runs a block, such as a compiled `run_block`.
        """
        x = self.trunk(idx, run=run)
        if idx.numel() * self.vocab_size <= most_logits:
            return cross_entropy(self.logits(x), targets)
        weight, cap = (self.head or self.wte).weight, self.config.logit_softcap
        return piecewise_cross_entropy(x.flatten(0, 1), weight, targets.flatten(), cap, most_logits)

    def trunk(
        self, idx: Tensor, cache: KVCache | None = None, probabilities: list[Tensor] | None = None,
        run: RunBlock = run_block,
    ) -> Tensor:  # fmt: skip
        """Everything but the head: (B, T) tokens -> (B, T, C), normalised. Takes arguments of `forward` and `loss`."""
        T, held = idx.shape[1], 0 if cache is None else cache.length
        start: Start = held if cache is None else cache.start
        if held + T > self.config.block_size:
            what = f"{held + T} tokens for a context of {self.config.block_size}"
            raise UsageError(what, "the model's input", "crop it, or build the model with a larger block_size")
        before = [module for module in (self.ngram, self.prev) if module is not None]
        x = add_before(self.wte(idx), idx, before, cache)
        x = self.pos.embed(x, start)
        if self.config.dropout and self.training:
            x = F.dropout(x, self.config.dropout)
        bias = cache.mask if isinstance(cache, StaticCache) else self.pos.bias(T, held + T)
        is_plain = bias is None and not (self.config.dropout and self.training)
        attend = chosen(self.config.attention, T, x, is_plain)
        mask = added_mask(T, held + T, attend, bias, x.device)
        context = Context(idx, self.pos, start, mask, attend, cache, probabilities)
        first = x
        for layer, block in enumerate(self.blocks):
            if self.stream_scale is not None and self.embed_scale is not None:
                x = self.stream_scale[layer] * x + self.embed_scale[layer] * first
            x = run(block, x, context)
        if cache is not None:
            cache.advance(idx.shape[1])
        return self.norm(x)  # type: ignore[no-any-return]

    def logits(self, x: Tensor) -> Tensor:
        """(..., C) from the trunk -> (..., V)."""
        logits = self.project(x) if self.head is None else self.head(x)
        cap = self.config.logit_softcap
        return cap * torch.tanh(logits / cap) if cap else logits

    def project(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., V) with the token embedding's matrix, for a model with tied weights."""
        return linear(x, self.wte.weight)

    def generate(  # noqa: PLR0913  # a front door for notebooks: each setting is a keyword of its own
        self,
        idx: Tensor,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        do_sample: bool = True,
        use_cache: bool = True,
        stop_token: int | None = None,
        generator: torch.Generator | None = None,
        compile: bool = False,
    ) -> Tensor:
        """Append n = max_new_tokens tokens to (B, T) prompts, fewer if all rows stop: (B, T + n).

        The other arguments are documented in `generation.stream.stream` and `SamplingParams`."""
        from microgpt.model.generation.sampling import SamplingParams
        from microgpt.model.generation.stream import stream

        params = SamplingParams(
            temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, do_sample=do_sample,
            stop_token=stop_token, generator=generator,
        )  # fmt: skip
        new = list(stream(self, idx, max_new_tokens, params, use_cache, compile))
        return torch.cat((idx, torch.stack(new, dim=1)), dim=1) if new else idx.clone()

    def num_params(self, non_embedding: bool = False) -> int:
        """The number of weights; `non_embedding` excludes embedding tables, except one that is also the head."""
        total = sum(p.numel() for p in self.parameters())
        if non_embedding:
            tables = [m for m in self.modules() if isinstance(m, nn.Embedding)]
            total -= sum(m.weight.numel() for m in tables if not (m is self.wte and self.head is None))
        return total

    def parameter_table(self) -> Iterator[tuple[str, tuple[int, ...], int]]:
        """Yield each weight's name, shape and number of elements."""
        for name, p in self.named_parameters():
            yield name, tuple(p.shape), p.numel()

    def flops_per_token(self) -> int:
        """Floating-point operations of training on one token, for the model FLOPs utilisation (MFU).

        As in appendix B of PaLM (https://arxiv.org/abs/2204.02311): each weight of a matrix product takes a multiply
        and an add forward and twice as many backward, 6 in all, or 4 if it is frozen and needs no gradient. Attention
        scores and the weighted sum of values take 2 T C each per layer forward, 12 L T C in all, for T = block_size
        and ignoring causality. Look-ups, norms and activations count as free.
        """
        tables = [m.weight for m in self.modules() if isinstance(m, nn.Embedding)]
        looked_up = {id(w) for w in tables if not (w is self.wte.weight and self.head is None)}
        matrices = [p for p in self.parameters() if p.ndim == 2 and id(p) not in looked_up]
        attention = 12 * self.config.n_layer * self.config.n_embd * self.config.block_size
        return sum(p.numel() * (6 if p.requires_grad else 4) for p in matrices) + attention
