"""The sampling driver: rows, batches, seeds and progress, for every sampler alike.

A sampler draws one batch; the driver asks it for rows 0..n-1 in batches of bounded memory. Row i
depends on (seed, i) alone. `sample` and `sample_batches` are the methods of `GenerativeModel`.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from zoo_core import config as configs
from zoo_core.contracts import AltersDistribution, Inpainting, Sampler, SupportsInpainting
from zoo_core.data.batches import cond_to_model
from zoo_core.errors import DataError, NoCapabilityError, UsageError, warn
from zoo_core.finite import check_finite, check_parameters
from zoo_core.memory import require_memory
from zoo_core.modes import at_rest
from zoo_core.rng import Rng
from zoo_core.spaces import Event

if TYPE_CHECKING:
    from zoo_core.model import GenerativeModel

__all__ = [
    "Direct",
    "batches",
    "default_batch",
    "draw_rows",
    "event_bytes",
    "how_drawn",
    "sample",
    "sample_batches",
]

_BATCH_VALUES = 1 << 20
_MAX_BATCH = 256


@dataclass(frozen=True)
class Direct:
    """The model's own one-pass sampler, `model.sample_rows(rng, cond)`."""

    def __call__(self, model: "GenerativeModel", rng: Rng, cond: Tensor | None) -> Tensor:
        return model.sample_rows(rng, cond)


def sample(
    model: "GenerativeModel",
    n: int,
    *,
    seed: int = 0,
    first_row: int = 0,
    sampler: "str | Sampler | None" = None,
    cond: Any = None,
    fixed: tuple[Any, Any] | None = None,
    x_T: Any = None,
    init: Any = None,
    batch_size: int | None = None,
    progress: bool = False,
    device: torch.device | str | None = None,
    **options: Any,
) -> Tensor:
    """Draw n events (n, *S), on `device`, by default the model's.

        model.sample(16, seed=0, sampler=DDIM(steps=50))

    Row i depends on (seed, first_row + i) alone: neither n nor `batch_size` changes it. `sampler`
    is an object or a registered name, whose fields are then `options`; by default it is the one
    that was measured to serve the weights (`model.measured_sampler`), or else the architecture's
    for n events (`ModelSpec.sampler_of`). `cond` is one condition for all events or one for each:
    numbers or names of classes, tensors, or a dict of the parts of a group.
    `fixed=(values, mask)` asks for inpainting: events equal `values` where `mask` is true, both
    broadcast to (n, *S). A `ZooWarning` says which of these values the sampler does not condition
    on. Samplers that start from noise take it as `x_T`, reals broadcast to (n, *S), or events
    `init`, which they noise.

    Raises `UsageError` or `DataError` for arguments that do not fit the model, and
    `NoCapabilityError` if the model or the sampler cannot do what is asked.
    """
    drawn = sample_batches(
        model,
        n,
        seed=seed,
        first_row=first_row,
        sampler=sampler,
        cond=cond,
        fixed=fixed,
        x_T=x_T,
        init=init,
        batch_size=batch_size,
        progress=progress,
        device=device,
        **options,
    )
    dtype = torch.int64 if model.event.discrete else model.dtype
    require_memory(
        n * event_bytes(model.event, dtype),
        f"{n:,} events of shape {model.event.shape}",
        hint="iterate over sample_batches(...) instead, or write npz with zoo sample",
    )
    first = next(drawn)
    if len(first) == n:
        return first
    out = first.new_empty((n, *model.event.shape))
    out[: len(first)] = first
    done = len(first)
    for batch in drawn:
        out[done : done + len(batch)] = batch
        done += len(batch)
    return out


def sample_batches(
    model: "GenerativeModel",
    n: int,
    *,
    seed: int = 0,
    first_row: int = 0,
    sampler: "str | Sampler | None" = None,
    cond: Any = None,
    fixed: tuple[Any, Any] | None = None,
    x_T: Any = None,
    init: Any = None,
    batch_size: int | None = None,
    progress: bool = False,
    trace: Callable[[int, Tensor], None] | None = None,
    device: torch.device | str | None = None,
    **options: Any,
) -> Iterator[Tensor]:
    """Yield the draws of `sample` in batches (B, *S) of bounded memory.

    `trace(step, x)` is called at each step of a sampler that takes it, once for every batch.
    """
    from zoo_core.catalog.components import sampler as resolve_sampler

    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise UsageError(f"n = {n!r}; it must be an integer of at least 1.")
    draw = resolve_sampler(model, sampler, options, n)
    cond = model.condition.check(cond, n)
    inpainting = None if fixed is None else _inpainting(model.event, fixed, n)
    of_rows = {"fixed": inpainting, **_starts(model.event, x_T, init, n)}
    extras = _optional_keywords(draw, trace=trace, **of_rows)
    if model.event.discrete:  # draws from NaN are integers like any others
        check_parameters(model.state_dict(), "the model cannot be drawn from")
    if inpainting is not None and isinstance(draw, SupportsInpainting):
        warning = draw.ignored(model, inpainting.distinct())
        if warning is not None:
            warn(warning)
    return _draw_batches(
        model, draw, n, seed, first_row, cond, extras, batch_size, progress, device
    )


def draw_rows(
    model: "GenerativeModel",
    rng: Rng,
    cond: Tensor | None = None,
    sampler: "str | Sampler | None" = None,
) -> Tensor:
    """One event per row of `rng`, (B, *S) on the model's device, for a model made of models.

    It draws with a submodel's own sampler, by default the one that its architecture names. Give
    each submodel a scope of its own: `draw_rows(self.prior, rng.scope("prior"))`.
    """
    from zoo_core.catalog.components import sampler as resolve_sampler

    x = resolve_sampler(model, sampler, {}, len(rng))(model, rng, cond)
    return model.event.from_network(x) if x.is_floating_point() else x


def how_drawn(draw: Sampler) -> dict[str, Any]:
    """What metadata of draws say of their sampler: its options, and whether these make the draws
    follow another distribution than the one that the model scores."""
    about: dict[str, Any] = {
        "options": configs.to_dict(draw) if dataclasses.is_dataclass(draw) else {}
    }
    altered = draw.altered_by() if isinstance(draw, AltersDistribution) else None
    if altered is not None:
        about["distribution"] = f"not the scored one: {altered}"
    return about


def _draw_batches(
    model: "GenerativeModel",
    draw: Sampler,
    n: int,
    seed: int,
    first_row: int,
    cond: Tensor | None,
    extras: dict[str, Any],
    batch_size: int | None,
    progress: bool,
    device: torch.device | str | None,
) -> Iterator[Tensor]:
    with tqdm(total=n, unit="event", disable=None if progress else True) as bar:
        for rows in batches(n, model.event, batch_size):
            given = {name: _of_rows(value, rows, model.device) for name, value in extras.items()}
            rng = Rng(seed, rows + first_row).to(model.device)
            condition = None if cond is None else cond_to_model(cond[rows], model)
            with at_rest(model) as still:
                x = draw(still, rng, condition, **given)
            name = f"what {type(draw).__name__} drew"
            yield _events(model.event, x, len(rows), name=name).to(device or model.device)
            bar.update(len(rows))


def _events(event: Event, x: Tensor, n: int, *, name: str) -> Tensor:
    """What a sampler returned, as n events on its device.

    Floating point is on the network's scale, which for events of reals is their own. Raises
    `DataError` if `x` cannot be n events, and `NotFiniteError` for NaN and infinite values.
    """
    if not isinstance(x, Tensor) or x.ndim == 0:
        raise DataError(f"{name} is a {type(x).__name__}, not a batch of events: {event}.")
    if x.is_floating_point():
        check_finite(x, name)
        x = event.from_network(x)
    if len(x) != n:
        raise DataError(f"{name} has {len(x)} rows; {n} were asked for.")
    return event.check(x, name=name)


def _optional_keywords(draw: Sampler, **values: Any) -> dict[str, Any]:
    """The optional keywords that are not None; raises if the sampler does not take one."""
    parameters = inspect.signature(draw.__call__).parameters
    keywords = {k: v for k, v in values.items() if v is not None}
    for name in keywords:
        if name not in parameters:
            raise NoCapabilityError(
                f"sampler {type(draw).__name__} takes no {name}=.",
                hint="zoo info MODEL lists its samplers",
            )
    return keywords


def _inpainting(event: Event, fixed: tuple[Any, Any], n: int) -> Inpainting:
    """`fixed=(values, mask)` as tensors (n, *S); raises `DataError` if they do not fit."""
    try:
        values, mask = fixed
        shape = (n, *event.shape)
        values, mask = torch.as_tensor(values), torch.as_tensor(mask, dtype=torch.bool)
        observed = torch.where(mask, values, torch.zeros_like(values))
        observed = observed + observed.new_zeros(1, *event.shape)
        values, mask = values.expand(shape), mask.expand(shape)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"fixed does not fit {event} ({error}); give (values, mask).") from None
    event.check(observed, name="fixed values")
    return Inpainting(values, mask)


def _starts(event: Event, x_T: Any, init: Any, n: int) -> dict[str, Tensor | None]:
    """`x_T` and `init` as tensors (n, *S); raises if they do not fit, or if there are both."""
    if x_T is not None and init is not None:
        raise UsageError("x_T and init both say where to start; give one of them.")
    given = {"x_T": x_T, "init": init}
    return {k: None if v is None else _start(event, k, v, n) for k, v in given.items()}


def _start(event: Event, name: str, value: Any, n: int) -> Tensor:
    try:
        x = torch.as_tensor(value).expand(n, *event.shape)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{name} does not fit {n} times {event} ({error}).") from None
    if name == "init":
        return event.check(x, name="init")
    if not x.is_floating_point():
        raise DataError(f"x_T is {x.dtype}; it must be reals, the noise at time T.")
    check_finite(x, "x_T")
    return x


def _of_rows(value: Any, rows: Tensor, device: torch.device) -> Any:
    """A keyword of a sampler for some of the n events."""
    if isinstance(value, Inpainting):
        return value.rows(rows, device)
    return value[rows].to(device) if isinstance(value, Tensor) else value


def batches(n: int, event: Event, batch_size: int | None) -> Iterator[Tensor]:
    """Yield indices 0..n-1 in batches, by default as many as a bounded memory holds."""
    if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
        raise UsageError(f"batch_size = {batch_size!r}; it must be an integer of at least 1.")
    size = batch_size or default_batch(event)
    require_memory(
        min(n, size) * event_bytes(event, torch.float32),
        f"the events of a batch of {min(n, size):,}",
        hint="a smaller batch_size (--batch-size); without one, what memory fits",
    )
    for a in range(0, n, size):
        yield torch.arange(a, min(a + size, n))


def default_batch(event: Event) -> int:
    """Events a batch where nothing else is asked for: what a bounded memory holds."""
    return max(1, min(_MAX_BATCH, _BATCH_VALUES // max(1, event.dims)))


def event_bytes(event: Event, dtype: torch.dtype) -> int:
    """Bytes of one event in memory."""
    return max(1, event.dims) * dtype.itemsize
