"""Animations of what models do, as GIFs: sampling, interpolation, and sweeps over classes.

    python examples/animations.py [--out demo] [--only sweep]

Rows of pictures share their random numbers: in a sweep only the class changes from frame to frame,
and in an interpolation only the latent, or the noise x_T that a diffusion starts from.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

import zoo_core as zoo
from zoo_core import latent
from zoo_core.plugin import Generator, Rng
from zoo_diffusion import DDIM, decode, encode, interpolate

SHOWN, SEED, STEPS = 8, 0, 24
SIDE = 64
"""Least side of an image in pixels."""
QUICK, SLOW, REST = 80, 500, 1200
"""Milliseconds of a frame that moves, of one that is a class, and of the last one."""

Frames = Sequence[Tensor]
"""Events (n, *S) of each frame."""


def trajectory(model: zoo.GenerativeModel, n: int = SHOWN, steps: int = STEPS) -> Frames:
    """What the network takes the events for, step by step, while they are sampled."""
    frames: list[Tensor] = []
    sampler = DDIM(steps=steps)
    end = list(model.sample_batches(n, seed=SEED, sampler=sampler, trace=_keep(frames)))
    return [*frames, *end]


def between_images(model: zoo.GenerativeModel, ends: Tensor, steps: int = STEPS) -> Frames:
    """From events (n, *S) each to the next one, along great circles in the noise x_T."""
    sampler = DDIM(steps=steps)
    noise = encode(model, ends, sampler=sampler)
    path = torch.linspace(0, 1, steps)
    ways = [interpolate(a, b, path) for a, b in zip(noise, noise.roll(-1, 0), strict=True)]
    x = decode(model, torch.cat(ways), sampler=sampler)
    return list(x.unflatten(0, (len(ends), steps)).transpose(0, 1))


def between_latents(
    model: Generator, n: int = SHOWN, steps: int = STEPS, cond: object = None
) -> Frames:
    """From n latents each to the next one."""
    z = model.prior(n).sample(Rng(SEED, n), stream="z")
    path = latent.interpolate(z, z.roll(-1, 0), steps=steps)  # (n, steps, L)
    return [latent.decode(model, z_t, cond=cond) for z_t in path.unbind(1)]


def sweep(model: zoo.GenerativeModel, conditions: Sequence[object], n: int = SHOWN) -> Frames:
    """Samples of each condition in turn, from the same random numbers."""
    return [model.sample(n, seed=SEED, cond=cond) for cond in conditions]


def write(path: Path, frames: Frames, event: zoo.Event, milliseconds: int = QUICK) -> Path:
    """Write an animation with a row of images in each frame."""
    drawn = [_row(x, event) for x in frames]
    times = [milliseconds] * (len(drawn) - 1) + [max(milliseconds, REST)]
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn[0].save(path, save_all=True, append_images=drawn[1:], duration=times, loop=0)
    return path


def _keep(frames: list[Tensor]) -> Callable[[int, Tensor], None]:
    return lambda step, x: frames.append(x.detach().clone())


def _row(x: Tensor, event: zoo.Event) -> Image.Image:
    """Events (n, C, H, W) of K levels side by side, magnified without smoothing."""
    assert event.levels is not None
    shades = (x.double() / (event.levels - 1) * 255).round().clamp(0, 255).to(torch.uint8)
    rgb = shades.expand(-1, 3, -1, -1).permute(2, 0, 3, 1).flatten(1, 2)  # (H, n W, 3)
    image = Image.fromarray(rgb.numpy())
    scale = max(1, SIDE // x.shape[-1])
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def emoji_trajectory(out: Path) -> Path:
    model = zoo.load("edm.emoji")
    return write(out / "trajectory.gif", trajectory(model), model.event)


def digits_trajectory(out: Path) -> Path:
    model = zoo.load("ddpm.digits")
    return write(out / "digits.gif", trajectory(model), model.event)


def emoji_interpolation(out: Path) -> Path:
    model = zoo.load("edm.emoji")
    ends = zoo.load_dataset("emoji").split("test").batch(range(0, 540, 135))[0]
    return write(out / "interpolation.gif", between_images(model, ends), model.event)


def emoji_latents(out: Path) -> Path:
    model = zoo.load("r3gan.emoji")
    frames = between_latents(model, cond={"group": "smileys", "style": "noto"})
    return write(out / "latents.gif", frames, model.event)


def emoji_sweep(out: Path) -> Path:
    model = zoo.load("edm.emoji")
    groups = dict(model.condition.parts)["group"].names
    conditions = [{"group": group, "style": "twemoji"} for group in groups]
    return write(out / "sweep.gif", sweep(model, conditions), model.event, SLOW)


ANIMATIONS = {
    "trajectory": emoji_trajectory,
    "digits": digits_trajectory,
    "interpolation": emoji_interpolation,
    "latents": emoji_latents,
    "sweep": emoji_sweep,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the animations that are asked for, by default all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--only", choices=ANIMATIONS, nargs="+", default=list(ANIMATIONS))
    given = parser.parse_args(argv)
    for path in _written(given.only, given.out):
        print(f"{path} ({path.stat().st_size / 1000:.0f} kB)", flush=True)
    return 0


def _written(names: Sequence[str], out: Path) -> Iterator[Path]:
    yield from (ANIMATIONS[name](out) for name in names)


if __name__ == "__main__":
    sys.exit(main())
