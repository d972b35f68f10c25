"""The types that drivers are written against: batches, losses, players, samplers, likelihoods.

A plugin's component is any object of the same form. Shapes: B batch, S the event's shape.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.compat import moved_attribute, renamed_fields
from zoo_core.rng import Rng

if TYPE_CHECKING:
    from zoo_core.data.dataset import Split
    from zoo_core.model import GenerativeModel

__all__ = [
    "AltersDistribution",
    "Batch",
    "Diagnoses",
    "Diagnosis",
    "Initializes",
    "Inpainting",
    "Likelihood",
    "LikelihoodResult",
    "Loss",
    "LossFunction",
    "Player",
    "Sampler",
    "SupportsInpainting",
]

Batch = tuple[Tensor, Tensor | None]
"""Events (B, *S) and their conditions (B, ...), or None."""


@dataclass(frozen=True)
class Loss:
    """A scalar to minimize, and named scalars to log (detached; likelihoods in nats)."""

    total: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)


LossFunction = Callable[[Batch, Rng, int], Loss]
"""`loss(batch, rng, step)`; `rng` is keyed by (seed, example), so pass `step` to every draw."""


@dataclass(frozen=True)
class Player:
    """One trained part of a model: its parameters, the loss they minimize, and how often.

    The player acts in every `every`-th round, with `steps` optimizer steps on fresh batches.
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
    """A loss that can say how training goes."""

    def diagnose(self, model: "GenerativeModel", split: "Split") -> Diagnosis:
        """Diagnose a model in evaluation mode, without gradients, on the validation split."""
        ...


@runtime_checkable
class Initializes(Protocol):
    """A loss that sets the parameters of a fresh model, as that of a distillation may."""

    def initialize(self, model: "GenerativeModel") -> None:
        """Set parameters, once before the first step of a training."""
        ...


@renamed_fields(values="observed")
@dataclass(frozen=True)
class Inpainting:
    """Observed values and their mask: where `mask` is true, an event equals `observed`.

    Both are (n, *S) in a driver and (B, *S) in a sampler; what `observed` holds elsewhere does not
    count.
    """

    observed: Tensor
    mask: Tensor

    def rows(self, rows: Tensor, device: torch.device) -> "Inpainting":
        """The inpainting of some of the n events, by their indices."""
        return Inpainting(self.observed[rows].to(device), self.mask[rows].to(device))

    def distinct(self) -> "Inpainting":
        """A single row if all rows are one row expanded, else the whole."""
        rows = 1 if self.mask.stride(0) == self.observed.stride(0) == 0 else len(self.mask)
        return Inpainting(self.observed[:rows], self.mask[:rows])

    def apply(self, x: Tensor) -> Tensor:
        """Events x (B, *S) with the observed values in place."""
        return torch.where(self.mask, self.observed.to(x.dtype), x)


class Sampler(Protocol):
    """A way to draw events: a frozen dataclass whose fields are its options.

    A sampler that can inpaint takes a further keyword `fixed: Inpainting | None`, and implements
    `SupportsInpainting` if it does not condition on all observed values. One that can show its
    steps takes `trace`, a callable `(step, x)`; one that starts from noise takes it as `x_T`, and
    events to start from as `init`, both (B, *S).
    """

    def __call__(self, model: Any, rng: Rng, cond: Tensor | None) -> Tensor:
        """Events (B, *S), one for each row of `rng`.

        A sampler of integer events may return them as reals on the network's scale, which
        `Event.from_network` maps to the nearest integers.
        """
        ...


@runtime_checkable
class SupportsInpainting(Protocol):
    """A sampler that can inpaint, and says which observed values it does not condition on."""

    def ignored(self, model: Any, fixed: Inpainting) -> str | None:
        """The sentence of a warning; None if the draws are conditioned on all observed values.

        `fixed` holds distinct rows only, which may be fewer than the events.
        """
        ...


@runtime_checkable
class AltersDistribution(Protocol):
    """A sampler with options whose draws do not follow the distribution that the model scores."""

    def altered_by(self) -> str | None:
        """The options that are set so, e.g. "temperature = 0.9"; None if none is."""
        ...


@dataclass(frozen=True)
class LikelihoodResult:
    """What a likelihood returns where nats (B,) alone do not say enough.

    `std_err` (B,) are the Monte Carlo errors of the nats: infinite where they are not known (a
    single draw), None where nothing is random. `terms` (B,) each are nats that add up to `nats`,
    and `evaluations` (B,) counts the calls of the network.
    """

    nats: Tensor
    std_err: Tensor | None = None
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    evaluations: Tensor | None = None


class Likelihood(Protocol):
    """A way to score events: a frozen dataclass whose fields are its options.

    If its nats are not of the model's events, as those of a model's latents, it has a further
    method `event_of(model) -> Event`, which names what they are of.
    """

    @property
    def kind(self) -> LikelihoodKind:
        """What the numbers are, with the options they depend on."""
        ...

    def __call__(
        self, model: Any, x: Tensor, cond: Tensor | None, rng: Rng
    ) -> Tensor | tuple[Tensor, Tensor] | LikelihoodResult:
        """Nats (B,); with standard errors (B,) if the method is random, or a `LikelihoodResult`.

        An event of probability zero has -inf nats; NaN and +inf are refused.
        """
        ...


def __getattr__(name: str) -> Any:
    return moved_attribute(__name__, name)
