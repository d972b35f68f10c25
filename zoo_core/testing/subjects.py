"""Subjects of the checks: a plugin, and each of its models at a tiny size."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from zoo_core.building import build
from zoo_core.catalog.capabilities import CORE
from zoo_core.catalog.plugins import LoadRecord
from zoo_core.catalog.registry import Entry, Registry, current
from zoo_core.catalog.specs import LikelihoodSpec, ModelSpec
from zoo_core.errors import UnknownNameError, ZooError, did_you_mean
from zoo_core.model import GenerativeModel
from zoo_core.rng import Rng
from zoo_core.spaces import Condition, Event
from zoo_core.testing.proposals import Chart

__all__ = [
    "Inapplicable",
    "Inconclusive",
    "ModelSubject",
    "PluginSubject",
    "describe_condition",
    "only_if",
    "refused",
    "repeated",
    "subjects",
]

MAX_STATES = 1 << 12
"""Largest number of events that a check enumerates."""
_GRID = {1: 20_001, 2: 301}
_PERTURBATION = 0.05
_CONDITIONS = 3
_ROWS = 64
"""Events drawn at once: torch's few draws are not the first of many draws."""


class Inapplicable(Exception):
    """Raised by a check that does not apply to a subject; the message says why."""


class Inconclusive(Inapplicable):
    """Raised by a check without a verdict; the message says why, and what would help."""


Function = TypeVar("Function", bound=Callable[..., None])


def only_if(applies: "Callable[[ModelSubject], bool]") -> Callable[[Function], Function]:
    """Mark a check that applies only to models with `applies(subject)`.

    It is decided from the spec, so the check is not listed for other models.
    """

    def mark(check: Function) -> Function:
        check.applies = applies  # type: ignore[attr-defined]
        return check

    return mark


@dataclass(frozen=True)
class PluginSubject:
    """A loaded plugin and everything it declares."""

    plugin: LoadRecord
    registry: Registry

    @property
    def name(self) -> str:
        return self.plugin.name

    def declared(self, kind: str) -> list[Entry[Any]]:
        """The plugin's entries of a kind, e.g. `"sampler"`."""
        return [e for e in self.registry.by_kind[kind] if e.plugin is self.plugin]


@dataclass(frozen=True)
class ModelSubject:
    """An architecture at the size of `ModelSpec.tiny`."""

    spec: ModelSpec
    plugin: LoadRecord
    registry: Registry

    @property
    def name(self) -> str:
        return self.spec.arch

    @property
    def scored(self) -> bool:
        """Whether the architecture has a likelihood."""
        return self.spec.default_likelihood is not None

    @property
    def default_likelihood(self) -> str | None:
        """The likelihood by which models of this size are scored."""
        return self.registry.default_likelihood(self.spec, discrete=self.event.discrete)

    @property
    def exact(self) -> bool:
        """Whether its likelihood claims to be equal to log p."""
        return any(spec.kind.relation == "equal" for spec in self._likelihoods)

    @property
    def exact_of_reals(self) -> bool:
        """Whether its likelihood claims to be equal to log p for continuous events."""
        return self.exact and any(spec.serves(discrete=False) for spec in self._likelihoods)

    @property
    def _likelihoods(self) -> list[LikelihoodSpec]:
        """Those by which models of any size may be scored; nothing is built to find them."""
        default = self.spec.default_likelihood or ()
        names = (default,) if isinstance(default, str) else default
        return [entry.spec for name in names for entry in self._declared(name)]

    def _declared(self, likelihood: str) -> list[Entry[LikelihoodSpec]]:
        try:
            return self.registry.likelihoods.find(likelihood)
        except UnknownNameError:
            return []  # scoring fails, and says so

    def claims(self, *capabilities: str) -> bool:
        return set(capabilities) <= set(self.spec.capabilities)

    @property
    def known_capabilities(self) -> set[str]:
        """The capabilities of the core, and those that specs of the model's plugin name."""
        whole = PluginSubject(self.plugin, self.registry)
        named = [e.spec.capabilities for e in whole.declared("model")]
        for kind in ("sampler", "loss", "likelihood"):
            named += [e.spec.requires for e in whole.declared(kind)]
        return {*CORE, *chain.from_iterable(named)}

    @property
    def bundled(self) -> list[Path]:
        """The folders of the weights that come with the plugin."""
        entry = next(e for e in self.registry.models if e.spec is self.spec)
        tags = self.registry.tags(entry)
        return [tag.folder for tag in tags if tag.folder is not None]

    def model(self) -> GenerativeModel:
        """A model in evaluation mode, the same at each call.

        Its parameters are perturbed, so that zeros at initialization hide no fault.
        """
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            model = tiny(self.spec)
            for p in model.parameters():
                p.add_(_PERTURBATION * torch.randn_like(p))
        return model.eval()

    def used(self) -> GenerativeModel:
        """The same after a loss in training, sampling and scoring; in evaluation mode."""
        model, batch = self.model(), (self.events(4), self.cond(4))
        if self.spec.default_loss is not None:
            with torch.random.fork_rng(devices=[]):
                for player in model.train().players().values():
                    player.loss(batch, Rng(0, 4), 0)
        model.sample(2, cond=self.cond(2))
        if self.scored:
            model.log_likelihood(self.events(2), cond=self.cond(2))
        return model.eval()

    @cached_property
    def event(self) -> Event:
        return self.model().event

    def events(self, n: int) -> Tensor:
        """Legal events (n, *shape), the same ones at each call."""
        event, generator = self.event, torch.Generator().manual_seed(1)
        shape = (max(n, _ROWS), *event.shape)
        if event.levels is not None:
            return torch.randint(event.levels, shape, generator=generator)[:n]
        if event.low is None or event.high is None:
            x = torch.randn(shape, generator=generator)[:n]
            return event.from_network(x)
        x = torch.rand(shape, generator=generator)[:n]
        return event.low + (event.high - event.low) * x

    def cond(self, n: int) -> Tensor | None:
        """Legal conditions of n events, the same at each call; None if the model takes none."""
        generator = torch.Generator().manual_seed(2)
        found = random_conditions(self.model().condition, max(n, _ROWS), generator)
        return None if found is None else found[:n]

    def conditions(self) -> list[Tensor | None]:
        """A few different conditions (1, ...), with None if the model can do without."""
        condition = self.model().condition
        if condition.classes is not None and not condition.shape:
            conditions = torch.arange(min(_CONDITIONS, condition.classes))[:, None]
        else:
            many = self.cond(_CONDITIONS)
            conditions = torch.empty(0) if many is None else many[:, None]
        free: list[Tensor | None] = [None] if self._unconditional else []
        return [*free, *conditions]

    @property
    def _unconditional(self) -> bool:
        condition = self.model().condition
        return condition.kind == "none" or condition.optional

    def support(
        self, model: GenerativeModel, cond: Tensor | None, *, coarse: bool = False
    ) -> tuple[Tensor, Tensor]:
        """All events (N, *shape) and the volume (N,) that each stands for, given a condition.

        Every state of a small discrete event, or a grid over a continuous one of one or two
        dimensions, with half as many points per axis if `coarse`.
        """
        event = self.event
        if event.levels is not None:
            states = _states(event)
            return states, torch.ones(len(states), dtype=torch.float64)
        if event.dims not in _GRID:
            raise Inapplicable(f"{event}: too many to enumerate")
        n = _GRID[event.dims] // (2 if coarse else 1)
        return _grid(event, model.sample(512, seed=5, cond=repeated(cond, 512)), n)


def random_conditions(condition: Condition, n: int, generator: torch.Generator) -> Tensor | None:
    """Legal conditions of n events, with every part there; None where there are none."""
    if condition.kind == "none":
        return None
    if condition.kind == "group":
        parts = {k: random_conditions(part, n, generator) for k, part in condition.parts}
        return condition.check(parts, n)
    shape = (n, *condition.shape)
    if condition.classes is not None:
        return torch.randint(condition.classes, shape, generator=generator)
    return torch.randn(shape, generator=generator)


def repeated(cond: Tensor | None, n: int) -> Tensor | None:
    """One condition (1, ...) for n events."""
    return None if cond is None else cond.expand(n, *cond.shape[1:])


def describe_condition(cond: Tensor | None) -> str:
    """The condition (1, ...) as text for a message."""
    return "" if cond is None else f", given {cond[0].tolist()}"


def tiny(spec: ModelSpec) -> GenerativeModel:
    """A fresh model at its tiny size, with tiny submodels."""
    submodels = {name: tiny(current().model(arch).spec) for name, arch in spec.submodels}
    return build(spec, {**submodels, **dict(spec.tiny)})


def subjects(plugin: str, registry: Registry) -> Sequence[PluginSubject | ModelSubject]:
    """The plugin itself, and each model it declares."""
    if plugin not in registry.plugins.records:
        known = registry.plugins.records
        raise UnknownNameError(
            f"no plugin {plugin!r} is loaded. {did_you_mean(plugin, known)}".rstrip(),
            hint=f"loaded: {', '.join(known)}",
        )
    whole = PluginSubject(registry.plugins.records[plugin], registry)
    models = [ModelSubject(e.spec, e.plugin, registry) for e in whole.declared("model")]
    return [whole, *models]


@contextmanager
def refused(what: str, error: type[ZooError] = ZooError) -> Iterator[None]:
    """Assert that the block raises `error`; `what` names the argument it is about."""
    try:
        yield
    except error:
        return
    except Exception as other:
        raise AssertionError(
            f"{what} raises {type(other).__name__} ({other}); it must raise {error.__name__}"
        ) from other
    raise AssertionError(f"{what} is accepted; it must raise {error.__name__}")


def _states(event: Event) -> Tensor:
    levels, dims = event.levels or 0, event.dims
    if dims > 64 or levels**dims > MAX_STATES:
        raise Inapplicable(f"{event}: more than {MAX_STATES} states; make `tiny` smaller")
    digits = torch.cartesian_prod(*[torch.arange(levels)] * dims).view(-1, *event.shape)
    return digits


def _grid(event: Event, samples: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Midpoints of a box around the samples, denser at their middle, and the cells' volumes.

        u = m + s sinh(v) on each axis, v equally spaced

    over three times the range of the samples, in the coordinates of `Chart`.
    """
    chart = Chart(event)
    axes, widths = [], []
    for u in chart.points(samples).unbind(1):
        m, s = u.median(), (u.quantile(0.75) - u.quantile(0.25)).clamp_min(1e-6)
        a, b = (u.min() - (u.max() - u.min()), u.max() + (u.max() - u.min()))
        a, b = ((end - m) / s for end in (a, b))
        v = a.asinh() + (b.asinh() - a.asinh()) * (torch.arange(n) + 0.5).double() / n
        axes.append(m + s * v.sinh())
        widths.append(s * v.cosh() * (b.asinh() - a.asinh()) / n)
    u = torch.cartesian_prod(*axes).view(-1, event.dims)
    x, ladj = chart.events(u)
    return x.float(), torch.cartesian_prod(*widths).view(-1, event.dims).prod(1) * ladj.exp()
