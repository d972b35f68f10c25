"""`GenerativeModel`: what a family implements, and what the zoo derives from it.

A family says what its events are (`event`, `condition`), implements the methods of the
capabilities it has (`zoo_core.catalog.capabilities`), and either `sample_rows` or nothing if a
registered sampler serves it. Sampling in batches, seeding, likelihood bookkeeping, saving and
loading follow.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from zoo_core import config as configs
from zoo_core.compat import moved_attribute, renamed_methods
from zoo_core.contracts import Batch, Player
from zoo_core.errors import NoCapabilityError
from zoo_core.rng import Rng
from zoo_core.spaces import Condition, Event

if TYPE_CHECKING:
    from zoo_core.catalog.specs import ModelSpec
    from zoo_core.contracts import Likelihood, Sampler
    from zoo_core.likelihood import LogLikelihood

__all__ = ["GenerativeModel"]


class GenerativeModel(nn.Module):
    """A distribution over events that can be sampled, perhaps scored, and trained.

    Subclasses are final: they call `super().__init__(config, event, condition)` first, where
    `config` is a frozen dataclass from which the model can be built again.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        renamed_methods(cls)

    def __init__(self, config: Any, event: Event, condition: Condition | None = None) -> None:
        super().__init__()
        configs.validate(config)
        self.config = config
        self.event = event
        self.condition = condition or Condition()
        self.origin: str | None = None
        """The commit on the Hub that the weights are from: `hf://org/name@<commit>`."""

    # What a family implements.

    def sample_rows(self, rng: Rng, cond: Tensor | None = None) -> Tensor:
        """One event per row of `rng`, (B, *S), in one pass; every draw comes from `rng`."""
        raise NoCapabilityError(
            f"{type(self).__name__} does not sample by itself.",
            hint="name a sampler: model.sample(n, sampler=...)",
            command="--sampler NAME; zoo info MODEL lists those that fit",
        )

    def make_players(self, loss: Any) -> dict[str, Player]:
        """Who is trained by the loss object: by default one player with every parameter."""
        return {"model": Player(tuple(self.parameters()), partial(loss, self))}

    def data_dependent_init(self, batch: Batch, rng: Rng) -> None:
        """Set fresh parameters from data, where some start so (actnorm); by default none do.

        Our loop calls it once, before the first step; a loop of your own may, with a batch that
        is large enough, or the parameters stay as they are. It is the only place for this: no
        forward pass sets parameters. A second call changes nothing.
        """

    # What follows from it.

    @property
    def spec(self) -> "ModelSpec":
        """The registered spec of this class; raises `UnknownNameError` if there is none."""
        from zoo_core.catalog.registry import current

        return current().spec_of(type(self))

    @property
    def device(self) -> torch.device:
        """Where the parameters are; the CPU if there are none."""
        return next((t.device for t in self._tensors()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Of the floating-point parameters; torch's default if there are none."""
        found = (t.dtype for t in self._tensors() if t.is_floating_point())
        return next(found, torch.get_default_dtype())

    def _tensors(self) -> Iterator[Tensor]:
        yield from self.parameters()
        yield from self.buffers()

    def players(self, loss: Any = None, **options: Any) -> dict[str, Player]:
        """Who is trained, and by which loss: all that a training loop needs to know.

        `loss` is a registered name or an object such as `ELBOLoss(beta=2.0)`; by default the
        architecture's own. `options` are the fields of the named one.
        """
        from zoo_core.catalog import components as resolve

        return self.make_players(resolve.loss(self, loss, options))

    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        first_row: int = 0,
        sampler: "str | Sampler | None" = None,
        cond: Any = None,
        fixed: tuple[Any, Any] | None = None,
        batch_size: int | None = None,
        progress: bool = False,
        **options: Any,
    ) -> Tensor:
        """Draw n events (n, *shape), on the CPU.

        Row i depends on (seed, i) alone: neither n nor the batch size changes it. `sampler` is a
        registered name or an object such as `DDIM(steps=50)`; `options` are the fields of the
        named one. `cond` is one condition for all or one per event. `fixed=(values, mask)` holds
        known values, where the sampler can; it warns of those that it does not condition on.
        """
        from zoo_core import sampling

        return sampling.sample(
            self,
            n,
            seed=seed,
            first_row=first_row,
            sampler=sampler,
            cond=cond,
            fixed=fixed,
            batch_size=batch_size,
            progress=progress,
            **options,
        )

    def sample_batches(self, n: int, **arguments: Any) -> Iterator[Tensor]:
        """The same draws as `sample`, a batch at a time."""
        from zoo_core import sampling

        return sampling.sample_batches(self, n, **arguments)

    def log_likelihood(
        self,
        x: Any,
        *,
        cond: Any = None,
        method: "str | Likelihood | None" = None,
        seed: int = 0,
        batch_size: int | None = None,
        progress: bool = False,
        **options: Any,
    ) -> "LogLikelihood":
        """Score events x (B, *shape): nats (B,) with their kind and standard errors.

        `method` is a registered name or an object such as `IWAE(k=5000)`; by default the
        architecture's own. Raises `NoLikelihoodError` for implicit models.
        """
        from zoo_core import likelihood

        return likelihood.log_likelihood(
            self,
            x,
            cond=cond,
            method=method,
            seed=seed,
            batch_size=batch_size,
            progress=progress,
            **options,
        )

    def save(self, path: str | Path, **metadata: Any) -> Path:
        """Write a folder with `model.safetensors` and `zoo.json` that `zoo.load` reads."""
        from zoo_core.weights import checkpoint

        return checkpoint.save(self, Path(path), **metadata)


def __getattr__(name: str) -> Any:
    return moved_attribute(__name__, name)
