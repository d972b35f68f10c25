"""The sampler on the device: its pixels against those stored from the CPU, and its time.

The stack is made of Philox normals, so it is the same on every machine. On the device the products
take TF32 operands: a pixel whose uniform lies within TOLERANCE of the probability may fall the
other way, and its image differs from there on. So the law is about the first pixel that differs.

    python benchmarks/gpu/gpu_sampler.py        stores pixels.json anew, from this machine's CPU
"""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import zoo_kernels
from zoo_kernels import rng
from zoo_kernels.pixelcnn_sampler import GatedLayer, pack
from zoo_kernels.pixelcnn_sampler.reference import SampleArguments

STORED = Path(__file__).with_name("pixels.json")
TOLERANCE = 1e-2
SEED = 20_261_122
STACKS = {  # name: (image size, layers, channels, hidden)
    "64ch 1+8 layers 28x28": (28, 9, 64, 32),
    "16ch 1+2 layers 6x6": (6, 3, 16, 16),
}
STORED_IMAGES = 16
TIMED_PIXELS = 8
CAPTURED = (64,)
"""Batches at which the cached loop is timed as a CUDA graph as well: some 10^5 nodes."""


class Normals:
    """Philox normals in the order they are asked for, equal bits everywhere."""

    def __init__(self) -> None:
        self.step = 0

    def __call__(self, *shape: int, scale: float = 1.0) -> Tensor:
        self.step += 1
        numel = torch.Size(shape).numel()
        with zoo_kernels.backend("reference"):
            z = rng.normal(SEED, torch.zeros(1, dtype=torch.int64), numel, stream=0,
                           step=self.step)  # fmt: skip
        return z.view(shape) * scale


def layer(normal: Normals, inputs: int, c: int, k: int) -> GatedLayer:
    def conv(*size: int) -> tuple[Tensor, Tensor]:
        return normal(*size, scale=(size[1] * size[2] * size[3]) ** -0.5), normal(
            size[0], scale=0.1
        )

    rows = k // 2 + 1
    return GatedLayer(
        v_row=conv(c, inputs, 1, k), v_col=conv(2 * c, c, rows, 1),
        v_here=conv(2 * c, inputs, 1, 1), link=conv(2 * c, 2 * c, 1, 1),
        h_row=conv(2 * c, inputs, 1, rows), residual=conv(c, c, 1, 1), skip=conv(c, c, 1, 1),
    )  # fmt: skip


def arguments(name: str, batch: int) -> tuple[Any, ...]:
    """The op's arguments for a binary stack of STACKS; row b is the same in every batch."""
    size, layers, c, hidden = STACKS[name]
    normal = Normals()
    made = [layer(normal, c if i else 1, c, 3 if i else 7) for i in range(layers)]
    head = [
        (normal(o, i, 1, 1, scale=(3 / i) ** 0.5), normal(o, scale=0.3))
        for o, i in ((hidden, c), (1, hidden))
    ]
    with zoo_kernels.backend("reference"):
        u = rng.uniform(SEED, torch.arange(batch), size * size, stream=1, step=0)
    fixed = torch.full((batch, 1, size, size), -1)
    table = torch.tensor([[-1.0], [1.0]])
    weights = pack(made, (head[0], head[1]))
    return tuple(
        SampleArguments(
            uniforms=u.view(batch, size, size, 1),
            fixed=fixed,
            cond=None,
            table=table,
            extra=None,
            weights=weights,
            head="binary",
            levels=2,
        )
    )


def encode(x: Tensor) -> str:
    return base64.b85encode(zlib.compress(bytes(x.flatten().tolist()), 9)).decode()


def stored(name: str) -> Tensor:
    size = STACKS[name][0]
    raw = zlib.decompress(base64.b85decode(json.loads(STORED.read_text())[name]))
    return torch.tensor(list(raw)).view(STORED_IMAGES, 1, size, size)


def sample(args: tuple[Any, ...], backend: str) -> Tensor:
    with zoo_kernels.backend(backend):
        drawn: Tensor = zoo_kernels.ops()["pixelcnn_sample"](*args)
    return drawn


def margin(args: tuple[Any, ...], expected: Tensor, image: int, pixel: int) -> float:
    """|u - p| of one pixel, p from a full forward pass over the expected pixels, in float64."""
    from peers.pixelcnn_sampler import forward, inputs, stack

    a = SampleArguments(*args)
    net = stack([w.double() for w in a.weights], torch.contiguous_format)
    logits = forward(inputs(expected[image : image + 1], a.table).double(), net)
    return float((logits.sigmoid().flatten()[pixel] - a.uniforms[image].flatten()[pixel]).abs())


def pixels(name: str, device: str, images: int = STORED_IMAGES) -> dict[str, Any]:
    """Every image equals the stored one up to a pixel that could have fallen either way."""
    from timing import move

    args, expected = arguments(name, images), stored(name)[:images]
    drawn = sample(move(args, device), "triton").cpu()
    differs = (drawn != expected).flatten(1)
    margins = {}
    for image in differs.any(1).nonzero().flatten().tolist():
        first = int(differs[image].int().argmax())
        margins[f"image {image}, pixel {first}"] = margin(args, expected, image, first)
    wrong = {k: m for k, m in margins.items() if m > TOLERANCE}
    if wrong:
        raise AssertionError(f"pixels differ where the uniform was far from p: {wrong}")
    alone = drawn if images == 1 else sample(move(arguments(name, 1), device), "triton").cpu()
    return {"images": images, "equal_images": int((~differs.any(1)).sum()),
            "equal_pixels": float((~differs).float().mean()), "margins": margins,
            "first_row_alone_is_equal": torch.equal(alone[0], drawn[0])}  # fmt: skip


def times(name: str, batch: int, device: str) -> dict[str, Any]:
    """One launch against the cached reference and the full-forward loop, the latter on some of
    the pixels and scaled."""
    from peers.pixelcnn_sampler import forward, inputs, stack
    from timing import milliseconds, move, replayed

    args = move(arguments(name, batch), device)
    a = SampleArguments(*args)
    net = stack(a.weights, torch.channels_last)
    x = torch.zeros_like(a.fixed)

    @torch.inference_mode()
    def some_pixels() -> Tensor:
        for _ in range(TIMED_PIXELS):
            logits = forward(inputs(x, a.table), net)[:, 0, 0, 0]
            x[:, 0, 0, 0] = (a.uniforms[:, 0, 0, 0] < logits.sigmoid()).long()
        return x

    size = a.fixed[0, 0].numel()
    ms = {
        "triton": milliseconds(lambda: sample(args, "triton"), [()], device),
        "full_forward_loop": milliseconds(some_pixels, [()], device) * size / TIMED_PIXELS,
        "cached reference": milliseconds(lambda: sample(args, "reference"), [()], device),
    }
    left_out = {}
    if device == "cuda" and batch in CAPTURED:
        try:
            ms["cached reference, captured"] = replayed(lambda: sample(args, "reference"), [()])
        except RuntimeError as error:
            left_out["cached reference, captured"] = f"{error}"[:200]
    return {"ms": ms, "left_out": left_out, "ratio": {k: v / ms["triton"] for k, v in ms.items()},
            "images_per_second": batch / ms["triton"] * 1e3,
            "loop_timed_on_pixels": TIMED_PIXELS, "of_pixels": size}  # fmt: skip


def run(results: Any) -> None:
    big, small = STACKS
    names, batches = ([small], [1]) if results.tiny else ([big, small], [1, 16, 64, 512, 2048])
    images = 1 if results.tiny else STORED_IMAGES
    for name in names:
        results.each(f"pixels {name}", lambda n=name: pixels(n, results.device, images))
    for batch in batches:
        results.each(f"{names[0]} B={batch}", lambda b=batch: times(names[0], b, results.device))


def store() -> None:
    made = {name: encode(sample(arguments(name, STORED_IMAGES), "cpp")) for name in STACKS}
    STORED.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    store()
