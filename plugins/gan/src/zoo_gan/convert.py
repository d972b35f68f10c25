"""Generators in the layout of the PyTorch DCGAN tutorial: `main.0.weight`, `main.1.weight`, ...

https://docs.pytorch.org/tutorials/beginner/dcgan_faces_tutorial.html. Latents, width, channels and
kernel sizes are inferred from the shapes, and the resolution from the kernel sizes
(`dcgan.resolution`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo_core.plugin import (
    Converted,
    Foreign,
    ForeignConfig,
    IntegrityError,
    nested_state,
    renamed,
)

__all__ = ["DCGANTutorial"]

_RULES = {
    r"main\.(\d+)\.(weight|bias|running_mean|running_var|num_batches_tracked)": (
        r"generator.main.\1.\2"
    )
}
_MARKS = ("main.0.weight", "main.1.running_mean")
"""A first convolution followed by batch normalization, which discriminators have not."""


@dataclass(frozen=True)
class DCGANTutorial:
    """Converter of tutorial generators.

    `key` names the generator in a checkpoint of several, e.g. `netG`; without it, of several the
    moving average is taken, if one is called so (`ema`).
    """

    key: str | None = None

    def __call__(self, foreign: Foreign) -> Converted:
        """A generator of images in [-1, 1], without a discriminator.

        Raises `IntegrityError` for another architecture, `UsageError` for several generators.
        """
        for path, config in foreign.configs.items():
            ForeignConfig(config, path).finish()
        nested = nested_state(foreign, _MARKS, "generator of the DCGAN tutorial", key=self.key)
        tensors = {name: t for name, t in nested.tensors.items() if name.startswith("main.")}
        convolutions = _convolutions(tensors)
        latent, width = convolutions[0].shape[0], convolutions[-1].shape[0]
        options = {
            "channels": convolutions[-1].shape[1],
            "kernels": [w.shape[-1] for w in convolutions],
            "latent": latent,
            "width": width,
            "discriminator": False,
        }
        for i, w in enumerate(convolutions[:-1]):
            expected = width << (len(convolutions) - 2 - i)
            if w.shape[1] != expected:
                raise IntegrityError(
                    f"convolution {i} has {w.shape[1]} channels, expected {expected}: in the "
                    f"tutorial's layout they halve at each step, down to {width}."
                )
        return Converted(options, renamed(tensors, _RULES) | _counters(tensors), nested.remarks)


def _convolutions(tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """Weights (in, out, k, k) of the transposed convolutions, in order."""
    names = [n for n, t in tensors.items() if n.endswith(".weight") and t.ndim == 4]
    names.sort(key=lambda name: int(name.split(".")[1]))
    weights = [tensors[name] for name in names]
    regular = [int(n.split(".")[1]) for n in names] == [3 * i for i in range(len(names))]
    chained = all(a.shape[1] == b.shape[0] for a, b in zip(weights, weights[1:], strict=False))
    square = all(w.shape[2] == w.shape[3] for w in weights)
    if len(weights) < 2 or not (regular and chained and square):
        shapes = ", ".join(f"{n} {tuple(tensors[n].shape)}" for n in names[:6])
        raise IntegrityError(
            "the convolutions are not the DCGAN tutorial's: every third layer of `main`, square, "
            f"each taking what the one before gives; found {shapes}."
        )
    return weights


def _counters(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`num_batches_tracked`, which checkpoints of torch before 0.4.1 lack."""
    layers = [n.removesuffix(".running_mean") for n in tensors if n.endswith(".running_mean")]
    absent = [n for n in layers if f"{n}.num_batches_tracked" not in tensors]
    return {f"generator.{n}.num_batches_tracked": torch.tensor(0) for n in absent}
