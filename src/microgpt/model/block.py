"""One layer: attention, then the MLP, each with its norms and added to the residual stream."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from microgpt.model.attention import Attention, Context
from microgpt.model.config import GPTConfig


class Block(nn.Module):
    """Residual block, (B, T, C) -> (B, T, C), with norms placed according to `config.norm_place`.

    For a sublayer f, attention or MLP:

        pre       x + f(norm(x))              GPT-2, Llama (Xiong et al., https://arxiv.org/abs/2002.04745)
        post      norm(x + f(x))              the original Transformer (https://arxiv.org/abs/1706.03762)
        sandwich  x + norm(f(norm(x)))        CogView (https://arxiv.org/abs/2105.13290), Gemma 2

    With `config.residual=parallel` the MLP reads the layer's input instead of the stream after attention, so that
    neither waits for the other: x + attn(norm1(x)) + mlp(norm2(x)), as in GPT-J and GPT-NeoX
    (https://arxiv.org/abs/2204.06745).
    """

    def __init__(self, config: GPTConfig, layer: int, vocab_size: int) -> None:
        super().__init__()
        self.place, self.is_parallel = config.norm_place, config.residual == "parallel"
        self.norm1 = config.build_norm()
        self.attn = Attention(config, layer, vocab_size)
        self.norm2 = config.build_norm()
        self.mlp = config.build_mlp()
        if self.place == "sandwich":
            self.post_norm1, self.post_norm2 = config.build_norm(), config.build_norm()

    def forward(self, x: Tensor, context: Context) -> Tensor:
        if self.place == "post":
            x = self.norm1(x + self.attn(x, context))
            return self.norm2(torch.add(x, self.mlp(x)))  # type: ignore[no-any-return]
        if self.place == "sandwich":
            middle = x + self.post_norm1(self.attn(self.norm1(x), context))
            return torch.add(middle, self.post_norm2(self.mlp(self.norm2(x if self.is_parallel else middle))))
        middle = x + self.attn(self.norm1(x), context)
        return torch.add(middle, self.mlp(self.norm2(x if self.is_parallel else middle)))


def run_block(block: nn.Module, x: Tensor, context: Context) -> Tensor:
    """Run one layer. The same code for all layers: compiled, it is compiled once for those that are alike."""
    return block(x, context)  # type: ignore[no-any-return]


RunBlock = Callable[[nn.Module, Tensor, Context], Tensor]
