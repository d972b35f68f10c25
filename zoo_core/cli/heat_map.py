"""The file of `zoo likelihood --map`: log p of every value, as a picture or as numbers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_core.errors import OutputError

if TYPE_CHECKING:
    from torch import Tensor

    from zoo_core.model import GenerativeModel

__all__ = ["check_map", "write_map"]

_SUFFIXES = (".png", ".npz")


def check_map(path: Path, model: "GenerativeModel") -> None:
    """Raise if the map cannot be computed or written, before anything is computed."""
    from zoo_core.catalog.capabilities import has
    from zoo_core.data import pictures
    from zoo_core.errors import NoCapabilityError

    if path.suffix.lower() not in _SUFFIXES:
        raise OutputError(f"{path} has suffix {path.suffix!r}; it must be .png or .npz.")
    if not has(model, "Conditionals"):
        raise NoCapabilityError(
            f"--map needs the capability Conditionals, which {type(model).__name__} lacks.",
            hint="autoregressive models have it",
        )
    if path.suffix.lower() == ".png" and not pictures.drawable(model.event):
        raise OutputError(f"{model.event} cannot be drawn.", hint="write .npz")


def write_map(
    path: Path,
    model: "GenerativeModel",
    x: "Tensor",
    cond: "Tensor | None",
    metadata: dict[str, Any],
    *,
    batch_size: int | None = None,
) -> float:
    """Write -log p of each value in nats and return the largest: the brightest of a picture.

    In a picture the channels of a pixel are added, and colours go from black (certain) over red
    and yellow to white; an .npz file has `x` of the events' shape.
    """
    from zoo_core.data import pictures
    from zoo_core.data.writers import write
    from zoo_core.likelihoods.per_dimension import log_prob_map
    from zoo_core.spaces import Event

    nats = -log_prob_map(model, x, cond=cond, batch_size=batch_size).cpu()
    if path.suffix.lower() == ".npz":
        write(path, nats.float(), Event(model.event.shape), {**metadata, "unit": "nats"})
        return float(nats.max())
    height, width = model.event.shape[-2:]
    pixels = nats.reshape(len(nats), -1, height, width).sum(1)
    brightest = float(pixels.max())
    details = {**metadata, "unit": "nats", "brightest": brightest}
    event = Event((3, height, width), low=0.0, high=1.0)
    write(path, pictures.heat(pixels / max(brightest, 1e-12)), event, details)
    return brightest
