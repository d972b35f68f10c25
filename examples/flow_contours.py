"""Density contours of the bundled spline flows beside the truth, for docs/studies/flows.md.

    python examples/flow_contours.py [--out docs/pictures/flow-contours.png]

The upper row shows the true log p(x) of each toy data set with a bundled flow, the lower row that
of the flow. Bands are one nat wide; points more than ten nats below the true maximum are white.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

import zoo_core as zoo

TOYS = ("moons", "rings", "checkerboard", "gaussians")
SIDE, GAP, BANDS = 240, 8, 10


def grid(x: Tensor) -> Tensor:
    """Points (SIDE^2, 2) of a square around the sample, with a margin, from the top row down."""
    centre, reach = (x.amax(0) + x.amin(0)) / 2, 0.58 * float((x.amax(0) - x.amin(0)).max())
    axis = torch.linspace(-reach, reach, SIDE)
    rows, columns = torch.meshgrid(axis.flip(0), axis, indexing="ij")
    return torch.stack([columns, rows], -1).view(-1, 2) + centre


def bands(log_p: Tensor, top: float) -> Tensor:
    """Whole nats below `top`, clamped to 0..BANDS, as an RGB image (SIDE, SIDE, 3)."""
    below = (top - log_p).clamp(0, BANDS).floor() / BANDS  # 0 at the top, 1 far below
    dark, light = torch.tensor([8.0, 48.0, 107.0]), torch.tensor([255.0, 255.0, 255.0])
    colours = dark + below[:, None] ** 0.7 * (light - dark)
    return colours.view(SIDE, SIDE, 3).byte()


def panel(toy: str) -> Tensor:
    """The true density above that of the flow, (2 SIDE + GAP, SIDE, 3)."""
    data, model = zoo.load_dataset(toy), zoo.load(f"nsf_coupling.{toy}")
    x = grid(data.split("test").x)
    assert data.truth is not None
    truth = data.truth(x).float()
    flow = model.log_likelihood(x, batch_size=8192).nats.float()
    top = float(truth.max())
    gap = torch.full((GAP, SIDE, 3), 255, dtype=torch.uint8)
    return torch.cat([bands(truth, top), gap, bands(flow, top)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/flow-contours.png"))
    options = parser.parse_args()
    gap = torch.full((2 * SIDE + GAP, GAP, 3), 255, dtype=torch.uint8)
    bundled = set(zoo.list_models("nsf_coupling.*", pretrained=True))
    toys = [toy for toy in TOYS if f"nsf_coupling.{toy}" in bundled]
    panels = [image for toy in toys for image in (panel(toy), gap)][:-1]
    Image.fromarray(torch.cat(panels, 1).numpy()).save(options.out, optimize=True)
    print(options.out)


if __name__ == "__main__":
    main()
