"""What the parts of the zoo agree on: batches, losses, players, samplers and likelihoods.

Drivers are written against these types; a plugin's component is anything that has their form.
Shapes: B batch, S the event's shape.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.rng import Rng

if TYPE_CHECKING:
    from zoo_core.data.dataset import Split
    from zoo_core.model import GenerativeModel

__all__ = [
    "Batch",
    "Completes",
    "Diagnoses",
    "Diagnosis",
    "Fixed",
    "Likelihood",
    "Loss",
    "LossFunction",
    "Player",
    "Sampler",
    "Scores",
]

Batch = tuple[Tensor, Tensor | None]
"""Events (B, *S) and their conditions (B, ...) or None."""


@dataclass(frozen=True)
class Loss:
    """A scalar to minimize, and named scalars to log (detached; likelihoods in nats)."""

    total: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)


LossFunction = Callable[[Batch, Rng, int], Loss]
"""`loss(batch, rng, step)`; `rng` is keyed by (seed, example), so pass `step` to every draw."""


@dataclass(frozen=True)
class Player:
    """Who is trained: parameters, the loss they minimize, and how often.

    The player acts in every `every`-th round, with `steps` optimizer steps of fresh batches.
    """

    parameters: Sequence[nn.Parameter]
    loss: LossFunction
    every: int = 1
    steps: int = 1


@dataclass(frozen=True)
class Diagnosis:
    """Named numbers for the log, and a warning that names the likely failure, if there is one."""

    values: dict[str, float] = field(default_factory=dict)
    warning: str | None = None

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        return {**self.values, **({"warning": self.warning} if self.warning else {})}


@runtime_checkable
class Diagnoses(Protocol):
    """A loss that can tell how a training goes."""

    def diagnose(self, model: "GenerativeModel", split: "Split") -> Diagnosis:
        """From a model in evaluation mode, without gradients, and the validation split."""
        ...


@dataclass(frozen=True)
class Fixed:
    """Known values for completion: where `mask` is true, the event must equal `values`.

    Both broadcast to (n, *shape).
    """

    values: Tensor
    mask: Tensor

    def rows(self, rows: Tensor, device: torch.device) -> "Fixed":
        return Fixed(self.values[rows].to(device), self.mask[rows].to(device))

    def distinct(self) -> "Fixed":
        """One row where all are one row expanded."""
        rows = 1 if self.mask.stride(0) == self.values.stride(0) == 0 else len(self.mask)
        return Fixed(self.values[:rows], self.mask[:rows])

    def apply(self, x: Tensor) -> Tensor:
        return torch.where(self.mask, self.values.to(x.dtype), x)


class Sampler(Protocol):
    """A way to draw events: a frozen dataclass whose fields are its options.

    A sampler that can complete partly known events takes a further keyword `fixed: Fixed | None`;
    one that does not condition on all of them says so by `Completes`. One that can show its work
    takes `trace`, a callable `(step, x)`.
    """

    def __call__(self, model: Any, rng: Rng, cond: Tensor | None) -> Tensor:
        """Events (B, *S) for the B rows of `rng`; of integers, also reals for `from_network`."""
        ...


@runtime_checkable
class Completes(Protocol):
    """A sampler that says which known values its completion does not condition on."""

    def ignored(self, model: Any, fixed: Fixed) -> str | None:
        """A sentence for a warning; None where all known values count. Rows may be fewer than
        the events: those that differ."""
        ...


@dataclass(frozen=True)
class Scores:
    """What a likelihood may return where nats (B,) alone do not say enough.

    `std_err` (B,) are their Monte Carlo errors: infinite where those are not known (a single
    draw), None where nothing is random. `terms` (B,) each are nats that add up to them, and
    `evaluations` (B,) counts the calls of the network.
    """

    nats: Tensor
    std_err: Tensor | None = None
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    evaluations: Tensor | None = None


class Likelihood(Protocol):
    """A way to score events: a frozen dataclass whose fields are its options."""

    @property
    def kind(self) -> LikelihoodKind:
        """What the numbers are, with the options they depend on."""
        ...

    def __call__(
        self, model: Any, x: Tensor, cond: Tensor | None, rng: Rng
    ) -> Tensor | tuple[Tensor, Tensor] | Scores:
        """Nats (B,), with their standard errors (B,) where the method is random, or `Scores`.

        -inf is the value of events that have probability zero; NaN and +inf are refused.
        """
        ...
