"""A diffusion transformer: patches of a noisy image, modulated by its time and labels.

    h = patches(x) + positions,   c = embedded time + embedded labels
    h = h + g attend((1 + a) norm(h) + b),   h = h + g' feedforward((1 + a') norm(h) + b')
    y = linear((1 + a) norm(h) + b), put back as patches;   every a, b, g = W silu(c), at first 0

DiT (Peebles & Xie, 2023), https://arxiv.org/abs/2212.09748, which SiT takes as it is. Root mean
squares, rotary positions, SwiGLU, patches through a bottleneck and labels as further tokens make
it JiT (Li & He, 2025), https://arxiv.org/abs/2511.13720.

Shapes: B batch, C channels, H height, W width, L patches, N tokens, U units, d size of a head.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from zoo_core.config import Range
from zoo_core.errors import ConfigError
from zoo_core.nn.attention import rotary_angles, rotate
from zoo_core.nn.embedding import SinusoidalEmbedding, TimestepEmbedding, embed_labels
from zoo_core.nn.whole_batch import dropout

__all__ = ["DiT", "DiTConfig", "image_positions"]

_EPS = 1e-6
_STD = 0.02
"""Of the initial embeddings."""


@dataclass(frozen=True)
class DiTConfig:
    """Patches of `patch` x `patch` pixels, width and depth; the defaults are a small DiT.

    - `bottleneck`: channels between a patch and its token, none by default.
    - `positions`: sinusoids of rows and columns, or learned, which starts as these.
    - `rotary`: turn queries and keys by row and column, beside the positions.
    - `normalize_heads`: divide queries and keys by their root mean square.
    - `label_tokens`: tokens of the labels, put before the patches at layer `label_layer`.
    - `time_features`, `time_shift`: the sinusoids of the time (`SinusoidalEmbedding`).
    - `checkpoint`: compute the blocks anew in the backward pass, for less memory.
    """

    type: ClassVar[str] = "dit"
    patch: Annotated[int, Range(1, 1024)] = 2
    hidden: Annotated[int, Range(4, 65536)] = 384
    layers: Annotated[int, Range(1, 256)] = 12
    heads: Annotated[int, Range(1, 1024)] = 6
    feedforward: Annotated[int, Range(1, 1 << 20)] | None = None
    """Units inside a feed-forward layer; by default 4 `hidden`, of `swiglu` two thirds of that."""
    bottleneck: Annotated[int, Range(1, 65536)] | None = None
    norm: Literal["layer", "rms"] = "layer"
    activation: Literal["gelu", "swiglu"] = "gelu"
    positions: Literal["sinusoidal", "learned"] = "sinusoidal"
    rotary: bool = False
    normalize_heads: bool = False
    label_tokens: Annotated[int, Range(0, 4096)] = 0
    label_layer: Annotated[int, Range(0, 255)] = 0
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0
    time_features: Annotated[int, Range(2, 65536)] = 256
    time_shift: Annotated[float, Range(0.0, 1.0)] = 0.0
    checkpoint: bool = False

    def __post_init__(self) -> None:
        unit = self.heads * (4 if self.rotary else 1)
        if self.hidden % unit or self.hidden % 4:
            raise ConfigError(
                f"hidden = {self.hidden} with heads = {self.heads}, rotary = {self.rotary}; it "
                f"must be a multiple of {unit} and of 4."
            )
        if self.label_tokens and self.label_layer >= self.layers:
            raise ConfigError(
                f"label_layer = {self.label_layer}; of layers = {self.layers} the last is "
                f"{self.layers - 1}."
            )


class DiT(nn.Module):
    """The network of the signature `denoiser`, for images of any height and width."""

    positions: Tensor
    angles: Tensor

    def __init__(
        self, config: DiTConfig, *, shape: tuple[int, ...], inputs: int, num_labels: int = 0
    ) -> None:
        super().__init__()
        c, U, (outputs, *size) = config, config.hidden, shape
        _check(c, size, num_labels)
        self.config, self.outputs = c, outputs
        self.rows, self.columns = (side // c.patch for side in size)
        self.patches = _patches(c, inputs)
        self.embedding = SinusoidalEmbedding(c.time_features, flip=True, shift=c.time_shift)
        self.time = TimestepEmbedding(c.time_features, U)
        self.label = nn.Embedding(num_labels, U) if num_labels else None
        tokens = torch.randn(c.label_tokens, U) * _STD if c.label_tokens else None
        self.label_positions = None if tokens is None else nn.Parameter(tokens)
        self.blocks = nn.ModuleList(_Block(c) for _ in range(c.layers))
        self.norm, self.modulation = _norm(c), nn.Linear(U, 2 * U)
        self.last = nn.Linear(U, c.patch**2 * outputs)
        places = torch.cartesian_prod(torch.arange(self.rows), torch.arange(self.columns))
        fixed = image_positions(places, U)
        if c.positions == "learned":
            self.positions = nn.Parameter(fixed)
        else:
            self.register_buffer("positions", fixed, persistent=False)
        angles = rotary_angles(places, U // c.heads) if c.rotary else torch.zeros(0)
        self.register_buffer("angles", angles, persistent=False)
        self._init_weights()

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), time (B,), label (B,) or (B, N) int64 -> (B, *shape)."""
        h = self.patches(x).flatten(2).transpose(1, 2) + self.positions.to(x.dtype)
        e = torch.zeros_like(h[:, 0])
        if self.label is not None and label is not None:
            e = embed_labels(self.label, label)
        c = F.silu(self.time(self.embedding(time).to(x.dtype)) + e)
        angles = self.angles if self.config.rotary else None
        for l, block in enumerate(self.blocks):
            if self.label_positions is not None and l == self.config.label_layer:
                h = torch.cat((e[:, None] + self.label_positions, h), 1)
                angles = (
                    None if angles is None else F.pad(angles, (0, 0, len(h[0]) - len(angles), 0))
                )
            h = self._block(block, h, c, angles)
        h = h[:, self.config.label_tokens :]
        b, a = self.modulation(c)[:, None].chunk(2, -1)
        return self._image(self.last((1 + a) * self.norm(h) + b))

    def _block(self, block: nn.Module, h: Tensor, c: Tensor, angles: Tensor | None) -> Tensor:
        if self.config.checkpoint and self.training and torch.is_grad_enabled():
            return checkpoint(block, h, c, angles, use_reentrant=False)  # type: ignore[no-any-return]
        return block(h, c, angles)  # type: ignore[no-any-return]

    def _image(self, y: Tensor) -> Tensor:
        """Tokens (B, L, patch^2 C) as an image (B, C, H, W)."""
        p = self.config.patch
        y = y.unflatten(1, (self.rows, self.columns)).unflatten(-1, (p, p, self.outputs))
        return y.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)

    def _init_weights(self) -> None:
        """Xavier's for matrices, and zero where a block or the output begins."""
        for m in self.modules():
            if isinstance(m, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(m.weight.flatten(1))
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
        for embedding in (self.label, self.time.linear_1, self.time.linear_2):
            if embedding is not None:
                nn.init.normal_(embedding.weight, std=_STD)
        modulations = [m.modulation for m in self.blocks if isinstance(m, _Block)]
        for layer in (*modulations, self.modulation, self.last):
            nn.init.zeros_(layer.weight)


class _Block(nn.Module):
    """Attention and a feed-forward layer, each shifted, scaled and gated by c (adaLN-zero)."""

    def __init__(self, c: DiTConfig) -> None:
        super().__init__()
        U, d = c.hidden, c.hidden // c.heads
        self.heads, self.dropout = c.heads, c.dropout
        self.norm_1, self.norm_2 = _norm(c), _norm(c)
        self.qkv, self.out = nn.Linear(U, 3 * U), nn.Linear(U, U)
        self.norm_q = nn.RMSNorm(d, eps=_EPS) if c.normalize_heads else nn.Identity()
        self.norm_k = nn.RMSNorm(d, eps=_EPS) if c.normalize_heads else nn.Identity()
        self.gated = c.activation == "swiglu"
        m = c.feedforward or (8 * U // 3 if self.gated else 4 * U)
        self.up, self.down = nn.Linear(U, 2 * m if self.gated else m), nn.Linear(m, U)
        self.modulation = nn.Linear(U, 6 * U)

    def forward(self, h: Tensor, c: Tensor, angles: Tensor | None) -> Tensor:
        """h (B, N, U) from h and c = silu(embedding) (B, U)."""
        b_1, a_1, g_1, b_2, a_2, g_2 = self.modulation(c)[:, None].chunk(6, -1)
        h = h + g_1 * self._drop(self._attend((1 + a_1) * self.norm_1(h) + b_1, angles))
        out: Tensor = h + g_2 * self._drop(self._feed((1 + a_2) * self.norm_2(h) + b_2))
        return out

    def _attend(self, h: Tensor, angles: Tensor | None) -> Tensor:
        qkv = self.qkv(h).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, N, d) each
        q, k = self.norm_q(q), self.norm_k(k)
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        y: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return y

    def _feed(self, h: Tensor) -> Tensor:
        y = self.up(h)
        if self.gated:
            gate, y = y.chunk(2, -1)
            y = F.silu(gate) * y
        else:
            y = F.gelu(y, approximate="tanh")
        out: Tensor = self.down(y)
        return out

    def _drop(self, y: Tensor) -> Tensor:
        return dropout(y, self.dropout, self.training)


def image_positions(places: Tensor, U: int) -> Tensor:
    """Sinusoids (L, U) of places (L, 2), row and column: of columns first, then of rows.

    Each half is sin and then cos of place * 10000^(-i / (U / 4)).
    """
    sinusoids = SinusoidalEmbedding(U // 2, shift=0.0)
    return torch.cat([sinusoids(places[:, k].double()) for k in (1, 0)], 1).float()


def _patches(c: DiTConfig, inputs: int) -> nn.Module:
    """A token from every patch, through a bottleneck if there is one."""
    if c.bottleneck is None:
        return nn.Conv2d(inputs, c.hidden, c.patch, c.patch)
    first = nn.Conv2d(inputs, c.bottleneck, c.patch, c.patch, bias=False)
    return nn.Sequential(first, nn.Conv2d(c.bottleneck, c.hidden, 1))


def _norm(c: DiTConfig) -> nn.Module:
    if c.norm == "rms":
        return nn.RMSNorm(c.hidden, eps=_EPS)
    return nn.LayerNorm(c.hidden, eps=_EPS, elementwise_affine=False)


def _check(c: DiTConfig, size: list[int], num_labels: int) -> None:
    if len(size) != 2 or any(side % c.patch for side in size):
        raise ConfigError(
            f"patch = {c.patch} does not divide an event of the size {tuple(size)}; a dit takes "
            "images whose height and width are multiples of it.",
            hint="a patch that divides both, or network 'mlp' for vectors",
        )
    if c.label_tokens and not num_labels:
        raise ConfigError(
            f"label_tokens = {c.label_tokens} are tokens of labels; this model has no classes.",
            hint="classes=..., or label_tokens=0",
        )
