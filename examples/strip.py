"""The picture of the README: held-out emoji, samples of each family, and what the held-out cost.

    python examples/strip.py [--out demo/strip.png]

One bundled model of each family draws as many emoji as are shown held out, with their labels and
from the same random numbers. Bits/dim are those recorded of all 549 test images, with their sign.
Each model that codes in less than a minute compresses the held-out images shown, and every value
is compared after decoding; WebP, lossless, codes the same images. Weights are not counted.
"""

import argparse
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from demo import INK, LINE, PAPER, SOFT, font, is_bundled
from PIL import Image, ImageDraw
from torch import Tensor

import zoo_core as zoo
from zoo_core import NoCapabilityError

DATA, SHOWN, SEED = "emoji", 12, 0
SAMPLERS = {"vdm": "dpmpp_2m"}
"""Samplers of few calls."""
SLOW = {"vdm": "not coded here: 250 network calls an image"}
TILE, GAP, MARGIN, LABEL = 96, 10, 36, 420


@dataclass(frozen=True)
class Row:
    """What is said at the left, and the images at the right, (n, C, H, W)."""

    title: str
    lines: list[str]
    images: Tensor


def chosen() -> list[str]:
    """One bundled model of emoji of each family: the one with the best recorded score."""
    best: dict[str, tuple[float, str]] = {}
    for info in map(zoo.info, zoo.list_models(f"*.{DATA}")):
        if is_bundled(info):
            nats = recorded(info).get("nats", float("-inf"))
            family = info.spec.family
            best[family] = max(best.get(family, (float("-inf"), "")), (nats, info.name))
    return [name for _, (_, name) in sorted(best.items())]


def recorded(info: zoo.ModelInfo) -> dict[str, Any]:
    """The likelihood of the test split that is recorded of a model; empty without one."""
    assert info.tag is not None
    found = [m for m in info.tag.metrics if m["split"] == "test" and "nats" in m]
    return dict(found[0]) if found else {}


def held_out(x: Tensor) -> Row:
    """The images that models code, and their size as WebP."""
    size = sum(len(webp(image)) for image in x)
    lines = [f"{SHOWN} of 549 that no model has seen", f"WebP, lossless: {size:,} bytes"]
    return Row("held-out emoji", lines, x)


def webp(image: Tensor) -> bytes:
    """A file of an image (3, H, W)."""
    file = io.BytesIO()
    picture = Image.fromarray(image.byte().permute(1, 2, 0).numpy())
    picture.save(file, "WEBP", lossless=True, quality=100, method=6, exact=True)
    return file.getvalue()


def of_model(name: str, x: Tensor, y: Tensor) -> Row:
    """Samples of a model with the labels y, and the bytes of the held-out images x."""
    info, model = zoo.info(name), zoo.load(name)
    samples = model.sample(len(x), sampler=SAMPLERS.get(info.spec.arch), seed=SEED, cond=y)
    likelihood = "no likelihood"
    if score := recorded(info):
        kind = zoo.LikelihoodKind(score["kind"], score["relation"])
        likelihood = f"{kind.bits_sign} {score['bits_per_dim']:.2f} bits/dim"
    code = SLOW.get(info.spec.arch) or coded(model, name, x, y)
    lines = [f"{info.spec.family}, {likelihood}", code]
    return Row(name, lines, samples)


def coded(model: zoo.GenerativeModel, name: str, x: Tensor, y: Tensor) -> str:
    """The size of the file of images x, which was decoded again."""
    try:
        file = zoo.compress(model, x, cond=y, name=name)
    except NoCapabilityError:
        return "no lossless code"
    if not torch.equal(zoo.decompress(file, model), x.long()):
        raise AssertionError(f"{name}: the file decodes to other images than it was made of")
    return f"{len(file):,} bytes, decoded bit for bit"


def draw(rows: list[Row], path: Path) -> None:
    """The rows below each other, each with its text at the left."""
    pitch = TILE + 2 * GAP
    width = 2 * MARGIN + LABEL + SHOWN * (TILE + GAP) - GAP
    page = Image.new("RGB", (width, 2 * MARGIN + len(rows) * pitch - 2 * GAP), PAPER)
    pen = ImageDraw.Draw(page)
    for i, row in enumerate(rows):
        top = MARGIN + i * pitch
        if i:
            pen.line((MARGIN, top - GAP, width - MARGIN, top - GAP), fill=LINE, width=2)
        pen.text((MARGIN, top + 8), row.title, fill=INK, font=font(14))
        for k, line in enumerate(row.lines):
            pen.text((MARGIN, top + 42 + 26 * k), line, fill=SOFT, font=font(10))
        for k, image in enumerate(row.images):
            tile = Image.fromarray(image.byte().permute(1, 2, 0).contiguous().numpy())
            tile = tile.resize((TILE, TILE), Image.Resampling.NEAREST)
            page.paste(tile, (MARGIN + LABEL + k * (TILE + GAP), top))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("demo/strip.png"))
    out = parser.parse_args().out
    data = zoo.load_dataset(DATA)
    x, y = data.split("test").batch(torch.arange(SHOWN))
    assert y is not None
    rows = [held_out(x), *(of_model(name, x, y) for name in chosen())]
    draw(rows, out)
    for row in rows:
        print(row.title, *row.lines, sep="   ")
    print(f"picture: {out}")


if __name__ == "__main__":
    main()
