"""A decoder-only transformer: from tokens to outputs that depend on the tokens so far.

    h = [tokens of the condition, E_t + position]           E_t rows of an embedding
    h = h + out(attend(qkv(norm(h)))),   h = h + down(act(up(norm(h))))      `layers` times
    y = V norm(h)                                           V = E where tied

Language models are unsupervised multitask learners (Radford et al., 2019, GPT-2), pre-norm. With
`norm = "rms"`, x / sqrt(mean(x^2) + eps) w, it is LLaMA's, and ImageGPT's norm without a mean.
With `feedforward` m, `gelu` and `quick_gelu`, x sigmoid(1.702 x), are down(act(up(h))) and
`swiglu` is down(silu(gate(h)) up(h)) (Shazeer, 2020, https://arxiv.org/abs/2002.05202).

Shapes: B batch, L tokens of an event, T new tokens, N tokens that share a position, P tokens of
the condition, U units.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from zoo_core.config import Range
from zoo_core.errors import ConfigError
from zoo_core.nn.attention import Blocks, KVCache, Mask, rotary_angles, rotate
from zoo_core.nn.condition_tokens import ConditionTokens
from zoo_core.nn.embedding import SinusoidalEmbedding
from zoo_core.nn.whole_batch import dropout
from zoo_core.spaces import Condition

__all__ = ["Transformer", "TransformerConfig"]

_STD = 0.02
"""Of the initial weights (GPT-2); those of a layer's last maps are divided by sqrt(2 layers)."""


@dataclass(frozen=True)
class TransformerConfig:
    """Width, depth and the parts of a block; the defaults are GPT-2's smallest.

    `positions` are added to the tokens, by their number; `rotary` turns queries and keys, along
    the sequence (1) or by rows and columns (2). With `prefix` the tokens of the condition see one
    another, not only those before. `checkpoint` computes the blocks anew in the backward pass,
    which saves memory for a third more time.
    """

    type: ClassVar[str] = "transformer"
    hidden: Annotated[int, Range(1, 65536)] = 768
    layers: Annotated[int, Range(1, 256)] = 12
    heads: Annotated[int, Range(1, 1024)] = 12
    feedforward: Annotated[int, Range(1, 1 << 20)] | None = None
    """Units inside a feed-forward layer; by default 4 `hidden`."""
    positions: Literal["learned", "sinusoidal", "none"] = "learned"
    rotary: Literal[0, 1, 2] = 0
    norm: Literal["layer", "rms"] = "layer"
    activation: Literal["gelu", "quick_gelu", "swiglu"] = "gelu"
    bias: bool = True
    tied: bool = False
    """Whether the outputs are scores of the rows of the embedding."""
    prefix: bool = False
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0
    epsilon: Annotated[float, Range(0.0, 1.0, open=True)] = 1e-5
    checkpoint: bool = False

    def __post_init__(self) -> None:
        unit = self.heads * max(1, 2 * self.rotary)
        if self.hidden % unit:
            axes = f" and rotary = {self.rotary}" if self.rotary else ""
            raise ConfigError(
                f"hidden = {self.hidden} with heads = {self.heads}{axes}; it must be a multiple "
                f"of {unit}."
            )


class Transformer(nn.Module):
    """The network of the signature `sequence`.

    `places` (L, 2) are the row and the column of every token, for rotary positions on two axes.
    `blocks` are the sizes of groups of tokens that see one another; by default each is alone.
    """

    angles: Tensor | None

    def __init__(
        self,
        config: TransformerConfig,
        *,
        vocabulary: int,
        length: int,
        outputs: int,
        condition: Condition,
        places: Tensor | None = None,
        blocks: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        c, U = config, config.hidden
        self.config = c
        self.embedding = nn.Embedding(vocabulary, U)
        self.condition = ConditionTokens(condition, U)
        self.positions = _positions(c, length)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.norm = _norm(c)
        self.head = None if c.tied else nn.Linear(U, outputs, bias=False)
        self.outputs, P = outputs, self.condition.count
        if c.tied and outputs > vocabulary:
            raise ConfigError(
                f"tied = true gives {vocabulary} outputs, one for a token; this model needs "
                f"{outputs}."
            )
        self.order = Blocks([*_prefix(c, P), *(blocks or [1] * length)])
        self.register_buffer("angles", _angles(c, P, length, places), persistent=False)
        self._init_weights()

    def forward(
        self, tokens: Tensor, cond: Tensor | None = None, cache: KVCache | None = None
    ) -> Tensor:
        """Outputs (B, L, outputs) of tokens (B, L), or (B, L, N) whose N embeddings are summed.

        With a cache from `init_cache` the tokens are the next ones (B, T) after those it holds.
        """
        P = self.condition.count
        if cache is not None:
            return self._outputs(self._run(self._embed(tokens, cache.length - P), cache))
        h = self._embed(tokens, 0)
        if P:
            h = torch.cat((self.condition(cond, len(tokens)), h), 1)
        return self._outputs(self._run(h, None)[:, P:])

    def init_cache(self, batch: int, cond: Tensor | None = None) -> KVCache:
        """A cache that holds the condition's tokens alone."""
        c, like = self.config, self.embedding.weight
        shape = (batch, c.heads, self.order.length, c.hidden // c.heads)
        cache = KVCache(c.layers, shape, like)
        if self.condition.count:
            self._run(self.condition(cond, batch), cache)
        return cache

    def _embed(self, tokens: Tensor, first: int) -> Tensor:
        """E_t + position of tokens that begin at number `first`."""
        h = self.embedding(tokens)
        if tokens.ndim == 3:
            h = h.sum(2)
        at = slice(first, first + tokens.shape[1])
        if self.config.positions == "learned":
            h = h + cast(nn.Embedding, self.positions).weight[at]
        elif self.config.positions == "sinusoidal":
            number = torch.arange(at.start, at.stop, device=h.device, dtype=h.dtype)
            h = h * math.sqrt(self.config.hidden) + self.positions(number)
        return dropout(h, self.config.dropout, self.training)

    def _run(self, h: Tensor, cache: KVCache | None) -> Tensor:
        first = 0 if cache is None else cache.length
        angles = None if self.angles is None else self.angles[first : first + h.shape[1]]
        mask = self.order.of(h.shape[1], first + h.shape[1], h.device)
        for l, block in enumerate(self.blocks):
            if self.config.checkpoint and self.training and torch.is_grad_enabled():
                h = checkpoint(block, h, mask, angles, cache, l, use_reentrant=False)
            else:
                h = block(h, mask, angles, cache, l)
        if cache is not None:
            cache.length += h.shape[1]
        return h

    def _outputs(self, h: Tensor) -> Tensor:
        h = self.norm(h)
        if self.head is not None:
            return self.head(h)  # type: ignore[no-any-return]
        return F.linear(h, self.embedding.weight[: self.outputs])

    def _init_weights(self) -> None:
        for m in self.modules():
            if isinstance(m, nn.Linear | nn.Embedding):
                nn.init.normal_(m.weight, std=_STD)
            if isinstance(m, nn.Linear) and m.bias is not None:
                nn.init.zeros_(m.bias)
        for block in cast("list[Block]", list(self.blocks)):
            for last in (block.out, block.feedforward.down):
                nn.init.normal_(last.weight, std=_STD / math.sqrt(2 * self.config.layers))


class Block(nn.Module):
    """h + out(attend(qkv(norm(h)))), and then h + feedforward(norm(h))."""

    def __init__(self, c: TransformerConfig) -> None:
        super().__init__()
        U = c.hidden
        self.heads, self.dropout = c.heads, c.dropout
        self.norm_1, self.norm_2 = _norm(c), _norm(c)
        self.qkv, self.out = nn.Linear(U, 3 * U, c.bias), nn.Linear(U, U, c.bias)
        self.feedforward = FeedForward(c)

    def forward(
        self,
        h: Tensor,
        mask: Mask,
        angles: Tensor | None,
        cache: KVCache | None,
        layer: int,
    ) -> Tensor:
        """The outputs at new positions; keys and values of earlier ones are in the cache."""
        B, T, U = h.shape
        qkv = self.qkv(self.norm_1(h)).view(B, T, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, T, d) each
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        if cache is not None:
            k, v = cache.append(layer, k, v)
        y = mask(q, k, v).transpose(1, 2).reshape(B, T, U)
        h = h + self._drop(self.out(y))
        return h + self._drop(self.feedforward(self.norm_2(h)))

    def _drop(self, y: Tensor) -> Tensor:
        return dropout(y, self.dropout, self.training)


class FeedForward(nn.Module):
    """down(act(up(h))), or down(silu(gate(h)) up(h))."""

    def __init__(self, c: TransformerConfig) -> None:
        super().__init__()
        U, m = c.hidden, c.feedforward or 4 * c.hidden
        self.activation = c.activation
        self.up, self.down = nn.Linear(U, m, c.bias), nn.Linear(m, U, c.bias)
        self.gate = nn.Linear(U, m, c.bias) if c.activation == "swiglu" else None

    def forward(self, h: Tensor) -> Tensor:
        y = self.up(h)
        if self.gate is not None:
            y = F.silu(self.gate(h)) * y
        elif self.activation == "gelu":
            y = F.gelu(y)
        else:
            y = y * torch.sigmoid(1.702 * y)
        out: Tensor = self.down(y)
        return out


def _norm(c: TransformerConfig) -> nn.Module:
    if c.norm == "rms":
        return nn.RMSNorm(c.hidden, eps=c.epsilon)
    return nn.LayerNorm(c.hidden, eps=c.epsilon, bias=c.bias)


def _positions(c: TransformerConfig, length: int) -> nn.Module:
    if c.positions == "learned":
        return nn.Embedding(length, c.hidden)
    return SinusoidalEmbedding(c.hidden, shift=0.0) if c.positions == "sinusoidal" else nn.Module()


def _prefix(c: TransformerConfig, P: int) -> list[int]:
    """The blocks of the condition's tokens."""
    return [P] if c.prefix and P else [1] * P


def _angles(c: TransformerConfig, P: int, length: int, places: Tensor | None) -> Tensor | None:
    """Angles of all positions; the condition's tokens stand at the origin and are not turned."""
    if c.rotary == 0:
        return None
    if c.rotary == 1:
        places = torch.arange(length)[:, None]
    if places is None:
        raise ConfigError(
            "rotary = 2 is for events with rows and columns; this model gives no places.",
            hint="rotary = 1",
        )
    return F.pad(rotary_angles(places, c.hidden // c.heads), (0, 0, P, 0))
