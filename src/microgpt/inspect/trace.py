"""One forward pass over a text, with every activation by name. Needs torch and numpy alone."""

import operator
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor

from microgpt.data.tokenizer import Tokenizer
from microgpt.errors import NonFiniteError, UsageError
from microgpt.inspect.attention_map import AttentionMap
from microgpt.inspect.attribution import Attribution, attribute
from microgpt.inspect.page import listing
from microgpt.inspect.predictions import LogitLens, Surprisal, TopTokens, lens, surprisal, top
from microgpt.inspect.text import Text
from microgpt.model import GPT
from microgpt.model.activations import activation_names
from microgpt.model.instruments import head_output, tapped, tapped_names
from microgpt.model.patches import check_name
from microgpt.text import shown


def inspect(model: GPT, ids: Any, text: Text | None = None) -> "Trace":
    """Run a model over one text and keep every activation.

    Names and shapes are listed in `microgpt.model.activations`; there is no batch, so (B, T, C) is (T, C). The model
    runs in eval mode and without gradients. Within `model.patched` the activations are the patched ones.

        >>> from microgpt import GPT, GPTConfig
        >>> model = GPT(GPTConfig(n_layer=2, n_head=4, n_embd=32, block_size=16), vocab_size=10)
        >>> trace = inspect(model, [3, 1, 4, 1, 5])
        >>> tuple(trace["blocks.1.attn.probabilities"].shape)  # (H, T, T)
        (4, 5, 5)

    Args:
        ids: the text's tokens, T of them: a list, an array or a tensor (T,).
        text: how to show them; by default each as its index.

    Raises:
        UsageError: there are no tokens, more than the context holds, or ones outside the vocabulary.
        NonFiniteError: the model's logits are not finite.
    """
    tokens = checked(model, ids)
    record, was_training = Record(tapped_names(model)), model.training
    model.eval()
    try:
        with torch.no_grad(), tapped(model, [record]):
            logits = model.logits(model.trunk(tokens[None]))
    finally:
        model.train(was_training)
    if not bool(logits.isfinite().all()):
        raise NonFiniteError("the model's logits are not finite", "inspect", "its weights are damaged: train it anew")
    return Trace(model, tokens, text or Text.of_ids(tokens.tolist()), record.kept)


def inspect_text(model: GPT, tokenizer: Tokenizer, text: str) -> "Trace":
    """`inspect` of a text: see `Run.inspect`."""
    ids = tokenizer.prompt(text)
    return inspect(model, np.array(ids, np.int64), Text.of(ids, tokenizer))


def checked(model: GPT, ids: Any) -> Tensor:
    """The tokens (T,) of one text, on the model's device.

    Raises:
        UsageError: they are not tokens of this model, or do not fit its context.
    """
    tokens = torch.as_tensor(ids)
    if tokens.ndim == 2 and len(tokens) == 1:
        tokens = tokens[0]
    if tokens.ndim != 1 or (tokens.numel() and (tokens.is_floating_point() or tokens.is_complex())):
        what = f"tokens of shape {tuple(tokens.shape)} and type {tokens.dtype}"
        raise UsageError(what, "inspect", "give the tokens of one text, (T,) of int64")
    if not tokens.numel():
        raise UsageError("an empty text", "inspect", "give it at least one token")
    T, most, V = len(tokens), model.config.block_size, model.vocab_size
    if most < T:
        what = f"{T} tokens for a context of {most}"
        raise UsageError(what, "inspect", f"give at most {most} tokens, such as the last ones: text[-{most}:]")
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= V:
        what = f"token {low if low < 0 else high} of a vocabulary of {V}"
        raise UsageError(what, "inspect", f"tokens are 0 to {V - 1}")
    return tokens.to(model.wte.weight.device, torch.int64)


class Record:
    """The tap that keeps every activation of one text.

    Heads' outputs are H times as large as the others, and follow from `attn.z`: it keeps only the patched ones.
    """

    def __init__(self, patched: Collection[str]) -> None:
        self.patched, self.kept = patched, dict[str, Tensor]()

    def wants(self, name: str) -> bool:
        """Whether to compute the activation for this tap."""
        return ".attn.head." not in name or name in self.patched

    def see(self, name: str, value: Tensor) -> Tensor:
        """Keep the activation."""
        self.kept[name] = value.detach() if name == "pos.bias" else value.detach()[0]
        return value


@dataclass(frozen=True, repr=False)
class Trace:
    """A text's activations, by name: `trace["blocks.0.attn.q"]`. Iterating gives the names, in order of computation."""

    model: GPT
    ids: Tensor
    "(T,)"
    text: Text
    "The tokens as strings, in `text.tokens`."
    activations: dict[str, Tensor]

    @property
    def tokens(self) -> tuple[str, ...]:
        """Each token as a string."""
        return self.text.tokens

    def __getitem__(self, name: str) -> Tensor:
        """The activation of this name, without a batch.

        Raises:
            UsageError: the model has none of this name; the error gives near ones.
        """
        if name in self.activations:
            return self.activations[name]
        known = [n for n in activation_names(self.model) if n in self.activations or ".attn.head." in n]
        check_name(name, known, "the trace")
        place, _, head = name.rpartition(".head.")
        z = self.activations[f"{place}.z"].transpose(0, 1).flatten(1)  # (H, T, D) -> (T, C)
        with torch.no_grad():
            out = self.model.get_submodule(f"{place}.out")
            return head_output(out, z, int(head), self.model.config.n_head)

    def __contains__(self, name: object) -> bool:
        return name in self.activations or (".attn.head." in str(name) and name in activation_names(self.model))

    def __iter__(self) -> Iterator[str]:
        return iter(self.activations)

    def __len__(self) -> int:
        return len(self.activations)

    def __repr__(self) -> str:
        return f"Trace({len(self.ids)} tokens, {len(self)} activations)"

    def surprisal(self) -> Surprisal:
        """How surprised the model is by each token, from those before it: -log p, in nats and in bits."""
        return surprisal(self["logits"], self.ids, self.text)

    def top(self, k: int = 5) -> TopTokens:
        """The k likeliest next tokens after each token.

        Raises:
            UsageError: k is not from 1 to the size of the vocabulary.
        """
        return top(self["logits"], self.text, k)

    def logit_lens(self) -> LogitLens:
        """What the model would predict if it ended after each layer: the final norm and the head on the stream there
        (nostalgebraist, https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens)."""
        streams = {"embed": self["embed"]}
        streams |= {f"layer {i}": self[f"blocks.{i}.resid.post"] for i in range(self.model.config.n_layer)}
        return lens(self.model, streams, self.ids, self.text)

    def attention(self, layer: int, head: int) -> AttentionMap:
        """How much each token attends to each earlier one in a head.

        Raises:
            UsageError: there is no such layer or head.
        """
        layer = checked_index("layer", layer, self.model.config.n_layer)
        head = checked_index("head", head, self.model.config.n_head)
        weights = self[f"blocks.{layer}.attn.probabilities"][head]
        return AttentionMap(layer, head, weights.float().cpu().numpy(), self.text)

    def attribution(
        self, position: int = -1, token: int | str | None = None, versus: int | str | None = None
    ) -> Attribution:
        """How much each embedding, head and MLP adds to a logit; see `microgpt.inspect.attribution`.

        Args:
            position: the token after which the prediction is explained; negative ones count from the end.
            token: the predicted token, as an index or as it is shown; by default the text's next, or after its end the
                likeliest.
            versus: explain the difference to this token's logit.

        Raises:
            UsageError: there is no such position or token.
        """
        T = len(self.ids)
        if not -T <= position < T:
            raise UsageError(f"position {position} of {T} tokens", "attribution", f"positions are {-T} to {T - 1}")
        t = position % T
        if token is None:
            token = int(self.ids[t + 1]) if t + 1 < T else int(self["logits"][t].argmax())
        return attribute(self, t, self._index(token), None if versus is None else self._index(versus))

    def _index(self, token: int | str) -> int:
        if isinstance(token, str):
            return self.text.index(token)
        return checked_index("token", token, self.model.vocab_size)

    def _repr_html_(self) -> str:
        shapes = [(name, " x ".join(map(str, value.shape))) for name, value in self.activations.items()]
        return listing(("activation", "shape"), shapes, self.surprisal()._repr_html_())


def checked_index(kind: str, index: SupportsIndex, count: int) -> int:
    """A layer's, head's or token's index, which may be numpy's or torch's, as an int.

    Raises:
        UsageError: it is not from 0 to count - 1.
    """
    try:
        number = operator.index(index)
    except TypeError:
        number = -1
    if not 0 <= number < count:
        raise UsageError(f"no {kind} {shown(index)}", "the trace", f"{kind}s are 0 to {count - 1}")
    return number


def names(model: GPT) -> Sequence[str]:
    """The names of a model's activations, for `patched` and `Trace`."""
    return activation_names(model)
