"""Times the autoregressive family: sampling an image, and a training step of its convolutions.

    python benchmarks/autoregressive.py [--rounds 5] [--out results.jsonl]

One process, one thread, interleaved rounds, medians of process CPU time (a shared machine
stretches wall time). Sampling draws 28 x 28 binary images by the zoo's own way, by the cache in
plain PyTorch, and as pytorch-generative and its like do it: a full forward pass for each pixel,
timed on some pixels and scaled to all. Pixels must be equal before anything is timed. A training
step is forward and backward of one masked convolution; its peer is the usual one, a dense
convolution whose weight is multiplied by a mask, at the better of both memory formats.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_autoregressive.passes import RasterConv, Whole
from zoo_autoregressive.samplers import Sequential, draw
from zoo_core import Rng, create

sys.path.insert(0, str(Path(__file__).parent))
from ops import PACKAGES, machine

BATCH, SIDE, TIMED_PIXELS = 16, 28, 6
MODELS = {
    "gated_pixelcnn": {"hidden": 32, "layers": 8},
    "pixelcnn": {"hidden": 16, "layers": 15},
    "multiscale_pixelcnn": {},
    "row_lstm": {"layers": 3},
}
Row = dict[str, Any]


def main() -> None:
    """Print a line a row, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = [
        row | machine(PACKAGES) for row in (*sampling(options.rounds), *training(options.rounds))
    ]
    if options.out is not None:
        options.out.write_text("".join(json.dumps(row) + "\n" for row in rows))


@torch.no_grad()
def sampling(rounds: int) -> Iterator[Row]:
    """Seconds for a batch of images, each way."""
    for arch, options in MODELS.items():
        model = create(arch, shape=(1, SIDE, SIDE), levels=2, **options).eval()
        rng = Rng(0, BATCH)
        ours, cached = _at_once(model, rng), _step_by_step(model, rng)
        equal = bool(torch.equal(ours(), cached()))
        assert equal, f"{arch}: the kernel's pixels are not those of the cache"
        ways: dict[str, Callable[[], Any]] = {"cached PyTorch": cached}
        if getattr(model, "draws_at_once", False):
            ways["kernel"] = ours
        ways["full pass a pixel"] = _full_passes(model, rng)
        seconds = _interleaved(ways, rounds)
        seconds["full pass a pixel"] *= SIDE * SIDE / TIMED_PIXELS
        yield _row(f"sample {arch} {BATCH}x{SIDE}x{SIDE}", seconds, "full pass a pixel")


def training(rounds: int) -> Iterator[Row]:
    """Seconds for forward and backward of a masked convolution of 64 to 64 features."""
    for k in (3, 5, 7):
        mask = torch.ones(64, 64, dtype=torch.bool)
        ours = RasterConv(64, 64, k // 2 + 1, k, left=k // 2, mask=mask)
        ways = {"raster": partial(Whole(SIDE, SIDE, None).conv, ours), "dense": _Dense(ours)}
        x = torch.randn(BATCH, 64, SIDE, SIDE)
        assert torch.allclose(ways["raster"](x), ways["dense"](x), atol=1e-4), "they differ"
        steps = {
            (name, memory): partial(_step, way, x.to(memory_format=memory))
            for name, way in ways.items()
            for memory in (torch.contiguous_format, torch.channels_last)
        }
        found = _interleaved(steps, rounds)
        best = {name: min(t for (n, _), t in found.items() if n == name) for name in ways}
        yield _row(f"train {k}x{k} {BATCH}x64x{SIDE}x{SIDE}", best, "dense")


class _Dense(nn.Conv2d):
    """The k x k convolution with a mask over its weight."""

    def __init__(self, like: RasterConv) -> None:
        k = like.kernel_size[1]
        super().__init__(like.in_channels, like.out_channels, k, padding=k // 2)
        assert like.mask is not None and self.bias is not None and like.bias is not None
        n = k // 2 + 1
        self.mask = torch.zeros_like(self.weight)
        self.mask[:, :, :n] = like.mask.to(self.weight)
        with torch.no_grad():
            self.weight[:, :, :n] = like.weight
            self.bias.copy_(like.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


def _step(m: Callable[[Tensor], Tensor], x: Tensor) -> None:
    x = x.detach().requires_grad_()
    m(x).sum().backward()


def _at_once(model: Any, rng: Rng) -> Callable[[], Tensor]:
    return lambda: Sequential()(model, rng, None)


def _step_by_step(model: Any, rng: Rng) -> Callable[[], Tensor]:
    return lambda: Sequential()(model, rng, None, trace=lambda i, x: None)


def _full_passes(model: Any, rng: Rng) -> Callable[[], None]:
    u = rng.uniform((model.event.dims,), stream="value")

    def run() -> None:
        x = torch.zeros((BATCH, 1, SIDE, SIDE), dtype=torch.long)
        for i in range(TIMED_PIXELS):
            x.view(BATCH, -1)[:, i] = draw(model.logits(x).flatten(1, 3)[:, i], u[:, i])

    return run


def _interleaved(ways: dict[Any, Callable[[], Any]], rounds: int) -> dict[Any, float]:
    """Median CPU seconds of each way, after one call to warm up."""
    times: dict[Any, list[float]] = {name: [] for name in ways}
    for i in range(rounds + 1):
        for name, way in ways.items():
            start = time.process_time()
            way()
            if i > 0:
                times[name].append(time.process_time() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def _row(case: str, seconds: dict[str, float], peer: str) -> Row:
    ratios = {name: seconds[peer] / t for name, t in seconds.items() if name != peer}
    shown = ", ".join(f"{name} {ratio:.1f}x" for name, ratio in ratios.items())
    print(f"{case}: {peer} {seconds[peer]:.3f} s; {shown}")
    return {"case": case, "cpu_seconds": seconds, "peer": peer, "ratios": ratios}


if __name__ == "__main__":
    main()
