"""Data sets drawn from a known distribution, each split from its own stream of a seed.

Row i of a split depends on (seed, split, i) alone: a larger split begins with the smaller one.
"""

from collections.abc import Callable, Mapping
from typing import Annotated

from torch import Tensor

from zoo_core.config import Range
from zoo_core.data.dataset import Dataset, Split, storage_dtype
from zoo_core.rng import Rng
from zoo_core.spaces import Condition, Event

__all__ = ["Draw", "Seed", "Size", "generated", "mixture_component"]

Size = Annotated[int, Range(1, 10_000_000)]
"""Number of events in a split."""

Seed = Annotated[int, Range(0, 2**64 - 1)]

Draw = Callable[[Rng], tuple[Tensor, Tensor | None]]
"""From a generator to events (N, *S) and labels (N,) or None, one for each of its rows."""


def generated(
    name: str,
    event: Event,
    *,
    draw: Draw,
    truth: Callable[[Tensor], Tensor],
    sizes: Mapping[str, int],
    seed: int,
    provenance: str,
    classes: int | None = None,
) -> Dataset:
    """A data set whose splits are drawn by `draw` and whose log p(x) is `truth`."""
    splits = {}
    for split, n in sizes.items():
        x, y = draw(Rng(seed, n, scope=f"data/{name}/{split}/"))
        splits[split] = Split(x.to(storage_dtype(event)), y)
    return Dataset(
        name=name,
        event=event,
        condition=Condition("classes", classes=classes) if classes else Condition(),
        splits=splits,
        license="none (generated)",
        provenance=f"{provenance}; seed {seed}",
        truth=truth,
    )


def mixture_component(rng: Rng, components: int) -> Tensor:
    """The component of each row, out of equally likely ones, int64 (N,)."""
    u = rng.uniform(stream="component")
    return (u.double() * components).long()
