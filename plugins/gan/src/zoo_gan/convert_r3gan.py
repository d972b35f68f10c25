"""Published generators and discriminators of R3GAN (Huang et al., 2024).

https://huggingface.co/brownvc holds pickles of whole modules, G, G_ema and D, whose names and
shapes give every option. Their layers are ours, but for two maps of classes:

    G   e_c = E[:, c] of a linear map of one-hot classes: row c of our table
    D   (W h) . E[:, c]: our table has the rows sqrt(F) W' E[:, c], and our w is 0
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo_core.plugin import (
    Converted,
    Foreign,
    IntegrityError,
    Nested,
    nested_state,
    renamed,
)

__all__ = ["FromR3GAN"]

_GENERATOR = "MainLayers.0.Layers.0.Basis"
_DISCRIMINATOR = "ExtractionLayer.Layer.weight"
_BASE = 4
"""Height of the coarsest resolution."""
_BLOCK = {
    r"LinearLayer1\.Layer\.weight": "first.weight",
    r"LinearLayer2\.Layer\.weight": "middle.weight",
    r"LinearLayer3\.Layer\.weight": "last.weight",
    r"NonLinearity1\.Bias": "first.bias",
    r"NonLinearity2\.Bias": "middle.bias",
}


@dataclass(frozen=True)
class FromR3GAN:
    """To `r3gan`: images of `levels` quantization levels.

    `key` names the generator among several, e.g. `G_ema`; the discriminator, if there is one, is
    read with it.
    """

    levels: int = 256
    key: str | None = None

    def __call__(self, foreign: Foreign) -> Converted:
        nested = nested_state(foreign, (_GENERATOR,), "generator of R3GAN", key=self.key)
        options = _options(nested.tensors) | {"levels": self.levels}
        tensors = _generator(nested.tensors, options)
        if (judge := _judge(foreign)) is None:
            options["generator_only"] = True
        else:
            tensors |= _discriminator(judge.tensors, options)
        return Converted(options, tensors, nested.remarks)


def _judge(foreign: Foreign) -> Nested | None:
    names = {name for tensors in foreign.tensors.values() for name in tensors}
    if not any(name.endswith(_DISCRIMINATOR) for name in names):
        return None
    return nested_state(foreign, (_DISCRIMINATOR,), "discriminator of R3GAN")


def _options(g: Mapping[str, Tensor]) -> dict[str, Any]:
    """The options of R3GANConfig that the shapes of a generator say."""
    stages = 1 + max(int(m[1]) for n in g if (m := re.match(r"MainLayers\.(\d+)\.", n)))
    first = [g[_stage(i, 1, "LinearLayer1.Layer.weight")] for i in range(stages)]
    groups = {g[_stage(i, 1, "LinearLayer2.Layer.weight")].shape[1] for i in range(stages)}
    blocks = {_blocks(g, i) for i in range(stages)}
    expansions = {w.shape[0] // w.shape[1] for w in first}
    if not len(groups) == len(blocks) == len(expansions) == 1:
        raise IntegrityError(
            f"its stages differ in channels per group {sorted(groups)}, blocks {sorted(blocks)} "
            f"or expansion {sorted(expansions)}; r3gan has one of each."
        )
    classes = g["EmbeddingLayer.weight"].shape if "EmbeddingLayer.weight" in g else None
    inputs = g["MainLayers.0.Layers.0.LinearLayer.weight"].shape[1]
    side = _BASE << (stages - 1)
    return {
        "shape": (g["AggregationLayer.Layer.weight"].shape[0], side, side),
        "classes": classes[1] if classes else None,
        "latent": inputs - (classes[0] if classes else 0),
        "widths": tuple(w.shape[1] for w in first),
        "blocks": blocks.pop(),
        "expansion": expansions.pop(),
        "group": groups.pop(),
        "patch": 1,
        "resampling": "fir",
        **({"embedding": classes[0]} if classes else {}),
    }


def _stage(i: int, layer: int, what: str) -> str:
    return f"MainLayers.{i}.Layers.{layer}.{what}"


def _blocks(g: Mapping[str, Tensor], stage: int) -> int:
    return sum(n.endswith("NonLinearity1.Bias") for n in g if n.startswith(f"MainLayers.{stage}."))


def _generator(g: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Layer j of stage i is layer i (blocks + 1) + j of ours."""
    stages, step = len(options["widths"]), options["blocks"] + 1
    rules = {
        r"MainLayers\.0\.Layers\.0\.Basis": "generator.body.0.basis",
        r"MainLayers\.0\.Layers\.0\.LinearLayer\.weight": "generator.body.0.scales.weight",
        r"AggregationLayer\.Layer\.weight": f"generator.body.{stages * step}.weight",
        r"EmbeddingLayer\.weight": "generator.embedding.weight",
    }
    rules |= _places(stages, step, "generator.body", 0)
    tensors = renamed(_without_kernels(g), rules)
    if "generator.embedding.weight" in tensors:
        tensors["generator.embedding.weight"] = tensors["generator.embedding.weight"].T
    widths = options["widths"]
    return tensors | {
        "generator.body.0.scales.bias": torch.zeros(widths[0]),
        f"generator.body.{stages * step}.bias": torch.zeros(options["shape"][0]),
    }


def _discriminator(d: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Layer j of stage i is layer i (blocks + 1) + j of ours, after the first two."""
    stages, step = len(options["widths"]), options["blocks"] + 1
    end = f"MainLayers.{stages - 1}.Layers.{step - 1}"
    rules = {
        r"ExtractionLayer\.Layer\.weight": "discriminator.body.1.weight",
        rf"{re.escape(end)}\.Basis\.weight": f"discriminator.body.{1 + stages * step}.weight",
    }
    rules |= _places(stages, step, "discriminator.body", 2)
    own = _without_kernels(d)
    heads = _heads(own.pop(f"{end}.LinearLayer.weight"), own.pop("EmbeddingLayer.weight", None))
    zeros = torch.zeros(options["widths"][-1])
    return renamed(own, rules) | heads | {"discriminator.body.1.bias": zeros}


def _heads(weight: Tensor, embedding: Tensor | None) -> dict[str, Tensor]:
    """The score of features h: w h without classes; with classes (W h) . E[:, c]."""
    features = weight.shape[1]
    head = {"discriminator.head.weight": weight, "discriminator.head.bias": torch.zeros(1)}
    if embedding is None:
        return head
    head["discriminator.head.weight"] = torch.zeros(1, features)
    return head | {"discriminator.embedding.weight": features**0.5 * embedding.T @ weight}


def _places(stages: int, step: int, body: str, first: int) -> dict[str, str]:
    """Rules for the residual blocks and the maps between resolutions."""
    rules = {}
    for i in range(stages):
        for j in range(step):
            layer, ours = rf"MainLayers\.{i}\.Layers\.{j}", f"{body}.{first + i * step + j}"
            rules[rf"{layer}\.LinearLayer\.Layer\.weight"] = f"{ours}.map.weight"
            rules |= {rf"{layer}\.{theirs}": f"{ours}.{name}" for theirs, name in _BLOCK.items()}
    return rules


def _without_kernels(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the filters [1, 3, 3, 1]; raises for others."""
    f = torch.tensor([1.0, 3.0, 3.0, 1.0])
    for name, tensor in tensors.items():
        if name.endswith(".Resampler.Kernel") and not torch.allclose(
            tensor.float(), torch.outer(f, f) / 64
        ):
            raise IntegrityError(f"{name} is another filter than [1, 3, 3, 1].")
    return {n: t.float() for n, t in tensors.items() if not n.endswith(".Resampler.Kernel")}
