"""The zoo in one minute: bundled models by name, their samples and their likelihoods.

    python examples/demo.py                  table on stdout, images in demo/gallery.png

For each model: load, sample, score held-out data; of colour images a few that the seed draws, and
the table says how many. The sign before a likelihood's kind is its
relation to log p: `=` equal, `>=` a lower bound, `~` an estimate. Bits per dimension are
-log p / (D ln 2), so a lower bound on log p is an upper bound there. Models without a density have
no such number.
"""

import argparse
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import zoo_core as zoo
import zoo_kernels
from zoo_core import plus_minus

if TYPE_CHECKING:
    from zoo_core import ModelInfo
    from zoo_core.plugin import Dataset

SHOWN, TIMED, SEED = 20, 64, 0
IMAGE_DATA = ("emoji", "digits", "ising")
"""Data sets of images without a download, in the order of the gallery."""
SCORED, DRAWN = {"emoji": 16}, {"emoji": 10}
"""How many held-out events are scored, and how many drawn, where more take too long."""
FAST = {"vdm": "dpmpp_2m"}
"""Samplers of few calls for data of which few events are drawn."""
ODE = {"rtol": 1e-3, "atol": 1e-3, "precision": "model"}
ODE_SCORED = 64
"""The tolerances of flows that are solved for their likelihood, and of how many events."""


@dataclass(frozen=True)
class Result:
    """One model's row of the table and of the gallery."""

    name: str
    data: "Dataset"
    family: str
    density: str
    likelihood: str
    relation: str
    bits: float | None
    std_err: float | None
    n: int
    """How many held-out events were scored."""
    rate: float
    samples: Tensor
    event: zoo.Event

    @property
    def score(self) -> str:
        if self.bits is None:
            return "no likelihood"
        bits = f"{self.relation} {self.bits:.3f} {plus_minus(self.std_err)}".replace("+-", "±")
        few = self.n < len(self.data.split("test"))
        return f"{bits} (n = {self.n})" if few else bits


def is_bundled(info: "ModelInfo") -> bool:
    return info.tag is not None and info.tag.status == "bundled"


def run(name: str) -> Result:
    """Load a model by name, sample it, score the held-out split of its data."""
    info, model = zoo.info(name), zoo.load(name)
    data = zoo.load_dataset(trained_on(info))
    n = DRAWN.get(data.name, TIMED)
    sampler = FAST.get(info.spec.arch) if data.name in DRAWN else None
    cond = labels(model, data, n)
    model.sample(2, sampler=sampler, cond=None if cond is None else cond[:2])
    start = time.perf_counter()
    samples = model.sample(n, sampler=sampler, seed=SEED, cond=cond)
    rate = n / (time.perf_counter() - start)
    return Result(
        name,
        data,
        info.spec.family,
        info.spec.density,
        *score(model, data),
        rate=rate,
        samples=samples[:SHOWN],
        event=model.event,
    )


def labels(model: zoo.GenerativeModel, data: "Dataset", n: int) -> Tensor | None:
    """Classes in turn; of several labels those of the first n held-out events, whose row in the
    gallery is above."""
    if model.condition.kind == "group":
        return data.split("test").batch(range(n))[1]
    return torch.arange(n) % model.condition.classes if model.condition.classes else None


def trained_on(info: "ModelInfo") -> str:
    """The data set named in the weights' metadata."""
    metadata = (info.tag.metadata if info.tag else None) or {}
    return str(metadata.get("data", {}).get("name", "digits"))


def score(
    model: zoo.GenerativeModel, data: "Dataset"
) -> tuple[str, str, float | None, float | None, int]:
    """Likelihood kind, relation sign, bits per dimension, standard error, and of how many."""
    if model.spec.default_likelihood is None:
        return "none", "", None, None, 0
    held, solved = data.split("test"), model.spec.default_likelihood == "ode"
    most = ODE_SCORED if solved else len(held)
    x, y = held.batch(drawn(len(held), SCORED.get(data.name, most)))
    cond = None if model.condition.kind == "none" else y
    mean = model.log_likelihood(x, cond=cond, seed=SEED, **(ODE if solved else {})).mean()
    sign = mean.kind.bits_sign
    bits = mean.bits_per_dim, mean.bits_per_dim_std_err
    return f"{mean.kind.sign} {mean.kind}", sign, *bits, len(x)


def drawn(size: int, n: int) -> Tensor:
    """n of `size` rows, drawn by the seed; all of them in their order if there are no more."""
    if n >= size:
        return torch.arange(size)
    return torch.randperm(size, generator=torch.Generator().manual_seed(SEED))[:n]


def table(results: Sequence[Result]) -> str:
    header = ("model", "family", "density type", "likelihood", "bits/dim", "samples/s")
    rows = [
        (r.name, r.family, r.density, r.likelihood, r.score, f"{r.rate:,.0f}") for r in results
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = tuple("─" * width for width in widths)
    lines = [
        "  ".join(
            c.rjust(w) if i == 5 else c.ljust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in (header, rule, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)


def kernels() -> str:
    """The backend of each op on this machine."""
    rows = [row for row in zoo_kernels.backends() if row.supported]
    order = {"triton": 0, "cpp": 1, "reference": 2}
    best: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: order[row.backend]):
        best.setdefault(row.op, row.backend)
    served = {name: [op for op, backend in best.items() if backend == name] for name in order}
    text = "; ".join(f"{name} ({', '.join(ops)})" for name, ops in served.items() if ops)
    slow = "" if served["cpp"] or served["triton"] else ". `zoo doctor --fix` compiles faster ones"
    return f"kernels: {text}{slow}"


# The gallery.

INK, SOFT, PAPER, LINE = "#1b1f24", "#6a737d", "#ffffff", "#e4e7eb"
SCALE = 2
TILE, GAP, MARGIN, LABEL, HEAD = (SCALE * v for v in (40, 5, 28, 190, 84))


def gallery(results: Sequence[Result], path: Path) -> None:
    """One labelled row per model; the first row of each data set is held-out data."""
    rows = [
        row
        for group in by_data(results)
        for row in (real_row(group[0].data), *map(model_row, group))
    ]
    width = 2 * MARGIN + LABEL + SHOWN * (TILE + GAP) - GAP
    pitch = TILE + 5 * GAP
    page = Image.new("RGB", (width, HEAD + len(rows) * pitch + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, SCALE * 24), "Density Zoo", fill=INK, font=font(24))
    caption = (
        f"samples of bundled models, seed {SEED}; the rows of a data set share their random "
        "numbers, in colour also the labels of the real images above them"
    )
    draw.text((width - MARGIN, SCALE * 32), caption, fill=SOFT, font=font(13), anchor="ra")
    for i, (title, lines, tiles) in enumerate(rows):
        top = HEAD + i * pitch
        draw.line((MARGIN, top - 2 * GAP, width - MARGIN, top - 2 * GAP), fill=LINE, width=SCALE)
        draw.text((MARGIN, top - SCALE * 2), title, fill=INK, font=font(14))
        for k, line in enumerate(lines):
            draw.text((MARGIN, top + SCALE * (15 + 13 * k)), line, fill=SOFT, font=font(11))
        for k, tile in enumerate(tiles):
            page.paste(tile, (MARGIN + LABEL + k * (TILE + GAP), top))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


Row = tuple[str, tuple[str, str], list[Image.Image]]


def by_data(results: Sequence[Result]) -> list[list[Result]]:
    """The models of each data set together."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.data.name, []).append(result)
    return list(groups.values())


def real_row(data: "Dataset") -> Row:
    images = data.split("test").x[: DRAWN.get(data.name, SHOWN)]
    licence = re.sub(r" \([^)]*\)", "", data.license)  # without whose it is
    note = (f"{len(data.split('test')):,} held-out images", licence)
    return f"real {data.name}", note, tiles(images, data.event)


def model_row(r: Result) -> Row:
    bits = r.score if r.bits is None else f"{r.score} bits/dim"
    return r.name, (r.density, bits), tiles(r.samples, r.event)


def tiles(x: Tensor, event: zoo.Event) -> list[Image.Image]:
    """Events as small images; a point of the plane becomes a dot."""
    low = 0.0 if event.discrete else event.low if event.low is not None else float(x.min())
    high = event.levels - 1 if event.levels else event.high or float(x.max())
    grey = (x.double() - low) / (high - low or 1)
    return [tile(g.clamp(0, 1)) for g in grey]


def tile(grey: Tensor) -> Image.Image:
    """(C, H, W) in [0, 1] as TILE x TILE pixels, dark on light for grey images."""
    if grey.ndim != 3:
        return dot(grey)
    shade = 1 - grey if len(grey) == 1 else grey
    pixels = (255 * shade).round().byte().expand(3, -1, -1).permute(1, 2, 0).contiguous()
    return Image.fromarray(pixels.numpy()).resize((TILE, TILE), Image.Resampling.NEAREST)


def dot(point: Tensor) -> Image.Image:
    image = Image.new("RGB", (TILE, TILE), "#f4f5f7")
    x, y = (float(v) * (TILE - 6 * SCALE) + 3 * SCALE for v in point.flatten()[:2])
    y, r = TILE - y, 2 * SCALE
    ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=INK)
    return image


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(SCALE * size)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("demo/gallery.png"))
    parser.add_argument("--family", help="only models of this family, such as gan")
    args = parser.parse_args()
    start = time.perf_counter()
    names = zoo.list_models(family=args.family)
    bundled = [info for info in map(zoo.info, names) if is_bundled(info)]
    shown = [info.name for info in bundled if trained_on(info) in IMAGE_DATA]
    shown.sort(key=lambda name: IMAGE_DATA.index(trained_on(zoo.info(name))))  # by data, stable
    results = [run(name) for name in shown]
    if not results:
        print("no model with bundled weights is installed; `zoo list` shows what is")
        return 1
    print(table(results))
    gallery(results, args.out)
    print("\nscored on held-out data:")
    for group in by_data(results):
        data = group[0].data
        print(f"  {data.name}: {len(data.split('test')):,} test images; {data.license}")
    print(f"{len(bundled) - len(shown)} bundled models of other data are not shown; `zoo list`")
    print(kernels())
    print(f"pictures: {args.out}   ({time.perf_counter() - start:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
