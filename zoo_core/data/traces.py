"""Traces of sampling: the steps of a sampler as a strip (.png) or an animation (.gif).

    trace = Trace()
    list(model.sample_batches(8, trace=trace))
    trace.write("steps.png", model.event)     # a row per event, time from left to right

Points in the plane are drawn as one picture of all events for each step.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo_core.data import pictures
from zoo_core.errors import OutputError, UsageError
from zoo_core.files import atomic_path
from zoo_core.spaces import Event

__all__ = ["SUFFIXES", "Trace"]

SUFFIXES = (".png", ".gif")
_ROWS, _FRAMES = 8, {".png": 12, ".gif": 60}
_POINTS = 4096
_MILLISECONDS, _LAST = 60, 1500


class Trace:
    """Records the steps of a sampler, which calls it as `(step, events)`, for the first batch."""

    def __init__(self) -> None:
        self.frames: list[Tensor] = []
        self._last = -1

    def __call__(self, step: int, x: Tensor) -> None:
        """Record some events (B, *S) of a step; a step that does not rise starts another batch."""
        if step > self._last:
            n = _POINTS if x.ndim == 2 else _ROWS
            self.frames.append(x[:n].detach().cpu().clone())
            self._last = step

    def write(self, path: Path | str, event: Event) -> None:
        """Write a strip or an animation, by the suffix, of evenly spaced steps.

        Raises `OutputError` for another suffix, or events that cannot be drawn.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise OutputError(f"{path} has suffix {path.suffix!r}; it must be .png or .gif.")
        if not pictures.drawable(event):
            raise OutputError(
                f"{event} is no picture.", hint="trace images or points in the plane"
            )
        if not self.frames:
            raise UsageError("the sampler showed no steps.", hint="zoo info MODEL lists samplers")
        chosen = _evenly(self.frames, _FRAMES[suffix])
        with atomic_path(path) as temporary:
            if suffix == ".png":
                Image.fromarray(_strip(chosen, event)).save(temporary, format="PNG")
            else:
                _animate(chosen, event, temporary)


def _evenly(frames: list[Tensor], n: int) -> list[Tensor]:
    at = (
        torch.linspace(0, len(frames) - 1, min(n, len(frames)), dtype=torch.float64).round().long()
    )
    return [frames[i] for i in at.tolist()]


def _strip(frames: list[Tensor], event: Event) -> np.ndarray:
    """A picture with a row per event and a column per step."""
    if len(event.shape) == 1:
        return np.concatenate([pictures.scatter(f) for f in frames], 1)
    n = len(frames[0])
    images = torch.stack([_shaded(f, event) for f in frames], 1).flatten(0, 1)
    _, _, scale, _ = pictures.grid_layout(event, n * len(frames), columns=len(frames))
    return pictures.grid(images, n, len(frames), scale)


def _animate(frames: list[Tensor], event: Event, path: Path) -> None:
    """Write an animation with a frame per step; the last is shown longer."""
    drawn = [Image.fromarray(_picture(f, event)) for f in frames]
    durations = [_MILLISECONDS] * (len(drawn) - 1) + [_LAST]
    gif = {"save_all": True, "append_images": drawn[1:], "duration": durations, "loop": 0}
    drawn[0].save(path, format="GIF", **gif)


def _picture(frame: Tensor, event: Event) -> np.ndarray:
    if len(event.shape) == 1:
        return pictures.scatter(frame)
    rows, columns, scale, _ = pictures.grid_layout(event, len(frame))
    return pictures.grid(_shaded(frame, event), rows, columns, scale)


def _shaded(frame: Tensor, event: Event) -> Tensor:
    low = float(frame.min()) if event.low is None else event.low
    high = float(frame.max()) if event.high is None else event.high
    return pictures.shade(frame, event, low, high)
