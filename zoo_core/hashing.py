"""Hashes of tensors: by type, shape and values."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["absorb"]

_ROWS = 4096


def absorb(sha256: "_Hash", x: Tensor) -> None:
    """Feed a tensor to a hash, in pieces, so that nothing large is copied at once."""
    sha256.update(f"{x.dtype}{tuple(x.shape)}".encode())
    rows = x.detach() if x.ndim else x.detach().reshape(1)
    for part in torch.split(rows, _ROWS):
        sha256.update(part.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
