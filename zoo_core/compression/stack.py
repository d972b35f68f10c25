"""A stack of symbols, and the initial bits under it, which bits-back coding borrows.

The first events of a block pop bits that nobody has pushed: the initial bits. They come from a
fixed stream; a file holds those that were touched, and a decoder checks that it gets all of them
back.
"""

import hashlib
from typing import Any

import numpy as np
from torch import Tensor

from zoo_core.compression.grid import Grid, coders

__all__ = ["SPARE", "Stack", "initial_bits", "initial_words", "packed", "unpacked"]

SPARE = 4
"""Words below the lowest one that was read, which hold the state of the coder."""
_COUNT = 4
"""Bytes that say how many initial words the file holds."""


class Stack:
    """Symbols by weights, last in first out, over the initial words of a block."""

    def __init__(self, words: Any, grid: Grid) -> None:
        stream = coders().stream
        self.coder, self.grid = stream.stack.AnsCoder(words), grid
        self.family = stream.model.Categorical(perfect=False)
        self.lowest = int(self.coder.num_words())

    def push(self, symbols: Any, logits: Tensor) -> None:
        """Push symbols (N,) with logits (N, K)."""
        self.push_by(symbols, self.family, self.grid.weights(logits))

    def pop(self, logits: Tensor) -> Any:
        """Pop symbols (N,) with logits (N, K)."""
        return self.pop_by(self.family, self.grid.weights(logits))

    def push_within(self, symbols: Any, logits: Tensor) -> None:
        """Push what `pop_within` popped."""
        rows = list(zip(symbols, self.grid.weights(logits), strict=True))
        for symbol, row in reversed(rows):
            low, weights = _support(row)
            self.push_by([symbol - low], self.family, weights)

    def pop_within(self, logits: Tensor) -> Any:
        """Pop symbols (N,) of positive weight.

        The coder gives every level it is told of at least 2^-24. Of a thousand levels far from
        q's mean that is enough to draw, now and then, a z that makes x very expensive.
        """
        rows = [_support(row) for row in self.grid.weights(logits)]
        return np.array([low + self.pop_by(self.family, weights)[0] for low, weights in rows])

    def push_by(self, symbols: Any, family: Any, *parameters: Any) -> None:
        """Push symbols (N,) by a family of `constriction` with its parameters."""
        self.coder.encode_reverse(np.asarray(symbols, np.int32), family, *parameters)

    def pop_by(self, family: Any, *parameters: Any) -> Any:
        """Pop symbols (N,) by a family of `constriction` with its parameters."""
        symbols = self.coder.decode(family, *parameters)
        self.lowest = min(self.lowest, int(self.coder.num_words()))
        return symbols


def initial_words(count: int) -> Any:
    """Fixed random words."""
    words = np.frombuffer(hashlib.shake_256(b"density-zoo").digest(4 * count), "<u4")
    words = words.astype(np.uint32)
    words[-1] |= np.uint32(1)  # the top of a stack is no zero
    return words


def packed(stack: Stack, initial: Any) -> bytes:
    """What a file holds of a stack: all but the initial words that were not touched."""
    unused = max(0, stack.lowest - SPARE)
    words = stack.coder.get_compressed()[unused:]
    used = len(initial) - unused
    return used.to_bytes(_COUNT, "little") + np.asarray(words, "<u4").tobytes()


def unpacked(code: bytes, initial: Any) -> Any:
    """The words of the stack that `packed` gave."""
    unused = len(initial) - int.from_bytes(code[:_COUNT], "little")
    words = np.frombuffer(code[_COUNT:], "<u4").astype(np.uint32)
    return np.concatenate((initial[: max(0, unused)], words))


def initial_bits(code: bytes) -> int:
    """How many initial bits a code holds."""
    return 32 * int.from_bytes(code[:_COUNT], "little")


def _support(weights: Any) -> tuple[int, Any]:
    """The first level of positive weight, and the weights (1, K') from there to the last."""
    positive = np.flatnonzero(weights)
    low, high = max(0, positive[0] - 1), min(len(weights), positive[-1] + 2)  # two levels at least
    return int(low), weights[None, low:high]
