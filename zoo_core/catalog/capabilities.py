"""Capabilities: the typed protocols at which models, samplers and likelihoods meet.

A model has a capability when it has its methods; `ModelSpec.capabilities` says so without an
import, and the conformance kit holds the two against each other. A sampler, loss or likelihood
names the capabilities it requires, so a Langevin sampler that needs `Score` serves every family
that offers one. A plugin adds a capability of its own by naming it `"package.module:Protocol"`.

Shapes: B batch, S the event's shape. Log-densities are in nats, summed over the event.
"""

from typing import TYPE_CHECKING, Any, Generic, Protocol, runtime_checkable

from zoo_core.catalog.specs import import_target
from zoo_core.errors import PluginError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from zoo_core.rng import Rng

__all__ = [
    "CORE",
    "Bijection",
    "Conditionals",
    "Decoder",
    "Denoiser",
    "Density",
    "Distribution",
    "Encoder",
    "Energy",
    "Generator",
    "Schedule",
    "Score",
    "capability",
    "has",
]


CORE = (
    "Density",
    "Conditionals",
    "Bijection",
    "Encoder",
    "Decoder",
    "Generator",
    "Denoiser",
    "Score",
    "Energy",
)
"""Names of the capabilities that the core defines."""


@runtime_checkable
class Density(Protocol):
    """A normalized log p(x) that can be computed: a pmf for integers, a density for reals."""

    def log_prob(self, x: "Tensor", cond: "Tensor | None" = None) -> "Tensor":
        """log p(x | cond), (B, *S) -> (B,)."""
        ...


@runtime_checkable
class Conditionals(Protocol):
    """log p(x) = sum_i log p(x_i | x_<i) over integers 0..K-1, in a stated order."""

    def order(self) -> "Tensor":
        """Flat positions in the order of generation, int64 (D,)."""
        ...

    def logits(self, x: "Tensor", cond: "Tensor | None" = None) -> "Tensor":
        """All conditionals in one pass, (B, *S) -> (B, *S, K), unnormalized."""
        ...

    def init_cache(self, batch: int, cond: "Tensor | None" = None) -> Any:
        """An empty cache for incremental decoding of B events."""
        ...

    def decode_step(self, x: "Tensor", i: int, cache: Any) -> "tuple[Tensor, Any]":
        """Logits (B, K) of position `order()[i]`, given the earlier ones in x, and the cache."""
        ...


@runtime_checkable
class Bijection(Protocol):
    """An invertible map between events x and base points z with a tractable Jacobian."""

    def forward_and_ladj(
        self, x: "Tensor", cond: "Tensor | None" = None
    ) -> "tuple[Tensor, Tensor]":
        """z (B, ...) and log |det dz/dx| (B,)."""
        ...

    def inverse_and_ladj(
        self, z: "Tensor", cond: "Tensor | None" = None
    ) -> "tuple[Tensor, Tensor]":
        """x (B, *S) and log |det dx/dz| (B,)."""
        ...


class Distribution(Protocol):
    """A batch of distributions, as encoders and decoders return them."""

    @property
    def mean(self) -> "Tensor":
        """The mean, (B, ...), of integers as a real."""
        ...

    def sample(self, rng: "Rng", *, stream: str, step: int = 0) -> "Tensor":
        """A draw (B, ...), differentiable in the parameters where the distribution allows."""
        ...

    def log_prob(self, x: "Tensor") -> "Tensor":
        """Log-density of one value per row, (B, ...) -> (B,)."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """An approximate posterior q(z|x)."""

    def encode(self, x: "Tensor", cond: "Tensor | None" = None) -> Distribution: ...


@runtime_checkable
class Decoder(Protocol):
    """A latent-variable model: a prior p(z) and a likelihood p(x|z)."""

    def prior(self, batch: int, cond: "Tensor | None" = None) -> Distribution: ...

    def decode(self, z: "Tensor", cond: "Tensor | None" = None) -> Distribution: ...


@runtime_checkable
class Generator(Protocol):
    """A map from latent codes to events, without a density of x."""

    def prior(self, batch: int, cond: "Tensor | None" = None) -> Distribution: ...

    def generate(self, z: "Tensor", cond: "Tensor | None" = None) -> "Tensor":
        """z (B, ...) -> x (B, *S), differentiable."""
        ...


class Schedule(Protocol):
    """A noise schedule: x_t = alpha_t x_0 + sigma_t eps, t from 0 (data) to 1 (noise)."""

    def alpha(self, t: "Tensor") -> "Tensor": ...

    def sigma(self, t: "Tensor") -> "Tensor": ...


@runtime_checkable
class Denoiser(Protocol):
    """E[x_0 | x_t] at every time of a noise schedule."""

    schedule: Schedule

    def denoise(self, x_t: "Tensor", t: "Tensor", cond: "Tensor | None" = None) -> "Tensor":
        """x_t (B, *S), t (B,) in [0, 1] -> x_0 (B, *S)."""
        ...


@runtime_checkable
class Score(Protocol):
    """The score grad_x log p(x)."""

    def score(self, x: "Tensor", cond: "Tensor | None" = None) -> "Tensor": ...


@runtime_checkable
class Energy(Protocol):
    """An unnormalized density: log p(x) = -energy(x) - log Z."""

    def energy(self, x: "Tensor", cond: "Tensor | None" = None) -> "Tensor": ...


def capability(name: str) -> Any:
    """The protocol called `name`: one of the core's, or a plugin's `"package.module:attr"`."""
    if ":" in name:
        return import_target(name)
    if name not in CORE:
        raise PluginError(
            f"unknown capability {name!r}. {did_you_mean(name, CORE)}".rstrip(),
            hint=f"one of {', '.join(CORE)}, or 'package.module:Protocol'",
        )
    return globals()[name]


def has(model: object, name: str) -> bool:
    """Whether a model's class has the methods of a capability, and the model its attributes.

    A submodule that happens to be called `score` is not the method `score`.
    """
    methods, attributes = _members(capability(name))
    return all(callable(getattr(type(model), m, None)) for m in methods) and all(
        hasattr(model, a) for a in attributes
    )


def _members(protocol: type) -> tuple[list[str], list[str]]:
    """Names of the methods and of the attributes that a protocol asks for."""
    bases = [b for b in protocol.__mro__ if b not in (object, Protocol, Generic)]
    methods = [n for b in bases for n, v in vars(b).items() if callable(v) and n[0] != "_"]
    return methods, [n for b in bases for n in vars(b).get("__annotations__", {}) if n[0] != "_"]
