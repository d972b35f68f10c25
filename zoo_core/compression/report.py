"""What a file of compressed events costs, beside what the model's likelihood says."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from zoo_core.catalog.capabilities import has
from zoo_core.compression.api import CODECS, code_of, decompress
from zoo_core.compression.container import Container, parse
from zoo_core.errors import IntegrityError
from zoo_core.likelihood import Mean
from zoo_core.model import GenerativeModel

__all__ = ["Report", "report", "verified"]

_METHODS = {"conditionals": "exact", "bits-back": "elbo"}
"""The likelihood that a codec's rate approaches, where it is not the model's default."""


@dataclass(frozen=True)
class Report:
    """Bytes of a file beside those of the likelihood that its codec approaches."""

    mean: Mean
    bytes: int
    payload_bytes: int
    header_bytes: int
    initial_bits: int

    @property
    def ideal_bytes(self) -> float:
        """-log p of all events, or its bound, in bytes."""
        return -self.mean.nats * self.mean.n / math.log(2) / 8

    @property
    def ratio(self) -> float:
        """The payload without its initial bits, over what the likelihood says."""
        return (self.payload_bytes - self.initial_bits / 8) / self.ideal_bytes

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "n": self.mean.n,
            "kind": str(self.mean.kind),
            "relation": self.mean.kind.relation,
            "bytes": self.bytes,
            "payload_bytes": self.payload_bytes,
            "header_bytes": self.header_bytes,
            "initial_bits": self.initial_bits,
            "likelihood_bytes": self.ideal_bytes,
            "ratio": self.ratio,
        }


def report(
    data: bytes, model: GenerativeModel, x: Any, cond: Any = None, *, seed: int = 0
) -> Report:
    """The bytes of a file of events x beside the likelihood that its codec approaches."""
    container = parse(data)
    named = container.header.coder == "bits-back" or has(model, "Density")
    method = _METHODS.get(container.header.coder) if named else None
    mean = model.log_likelihood(x, cond=cond, method=method, seed=seed).mean()
    return Report(
        mean,
        len(data),
        container.payload_bytes,
        container.header_bytes,
        _initial_bits(container),
    )


def verified(data: bytes, model: GenerativeModel, x: Any) -> None:
    """Raise `IntegrityError` unless a file decodes to the events x (n, *S)."""
    decoded = decompress(data, model)
    if not torch.equal(decoded, torch.as_tensor(x).long().cpu()):
        raise IntegrityError("the file decodes to other events than it was made of.")


def _initial_bits(container: Container) -> int:
    codec = CODECS[container.header.coder]
    return sum(codec.initial_bits(code_of(container.header, b)) for b in container.blocks)
