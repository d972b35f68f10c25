"""Capabilities: typed protocols that models offer, and samplers, losses and likelihoods require.

A model has the capabilities that its spec declares, `ModelSpec.capabilities`; the conformance kit
checks that they agree with its methods. A class that no plugin declares, as in a notebook, is
asked by its methods. A sampler, loss or likelihood names the capabilities it requires: a Langevin
sampler that requires `Score` works with every family that has one. A plugin adds a capability of
its own by naming it `"package.module:Protocol"`.

Shapes: B batch, S the event's shape. Log-densities are in nats, summed over the event.
"""

from typing import TYPE_CHECKING, Any, Generic, Protocol, runtime_checkable

from zoo_core.catalog.registry import current
from zoo_core.catalog.specs import import_target
from zoo_core.errors import PluginError, UnknownNameError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor, device, dtype

    from zoo_core.rng import Rng
    from zoo_core.spaces import Condition, Event

__all__ = [
    "CORE",
    "Autoencoder",
    "Bijection",
    "Conditionals",
    "Decoder",
    "Denoiser",
    "Density",
    "Distribution",
    "Encoder",
    "Energy",
    "Generator",
    "LatentVariableModel",
    "Schedule",
    "Score",
    "capability",
    "has",
    "has_methods",
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
"""The capabilities of the core, by name."""


class Model(Protocol):
    """Attributes of every `GenerativeModel`, for type checkers: samplers and bounds read them."""

    @property
    def event(self) -> "Event": ...

    @property
    def condition(self) -> "Condition": ...

    @property
    def device(self) -> "device": ...

    @property
    def dtype(self) -> "dtype": ...


@runtime_checkable
class Density(Protocol):
    """A normalized log p(x): of a probability mass for integers, of a density for reals."""

    def log_prob(self, x: "Tensor", cond: "Tensor | None" = None) -> "Tensor":
        """log p(x | cond), (B, *S) -> (B,)."""
        ...


@runtime_checkable
class Conditionals(Protocol):
    """log p(x) = sum_i log p(x_i | x_<i) over integers 0..K-1, in the order of generation."""

    def order(self) -> "Tensor":
        """The flat positions in the order of generation, int64 (D,)."""
        ...

    def logits(self, x: "Tensor", cond: "Tensor | None" = None) -> "Tensor":
        """Logits of all conditionals in one pass, (B, *S) -> (B, *S, K), unnormalized."""
        ...

    def init_cache(self, batch: int, cond: "Tensor | None" = None) -> Any:
        """An empty cache for incremental decoding of B events."""
        ...

    def decode_step(self, x: "Tensor", i: int, cache: Any) -> "tuple[Tensor, Any]":
        """Logits (B, K) of position `order()[i]` given the earlier values of x (B, *S), and the
        cache for position i + 1."""
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
        """The mean, (B, ...), in floating point also for integers."""
        ...

    def sample(self, rng: "Rng", *, stream: str, step: int = 0) -> "Tensor":
        """A draw (B, ...), differentiable in the parameters where the distribution allows."""
        ...

    def log_prob(self, x: "Tensor") -> "Tensor":
        """Log-density of one value per row, (B, ...) -> (B,)."""
        ...


@runtime_checkable
class Encoder(Model, Protocol):
    """An approximate posterior q(z|x)."""

    def encode(self, x: "Tensor", cond: "Tensor | None" = None) -> Distribution:
        """q(z|x) for events x (B, *S)."""
        ...


@runtime_checkable
class Decoder(Model, Protocol):
    """A latent-variable model: a prior p(z) and a likelihood p(x|z)."""

    def prior(self, batch: int, cond: "Tensor | None" = None) -> Distribution:
        """p(z), `batch` times."""
        ...

    def decode(self, z: "Tensor", cond: "Tensor | None" = None) -> Distribution:
        """p(x|z) for latents z (B, ...)."""
        ...


@runtime_checkable
class Autoencoder(Protocol):
    """A map from events to latents and back, on whose latents another model can be trained.

    It is no capability of `CORE`: a component requires it as
    `"zoo_core.catalog.capabilities:Autoencoder"`.
    """

    @property
    def latent_event(self) -> "Event":
        """What the latents are: integer codes, or reals."""
        ...

    def to_latents(self, x: "Tensor") -> "Tensor":
        """The latents (B, *S_z) of events x (B, *S)."""
        ...

    def from_latents(self, z: "Tensor") -> "Tensor":
        """Events (B, *S) of latents z (B, *S_z)."""
        ...


class LatentVariableModel(Encoder, Decoder, Protocol):
    """An encoder and a decoder: what bounds on log p(x) over latents need."""


@runtime_checkable
class Generator(Model, Protocol):
    """A map from latents to events, without a density of x."""

    def prior(self, batch: int, cond: "Tensor | None" = None) -> Distribution:
        """p(z), `batch` times."""
        ...

    def generate(self, z: "Tensor", cond: "Tensor | None" = None) -> "Tensor":
        """Events x (B, *S) of latents z (B, ...), differentiable."""
        ...


class Schedule(Protocol):
    """A noise schedule: x_t = alpha_t x_0 + sigma_t eps, t from 0 (data) to 1 (noise)."""

    def alpha(self, t: "Tensor") -> "Tensor":
        """alpha_t at times t (...)."""
        ...

    def sigma(self, t: "Tensor") -> "Tensor":
        """sigma_t at times t (...)."""
        ...


@runtime_checkable
class Denoiser(Model, Protocol):
    """E[x_0 | x_t] at every time of a noise schedule."""

    schedule: Schedule

    def denoise(self, x_t: "Tensor", t: "Tensor", cond: "Tensor | None" = None) -> "Tensor":
        """E[x_0 | x_t] (B, *S) at noisy x_t (B, *S) and times t (B,) in [0, 1]."""
        ...


@runtime_checkable
class Score(Model, Protocol):
    """The score grad_x log p(x); of a `Denoiser`, that of noised events at a time it states."""

    def score(self, x: "Tensor", cond: "Tensor | None" = None) -> "Tensor":
        """grad_x log p(x | cond), (B, *S) -> (B, *S); of integers, x is reals on the scale of
        networks (`Event.to_network`)."""
        ...


@runtime_checkable
class Energy(Model, Protocol):
    """An unnormalized density: log p(x) = -energy(x) - log Z."""

    def energy(self, x: "Tensor", cond: "Tensor | None" = None) -> "Tensor":
        """The energy of each event, (B, *S) -> (B,)."""
        ...


def capability(name: str) -> Any:
    """The protocol of a capability: a name of `CORE`, or `"package.module:Protocol"`.

    Raises `PluginError` if there is none.
    """
    if ":" in name:
        return import_target(name)
    if name not in CORE:
        raise PluginError(
            f"unknown capability {name!r}. {did_you_mean(name, CORE)}".rstrip(),
            hint=f"one of {', '.join(CORE)}, or 'package.module:Protocol'",
        )
    return globals()[name]


def has(model: object, name: str) -> bool:
    """Whether a model has a capability: its spec declares it.

    A model whose class no plugin declares has it if it `has_methods` of it.
    """
    capability(name)
    try:
        spec = current().spec_of(type(model))
    except UnknownNameError:
        return has_methods(model, name)
    return name in spec.capabilities


def has_methods(model: object, name: str) -> bool:
    """Whether a model's class has the methods of a capability, and the model its attributes.

    A submodule that is called `score` does not count as the method `score`.
    """
    methods, attributes = _members(capability(name))
    return all(callable(getattr(type(model), m, None)) for m in methods) and all(
        hasattr(model, a) for a in attributes
    )


def _members(protocol: type) -> tuple[list[str], list[str]]:
    """The names of a protocol's methods, and of its attributes."""
    bases = [b for b in protocol.__mro__ if b not in (object, Protocol, Generic)]
    methods = [n for b in bases for n, v in vars(b).items() if callable(v) and n[0] != "_"]
    return methods, [n for b in bases for n in vars(b).get("__annotations__", {}) if n[0] != "_"]
