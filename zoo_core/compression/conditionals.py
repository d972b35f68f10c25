"""Coding by the conditionals of a model, value after value: about -log2 p(x) bits.

Encoder and decoder run the same steps, `decode_step` on what is known so far. Position i of all
events of a block is coded before position i + 1, in one stream, so that the coder's own overhead
of 4 to 8 bytes is paid once a block.

Shapes: B events of a block, S an event's shape, K levels.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo_core.compression.grid import Grid, coders

__all__ = ["decode", "encode", "initial_bits"]


def encode(model: Any, x: Tensor, cond: Tensor | None, grid: Grid) -> bytes:
    """The code of events x (B, *S); `grid.ambiguous` says if another grid is needed."""
    encoder, family = coders().stream.queue.RangeEncoder(), _family()
    known, flat = torch.zeros_like(x), x.flatten(1)
    for position, logits in _steps(model, known, cond):
        values = flat[:, position]
        encoder.encode(values.cpu().numpy().astype(np.int32), family, grid.weights(logits))
        known.view(len(x), -1)[:, position] = values
    return _bytes(encoder.get_compressed())


def decode(model: Any, payload: bytes, n: int, cond: Tensor | None, grid: Grid) -> Tensor:
    """The n events (n, *S) of a code, int64."""
    decoder, family = coders().stream.queue.RangeDecoder(_words(payload)), _family()
    x = torch.zeros((n, *model.event.shape), dtype=torch.long, device=model.device)
    for position, logits in _steps(model, x, cond):
        values = decoder.decode(family, grid.weights(logits))
        x.view(n, -1)[:, position] = torch.from_numpy(values).to(x)
    return x


def initial_bits(code: bytes) -> int:  # noqa: ARG001 (the signature of codecs)
    """None: nothing is borrowed."""
    return 0


def _steps(model: Any, x: Tensor, cond: Tensor | None) -> Iterator[tuple[int, Tensor]]:
    """Each position in the model's order with its logits (B, K), given what x then holds."""
    cache = model.init_cache(len(x), cond)
    for i, position in enumerate(model.order().tolist()):
        logits, cache = model.decode_step(x, i, cache)
        yield position, logits


def _family() -> Any:
    return coders().stream.model.Categorical(perfect=False)


def _bytes(words: Any) -> bytes:
    return np.asarray(words, "<u4").tobytes()


def _words(payload: bytes) -> Any:
    return np.frombuffer(payload[: len(payload) // 4 * 4], "<u4").astype(np.uint32)
