"""The architecture once more, as its papers write it, with a hook point at every activation: what the tests of
activations compare with. It shares no code with the model, only its weights."""

import math
from typing import Any

import torch
from torch import Tensor, nn


class PlainGPT(nn.Module):
    """One text at a time, without a cache; `points[name]` is an `nn.Identity` that passes the activation `name`."""

    def __init__(self, config: dict[str, Any], weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.c, self.w, self.points = config, weights, nn.ModuleDict()

    def point(self, name: str, x: Tensor) -> Tensor:
        key = name.replace(".", "/")
        if key not in self.points:
            self.points[key] = nn.Identity()
        y: Tensor = self.points[key](x)
        return y

    def linear(self, name: str, x: Tensor) -> Tensor:
        y = torch.einsum("...i,oi->...o", x, self.w[f"{name}.weight"])
        return y + self.w[f"{name}.bias"] if f"{name}.bias" in self.w else y

    def norm(self, name: str, x: Tensor) -> Tensor:
        gain, shift = self.w.get(f"{name}.weight", torch.ones(())), self.w.get(f"{name}.bias", torch.zeros(()))
        if self.c["norm"] == "none":
            y = x
        elif self.c["norm"] == "rmsnorm":
            y = gain * x / (x.pow(2).mean(-1, keepdim=True) + self.c["norm_eps"]).sqrt()
        else:
            centred = x - x.mean(-1, keepdim=True)
            y = gain * centred / (centred.pow(2).mean(-1, keepdim=True) + self.c["norm_eps"]).sqrt() + shift
        return self.point(name, y)

    def forward(self, ids: list[int]) -> Tensor:
        x = self.point("wte", self.w["wte.weight"][ids])  # (T, C)
        if self.c["ngram_embed"]:
            x = x + self.point("ngram", torch.stack([self.ngram(ids, t) for t in range(len(ids))]))
        if self.c["prev_embed"]:
            x = x + self.point("prev", torch.stack([self.previous(ids, t) for t in range(len(ids))]))
        x = self.point("embed", x + self.added_positions(len(ids)))
        first = x
        for layer in range(self.c["n_layer"]):
            if self.c["resid_scale"]:
                x = self.w["stream_scale"][layer] * x + self.w["embed_scale"][layer] * first
            x = self.block(f"blocks.{layer}", x, ids)
        x = x if self.c["norm_place"] == "post" else self.norm("norm", x)
        logits = x @ self.w["wte.weight" if self.c["tie_weights"] else "head.weight"].T
        cap = self.c["logit_softcap"]
        return self.point("logits", cap * torch.tanh(logits / cap) if cap else logits)

    def block(self, at: str, x: Tensor, ids: list[int]) -> Tensor:
        place = self.c["norm_place"]
        x = entered = self.point(f"{at}.resid.pre", x)
        for i, sublayer, name in ((1, self.attention, "resid.mid"), (2, self.mlp, "resid.post")):
            read = entered if self.c["residual"] == "parallel" else x
            y = sublayer(at, x if place == "post" else self.norm(f"{at}.norm{i}", read), ids)
            y = self.norm(f"{at}.post_norm{i}", y) if place == "sandwich" else y
            x = self.norm(f"{at}.norm{i}", x + y) if place == "post" else x + y
            x = self.point(f"{at}.{name}", x)
        return x

    def mlp(self, at: str, x: Tensor, ids: list[int]) -> Tensor:
        wide = self.linear(f"{at}.mlp.widen", x)
        gate, value = wide.chunk(2, -1)
        hidden = {
            "gelu": lambda: wide * (1 + torch.erf(wide / math.sqrt(2))) / 2,
            "gelu_tanh": lambda: wide * (1 + torch.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3))) / 2,
            "relu": lambda: wide.clamp(min=0),
            "relu2": lambda: wide.clamp(min=0) ** 2,
            "swiglu": lambda: gate * torch.sigmoid(gate) * value,
            "geglu": lambda: gate * (1 + torch.erf(gate / math.sqrt(2))) / 2 * value,
        }[self.c["mlp"]]()
        return self.point(f"{at}.mlp", self.linear(f"{at}.mlp.out", self.point(f"{at}.mlp.hidden", hidden)))

    def attention(self, at: str, x: Tensor, ids: list[int]) -> Tensor:
        T, C = x.shape
        H, K = self.c["n_head"], self.c["n_kv_head"] or self.c["n_head"]
        D = C // H
        qkv = self.point(f"{at}.attn.qkv", self.linear(f"{at}.attn.qkv", x))
        q, k, v = (y.view(T, -1, D).transpose(0, 1) for y in qkv.split([C, K * D, K * D], dim=-1))
        if f"{at}.attn.value_embed.weight" in self.w:
            v = v + self.w[f"{at}.attn.value_embed.weight"][ids].view(T, K, D).transpose(0, 1)
        if self.c["qk_norm"]:
            q, k = (y / (y.pow(2).mean(-1, keepdim=True) + self.c["norm_eps"]).sqrt() for y in (q, k))
        if self.c["pos"]["name"] == "rope":
            q, k = self.rotated(q), self.rotated(k)
        q, k, v = (self.point(f"{at}.attn.{n}", y) for n, y in (("q", q), ("k", k), ("v", v)))
        k, v = (torch.stack([y[h * K // H] for h in range(H)]) for y in (k, v))
        scores = torch.einsum("hqd,hkd->hqk", q, k) / math.sqrt(D) + self.bias(T)
        future = torch.arange(T)[:, None] < torch.arange(T)
        scores = self.point(f"{at}.attn.scores", scores.masked_fill(future, -math.inf))
        scores = (scores - scores.amax(-1, keepdim=True)).exp()
        weights = scores / scores.sum(-1, keepdim=True)
        weights = self.point(f"{at}.attn.probabilities", weights)
        z = self.point(f"{at}.attn.z", torch.einsum("hqk,hkd->hqd", weights, v))
        matrix = self.w[f"{at}.attn.out.weight"].view(C, H, D)
        heads = [self.point(f"{at}.attn.head.{h}", z[h] @ matrix[:, h].T) for h in range(H)]
        return self.point(f"{at}.attn.out", sum(heads, self.w.get(f"{at}.attn.out.bias", torch.zeros(C))))

    def rotated(self, x: Tensor) -> Tensor:
        """Pairs (i, i + D/2) of the first D channels as complex numbers, turned."""
        T, D = x.shape[1], int(x.shape[2] * self.c["pos"]["fraction"])
        angle = torch.arange(T)[:, None] * self.c["pos"]["theta"] ** (-torch.arange(0, D, 2) / D)
        turned = torch.complex(x[..., : D // 2], x[..., D // 2 : D]) * torch.polar(torch.ones_like(angle), angle)
        return torch.cat((turned.real, turned.imag, x[..., D:]), -1)

    def added_positions(self, T: int) -> Tensor:
        name, C = self.c["pos"]["name"], self.c["n_embd"]
        if name == "learned":
            return self.w["pos.wpe.weight"][:T]
        table = torch.zeros(T, C)
        if name == "sinusoidal":
            for t in range(T):
                for i in range(0, C, 2):
                    angle = t / self.c["pos"]["theta"] ** (i / C)
                    table[t, i], table[t, i + 1] = math.sin(angle), math.cos(angle)
            table = table * self.c["pos"]["scale"]
        return table

    def bias(self, T: int) -> Tensor:
        """(H, T, T)"""
        H, name = self.c["n_head"], self.c["pos"]["name"]
        bias = torch.zeros(H, T, T)
        for q in range(T):
            for k in range(q + 1):
                if name == "alibi":
                    bias[:, q, k] = torch.tensor([-(q - k) * 2 ** (-8 * (h + 1) / H) for h in range(H)])
                elif name == "t5":
                    bias[:, q, k] = self.w["pos.table.weight"][self.bucket(q - k)]
        return bias

    def bucket(self, distance: int) -> int:
        n, most = self.c["pos"]["num_buckets"], self.c["pos"]["max_distance"]
        if distance < n // 2:
            return distance
        share = math.log(distance / (n // 2)) / math.log(most / (n // 2))
        return min(n - 1, n // 2 + int(share * (n - n // 2)))

    def ngram(self, ids: list[int], t: int) -> Tensor:
        a, b, c = ((ids[t - i] + 1 if t >= i else 0) for i in (2, 1, 0))
        rows, base = self.c["ngram_embed"], len(self.w["wte.weight"]) + 1
        pair = b * base + c
        triple = a * 1_000_003 + pair * 31
        return self.w["ngram.pairs.weight"][pair % rows] + self.w["ngram.triples.weight"][triple % rows]

    def previous(self, ids: list[int], t: int) -> Tensor:
        reach, base = self.c["prev_embed"], len(self.w["wte.weight"]) + 1
        rows = self.w["prev.rows.weight"].view(reach, base, -1)
        return torch.stack([rows[reach - i, ids[t - i] + 1 if t >= i else 0] for i in range(1, reach + 1)]).sum(0)
