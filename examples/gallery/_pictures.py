"""How the examples show images: a row of a figure for each tensor of events."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import zoo_core as zoo


def rgb(x: Tensor, event: zoo.Event) -> Tensor:
    """Events (n, C, H, W) of K levels as (n, H, W, 3) in [0, 1], grey ones dark on light."""
    assert event.levels is not None
    shade = (x.double() / (event.levels - 1)).clamp(0, 1)
    shade = 1 - shade if x.shape[1] == 1 else shade
    return shade.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)


def show_rows(rows: Mapping[str, Tensor], event: zoo.Event, title: str = "") -> None:
    """A figure with the events of each entry in a row, its name above it; `title` describes it."""
    longest = max(len(x) for x in rows.values())
    figure, axes = plt.subplots(
        len(rows), 1, figsize=(8, len(rows) * (8 / longest + 0.3)), squeeze=False, label=title
    )
    for axis, (name, x) in zip(axes[:, 0], rows.items(), strict=True):
        images = torch.nn.functional.pad(rgb(x, event), (0, 0, 1, 1, 1, 1), value=1.0)
        strip = torch.cat(list(images), dim=1)
        width = strip.shape[1] * longest / len(x)
        axis.imshow(strip.numpy(), interpolation="nearest")
        axis.set_xlim(-0.5, width - 0.5)
        axis.set_title(name, loc="left", fontsize=10)
        axis.axis("off")
    figure.tight_layout()
