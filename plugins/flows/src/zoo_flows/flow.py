"""`Flow`, the base of all flows: density and samples from an invertible transform.

    z = f(T(x)),   log p(x) = log N(z; 0, I) + log |det df/dy| + log |det dT/dx|

T is the preprocessing and f the `transform` that a subclass sets. If events are integers, x stands
for x + u with u from the model's `dequantizer`: `log_prob` takes continuous values, and the
likelihood `deq_bound` bounds the probability of the integers.

Shapes: B batch, S the event's shape, D its size; z (B, D), context h (B, E).
"""

import math
import warnings
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from zoo_core.plugin import (
    Batch,
    ClassCounts,
    Condition,
    ConfigError,
    Event,
    GenerativeModel,
    NoCapabilityError,
    Normal,
    Range,
    Rng,
    ZooWarning,
    check_finite,
    condition_features,
    evaluating,
)
from zoo_flows.bijections import InvertibleLayer
from zoo_flows.dequantization import dequantizer
from zoo_flows.preprocessing import Preprocess, event_of, preprocessing

__all__ = ["MIN_INIT_EVENTS", "Flow", "FlowConfig"]

MIN_INIT_EVENTS = 16
"""Minimum number of events to estimate a mean and a variance from."""


@dataclass(frozen=True)
class FlowConfig:
    """The fields that every config begins with: event, condition and preprocessing.

    Without `levels` the events are continuous.
    """

    shape: Annotated[tuple[int, ...], Range(1, 4096)] = (2,)
    """Of events x: [D] for vectors, [C, H, W] for images."""
    levels: Annotated[int, Range(2, 65536)] | None = None
    classes: ClassCounts = None
    """Number of classes that the flow is conditioned on, given as cond, or of several labels."""
    vector: Annotated[int, Range(1, 65536)] | None = None
    """The flow is conditioned on a vector of this length, given as cond; shape is that of x."""
    preprocess: Preprocess = Preprocess()


class Flow(GenerativeModel, ABC):
    """A base N(0, I) and a bijection; subclasses set `transform` after this constructor."""

    full_support = True
    transform: InvertibleLayer

    def __init__(self, config: FlowConfig) -> None:
        c = config
        if len(c.shape) not in (1, 3):
            raise ConfigError(f"shape = {c.shape}; it must be (D,) or (C, H, W).")
        event = event_of(c.shape, c.levels, c.preprocess)
        super().__init__(c, event, _condition(c.classes, c.vector))
        self.context_features = self.condition.features
        self.dequantizer = dequantizer(self.event, c.preprocess)
        self.preprocess = preprocessing(self.event, c.preprocess)

    @classmethod
    def options_for(cls, event: Event, options: Mapping[str, Any]) -> dict[str, Any]:
        """Fewer scales where the sides of images cannot be halved; reals are not preprocessed."""
        changed = super().options_for(event, options)
        while (
            changed.get("scales", 1) > 1
            and len(event.shape) == 3
            and any(side % 2 ** changed["scales"] for side in event.shape[1:])
        ):
            changed["scales"] -= 1
        return changed if event.discrete else {**changed, "preprocess": {}}

    def forward_and_ladj(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z (B, D) and log |det dz/dx| (B,) for continuous x, or for dequantized integers.

        Integers that are not dequantized are taken at the middle of their bin, x + 1/2.
        """
        h = self._context(cond)
        y, ladj = self.preprocess(x if x.is_floating_point() else x.to(self.dtype) + 0.5)
        z, transform_ladj = self.transform(y, h)
        return z, ladj + transform_ladj

    def inverse_and_ladj(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Continuous x (B, *S) and log |det dx/dz| (B,)."""
        y, ladj = self.transform.inverse(z, self._context(cond))
        x, preprocess_ladj = self.preprocess.inverse(y.view(y.shape[0], *self.event.shape))
        return x, ladj + preprocess_ladj

    def log_prob(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """log p(x | cond) in nats (B,) for continuous x (B, *S), or for dequantized integers.

        Raises `NoCapabilityError` for integers, whose probability is an integral. Whether the
        numbers are finite is for `log_likelihood` to check.
        """
        if not x.is_floating_point():
            raise NoCapabilityError(
                "a flow has a density of reals; the probability of integers is an integral.",
                hint="method='deq_bound' bounds it from below",
                command="--method deq_bound bounds it from below",
            )
        z, ladj = self.forward_and_ladj(x, cond)
        return _log_base(z) + ladj

    def sample_rows(self, rng: Rng, cond: Tensor | None = None) -> Tensor:
        """One event per row of `rng`: f^-1(z) of a draw z from N(0, I), rounded if integer."""
        x, _ = self.inverse_and_ladj(self.latents(rng), cond)
        check_finite(x, "x")
        return self.to_event(x)

    def latents(self, rng: Rng) -> Tensor:
        """A draw z from N(0, I) for each row of `rng`, (B, D)."""
        base = self._base(len(rng), like=torch.empty(0, device=rng.device, dtype=self.dtype))
        return base.sample(rng, stream="z")

    def to_event(self, x: Tensor) -> Tensor:
        """Continuous x as events: rounded down and clamped, or clamped to the range."""
        if self.event.levels is not None:
            return x.floor().clamp(0, self.event.levels - 1).long()
        return self.event.from_network(x)

    def data_dependent_init(self, batch: Batch, rng: Rng) -> None:
        """Set fresh actnorms so that their outputs have mean 0 and variance 1 over the batch.

        Actnorms that are already initialized do not change. Fewer than 16 events are too few: a
        warning says so, and nothing changes.
        """
        x, cond = batch
        if len(x) < MIN_INIT_EVENTS:
            warnings.warn(
                f"actnorm stays the identity: {len(x)} events are too few to start from "
                f"(at least {MIN_INIT_EVENTS}).",
                ZooWarning,
                stacklevel=2,
            )
            return
        with evaluating(self):
            u = 0.0 if self.dequantizer is None else self.dequantizer(x, rng, 0)[0]
            y, _ = self.preprocess(x.to(self.dtype) + u)
            self.transform.data_dependent_init(y, self._context(cond))

    def _base(self, batch: int, *, like: Tensor) -> Normal:
        return Normal.standard(batch, self.event.dims, like=like)

    def _context(self, cond: Tensor | None) -> Tensor | None:
        """h (B, E): one-hot classes, or the vector."""
        return condition_features(self.condition, cond, self.dtype)


def _log_base(z: Tensor) -> Tensor:
    """log N(z; 0, I) = -(z^2 + D log 2 pi) / 2, (B,)."""
    return -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))


def _condition(classes: ClassCounts, vector: int | None) -> Condition:
    if classes and vector:
        raise ConfigError(f"classes = {classes} and vector = {vector}; set one of them.")
    if vector:
        return Condition("vector", shape=(vector,))
    return Condition.from_classes(classes)
