"""`GenerativeModel`: what a family implements, and what the zoo derives from it.

A family states what its events are (`event`, `condition`) and implements the methods of its
capabilities (`zoo_core.catalog.capabilities`). It implements `sample_rows` too, unless a
registered sampler serves it. Sampling in batches, seeding, likelihood bookkeeping, saving and
loading are derived.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from zoo_core import config as configs
from zoo_core import likelihood, sampling
from zoo_core.compat import moved_attribute, renamed_methods
from zoo_core.contracts import Batch, Player
from zoo_core.errors import ConfigError, NoCapabilityError
from zoo_core.modes import walk
from zoo_core.rng import Rng
from zoo_core.spaces import Condition, Event, Group, as_condition

if TYPE_CHECKING:
    from zoo_core.catalog.measured_sampler import MeasuredSampler
    from zoo_core.catalog.specs import ModelSpec
    from zoo_core.weights.tensors import WeightChanges

__all__ = ["FUNCTIONS", "GenerativeModel"]

FUNCTIONS = ("log_prob", "denoise", "generate")
"""What calling a model means: of a `Density`, a `Denoiser` and a `Generator`, in this order."""


class GenerativeModel(nn.Module):
    """A distribution over events that can be sampled, perhaps scored, and trained.

    Subclasses are final: they call `super().__init__(config, event, condition)` first, where
    `config` is a frozen dataclass from which the model can be built again.
    """

    full_support: ClassVar[bool] = False
    """Whether no event has probability zero: log p = -inf is then an overflow, and an error."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        renamed_methods(cls)

    def __init__(
        self, config: Any, event: Event, condition: Condition | Event | None = None
    ) -> None:
        super().__init__()
        configs.validate(config)
        self.config = config
        self.event = event
        self.condition = as_condition(condition)
        self.origin: str | None = None
        """The commit on the Hub that the weights come from, `hf://org/name@<commit>`."""
        self.weight_changes: WeightChanges | None = None
        """What `zoo.load` drew anew because options changed the model, if anything."""
        self.measured_sampler: MeasuredSampler | None = None
        """The sampler that was measured to serve these weights, which is then their default."""
        self.averages: Mapping[str, Tensor] | None = None
        """Inside a training step, the moving averages of the parameters by name (`train.ema`)."""

    # A family implements:

    def sample_rows(self, rng: Rng, cond: Tensor | None = None) -> Tensor:
        """Draw one event per row of `rng` in one pass, (B, *S); all randomness is from `rng`."""
        raise NoCapabilityError(
            f"{type(self).__name__} does not sample by itself.",
            hint="name a sampler: model.sample(n, sampler=...)",
            command="--sampler NAME; zoo info MODEL lists those that fit",
        )

    def make_players(self, loss: Any) -> dict[str, Player]:
        """The players that a loss object trains; by default one, with all parameters."""
        return {"model": Player(tuple(self.parameters()), partial(loss, self))}

    def data_dependent_init(self, batch: Batch, rng: Rng) -> None:
        """Initialize parameters from a batch of data, as actnorm does; by default none.

        The training loop calls it once, before the first step. In a loop of your own, call it
        with a large batch, or the parameters keep their first values. A second call changes
        nothing, and no forward pass sets parameters.
        """

    @classmethod
    def options_for(cls, event: Event, options: Mapping[str, Any]) -> dict[str, Any]:
        """A recipe's options, changed so that the model is of `event`, without conditions.

        `zoo choose` fits recipes to data by it. By default the shape and the levels change; a
        family also changes what depends on them, such as how often the sides of an image are
        halved. Options that the Config lacks are dropped. Raises `ConfigError` for events that
        no options allow.
        """
        if isinstance(event, Group):
            raise ConfigError("it is for events of one kind, not of several columns")
        return {**options, "shape": list(event.shape), "levels": event.levels}

    # The zoo derives:

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """The map that the model's capability names, so that `model(...)` is a module's call.

        It is `log_prob(x, cond)` of a `Density`, `denoise(x_t, t, cond)` of a `Denoiser`, and
        `generate(z, cond)` of a `Generator`. Hooks, `DataParallel` and `torch.export` act on it.
        """
        for method in FUNCTIONS:
            if hasattr(type(self), method):
                return getattr(self, method)(*inputs, **keywords)
        raise NoCapabilityError(
            f"{type(self).__name__} is neither a Density, a Denoiser nor a Generator, so calling "
            "it means nothing.",
            hint="call its methods, such as encode and decode",
        )

    @property
    def spec(self) -> "ModelSpec":
        """The registered spec of this class; raises `UnknownNameError` if there is none."""
        from zoo_core.catalog.registry import current

        return current().spec_of(type(self))

    @property
    def device(self) -> torch.device:
        """The device of the parameters; the CPU if there are none."""
        return next((t.device for t in self._tensors()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the floating-point parameters; torch's default if there are none."""
        dtypes = (t.dtype for t in self._tensors() if t.is_floating_point())
        return next(dtypes, torch.get_default_dtype())

    def _tensors(self) -> Iterator[Tensor]:
        for of in ("_parameters", "_buffers"):
            for module in walk(self):
                yield from (t for t in getattr(module, of).values() if t is not None)

    def players(self, loss: Any = None, **options: Any) -> dict[str, Player]:
        """The players by name: their parameters and losses are all that a training loop needs.

            for player in model.players(ELBOLoss(beta=2.0)).values(): ...

        `loss` is an object or a registered name, whose fields are then `options`; by default it
        is the architecture's.
        """
        from zoo_core.catalog import components

        return self.make_players(components.loss(self, loss, options))

    sample = sampling.sample
    sample_batches = sampling.sample_batches
    log_likelihood = likelihood.log_likelihood

    def save(self, path: str | Path, **metadata: Any) -> Path:
        """Write a folder that `zoo.load` reads, with `model.safetensors` and `zoo.json`.

        `metadata` (license, source, metrics, ...) goes into `zoo.json`. Raises `OutputError` if
        the folder cannot be written, and `NotFiniteError` if a parameter is NaN or infinite.
        """
        from zoo_core.weights import checkpoint

        return checkpoint.save(self, Path(path), **metadata)


def __getattr__(name: str) -> Any:
    return moved_attribute(__name__, name)
