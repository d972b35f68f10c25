"""Checkpoints of score_sde (Song et al., 2021): DDPM++ and NCSN++ of CIFAR-10.

https://github.com/yang-song/score_sde_pytorch. A checkpoint holds the network as a list of modules
in the order in which they are called (`all_modules.0`, ...), and the moving average of its
parameters as a list without names, in that order. The networks are those that EDM trained again,
so that they become an `edm` with Song's preconditioning:

    ve   the score at sigma' = sigma / 2 of data in [0, 1] is F / sigma':  D = x + sigma F
    vp   F is epsilon:                                                     D = x - sigma F

NCSN++ with an image pyramid in its output, as for larger images, comes in diffusers' layout
(`diffusers_ncsnpp`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from torch import Tensor

from zoo_core.plugin import Converted, Foreign, IntegrityError, Range, nested_state
from zoo_diffusion.preconditioning import vp_sigma

__all__ = ["FromScoreSDE"]

_MARK = "all_modules.1.weight"
_SHADOW = re.compile(r"(?:.*\.)?shadow_params\.(\d+)")
_RESNET = {
    "GroupNorm_0": "norm1",
    "Conv_0": "conv1",
    "Dense_0": "time_emb_proj",
    "GroupNorm_1": "norm2",
    "Conv_1": "conv2",
    "Conv_2": "conv_shortcut",
}
"""The layers of a residual block, in the order of its parameters."""
_ATTENTION = {
    "GroupNorm_0": "group_norm",
    "NIN_0": "to_q",
    "NIN_1": "to_k",
    "NIN_2": "to_v",
    "NIN_3": "to_out.0",
}
_RANGES = {"ve": (0.02, 100.0), "vp": (vp_sigma(1e-5), vp_sigma(1.0))}


@dataclass(frozen=True)
class FromScoreSDE:
    """To `edm`: images of `levels` quantization levels and height and width `size`.

    `sde` says what the network was trained for; `weights` takes the moving average, or the
    network as it was.
    """

    sde: Literal["ve", "vp"]
    size: Annotated[int, Range(1, 65536)] = 32
    levels: int = 256
    weights: Literal["ema", "model"] = "ema"
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.1

    def __call__(self, foreign: Foreign) -> Converted:
        nested = nested_state(foreign, (_MARK,), "network of score_sde")
        modules = _modules(nested.tensors)
        if self.weights == "ema":
            modules = _averaged(modules, foreign)
        places, network = _places(modules, self.size)
        tensors = dict(_renamed(modules, places))
        options = {
            "shape": (tensors["conv_in.weight"].shape[1], self.size, self.size),
            "levels": self.levels,
            "preconditioning": self.sde,
            "time_scale": 1.0,
            "sigma_min": _RANGES[self.sde][0],
            "sigma_max": _RANGES[self.sde][1],
            "network": network | {"dropout": self.dropout},
        }
        return Converted(options, {f"network.{name}": t for name, t in tensors.items()})


Modules = list[dict[str, Tensor]]
"""The parameters of each module of `all_modules`, in the order of its class."""


def _modules(tensors: Mapping[str, Tensor]) -> Modules:
    """The modules; raises for tensors outside of them, but for the buffer of noise levels."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if m := re.fullmatch(r"all_modules\.(\d+)\.(.+)", name):
            found.setdefault(int(m[1]), {})[m[2]] = tensor
        elif name != "sigmas":
            raise IntegrityError(f"{name} is of no module of score_sde's networks.")
    if sorted(found) != list(range(len(found))):
        raise IntegrityError("numbers of all_modules are missing.")
    return [dict(sorted(found[i].items(), key=_order)) for i in range(len(found))]


def _order(item: tuple[str, Tensor]) -> tuple[int, int]:
    """The place of a parameter in its module: by layer, and weights before biases."""
    layer, _, what = item[0].rpartition(".")
    known = _RESNET if layer in _RESNET else _ATTENTION
    return (list(known).index(layer) if layer in known else 0), what in ("bias", "b")


def _averaged(modules: Modules, foreign: Foreign) -> Modules:
    """The modules with the moving averages of all parameters, but fixed frequencies."""
    shadows = {
        int(m[1]): tensor
        for tensors in foreign.tensors.values()
        for name, tensor in tensors.items()
        if (m := _SHADOW.fullmatch(name))
    }
    names = [(i, name) for i, module in enumerate(modules) for name in module if name != "W"]
    if len(shadows) != len(names):
        raise IntegrityError(
            f"its moving average has {len(shadows)} tensors and the network {len(names)}.",
            hint="the network as it was: --set weights=model",
        )
    averaged = [dict(module) for module in modules]
    for j, (i, name) in enumerate(names):
        if shadows[j].shape != averaged[i][name].shape:
            raise IntegrityError(
                f"tensor {j} of its moving average is {tuple(shadows[j].shape)}; "
                f"all_modules.{i}.{name} is {tuple(averaged[i][name].shape)}."
            )
        averaged[i][name] = shadows[j]
    return averaged


def _resamples(module: Mapping[str, Tensor]) -> bool:
    """Whether a residual block halves or doubles the resolution: a map of equal channels."""
    shortcut = module.get("Conv_2.weight")
    return shortcut is not None and shortcut.shape[0] == shortcut.shape[1]


def _places(modules: Modules, size: int) -> tuple[list[str], dict[str, Any]]:
    """Our name of each module, and the options of SongUNetConfig."""
    resnets = [m for m in modules if "GroupNorm_1.weight" in m]
    resampling = [_resamples(m) for m in resnets]
    depth = 1 + sum(resampling) // 2
    blocks = resampling.index(True) if depth > 1 else (len(resnets) - 3) // 2
    walk = _Walk(modules)
    fourier = "W" in modules[0]
    if fourier:
        walk.take("time_proj")
    for name in ("time_embedding.linear_1", "time_embedding.linear_2", "conv_in"):
        walk.take(name)
    multipliers, attention, residual = [], [], False
    for i in range(depth):
        if i:
            walk.take(f"down_blocks.{i}.down.resnet")
            residual |= walk.takes("Conv2d_0.weight", f"down_blocks.{i}.residual")
        for j in range(blocks):
            walk.take(f"down_blocks.{i}.blocks.{j}.resnet")
            attends = walk.takes("NIN_0.W", f"down_blocks.{i}.blocks.{j}.attention")
        multipliers.append(len(walk.before["Conv_0.bias" if not attends else "NIN_0.b"]))
        attention += [size >> i] if attends else []
    for name in ("0.resnet", "0.attention", "1.resnet"):
        walk.take(f"mid_block.blocks.{name}")
    for i in range(depth):
        if i:
            walk.take(f"up_blocks.{i}.up.resnet")
        for j in range(blocks + 1):
            walk.take(f"up_blocks.{i}.blocks.{j}.resnet")
        walk.takes("NIN_0.W", f"up_blocks.{i}.blocks.{blocks}.attention")
    for name in ("conv_norm_out", "conv_out"):
        walk.take(name)
    width = len(modules[3 if fourier else 2]["bias"])
    return walk.places, {
        "type": "song_unet",
        "width": width,
        "multipliers": tuple(m // width for m in multipliers),
        "blocks": blocks,
        "attention": tuple(attention),
        "embedding": "fourier" if fourier else "positional",
        "noise_multiplier": modules[1 if fourier else 0]["weight"].shape[1] // width,
        "encoder": "residual" if residual else "standard",
        "filter": "fir" if residual else "box",
    }


class _Walk:
    """Gives the modules their names, one after the other."""

    def __init__(self, modules: Modules) -> None:
        self._modules = modules
        self.places: list[str] = []

    @property
    def before(self) -> dict[str, Tensor]:
        """The module that has its name since last."""
        return self._modules[len(self.places) - 1]

    def take(self, name: str) -> None:
        """Name the next module."""
        if len(self.places) == len(self._modules):
            raise IntegrityError(f"all_modules ends before {name}.")
        self.places.append(name)

    def takes(self, mark: str, name: str) -> bool:
        """Name the next module if it has a tensor called `mark`."""
        n = len(self.places)
        if found := n < len(self._modules) and mark in self._modules[n]:
            self.places.append(name)
        return found


def _renamed(modules: Modules, places: list[str]) -> Iterator[tuple[str, Tensor]]:
    if len(places) != len(modules):
        raise IntegrityError(
            f"all_modules has {len(modules)} modules, and DDPM++ or NCSN++ of this form "
            f"{len(places)}.",
            hint="networks with an image pyramid in their output are read in diffusers' layout",
        )
    for place, module in zip(places, modules, strict=True):
        for name, tensor in module.items():
            layer, _, what = name.rpartition(".")
            if layer.startswith("NIN"):
                ours = f"{_ATTENTION[layer]}.{'weight' if what == 'W' else 'bias'}"
                yield f"{place}.{ours}", tensor.T if what == "W" else tensor
            elif layer == "Conv2d_0":
                yield f"{place}.conv.{what}", tensor
            elif not layer:
                yield f"{place}.{'weight' if what == 'W' else what}", tensor
            else:
                layers = _ATTENTION if place.endswith("attention") else _RESNET
                yield f"{place}.{layers[layer]}.{what}", tensor
